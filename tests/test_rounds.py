"""Tests of whole serial runs: equal bits, resuming after every kind of damage, faults by name."""

import json
import math
import re
import shutil
from collections.abc import Callable, Sequence
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from safetensors.numpy import load_file

from raymmfl import history
from raymmfl.algorithms import ALGORITHMS, Algorithm
from raymmfl.archive.store import Archive
from raymmfl.archive.tables import read_table
from raymmfl.config import Config
from raymmfl.configfile import parse
from raymmfl.errors import CheckpointError, PartitionError, RunError
from raymmfl.files import sha256, sole_owner
from raymmfl.learning.batches import Images
from raymmfl.run import resume, run
from raymmfl.runtime.worker import Worker

Configure = Callable[..., Config]


@pytest.fixture
def configure(archive: Archive) -> Configure:
    """Make the configuration of a tiny serial run."""

    def make(**tree: Any) -> Config:
        plain: dict[str, Any] = {
            "name": "tiny",
            "rounds": 3,
            "archive": {"path": str(archive.path)},
            "resources": {"runtime": "serial"},
            "tracking": {"mlflow": False},
        }
        return parse({**plain, **tree})

    return make


@pytest.fixture(autouse=True)
def no_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures have their own tests and take most of a tiny run's time."""
    monkeypatch.setattr("raymmfl.results.draw", lambda *_: None)


def digest(out: Path) -> str:
    return sha256((out / "model.safetensors").read_bytes())


def without_times(out: Path) -> list[dict[str, Any]]:
    """The history but for what may differ from run to run."""
    lines = history.read(out / "history.jsonl")
    for line in lines:
        del line["seconds"], line["clients"]["spread"]["seconds"], line["warnings"]
    return lines


@pytest.fixture(scope="module")
def finished(archive: Archive, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of three rounds, to be copied and damaged."""
    config = parse(
        {
            "rounds": 3,
            "algorithm": "mf+fw+mim",
            "clients": {"fraction": 0.75},
            "archive": {"path": str(archive.path)},
            "resources": {"runtime": "serial"},
            "tracking": {"mlflow": False},
        }
    )
    return run(config, tmp_path_factory.mktemp("finished") / "run")


@pytest.fixture
def stopped(finished: Path, tmp_path: Path) -> Path:
    """A copy of it that was killed after the third round, before the result."""
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    (out / "result.json").unlink()
    (out / "model.safetensors").unlink()
    return out


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def newest(out: Path) -> Path:
    return max(path for path in (out / "checkpoints").iterdir() if path.name.isdigit())


def check_equal(out: Path, finished: Path) -> None:
    assert digest(out) == digest(finished)
    assert without_times(out) == without_times(finished)
    results = [json.loads((each / "result.json").read_text()) for each in (out, finished)]
    assert results[0] == results[1]
    ledgers = [read_table(each / "ledger.parquet") for each in (out, finished)]
    assert ledgers[0] == ledgers[1]


def test_two_runs_give_equal_bits(finished: Path, tmp_path: Path) -> None:
    config = parse(_config_of(finished))
    np.random.seed(1)  # noqa: NPY002
    torch.manual_seed(1)
    check_equal(run(config, tmp_path / "again"), finished)


def _config_of(out: Path) -> dict[str, Any]:
    tree: dict[str, Any] = yaml.safe_load((out / "config.yaml").read_text())
    return tree


def test_another_seed_gives_another_model(finished: Path, tmp_path: Path) -> None:
    other = run(parse({**_config_of(finished), "seed": 1}), tmp_path / "other")
    assert digest(other) != digest(finished)


def test_the_run_folder_holds_what_it_promises(finished: Path) -> None:
    lines = history.read(finished / "history.jsonl")
    assert [line["round"] for line in lines] == [1, 2, 3]
    result = json.loads((finished / "result.json").read_text())
    assert result["model_sha256"] == digest(finished)
    assert (result["algorithm"], result["rounds"], result["synthetic"]) == ("mf+fw+mim", 3, True)
    assert {"test/global/all/map", "test/home/S1/f1_macro"} <= set(result["metrics"])
    assert set(result["thresholds"]) == set(lines[-1]["thresholds"])
    assert "guess" in result["baselines"]
    moved: dict[str, dict[str, int]] = {"up": {}, "down": {}}
    for line in lines:
        assert line["clients"]["cohort"] == line["clients"]["accepted"] == 3
        for way, purposes in line["bytes"].items():
            for purpose, size in purposes.items():
                moved[way][purpose] = moved[way].get(purpose, 0) + size
    assert moved == result["bytes"]
    ledger = read_table(finished / "ledger.parquet")
    assert sum(ledger["bytes"]) == sum(sum(each.values()) for each in moved.values())
    model = load_file(finished / "model.safetensors")
    assert all(np.isfinite(array).all() for array in model.values())


def test_resuming_without_the_newest_checkpoint(stopped: Path, finished: Path) -> None:
    shutil.rmtree(newest(stopped))
    resume(stopped)
    check_equal(stopped, finished)


@pytest.mark.parametrize("which", ["state.safetensors", "checkpoint.json", "memory"])
def test_a_flipped_byte_costs_one_round_and_is_told(
    stopped: Path, finished: Path, which: str
) -> None:
    path = newest(stopped) / which
    if which == "memory":
        path = next((stopped / "checkpoints/memory").glob("*-00003.safetensors"))
    flip(path)
    said: list[str] = []
    resume(stopped, say=said.append)
    check_equal(stopped, finished)
    warnings = history.read(stopped / "history.jsonl")[-1]["warnings"]
    assert len([each for each in warnings if str(path) in each]) == 1
    assert len([each for each in said if str(path) in each]) == 1


def test_a_torn_line_and_a_missing_line_are_mended(stopped: Path, finished: Path) -> None:
    path = stopped / "history.jsonl"
    whole = path.read_bytes()
    path.write_bytes(whole[:-20])  # the last line is torn
    resume(stopped)
    check_equal(stopped, finished)
    for name in ("result.json", "model.safetensors"):
        (stopped / name).unlink()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:-1]))  # killed between checkpoint and line
    resume(stopped)
    check_equal(stopped, finished)


def test_resuming_at_the_untrained_state(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure()
    whole = run(config, tmp_path / "whole")

    def killed(*_: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("raymmfl.runtime.serial.SerialRuntime.round", killed)
        with pytest.raises(KeyboardInterrupt):
            run(config, tmp_path / "killed")
    assert [path.name for path in (tmp_path / "killed/checkpoints").glob("0*")] == ["00000"]
    resume(tmp_path / "killed")
    check_equal(tmp_path / "killed", whole)


@pytest.mark.parametrize("moment", ["round", "save", "add", "score"])
def test_killed_at_any_moment_of_round_two(
    finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    config = parse(_config_of(finished))
    target = {
        "round": "raymmfl.runtime.serial.SerialRuntime.round",
        "save": "raymmfl.checkpoint.Checkpoints._prune",
        "add": "raymmfl.rounds._Diary.add",
        "score": "raymmfl.rounds._scored",
    }[moment]
    owner, name = target.rsplit(".", 1)
    calls = []
    module, _, cls = owner.rpartition(".")
    holder = import_module(owner) if moment == "score" else getattr(import_module(module), cls)
    original = getattr(holder, name)

    def dying(*arguments: Any) -> Any:
        calls.append(moment)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return original(*arguments)

    out = tmp_path / "killed"
    with monkeypatch.context() as patch:
        patch.setattr(target, dying)
        with pytest.raises(KeyboardInterrupt):
            run(config, out)
    resume(out)
    check_equal(out, finished)


def test_a_finished_run_is_left_alone(finished: Path, tmp_path: Path) -> None:
    out = tmp_path / "run"
    shutil.copytree(finished, out)
    before = {path: path.read_bytes() for path in out.rglob("*") if path.is_file()}
    said: list[str] = []
    assert resume(out, say=said.append) == out
    assert "finished" in said[0]
    assert {path: path.read_bytes() for path in out.rglob("*") if path.is_file()} == before


def test_an_existing_folder_and_missing_checkpoints_are_errors(
    configure: Configure, stopped: Path, tmp_path: Path
) -> None:
    with pytest.raises(CheckpointError, match="exists already"):
        run(configure(), stopped)
    for folder in (stopped / "checkpoints").iterdir():
        if folder.name.isdigit():
            flip(folder / "state.safetensors")
    with pytest.raises(CheckpointError, match="no whole checkpoint") as error:
        resume(stopped)
    assert str(error.value).count("state.safetensors") == 2
    shutil.rmtree(stopped / "checkpoints")
    with pytest.raises(CheckpointError, match="no whole checkpoint"):
        resume(stopped)
    with pytest.raises(CheckpointError, match="no run folder"):
        resume(tmp_path)


def test_another_archive_is_an_error(stopped: Path) -> None:
    path = stopped / "environment.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "archive": "0" * 64}))
    with pytest.raises(CheckpointError, match="is not the one that"):
        resume(stopped)


def test_a_changed_machine_is_told(stopped: Path) -> None:
    shutil.rmtree(newest(stopped))
    path = stopped / "environment.json"
    before = json.loads(path.read_text())
    path.write_text(json.dumps({**before, "processor": "abacus"}))
    resume(stopped)
    warnings = history.read(stopped / "history.jsonl")[-1]["warnings"]
    assert sum("processor was abacus" in each for each in warnings) == 1


def test_missing_history_lines_are_an_error(stopped: Path) -> None:
    path = stopped / "history.jsonl"
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    with pytest.raises(CheckpointError, match=r"it has \[1\], the checkpoint is of round 3"):
        resume(stopped)


@pytest.mark.parametrize("damage", ["no history", "a gap", "no ledger", "a foreign line"])
def test_what_is_missing_of_the_diary_is_noticed(stopped: Path, damage: str) -> None:
    path = stopped / "history.jsonl"
    lines = path.read_bytes().splitlines(keepends=True)
    if damage == "no history":
        path.unlink()
    elif damage == "a gap":
        path.write_bytes(lines[0] + lines[2])
    elif damage == "no ledger":
        (stopped / "ledger.parquet").unlink()
    else:
        path.write_bytes(lines[0] + b'{"note": "mine"}\n' + lines[2])
    with pytest.raises(CheckpointError, match="put the file back"):
        resume(stopped)


def test_a_run_folder_is_of_one_process(stopped: Path) -> None:
    before = (stopped / "history.jsonl").read_bytes()
    with sole_owner(stopped), pytest.raises(CheckpointError, match="in use by another process"):
        resume(stopped)
    assert (stopped / "history.jsonl").read_bytes() == before


def test_a_changed_configuration_is_not_continued(stopped: Path) -> None:
    path = stopped / "config.yaml"
    tree = yaml.safe_load(path.read_text())
    tree["train"]["lr"] = 0.5
    path.write_text(yaml.safe_dump(tree))
    with pytest.raises(CheckpointError, match="changed since the run began"):
        resume(stopped)


def test_where_it_runs_may_change(stopped: Path, finished: Path) -> None:
    path = stopped / "config.yaml"
    tree = yaml.safe_load(path.read_text())
    tree["resources"]["actors"] = 3
    path.write_text(yaml.safe_dump(tree))
    assert digest(resume(stopped)) == digest(finished)


def test_an_algorithm_of_ones_own_is_continued(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = Algorithm("mine", "tied and whitened", "here", tied=True, whitening=True)
    whole = run(configure(), tmp_path / "whole", algorithm=mine)

    def stop(line: str) -> None:
        if line.startswith("round 2"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(configure(), tmp_path / "cut", algorithm=mine, say=stop)
    assert digest(resume(tmp_path / "cut")) == digest(whole)
    assert (whole / "config.yaml").read_text().startswith("# Trained by run(..., algorithm=...)")


def test_a_sensor_that_nobody_holds_is_not_scored(configure: Configure, tmp_path: Path) -> None:
    holdings = {"Austria": [["S1"]], "Finland": [["S1"]]}
    out = run(configure(algorithm="mf", clients={"holdings": holdings}), tmp_path / "out")
    metrics = json.loads((out / "result.json").read_text())["metrics"]
    assert {key.split("/")[2] for key in metrics} == {"all", "S1"}


def test_scores_that_are_not_finite_end_the_run(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original: Any = Worker.score

    def score(self: Worker, state: Any, job: Any) -> Any:
        logits = original(self, state, job)
        logits[: len(logits) // 2] = np.nan
        return logits

    monkeypatch.setattr(Worker, "score", score)
    with pytest.raises(RunError, match=r"scores of .* on the val split are not finite"):
        run(configure(), tmp_path / "out")


def test_figures_that_cannot_be_drawn_do_not_cost_the_result(
    configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def draw(*_: object) -> None:
        raise ValueError("no ink")

    monkeypatch.setattr("raymmfl.results.draw", draw)
    said: list[str] = []
    out = run(configure(rounds=1), tmp_path / "out", say=said.append)
    assert (out / "result.json").is_file()
    assert any("no ink" in line for line in said)


def spoil(monkeypatch: pytest.MonkeyPatch, bad: Sequence[int], sensor: str) -> None:
    """Let the pixels of some scenes be so large that training overflows."""
    original = Images.load

    def load(self: Images, name: str, rows: Any) -> torch.Tensor:
        image = original(self, name, rows)
        if name == sensor:
            image[torch.from_numpy(np.isin(rows, bad))] = 3e38
        return image

    monkeypatch.setattr(Images, "load", load)


def test_a_diverging_client_is_refused_by_name_and_the_run_goes_on(
    archive: Archive, configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = archive.rows("train")
    spoil(monkeypatch, train[archive.regions[train] == "Austria"].tolist(), "S1")
    out = run(configure(algorithm="mf", rounds=2), tmp_path / "run")
    for line in history.read(out / "history.jsonl"):
        assert line["clients"]["accepted"] == 3
        assert set(line["clients"]["refused"]) == {"Austria/S1"}
        assert any("update refused, client Austria/S1: " in each for each in line["warnings"])
        assert math.isfinite(line["metrics"]["train/loss"])
        assert math.isfinite(line["metrics"]["val/global/all/map"])
    model = load_file(out / "model.safetensors")
    assert all(np.isfinite(array).all() for array in model.values())


def test_a_round_without_an_update_ends_the_run_and_keeps_what_was(
    archive: Archive, configure: Configure, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = configure(algorithm="mf", rounds=2, clients={"sensors": ["S1"]})
    whole = run(config, tmp_path / "whole")
    with monkeypatch.context() as patch:
        spoil(patch, archive.rows("train").tolist(), "S1")
        with pytest.raises(RunError, match=r"no update was accepted.*Austria/S1.*Finland/S1"):
            run(config, tmp_path / "run")
    resume(tmp_path / "run")
    assert digest(tmp_path / "run") == digest(whole)


@pytest.mark.parametrize(
    ("tree", "says"),
    [
        ({"algorithm": "mf+mim", "clients": {"sensors": ["S2"]}}, "no training scene"),
        (
            {
                "algorithm": "mf+fw+mim",
                "clients": {"holdings": {"Austria": [["S1"]], "Finland": [["S2"]]}},
            },
            "held with two sensors",
        ),
        (
            {
                "baselines": ["mf+mim"],
                "algorithm": "mf",
                "clients": {"holdings": {"Austria": [["S1"]], "Finland": [["S2"]]}},
            },
            "mf+mim links images",
        ),
        ({"clients": {"partition": "random", "sites": 900}}, "900 sites for "),
        ({"clients": {"regions": ["Atlantis"]}}, "Atlantis"),
    ],
)
def test_clients_that_cannot_work_leave_no_folder(
    configure: Configure, tmp_path: Path, tree: dict[str, Any], says: str
) -> None:
    with pytest.raises(PartitionError, match=re.escape(says)):
        run(configure(**tree), tmp_path / "run")
    assert not (tmp_path / "run").exists()


VIEWS = {"local": {"home", "away"}, "centralised": {"global"}}
KINDS: dict[str, dict[str, Any]] = {
    **{name: {"algorithm": name} for name in ALGORITHMS},
    "random": {"clients": {"partition": "random", "sites": 3}},
    "dirichlet": {"clients": {"partition": "dirichlet", "sites": 2, "alpha": 5.0}},
    "local random": {"algorithm": "local", "clients": {"partition": "random", "sites": 2}},
    "several sensors": {"clients": {"holding": "all"}},
    "group norm": {"algorithm": "mf", "model": {"norm": "group"}},
    "local group norm": {"algorithm": "local", "model": {"norm": "group"}},
    "one sensor": {"algorithm": "mf+fw", "clients": {"sensors": ["S1"]}},
}
OTHER_VIEWS = {
    **{name: {"global"} for name in ("random", "dirichlet", "group norm")},
    "local random": {"away"},
    "local group norm": {"home", "away"},
}


@pytest.mark.parametrize("name", KINDS)
def test_every_kind_of_run_scores_its_views(
    configure: Configure, archive: Archive, tmp_path: Path, name: str
) -> None:
    out = run(configure(rounds=2, **KINDS[name]), tmp_path / "run")
    result = json.loads((out / "result.json").read_text())
    metrics = result["metrics"]
    assert metrics
    assert all(isinstance(value, float) and math.isfinite(value) for value in metrics.values())
    views = {key.split("/")[1] for key in metrics}
    assert views == OTHER_VIEWS.get(name, VIEWS.get(name, {"global", "home"}))
    sensors = ["S1"] if name == "one sensor" else ["S1", "S2"]
    assert {key.split("/")[2] for key in metrics} == {"all", *sensors}
    for line in history.read(out / "history.jsonl"):
        values = line["metrics"]
        assert all(math.isfinite(value) for value in values.values())
        # models away from home cost a pass each: they wait for the end, where there is a home
        expected = views - {"away"} if "home" in views else views
        assert {key.split("/")[1] for key in values if key.startswith("val/")} == expected
    moved = sum(result["bytes"]["up"].values())
    assert (moved == 0) == (KINDS[name].get("algorithm") == "local")
    parts = {key.split(".")[0] for key in load_file(out / "model.safetensors")}
    assert ("trunk" in parts) == (name == "fedavg")


def test_baselines_are_trained_beside_and_change_nothing(
    configure: Configure, tmp_path: Path
) -> None:
    alone = run(configure(algorithm="mf", rounds=2), tmp_path / "alone")
    config = configure(algorithm="mf", rounds=2, baselines=["local", "fedavg"])
    both = run(config, tmp_path / "both")
    assert digest(both) == digest(alone)
    result = json.loads((both / "result.json").read_text())
    assert set(result["baselines"]) == {"local", "fedavg", "guess"}
    lone = run(configure(algorithm="fedavg", rounds=2), tmp_path / "fedavg")
    assert digest(both / "baselines" / "fedavg") == digest(lone)


def test_rounds_that_are_not_scored_still_have_a_line(
    configure: Configure, tmp_path: Path
) -> None:
    out = run(configure(algorithm="mf", rounds=3, evaluate={"every": 2}), tmp_path / "run")
    scored = [
        any(key.startswith("val/") for key in line["metrics"])
        for line in history.read(out / "history.jsonl")
    ]
    assert scored == [False, True, True]


def test_a_local_run_resumed_at_its_end_writes_the_same_file(
    configure: Configure, tmp_path: Path
) -> None:
    out = run(configure(algorithm="local", rounds=2), tmp_path / "run")
    before = digest(out)
    shapes = {name: array.shape for name, array in load_file(out / "model.safetensors").items()}
    counters = {shape for name, shape in shapes.items() if name.endswith("num_batches_tracked")}
    assert counters == {()}
    for name in ("result.json", "model.safetensors"):
        (out / name).unlink()
    resume(out)
    assert digest(out) == before
