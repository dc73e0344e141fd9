"""Ray Tune as a machine that runs jobs, each a whole run in a placement group of its own."""

import shutil
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path
from typing import Any

import psutil
import ray
from ray import tune
from ray.util.placement_group import PlacementGroup, remove_placement_group

from raymmfl.archive.partition import partition
from raymmfl.archive.store import Archive
from raymmfl.config import Config
from raymmfl.errors import ConfigError, RaymmflError, RunError
from raymmfl.rounds import Say
from raymmfl.runtime.cluster import connect
from raymmfl.runtime.place import cluster_nodes
from raymmfl.tuning.place import actors_per_trial, bundles
from raymmfl.tuning.trial import Job, play

RETRIES = 2  # of a trial whose process died; it continues from its folder
PATIENCE_S = 60.0  # without a running job, after which that is worth a line
SCRATCH = ".tune"  # what Ray Tune writes and nobody reads


@dataclass(frozen=True)
class Machine:
    """Where runs are played, and how many at a time.

    Attributes:
        concurrent: runs side by side.
        address: of an existing Ray cluster; None uses a running local one or starts one.
        time_s: after that many seconds nothing is begun, and what runs is left for another day;
            None sets no limit.
    """

    concurrent: int = 1
    address: str | None = None
    time_s: float | None = None

    def after(self, seconds: float) -> "Machine":
        """The same with what is left of its time."""
        left = None if self.time_s is None else max(self.time_s - seconds, 1.0)
        return replace(self, time_s=left)


class Results(tune.Callback):  # type: ignore[misc]
    """Passes each result on: the configuration of its job, and the result."""

    def __init__(self, heard: Callable[[dict[str, Any], dict[str, Any]], None], say: Say) -> None:
        self.heard, self.say = heard, say
        self.since = time.monotonic()  # when something last ran

    def on_step_begin(self, iteration: int, trials: Any, **info: Any) -> None:
        """Ray Tune's call, several times a second; a long wait for a place is told."""
        now = time.monotonic()
        if any(trial.status == "RUNNING" for trial in trials):
            self.since = now
        elif now - self.since > PATIENCE_S:
            self.since = now
            self.say("waiting: nothing can begin while other work holds the cluster's resources")

    def on_trial_result(
        self, iteration: int, trials: Any, trial: Any, result: Any, **info: Any
    ) -> None:
        """Ray Tune's call."""
        self.heard(trial.config, result)

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, for Ray Tune's snapshot of its own settings."""
        return {}


@contextmanager
def cluster(machine: Machine, say: Say) -> Iterator[None]:
    """Ray, for as long as it is needed."""
    if machine.concurrent < 1:
        raise ConfigError(f"--concurrent {machine.concurrent}: it must be at least 1")
    if not ray.is_initialized():
        say("starting Ray" if machine.address is None else f"connecting to {machine.address}")
    owned = connect(machine.address)
    try:
        yield
    finally:
        if owned:
            ray.shutdown()


def cohort(config: Config, archive: Archive) -> int:
    """Clients of the largest cohort of a run."""
    return ceil(config.clients.fraction * len(partition(archive, config.clients, config.seed)))


def actors(config: Config, clients: int, machine: Machine) -> int:
    """Client actors of each of the runs side by side.

    Args:
        config: whose resources each run gets.
        clients: of its largest cohort.
        machine: how many at a time.

    Raises:
        ResourceError: they do not fit on the cluster.
    """
    memory_gib = psutil.virtual_memory().available / 2**30
    nodes = cluster_nodes()
    return actors_per_trial(config.resources, clients, nodes, memory_gib, machine.concurrent)


def launch(
    jobs: Callable[[dict[str, Any]], Job],
    machine: Machine,
    resources: list[dict[str, float]],
    folder: Path,
    settings: dict[str, Any],
    heard: Callable[[dict[str, Any], dict[str, Any]], None],
    say: Say,
    param_space: dict[str, Any] | None = None,
) -> None:
    """Let Ray Tune run jobs.

    Args:
        jobs: makes a job from what the search algorithm, or ``param_space``, says.
        machine: where.
        resources: of each job, as bundles.
        folder: of the study.
        settings: of Ray Tune (search algorithm, scheduler, number of samples).
        heard: receives the configuration of a job with each of its results.
        say: receives each line for a person.
        param_space: fixed jobs instead of a search algorithm.

    Raises:
        RunError: Ray Tune itself failed; a failed job is not an error here.
    """
    scratch = folder / SCRATCH
    shutil.rmtree(scratch, ignore_errors=True)

    def trial(config: dict[str, Any]) -> None:
        play(jobs(config), tune.report)

    tuner = tune.Tuner(
        tune.with_resources(trial, _Reserved(resources)),
        param_space=param_space,
        tune_config=tune.TuneConfig(
            max_concurrent_trials=machine.concurrent,
            time_budget_s=machine.time_s,
            reuse_actors=True,
            trial_dirname_creator=lambda each: str(each.trial_id),
            **settings,
        ),
        run_config=tune.RunConfig(
            name="tune",
            storage_path=str(scratch.absolute()),
            verbose=0,
            failure_config=tune.FailureConfig(max_failures=RETRIES),
            callbacks=[Results(heard, say)],
        ),
    )
    try:
        tuner.fit()
    except RaymmflError:
        raise
    except Exception as error:
        cause = error.__cause__ or error
        raise RunError(f"Ray Tune failed: {type(cause).__name__}: {cause}") from error
    finally:
        _vacate()
        shutil.rmtree(scratch, ignore_errors=True)


_made: list[PlacementGroup] = []  # by this process; Ray Tune forgets them when it is interrupted


class _Reserved(tune.PlacementGroupFactory):  # type: ignore[misc]
    """The place of a job; remembers what was reserved."""

    def to_placement_group(self) -> PlacementGroup:
        """Reserve a place."""
        group = super().to_placement_group()
        _made.append(group)
        return group


def _vacate() -> None:
    """Remove what an interrupted Ray Tune left reserved, with the actors in it.

    Otherwise they would hold their processors as long as this process is connected to Ray.
    """
    while _made:
        remove_placement_group(_made.pop())


__all__ = ["Machine", "actors", "bundles", "cluster", "cohort", "launch"]
