"""Tests of the model file: what it says of itself, and which files are refused."""

import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save

from raymmfl.config import WhiteningConfig
from raymmfl.errors import PredictionError
from raymmfl.models.export import (
    MODEL_FILE,
    ColumnDescription,
    Description,
    SensorDescription,
    load,
)
from raymmfl.models.multimodal import build

DESCRIPTION = Description(
    task="pixels",
    algorithm="mf+fw+mim",
    backbone="cnn",
    norm="batch",
    whitening=WhiteningConfig(positions="stem").model_dump(),
    projection=8,
    tied=True,
    labels=("water", "trees"),
    resample="nearest",
    patch=16,
    sensors={
        "S2": SensorDescription(
            ("B02", "B05"),
            (1.0, 2.0),
            (3.0, 4.0),
            "reflectance x 10000",
            (
                ColumnDescription("10m", ("B02",), 16, 10.0),
                ColumnDescription("20m", ("B05",), 8, 20.0),
            ),
        ),
        "S1": SensorDescription(
            ("VV",), (-10.0,), (3.0,), "dB", (ColumnDescription("20m", ("VV",), 8, 20.0),)
        ),
    },
)


def state() -> dict[str, torch.Tensor]:
    net = build(
        {"S2": 2, "S1": 1}, 2, "cnn", whitening=WhiteningConfig(positions="stem"), projection=8,
        tied=True, seed=3, task="pixels",
    )  # fmt: skip
    return net.state_dict()


def write(
    folder: Path, arrays: Mapping[str, torch.Tensor], metadata: dict[str, str] | None
) -> Path:
    (folder / MODEL_FILE).write_bytes(save(dict(arrays), metadata))
    return folder


def test_a_model_comes_back_as_it_was(tmp_path: Path) -> None:
    arrays = state()
    found = load(write(tmp_path, arrays, DESCRIPTION.metadata()))
    assert found.description == DESCRIPTION
    assert list(found.description.sensors) == ["S2", "S1"] == list(found.net.sensors)
    assert not found.net.training
    loaded = found.net.state_dict()
    assert loaded.keys() == arrays.keys()
    assert all(torch.equal(loaded[name], array) for name, array in arrays.items())
    assert len(found.sha256) == 64
    assert DESCRIPTION.sensors["S2"].size == 16
    assert DESCRIPTION.sensors["S1"].pixel_m == 20.0


def changed(**values: Any) -> dict[str, str]:
    tree = asdict(DESCRIPTION) | values
    return {"raymmfl": json.dumps({key: each for key, each in tree.items() if each != "gone"})}


@pytest.mark.parametrize(
    ("metadata", "parts"),
    [
        (None, ["does not describe its model", "another version"]),
        ({"raymmfl": "{"}, ["describes its model otherwise", "another version"]),
        (changed(norm="gone", patch="gone"), ["norm", "patch", "another version"]),
        (changed(colour="blue"), ["colour", "another version"]),
        (changed(sensors={"S1": ["VV", "VH"]}), ["otherwise", "another version"]),
        (changed(backbone="vit"), ["'vit'", "disagree"]),
        (changed(backbone="resnet_small"), ["disagree"]),
        (changed(labels=["one", "two", "three"]), ["disagree"]),
        (changed(whitening={"size": 3}), ["disagree"]),
    ],
)
def test_descriptions_that_do_not_fit(
    metadata: dict[str, str] | None, parts: list[str], tmp_path: Path
) -> None:
    write(tmp_path, state(), metadata)
    with pytest.raises(PredictionError) as error:
        load(tmp_path)
    for part in [MODEL_FILE, *parts]:
        assert part in str(error.value)


def test_folders_without_a_whole_model(tmp_path: Path) -> None:
    with pytest.raises(PredictionError, match="no run folder"):
        load(tmp_path / "nothing")
    with pytest.raises(PredictionError, match="no run folder"):
        load(tmp_path)
    (tmp_path / "config.yaml").write_text("name: demo\n")
    with pytest.raises(PredictionError, match=r"not finished.*raymmfl resume"):
        load(tmp_path)
    write(tmp_path, state(), DESCRIPTION.metadata())
    path = tmp_path / MODEL_FILE
    content = path.read_bytes()
    for damaged in (b"", content[:7], content[:1000], content[: len(content) // 2]):
        path.write_bytes(damaged)
        with pytest.raises(PredictionError, match="damaged"):
            load(tmp_path)


def test_a_model_of_each_client_is_none_of_all(tmp_path: Path) -> None:
    arrays = {f"Austria-S1/{name}": array for name, array in state().items()}
    write(tmp_path, arrays, replace(DESCRIPTION, algorithm="local").metadata())
    with pytest.raises(PredictionError, match="local trains a model per client"):
        load(tmp_path)
