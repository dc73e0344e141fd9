"""Small settings and workers for the tests of federated rounds."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from raymmfl.algorithms import ALGORITHMS
from raymmfl.archive.partition import Client, partition, pooled
from raymmfl.archive.store import Archive
from raymmfl.configfile import parse
from raymmfl.federation.plan import Plan
from raymmfl.federation.setting import Setting
from raymmfl.runtime.serial import SerialRuntime
from raymmfl.runtime.worker import Worker, make_plan


@pytest.fixture(scope="session")
def arrange(archive: Archive) -> Callable[..., Setting]:
    """Make a setting: ``arrange("mf", clients=..., train={"lr": 0.1})``."""

    def make(
        algorithm: str = "mf", clients: Sequence[Client] | None = None, **tree: Any
    ) -> Setting:
        plain = {
            "rounds": 3,
            "archive": {"path": str(archive.path)},
            "resources": {"runtime": "serial"},
            "tracking": {"mlflow": False},
        }
        if clients is None or isinstance(clients, dict):
            plain |= {"clients": clients or {}}
        config = parse({**plain, **tree})
        chosen = ALGORITHMS[algorithm]
        if clients is None or isinstance(clients, dict):
            clients = partition(archive, config.clients, config.seed)
        if chosen.pooled:
            clients = [pooled(clients)]
        draft = Setting(config, chosen, Plan(()), tuple(clients), len(archive))
        return replace(draft, plan=make_plan(archive, draft))

    return make


@pytest.fixture
def hire(archive: Archive) -> Callable[[Setting], Worker]:
    """Make a worker that is ready for a setting."""

    def make(setting: Setting) -> Worker:
        worker = Worker(str(archive.path), 1)
        worker.prepare(setting)
        return worker

    return make


@pytest.fixture
def begin(archive: Archive) -> Callable[[Setting], SerialRuntime]:
    """Make a serial runtime at the start of a training."""

    def make(setting: Setting) -> SerialRuntime:
        runtime = SerialRuntime(str(archive.path), 1)
        runtime.prepare(setting, None)
        return runtime

    return make
