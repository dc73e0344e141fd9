"""Before a run: archive and runtime opened, and everything checked that can be."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from math import ceil

import numpy as np

from raymmfl.algorithms import Algorithm
from raymmfl.archive.partition import Client, chosen_sensors, partition, pooled
from raymmfl.archive.store import Archive
from raymmfl.config import Config
from raymmfl.errors import ConfigError, PartitionError
from raymmfl.federation.plan import Plan
from raymmfl.federation.setting import Setting
from raymmfl.rounds import Say, Steer
from raymmfl.runtime.worker import make_plan
from raymmfl.scoring import Runtime, Split
from raymmfl.tasks import TASKS
from raymmfl.tracking_uri import check_store


@contextmanager
def opened(
    config: Config,
    algorithms: Sequence[Algorithm],
    address: str | None,
    say: Say,
    steer: Steer | None,
) -> Iterator[tuple[Archive, Runtime]]:
    """The archive and a runtime, with everything checked that can be before work begins.

    Args:
        config: of the run.
        algorithms: that will be trained.
        address: of an existing Ray cluster.
        say: receives each line for a person.
        steer: of a search, whose trials do not see the test split.

    Raises:
        RaymmflError: of the kind that fits.
    """
    if config.tracking.mlflow:
        check_store(config.tracking.uri)
    archive = Archive.open(config.archive.path, config.archive.coarsest_m)
    _check_masks(config, archive)
    clients = partition(archive, config.clients, config.seed)
    for algorithm in algorithms:
        _check_pairs(archive, clients, algorithm)
        setting_of(config, algorithm, archive)  # builds the model, which may refuse its settings
    unit = TASKS[config.task].unit
    for name in ("train", *splits_of(steer)):
        if not Split(archive, config, name).counts.any():
            raise PartitionError(
                f"the {name} split of {archive.path} has no labelled {unit} of the chosen "
                f"regions, seasons and sensors; choose others (clients.regions, clients.seasons), "
                f"or pack more scenes"
            )
    if config.resources.runtime == "ray":
        say("starting Ray and its client actors")
    runtime = _runtime(config, archive, ceil(config.clients.fraction * len(clients)), address)
    try:
        yield archive, runtime
    finally:
        runtime.close()


def setting_of(config: Config, algorithm: Algorithm, archive: Archive) -> Setting:
    """What is trained: clients and sharing plan.

    Raises:
        RaymmflError: clients that cannot be, or a model that refuses its settings.
    """
    clients: Sequence[Client] = partition(archive, config.clients, config.seed)
    if algorithm.pooled:
        clients = [pooled(clients)]
    draft = Setting(config, algorithm, Plan(()), tuple(clients), len(archive.targets))
    return replace(draft, plan=make_plan(archive, draft))


def splits_of(steer: Steer | None) -> tuple[str, ...]:
    """The splits a run scores; a search must not see the test split."""
    return ("val", "test") if steer is None else ("val",)


def _runtime(config: Config, archive: Archive, cohort: int, address: str | None) -> Runtime:
    if config.resources.runtime == "serial":
        from raymmfl.runtime.serial import SerialRuntime

        settings = config.resources
        return SerialRuntime(str(archive.path), settings.threads, gpu=settings.gpus > 0)
    from raymmfl.runtime.actors import RayRuntime  # a serial run does not need Ray at all

    return RayRuntime(str(archive.path), config.resources, cohort, address)


def _check_masks(config: Config, archive: Archive) -> None:
    if config.task != "pixels":
        return
    if archive.mask is None:
        raise ConfigError(
            f"task: pixels needs pixel labels, but the archive {archive.path} has none; choose "
            f"task: scenes, or pack an archive that has them"
        )
    for sensor in chosen_sensors(archive, config.clients):
        size = archive.sensors[sensor].size
        if size != archive.mask.size:
            raise ConfigError(
                f"task: pixels: {sensor} has {size} pixels per side, the pixel labels of "
                f"{archive.path} have {archive.mask.size}; leave the sensor out by clients.sensors"
            )


def _check_pairs(archive: Archive, clients: Sequence[Client], algorithm: Algorithm) -> None:
    if not algorithm.mim:
        return
    sensors_of_scene = np.zeros(len(archive.targets), np.int64)
    for sensor in archive.sensors:
        held = np.zeros(len(archive.targets), bool)
        for client in clients:
            if sensor in client.sensors:
                held[client.rows[archive.present(sensor)[client.rows]]] = True
        sensors_of_scene += held
    if not (sensors_of_scene > 1).any():
        raise PartitionError(
            f"{algorithm.name} links images of one scene from two sensors, but no training scene "
            f"is held with two sensors; choose an algorithm without +mim, or clients that share "
            f"scenes"
        )
