"""Tests of the files in configs/: what they set, and a round of each on synthetic data."""

import json
from pathlib import Path

import pytest
from safetensors import safe_open

from raymmfl import configfile, history
from raymmfl.archive.packing.pack import pack
from raymmfl.archive.readers.layouts import LAYOUTS
from raymmfl.archive.readers.options import Options
from raymmfl.archive.synthetic.bigearthnet import synthesise_bigearthnet_mm, synthesise_reben
from raymmfl.archive.synthetic.dynamicworld import synthesise_dynamicworld
from raymmfl.run import run

CONFIGS = Path(__file__).parents[1] / "configs"
TWO = ("Austria", "Finland")
SEVEN = ("Austria", "Belgium", "Finland", "Ireland", "Lithuania", "Serbia", "Switzerland")
FINE_BANDS = ["B02", "B03", "B04", "B08", "B05", "B06", "B07", "B8A", "B11", "B12"]
SMALL = (
    "rounds=1",
    "train.epochs=1",
    "train.batch_size=16",
    "model.backbone=cnn",
    "resources.runtime=serial",
    "tracking.mlflow=false",
)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
def test_a_configuration_is_named_like_its_file_and_its_archive(path: Path) -> None:
    config = configfile.load(path)
    assert config.name == path.stem
    assert config.archive.path == f"data/{'synthetic' if path.stem == 'demo' else path.stem}"


@pytest.mark.parametrize("name", ["bigearthnet_mm", "reben"])
def test_the_sister_studys_setting(name: str) -> None:
    config = configfile.load(CONFIGS / f"{name}.yaml")
    clients, train = config.clients, config.train
    assert (config.rounds, train.epochs, train.batch_size) == (30, 3, 128)
    assert (train.optimizer, train.lr, train.weight_decay) == ("adam", 1e-3, 0)
    assert config.model.backbone == "resnet50"
    assert (clients.regions, clients.seasons) == (SEVEN, ("summer",))
    assert (clients.partition, clients.fraction) == ("region", 1)


def make(name: str, folder: Path) -> Path:
    """Draw a few patches in the layout that a configuration reads, and pack them."""
    files = folder / "files"
    if name == "dynamicworld":
        synthesise_dynamicworld(files, tiles=18, size=64)
    else:
        synthesise = {"bigearthnet_mm": synthesise_bigearthnet_mm, "reben": synthesise_reben}
        synthesise[name](files, patches=32, countries=TWO)
    return pack(LAYOUTS[name].open(files, Options()), folder / "packed").path


@pytest.mark.parametrize("name", ["bigearthnet_mm", "reben", "dynamicworld"])
def test_a_round_of_each(name: str, tmp_path: Path) -> None:
    overrides = [f"archive.path={make(name, tmp_path)}", *SMALL]
    if name != "dynamicworld":
        overrides.append(f"clients.regions=[{', '.join(TWO)}]")
    out = run(configfile.load(CONFIGS / f"{name}.yaml", overrides), tmp_path / "run")
    (line,) = history.read(out / "history.jsonl")
    result = json.loads((out / "result.json").read_text())
    sites = ["EH+12", "EH+4", "EH+6", "WH+1", "WH+13", "WH+8"] if name == "dynamicworld" else TWO
    assert result["clients"] == [f"{site}/{sensor}" for site in sites for sensor in ("S1", "S2")]
    assert line["clients"]["accepted"] == len(result["clients"])
    assert result["synthetic"]
    assert result["task"] == ("pixels" if name == "dynamicworld" else "scenes")
    with safe_open(out / "model.safetensors", "np") as model:
        described = json.loads(model.metadata()["raymmfl"])["sensors"]
    assert sorted(described["S2"]["bands"]) == sorted(FINE_BANDS)  # none of 60 m
