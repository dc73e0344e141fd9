"""Fixtures shared by all tests: a small synthetic archive, real data where it is, one Ray."""

import hashlib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

import raymmfl.runtime  # noqa: F401  (sets what Ray reads when it is imported)
from raymmfl.archive.packing.pack import pack
from raymmfl.archive.readers.layouts import LAYOUTS
from raymmfl.archive.readers.options import Options
from raymmfl.archive.readers.source import Format, Reading, Scene, SensorFormat, Unit
from raymmfl.archive.store import Archive, Column, mask_column
from raymmfl.archive.synthetic.tiles import synthesise
from raymmfl.config import Config
from raymmfl.configfile import parse

torch.set_num_threads(1)

PATIENCE_S = 60.0  # bounds what would else wait for ever; no test is about how long it takes
TINY: dict[str, Any] = {
    "name": "tiny",
    "rounds": 4,
    "algorithm": "mf+fw+mim",
    "model": {"backbone": "cnn", "projection": 16},
    "train": {"batch_size": 16},
    "resources": {"cpus": 1.0, "threads": 1},
    "tracking": {"mlflow": False},
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of the session's Ray go to one process, so that there is one such Ray."""
    for item in items:
        if "ray_cluster" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("ray"))


@pytest.fixture(autouse=True)
def no_test_hangs(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test that waits for ever fails instead."""

    def give_up(signum: int, frame: object) -> None:
        raise TimeoutError("the test hangs")

    limit_s = 900 if request.node.get_closest_marker("chaos") else 300
    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(limit_s)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


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
    tiles = LAYOUTS["synthetic"].open(folder / "tiles", Options(patch=16))
    return pack(tiles, folder / "packed")


@dataclass(frozen=True)
class GivenScenes:
    """A source of scenes that a test made by hand; one unit each."""

    root: Path
    format: Format
    scenes: Sequence[Scene]

    def units(self) -> list[Unit]:
        """A unit for each scene."""
        return [
            Unit(s.scene_id, s.split, s.region, s.date, number)
            for number, s in enumerate(self.scenes)
        ]

    def tables(self) -> list[Path]:
        """None."""
        return []

    def read(self, unit: Unit) -> Reading:
        """The scene itself."""
        return Reading([self.scenes[unit.details]])


@pytest.fixture(scope="session")
def handmade(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Archive]:
    """Packs scenes: make(scenes, {sensor: columns}, labels, units={sensor: unit})."""

    def make(
        scenes: Sequence[Scene],
        sensors: Mapping[str, tuple[Column, ...]],
        labels: tuple[str, ...],
        units: Mapping[str, str],
    ) -> Archive:
        folder = tmp_path_factory.mktemp("handmade")
        masks = [scene.mask for scene in scenes if scene.mask is not None]
        form = Format(
            layout="handmade",
            sensors=tuple(SensorFormat(n, columns, units[n]) for n, columns in sensors.items()),
            labels=labels,
            mask=mask_column(len(masks[0]), 10.0) if masks else None,
            attributes=tuple(scenes[0].attributes),
            licence="none",
            provenance="made by a test",
            synthetic=True,
            options={},
        )
        return pack(GivenScenes(folder / "source", form, scenes), folder / "packed")

    return make


@pytest.fixture(scope="session")
def ray_cluster() -> Iterator[None]:
    """One Ray for the whole session, of four logical CPUs and no GPU."""
    import ray

    ray.init(
        num_cpus=4,
        num_gpus=0,
        include_dashboard=False,
        log_to_driver=False,
        logging_level="ERROR",
        object_store_memory=200 * 2**20,
    )
    yield
    ray.shutdown()


@pytest.fixture(scope="session")
def tiny(archive: Archive) -> Callable[..., Config]:
    """Makes a small configuration; keywords change it, sections key by key."""

    def make(**changes: Any) -> Config:
        tree = {**TINY, "archive": {"path": str(archive.path)}}
        for key, value in changes.items():
            tree[key] = {**tree.get(key, {}), **value} if isinstance(value, dict) else value
        return parse(tree)

    return make


def model_digests(folder: Path) -> dict[str, str]:
    """Sha256 of every model of a run folder, those of its baselines too."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("model.safetensors"))
    }


@pytest.fixture(scope="session")
def digests() -> Callable[[Path], dict[str, str]]:
    """The sha256 of every model of a run folder."""
    return model_digests


@pytest.fixture(scope="session")
def expected(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[Config], dict[str, str]]:
    """The models' sha256 that one undisturbed process without Ray gets; computed once each."""
    from raymmfl.run import run

    known: dict[str, dict[str, str]] = {}

    def find(config: Config) -> dict[str, str]:
        serial = config.resources.model_copy(update={"runtime": "serial"})
        silent = config.tracking.model_copy(update={"mlflow": False})
        plain = config.model_copy(update={"resources": serial, "tracking": silent})
        key = plain.model_dump_json(exclude={"resources"})
        if key not in known:
            known[key] = model_digests(run(plain, tmp_path_factory.mktemp("expected") / "run"))
        return known[key]

    return find


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A SQLite store with MLflow's tables, which take seconds to make; tests copy it."""
    import mlflow

    file = tmp_path_factory.mktemp("store") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def store(empty_store: Path, tmp_path: Path) -> Path:
    """A store of the test's own."""
    return Path(shutil.copy(empty_store, tmp_path / "mlflow.db"))


class Command:
    """A running `raymmfl`, whose lines can be waited for and which can be killed."""

    def __init__(
        self, arguments: tuple[str | Path, ...], folder: Path, slow: list[psutil.Process]
    ) -> None:
        self.slow = slow
        self.errors = folder / f"stderr-{time.monotonic_ns()}.txt"
        with self.errors.open("w") as errors:
            self.process = subprocess.Popen(
                [Path(sys.executable).with_name("raymmfl"), *arguments],
                stdout=subprocess.PIPE,
                stderr=errors,
                cwd=folder,
                text=True,
                start_new_session=True,
                # a shell that runs the tests in the background lets SIGINT be ignored
                preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
            )
        self.lines: list[str] = []

    def until(self, text: str) -> None:
        """Wait for a line that holds the text."""
        assert self.process.stdout is not None
        for line in self.process.stdout:
            self.lines.append(line.rstrip("\n"))
            if text in line:
                return
        pytest.fail(f"ended before {text!r}: {self.lines[-3:]} {self.errors.read_text()}")

    def family(self) -> list[psutil.Process]:
        """All processes below it; Ray's own among them."""
        return list(psutil.Process(self.process.pid).children(recursive=True))

    def stop(self, number: int, group: bool = False) -> int:
        """Send a signal; the exit status, once it and all processes below it are gone.

        With ``group`` all of them get the signal, as from a terminal.
        """
        family = self.family()
        agents = [each for each in family if each.name().endswith("Agent")]
        if group:
            os.killpg(self.process.pid, number)
        else:
            self.process.send_signal(number)
        status = self.end()
        self.slow += agents
        _, alive = psutil.wait_procs(set(family) - set(agents), timeout=PATIENCE_S)
        assert not alive, f"left behind: {alive}"
        return status

    def end(self) -> int:
        """Wait for its end; the exit status."""
        assert self.process.stdout is not None
        self.lines += self.process.stdout.read().splitlines()
        status = self.process.wait(timeout=PATIENCE_S)
        self.process.stdout.close()
        return status


@pytest.fixture(scope="session")
def slow_to_go() -> Iterator[list[psutil.Process]]:
    """Ray's two agents, which first try for a minute to report that a killed Ray is gone."""
    found: list[psutil.Process] = []
    yield found
    _, alive = psutil.wait_procs(found, timeout=2 * PATIENCE_S)
    assert not alive, f"left behind: {alive}"


@pytest.fixture
def launch(tmp_path: Path, slow_to_go: list[psutil.Process]) -> Iterator[Callable[..., Command]]:
    """Starts a `raymmfl` in the test's folder; what still runs at the test's end is killed."""
    begun: list[Command] = []

    def start(*arguments: str | Path) -> Command:
        begun.append(Command(arguments, tmp_path, slow_to_go))
        return begun[-1]

    yield start
    for each in begun:
        if each.process.poll() is None:
            for process in each.family():
                process.kill()
            each.process.kill()
