"""Tests of the sharing plan: every array of nested networks has its kind, scope and merging."""

import pytest
import torch
from torch import nn

from raymmfl.config import WhiteningConfig
from raymmfl.federation.plan import Plan, Slot
from raymmfl.federation.sharing import resolve
from raymmfl.models.multimodal import build
from raymmfl.models.whitening import GroupWhitening


class Nested(nn.Module):
    """Batch norms of several kinds, three levels down, beside ones that track nothing."""

    def __init__(self) -> None:
        super().__init__()
        inner = nn.Sequential(nn.BatchNorm2d(3), nn.ModuleDict({"deep": nn.BatchNorm1d(2)}))
        self.stems = nn.ModuleDict(
            {"S1": nn.ModuleList([nn.Conv2d(1, 3, 1), nn.Sequential(nn.Sequential(inner))])}
        )
        self.trunk = nn.Sequential(nn.SyncBatchNorm(4), nn.GroupNorm(2, 4), nn.BatchNorm3d(5))
        self.silent = nn.BatchNorm2d(3, track_running_stats=False, affine=False)
        self.head = nn.Linear(3, 2)


def network(backbone: str, whiten: bool = False, tied: bool = False) -> nn.Module:
    whitening = WhiteningConfig(positions="all") if whiten else None
    return build(
        {"S1": 2, "S2": 10}, 4, backbone, whitening=whitening, projection=8, tied=tied, seed=1
    )


NETWORKS = {
    "cnn": lambda: network("cnn"),
    "resnet_small": lambda: network("resnet_small"),
    "resnet18": lambda: network("resnet18"),
    "whitened": lambda: network("resnet_small", whiten=True),
    "tied": lambda: network("resnet_small", tied=True),
    "by hand": Nested,
}


@pytest.mark.parametrize("name", NETWORKS)
def test_every_array_is_planned_by_its_module(name: str) -> None:
    model = NETWORKS[name]()
    plan = resolve(model, True, "moments")
    assert [slot.name for slot in plan.slots] == list(model.state_dict())
    expected: dict[str, tuple[str, str, str | None]] = {}
    for path, module in model.named_modules():
        for leaf, _ in module.named_parameters(recurse=False):
            expected[f"{path}.{leaf}"] = ("weights", "mean", None)
        for leaf, _ in module.named_buffers(recurse=False):
            expected[f"{path}.{leaf}"] = {
                "running_mean": ("moments", "moments", None),
                "running_var": ("moments", "moments", f"{path}.running_mean"),
                "running_cov": ("moments", "moments", f"{path}.running_mean"),
                "num_batches_tracked": ("counters", "max", None),
            }[leaf]
    assert {s.name: (s.kind, s.merge, s.mean) for s in plan.slots} == expected
    kinds = {slot.kind for slot in plan.slots}
    assert kinds == {"weights", "moments", "counters"}
    assert all(slot.shape == tuple(model.state_dict()[slot.name].shape) for slot in plan.slots)


@pytest.mark.parametrize("name", NETWORKS)
def test_the_sensor_decides_the_scope(name: str) -> None:
    for slot in resolve(NETWORKS[name](), True, "moments").slots:
        part, sensor = slot.name.split(".")[:2]
        if part in ("stems", "trunks"):
            assert (slot.sensor, slot.scope) == (sensor, "modality")
        else:
            assert (slot.sensor, slot.scope) == (None, "all")


@pytest.mark.parametrize("name", NETWORKS)
def test_a_local_plan_shares_nothing(name: str) -> None:
    plan = resolve(NETWORKS[name](), False, "moments")
    assert {slot.scope for slot in plan.slots} == {"client"}
    assert list(plan.shared()) == []
    assert plan.spans == {}
    assert plan.length("weights") == 0


def test_statistics_merge_as_the_configuration_says() -> None:
    plan = resolve(network("resnet_small", whiten=True), True, "mean")
    assert {slot.merge for slot in plan.slots if slot.kind == "moments"} == {"mean"}
    assert {slot.merge for slot in plan.slots if slot.kind == "counters"} == {"max"}


@pytest.mark.parametrize("name", NETWORKS)
def test_spans_are_disjoint_and_cover_each_kind(name: str) -> None:
    plan = resolve(NETWORKS[name](), True, "moments")
    for kind in ("weights", "moments", "counters"):
        places = [
            place
            for slot in plan.slots
            if slot.kind == kind
            for place in range(*plan.spans[slot.name].indices(10**9))
        ]
        assert places == list(range(plan.length(kind)))
        assert sum(slot.size for slot in plan.slots if slot.kind == kind) == len(places)


def test_a_client_shares_the_encoders_it_holds() -> None:
    plan = resolve(network("resnet_small"), True, "moments")
    names = {slot.name for slot in plan.shared(("S1",))}
    assert names == {s.name for s in plan.slots if ".S2." not in s.name}
    assert {slot.name for slot in plan.shared()} == {slot.name for slot in plan.slots}


class Counting(nn.Module):
    """A module with a buffer that nobody knows how to merge."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("seen", torch.zeros(3))
        # the name of a known buffer does not make the module known
        self.register_buffer("running_mean", torch.zeros(3))


@pytest.mark.parametrize("buffer", ["seen", "running_mean"])
def test_an_unknown_buffer_is_an_error(buffer: str) -> None:
    model = nn.Sequential(nn.BatchNorm2d(3), Counting())
    del model[1]._buffers["running_mean" if buffer == "seen" else "seen"]
    with pytest.raises(TypeError, match=rf"the buffer 1\.{buffer} of Counting"):
        resolve(model, True, "moments")


def test_whitening_covariances_follow_their_mean() -> None:
    plan = resolve(nn.Sequential(GroupWhitening(8, 4)), True, "moments")
    slot = plan.by_name["0.running_cov"]
    assert (slot.shape, slot.mean, slot.kind) == ((2, 4, 4), "0.running_mean", "moments")


def test_the_table_adds_up() -> None:
    plan = Plan(
        (
            Slot("stems.S1.w", (2, 3), "weights", "S1", "modality", "mean"),
            Slot("stems.S2.w", (4,), "weights", "S2", "modality", "mean"),
            Slot("head.n", (), "counters", None, "all", "max"),
        )
    )
    rows = [line.split() for line in plan.table().splitlines()[1:]]
    assert rows == [
        ["stems", "weights", "modality", "mean", "2", "10"],
        ["head", "counters", "all", "max", "1", "1"],
    ]
