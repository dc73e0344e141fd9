"""MLflow store addresses: checked before a run, absolute, and never shown with a password.

Standard library only, so that a wrong address ends a command before MLflow is imported.
"""

import contextlib
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from raymmfl.errors import ConfigError

SERVERS = {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}
SQLITE = b"SQLite format 3\0"  # what such files begin with
ALLOWED = "sqlite:///FILE, http(s)://HOST, postgresql://, mysql://, mssql:// or databricks"


def check_uri(uri: str) -> None:
    """Refuse what cannot be the address of an MLflow store.

    Raises:
        ConfigError: with what is allowed, and without user and password.
    """
    scheme = kind(uri)
    what = f"tracking.uri: {redact(uri)!r}"
    if scheme == "databricks":
        return
    if scheme in ("", "file"):
        raise ConfigError(
            f"{what} is a plain folder, which MLflow no longer writes to; use"
            " sqlite:///mlflow.db for a file on this machine"
        )
    if scheme == "sqlite":
        if not re.match(r"sqlite(\+\w+)?:///[^?]+", uri) or ":memory:" in uri:
            raise ConfigError(f"{what} names no file; write sqlite:///mlflow.db (three slashes)")
        if sqlite_file(uri).is_dir():
            raise ConfigError(f"{what} is a folder; name a file in it, such as mlflow.db")
        return
    if scheme not in SERVERS:
        raise ConfigError(f"{what}: unknown kind of store {scheme!r}; allowed: {ALLOWED}")
    try:
        host, _ = server(uri)
    except ValueError:
        raise ConfigError(
            f"{what} has a port or host that cannot be read; percent-encode special signs in"
            " user and password"
        ) from None
    if not host:
        raise ConfigError(f"{what} names no host; write {scheme}://HOST:PORT")


def check_store(uri: str) -> None:
    """Refuse an address as :func:`check_uri` does, and a file that is no data base.

    Only where a command starts: what becomes of a store later is no reason to end a run.

    Raises:
        ConfigError: with what is wrong.
    """
    check_uri(uri)
    if kind(uri) == "sqlite":
        with contextlib.suppress(OSError), sqlite_file(uri).open("rb") as file:
            begin = file.read(len(SQLITE))
            if begin not in (b"", SQLITE):
                raise ConfigError(
                    f"tracking.uri: {redact(uri)!r}: {sqlite_file(uri)} is no SQLite data base; "
                    f"move it away, or name another file"
                )


def kind(uri: str) -> str:
    """The scheme without its driver: ``postgresql`` for ``postgresql+psycopg2://``."""
    if uri == "databricks":
        return uri
    scheme, sign, _ = uri.partition(":")
    return scheme.lower().split("+")[0] if sign else ""


def server(uri: str) -> tuple[str, int]:
    """Host and port of a server's address.

    Raises:
        ValueError: one of them cannot be read.
    """
    parts = urlsplit(uri)
    return parts.hostname or "", parts.port or SERVERS[kind(uri)]


def sqlite_file(uri: str) -> Path:
    """The data base file of ``sqlite:///FILE``."""
    return Path(uri.split(":///", 1)[1].partition("?")[0])


def absolute_uri(uri: str) -> str:
    """The same store named from any working folder: a relative SQLite path is made absolute."""
    if kind(uri) != "sqlite":
        return uri
    scheme, rest = uri.split(":///", 1)
    path, sign, options = rest.partition("?")
    return f"{scheme}:///{Path(path).absolute()}{sign}{options}"


def redact(uri: str) -> str:
    """The address without user, password and options."""
    if kind(uri) in ("sqlite", "databricks"):
        return uri
    return re.sub(r"//.*@", "//", uri, flags=re.DOTALL).partition("?")[0]


def secrets(uri: str) -> tuple[str, ...]:
    """What must not be seen of an address, longest first; empty when it holds no secret."""
    if kind(uri) in ("sqlite", "databricks"):
        return ()
    found: set[str] = set()
    rest = uri.partition("://")[2]
    user_part, at, _ = rest.rpartition("@")
    if at:
        password = user_part.partition(":")[2]
        found |= {user_part, unquote(user_part)}
        found |= {text for text in (password, unquote(password)) if len(text) > 3}
    options = rest.partition("?")[2]
    found |= {options, unquote(options)}
    return tuple(sorted(found - {""}, key=len, reverse=True))


def hide(text: str, uri: str) -> str:
    """A text with every secret of the address replaced by ``***``."""
    for secret in secrets(uri):
        text = text.replace(secret, "***")
    return text
