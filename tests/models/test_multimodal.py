"""Tests of the whole model: names, first values, sharing between sensors, missing sensors."""

import numpy as np
import pytest
import torch

from raymmfl.config import TaskName, WhiteningConfig
from raymmfl.errors import ConfigError
from raymmfl.models.backbones import BACKBONES
from raymmfl.models.multimodal import MultiModalNet, build, fuse, sensor_of

SENSORS = {"S1": 2, "S2": 10}


def small(
    sensors: dict[str, int] | None = None, tied: bool = False, seed: int = 3
) -> MultiModalNet:
    return build(
        SENSORS if sensors is None else sensors,
        5,
        "resnet_small",
        whitening=WhiteningConfig(),
        projection=16,
        tied=tied,
        seed=seed,
    )


@pytest.mark.parametrize("task", ["scenes", "pixels"])
@pytest.mark.parametrize(
    ("backbone", "tied"),
    [(name, tied) for name in ("cnn", "resnet_small", "resnet18") for tied in (False, True)],
)
def test_a_client_with_one_sensor_starts_from_the_full_models_bits(
    backbone: str, tied: bool, task: TaskName
) -> None:
    whitening = WhiteningConfig()
    options = (5, backbone, "batch", whitening, 16, tied, 3, task)
    full = build(SENSORS, *options).state_dict()
    for sensor, bands in SENSORS.items():
        part = build({sensor: bands}, *options).state_dict()
        assert set(part) == {name for name in full if sensor_of(name) in (sensor, None)}
        for name, value in part.items():
            assert torch.equal(value, full[name]), name


def test_names_and_owners() -> None:
    names = list(small().state_dict())
    assert {name.split(".")[0] for name in names} == {"stems", "trunks", "head", "projection"}
    assert {sensor_of(name) for name in names} == {"S1", "S2", None}
    assert sensor_of("trunks.S2.stage1.0.conv1.weight") == "S2"
    assert sensor_of("head.weight") is None
    tied = list(small(tied=True).state_dict())
    assert {name.split(".")[0] for name in tied} == {"stems", "trunk", "head", "projection"}
    assert {sensor_of(name) for name in tied if not name.startswith("stems.")} == {None}


def test_no_projection_no_keys() -> None:
    model = build(SENSORS, 5, "cnn")
    assert not [name for name in model.state_dict() if name.startswith("projection")]
    with pytest.raises(RuntimeError, match="without a projection"):
        model.embed(torch.zeros(1, 128))


@pytest.mark.parametrize("backbone", BACKBONES)
@pytest.mark.parametrize("task", ["scenes", "pixels"])
def test_first_values(backbone: str, task: TaskName) -> None:
    model = build(SENSORS, 5, backbone, "batch", WhiteningConfig(positions="stem"), 16, task=task)
    for name, value in model.state_dict().items():
        last = name.rsplit(".", 1)[1]
        if last in ("bias", "running_mean", "num_batches_tracked"):
            assert not value.any(), name
        elif last == "running_cov":
            assert torch.equal(value, torch.eye(4).expand_as(value))
        elif last == "running_var" or (last == "weight" and value.dim() == 1):
            assert torch.equal(value, torch.ones_like(value)), name
        elif value.dim() == 4 and value.numel() > 10_000:
            fan_out = value.shape[0] * value.shape[2] * value.shape[3]
            assert value.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.03), name
    last_layer = model.head if task == "scenes" else model.head.classify
    assert isinstance(last_layer, torch.nn.Linear | torch.nn.Conv2d)
    assert 0 < last_layer.weight.abs().max() <= last_layer.weight.shape[1] ** -0.5


def test_seed_and_name_decide_every_tensor() -> None:
    one, other = small(seed=1).state_dict(), small(seed=2).state_dict()
    again = small(seed=1).state_dict()
    weights = [name for name, value in one.items() if value.dim() > 1 and "running" not in name]
    assert all(torch.equal(one[name], again[name]) for name in one)
    assert not any(torch.equal(one[name], other[name]) for name in weights)
    first = one["trunks.S1.stage1.0.conv1.weight"]
    assert not torch.equal(first, one["trunks.S2.stage1.0.conv1.weight"])
    assert not torch.equal(first, one["trunks.S1.stage1.0.conv2.weight"])


def test_the_global_random_state_plays_no_part() -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    one = small().state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    other = small().state_dict()
    assert all(torch.equal(one[name], other[name]) for name in one)


def images(batch: int = 4) -> dict[str, torch.Tensor]:
    random = torch.Generator().manual_seed(0)
    return {
        sensor: torch.randn(batch, bands, 16, 16, generator=random)
        for sensor, bands in SENSORS.items()
    }


@pytest.mark.parametrize("tied", [False, True])
def test_fusion_is_the_mean_of_the_sensors_logits(tied: bool) -> None:
    model, both = small(tied=tied).eval(), images()
    alone = {sensor: model({sensor: image}) for sensor, image in both.items()}
    assert model(both).shape == (4, 5)
    torch.testing.assert_close(model(both), (alone["S1"] + alone["S2"]) / 2)
    torch.testing.assert_close(alone["S1"], model.head(model.features("S1", both["S1"])))
    assert torch.equal(model(dict(reversed(both.items()))), model(both))


def test_one_pass_answers_features_and_logits() -> None:
    model, image = small().eval(), images()["S2"]
    feature, logits = model.answer("S2", image)
    assert torch.equal(feature, model.features("S2", image))
    assert torch.equal(logits, model({"S2": image}))


def test_values_are_averaged_over_the_sensors_each_scene_has() -> None:
    one, two = torch.tensor([[1.0], [3.0]]), torch.tensor([[5.0], [9.0]])
    fused = fuse([(np.array([0, 2]), one), (np.array([1, 2]), two)], 3)
    assert fused.tolist() == [[1.0], [5.0], [6.0]]
    maps = fuse(
        [(np.array([0]), torch.ones(1, 2, 3, 3)), (np.array([0, 1]), torch.zeros(2, 2, 3, 3))], 2
    )
    assert maps.shape == (2, 2, 3, 3)
    assert (maps[0] == 0.5).all() and not maps[1].any()


def test_embeddings_have_length_one() -> None:
    model = small()
    vectors = model.embed(model.features("S2", images()["S2"]))
    assert vectors.shape == (4, 16)
    torch.testing.assert_close(vectors.norm(dim=1), torch.ones(4))


@pytest.mark.parametrize("tied", [False, True])
def test_only_the_trained_sensors_own_weights_move(tied: bool) -> None:
    model = small(tied=tied)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    optimizer = torch.optim.Adam(model.parameters())
    model({"S2": images()["S2"]}).square().mean().backward()
    optimizer.step()
    moved = {
        name for name, value in model.state_dict().items() if not torch.equal(value, before[name])
    }
    assert {sensor_of(name) for name in moved} == {"S2", None}
    assert any(name.startswith("trunk.") for name in moved) == tied


def test_images_the_model_cannot_take() -> None:
    model = small({"S1": 2})
    with pytest.raises(ValueError, match="no sensor's images"):
        model({})
    with pytest.raises(ValueError, match=r"no encoder for \['S2'\]"):
        model(images())
    with pytest.raises(KeyError):
        model.features("S2", images()["S2"])


def test_wrong_settings_name_the_key() -> None:
    with pytest.raises(ConfigError, match=r"model\.backbone: 'vit' is unknown"):
        build(SENSORS, 5, "vit")
    with pytest.raises(ConfigError, match="at least one sensor"):
        build({}, 5, "cnn")
    for name in ("S1.a", "", "keys"):
        with pytest.raises(ConfigError, match="cannot stand in the names"):
            build({name: 2}, 5, "cnn")
