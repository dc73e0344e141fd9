"""Tests of studies on the machines there are: shares of a GPU, another's cluster, a time limit."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from raymmfl import configfile
from raymmfl.config import Config
from raymmfl.configfile import dump
from raymmfl.tuning import record
from raymmfl.tuning.engine import search
from raymmfl.tuning.launch import Machine
from tests.tuning.by_hand import SCORE, make_study

pytestmark = pytest.mark.chaos  # long rather than cruel

Make = Callable[..., Config]
Digests = Callable[[Path], dict[str, str]]
Expected = Callable[[Config], dict[str, str]]

STUDY = """
from raymmfl.tuning.study import Study


def space(trial):
    trial.suggest_categorical("wire.weights", ["float32", "float16", "int8"])
    trial.suggest_int("rounds", 1, 2)


STUDY = Study(
    name="machine",
    base="base.yaml",
    space=space,
    objectives={"val/global/all/f1_macro": "max", "mb": "min", "flops": "min"},
    baselines=({"wire.weights": "int8"},),
    trials=4,
    startup=2,
    stopping=None,
)
"""

# A cluster that says it has a GPU: Ray hands out shares of it, the clients train on the CPU.
WITH_A_GPU = """
import json, sys
from pathlib import Path
import raymmfl.runtime
import ray
from ray.util import placement_group_table
from raymmfl.tuning.engine import search
from raymmfl.tuning.launch import Machine
from raymmfl.tuning.studyfile import load_study

ray.init(num_cpus=2, num_gpus=1, include_dashboard=False, log_to_driver=False)
seen = []

def say(line):
    if " finished " in line:
        groups = [each for each in placement_group_table().values() if each["state"] == "CREATED"]
        seen.append([list(each["bundles"].values()) for each in groups])

search(load_study(Path("study.py")), Path("study"), machine=Machine(concurrent=2), say=say)
Path("seen.json").write_text(json.dumps(seen))
"""


@pytest.fixture
def folder(tiny: Make, tmp_path: Path) -> Path:
    """A folder with the study and its base."""
    (tmp_path / "study.py").write_text(STUDY)
    config = tiny(rounds=2, algorithm="mf", resources={"actors": 1, "cpus": 0.5, "gpus": 0.5})
    (tmp_path / "base.yaml").write_text(dump(config))
    return tmp_path


def test_two_trials_share_a_gpu(folder: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITH_A_GPU], cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads((folder / "seen.json").read_text())
    assert all(group == [{"CPU": 0.5, "GPU": 0.5}] for groups in seen for group in groups)
    assert max(map(len, seen)) == 2, "both halves are in use at once, and no third"
    found = record.read(folder / "study")
    assert [trial.status for trial in found.trials] == ["finished"] * 4
    if not torch.cuda.is_available():
        history = (folder / "study" / "trial_0000" / "history.jsonl").read_text()
        assert "torch finds no GPU" in history, "nobody takes a share of nothing for a GPU"


def test_more_trials_than_fit_leave_nothing_behind(
    folder: Path, launch: Callable[..., Any]
) -> None:
    command = launch("tune", "study.py", "resources.gpus=0", "--concurrent", "1000")
    assert command.end() == 3
    said = command.errors.read_text()
    assert "1000 concurrent trials of 1 client actor with resources.cpus=0.5" in said
    assert "do not fit" in said
    assert not (folder / "runs").exists()


@pytest.mark.usefixtures("ray_cluster")
def test_a_study_with_several_objectives_on_a_cluster_that_runs_already(
    folder: Path, launch: Callable[..., Any]
) -> None:
    import ray

    address = ray.get_runtime_context().gcs_address
    command = launch(
        "tune", "study.py", "resources.gpus=0", "--concurrent", "2", "--address", address,
        "--out", "study",
    )  # fmt: skip
    assert command.end() == 0, command.errors.read_text()
    assert any(line.startswith(f"connecting to {address}") for line in command.lines)
    assert any(line.startswith("Pareto front:") for line in command.lines)
    found = record.read(folder / "study")
    assert [trial.status for trial in found.trials] == ["finished"] * 4
    for trial in found.trials:
        lines = found.lines(trial)
        rounds = trial.settings["rounds"]
        assert len(lines) == rounds
        moved = sum(sum(each.values()) for line in lines for each in line["bytes"].values())
        assert trial.values[0] == lines[-1]["metrics"][SCORE]
        assert trial.values[1:] == [moved / 1e6, sum(line["flops"] for line in lines)]
    whole, small = found.trials[0], found.trials[1]
    assert (whole.settings["wire.weights"], small.settings["wire.weights"]) == ("float32", "int8")
    # a byte per weight instead of four; moments and counters keep their format
    assert whole.values[1] / 4 < small.values[1] < whole.values[1] / 3
    assert ray.is_initialized(), "the cluster is somebody else's and goes on"


@pytest.mark.usefixtures("ray_cluster")
def test_a_study_that_has_no_more_time_is_continued(
    tiny: Make, tmp_path: Path, expected: Expected, digests: Digests
) -> None:
    config = tiny(rounds=8, algorithm="mf", resources={"actors": 1})
    (tmp_path / "base.yaml").write_text(dump(config))
    base = str(tmp_path / "base.yaml")
    study = make_study(base=base, trials=3, stopping=None)
    said: list[str] = []
    out = tmp_path / "study"
    before = search(study, out, machine=Machine(time_s=9.0), say=said.append)
    assert any(line == f"the time is up; --resume continues {out}" for line in said)
    assert len([trial for trial in before.trials if trial.status == "finished"]) < 3
    found = search(study, out, resume=True)
    assert [trial.status for trial in found.trials] == ["finished"] * 3
    for was, trial in zip(before.trials, found.trials, strict=False):
        assert was.settings == trial.settings
    for trial in found.trials:
        run = configfile.load(found.path(trial) / "config.yaml")
        assert digests(found.path(trial)) == expected(run)
