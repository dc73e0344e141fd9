"""One trial: a whole federation, run or continued inside its placement group on Ray.

The run folder is the trial's checkpoint. A trial that begins again first repeats what it reported
before, so that sampler and scheduler hear the same as if it had never been interrupted.
"""

import os
import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raymmfl import history
from raymmfl.checkpoint import Checkpoints
from raymmfl.config import Config
from raymmfl.configfile import change, dump
from raymmfl.errors import RaymmflError
from raymmfl.files import sole_owner, write_whole
from raymmfl.tuning.tally import Tally, named

Report = Callable[[dict[str, Any]], None]
PATIENCE_S = 60.0  # for the processes of a killed study to be gone


@dataclass(frozen=True)
class Job:
    """One run to do.

    Attributes:
        base: configuration of the run but for its settings.
        settings: configuration keys and their values.
        folder: its run folder.
        objectives: what a search reads from it; empty for a run to the end, test split and all.
        home: folder that relative paths start from; Ray's workers begin elsewhere.
    """

    base: Config
    settings: Mapping[str, Any]
    folder: Path
    objectives: tuple[str, ...]
    home: Path


def plain_config(base: Config) -> Config:
    """What a study's runs have in common; the study mirrors them, not they themselves."""
    tracking = base.tracking.model_copy(update={"mlflow": False})
    return base.model_copy(update={"baselines": (), "tracking": tracking})


def play(job: Job, report: Report) -> None:
    """Run a job to its end, or to where ``report`` ends it.

    Args:
        job: the run.
        report: receives a result after each scored round (``round``, ``rounds``, ``decided``:
            whether it was reported and decided upon before, and the objectives); a run that
            fails ends with a result that has ``failed``, the reason. May raise ``SystemExit``.
    """
    os.chdir(job.home)
    try:
        config = change(job.base, job.settings, job.folder.name)
        _wait_for(job.folder)
        steer = None
        if job.objectives:
            steer = _Steer(job.objectives, config.rounds, report)
            steer.repeat(history.read(job.folder / "history.jsonl"))
        _go(config, job.folder, steer)
    except RaymmflError as error:
        failure = " ".join(str(error).split())  # one line, wherever it is shown
    except Exception as error:
        failure = " ".join(f"{type(error).__name__}: {error}".split())
    else:
        if not job.objectives:
            report({"round": config.rounds, "rounds": config.rounds, "decided": True})
        return
    lines = history.read(job.folder / "history.jsonl")
    last = lines[-1]["round"] if lines else 0
    report({"round": last, "rounds": job.base.rounds, "decided": True, "failed": failure})


def _go(config: Config, folder: Path, steer: "_Steer | None") -> None:
    from raymmfl.run import resume, run  # torch and all; the study's own process does without

    if (folder / "result.json").is_file():
        return
    whole, _ = Checkpoints(folder / "checkpoints").load()
    if whole is None:
        shutil.rmtree(folder, ignore_errors=True)
        run(config, folder, steer=steer)
    else:
        # the machine may be another one now; whatever else differs, `resume` refuses
        write_whole(folder / "config.yaml", dump(config).encode())
        resume(folder, steer=steer)


class _Steer:
    """Hands the rounds of a trial to Ray Tune."""

    def __init__(self, objectives: Sequence[str], rounds: int, report: Report) -> None:
        self.rounds, self.report = rounds, report
        self.tally = Tally(objectives)
        self.last = 0

    def __call__(self, line: Mapping[str, Any]) -> None:
        """Report one round, unless it was done again from an older checkpoint."""
        if line["round"] > self.last:
            self._tell(line, decided=False)

    def repeat(self, lines: list[dict[str, Any]]) -> None:
        """Report what an earlier process reported; only what follows the last is open."""
        for line in lines:
            self._tell(line, decided=line is not lines[-1])

    def _tell(self, line: Mapping[str, Any], decided: bool) -> None:
        self.last = line["round"]
        values = self.tally.add(line)
        if values:
            state = {"round": self.last, "rounds": self.rounds, "decided": decided}
            self.report({**state, **named(values)})


def _wait_for(folder: Path) -> None:
    """Until no process has the folder; one that was just killed may still be going."""
    end = time.monotonic() + PATIENCE_S
    while folder.is_dir() and time.monotonic() < end:
        try:
            with sole_owner(folder):
                return
        except BlockingIOError:
            time.sleep(0.2)
