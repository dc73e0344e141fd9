"""Loads a study file: Python code that runs when it is loaded, like any script one starts."""

import importlib.util
import sys
from dataclasses import replace
from pathlib import Path

from raymmfl.errors import ConfigError
from raymmfl.tuning.space import line_of
from raymmfl.tuning.study import Study


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
        raise ConfigError(
            f"{path}, line {error.lineno}: not Python: {error.msg}: {(error.text or '').strip()}"
        ) from None
    except ConfigError as error:
        raise ConfigError(f"{path}: {error}") from None
    except Exception as error:
        where = line_of(error, str(spec.origin))
        raise ConfigError(f"{path}{where}: {type(error).__name__}: {error}") from None
    finally:
        sys.dont_write_bytecode = before
    study = getattr(module, "STUDY", None)
    if not isinstance(study, Study):
        raise ConfigError(f"{path} defines no study; it must hold a line STUDY = Study(...)")
    changed = replace(study, overrides=(*study.overrides, *overrides))
    return changed if trials is None else replace(changed, trials=trials)
