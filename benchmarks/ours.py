"""Our side of the round benchmark: the Ray runtime, driven as a run drives it."""

from dataclasses import replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.workload import BATCH, RATE, SEED, Work
from raymmfl.algorithms import ALGORITHMS
from raymmfl.archive.partition import partition
from raymmfl.archive.store import Archive
from raymmfl.config import Config
from raymmfl.configfile import parse
from raymmfl.federation.plan import Plan
from raymmfl.federation.server import State
from raymmfl.federation.setting import Setting
from raymmfl.runtime.actors import RayRuntime
from raymmfl.runtime.worker import make_plan


def make_config(work: Work, archive: Path) -> Config:
    """The configuration that asks for the same work as the bare loop."""
    return parse(
        {
            "seed": SEED,
            "rounds": 1000,
            "archive": {"path": str(archive)},
            "model": {"backbone": work.backbone, "norm": "batch"},
            "train": {
                "epochs": 1,
                "batch_size": BATCH,
                "optimizer": "sgd",
                "lr": RATE,
                "augment": False,
            },
            "resources": {"runtime": "ray", "actors": "auto", "threads": 1},
        }
    )


def make_setting(work: Work, path: Path) -> Setting:
    """A training of MF, without MIM and without whitening."""
    config = make_config(work, path)
    archive = Archive.open(path)
    clients = tuple(partition(archive, config.clients, config.seed))
    draft = Setting(config, ALGORITHMS["mf"], Plan(()), clients, len(archive.targets))
    return replace(draft, plan=make_plan(archive, draft))


def start(work: Work, path: Path) -> RayRuntime:
    """A runtime ready for its first round."""
    config = make_config(work, path)
    runtime = RayRuntime(str(path), config.resources, 10)
    runtime.prepare(make_setting(work, path), None)
    return runtime


def weights(setting: Setting, state: State) -> dict[str, NDArray[np.generic]]:
    """The trainable weights by name."""
    return {
        slot.name: state.flat.read(setting.plan, slot)
        for slot in setting.plan.shared()
        if slot.kind == "weights"
    }
