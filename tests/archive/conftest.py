"""A tiny synthetic source and its archive, made once; the real tiles where RAYMMFL_DATA is set."""

import os
import shutil
from pathlib import Path

import pytest

from raymmfl.archive.packing.pack import pack
from raymmfl.archive.readers.layouts import LAYOUTS
from raymmfl.archive.readers.options import Options
from raymmfl.archive.store import Archive
from raymmfl.archive.synthetic.dynamicworld import synthesise_dynamicworld
from raymmfl.archive.synthetic.tiles import synthesise

PATCH = 16


@pytest.fixture(scope="session")
def tiny_source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two regions of one tile, 128 pixels: a grid of 8x8 blocks. Only to be read."""
    folder = tmp_path_factory.mktemp("tiny") / "source"
    synthesise(folder, seed=3, regions=["Austria", "Portugal"], tiles=1, size=128)
    return folder


@pytest.fixture(scope="session")
def tiny_archive(tiny_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Archive:
    """The tiny source packed. Only to be read."""
    source = LAYOUTS["synthetic"].open(tiny_source, Options(patch=PATCH))
    return pack(source, tmp_path_factory.mktemp("packed") / "archive")


@pytest.fixture
def source(tiny_source: Path, tmp_path: Path) -> Path:
    """A copy of the tiny source to be spoiled."""
    return Path(shutil.copytree(tiny_source, tmp_path / "source"))


@pytest.fixture(scope="session")
def terramesh() -> Path:
    """The folder of real tiles."""
    data = os.environ.get("RAYMMFL_DATA")
    if not data:
        pytest.skip("RAYMMFL_DATA is not set: no real tiles to read")
    return Path(data) / "terramesh_tiles"


@pytest.fixture(scope="session")
def dynamicworld(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Synthetic expert tiles: four of each of six sites, of 96 pixels. Only to be read."""
    folder = tmp_path_factory.mktemp("dynamicworld") / "source"
    synthesise_dynamicworld(folder, tiles=24, seed=1, size=96)
    return folder
