"""Tests of whole studies on Ray: side by side, in MLflow, confirmed, continued, refused."""

import json
import re
import signal
import sqlite3
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raymmfl import configfile, history
from raymmfl.cli.studies import _seconds
from raymmfl.config import Config
from raymmfl.errors import CheckpointError, ConfigError, ResourceError, RunError
from raymmfl.tuning import record
from raymmfl.tuning.engine import search
from raymmfl.tuning.launch import Machine
from raymmfl.tuning.study import Stopping
from raymmfl.tuning.sync import sync
from tests.tuning.by_hand import SCORE, make_study

Make = Callable[..., Config]
Digests = Callable[[Path], dict[str, str]]
Expected = Callable[[Config], dict[str, str]]

pytestmark = pytest.mark.usefixtures("ray_cluster")


def small(tiny: Make, folder: Path, **changes: Any) -> Any:
    """A study of a small run; keywords of the run come first."""
    run = {"rounds": 2, "algorithm": "mf", "resources": {"cpus": 1.0, "actors": 1}}
    run |= changes.pop("run", {})
    (folder / "base.yaml").write_text(configfile.dump(tiny(**run)))
    given = {"base": str(folder / "base.yaml"), "trials": 3, "stopping": None}
    return make_study(**(given | changes))


def stored(store: Path) -> dict[str, dict[str, Any]]:
    """Of every run in a store: status, tags, params and the rounds it has, by its folder."""
    found = {}
    with sqlite3.connect(store) as base:
        for run, status in base.execute("SELECT run_uuid, status FROM runs").fetchall():
            tags = dict(base.execute("SELECT key, value FROM tags WHERE run_uuid = ?", [run]))
            params = dict(base.execute("SELECT key, value FROM params WHERE run_uuid = ?", [run]))
            query = "SELECT step FROM metrics WHERE run_uuid = ? AND key = 'round' ORDER BY step"
            steps = [step for (step,) in base.execute(query, [run])]
            last = "SELECT key, value FROM latest_metrics WHERE run_uuid = ?"
            metrics = dict(base.execute(last, [run]))
            assert tags["run_folder"] not in found, "one run per folder"
            found[tags["run_folder"]] = {
                "id": run, "status": status, "tags": tags, "params": params, "rounds": steps,
                "metrics": metrics,
            }  # fmt: skip
    return found


def test_a_study_from_end_to_end(
    tiny: Make, tmp_path: Path, store: Path, expected: Expected, digests: Digests
) -> None:
    tracking = {"mlflow": True, "uri": f"sqlite:///{store}"}
    study = small(tiny, tmp_path, run={"tracking": tracking})
    said: list[str] = []
    out = tmp_path / "study"
    source = tmp_path / "x.py"
    source.write_text("STUDY = ...")
    found = search(study, out, machine=Machine(concurrent=2), source=source, say=said.append)

    assert [trial.status for trial in found.trials] == ["finished"] * 3
    for trial in found.trials:  # beside each other, and yet as if alone
        config = configfile.load(found.path(trial) / "config.yaml")
        changed = {key: _leaf(config, key) for key in trial.settings}
        assert changed == trial.settings
        assert digests(found.path(trial)) == expected(config)
        result = json.loads((found.path(trial) / "result.json").read_text())
        assert not any(name.startswith("test/") for name in result["metrics"])
        assert trial.values == [result["metrics"][SCORE]]
    assert not (out / ".tune").exists()
    assert (out / "study.py").read_text() == source.read_text()

    best = configfile.load(out / "best.yaml")
    assert best == configfile.change(
        configfile.load(study.base), found.ranked()[0].settings, "best"
    )

    runs = stored(store)
    parent = runs.pop("study")
    assert (parent["status"], parent["tags"]["role"]) == ("FINISHED", "study")
    assert parent["tags"]["mlflow.note.content"].startswith("3 trials: 3 finished; 6 of 6 rounds")
    best_score = found.ranked()[0].values[0]
    assert parent["metrics"] == {
        "trials/finished": 3, "trials/pruned": 0, "trials/failed": 0,
        "rounds/run": 6, "rounds/whole": 6, f"best/{SCORE}": best_score,
    }  # fmt: skip
    assert {run["status"] for run in runs.values()} == {"FINISHED"}
    assert {run["tags"]["mlflow.parentRunId"] for run in runs.values()} == {parent["id"]}
    trials = {name: run for name, run in runs.items() if run["tags"]["role"] == "trial"}
    assert sorted(trials) == [f"study/trial_000{number}" for number in range(3)]
    assert all(run["rounds"] == [1, 2] for run in runs.values())
    for trial in found.trials:
        params = trials[f"study/{trial.name}"]["params"]
        assert params["baselines"] == "[]", "a trial trains no baselines"
        asked = found.facts["space"].keys() & params.keys()
        assert {key: params[key] for key in asked} == {
            key: str(value) for key, value in trial.settings.items()
        }, "and what it was not asked for is absent"
    marked = [name for name, run in trials.items() if run["tags"].get("best") == "true"]
    assert marked == [f"study/{found.ranked()[0].name}"]
    links = [line for line in "\n".join(said).splitlines() if line.startswith("http")]
    assert parent["id"] in links[0]
    assert all(run["id"] in links[1] for run in trials.values())

    before = {path: path.read_bytes() for path in out.rglob("history.jsonl")}
    again = search(replace(study, trials=2), out, resume=True, say=said.append)
    assert again.trials == found.trials
    assert "fewer trials are asked for than have begun; those 3 are ended" in said
    assert {path: path.read_bytes() for path in out.rglob("history.jsonl")} == before
    for change, words in (
        ({"seed": 7}, "another seed (0 then, 7 now)"),
        ({"space": lambda trial: trial.suggest_int("train.epochs", 1, 2) and None}, "space"),
    ):
        with pytest.raises(CheckpointError, match=re.escape(words)):
            search(small(tiny, tmp_path, run={"tracking": tracking}, **change), out, resume=True)
    with pytest.raises(CheckpointError, match="continue it with --resume"):
        search(study, out)


@pytest.mark.chaos
def test_an_interrupted_study_gives_back_what_it_had_reserved(tiny: Make, tmp_path: Path) -> None:
    """As in a notebook, where Ray lives on."""
    import ray

    def interrupt(signum: int, frame: object) -> None:
        raise KeyboardInterrupt

    def say(line: str) -> None:
        if line.startswith("trial 0 (1 of 3) begins"):
            signal.setitimer(signal.ITIMER_REAL, 4.0)

    study = small(tiny, tmp_path, run={"rounds": 500})
    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        with pytest.raises(KeyboardInterrupt):
            search(study, tmp_path / "study", say=say)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert [trial.status for trial in record.read(tmp_path / "study").trials] == ["running"]
    end = time.monotonic() + 60
    while ray.available_resources().get("CPU", 0.0) < 4 and time.monotonic() < end:
        time.sleep(0.2)
    assert ray.available_resources()["CPU"] == 4


@pytest.mark.chaos
def test_a_confirmed_study(tiny: Make, tmp_path: Path, store: Path) -> None:
    """Long rather than cruel: a dozen runs, each with its figures."""
    tracking = {"mlflow": True, "uri": f"sqlite:///{store}"}
    baselines = ({"algorithm": "mf+mim"},)
    study = small(tiny, tmp_path, baselines=baselines, run={"tracking": tracking})
    said: list[str] = []
    out = tmp_path / "study"
    found = search(study, out, machine=Machine(concurrent=2), seeds=2, top=2, say=said.append)
    confirmed = json.loads((out / "confirm.json").read_text())
    assert confirmed["seeds"] == [1, 2]
    ranks = [each.number for each in found.ranked()[:2]]
    assert [row["trial"] for row in confirmed["settings"]][:2] == ranks
    assert {row["trial"] for row in confirmed["settings"]} >= {0, 1, ranks[0]}
    assert any(confirmed["verdict"] in line for line in said)
    assert confirmed["verdict"] in (out / "best.yaml").read_text()
    for row in confirmed["settings"]:
        for seed, value in zip(confirmed["seeds"], row["values"], strict=True):
            folder = out / "confirm" / f"trial_{row['trial']:04d}-seed{seed}"
            config = configfile.load(folder / "config.yaml")
            assert {key: _leaf(config, key) for key in row["settings"]} == row["settings"]
            assert config.seed == seed
            result = json.loads((folder / "result.json").read_text())
            assert result["metrics"]["test/global/all/f1_macro"] == value
    runs = [run for run in stored(store).values() if run["tags"]["role"] == "confirm"]
    assert len(runs) == 2 * len(confirmed["settings"])
    assert {run["status"] for run in runs} == {"FINISHED"}
    before = {path: path.stat().st_mtime_ns for path in out.glob("confirm/*/result.json")}
    search(study, out, machine=Machine(concurrent=2), resume=True, seeds=2, top=2)
    assert {p: p.stat().st_mtime_ns for p in out.glob("confirm/*/result.json")} == before
    assert json.loads((out / "confirm.json").read_text()) == confirmed


def _leaf(config: Config, key: str) -> Any:
    found: Any = config
    for part in key.split("."):
        found = getattr(found, part)
    return found


def test_a_study_without_its_store_is_the_same_and_sync_sends_it_later(
    tiny: Make, tmp_path: Path, store: Path
) -> None:
    away = {"mlflow": True, "uri": "http://127.0.0.1:9"}
    study = small(tiny, tmp_path, trials=1, run={"tracking": away, "rounds": 1})
    said: list[str] = []
    out = tmp_path / "study"
    found = search(study, out, machine=Machine(concurrent=2), say=said.append)
    assert [trial.status for trial in found.trials] == ["finished"]
    (warning,) = [line for line in said if line.startswith("warning: ")]
    assert f"raymmfl sync {out}" in warning
    facts = json.loads((out / "study.json").read_text())
    facts["base"]["tracking"]["uri"] = f"sqlite:///{store}"  # as if it had come back
    history.write_json(out / "study.json", facts)
    sync(out, said.append)
    runs = stored(store)
    assert {name: run["status"] for name, run in runs.items()} == {
        "study": "FINISHED",
        "study/trial_0000": "FINISHED",
    }
    sync(out, said.append)
    assert stored(store) == runs
    other = store.with_name("other.db")
    facts["base"]["tracking"]["uri"] = f"sqlite:///{other}"  # what one store has, another has not
    history.write_json(out / "study.json", facts)
    sync(out, said.append)
    assert stored(other).keys() == runs.keys()
    lost = store.with_name("lost.db")  # a store that had all of it, and is new now
    facts["base"]["tracking"]["uri"] = f"sqlite:///{lost}"
    history.write_json(out / "study.json", facts)
    for note in out.rglob("mlflow.json"):
        note.write_text(note.read_text().replace(other.name, lost.name))
    sync(out, said.append)
    assert stored(lost).keys() == runs.keys()
    counts = [line.partition(" ")[0] for line in said if f"runs of {out} were" in line]
    assert counts == ["1", "0", "1", "1"]


def test_where_every_trial_fails_the_study_ends_with_the_reasons(
    tiny: Make, tmp_path: Path
) -> None:
    study = small(
        tiny,
        tmp_path,
        trials=2,
        stopping=Stopping(first=1, keep=2),
        run={"train": {"lr": 1e30}},
        space=lambda trial: void(trial.suggest_float("train.lr", 1e29, 1e31, log=True)),
    )
    with pytest.raises(RunError) as caught:
        search(study, tmp_path / "study", machine=Machine(concurrent=2))
    text = str(caught.value)
    assert text.startswith(f"every trial of {tmp_path / 'study'} failed")
    assert len(re.findall(r"^  trial  ", text, re.MULTILINE)) == 2
    assert "train.lr=1e+30" in text
    assert record.read(tmp_path / "study").best() == []
    assert not (tmp_path / "study" / "best.yaml").exists()


def void(_: object) -> None:
    """Suggested, nothing returned."""


def test_refused_before_anything_is_written(tiny: Make, tmp_path: Path) -> None:
    out = tmp_path / "study"
    plain = small(tiny, tmp_path)
    with pytest.raises(ResourceError, match="room for 4 of them"):
        search(plain, out, machine=Machine(concurrent=5))
    (tmp_path / "empty").mkdir()
    with pytest.raises(ResourceError, match="room for 4 of them"):
        search(plain, tmp_path / "empty", machine=Machine(concurrent=5))
    assert list((tmp_path / "empty").iterdir()) == []
    with pytest.raises(CheckpointError, match="no study to resume"):
        search(plain, out, resume=True)
    (tmp_path / "garbage.db").write_text("garbage")
    for uri in ("ftp://x", f"sqlite:///{tmp_path / 'garbage.db'}"):
        with pytest.raises(ConfigError, match=r"tracking\.uri"):
            search(small(tiny, tmp_path, run={"tracking": {"mlflow": True, "uri": uri}}), out)
    assert not out.exists()


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("90s", 90), ("1.5m", 90), ("2h", 7200)]
)
def test_durations(text: str, seconds: float) -> None:
    assert _seconds(text) == seconds


@pytest.mark.parametrize("text", ["", "0", "soon", "-3m", "5d"])
def test_no_durations(text: str) -> None:
    with pytest.raises(ConfigError, match="--time"):
        _seconds(text)
