"""The verbs of studies: search, confirm, and send to MLflow what it missed."""

import re
import sys
from pathlib import Path
from typing import Annotated

import tyro

from raymmfl.cli.runs import Flag, Words, say
from raymmfl.errors import ConfigError


def tune(
    study: Annotated[Path, tyro.conf.Positional, Flag(metavar="STUDY")],
    overrides: Annotated[Words, Flag(metavar="KEY=VALUE ...")] = (),
    /,
    trials: Annotated[int | None, Flag(metavar="INT")] = None,
    concurrent: int = 1,
    time: Annotated[str | None, Flag(metavar="30m")] = None,
    address: Annotated[str | None, Flag(metavar="HOST:PORT")] = None,
    resume: Annotated[bool, tyro.conf.FlagCreatePairsOff] = False,
    confirm: Annotated[int | None, Flag(metavar="SEEDS")] = None,
    top: int = 1,
    out: Annotated[Path | None, Flag(metavar="DIR")] = None,
) -> None:
    """Search as the file STUDY says; every trial is a whole federation on Ray.

    Example: raymmfl tune tune/mim_whitening.py --trials 32 --confirm 5

    Args:
        study: a Python file with a line STUDY = Study(...); it is run.
        overrides: changes to the study's base configuration, such as rounds=10.
        trials: how many in all (default: the study's own number).
        concurrent: trials side by side; what does not fit is refused.
        time: stop after that long (90s, 30m, 2h); --resume continues.
        address: of an existing Ray cluster (default: a local one is started).
        resume: continue the study that is in the folder, also after a crash.
        confirm: run the best settings and the baselines again with so many other seeds, on the
            test split.
        top: how many of the best settings to confirm.
        out: the study's folder (default runs/<name of the study>).
    """
    if concurrent < 1:
        raise ConfigError(f"--concurrent {concurrent}: it must be at least 1")
    if trials is not None and trials < 1:
        raise ConfigError(f"--trials {trials}: it must be at least 1")
    if confirm is not None and confirm < 2:
        raise ConfigError(f"--confirm {confirm}: a spread needs at least 2 seeds")
    if top < 1:
        raise ConfigError(f"--top {top}: it must be at least 1")
    time_s = None if time is None else _seconds(time)
    from raymmfl.tuning.engine import search
    from raymmfl.tuning.launch import Machine
    from raymmfl.tuning.studyfile import load_study

    search(
        load_study(study, overrides, trials),
        out,
        machine=Machine(concurrent, address, time_s),
        resume=resume,
        seeds=confirm or 0,
        top=top,
        source=study,
        say=say,
    )


def sync(folder: Annotated[Path, tyro.conf.Positional, Flag(metavar="RUN|STUDY")], /) -> None:
    """Send to MLflow what it lacks of RUN or STUDY; nothing is trained.

    Example: raymmfl sync runs/mim_whitening

    Args:
        folder: a run folder, or that of a study.
    """
    from raymmfl.tuning.sync import sync as send

    send(folder, say)


def main(study: str) -> None:
    """What a study file calls when it is started as a script: `raymmfl tune` on itself."""
    from raymmfl.cli import main as start

    sys.argv[1:1] = ["tune", study]
    start()


def _seconds(text: str) -> float:
    """``90``, ``90s``, ``30m`` or ``2h`` in seconds."""
    found = re.fullmatch(r"(\d+(?:\.\d+)?)([smh]?)", text)
    if not found or not float(found.group(1)):
        raise ConfigError(f"--time {text!r}: write a duration such as 90s, 30m or 2h")
    return float(found.group(1)) * {"": 1, "s": 1, "m": 60, "h": 3600}[found.group(2)]
