"""Tests of the Ray runtime: any number of actors, any death, one and the same model."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pytest
import ray

from raymmfl import history
from raymmfl.archive.store import Archive
from raymmfl.config import Config
from raymmfl.errors import ResourceError, RunError
from raymmfl.federation.server import broadcast, tasks
from raymmfl.opening import setting_of
from raymmfl.run import run
from raymmfl.runtime import actors
from raymmfl.runtime.actors import ClientActor, RayRuntime, ServerActor

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]
Make = Callable[..., Config]
Expected = Callable[[Config], dict[str, str]]
Digests = Callable[[Path], dict[str, str]]
CULPRIT = "Finland/S1"


@pytest.fixture(autouse=True)
def without_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drawing takes longer than these runs, and says nothing about where they ran."""
    monkeypatch.setattr("raymmfl.results.draw", lambda *_: None)


def lines(folder: Path) -> list[dict[str, Any]]:
    return history.read(folder / "history.jsonl")


def client_actors() -> set[int]:
    """Process ids of the client actors that live."""
    found = set()
    for process in psutil.Process().children(recursive=True):
        with contextlib.suppress(psutil.Error):
            if "ray::" in (title := "".join(process.cmdline()[:1])) and "Client" in title:
                found.add(process.pid)
    return found


def die_once(marks: Path, moment: str) -> None:
    """Kill this process, unless one died at this moment before."""
    try:
        (marks / moment).touch(exist_ok=False)
    except FileExistsError:
        return
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.parametrize(
    ("number", "cpus", "fraction"),
    [(1, 1.0, 1.0), (2, 1.0, 0.6), (4, 1.0, 1.0), ("per-client", 0.5, 1.0)],
)
def test_any_number_of_actors_gives_the_same_bits(
    number: int | str,
    cpus: float,
    fraction: float,
    tiny: Make,
    expected: Expected,
    digests: Digests,
    tmp_path: Path,
) -> None:
    config = tiny(
        rounds=3,
        baselines=["local"],
        clients={"fraction": fraction},
        resources={"actors": number, "cpus": cpus},
    )
    out = run(config, tmp_path / "run")
    assert len(digests(out)) == 2
    assert digests(out) == expected(config)
    cohort = 4 if fraction == 1 else 3
    assert [line["clients"]["accepted"] for line in lines(out)] == [cohort] * 3
    assert [line["clients"]["restarts"] for line in lines(out)] == [0] * 3


def test_a_client_actor_and_then_the_server_killed_mid_round(
    tiny: Make,
    expected: Expected,
    digests: Digests,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class DyingClient(ClientActor):
        def play(self, attempt: Any, sent: Any, task: Any) -> Any:
            record = super().play(attempt, sent, task)
            if sent.round == 2:
                die_once(tmp_path, "client")
            return record

    class DyingServer(ServerActor):
        def round(self) -> Any:
            found = super().round()
            if found[1].round == 3:
                die_once(tmp_path, "server")
            return found

    monkeypatch.setattr(actors, "ClientActor", DyingClient)
    monkeypatch.setattr(actors, "ServerActor", DyingServer)
    config = tiny(resources={"actors": 2})
    out = run(config, tmp_path / "run")
    assert digests(out) == expected(config)
    assert [line["clients"]["accepted"] for line in lines(out)] == [4] * 4
    # the server takes with it the client actor that it had made in place of the dead one
    assert [line["clients"]["restarts"] for line in lines(out)] == [0, 1, 1, 0]
    assert ["server actor died" in str(line["warnings"]) for line in lines(out)] == [
        False,
        False,
        True,
        False,
    ]


@pytest.mark.chaos
def test_client_actors_killed_at_every_moment(
    tiny: Make,
    expected: Expected,
    digests: Digests,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Dying(ClientActor):
        def prepare(self, setting: Any) -> None:
            die_once(tmp_path, "prepare")
            super().prepare(setting)

        def play(self, attempt: Any, sent: Any, task: Any) -> Any:
            if sent.round == 1:
                die_once(tmp_path, "before play")
            record = super().play(attempt, sent, task)
            if sent.round == 2:
                die_once(tmp_path, "after play")
            return record

        def partial(self, attempt: Any) -> Any:
            if attempt[0] == 3:
                die_once(tmp_path, "partial")
            return super().partial(attempt)

        def score(self, state: Any, job: Any) -> Any:
            if (tmp_path / "after play").exists():
                die_once(tmp_path, "score")
            return super().score(state, job)

    monkeypatch.setattr(actors, "ClientActor", Dying)
    config = tiny(resources={"actors": 2})
    out = run(config, tmp_path / "run")
    assert digests(out) == expected(config)
    assert [line["clients"]["accepted"] for line in lines(out)] == [4] * 4
    # two before the first round is whole; the one lost in scoring round 2 is told by round 3
    assert [line["clients"]["restarts"] for line in lines(out)] == [2, 1, 2, 0]


@pytest.mark.chaos
def test_server_actor_killed_at_every_moment(
    tiny: Make,
    expected: Expected,
    digests: Digests,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class DyingClient(ClientActor):
        def play(self, attempt: Any, sent: Any, task: Any) -> Any:
            if sent.round == 4:
                die_once(tmp_path, "client")
            return super().play(attempt, sent, task)

    class DyingServer(ServerActor):
        def prepare(self, setting: Any, state: Any) -> Any:
            die_once(tmp_path, "prepare")
            if state is not None and state.round == 1:
                die_once(tmp_path, "prepare again")  # the one that replaced a dead one
            return super().prepare(setting, state)

        def round(self) -> Any:
            if self.state.round == 1:
                die_once(tmp_path, "before round 2")
            found = super().round()
            if found[1].round >= 3:
                die_once(tmp_path, f"after round {found[1].round}")
            return found

        def score(self, jobs: Sequence[Any]) -> Any:
            if self.state.round == 2:
                die_once(tmp_path, "score")
            return super().score(jobs)

    monkeypatch.setattr(actors, "ClientActor", DyingClient)
    monkeypatch.setattr(actors, "ServerActor", DyingServer)
    config = tiny(resources={"actors": 2})
    said: list[str] = []
    out = run(config, tmp_path / "run", say=said.append)
    assert len(list(tmp_path.iterdir())) == 8, "every death came to pass"
    assert digests(out) == expected(config)
    assert [line["clients"]["accepted"] for line in lines(out)] == [4] * 4
    # the client actors outlive the server, but for the one of round 4
    assert [line["clients"]["restarts"] for line in lines(out)] == [0, 0, 0, 1]
    told = [sum("server actor died" in each for each in line["warnings"]) for line in lines(out)]
    assert told == [1, 2, 2, 1]
    assert sum("server actor died" in line for line in said) == 6


def test_client_code_that_raises(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Faulty(ClientActor):
        def play(self, attempt: Any, sent: Any, task: Any) -> Any:
            if task.client_id == CULPRIT and sent.round == 2:
                raise ValueError("boom")
            return super().play(attempt, sent, task)

    monkeypatch.setattr(actors, "ClientActor", Faulty)
    with pytest.raises(RunError, match=f"client {CULPRIT} failed: ValueError: boom") as caught:
        run(tiny(resources={"actors": 2}), tmp_path / "run")
    assert caught.value.exit_code == 3
    assert [line["round"] for line in lines(tmp_path / "run")] == [1]


def test_a_client_that_kills_its_process_each_time(
    tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Deadly(ClientActor):
        def play(self, attempt: Any, sent: Any, task: Any) -> Any:
            if task.client_id == CULPRIT:
                with (tmp_path / "deaths").open("a") as file:
                    file.write("x")
                os.kill(os.getpid(), signal.SIGKILL)
            return super().play(attempt, sent, task)

    monkeypatch.setattr(actors, "ClientActor", Deadly)
    with pytest.raises(RunError, match=f"plays client {CULPRIT} died 3 times") as caught:
        run(tiny(resources={"actors": 2}), tmp_path / "run")
    assert caught.value.exit_code == 3
    assert (tmp_path / "deaths").read_text() == "xxx"


@pytest.mark.chaos
def test_actors_that_die_at_once(
    tiny: Make, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Stillborn(ClientActor):
        def __init__(self, archive_path: str, threads: int, gpu: bool) -> None:
            raise OSError("no driver for the card")

    monkeypatch.setattr(actors, "ClientActor", Stillborn)
    config = tiny(resources={"actors": 1})
    runtime = RayRuntime(str(archive.path), config.resources, 4)
    try:
        with pytest.raises(RunError, match="die as soon as they start") as caught:
            runtime.prepare(setting_of(config, actors_algorithm(config), archive), None)
        assert "no driver for the card" in "".join(caught.value.__notes__)
    finally:
        runtime.close()


@pytest.mark.parametrize(
    ("resources", "parts"),
    [
        ({"gpus": 0.25}, ["gpus=0.25", "0 GPUs"]),
        ({"gpus": 2, "actors": 1}, ["gpus=2", "0 GPUs"]),
        ({"cpus": 5, "actors": "auto"}, ["1 client actor ", "cpus=5", "4 CPUs"]),
        ({"cpus": 2, "actors": 3}, ["3 client actors", "cpus=2", "4 CPUs"]),
        ({"cpus": 2, "actors": "per-client"}, ["4 client actors", "cpus=2", "4 CPUs"]),
    ],
)
def test_more_than_there_is_is_an_error_before_anything_starts(
    resources: dict[str, Any], parts: list[str], tiny: Make, tmp_path: Path
) -> None:
    before = client_actors()
    with pytest.raises(ResourceError) as caught:
        run(tiny(resources=resources), tmp_path / "run")
    for part in parts:
        assert part in str(caught.value)
    assert list(tmp_path.iterdir()) == []
    assert not client_actors() - before


def actors_algorithm(config: Config) -> Any:
    from raymmfl.algorithms import ALGORITHMS

    return ALGORITHMS[config.algorithm]


def test_what_the_actors_are_and_what_leaves_them(tiny: Make, archive: Archive) -> None:
    """Auto fits the cluster; the server needs no torch; a client returns what is declared."""
    config = tiny(resources={"cpus": 2})
    setting = setting_of(config, actors_algorithm(config), archive)
    runtime = RayRuntime(str(archive.path), config.resources, len(setting.clients))
    try:
        assert runtime.workers == len(runtime.handles) == 2
        state = runtime.prepare(setting, None)
        state, _ = runtime.round()

        heavy = ["torch", "rasterio", "mlflow", "matplotlib"]
        server = ray.get(
            runtime.server.__ray_call__.remote(lambda self: [m for m in heavy if m in sys.modules])
        )
        assert server == []
        client = runtime.handles[0]
        assert ray.get(client.__ray_call__.remote(lambda self: "torch" in sys.modules))

        plan = setting.plan
        sent = broadcast(setting, state)
        cohort = [each.client_id for each in setting.clients]
        task = tasks(setting, state, cohort)[0]
        owner = setting.by_id[task.client_id]
        record = ray.get(client.play.remote((2, 1), sent, task))
        partial = ray.get(client.partial.remote((2, 1)))
        kept = {s.name for s in plan.slots if s.kind != "weights" or s.scope == "client"}
        assert set(record.memory) <= kept
        assert set(record.embeddings) == set(owner.sensors)
        for parcel in record.embeddings.values():
            assert np.isin(parcel.open().rows, owner.rows).all()
        assert partial.clients == [task.client_id]
        assert (
            set(record.up) == set(record.down) == {"weights", "moments", "counters", "embeddings"}
        )
        # the partner's vectors that came are of scenes the client has
        for parcel in task.inbox.values():
            assert np.isin(parcel.open().rows, owner.rows).all()
        # an attempt that was not played has an empty sum
        assert ray.get(client.partial.remote((2, 2))).clients == []
    finally:
        runtime.close()
    assert ray.is_initialized(), "a Ray that was here before is left running"
