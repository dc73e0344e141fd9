"""Runs a study: Optuna proposes trials, Ray Tune plays them, halving stops the poor ones."""

import json
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from raymmfl import configfile
from raymmfl.archive.store import Archive
from raymmfl.config import Config
from raymmfl.errors import CheckpointError, RunError
from raymmfl.files import sole_owner, write_whole
from raymmfl.rounds import Say, say_nothing
from raymmfl.runtime.place import cluster_nodes
from raymmfl.runtime.resources import idle_gpus
from raymmfl.tracking import Status
from raymmfl.tracking_uri import check_store
from raymmfl.tuning import record, tables
from raymmfl.tuning.confirm import confirm, write_best
from raymmfl.tuning.identity import describe, earlier
from raymmfl.tuning.launch import Machine, actors, bundles, cluster, cohort, launch
from raymmfl.tuning.links import look
from raymmfl.tuning.mirror import CLOSED, StudyMirror, child_of, missing
from raymmfl.tuning.objectives import check_objectives
from raymmfl.tuning.record import Recorded, Trial
from raymmfl.tuning.search import Halving, Search
from raymmfl.tuning.space import Checked, check_space
from raymmfl.tuning.study import Study
from raymmfl.tuning.trial import Job, plain_config

SILENT_S = 60.0  # after which a round is worth a line


def search(
    study: Study,
    out: Path | None = None,
    *,
    machine: Machine | None = None,
    resume: bool = False,
    seeds: int = 0,
    top: int = 1,
    source: Path | None = None,
    say: Say = say_nothing,
) -> Recorded:
    """Run a study, or continue it.

    Args:
        study: what is searched.
        out: its folder; None makes ``runs/<name>``.
        machine: where it runs.
        resume: continue what is there; trials that ended stay as they are.
        seeds: afterwards run the best settings again with so many other seeds, on the test split.
        top: how many of the best settings.
        source: the study's file, of which a copy is kept.
        say: receives each line for a person.

    Returns:
        The study as recorded.

    Raises:
        ConfigError: the study cannot be run as it is written.
        CheckpointError: the folder is taken, is of another study, or holds none to resume.
        ResourceError: the trials do not fit on the cluster.
        RunError: every trial failed; the message is the table of reasons.
    """
    out = out or Path("runs") / study.name
    machine = machine or Machine()
    base = configfile.load(study.base, study.overrides)
    if base.tracking.mlflow:
        check_store(base.tracking.uri)
    checked = check_space(study, base)
    archive = Archive.open(base.archive.path, base.archive.coarsest_m)
    check_objectives(study, base, archive)
    facts = describe(study, base, checked, archive)
    before = earlier(out, facts, resume)
    fewer = before is not None and study.trials < len(before.trials)
    if before is not None:  # what has begun is brought to its end
        study = replace(study, trials=max(study.trials, len(before.trials)))
        facts["trials"] = study.trials
    with owned(out), cluster(machine, say):
        clients = cohort(base, archive)
        count = actors(base, clients, machine)
        recorded = Recorded(out, facts, [], []) if before is None else record.read(out)
        searching = _Searching(study, base, archive, checked, recorded, say)
        record.write_facts(out, facts)  # only now: what was refused leaves the folder as it was
        if source is not None:
            write_whole(out / "study.py", source.read_bytes())
        searching.recorded = record.read(out)
        if before is not None:
            if fewer:
                say(f"fewer trials are asked for than have begun; those {study.trials} are ended")
            ended = sum(trial.status != "running" for trial in recorded.trials)
            say(f"continuing {out}: {ended} of {study.trials} trials have ended")
        say(tables.heading(searching.recorded, clients, count, machine.concurrent))
        for line in idle_gpus(base.resources, cluster_nodes()):
            say(line)
        searching.run(machine, bundles(base.resources, count), seeds, top)
        return record.read(out)


@contextmanager
def owned(out: Path) -> Iterator[None]:
    """Hold a study's folder; it goes as it came if nothing was written.

    Raises:
        CheckpointError: another process has it.
    """
    made = [folder for folder in (out, *out.parents) if not folder.exists()]
    out.mkdir(parents=True, exist_ok=True)
    try:
        with sole_owner(out):
            try:
                yield
            finally:
                if {each.name for each in out.iterdir()} <= {".lock"}:
                    (out / ".lock").unlink()
                    for folder in made:
                        with suppress(OSError):  # somebody else has put something there
                            folder.rmdir()
    except BlockingIOError:
        raise CheckpointError(f"{out} is in use by another process; let it end first") from None


class _Searching:
    """One process's part of a study."""

    def __init__(
        self,
        study: Study,
        base: Config,
        archive: Archive,
        checked: Checked,
        recorded: Recorded,
        say: Say,
    ) -> None:
        self.study, self.base, self.archive = study, base, archive
        self.recorded = recorded
        self.begun = self.spoken = time.monotonic()
        self.tell = say
        self.trials = {trial.number: trial for trial in recorded.trials}
        self.search = Search(study, checked.points, recorded.folder, self.listen)
        self.search.replay(recorded)
        self.halving = None
        if study.stopping is not None:
            aim = study.objectives[study.headline]
            self.halving = Halving(study.stopping, aim, base.rounds)
            self.halving.replay(recorded)

    def run(
        self, machine: Machine, resources: list[dict[str, float]], seeds: int, top: int
    ) -> None:
        """Run what is left of the study, and close its copy in MLflow however that ends."""
        self.left = self.study.trials - sum(t.status != "running" for t in self.trials.values())
        self.ended = 0
        self.mirror = StudyMirror(self.recorded, self.base, self.archive)
        then = f" --confirm {seeds} --top {top}" if seeds else ""
        status: Status = "FAILED"
        try:
            if self.left > 0:
                self._launch(machine, resources)
            final = record.read(self.recorded.folder)
            self.say(tables.ending(final))
            if final.trials and all(trial.status == "failed" for trial in final.trials):
                raise RunError(f"every trial of {final.folder} failed\n{tables.reasons(final)}")
            if final.finished():
                write_best(final, self.base)
            whole = all(trial.status != "running" for trial in final.trials)
            if not whole or len(final.trials) < self.study.trials:
                status = "KILLED"
                self.say(f"the time is up; --resume{then} continues {final.folder}")
                return
            if seeds and final.finished():
                rest = machine.after(time.monotonic() - self.begun)
                confirm(final, self.base, seeds, top, rest, resources, self.say)
            status = "FINISHED"
        except KeyboardInterrupt:
            status = "KILLED"
            self.say(f"stopped; --resume{then} continues {self.recorded.folder}")
            raise
        finally:
            self._close(status)

    def say(self, line: str) -> None:
        """Tell a person."""
        self.spoken = time.monotonic()
        self.tell(line)

    def listen(self, trial: Trial) -> None:
        """A trial begins or has ended."""
        self.trials[trial.number] = trial
        line = tables.trial_line(self.recorded, trial, list(self.trials.values()))
        if trial.status == "running":
            self.say(line)
            return
        self.ended += 1
        pace = (time.monotonic() - self.begun) / self.ended
        self.say(f"{line}  left {tables.clock(pace * (self.left - self.ended))}")
        run = child_of(self.recorded, trial, self.base)
        if trial.status != "finished":  # never continued, never best: only its story is kept
            shutil.rmtree(run.folder / "checkpoints", ignore_errors=True)
        self.mirror.end(run, CLOSED[trial.status])

    def heard(self, config: dict[str, Any], result: dict[str, Any]) -> None:
        """A trial has finished a round."""
        if "failed" in result:
            return
        trial = self.trials[config["trial"]]
        self.mirror.round(child_of(self.recorded, trial, self.base))
        if time.monotonic() - self.spoken > SILENT_S:
            self.say(tables.round_line(self.recorded, trial, result["round"], result["rounds"]))

    def _launch(self, machine: Machine, resources: list[dict[str, float]]) -> None:
        folder, home = self.recorded.folder.absolute(), Path.cwd()
        plain, objectives = plain_config(self.base), tuple(self.study.objectives)

        def job(config: dict[str, Any]) -> Job:
            settings = json.loads(config["settings"])
            return Job(plain, settings, folder / config["folder"], objectives, home)

        launch(
            job,
            machine,
            resources,
            folder,
            {"search_alg": self.search, "scheduler": self.halving, "num_samples": self.left},
            self.heard,
            self.say,
        )

    def _close(self, status: Status) -> None:
        """End the copy in MLflow, and say what came out and where to look."""
        folder = self.recorded.folder
        warning = self.mirror.close(status, lambda: missing(folder, self.base))
        final = record.read(folder)
        if warning:
            self.say(f"warning: {warning}")
        where = look(self.mirror.parent, final)
        if where:
            self.say(where)
