"""Tests of whole rounds against plain PyTorch: what federation must not change, it does not."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from raymmfl.archive.partition import Client
from raymmfl.archive.store import Archive
from raymmfl.errors import RunError
from raymmfl.federation.server import State, choose, tasks
from raymmfl.federation.setting import Setting
from raymmfl.learning.batches import Images
from raymmfl.learning.training import train
from raymmfl.runtime.serial import SerialRuntime
from raymmfl.runtime.worker import Worker, make_model
from raymmfl.seeds import generator

Arrange = Callable[..., Setting]
Begin = Callable[[Setting], SerialRuntime]
Arrays = dict[str, NDArray[Any]]


def arrays_of(setting: Setting, state: State) -> Arrays:
    return {slot.name: state.flat.read(setting.plan, slot) for slot in setting.plan.shared()}


def play(runtime: SerialRuntime, rounds: int) -> Arrays:
    for _ in range(rounds):
        runtime.round()
    return arrays_of(runtime.setting, runtime.state)


def close(found: Arrays, expected: Arrays, atol: float) -> None:
    assert set(found) == set(expected)
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=0, atol=atol, err_msg=name)


def moved(before: Arrays, after: Arrays, part: str) -> bool:
    return any(
        not np.array_equal(before[name], after[name]) for name in after if name.startswith(part)
    )


def images_of(archive: Archive, sensor: str, rows: NDArray[np.int64]) -> Tensor:
    """Standardised images with every band repeated to the finest grid."""
    described = archive.sensors[sensor]
    parts = []
    for native, column in zip(archive.read(sensor, rows), described.columns, strict=True):
        times = described.size // column.size
        parts.append(native.astype(np.float64).repeat(times, axis=2).repeat(times, axis=3))
    bands = np.concatenate(parts, axis=1)
    mean, std = np.array(described.mean), np.array(described.std)
    scaled = (bands - mean[:, None, None]) / std[:, None, None]
    return torch.from_numpy(scaled.astype(np.float32))


@pytest.mark.parametrize("optimizer", ["sgd", "adam"])
@pytest.mark.parametrize("norm", ["batch", "group"])
def test_one_client_equals_centralised_training(
    archive: Archive, arrange: Arrange, begin: Begin, optimizer: str, norm: str
) -> None:
    settings = {"lr": 0.01, "momentum": 0.9, "weight_decay": 0.001, "epochs": 2}
    setting = arrange(
        "mf",
        {"regions": ["Finland"], "holding": "all"},
        archive={"path": str(archive.path), "resample": "nearest"},
        model={"norm": norm},
        train={**settings, "optimizer": optimizer, "augment": False},
    )
    (client,) = setting.clients
    assert client.sensors == ("S1", "S2")
    found = play(begin(setting), 3)

    model = make_model(archive, setting, client.sensors)
    model.train()
    reader = Images(archive, "nearest", torch.device("cpu"))
    # Adam divides by the gradient's own size and so blows up the last bit of an input within a
    # few steps: there the pixels are read by the same code, for SGD they are read by hand
    read = reader.load if optimizer == "adam" else partial(images_of, archive)
    for round_index in (1, 2, 3):
        step: torch.optim.Optimizer
        if optimizer == "adam":
            step = torch.optim.Adam(model.parameters(), 0.01, weight_decay=0.001, fused=True)
        else:
            step = torch.optim.SGD(model.parameters(), 0.01, 0.9, weight_decay=0.001)
        for epoch in range(2):
            order = generator(0, round_index, client.client_id, "order", epoch)
            for batch in np.array_split(order.permutation(client.rows), range(32, 96, 32)):
                one, two = (model.answer(each, read(each, batch))[1] for each in ("S1", "S2"))
                logits = (one + two) / 2
                targets = torch.from_numpy(archive.targets[batch].astype(np.float32))
                loss = nn.functional.binary_cross_entropy_with_logits(logits, targets)
                step.zero_grad()
                loss.backward()  # type: ignore[no-untyped-call]
                step.step()
    plain = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    close(found, plain, atol=1e-5)


@pytest.mark.parametrize("sensors", [("S1",), ("S1", "S2")])
def test_equal_clients_with_one_step_equal_the_large_batch(
    archive: Archive, arrange: Arrange, begin: Begin, sensors: tuple[str, ...]
) -> None:
    rows = archive.rows("train")[:60]
    parts = [np.sort(part) for part in rows.reshape(20, 3).T]
    few = [Client(f"part{i}/x", None, sensors, part) for i, part in enumerate(parts)]
    one = [Client("union/x", None, sensors, rows)]
    plain = {"optimizer": "sgd", "lr": 0.5, "augment": False}
    results = [
        play(
            begin(
                arrange("mf", who, model={"norm": "group"}, train={**plain, "batch_size": size})
            ),
            1,
        )
        for who, size in ((few, 20), (one, 60))
    ]
    close(results[0], results[1], atol=1e-5)
    start = play(begin(arrange("mf", one, model={"norm": "group"})), 0)
    assert max(np.abs(results[1][name] - start[name]).max() for name in start) > 1e-3


@pytest.mark.parametrize("statistics", ["moments", "mean"])
def test_statistics_and_counters_after_a_round_are_what_the_plan_says(
    archive: Archive, arrange: Arrange, begin: Begin, statistics: str
) -> None:
    rows = archive.rows("train")
    clients = [
        Client("small/S1", None, ("S1",), rows[:40]),
        Client("large/S1", None, ("S1",), rows[60:180]),
    ]
    setting = arrange("mf", clients, sharing={"statistics": statistics})
    found = play(begin(setting), 1)

    trained: list[Arrays] = []
    for client in clients:
        model = make_model(archive, setting, client.sensors)
        images = Images(archive, "bilinear", torch.device("cpu"))
        seed = (0, 1, client.client_id)
        train(model, images, client.sensors, client.rows, setting.config.train, None, seed)
        trained.append({name: tensor.numpy() for name, tensor in model.state_dict().items()})
    expected: Arrays = {}
    norms = 0
    for name in trained[0]:
        small, large = (each[name].astype(np.float64) for each in trained)
        if name.endswith("num_batches_tracked"):
            # 40 scenes are two batches of 32 and 8; 120 are four
            assert (int(small), int(large)) == (2, 4)
            expected[name] = np.array(4)
            continue
        expected[name] = small * 40 / 160 + large * 120 / 160
        if name.endswith("running_var") and statistics == "moments":
            norms += 1
            means = [each[name.replace("running_var", "running_mean")] for each in trained]
            pooled = means[0] * 0.25 + means[1] * 0.75
            between = 0.25 * (means[0] - pooled) ** 2 + 0.75 * (means[1] - pooled) ** 2
            assert between.max() > 1e-5  # or the test could not tell the two apart
            expected[name] = expected[name] + between
    assert statistics == "mean" or norms == 9  # the stem, two a block, two shortcuts
    close(found, expected, atol=1e-6)


def refuse(worker: Worker, rows: NDArray[np.int64], sensor: str) -> None:
    original = worker.images.load

    def load(name: str, asked: NDArray[np.int64]) -> Tensor:
        image = original(name, asked)
        if name == sensor and np.isin(asked, rows).any():
            image.fill_(torch.nan)
        return image

    worker.images.load = load  # type: ignore[method-assign,assignment]


def test_an_encoder_stands_still_while_its_sensor_has_no_update(
    arrange: Arrange, begin: Begin, archive: Archive
) -> None:
    runtime = begin(arrange("mf+fw+mim"))
    before = {name: array.copy() for name, array in play(runtime, 0).items()}
    refuse(runtime.worker, archive.rows("train"), "S1")
    _, outcome = runtime.round()
    after = arrays_of(runtime.setting, runtime.state)
    assert not moved(before, after, "stems.S1")
    assert not moved(before, after, "trunks.S1")
    assert all(moved(before, after, part) for part in ("stems.S2", "trunks.S2", "head"))
    assert sum("update refused, client Austria/S1" in each for each in outcome.warnings) == 1
    assert "round 1: no update for S1; its encoder is unchanged" in outcome.warnings
    assert set(runtime.state.bank.vectors) == {"S2"}
    assert set(runtime.state.memory) == {"Austria/S2", "Finland/S2"}


def test_an_encoder_stands_still_while_only_the_other_sensor_trains(
    arrange: Arrange, begin: Begin
) -> None:
    for seed in range(50):
        setting = arrange("mf", {"fraction": 0.5}, seed=seed)
        if {name.split("/")[1] for name in choose(setting, 1)} == {"S2"}:
            break
    runtime = begin(setting)
    before = {name: array.copy() for name, array in play(runtime, 0).items()}
    _, outcome = runtime.round()
    assert outcome.cohort == ["Austria/S2", "Finland/S2"]
    after = arrays_of(setting, runtime.state)
    assert not moved(before, after, "stems.S1")
    assert not moved(before, after, "trunks.S1")
    assert moved(before, after, "trunks.S2")


@pytest.mark.parametrize("algorithm", ["mf+fw+mim", "fedavg"])
def test_a_round_with_a_refused_client_equals_one_without_it(
    arrange: Arrange, begin: Begin, algorithm: str
) -> None:
    setting = arrange(algorithm, {"partition": "random", "sites": 3})
    bad = setting.by_id["site02/S1"]
    runtime = begin(setting)
    others = [client for client in setting.clients if client is not bad]
    refuse(runtime.worker, bad.rows, "S1")  # which belong to no other client of S1
    found = play(runtime, 1)
    without = replace(setting, clients=tuple(others))
    close(found, play(begin(without), 1), atol=1e-6)
    assert bad.client_id not in runtime.state.memory


def test_a_round_without_any_update_is_an_error(
    archive: Archive, arrange: Arrange, begin: Begin
) -> None:
    runtime = begin(arrange("mf", {"sensors": ["S1"]}))
    before = runtime.state.flat.weights.copy()
    refuse(runtime.worker, archive.rows("train"), "S1")
    with pytest.raises(RunError, match=r"round 1: no update was accepted \(client Austria/S1: "):
        runtime.round()
    assert runtime.state.round == 0
    np.testing.assert_array_equal(runtime.state.flat.weights, before)


def test_shares_are_those_of_the_cohort(arrange: Arrange, begin: Begin, archive: Archive) -> None:
    rows = archive.rows("train")
    clients = [
        Client("a/S1", None, ("S1",), rows[:10]),
        Client("b/S1+S2", None, ("S1", "S2"), rows[10:40]),
        Client("c/S2", None, ("S2",), rows[40:100]),
        Client("d/S1", None, ("S1",), rows[100:102]),
    ]
    for weighting, n in (("size", (10, 30, 60)), ("uniform", (1, 1, 1))):
        setting = arrange("mf", clients, sharing={"weighting": weighting})
        a, b, c = tasks(setting, begin(setting).state, ["a/S1", "b/S1+S2", "c/S2"])
        whole = sum(n)
        assert a.shares == {None: n[0] / whole, "S1": n[0] / (n[0] + n[1])}
        assert b.shares == {
            None: n[1] / whole,
            "S1": n[1] / (n[0] + n[1]),
            "S2": n[1] / (n[1] + n[2]),
        }
        assert c.shares == {None: n[2] / whole, "S2": n[2] / (n[1] + n[2])}


def test_cohorts_are_seeded_shares_of_the_clients(arrange: Arrange) -> None:
    setting = arrange("mf", {"partition": "random", "sites": 4, "fraction": 0.4})
    ids = [client.client_id for client in setting.clients]
    cohorts = [choose(setting, round_index) for round_index in range(1, 12)]
    assert all(len(set(cohort)) == 4 for cohort in cohorts)  # 3.2 of 8, rounded up
    assert all(cohort == [each for each in ids if each in cohort] for cohort in cohorts)
    assert len({tuple(cohort) for cohort in cohorts}) > 3
    assert cohorts == [choose(setting, round_index) for round_index in range(1, 12)]
    assert choose(arrange("mf"), 5) == [c.client_id for c in arrange("mf").clients]


@pytest.mark.parametrize("algorithm", ["mf", "fedavg"])
def test_fedavg_shares_its_trunk_and_mf_does_not(
    arrange: Arrange, begin: Begin, algorithm: str
) -> None:
    setting = arrange(algorithm)
    names = {slot.name.split(".")[0] for slot in setting.plan.slots}
    assert names == {"stems", "head", "trunk" if algorithm == "fedavg" else "trunks"}
    tasks_ = tasks(setting, begin(setting).state, ["Austria/S1", "Austria/S2"])
    received = [
        {slot.name for slot in setting.plan.shared(setting.by_id[each.client_id].sensors)}
        for each in tasks_
    ]
    both = {name.split(".")[0] for name in received[0] & received[1]}
    assert both == ({"head", "trunk"} if algorithm == "fedavg" else {"head"})


def clients_of(*sensors: Sequence[str]) -> dict[str, Any]:
    return {"holdings": {region: list(map(list, sensors)) for region in ("Austria", "Finland")}}


MIM: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "default": ({}, {}),
    "extra pass": ({}, {"mim": {"embeddings": "extra_pass"}}),
    "int8": ({}, {"wire": {"weights": "int8", "embeddings": "int8"}}),
    "float16": ({}, {"wire": {"weights": "float16", "embeddings": "float16"}}),
    "two epochs": ({}, {"train": {"epochs": 2}}),
    "several sensors": (clients_of(("S1", "S2"), ("S1",)), {}),
}


@pytest.mark.parametrize("case", MIM)
def test_mim_begins_in_round_two_and_uploads_until_the_last_but_one(
    arrange: Arrange, begin: Begin, case: str
) -> None:
    clients, tree = MIM[case]
    runtime = begin(arrange("mf+mim", clients, rounds=3, **tree))
    for round_index in (1, 2, 3):
        state, outcome = runtime.round()
        for record in outcome.records:
            sensors = runtime.setting.by_id[record.client_id].sensors
            assert record.refused is None
            assert all(np.isfinite(value) for value in record.losses.values())
            assert ("mim_loss" in record.losses) == (round_index > 1)
            assert set(record.embeddings) == (set(sensors) if round_index < 3 else set())
            assert (record.down["embeddings"] > 0) == (
                round_index > 1 and set(sensors) != {"S1", "S2"}
            )
            for parcel in record.embeddings.values():
                opened = parcel.open()
                own = runtime.setting.by_id[record.client_id].rows
                np.testing.assert_array_equal(opened.rows, own)
                norms = np.linalg.norm(opened.vectors, axis=1)
                np.testing.assert_allclose(norms, 1, atol=0.02)
        assert np.isfinite(state.flat.weights).all()


def test_no_foreign_row_reaches_a_client(arrange: Arrange, begin: Begin) -> None:
    runtime = begin(arrange("mf+mim", {"partition": "random", "sites": 3}, rounds=3))
    for _ in range(2):
        runtime.round()
        for task in tasks(runtime.setting, runtime.state, choose(runtime.setting, 2)):
            client = runtime.setting.by_id[task.client_id]
            assert set(task.inbox) == {"S1", "S2"} - set(client.sensors)
            for parcel in task.inbox.values():
                assert set(parcel.rows.tolist()) <= set(client.rows.tolist())


@pytest.mark.parametrize(
    ("mim", "with_term", "with_upload"),
    [({"first_round": 3}, [3], [1, 2]), ({"weight": 0.0}, [], [])],
)
def test_switches_of_mim(
    arrange: Arrange,
    begin: Begin,
    mim: dict[str, Any],
    with_term: list[int],
    with_upload: list[int],
) -> None:
    runtime = begin(arrange("mf+mim", rounds=3, mim=mim))
    outcomes = [runtime.round()[1] for _ in range(3)]
    terms = [o.round for o in outcomes if any("mim_loss" in r.losses for r in o.records)]
    uploads = [o.round for o in outcomes if any(r.embeddings for r in o.records)]
    assert (terms, uploads) == (with_term, with_upload)


def test_mim_without_weight_is_mf(arrange: Arrange, begin: Begin) -> None:
    plain = play(begin(arrange("mf")), 2)
    linked = play(begin(arrange("mf+mim", mim={"weight": 0.0})), 2)
    close({name: linked[name] for name in plain}, plain, atol=0)
    pulled = play(begin(arrange("mf+mim")), 2)
    assert any(not np.array_equal(pulled[name], plain[name]) for name in plain)


def test_a_client_of_several_sensors_links_its_own_pairs(
    archive: Archive, arrange: Arrange, begin: Begin
) -> None:
    rows = archive.rows("train")
    both = [Client("all/S1+S2", None, ("S1", "S2"), rows)]
    losses = begin(arrange("mf+mim", both, mim={"first_round": 2}))
    losses.round()
    _, outcome = losses.round()
    found = outcome.records[0]
    assert found.down["embeddings"] == 0  # no partner, and still a term
    assert 0 < found.losses["mim_loss"] < np.log(2 * 32 - 1) + 2
