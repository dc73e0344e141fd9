"""What a study costs beside its trials: N equal trials, one at a time, against N plain runs.

Both sides live in one process with Ray already up and take turns, so that whatever else the
machine does hits them alike. A plain run is `raymmfl.run.run` as a trial plays it: the same rounds
on client actors of its own, scored on the validation split, no figures, no MLflow.
"""

import argparse
import json
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import optuna
import psutil

from raymmfl import configfile, environment
from raymmfl.archive.packing.pack import pack
from raymmfl.archive.readers.layouts import LAYOUTS
from raymmfl.archive.readers.options import Options
from raymmfl.archive.synthetic.tiles import synthesise
from raymmfl.config import Config
from raymmfl.run import run
from raymmfl.runtime.cluster import connect
from raymmfl.tuning.engine import search
from raymmfl.tuning.study import Study

AIM = 1.10


@dataclass(frozen=True)
class Turn:
    """Both sides, next to each other in time.

    Attributes:
        study: seconds of a study of N trials.
        plain: seconds of N plain runs.
        load: of the machine when the turn began, in processes that want a core.
    """

    study: float
    plain: float
    load: float


def main() -> None:
    """Measure, print, write the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--trials", type=int, default=4, help="trials of a study, N")
    parser.add_argument("--rounds", type=int, default=40, help="rounds of a trial")
    parser.add_argument("--turns", type=int, default=3, help="how often both sides are measured")
    parser.add_argument("--out", type=Path, help="write the figures there as JSON")
    chosen = parser.parse_args()
    found: dict[str, Any] = {"environment": environment.describe(1), "aim": AIM}
    found |= {"trials": chosen.trials, "rounds": chosen.rounds, "turns": []}
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        base = _prepare(Path(folder), chosen.rounds)
        connect(None)
        _plain(base, Path("warm"), 1)  # Ray's first workers, the page cache
        for index in range(chosen.turns):
            turn = _turn(base, index, chosen.trials)
            found["turns"].append(asdict(turn))
            print(
                f"turn {index + 1}: study {turn.study:.1f} s, {chosen.trials} plain runs "
                f"{turn.plain:.1f} s ({turn.plain / chosen.trials:.1f} s each), ratio "
                f"{turn.study / turn.plain:.3f}, load {turn.load:.1f}",
                flush=True,
            )
    ratios = [turn["study"] / turn["plain"] for turn in found["turns"]]
    found["ratio"] = {"median": median(ratios), "range": [min(ratios), max(ratios)]}
    print(f"ratio: median {median(ratios):.3f} [{min(ratios):.3f}-{max(ratios):.3f}], aim {AIM}")
    if chosen.out:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(json.dumps(found, indent=1) + "\n")


def _prepare(folder: Path, rounds: int) -> Config:
    """A synthetic archive, and the run that every trial is."""
    synthesise(folder / "tiles", seed=0, tiles=1)
    pack(LAYOUTS["synthetic"].open(folder / "tiles", Options()), folder / "packed")
    tree = {
        "rounds": rounds,
        "archive": {"path": str(folder / "packed")},
        "train": {"epochs": 3},
        "tracking": {"mlflow": False},
    }
    base = configfile.parse(tree)
    (folder / "base.yaml").write_text(configfile.dump(base))
    return base


def _turn(base: Config, index: int, trials: int) -> Turn:
    """A study and as many plain runs; who goes first changes from turn to turn."""
    load = psutil.getloadavg()[0]
    sides = {
        "study": lambda: _study(Path(f"study-{index}"), trials),
        "plain": lambda: _plain(base, Path(f"plain-{index}"), trials),
    }
    names = list(sides) if index % 2 == 0 else list(reversed(sides))
    times = {}
    for name in names:
        started = time.perf_counter()
        sides[name]()
        times[name] = time.perf_counter() - started
    return Turn(times["study"], times["plain"], load)


def _study(out: Path, trials: int) -> None:
    """Trials that differ in nothing that costs time."""

    def space(trial: optuna.Trial) -> None:
        trial.suggest_float("mim.temperature", 0.3, 0.7)

    study = Study(
        name="equal",
        base="base.yaml",
        space=space,
        objectives={"val/global/all/f1_macro": "max"},
        trials=trials,
        stopping=None,
    )
    found = search(study, out)
    if [trial.status for trial in found.trials] != ["finished"] * trials:
        raise RuntimeError("not every trial ran to its end")


def _plain(base: Config, out: Path, runs: int) -> None:
    for number in range(runs):
        run(base, out / str(number), steer=lambda line: None)


if __name__ == "__main__":
    main()
