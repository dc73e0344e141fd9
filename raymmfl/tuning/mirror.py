"""A study in MLflow: one parent run, one child per trial, all written by the study's own process.

Trials do not know of MLflow. What is missing there is read from the run folders: a store that was
away or locked gets it later, at the latest by ``raymmfl sync``.
"""

import contextlib
import json
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from raymmfl import configfile, history
from raymmfl.archive.store import Archive
from raymmfl.config import Config
from raymmfl.errors import ConfigError
from raymmfl.mirroring import FILES, open_mirror
from raymmfl.tracking import Mirror, NullMirror, Status
from raymmfl.tracking_uri import absolute_uri, redact
from raymmfl.tuning import record
from raymmfl.tuning.record import CONFIRM_FILE, Recorded, Trial
from raymmfl.tuning.tables import in_words

CLOSED: dict[str, Status] = {"finished": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
STUDY_FILES = ("study.json", "study.py", "trials.jsonl", "best.yaml", CONFIRM_FILE)
BEST = ".best"  # notes in a run folder that MLflow holds its model
NOTE = "mlflow.note.content"  # what MLflow shows as a run's description
AT_ONCE = 4  # children closed at a time


@dataclass
class Run:
    """A run folder of a study that is to be a child in MLflow.

    Attributes:
        folder: the run folder.
        config: its configuration, with the study's ``tracking``.
        role: ``trial`` or ``confirm``.
        without: searched keys that it was not asked for; parallel coordinates would draw them.
        tags: of its own.
    """

    folder: Path
    config: Config
    role: str
    without: frozenset[str]
    tags: dict[str, str] = field(default_factory=dict)


class StudyMirror:
    """The parent run and its children while a study runs."""

    def __init__(self, recorded: Recorded, config: Config, archive: Archive) -> None:
        """Begin to mirror a study; returns at once.

        Args:
            recorded: the study; its folder exists.
            config: the base, with the study's ``tracking``.
            archive: what all trials are trained on.
        """
        self.folder, self.config, self.archive = recorded.folder, config, archive
        self.leading = [name for name in recorded.objectives if name.startswith("val/")]
        self.on = config.tracking.mlflow
        self._children: dict[Path, NullMirror] = {}
        self._closing: list[threading.Thread] = []
        facts = recorded.facts
        params = {
            "study": facts["name"],
            "objectives": ", ".join(f"{aim} {name}" for name, aim in recorded.objectives.items()),
            "trials": str(facts["trials"]),
            "study.seed": str(facts["seed"]),
            "stopping": json.dumps(facts["stopping"]),
            **{f"space.{name}": record.in_words(each) for name, each in facts["space"].items()},
        }
        tags = {
            "role": "study",
            "run_folder": self.folder.name,
            "archive": archive.path.name,
            "archive_sha256": archive.digest,
            "data": "synthetic" if archive.synthetic else "real",
        }
        name = f"study {facts['name']}"
        self.parent = Mirror.start(config, self.folder, run_name=name, tags=tags, params=params)

    def round(self, run: Run) -> None:
        """A run has a new line in its history; waits for nothing."""
        child, lines = self._child(run), history.read(run.folder / "history.jsonl")
        if child is not None and lines:
            child.round(lines[-1])

    def end(self, run: Run, status: Status, best: bool = False) -> None:
        """A run has ended; its child is closed in the background."""
        child = self._child(run)
        if child is not None:
            names = [name for name in FILES if best or name != "model.safetensors"]
            artifacts = [run.folder / name for name in names]

            def finish() -> None:
                child.finish(status, _result(run.folder), artifacts, tags=run.tags)
                if closed_as(run.folder, run.config) == status:
                    note = run.folder / BEST
                    note.touch() if best else note.unlink(missing_ok=True)

            closing = threading.Thread(target=finish, daemon=True)
            self._closing = [each for each in self._closing if each.is_alive()] + [closing]
            if len(self._closing) > AT_ONCE:
                self._closing[0].join()
            closing.start()
            del self._children[run.folder]

    def close(self, status: Status, missing: Callable[[], list[tuple[Run, Status, bool]]]) -> str:
        """Close the study's own run, after whatever of its children is not closed yet.

        Args:
            status: how the study ended.
            missing: the runs that are not whole in MLflow as far as the folders know.

        Returns:
            What is not in MLflow, as a sentence; empty if all is.
        """
        if not self.on:
            return ""
        for child in list(self._children.values()):  # what an interrupted study leaves running
            child.finish("KILLED")
        self._children.clear()
        for closing in self._closing:
            closing.join()
        if self._reached():
            for run, how, best in missing():
                self.end(run, how, best)
            for closing in self._closing:
                closing.join()
        artifacts = [self.folder / name for name in STUDY_FILES]
        result, description = _outcome(self.folder)
        self.parent.finish(status, result, artifacts, tags={NOTE: description})
        left = len(missing())
        if self.parent.warning or left:
            what = f"{left} runs of the study are" if left else "the study's own run is"
            return f"{what} not whole in MLflow; `raymmfl sync {self.folder}` adds them later"
        return ""

    def _child(self, run: Run) -> NullMirror | None:
        """The child of a run; None while the parent's id is not known, or without MLflow."""
        if self.parent.run_id is None:
            return None
        if run.folder not in self._children:
            run.folder.mkdir(exist_ok=True)  # of a run that failed before it began
            self._children[run.folder] = open_mirror(
                run.config,
                run.config.algorithm,
                self.archive,
                run.folder,
                place=f"{self.folder.name}/{run.folder.name}",
                role=run.role,
                parent=self.parent.run_id,
                tags={"study": self.folder.name, **run.tags},
                leading=self.leading,
                without=run.without,
            )
        return self._children[run.folder]

    def _reached(self) -> bool:
        """Whether the store has given the study's own run an id, after some patience."""
        if self.parent.run_id is None:
            self.parent.settle()
        return self.parent.run_id is not None


def child_of(recorded: Recorded, trial: Trial, base: Config) -> Run:
    """A trial as a child run.

    Args:
        recorded: the study.
        trial: one of its trials.
        base: the study's, with its ``tracking``.
    """
    tags = {"trial": str(trial.number), "origin": trial.origin, "trial_status": trial.status}
    tags[NOTE] = in_words(trial.settings)
    if trial.status == "pruned":
        tags["pruned_after_round"] = str(trial.round)
    if trial.reason:
        tags["reason"] = trial.reason
    config = base.model_copy(update={"baselines": ()})
    with contextlib.suppress(ConfigError):  # why the trial failed
        config = configfile.change(config, trial.settings, trial.name)
    return Run(recorded.path(trial), config, "trial", _unasked(recorded, trial), tags)


def _unasked(recorded: Recorded, trial: Trial) -> frozenset[str]:
    return frozenset(recorded.facts["space"].keys() - trial.settings.keys())


def missing(folder: Path, base: Config) -> list[tuple[Run, Status, bool]]:
    """Runs that have ended and whose copies in MLflow have not, or which become the best.

    Returns:
        Each with how it ended, and whether its model is kept in MLflow too.
    """
    recorded = record.read(folder)
    best = recorded.best()
    found: list[tuple[Run, Status, bool]] = []
    for trial in recorded.trials:
        run, keep = child_of(recorded, trial, base), trial in best
        if trial.status == "running":  # interrupted, and left so
            if (run.folder / "mlflow.json").is_file() and closed_as(run.folder, base) is None:
                found.append((run, "KILLED", False))
            continue
        note = run.folder / BEST
        if keep:
            run.tags["best"] = "true"
        elif note.exists():  # surpassed by a trial added later
            run.tags["best"] = "false"
        if closed_as(run.folder, base) != CLOSED[trial.status] or keep != note.exists():
            found.append((run, CLOSED[trial.status], keep))
    by_name = {trial.name: trial for trial in recorded.trials}
    for result in sorted(folder.glob("confirm/*/result.json")):
        confirmed = by_name.get(result.parent.name.rpartition("-seed")[0])
        if confirmed is not None and closed_as(result.parent, base) != "FINISHED":
            config = configfile.load(result.parent / "config.yaml")
            tracked = config.model_copy(update={"tracking": base.tracking})
            run = Run(result.parent, tracked, "confirm", _unasked(recorded, confirmed))
            found.append((run, "FINISHED", False))
    return found


def closed_as(folder: Path, config: Config) -> str | None:
    """How the copy of a run folder in the configuration's store ended; None if it has not."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        note = json.loads((folder / "mlflow.json").read_text(encoding="utf-8"))
        here = (redact(absolute_uri(config.tracking.uri)), config.tracking.experiment)
        if (note.get("uri"), note.get("experiment")) == here and note["status"] != "RUNNING":
            return str(note["status"])
    return None


def _outcome(folder: Path) -> tuple[dict[str, Any], str]:
    """What came out of a study so far: numbers, and a description."""
    recorded = record.read(folder)
    statuses: list[str] = [trial.status for trial in recorded.trials]
    done, whole = recorded.rounds()
    numbers: dict[str, Any] = {
        **{f"trials/{each}": float(statuses.count(each)) for each in CLOSED},
        "rounds/run": float(done),
        "rounds/whole": float(whole),
    }
    text = [recorded.story()]
    ranked = recorded.ranked()
    if ranked:
        best = zip(recorded.objectives, ranked[0].values, strict=True)
        numbers |= {f"best/{name}": value for name, value in best}
        text.append(
            f"Best on validation: trial {ranked[0].number}, {in_words(ranked[0].settings)}"
        )
    found = recorded.confirmed()
    if found is not None:
        numbers[f"confirmed/{found['metric']}"] = found["settings"][0]["mean"]
        text.append(found["verdict"])
    return {"metrics": numbers, "rounds": len(statuses) - statuses.count("running")}, "\n\n".join(
        text
    )


def _result(folder: Path) -> dict[str, Any] | None:
    """What a run leaves beside its rounds: test scores, if it has any, and its totals."""
    lines = history.read(folder / "history.jsonl")
    if not lines:
        return None
    found: dict[str, Any] = {"metrics": {}}
    with contextlib.suppress(OSError, ValueError):
        found = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    exchanged = sum(sum(each.values()) for line in lines for each in line["bytes"].values())
    flops = sum(line["flops"] for line in lines)
    totals = {"total/mb": exchanged / 1e6, "total/gflops": flops / 1e9}
    test = {name: v for name, v in found["metrics"].items() if name.startswith("test/")}
    return {**found, "rounds": lines[-1]["round"], "metrics": test | totals}
