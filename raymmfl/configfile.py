"""Reads and writes configurations: YAML files, ``key=value`` overrides, errors in plain words.

This module imports neither torch nor Ray nor MLflow: a wrong key or value ends a command before
any of them is loaded.
"""

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Literal, NamedTuple, TypeGuard, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from raymmfl.config import Config
from raymmfl.errors import ConfigError

Tree = TypeVar("Tree", bound=BaseModel)


class _Loader(yaml.SafeLoader):
    """YAML without repeated keys, and with ``1e-3`` read as the number it is."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, (str, int, float, bool)):
            raise yaml.constructor.ConstructorError(
                None, None, f"a key must be a word, not {key!r}", key_node.start_mark
            )
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} stands twice", key_node.start_mark
            )
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


class _Dumper(yaml.SafeDumper):
    """Quotes the words that :class:`_Loader` would read as numbers."""


for _yaml in (_Loader, _Dumper):
    _yaml.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
        list("-+.0123456789"),
    )


def load(path: str | Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration file and apply ``key.path=value`` overrides.

    Args:
        path: a YAML file; None starts from the defaults.
        overrides: strings such as ``train.lr=1e-3``; the value is read as YAML.

    Raises:
        ConfigError: naming the key path, the value, what is allowed and the nearest known name.
    """
    tree: dict[str, Any] = {}
    if path is not None:
        tree = read_yaml(Path(path))
    where = " with ".join(filter(None, [str(path or ""), " ".join(overrides)]))
    for override in overrides:
        key, sign, text = override.partition("=")
        if not sign or not key:
            raise ConfigError(f"override {override!r}: expected key=value, such as train.lr=1e-3")
        _set(tree, key.split("."), _parse(text, f"override {override!r}"), override)
    return parse(tree, where)


def parse(tree: Mapping[str, Any], where: str = "the configuration") -> Config:
    """Validate a tree of plain values, such as ``{"train": {"lr": 0.01}}``.

    Raises:
        ConfigError: as :func:`load`.
    """
    return validate(Config, tree, where)


def validate(model: type[Tree], tree: Mapping[str, Any], where: str) -> Tree:
    """Make any model, such as the description of an archive, from a tree of plain values.

    Args:
        model: forbids unknown keys.
        tree: as :func:`read_yaml` gives it.
        where: the file, for the error.

    Raises:
        ConfigError: as :func:`load`.
    """
    try:
        # JSON mode is strict about types and still takes lists for tuples.
        return model.model_validate_json(json.dumps(tree, default=python_value), strict=True)
    except ValidationError as error:
        lines = dict.fromkeys(_explain(detail, model) for detail in error.errors())
        raise ConfigError(f"{where}:\n" + "\n".join(f"  {line}" for line in lines)) from None
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from None


def python_value(value: Any) -> Any:
    """What JSON has for a value it does not know: a NumPy number's own, else its text."""
    return value.item() if hasattr(value, "item") else str(value)


def change(config: Config, settings: Mapping[str, Any], where: str) -> Config:
    """A configuration with some keys changed, such as ``{"train.lr": 0.01}``.

    Raises:
        ConfigError: as :func:`load`.
    """
    tree = config.model_dump(mode="json")
    for key, value in settings.items():
        _set(tree, key.split("."), value, f"{key}={value}")
    return parse(tree, where)


def dump(config: Config) -> str:
    """The configuration as YAML that :func:`load` reads back to an equal one."""
    tree = config.model_dump(mode="json")
    return yaml.dump(
        tree, Dumper=_Dumper, sort_keys=False
    )  # ASCII: YAML folds some Unicode line ends


class KeyHelp(NamedTuple):
    """What a person needs to know of one key of the tree."""

    key: str
    kind: str
    default: Any
    sentence: str


def fields(model: type[BaseModel] = Config, prefix: str = "") -> Iterator[KeyHelp]:
    """Every key of the tree, in order."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if _is_model(kind):
            yield from fields(kind, f"{prefix}{name}.")
        else:
            limits = ", ".join(_limit(each) for each in field.metadata if _limit(each))
            text = _kind(kind) + (f" {limits}" if limits else "")
            yield KeyHelp(f"{prefix}{name}", text, field.default, field.description or "")


def _limit(constraint: Any) -> str:
    """`>= 1` for pydantic's Ge(1), and so on; empty for what is no bound."""
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    found = [
        f"{sign} {getattr(constraint, name)}"
        for name, sign in signs.items()
        if hasattr(constraint, name)
    ]
    return found[0] if found else ""


def _kind(annotation: Any) -> str:
    """A type in a person's words: `batch | group`, `list of str`, `int`."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(map(str, parts))
    if origin is tuple:
        return f"list of {_kind(parts[0])}"
    if origin is dict:
        return f"{_kind(parts[0])}: {_kind(parts[1])}"
    if _is_union(annotation):
        return " | ".join(_kind(part) for part in parts if part is not type(None))
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def read_yaml(path: Path) -> dict[str, Any]:
    """Keys and values of a YAML file, without repeated keys.

    Raises:
        ConfigError: a file that is missing, unreadable, or no mapping.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; give the path of a YAML configuration") from None
    except (OSError, ValueError) as error:  # not UTF-8, or no path at all
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    tree = _parse(text, str(path))
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected keys and values, found {type(tree).__name__}")
    return tree


def _parse(text: str, where: str) -> Any:
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not readable as YAML: {error}") from None


def _set(tree: dict[str, Any], keys: Sequence[str], value: Any, override: str) -> None:
    for key in keys[:-1]:
        branch = tree.setdefault(key, {})
        if not isinstance(branch, dict):
            raise ConfigError(f"override {override!r}: {key!r} holds a value, not further keys")
        tree = branch
    tree[keys[-1]] = value


_PLAIN = {
    "a valid array": "a list, such as [a, b]",
    "a valid integer": "a whole number",
    "a valid string": "a word or text",
    "an object": "keys and values",
    "a valid boolean": "true or false",
}


def _explain(detail: ErrorDetails, model: type[BaseModel]) -> str:
    """One sentence for one pydantic error: key path, value, what is allowed, nearest name."""
    location = [part for part in detail["loc"] if not _is_union_tag(part)]
    path = ".".join(map(str, location)) or "(top)"
    if detail["type"] == "extra_forbidden":
        known = _known(location[:-1], model)
        name = str(location[-1])
        elsewhere = [each.key for each in fields(model)]
        hint = nearest(name, known) or nearest(name, elsewhere, tail=True)
        allowed = ", ".join(known)
        return f"{path}: unknown key{hint}; known here: {allowed}"
    if detail["type"] == "missing":
        return f"{path}: missing"
    if detail["type"] == "too_short":
        return f"{path}: too few entries; at least {detail['ctx']['min_length']}"
    value = json.dumps(detail["input"], default=str)
    message = detail["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    message = message.replace("String should match pattern", "text of the form")
    message = _PLAIN.get(message, message)
    hint = ""
    if detail["type"] == "literal_error" and isinstance(detail["input"], str):
        hint = nearest(detail["input"], re.findall(r"'([^']+)'", message))
    return f"{path}: {value} is not allowed; it must be {message.removeprefix('must be ')}{hint}"


def _is_union_tag(part: str | int) -> bool:
    tags = ("literal[", "tuple[", "dict[")
    return isinstance(part, str) and (part.startswith(tags) or part in ("int", "str"))


def _known(location: Sequence[str | int], model: type[BaseModel]) -> list[str]:
    kind: Any = model
    for part in location:
        if _is_model(kind):
            kind = kind.model_fields[str(part)].annotation
            kind = next(filter(_is_model, get_args(kind)), kind) if _is_union(kind) else kind
        else:  # a name chosen by the person, as in dict[str, Sensor]
            kind = (get_args(kind) or (None,))[-1]
    return list(kind.model_fields) if _is_model(kind) else []


def _is_model(kind: Any) -> TypeGuard[type[BaseModel]]:
    return isinstance(kind, type) and issubclass(kind, BaseModel)


def _is_union(kind: Any) -> bool:
    return get_origin(kind) in (Union, UnionType)


def nearest(name: str, known: Sequence[str], tail: bool = False) -> str:
    """`; did you mean ...?` for the known name closest to a mistyped one, or nothing."""
    names = {key.rsplit(".", 1)[-1]: key for key in known} if tail else {key: key for key in known}
    found = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {names[found[0]]!r}?" if found else ""
