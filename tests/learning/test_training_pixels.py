"""Tests of one client's training on pixels: its loss, its masks, MIM beside it."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from raymmfl.archive.store import Archive
from raymmfl.configfile import parse
from raymmfl.learning.batches import Images, augment
from raymmfl.learning.losses import nt_xent, pixel_loss
from raymmfl.learning.training import Mim, Trained, train
from raymmfl.models.multimodal import MultiModalNet, build

BOTH = ("S1", "S2")
SEED = (0, 1, "Austria/S1")


class Masked(Images):
    """Images of an archive whose masks and presence are the test's."""

    def __init__(self, archive: Archive, **changes: Any) -> None:
        super().__init__(archive, "bilinear", torch.device("cpu"))
        whole: Any = archive

        class Changed:
            sensors, targets, read = whole.sensors, whole.targets, whole.read
            present = staticmethod(changes.get("present", whole.present))
            read_mask = staticmethod(changes.get("read_mask", whole.read_mask))

        changed: Any = Changed()
        self.archive = changed


@pytest.fixture
def images(archive: Archive) -> Images:
    return Images(archive, "bilinear", torch.device("cpu"))


@pytest.fixture
def rows(archive: Archive) -> NDArray[np.int64]:
    chosen: NDArray[np.int64] = archive.rows("train")[:24]
    return chosen


def a_model(archive: Archive) -> MultiModalNet:
    bands = {name: len(sensor.bands) for name, sensor in archive.sensors.items()}
    classes = len(archive.labels)
    return build(bands, classes, "cnn", "group", projection=8, seed=2, task="pixels")


def run(
    archive: Archive,
    images: Images,
    rows: NDArray[np.int64],
    sensors: tuple[str, ...] = BOTH,
    mim: Mim | None = None,
    **values: Any,
) -> tuple[dict[str, Tensor], Trained]:
    model = a_model(archive)
    plain = {"batch_size": 64, "augment": False, "optimizer": "sgd", "lr": 0.1}
    settings = parse({"train": {**plain, **values}}).train
    trained = train(model, images, sensors, rows, settings, mim, SEED)
    return model.state_dict(), trained


def test_logit_maps_are_averaged_over_the_sensors_a_scene_has(
    archive: Archive, rows: NDArray[np.int64]
) -> None:
    lacking = {"S1": rows[:8], "S2": rows[16:]}
    images = Masked(
        archive,
        present=lambda sensor: (
            archive.present(sensor) & ~np.isin(np.arange(len(archive)), lacking[sensor])
        ),
    )
    _, trained = run(archive, images, rows)
    model = a_model(archive).train()
    with torch.no_grad():
        one, two = (model({each: images.load(each, rows)}) for each in BOTH)
    fused = torch.cat([two[:8], (one[8:16] + two[8:16]) / 2, one[16:]])
    expected = float(pixel_loss(fused, images.masks(rows)))
    assert trained.losses["task_loss"] == pytest.approx(expected, abs=1e-5)


def test_masks_are_turned_as_the_images_are(
    archive: Archive, images: Images, rows: NDArray[np.int64], monkeypatch: pytest.MonkeyPatch
) -> None:
    turned: list[tuple[tuple[int, ...], list[int]]] = []

    def spy(image: Tensor, turns: NDArray[np.int64]) -> Tensor:
        turned.append((tuple(image.shape), turns.tolist()))
        return augment(image, turns)

    monkeypatch.setattr("raymmfl.learning.training.augment", spy)
    run(archive, images, rows, augment=True)
    (shapes, turns) = zip(*turned, strict=True)
    assert [shape[1] for shape in shapes] == [2, 10, 1]
    assert turns[0] == turns[1] == turns[2]
    assert len(set(turns[0])) > 4
    # and what is turned stays a class: integers, ignored ones among them
    mask = torch.tensor([[[0, 255], [2, 3]]])
    assert augment(mask.unsqueeze(1), np.array([1])).squeeze(1).tolist() == [[[255, 3], [0, 2]]]


def test_scenes_without_a_labelled_pixel_leave_the_weights_alone(
    archive: Archive, rows: NDArray[np.int64]
) -> None:
    images = Masked(archive, read_mask=lambda rows: np.full((len(rows), 16, 16), 255, np.uint8))
    state, trained = run(archive, images, rows)
    assert trained.losses == {"loss": 0.0, "task_loss": 0.0}
    before = a_model(archive).state_dict()
    assert all(torch.equal(state[name], value) for name, value in before.items())


def test_mim_acts_on_the_pooled_features_beside_the_pixels(
    archive: Archive, images: Images, rows: NDArray[np.int64]
) -> None:
    random = np.random.default_rng(0)
    known = rows[::2]
    vectors = random.normal(size=(len(known), 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    settings = parse({"mim": {"weight": 0.7, "temperature": 0.3}}).mim
    mim = Mim(settings, {"S2": (known, vectors)}, active=True, upload=True)
    state, trained = run(archive, images, rows, ("S1",), mim)
    model = a_model(archive).train()
    ours = model.embed(model.features("S1", images.load("S1", known)))
    expected = float(nt_xent(ours, torch.from_numpy(vectors), 0.3).detach())
    assert trained.losses["mim_loss"] == pytest.approx(expected, abs=1e-4)
    total = trained.losses["task_loss"] + 0.7 * trained.losses["mim_loss"]
    assert trained.losses["loss"] == pytest.approx(total, abs=1e-5)
    held, embeddings = trained.embeddings["S1"]
    np.testing.assert_array_equal(held, rows)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    plain, _ = run(archive, images, rows, ("S1",))
    assert not torch.equal(state["stems.S1.conv.weight"], plain["stems.S1.conv.weight"])
    assert not torch.equal(state["projection.0.weight"], plain["projection.0.weight"])
    # one step: the decoder does not lie on the way from the embeddings to the loss
    assert torch.equal(state["head.classify.weight"], plain["head.classify.weight"])
