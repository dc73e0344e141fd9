"""Loads a study file: Python code that runs when it is loaded, like any script one starts."""

import importlib.util
import sys
from dataclasses import fields, replace
from pathlib import Path

from pydantic import ValidationError
from pydantic_core import ErrorDetails

from raymmfl.configfile import nearest
from raymmfl.errors import ConfigError
from raymmfl.tuning.space import line_of
from raymmfl.tuning.study import Stopping, Study


def load_study(path: Path, overrides: tuple[str, ...] = (), trials: int | None = None) -> Study:
    """The ``STUDY`` that a file defines.

    Args:
        path: a Python file; nothing of it is imported by name or installed.
        overrides: further changes to its base, ``key=value``.
        trials: how many instead of the file's own number.

    Raises:
        ConfigError: the file is missing, does not parse, fails, or defines no study.
    """
    if not path.is_file():
        raise ConfigError(f"{path}: no such file; give a study, such as tune/mim_whitening.py")
    spec = importlib.util.spec_from_file_location(f"study_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise ConfigError(f"{path} is no Python file; a study's name ends in .py")
    module = importlib.util.module_from_spec(spec)
    before = sys.dont_write_bytecode
    sys.dont_write_bytecode = True  # no __pycache__ beside the user's studies
    try:
        spec.loader.exec_module(module)
    except SyntaxError as error:
        where = f", line {error.lineno}" if error.lineno else ""
        what = ": ".join(filter(None, ["not Python", error.msg, (error.text or "").strip()]))
        raise ConfigError(f"{path}{where}: {what}") from None
    except ValidationError as error:
        what = "; ".join(_told(detail, error.title) for detail in error.errors())
        where = line_of(error, str(spec.origin))
        raise ConfigError(f"{path}{where}: {what}") from None
    except ConfigError as error:
        raise ConfigError(f"{path}{line_of(error, str(spec.origin))}: {error}") from None
    except (Exception, SystemExit) as error:
        where = line_of(error, str(spec.origin))
        raise ConfigError(f"{path}{where}: {type(error).__name__}: {error}") from None
    finally:
        sys.dont_write_bytecode = before
    study = getattr(module, "STUDY", None)
    if not isinstance(study, Study):
        raise ConfigError(f"{path} defines no study; it must hold a line STUDY = Study(...)")
    changed = replace(study, overrides=(*study.overrides, *overrides))
    return changed if trials is None else replace(changed, trials=trials)


def _told(detail: ErrorDetails, title: str) -> str:
    """What is wrong with a part of a ``Study`` or a ``Stopping``, in a few words."""
    name = ".".join(map(str, detail["loc"]))
    if detail["type"].startswith("missing"):
        return f"{name} is missing"
    if detail["type"] == "unexpected_keyword_argument":
        known = [field.name for field in fields(Stopping if title == "Stopping" else Study)]
        return f"{title} has no {name}{nearest(name, known)}; it has {', '.join(known)}"
    return f"{name}={detail['input']!r}: {detail['msg'].replace('Input should', 'it should')}"
