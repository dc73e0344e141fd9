"""The command line: verbs, progress, errors as sentences. The only room that prints."""

import inspect
import os
import signal
import sys
import traceback
from typing import Any, NoReturn

import tyro

from raymmfl import configfile as configuration
from raymmfl.cli import archives, clients, comparisons, maps, runs, studies
from raymmfl.config import Config
from raymmfl.errors import ConfigError, RaymmflError

VERBS: dict[str, Any] = {
    "run": runs.run,
    "resume": runs.resume,
    "tune": studies.tune,
    "compare": comparisons.compare,
    "sync": studies.sync,
    "list": runs.list_names,
    "archive": {
        "pack": archives.pack,
        "synth": archives.synth,
        "info": archives.info,
        "plot": archives.plot,
        "verify": archives.verify,
        "clients": clients.clients,
    },
    "predict": maps.predict,
}


def main() -> NoReturn:
    """Entry point of `raymmfl`; exits 0, or as the error says."""
    signal.signal(signal.SIGTERM, _interrupt)
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    arguments = [each for each in arguments if each != "--debug"]
    code = _main(arguments, debug)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)  # nothing is left that would need a clean end
    sys.exit(code)


def _main(arguments: list[str], debug: bool) -> int:
    try:
        _dispatch(arguments, VERBS, "raymmfl")
    except RaymmflError as error:
        if debug:
            traceback.print_exc()
        print(f"raymmfl: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if debug:
            traceback.print_exc()
        where = f"{error.filename}: " if error.filename else ""
        what = f"{where}{error.strerror or error}"
        print(f"raymmfl: {what}; what was written before is whole", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("raymmfl: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if debug:
            traceback.print_exc()
        print(
            f"raymmfl: this is a bug of ours: {type(error).__name__}: {error} "
            f"(--debug shows where)",
            file=sys.stderr,
        )
        return 1
    return 0


def _dispatch(arguments: list[str], verbs: dict[str, Any], name: str) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview(verbs, name))
        return
    if arguments == ["--version"]:
        from raymmfl import __version__

        print(f"raymmfl {__version__}")
        return
    verb, rest = arguments[0], arguments[1:]
    if verb not in verbs:
        hint = configuration.nearest(verb, list(verbs))
        raise ConfigError(f"unknown verb {verb!r}{hint}; there are {', '.join(verbs)}")
    found = verbs[verb]
    if isinstance(found, dict):
        _dispatch(rest, found, f"{name} {verb}")
        return
    description = inspect.cleandoc(found.__doc__).split("\n\nArgs:")[0]
    if found is runs.run and {"-h", "--help"} & set(rest):
        description += "\n\n" + _config_help()
    tyro.cli(found, prog=f"{name} {verb}", args=_overrides_first(rest), description=description)


def _overrides_first(words: list[str]) -> list[str]:
    """`rounds=3` after an option moved before all options, where tyro takes it for what it is."""
    first = next((i for i, word in enumerate(words) if word.startswith("--")), len(words))
    late = [word for word in words[first:] if _is_override(word)]
    return [*words[:first], *late, *(word for word in words[first:] if not _is_override(word))]


def _is_override(word: str) -> bool:
    key, sign, _ = word.partition("=")
    return bool(sign) and key.partition(".")[0] in Config.model_fields


def _overview(verbs: dict[str, Any], name: str) -> str:
    lines = [f"usage: {name} VERB ...  (`{name} VERB --help` tells more)", ""]
    for verb, found in verbs.items():
        text = (
            ", ".join(found) if isinstance(found, dict) else found.__doc__.strip().splitlines()[0]
        )
        lines.append(f"  {verb:<9} {text}")
    return "\n".join(lines)


def _config_help() -> str:
    lines = ["Configuration keys, with what they take and their defaults:"]
    for each in configuration.fields():
        default = "none" if each.default in ((), {}) else each.default
        lines.append(f"  {each.key}  ({each.kind}; default {default})\n      {each.sentence}")
    return "\n".join(lines)


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt
