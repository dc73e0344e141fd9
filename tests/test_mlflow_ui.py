"""Tests of MLflow's web interface in a browser: the printed command and links show the runs."""

import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from raymmfl.archive.store import Archive
from raymmfl.config import Config
from raymmfl.run import run
from raymmfl.tuning import record
from raymmfl.tuning.links import look
from raymmfl.tuning.mirror import StudyMirror, missing
from tests import servers
from tests.tuning.by_hand import SCORE, drive, make_facts, make_study

ATTEMPTS = 4  # a busy machine may not have drawn the page when the browser's own time is over
BROWSERS = ("chromium", "chromium-browser", "google-chrome")

pytestmark = pytest.mark.chaos  # long rather than cruel


@pytest.fixture(scope="module")
def browser() -> str:
    for name in BROWSERS:
        found = shutil.which(name)
        if found:
            return found
    pytest.skip(f"none of {', '.join(BROWSERS)} is here to look at MLflow's pages with")


@pytest.fixture(scope="module")
def said(
    browser: str,
    tiny: Callable[..., Config],
    archive: Archive,
    empty_store: Path,
    tmp_path_factory: pytest.TempPathFactory,
) -> dict[str, str]:
    """What is printed after a run with a baseline, and after a study with trials cut short."""
    folder = tmp_path_factory.mktemp("ui")
    store = shutil.copy(empty_store, folder / "mlflow.db")
    config = tiny(
        rounds=2,
        algorithm="mf",
        baselines=["fedavg"],
        resources={"runtime": "serial"},
        tracking={"mlflow": True, "uri": f"sqlite:///{store}"},
    )
    lines: list[str] = []
    run(config, folder / "alone", say=lines.append)

    study = make_study(name="sweep")
    (folder / "sweep").mkdir()
    record.write_facts(folder / "sweep", make_facts(name=study.name))
    drive(study, folder / "sweep")
    recorded = record.read(folder / "sweep")
    mirror = StudyMirror(recorded, config, archive)
    assert not mirror.close("FINISHED", lambda: missing(recorded.folder, config))
    return {"run": "\n".join(lines), "study": look(mirror.parent, recorded)}


@pytest.fixture(scope="module")
def port(said: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """Of a server started by the printed command, but for the port; it ends with all it began."""
    (command,) = set(re.findall(r"^mlflow ui .*$", "\n".join(said.values()), re.MULTILINE))
    number = servers.free_port()
    log = tmp_path_factory.mktemp("server") / "log.txt"
    server = servers.begin(shlex.split(command)[1:], number, log)
    yield number
    servers.end(server)


@pytest.fixture
def page(browser: str, port: int, tmp_path: Path) -> Callable[..., str]:
    """Opens a printed link and returns the page, once it holds all that it should."""

    def open_page(link: str, *parts: str) -> str:
        assert link.startswith("http://127.0.0.1:5000/#/")
        address, found = link.replace("5000", str(port), 1), ""
        for attempt in range(ATTEMPTS):
            done = subprocess.run(
                [
                    browser, "--headless=new", "--no-sandbox", "--disable-dev-shm-usage",
                    "--window-size=1600,2000", f"--user-data-dir={tmp_path / str(attempt)}",
                    "--virtual-time-budget=20000", "--dump-dom", address,
                ],
                capture_output=True,
                text=True,
                timeout=servers.PATIENCE_S,
                check=False,
            )  # fmt: skip
            found = done.stdout
            if all(part in found for part in parts):
                return found
        lacks = [part for part in parts if part not in found]
        pytest.fail(f"{link} does not show {lacks}; the page has {len(found)} characters")

    return open_page


def link(text: str, after: str) -> str:
    """The link that follows a line that begins so."""
    lines = text.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith(after))
    return next(line for line in lines[at:] if line.startswith("http"))


def test_the_run_and_its_baseline(said: dict[str, str], page: Callable[..., str]) -> None:
    shown = page(link(said["run"], "the run in MLflow"), "alone mf seed 0", "alone fedavg seed 0")
    assert "val/global/all/map" in shown


def test_the_curves_of_the_run(said: dict[str, str], page: Callable[..., str]) -> None:
    names = (f"val/global/{sensors}/map" for sensors in ("all", "S1", "S2"))
    page(link(said["run"], "its learning curves"), *names, "(step=2)")


def test_the_figures_of_the_run(said: dict[str, str], page: Callable[..., str]) -> None:
    page(link(said["run"], "its figures"), "figures/comparison.png", "<img")


def test_the_table_of_all_runs(said: dict[str, str], page: Callable[..., str]) -> None:
    page(link(said["run"], "all runs"), "alone mf seed 0", "study sweep", "trial_0000 mf+mim")


def test_the_study_lists_its_trials(said: dict[str, str], page: Callable[..., str]) -> None:
    page(
        link(said["study"], "the study in MLflow"),
        "study sweep",
        "rounds were run",
        *(f"trial_000{number} " for number in range(9)),
    )


def test_trials_side_by_side(said: dict[str, str], page: Callable[..., str]) -> None:
    shown = page(
        link(said["study"], "its trials side by side"),
        "Comparing 9 Runs",
        "Parallel Coordinates Plot",
        "trial_0008",
    )
    axes = shown.partition("Run details")[0]
    for name in ("algorithm", "mim.weight", "train.lr", SCORE):
        assert name in axes, "chosen by itself"


def test_the_curves_of_the_trials(said: dict[str, str], page: Callable[..., str]) -> None:
    page(link(said["study"], "their learning curves"), SCORE, "trial_0000", "(step=6)")


def test_the_table_of_the_trials(said: dict[str, str], page: Callable[..., str]) -> None:
    page(link(said["study"], "the table of them"), *(f"trial_000{n} " for n in range(9)))
