"""Kills, damage and locks: whatever dies, the model is the same file and the history whole."""

import gc
import json
import random
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import psutil
import pytest

from raymmfl import history
from raymmfl.config import Config
from raymmfl.configfile import dump
from raymmfl.run import run
from raymmfl.tracking_store import final_metrics, flat_metrics, metric_key

Make = Callable[..., Config]
Expected = Callable[[Config], dict[str, str]]
Digests = Callable[[Path], dict[str, str]]
Launch = Callable[..., Any]


def begin(launch: Launch, config: Config, folder: Path) -> Any:
    """Start `raymmfl run` of a configuration; its run folder is `run`."""
    (folder / "config.yaml").write_text(dump(config))
    return launch("run", "config.yaml", "--out", "run")


def finish(launch: Launch) -> Any:
    """Resume the run to its end."""
    command = launch("resume", "run")
    status = command.end()
    assert status == 0, command.errors.read_text()
    return command


def points(store: Path, role: str) -> Counter[tuple[str, int]]:
    """How often each (metric, step) is stored, over all runs of the role; there is one run."""
    with sqlite3.connect(store) as base:
        ids = base.execute(
            "SELECT run_uuid FROM tags WHERE key = 'role' AND value = ?", (role,)
        ).fetchall()
        assert len(ids) == 1, f"{len(ids)} runs of role {role}"
        rows = base.execute("SELECT key, step FROM metrics WHERE run_uuid = ?", ids[0]).fetchall()
        (status,) = base.execute("SELECT status FROM runs WHERE run_uuid = ?", ids[0]).fetchone()
    assert status == "FINISHED"
    return Counter((key, step) for key, step in rows)


def check_whole(folder: Path, config: Config, found: dict[str, str], store: Path) -> None:
    """History: each round once. MLflow: one run, one point per metric and round. No remains."""
    out = folder / "run"
    assert found, "the models' digests"
    for place, role in [
        (out, "run"),
        *((out / "baselines" / name, "baseline") for name in config.baselines),
    ]:
        lines = history.read(place / "history.jsonl")
        assert [line["round"] for line in lines] == list(range(1, config.rounds + 1))
        wanted = Counter(
            (metric_key(key), line["round"])
            for line in lines
            for key in [*flat_metrics(line), "round"]
        )
        result = json.loads((place / "result.json").read_text())
        wanted.update((metric_key(key), config.rounds) for key in final_metrics(result))
        assert points(store, role) == wanted
    hidden = [path for path in out.rglob(".*") if path.name != ".lock"]
    assert hidden == []


def tracked(store: Path) -> dict[str, Any]:
    return {"mlflow": True, "uri": f"sqlite:///{store}"}


@pytest.mark.chaos
def test_interrupted_then_killed_then_finished(
    tiny: Make,
    expected: Expected,
    digests: Digests,
    launch: Launch,
    tmp_path: Path,
    store: Path,
) -> None:
    config = tiny(rounds=5, resources={"actors": 2, "cpus": 0.5}, tracking=tracked(store))
    seeded = random.Random(1)
    first = begin(launch, config, tmp_path)
    first.until("round 1/5")
    assert first.stop(signal.SIGINT, group=True) == 130  # as Ctrl+C in a terminal does
    assert first.errors.read_text().startswith("raymmfl: interrupted")
    rounds = [line["round"] for line in history.read(tmp_path / "run" / "history.jsonl")]
    assert rounds == list(range(1, len(rounds) + 1))

    second = launch("resume", "run")
    second.until("round 3/5")
    time.sleep(seeded.random() * 0.5)
    assert second.stop(signal.SIGKILL) == -signal.SIGKILL

    # without Ray from here on: a second start of it would be all that this adds
    whole = (tmp_path / "run" / "config.yaml").read_text()
    (tmp_path / "run" / "config.yaml").write_text(whole.replace("runtime: ray", "runtime: serial"))
    third = finish(launch)
    assert digests(tmp_path / "run") == expected(config)
    check_whole(tmp_path, config, digests(tmp_path / "run"), store)
    assert not any("warning: checkpoint" in line for line in third.lines)


def test_mlflow_away(tiny: Make, expected: Expected, digests: Digests, tmp_path: Path) -> None:
    config = tiny(
        resources={"runtime": "serial"},
        tracking={"mlflow": True, "uri": "http://127.0.0.1:9"},  # discard: nobody listens
    )
    said: list[str] = []
    out = run(config, tmp_path / "run", say=said.append)
    assert digests(out) == expected(config)
    assert [line["round"] for line in history.read(out / "history.jsonl")] == [1, 2, 3, 4]
    (warning,) = [line for line in said if "MLflow" in line and line.startswith("warning")]
    assert "4 of 4 rounds are not in MLflow" in warning
    assert f"raymmfl sync {out}" in warning


# Where the driver is killed: a line to wait for, and up to how many seconds later.
MOMENTS = {
    "while the store is first asked": ("round 1/6", 0.3),
    "in a round": ("round 3/6", 0.4),
    "between checkpoint and scores": ("checkpoint 4", 0.1),
    "in a baseline": ("baseline local", 4.0),
    "at the end": ("on the test split", 3.0),
}


@pytest.mark.chaos
@pytest.mark.parametrize("moment", MOMENTS)
def test_driver_killed(
    moment: str,
    tiny: Make,
    expected: Expected,
    digests: Digests,
    launch: Launch,
    tmp_path: Path,
    store: Path,
) -> None:
    config = tiny(
        rounds=6,
        baselines=["local"],
        resources={"actors": 2, "cpus": 0.5},
        tracking=tracked(store),
    )
    seeded = random.Random(moment)
    text, delay_s = MOMENTS[moment]
    command = begin(launch, config, tmp_path)
    if text.startswith("checkpoint"):
        command.until("round 3/6")
        while not (tmp_path / "run" / "checkpoints" / "00004").exists():
            time.sleep(0.005)
    else:
        command.until(text)
    time.sleep(seeded.random() * delay_s)
    command.stop(signal.SIGKILL)

    if moment == "in a round":  # once more, as a batch system ends it
        again = launch("resume", "run")
        again.until("round 5/6")
        assert again.stop(signal.SIGTERM) == 130
        assert "interrupted" in again.errors.read_text()
    if moment == "between checkpoint and scores":  # the newest checkpoint takes damage too
        newest = max((tmp_path / "run" / "checkpoints").glob("0*")) / "state.safetensors"
        content = bytearray(newest.read_bytes())
        content[len(content) // 2] ^= 1
        newest.write_bytes(content)

    last = finish(launch)
    assert digests(tmp_path / "run") == expected(config)
    check_whole(tmp_path, config, digests(tmp_path / "run"), store)
    damaged = [line for line in last.lines if line.startswith("warning: checkpoint passed over")]
    if moment == "between checkpoint and scores":
        assert len(damaged) == 1
        assert str(newest.relative_to(tmp_path)) in damaged[0]
        lines = history.read(tmp_path / "run" / "history.jsonl")
        kept = [warning for line in lines for warning in line["warnings"]]
        assert sum("passed over" in warning for warning in kept) == 1
    else:
        assert damaged == []


@pytest.mark.chaos
def test_every_client_actor_killed_once_in_ten_rounds(
    tiny: Make,
    expected: Expected,
    digests: Digests,
    launch: Launch,
    tmp_path: Path,
) -> None:
    config = tiny(
        rounds=10,
        clients={"partition": "random", "sites": 4},
        resources={"actors": 4, "cpus": 0.25},
    )
    command = begin(launch, config, tmp_path)
    command.until(" 1/10")
    victims = [each for each in command.family() if "Client" in title(each)]
    assert len(victims) == 4
    for number, victim in enumerate(victims):
        command.until(f" {2 * number + 2}/10")
        while ".play" not in title(victim):  # at work
            time.sleep(0.002)
        victim.kill()
    assert command.end() == 0, command.errors.read_text()
    assert digests(tmp_path / "run") == expected(config)
    lines = history.read(tmp_path / "run" / "history.jsonl")
    assert [line["clients"]["accepted"] for line in lines] == [8] * 10
    assert sum(line["clients"]["restarts"] for line in lines) == 4
    shown = "\n".join(command.lines) + command.errors.read_text()
    assert "raylet" not in shown, "Ray's own words stay in its log folder"


def title(process: psutil.Process) -> str:
    """The process title, such as ray::ClientActor.play; empty when it is gone."""
    try:
        words = process.cmdline()
    except psutil.Error:
        return ""
    return words[0] if words and words[0].startswith("ray::") else ""


@pytest.mark.chaos
def test_a_store_locked_for_half_a_minute(
    tiny: Make, digests: Digests, launch: Launch, tmp_path: Path, store: Path
) -> None:
    config = tiny(rounds=40, resources={"runtime": "serial"}, tracking=tracked(store))
    command = begin(launch, config, tmp_path)
    command.until(" 2/40")
    lock = sqlite3.connect(store, timeout=30)
    lock.execute("BEGIN EXCLUSIVE")
    time.sleep(30)
    lock.rollback()
    lock.close()
    assert command.end() == 0, command.errors.read_text()
    check_whole(tmp_path, config, digests(tmp_path / "run"), store)


@pytest.mark.chaos
@pytest.mark.usefixtures("ray_cluster")
def test_a_hundred_rounds_leave_memory_as_it_was(tiny: Make, tmp_path: Path) -> None:
    import ray

    def stored() -> float:
        """Bytes of the object store in use, as Ray's scheduler was last told."""
        gc.collect()
        kind = "object_store_memory"
        return float(ray.cluster_resources()[kind] - ray.available_resources().get(kind, 0.0))

    used: list[float] = []
    seen: dict[int, dict[str, int]] = {}

    def say(line: str) -> None:
        words = line.split()
        if words[0] == "round" and words[1] in ("20/100", "100/100"):
            here = psutil.Process()
            family = [each for each in here.children(recursive=True) if "Actor" in title(each)]
            used.append(stored())
            seen[int(words[1].split("/")[0])] = {
                "driver": here.memory_info().rss,
                **{f"{title(each)} {each.pid}": each.memory_info().rss for each in family},
            }

    run(tiny(rounds=100, resources={"actors": 2}), tmp_path / "run", say=say)
    assert set(seen[20]) == set(seen[100])
    assert len(seen[20]) == 4, "the driver, the server, two clients"
    for name, size in seen[20].items():
        assert seen[100][name] <= 1.1 * size, name
    assert max(used) > 0, "the measure sees the global state"
    end = time.monotonic() + 30
    while stored() and time.monotonic() < end:
        time.sleep(0.5)
    assert stored() == 0
