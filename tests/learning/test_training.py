"""Tests of one client's training: its loss, its order, its embeddings, and nothing else."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from raymmfl.archive.store import Archive
from raymmfl.config import Config
from raymmfl.configfile import parse
from raymmfl.learning.batches import Images
from raymmfl.learning.losses import nt_xent, task_loss
from raymmfl.learning.training import Mim, Trained, train
from raymmfl.models.multimodal import MultiModalNet, build

BOTH = ("S1", "S2")
SEED = (0, 1, "Austria/S1")
State = dict[str, Tensor]


class Gappy(Images):
    """Images of an archive in which some scenes lack a sensor."""

    def __init__(self, archive: Archive, missing: dict[str, NDArray[np.int64]]) -> None:
        super().__init__(archive, "bilinear", torch.device("cpu"))
        hidden = {
            sensor: archive.present(sensor) & ~np.isin(np.arange(len(archive)), rows)
            for sensor, rows in missing.items()
        }
        whole: Any = archive

        class Less:
            sensors, targets, read = whole.sensors, whole.targets, whole.read

            def present(self, sensor: str) -> Any:
                return hidden.get(sensor, whole.present(sensor))

        less: Any = Less()
        self.archive = less


@pytest.fixture
def images(archive: Archive) -> Images:
    return Images(archive, "bilinear", torch.device("cpu"))


@pytest.fixture
def rows(archive: Archive) -> NDArray[np.int64]:
    chosen: NDArray[np.int64] = archive.rows("train")[:30]
    return chosen


def a_model(archive: Archive, norm: str = "group") -> MultiModalNet:
    bands = {name: len(sensor.bands) for name, sensor in archive.sensors.items()}
    return build(bands, len(archive.labels), "resnet_small", norm, projection=8, seed=2)


def settings_of(**values: Any) -> Config:
    plain = {"batch_size": 64, "augment": False, "optimizer": "sgd", "lr": 0.1}
    return parse({"train": {**plain, **values}})


def state_of(model: MultiModalNet) -> State:
    return {name: tensor.clone() for name, tensor in model.state_dict().items()}


def equal(left: State, right: State) -> bool:
    return all(torch.equal(left[name], right[name]) for name in left)


def mim_of(active: bool, upload: bool, partners: Any = None, **settings: Any) -> Mim:
    return Mim(parse({"mim": settings}).mim, partners or {}, active, upload)


def run(
    archive: Archive, images: Images, rows: NDArray[np.int64], **values: Any
) -> tuple[State, Trained]:
    model = a_model(archive, values.pop("norm", "group"))
    mim, seed = values.pop("mim", None), values.pop("seed", SEED)
    sensors = values.pop("sensors", BOTH)
    trained = train(model, images, sensors, rows, settings_of(**values).train, mim, seed)
    return state_of(model), trained


def test_a_scene_is_scored_by_the_mean_of_the_sensors_it_has(
    archive: Archive, rows: NDArray[np.int64]
) -> None:
    gappy = Gappy(archive, {"S1": rows[:10], "S2": rows[20:]})
    _, trained = run(archive, gappy, rows)
    model = a_model(archive).train()
    one = model.features("S1", gappy.load("S1", rows))
    two = model.features("S2", gappy.load("S2", rows))
    fused = torch.cat([two[:10], (one[10:20] + two[10:20]) / 2, one[20:]])
    targets = torch.from_numpy(archive.targets[rows])
    expected = float(task_loss(model.head(fused), targets).detach())
    assert trained.losses["task_loss"] == pytest.approx(expected, abs=1e-5)
    assert trained.losses["loss"] == trained.losses["task_loss"]
    assert set(trained.losses) == {"loss", "task_loss"}
    assert trained.embeddings == {}


def test_losses_are_means_over_the_last_epochs_scenes(
    archive: Archive, images: Images, rows: NDArray[np.int64]
) -> None:
    # without learning to speak of, batches of 20 and 10 weigh 2 : 1 and give the whole's mean
    _, parts = run(archive, images, rows, batch_size=20, lr=1e-12, epochs=2)
    _, whole = run(archive, images, rows, lr=1e-12)
    assert parts.losses["task_loss"] == pytest.approx(whole.losses["task_loss"], abs=1e-5)


def test_order_and_augmentation_follow_from_the_seed_alone(
    archive: Archive, images: Images, rows: NDArray[np.int64]
) -> None:
    options: dict[str, Any] = {"batch_size": 8, "augment": True, "norm": "batch"}
    torch.manual_seed(1)
    before = torch.random.get_rng_state()
    first, _ = run(archive, images, rows, **options)
    assert torch.equal(torch.random.get_rng_state(), before)
    torch.manual_seed(2)
    again, _ = run(archive, images, rows, **options)
    assert equal(first, again)
    for seed in ((1, 1, "Austria/S1"), (0, 2, "Austria/S1"), (0, 1, "Austria/S2")):
        other, _ = run(archive, images, rows, **options, seed=seed)
        assert not equal(first, other)
    plain, _ = run(archive, images, rows, **{**options, "augment": False})
    assert not equal(first, plain)


def test_momentum_and_decay_reach_the_optimiser(
    archive: Archive, images: Images, rows: NDArray[np.int64]
) -> None:
    states = [
        run(archive, images, rows, batch_size=8, **options)[0]
        for options in ({}, {"momentum": 0.9}, {"weight_decay": 0.1}, {"optimizer": "adam"})
    ]
    pairs = [(a, b) for index, a in enumerate(states) for b in states[:index]]
    assert not any(equal(a, b) for a, b in pairs)


def test_the_mim_term_by_hand(archive: Archive, images: Images, rows: NDArray[np.int64]) -> None:
    random = np.random.default_rng(0)
    known = rows[::2]  # the partner holds every other scene
    vectors = random.normal(size=(len(known), 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    mim = mim_of(True, False, {"S2": (known, vectors)}, weight=0.7, temperature=0.3)
    _, trained = run(archive, images, rows, sensors=("S1",), mim=mim)
    model = a_model(archive).train()
    ours = model.embed(model.features("S1", images.load("S1", known)))
    expected = float(nt_xent(ours, torch.from_numpy(vectors), 0.3).detach())
    assert trained.losses["mim_loss"] == pytest.approx(expected, abs=1e-4)
    total = trained.losses["task_loss"] + 0.7 * trained.losses["mim_loss"]
    assert trained.losses["loss"] == pytest.approx(total, abs=1e-5)


def test_terms_of_several_partners_are_averaged(
    archive: Archive, images: Images, rows: NDArray[np.int64]
) -> None:
    random = np.random.default_rng(1)
    partners = {
        name: (rows, random.normal(size=(len(rows), 8)).astype(np.float32)) for name in ("A", "B")
    }
    found = []
    for chosen in ({"A": partners["A"]}, {"B": partners["B"]}, partners):
        mim = mim_of(True, False, chosen)
        _, trained = run(archive, images, rows, sensors=("S1",), mim=mim)
        found.append(trained.losses["mim_loss"])
    assert found[2] == pytest.approx((found[0] + found[1]) / 2, abs=1e-5)


def test_a_client_of_two_sensors_pairs_its_own_and_pulls_both_ways(
    archive: Archive, rows: NDArray[np.int64]
) -> None:
    gappy = Gappy(archive, {"S1": rows[:10], "S2": rows[20:]})
    after, trained = run(archive, gappy, rows, mim=mim_of(True, False, weight=5.0))
    model = a_model(archive).train()
    ours, theirs = (
        model.embed(model.features(each, gappy.load(each, rows[10:20]))) for each in BOTH
    )
    expected = float(nt_xent(ours, theirs, 0.5).detach())
    assert trained.losses["mim_loss"] == pytest.approx(expected, abs=1e-4)
    plain, _ = run(archive, gappy, rows, mim=mim_of(False, False))
    for part in ("stems.S1.conv.weight", "stems.S2.conv.weight", "projection.0.weight"):
        assert not torch.equal(after[part], plain[part])


def test_scenes_without_a_partner_have_no_term(
    archive: Archive, images: Images, rows: NDArray[np.int64]
) -> None:
    plain, without = run(archive, images, rows, sensors=("S1",), mim=mim_of(False, False))
    for known in (rows[:1], np.array([rows.max() + 1, rows.max() + 2])):  # one pair; none
        vectors = np.ones((len(known), 8), np.float32)
        mim = mim_of(True, False, {"S2": (known, vectors)})
        state, trained = run(archive, images, rows, sensors=("S1",), mim=mim)
        assert "mim_loss" not in trained.losses
        assert trained.losses == without.losses
        assert equal(state, plain)


@pytest.mark.parametrize("embeddings", ["last_epoch", "extra_pass"])
@pytest.mark.parametrize("active", [False, True])
def test_embeddings_of_every_scene_are_uploaded_in_order(
    archive: Archive, images: Images, rows: NDArray[np.int64], embeddings: str, active: bool
) -> None:
    mim = mim_of(active, True, embeddings=embeddings)
    options: dict[str, Any] = {"batch_size": 8, "epochs": 2, "norm": "batch"}
    state, trained = run(archive, images, rows, mim=mim, **options)
    silent, without = run(archive, images, rows, mim=mim_of(active, False), **options)
    assert equal(state, silent)  # uploading does not change the training
    assert without.embeddings == {}
    assert set(trained.embeddings) == set(BOTH)
    for sensor, (held, vectors) in trained.embeddings.items():
        np.testing.assert_array_equal(held, rows)
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        if embeddings == "extra_pass":
            model = a_model(archive, "batch").eval()
            model.load_state_dict(state)
            with torch.no_grad():
                clean = model.embed(model.features(sensor, images.load(sensor, rows)))
            np.testing.assert_allclose(vectors, clean.numpy(), atol=1e-5)


def test_last_epoch_embeddings_are_those_of_the_forward_pass(
    archive: Archive, images: Images, rows: NDArray[np.int64]
) -> None:
    _, trained = run(archive, images, rows, sensors=("S1",), mim=mim_of(False, True))
    model = a_model(archive).train()
    with torch.no_grad():  # one batch, one epoch: the untrained model saw it
        expected = model.embed(model.features("S1", images.load("S1", rows)))
    np.testing.assert_allclose(trained.embeddings["S1"][1], expected.numpy(), atol=1e-5)
