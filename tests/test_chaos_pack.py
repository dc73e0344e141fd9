"""Kills while packing, of the driver and of a Ray worker: the archive has the same bytes."""

import random
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from raymmfl.archive.packing.pack import pack
from raymmfl.archive.readers.layouts import LAYOUTS
from raymmfl.archive.readers.options import Options
from raymmfl.archive.synthetic.bigearthnet import synthesise_reben

pytestmark = pytest.mark.chaos

Launch = Callable[..., Any]
PATCHES = 130  # sixty-odd shards
PATIENCE_S = 120.0


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chaos") / "source"
    synthesise_reben(folder, patches=PATCHES, seed=1)
    return folder


@pytest.fixture(scope="module")
def undisturbed(source: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The files of an archive packed in one go, without Ray."""
    archive = pack(
        LAYOUTS["reben"].open(source, Options()), tmp_path_factory.mktemp("undisturbed") / "a"
    )
    return contents(archive.path)


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir())}


def begin(launch: Launch, source: Path, workers: int) -> Any:
    return launch(
        "archive", "pack", source, "--layout", "reben", "--out", "a", "--workers", str(workers)
    )


def wait_for(command: Any, pattern: str, count: int, folder: Path) -> None:
    """Wait until so many files of the working folder match."""
    deadline = time.monotonic() + PATIENCE_S
    while len(list((folder / ".a.packing").glob(pattern))) < count:
        assert command.process.poll() is None, f"ended too early: {command.errors.read_text()}"
        assert time.monotonic() < deadline, "nothing moves"
        time.sleep(0.002)


@pytest.mark.parametrize(
    ("seed", "workers", "pattern", "most"),
    [(1, 0, "shard-*/shard.json", 60), (2, 2, "shard-*/shard.json", 60), (3, 0, "merged-*", 2)],
    ids=["reading", "reading over Ray", "merging"],
)
def test_a_killed_driver(
    seed: int, workers: int, pattern: str, most: int,
    launch: Launch, source: Path, undisturbed: dict[str, bytes], tmp_path: Path,
) -> None:  # fmt: skip
    moments = random.Random(seed)
    command = begin(launch, source, workers)
    wait_for(command, pattern, moments.randint(1, most), tmp_path)
    time.sleep(moments.uniform(0, 0.02))
    assert command.stop(signal.SIGKILL) == -signal.SIGKILL
    assert not (tmp_path / "a").exists()
    working = tmp_path / ".a.packing"
    kept = {path: path.stat().st_mtime_ns for path in working.glob("shard-*/shard.json")}
    assert kept
    again = begin(launch, source, 0)
    assert again.end() == 0, again.errors.read_text()
    assert contents(tmp_path / "a") == undisturbed
    assert not working.exists()


def test_a_killed_ray_worker(
    launch: Launch, source: Path, undisturbed: dict[str, bytes], tmp_path: Path
) -> None:
    command = begin(launch, source, 2)
    wait_for(command, "shard-*/shard.json", random.Random(4).randint(5, 40), tmp_path)
    workers = [each for each in command.family() if title(each).startswith("ray::_call")]
    assert workers, "a Ray process is reading"
    workers[0].kill()
    assert command.end() == 0, command.errors.read_text()
    assert contents(tmp_path / "a") == undisturbed
    assert not list(tmp_path.glob(".a*"))


def title(process: psutil.Process) -> str:
    try:
        return " ".join(process.cmdline())
    except psutil.Error:
        return ""
