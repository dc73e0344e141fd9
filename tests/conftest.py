"""Fixtures shared by all tests: a small synthetic archive, real data where it is, one Ray."""

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from raymmfl.archive.layouts import LAYOUTS
from raymmfl.archive.pack import pack
from raymmfl.archive.store import Archive
from raymmfl.archive.synthetic import synthesise

torch.set_num_threads(1)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real samples; tests that need it skip where it is not."""
    folder = os.environ.get("RAYMMFL_DATA")
    if not folder:
        pytest.skip("RAYMMFL_DATA is not set: no real Sentinel-1/2 samples here")
    return Path(folder)


@pytest.fixture(scope="session")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """Two synthetic regions of 16-pixel patches: some 90 training scenes with S1 and S2 each."""
    folder = tmp_path_factory.mktemp("archive")
    synthesise(folder / "tiles", seed=7, regions=("Austria", "Finland"), tiles=1, size=192)
    return pack(folder / "tiles", folder / "packed", LAYOUTS["synthetic"], patch=16)


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One Ray for the whole session, of four logical CPUs."""

    import ray

    ray.init(num_cpus=4, include_dashboard=False, log_to_driver=False, logging_level="ERROR")
    yield
    ray.shutdown()
