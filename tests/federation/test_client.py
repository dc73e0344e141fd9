"""Tests of a client's round: pure, declared, counted, and refused where it is not sound."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from raymmfl.archive.store import Archive
from raymmfl.federation.client import client_step, load, remember, through_wire
from raymmfl.federation.server import broadcast, tasks
from raymmfl.federation.setting import Setting
from raymmfl.federation.update import Record, Task, Update
from raymmfl.learning.training import train
from raymmfl.runtime.serial import SerialRuntime
from raymmfl.runtime.worker import Worker, make_model

Arrange = Callable[..., Setting]
Hire = Callable[[Setting], Worker]
Begin = Callable[[Setting], SerialRuntime]
Step = tuple[dict[str, bytes], dict[str, bytes], dict[str, bytes], dict[str, float]]


def task_of(runtime: SerialRuntime, client_id: str) -> Task:
    cohort = [client.client_id for client in runtime.setting.clients]
    found = {each.client_id: each for each in tasks(runtime.setting, runtime.state, cohort)}
    return found[client_id]


def step(runtime: SerialRuntime, client_id: str, model: Any = None) -> Step:
    """A client's step as bytes, on a fresh model or a given one."""
    setting, worker = runtime.setting, runtime.worker
    client = setting.by_id[client_id]
    update, memory, losses = client_step(
        setting,
        model or make_model(worker.archive, setting, client.sensors),
        worker.images,
        client,
        runtime.state.flat,
        runtime.state.round + 1,
        task_of(runtime, client_id),
        worker.initial(),
    )
    parcels = {
        s: p.rows.tobytes() + p.encoded.payload.tobytes() for s, p in update.embeddings.items()
    }
    return as_bytes(update.arrays), as_bytes(memory), parcels, losses


def as_bytes(arrays: Any) -> dict[str, bytes]:
    return {name: array.tobytes() for name, array in arrays.items()}


@pytest.mark.parametrize("algorithm", ["mf+fw+mim", "fedavg", "local"])
def test_a_step_does_not_depend_on_what_the_model_played_before(
    arrange: Arrange, begin: Begin, algorithm: str
) -> None:
    runtime = begin(arrange(algorithm))
    runtime.round()
    fresh = step(runtime, "Austria/S2")
    used = make_model(runtime.worker.archive, runtime.setting, ("S2",))
    step(runtime, "Finland/S2", used)
    with torch.no_grad():
        for tensor in used.state_dict().values():
            tensor.fill_(7)
    used.eval()
    torch.manual_seed(99)
    np.random.seed(99)  # noqa: NPY002
    assert step(runtime, "Austria/S2", used) == fresh
    assert step(runtime, "Finland/S2", used) != fresh


def test_a_step_changes_none_of_its_inputs(arrange: Arrange, begin: Begin) -> None:
    runtime = begin(arrange("mf+fw+mim"))
    runtime.round()

    def inputs() -> list[bytes]:
        flat, task = runtime.state.flat, task_of(runtime, "Austria/S1")
        parts: list[Any] = [flat.weights, flat.moments, flat.counters]
        parts += [*task.memory.values(), *runtime.worker.initial().values()]
        parts += [each for p in task.inbox.values() for each in (p.rows, p.encoded.payload)]
        return [part.tobytes() for part in parts]

    before = inputs()
    step(runtime, "Austria/S1")
    assert inputs() == before


def test_read_only_broadcasts_are_copied(arrange: Arrange, begin: Begin) -> None:
    runtime = begin(arrange("mf"))
    expected = step(runtime, "Austria/S1")
    for vector in vars(runtime.state.flat).values():
        vector.flags.writeable = False
    assert step(runtime, "Austria/S1") == expected


@pytest.mark.parametrize("algorithm", ["fedavg", "mf+fw+mim", "local"])
@pytest.mark.parametrize("holding", ["single", "all"])
def test_an_update_holds_what_is_declared_and_the_memory_what_is_kept(
    arrange: Arrange, begin: Begin, algorithm: str, holding: str
) -> None:
    runtime = begin(arrange(algorithm, {"holding": holding}))
    plan = runtime.setting.plan
    for client in runtime.setting.clients:
        arrays, memory, parcels, _ = step(runtime, client.client_id)
        assert set(arrays) == {slot.name for slot in plan.shared(client.sensors)}
        own = {slot.name: slot for slot in plan.slots if slot.sensor in (None, *client.sensors)}
        if algorithm == "local":
            assert arrays == {}
            assert set(memory) == set(own)
        else:
            assert set(arrays) == set(own)
            kept = {name for name, slot in own.items() if slot.kind != "weights"}
            assert set(memory) == kept
            assert all(name.rsplit(".")[-1].startswith(("running", "num")) for name in memory)
        assert set(parcels) == (set(client.sensors) if "mim" in algorithm else set())


def test_a_client_continues_its_own_statistics(arrange: Arrange, begin: Begin) -> None:
    runtime = begin(arrange("mf", {"sensors": ["S1"]}))
    state, _ = runtime.round()
    name = "stems.S1.norm.running_mean"
    worker = runtime.worker
    model = make_model(worker.archive, runtime.setting, ("S1",))
    for client_id in ("Austria/S1", "Finland/S1"):
        load(runtime.setting.plan, model, state.flat, task_of(runtime, client_id).memory)
        own = model.state_dict()[name].numpy()
        np.testing.assert_array_equal(own, state.memory[client_id][name])
        merged: NDArray[Any] = state.flat.read(
            runtime.setting.plan, runtime.setting.plan.by_name[name]
        )
        assert not np.array_equal(own, merged)
    weight = "stems.S1.conv.weight"
    shared: NDArray[Any] = state.flat.read(
        runtime.setting.plan, runtime.setting.plan.by_name[weight]
    )
    np.testing.assert_array_equal(model.state_dict()[weight].numpy(), shared)


def test_memory_is_a_copy(arrange: Arrange) -> None:
    plan = arrange("mf").plan
    state: dict[str, NDArray[np.generic]] = {
        slot.name: np.zeros(slot.shape, np.float32) for slot in plan.slots
    }
    memory = remember(plan, state)
    name = "stems.S1.norm.running_mean"
    state[name][:] = 9
    assert not memory[name].any()


def play(runtime: SerialRuntime, client_id: str) -> Record:
    sent = broadcast(runtime.setting, runtime.state)
    attempt = (runtime.state.round + 1,)
    return runtime.worker.play(attempt, sent, task_of(runtime, client_id))


@pytest.mark.parametrize(
    ("wire", "each", "scale"), [("float32", 4, 0), ("float16", 2, 0), ("int8", 1, 4)]
)
def test_the_bytes_of_a_round_by_hand(
    arrange: Arrange, begin: Begin, wire: str, each: int, scale: int
) -> None:
    setting = arrange(
        "mf+mim",
        model={"backbone": "cnn", "projection": 8},
        wire={"weights": wire, "embeddings": wire},
        rounds=3,
    )
    runtime = begin(setting)
    # the CNN on 2 bands: 36, 64 and 128 channels, 10 classes, D = 128, E = 8
    tensors = [36 * 2 * 9, 36, 36, 64 * 36 * 9, 64, 64, 128 * 64 * 9, 128, 128]
    tensors += [10 * 128, 10, 128 * 128, 128, 8 * 128, 8]
    weights = each * sum(tensors) + scale * len(tensors)
    moments, counters = 4 * 2 * (36 + 64 + 128), 8 * 3
    scenes = len(setting.by_id["Austria/S1"].rows)
    embeddings = scenes * (8 * each + scale) + 8 * scenes
    fixed = {"weights": weights, "moments": moments, "counters": counters}
    for round_index in (1, 2, 3):
        _, outcome = runtime.round()
        record = next(each for each in outcome.records if each.client_id == "Austria/S1")
        received = embeddings if round_index > 1 else 0
        sent = embeddings if round_index < 3 else 0  # nobody would read the last ones
        assert record.down == {**fixed, "embeddings": received}
        assert record.up == {**fixed, "embeddings": sent}


def test_the_receiver_sees_the_encoded_weights_and_exact_statistics(arrange: Arrange) -> None:
    setting = arrange("mf", wire={"weights": "int8"})
    random = np.random.default_rng(0)
    arrays: dict[str, NDArray[np.generic]] = {
        slot.name: random.normal(size=slot.shape).astype(
            np.int64 if slot.kind == "counters" else np.float32
        )
        for slot in setting.plan.shared(("S1",))
    }
    received, sizes = through_wire(setting, Update(arrays, {}))
    for name, array in arrays.items():
        if setting.plan.by_name[name].kind == "weights":
            step_size = np.abs(array).max() / 127
            assert not np.array_equal(received.arrays[name], array)
            np.testing.assert_allclose(
                received.arrays[name].astype(float), array.astype(float), atol=0.51 * step_size
            )
        else:
            np.testing.assert_array_equal(received.arrays[name], array)
    assert sizes["embeddings"] == 0


def spoil(worker: Worker, rows: NDArray[np.int64], value: float, sensor: str = "S1") -> None:
    """Let a sensor's images of some scenes be full of one value."""
    original = worker.images.load

    def load_spoiled(name: str, asked: NDArray[np.int64]) -> torch.Tensor:
        image = original(name, asked)
        if name == sensor:
            image[torch.from_numpy(np.isin(asked, rows))] = value
        return image

    worker.images.load = load_spoiled  # type: ignore[method-assign,assignment]


@pytest.mark.parametrize("value", [np.nan, np.inf, 1e38])
@pytest.mark.parametrize("algorithm", ["mf+fw+mim", "local"])
def test_a_diverged_client_is_refused_whole(
    arrange: Arrange, begin: Begin, algorithm: str, value: float
) -> None:
    runtime = begin(arrange(algorithm))
    spoil(runtime.worker, runtime.setting.by_id["Austria/S1"].rows, value)
    record = play(runtime, "Austria/S1")
    assert record.refused
    assert record.embeddings == {}
    assert record.memory == {}
    partial = runtime.worker.partial((1,))
    assert partial.clients == []
    assert not partial.weights.any()
    assert not partial.moments.any()
    assert play(runtime, "Finland/S1").refused is None


def test_float16_overflow_is_refused_not_sent_as_something_else(
    arrange: Arrange, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = begin(arrange("mf", wire={"weights": "float16"}, train={"lr": 0.1}))

    def explode(model: Any, *rest: Any) -> Any:
        trained = train(model, *rest)
        model.head.weight.data[0, 0] = 1e5
        return trained

    monkeypatch.setattr("raymmfl.federation.client.train", explode)
    assert "head.weight holds inf" in str(play(runtime, "Austria/S1").refused)


def test_a_new_attempt_starts_a_new_sum(arrange: Arrange, hire: Hire, begin: Begin) -> None:
    runtime = begin(arrange("mf"))
    worker, sent = runtime.worker, broadcast(runtime.setting, runtime.state)
    worker.play((1, 0), sent, task_of(runtime, "Austria/S1"))
    first = worker.partial((1, 0)).weights.tobytes()
    worker.play((1, 1), sent, task_of(runtime, "Austria/S1"))
    assert worker.partial((1, 1)).weights.tobytes() == first
    assert worker.partial((1, 1)).clients == ["Austria/S1"]
    assert worker.partial((1, 0)).clients == []
    assert hire(runtime.setting).partial((1, 0)).clients == []


def test_the_untrained_state_is_that_of_the_seed(
    archive: Archive, arrange: Arrange, hire: Hire
) -> None:
    setting = arrange("mf+fw+mim")
    flat = hire(setting).start()
    model = make_model(archive, setting, ("S2",))
    for name, tensor in model.state_dict().items():
        held: NDArray[Any] = flat.read(setting.plan, setting.plan.by_name[name])
        np.testing.assert_array_equal(held, tensor.numpy())
    other = hire(arrange("mf+fw+mim", seed=1)).start()
    assert not np.array_equal(other.weights, flat.weights)
