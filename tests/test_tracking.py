"""Tests of the MLflow mirror: complete when the store answers, harmless when it does not."""

import json
import os
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from raymmfl import history, tracking_store
from raymmfl.configfile import parse
from raymmfl.errors import ConfigError
from raymmfl.tracking import Mirror, NullMirror
from raymmfl.tracking_store import final_metrics, flat_metrics, metric_key
from raymmfl.tracking_uri import absolute_uri, check_store, check_uri, hide, redact

SECRET = "http://anna:top%24ecret@127.0.0.1:{port}/store"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """One SQLite store for the module: making its tables takes seconds."""
    folder = tmp_path_factory.mktemp("store")
    before = dict(os.environ)
    mirror = start(folder, uri := f"sqlite:///{folder}/mlflow.db")
    mirror.finish("FINISHED")
    assert mirror.warning is None
    yield uri
    os.environ.clear()
    os.environ.update(before)


def start(run_dir: Path, uri: str, **options: Any) -> NullMirror:
    config = parse({"tracking": {"uri": uri, "experiment": "tests"}})
    options = {"run_name": "run", "tags": {"algorithm": "mf"}, "params": {"seed": "0"}} | options
    return Mirror.start(config, run_dir, **options)


def line(number: int) -> dict[str, Any]:
    return {
        "round": number,
        "metrics": {"val/global/all/map": number / 10, "train/mim_loss": None},
        "bytes": {"up": {"weights": 2_500_000}},
        "seconds": {"round": 1.5},
        "clients": {
            "cohort": 2,
            "refused": {"Austria/S1": "NaN"},
            "spread": {"loss": [1, 2, 3, 4, 5]},
        },
    }


def play(mirror: NullMirror, run_dir: Path, rounds: range) -> None:
    for number in rounds:
        history.append(run_dir / "history.jsonl", line(number))
        mirror.round(line(number))


def client(uri: str) -> Any:
    import mlflow

    return mlflow.MlflowClient(uri)


def steps(uri: str, run_id: str | None, key: str) -> list[int]:
    return [point.step for point in client(uri).get_metric_history(run_id, key)]


def wait_for(condition: Callable[[], bool], limit_s: float = 20.0) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.02)


def closed_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def test_importing_the_module_does_not_import_mlflow() -> None:
    code = (
        "import sys, raymmfl.tracking; sys.exit('mlflow' in sys.modules or 'torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_switched_off(tmp_path: Path) -> None:
    config = parse({"tracking": {"mlflow": False, "uri": "nonsense"}})
    mirror = Mirror.start(config, tmp_path, run_name="a", tags={}, params={})
    mirror.round(line(1))
    mirror.finish("FINISHED")
    assert (mirror.run_id, mirror.warning, mirror.where()) == (None, None, "")
    assert list(tmp_path.iterdir()) == []


def test_a_whole_run_is_mirrored(store: str, tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    run_dir = tmp_path / "run"
    (run_dir / "figures").mkdir(parents=True)
    (run_dir / "figures" / "a.csv").write_text("1")
    torch.set_num_threads(1)
    net = torch.nn.Sequential(
        torch.nn.Conv2d(3, 4, 3),
        torch.nn.BatchNorm2d(4),
        torch.nn.Flatten(),
        torch.nn.Linear(64, 5),
    )
    images = np.random.default_rng(0).normal(size=(3, 3, 6, 6)).astype(np.float32)
    params = {f"p{number}": "v" for number in range(150)} | {"long": "x" * 7000}
    leading = ["absent", "clients/loss/q50"]
    mirror = start(run_dir, store, params=params, parent="abc", leading=leading)
    play(mirror, run_dir, range(1, 4))
    result = {"rounds": 3, "metrics": {"test/global/all/map": 0.5}, "synthetic": True}
    paths = [run_dir / "figures", run_dir / "history.jsonl", run_dir / "absent.txt"]
    mirror.finish("FINISHED", result, paths, lambda: (net, images[:1]))

    assert mirror.warning is None
    mlflow = client(store)
    run = mlflow.get_run(mirror.run_id)
    assert run.info.status == "FINISHED"
    assert run.data.params.keys() == params.keys()
    assert run.data.tags["mlflow.parentRunId"] == "abc"
    assert (run.data.tags["algorithm"], run.data.tags["raymmfl.synthetic"]) == ("mf", "true")
    assert run.data.metrics["clients/loss/q50"] == 3
    assert next(iter(run.data.metrics)) == "clients/loss/q50"  # with which MLflow compares first
    assert "train/mim_loss" not in run.data.metrics
    assert steps(store, mirror.run_id, "val/global/all/map") == [1, 2, 3]
    assert steps(store, mirror.run_id, "test/global/all/map") == [3]
    assert [entry.path for entry in mlflow.list_artifacts(mirror.run_id, "figures")] == [
        "figures/a.csv"
    ]
    assert {entry.path for entry in mlflow.list_artifacts(mirror.run_id)} == {
        "figures",
        "history.jsonl",
    }
    assert f"runs/{mirror.run_id}" in mirror.where()
    assert f"--backend-store-uri {store}" in mirror.where()
    assert [entry.name for entry in tmp_path.iterdir()] == ["run"]  # nothing in the working folder

    (output,) = run.outputs.model_outputs
    logged = mlflow.get_logged_model(output.model_id)
    place = Path(logged.artifact_location.removeprefix("file://"))
    files = list(place.rglob("*"))
    assert not [path for path in files if path.suffix in (".pkl", ".pth")]
    import mlflow.pytorch as flavour
    from mlflow.models import Model

    loaded = flavour.load_model(logged.artifact_location)
    net.eval()
    with torch.no_grad():  # another batch size than the example's
        torch.testing.assert_close(loaded(torch.from_numpy(images)), net(torch.from_numpy(images)))
    signature = Model.load(place).signature
    assert signature.inputs.inputs[0].shape == (-1, 3, 6, 6)
    assert signature.outputs.inputs[0].shape == (-1, 5)


def test_resume_continues_the_run_without_double_points(store: str, tmp_path: Path) -> None:
    first = start(tmp_path, store)
    play(first, tmp_path, range(1, 4))
    first.finish("KILLED")
    history.append(tmp_path / "history.jsonl", line(4))  # written, but killed before mirroring
    second = start(tmp_path, store, params={"seed": "1"})
    second.round(line(3))  # done again from an older checkpoint
    play(second, tmp_path, range(5, 7))
    second.finish("FINISHED", {"rounds": 6, "metrics": {"test/x/all/map": 0.1}})
    third = start(tmp_path, store)  # as `resume` does
    third.finish("FINISHED", {"rounds": 6, "metrics": {"test/x/all/map": 0.1}})
    assert first.run_id == second.run_id == third.run_id
    for key in ("val/global/all/map", "seconds/round", "round"):
        assert steps(store, first.run_id, key) == [1, 2, 3, 4, 5, 6]
    assert steps(store, first.run_id, "test/x/all/map") == [6]
    run = client(store).get_run(first.run_id)
    assert (run.info.status, run.data.params["seed"]) == ("FINISHED", "0")


def test_a_start_killed_before_the_run_id_was_noted_finds_its_run(
    store: str, tmp_path: Path
) -> None:
    first = start(tmp_path, store)
    wait_for(lambda: first.run_id is not None)
    first.finish("KILLED")
    note = json.loads((tmp_path / "mlflow.json").read_text())
    history.write_json(tmp_path / "mlflow.json", note | {"run_id": None, "experiment_id": None})
    second = start(tmp_path, store)
    second.finish("FINISHED")
    assert second.run_id == first.run_id


def test_a_copy_made_later_tells_when_the_run_was(store: str, tmp_path: Path) -> None:
    for number in (1, 2):
        history.append(tmp_path / "history.jsonl", line(number))
    (tmp_path / "environment.json").write_text("{}")
    os.utime(tmp_path / "environment.json", (1_000_000, 1_000_000))
    os.utime(tmp_path / "history.jsonl", (1_000_090, 1_000_090))
    mirror = start(tmp_path, store)
    mirror.finish("FINISHED")
    info = client(store).get_run(mirror.run_id).info
    assert (info.start_time, info.end_time) == (1_000_000_000, 1_000_090_000)


def test_many_metrics_go_in_several_batches(store: str, tmp_path: Path) -> None:
    mirror = start(tmp_path, store)
    metrics = {f"val/home/all/f1/class {number}": 0.5 for number in range(2100)}
    mirror.round({"round": 1, "metrics": metrics})
    mirror.finish("FINISHED")
    run = client(store).get_run(mirror.run_id)
    assert len(run.data.metrics) == 2101


def test_a_locked_store_delays_nothing_and_loses_nothing(store: str, tmp_path: Path) -> None:
    mirror = start(tmp_path, store)
    wait_for(lambda: mirror.run_id is not None)
    locked = threading.Event()

    def lock() -> None:
        connection = sqlite3.connect(store.removeprefix("sqlite:///"), timeout=20)
        connection.execute("BEGIN EXCLUSIVE")
        locked.set()
        time.sleep(3)
        connection.rollback()
        connection.close()

    thread = threading.Thread(target=lock)
    thread.start()
    locked.wait()
    begin = time.monotonic()
    play(mirror, tmp_path, range(1, 6))
    assert time.monotonic() - begin < 1
    mirror.finish("FINISHED")
    thread.join()
    assert mirror.warning is None
    assert steps(store, mirror.run_id, "val/global/all/map") == [1, 2, 3, 4, 5]


def test_a_call_that_fails_once_is_repeated_without_double_points(
    store: str, tmp_path: Path, monkeypatch: Any
) -> None:
    whole, calls = tracking_store.Store.log_round, []

    def flaky(self: tracking_store.Store, entry: Any, leading: Any) -> None:
        calls.append(entry["round"])
        if calls.count(entry["round"]) == 1 and entry["round"] in (2, 3):
            if entry["round"] == 3:
                whole(self, entry, leading)  # it landed, the answer was lost
            raise ConnectionError("away")
        whole(self, entry, leading)

    monkeypatch.setattr(tracking_store.Store, "log_round", flaky)
    mirror = start(tmp_path, store)
    play(mirror, tmp_path, range(1, 5))
    wait_for(lambda: mirror.warning is not None)
    assert "away" in str(mirror.warning)
    mirror.finish("FINISHED")
    assert mirror.warning is None
    assert steps(store, mirror.run_id, "val/global/all/map") == [1, 2, 3, 4]
    assert calls == [1, 2, 2, 3, 4]


def test_a_model_that_cannot_be_traced_costs_only_itself(store: str, tmp_path: Path) -> None:
    class Untraceable(torch.nn.Module):
        def forward(self, image: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("data-dependent")

    mirror = start(tmp_path, store)
    play(mirror, tmp_path, range(1, 3))
    mirror.finish("FINISHED", None, (), lambda: (Untraceable(), np.zeros((2, 3), np.float32)))
    assert "final model was not logged" in str(mirror.warning)
    assert client(store).get_run(mirror.run_id).info.status == "FINISHED"
    assert steps(store, mirror.run_id, "round") == [1, 2]


def test_a_store_away_costs_seconds_and_shows_no_secret(
    store: str, tmp_path: Path, capfd: pytest.CaptureFixture[str], caplog: Any
) -> None:
    caplog.set_level("DEBUG", logger="raymmfl")
    uri = SECRET.format(port=closed_port())
    begin = time.monotonic()
    mirror = start(tmp_path, uri)
    play(mirror, tmp_path, range(1, 4))
    assert time.monotonic() - begin < 1
    mirror.finish("FINISHED", {"rounds": 3, "metrics": {}})
    assert time.monotonic() - begin < 10
    assert "3 of 3 rounds are not in MLflow" in str(mirror.warning)
    assert f"raymmfl sync {tmp_path}" in str(mirror.warning)
    assert len(history.read(tmp_path / "history.jsonl")) == 3
    out, err = capfd.readouterr()
    noted = (tmp_path / "mlflow.json").read_text()
    for text in (str(mirror.warning), mirror.where(), noted, caplog.text, out, err):
        assert "ecret" not in text
        assert "anna" not in text
    assert "MLFLOW_TRACKING_URI" not in os.environ

    later = start(tmp_path, store)  # another store is another mirror, with every round
    later.finish("FINISHED")
    assert steps(store, later.run_id, "round") == [1, 2, 3]


def test_secrets_are_taken_out_of_texts() -> None:
    uri = "postgresql://anna:p%40ss@host/db?sslpassword=hidden"
    assert redact(uri) == "postgresql://host/db"
    assert hide(f"failed: {uri}", uri) == "failed: postgresql://***@host/db?***"
    assert hide("user anna:p@ss, p@ss, p%40ss", uri) == "user ***, ***, ***"
    assert redact("http://a:b@c@host/x") == "http://host/x"
    assert redact("sqlite:////home/me@work/a.db") == "sqlite:////home/me@work/a.db"
    assert absolute_uri("sqlite:///a.db?timeout=5") == f"sqlite:///{Path.cwd()}/a.db?timeout=5"


@pytest.mark.parametrize(
    "uri",
    ["sqlite:///mlflow.db", "sqlite:////tmp/a.db", "http://localhost:5000", "https://a:b@host/x",
     "postgresql+psycopg2://a:b@host:5432/db", "mysql://h/d", "mssql+pyodbc://h/d", "databricks"],
)  # fmt: skip
def test_good_addresses(uri: str) -> None:
    check_uri(uri)


@pytest.mark.parametrize(
    ("uri", "message"),
    [
        ("", "plain folder"),
        ("mlruns", "plain folder"),
        ("file:///tmp/mlruns", "sqlite:///mlflow.db"),
        ("redis://anna:secret@host", "unknown kind of store 'redis'"),
        ("sqlite://mlflow.db", "three slashes"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite:////", "is a folder"),
        ("http://", "names no host"),
        ("http://anna:secret@host:port", "port or host"),
        ("http://anna:sec/ret@host", "port or host"),
        ("http://[::1", "port or host"),
    ],
)
def test_bad_addresses_are_refused_without_secrets(uri: str, message: str) -> None:
    with pytest.raises(ConfigError) as error:
        check_uri(uri)
    assert message in str(error.value)
    assert not any(text in str(error.value) for text in ("secret", "anna", "ret@"))


def test_a_file_that_is_no_data_base_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "a.db"
    check_store(f"sqlite:///{file}")  # to be made
    file.touch()
    check_store(f"sqlite:///{file}")
    sqlite3.connect(tmp_path / "b.db").execute("CREATE TABLE x (y)").connection.close()
    check_store(f"sqlite:///{tmp_path / 'b.db'}")
    file.write_text("garbage")
    with pytest.raises(ConfigError, match=r"a\.db is no SQLite data base; move it away"):
        check_store(f"sqlite:///{file}")


def test_names_and_numbers() -> None:
    assert metric_key("f1/Land, (agri)/x é/") == "f1/Land_agri_/x é"
    found = flat_metrics(line(2) | {"thresholds": {"global/all": float("nan")}})
    assert found == {
        "val/global/all/map": 0.2,
        "seconds/round": 1.5,
        "mb/up/weights": 2.5,
        "clients/cohort": 2,
        "clients/refused": 1,
        **{
            f"clients/loss/q{name}": value
            for name, value in zip(("0", "25", "50", "75", "100"), range(1, 6), strict=True)
        },
    }
    result = {"metrics": {"a": 1, "b": None}, "baselines": {"guess": {"test/all/map": 0.3}}}
    assert final_metrics(result) == {"a": 1, "baselines.guess/test/all/map": 0.3}
