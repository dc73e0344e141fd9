"""Studies that are killed, whose clients die, whose store is locked: they end as undisturbed."""

import random
import re
import signal
import sqlite3
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest

from raymmfl import history
from raymmfl.config import Config
from raymmfl.configfile import dump
from raymmfl.tuning import record
from raymmfl.tuning.record import Recorded
from tests import servers

pytestmark = pytest.mark.chaos

Make = Callable[..., Config]
Launch = Callable[..., Any]
Digests = Callable[[Path], dict[str, str]]

TRIALS = 5
STUDY = f"""
from raymmfl.tuning.study import Stopping, Study


def space(trial):
    algorithm = trial.suggest_categorical("algorithm", ["mf", "mf+mim"])
    trial.suggest_float("train.lr", 1e-4, 1e-1, log=True)
    if algorithm == "mf+mim":
        trial.suggest_float("mim.weight", 0.01, 1.0, log=True)


STUDY = Study(
    name="killed",
    base="base.yaml",
    space=space,
    objectives={{"val/global/all/map": "max"}},
    baselines=({{"algorithm": "mf"}},),
    trials={TRIALS},
    startup=3,
    stopping=Stopping(first=2, keep=2),
)

if __name__ == "__main__":
    from raymmfl.cli.studies import main

    main(__file__)
"""


@dataclass
class Undisturbed:
    """What a study comes to that nothing happens to."""

    trials: bytes
    models: dict[str, str]
    rounds: dict[str, list[int]]


def prepare(tiny: Make, folder: Path, uri: str) -> None:
    """A study and its base in a folder."""
    config = tiny(
        rounds=5,
        algorithm="mf+mim",
        resources={"actors": 1, "cpus": 0.5},
        tracking={"mlflow": True, "uri": uri},
    )
    (folder / "base.yaml").write_text(dump(config))
    (folder / "study.py").write_text(STUDY)


def rounds_of(found: Recorded) -> dict[str, list[int]]:
    return {
        trial.name: [
            line["round"] for line in history.read(found.path(trial) / "history.jsonl")
        ]
        for trial in found.trials
    }  # fmt: skip


@pytest.fixture(scope="module")
def undisturbed(
    tiny: Make, digests: Digests, tmp_path_factory: pytest.TempPathFactory, empty_store: Path
) -> Undisturbed:
    """The same study in one go, started as a script."""
    import subprocess
    import sys

    folder = tmp_path_factory.mktemp("undisturbed")
    prepare(tiny, folder, f"sqlite:///{folder / 'mlflow.db'}")
    done = subprocess.run(
        [sys.executable, "study.py", "--out", "study"],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    found = record.read(folder / "study")
    assert {trial.status for trial in found.trials} == {"finished", "pruned"}, "both kinds occur"
    return Undisturbed(
        (folder / "study" / "trials.jsonl").read_bytes(),
        digests(folder / "study"),
        rounds_of(found),
    )


def check_whole(folder: Path, store: Path, wanted: Undisturbed, digests: Digests) -> None:
    """The same trials, settings, scores and models; in MLflow one closed run for each."""
    assert (folder / "study" / "trials.jsonl").read_bytes() == wanted.trials
    assert digests(folder / "study") == wanted.models
    found = record.read(folder / "study")
    assert rounds_of(found) == wanted.rounds
    assert not (folder / "study" / ".tune").exists()
    with sqlite3.connect(store) as base:
        statuses = dict(
            base.execute(
                "SELECT t.value, r.status FROM runs r JOIN tags t USING (run_uuid) "
                "WHERE t.key = 'run_folder'"
            ).fetchall()
        )
        (count,) = base.execute("SELECT count(*) FROM runs").fetchone()
        doubled = base.execute(
            "SELECT run_uuid, key, step, count(*) FROM metrics GROUP BY run_uuid, key, step "
            "HAVING count(*) > 1"
        ).fetchall()
    ended = {"finished": "FINISHED", "pruned": "KILLED", "failed": "FAILED"}
    assert statuses == {"study": "FINISHED"} | {
        f"study/{trial.name}": ended[trial.status] for trial in found.trials
    }
    assert count == TRIALS + 1
    assert doubled == []


# Where the study's process is killed: a line to wait for, and up to how many seconds later.
MOMENTS = {
    "as a trial begins": ("trial 1 (2 of 5) begins", 2.0),
    "in the middle of a trial": ("trial 2 (3 of 5) begins", 8.0),
    "around the end of a trial": ("trial 3 (4 of 5) begins", 12.0),
}


@pytest.mark.parametrize("moment", MOMENTS)
def test_study_killed(
    moment: str,
    undisturbed: Undisturbed,
    tiny: Make,
    digests: Digests,
    launch: Launch,
    tmp_path: Path,
    store: Path,
) -> None:
    prepare(tiny, tmp_path, f"sqlite:///{store}")
    text, delay_s = MOMENTS[moment]
    seeded = random.Random(moment)
    command = launch("tune", "study.py", "--out", "study")
    command.until(text)
    time.sleep(seeded.random() * delay_s)
    assert command.stop(signal.SIGKILL) == -signal.SIGKILL
    before = record.read(tmp_path / "study")
    last = launch("tune", "study.py", "--out", "study", "--resume")
    assert last.end() == 0, last.errors.read_text()
    begun = [line for line in last.lines if re.match(r"trial .*\) (begins|continues) ", line)]
    ended = [trial for trial in before.trials if trial.status != "running"]
    assert len(begun) == TRIALS - len(ended), "no trial that had ended was run again"
    check_whole(tmp_path, store, undisturbed, digests)


def test_interrupted_by_hand(
    undisturbed: Undisturbed,
    tiny: Make,
    digests: Digests,
    launch: Launch,
    tmp_path: Path,
    store: Path,
) -> None:
    prepare(tiny, tmp_path, f"sqlite:///{store}")
    command = launch("tune", "study.py", "--out", "study")
    command.until("trial 2 (3 of 5) begins")
    assert command.stop(signal.SIGINT, group=True) == 130
    assert any("--resume continues study" in line for line in command.lines)
    with sqlite3.connect(store) as base:
        running = base.execute("SELECT count(*) FROM runs WHERE status = 'RUNNING'").fetchone()
    assert running == (0,)
    last = launch("tune", "study.py", "--out", "study", "--resume")
    assert last.end() == 0, last.errors.read_text()
    check_whole(tmp_path, store, undisturbed, digests)


def test_clients_killed_and_the_store_locked(
    undisturbed: Undisturbed,
    tiny: Make,
    digests: Digests,
    launch: Launch,
    tmp_path: Path,
    store: Path,
) -> None:
    prepare(tiny, tmp_path, f"sqlite:///{store}")
    command = launch("tune", "study.py", "--out", "study")
    command.until("trial 0 (1 of 5) finished")

    def lock() -> None:
        base = sqlite3.connect(store, timeout=30)
        base.execute("BEGIN EXCLUSIVE")
        time.sleep(20)
        base.rollback()
        base.close()

    locking = threading.Thread(target=lock)
    locking.start()
    end = time.monotonic() + 60
    killed = 0
    while not killed and time.monotonic() < end:  # at work in trial 1
        for process in command.family():
            if ".play" in title(process):
                process.kill()
                killed += 1
                break
    assert killed == 1
    assert command.end() == 0, command.errors.read_text()
    locking.join()
    check_whole(tmp_path, store, undisturbed, digests)
    lines = [
        line
        for path in (tmp_path / "study").glob("trial_*/history.jsonl")
        for line in history.read(path)
    ]
    assert sum(line["clients"]["restarts"] for line in lines) == 1


def test_the_mlflow_server_killed_in_the_middle(
    undisturbed: Undisturbed,
    tiny: Make,
    digests: Digests,
    launch: Launch,
    tmp_path: Path,
    store: Path,
) -> None:
    port = servers.free_port()
    place = f"--backend-store-uri sqlite:///{store} --artifacts-destination {tmp_path / 'files'}"
    arguments = ["server", *place.split(), "--workers", "1"]
    server = servers.begin(arguments, port, tmp_path / "server.txt")
    prepare(tiny, tmp_path, f"http://127.0.0.1:{port}")
    command = launch("tune", "study.py", "--out", "study")
    command.until("trial 1 (2 of 5) begins")
    servers.end(server, kill=True)
    assert command.end() == 0, command.errors.read_text()
    (warning,) = [line for line in command.lines if line.startswith("warning: ")]
    assert "`raymmfl sync study` adds them later" in warning
    assert (tmp_path / "study" / "trials.jsonl").read_bytes() == undisturbed.trials
    server = servers.begin(arguments, port, tmp_path / "server.txt")
    again = launch("sync", "study")
    assert again.end() == 0, again.errors.read_text()
    servers.end(server)
    check_whole(tmp_path, store, undisturbed, digests)


def title(process: psutil.Process) -> str:
    """The process title, such as ray::ClientActor.play; empty when it is gone."""
    try:
        words = process.cmdline()
    except psutil.Error:
        return ""
    return words[0] if words and words[0].startswith("ray::") else ""
