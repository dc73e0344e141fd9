"""Tests of predicting as a whole: from a run folder and rasters to files."""

import csv
import hashlib
import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio

from raymmfl.config import Config
from raymmfl.errors import PredictionError
from raymmfl.models.export import MODEL_FILE, load
from raymmfl.prediction.colours import colours
from raymmfl.prediction.predict import predict
from raymmfl.run import run as train

Write = Callable[..., Path]
LABELS = ["water", "trees", "crops", "built"]


@pytest.fixture(scope="module")
def run(write_model: Write, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder with a pixel classifier."""
    return write_model(tmp_path_factory.mktemp("runs") / "demo", backbone="resnet_small")


@pytest.fixture
def rasters(tile: Path) -> list[str]:
    return [f"S1={tile}/S1.tif", f"S2={tile}/S2_10m.tif,{tile}/S2_20m.tif"]


def test_a_map_with_all_that_belongs_to_it(run: Path, rasters: list[str], tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    made = predict(
        run, rasters, tmp_path / "map.tif", side=64,
        progress=lambda done, total: told.append((done, total)),
    )  # fmt: skip
    assert told == [(number, 9) for number in range(1, 10)]
    with (
        rasterio.open(made.path) as dataset,
        rasterio.open(rasters[0].removeprefix("S1=")) as source,
    ):
        assert dataset.shape == source.shape == (160, 160)
        assert (dataset.crs, dataset.transform) == (source.crs, source.transform)
        assert dataset.block_shapes == [(64, 64)]
        classes = dataset.read(1)
        tags = dataset.tags()
        table = dataset.colormap(1)
        assert dataset.tags(1) == {f"CLASS_{k}": name for k, name in enumerate(LABELS)}
    assert [table[number][:3] for number in range(4)] == colours(LABELS)
    assert tags["RUN"] == "demo"
    assert tags["SENSORS"] == "S1,S2"
    assert tags["TASK"] == "pixels"
    assert tags["MODEL_SHA256"] == hashlib.sha256((run / MODEL_FILE).read_bytes()).hexdigest()
    counts = np.bincount(classes.ravel(), minlength=4)
    assert len(counts) == 4, "every pixel has data"
    assert [area[1] for area in made.areas] == [*counts.tolist(), 0]
    # 100 m2 are 1e-4 km2
    assert [area[2] for area in made.areas] == pytest.approx([*(counts * 1e-4), 0])
    assert sum(area[3] for area in made.areas) == pytest.approx(1)
    assert made.warnings == []
    assert [line.split(":")[0] for line in made.bands] == [
        "S1 VV VH", "S2 B02 B03 B04 B08", "S2 B05 B06 B07 B8A B11 B12",
    ]  # fmt: skip
    assert made.picture.read_bytes()[:4] == b"\x89PNG"
    with made.table.open() as file:
        assert [(row["class"], int(row["pixels"])) for row in csv.DictReader(file)] == list(
            zip([*LABELS, "no data"], [*counts.tolist(), 0], strict=True)
        )
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "map.csv", "map.png", "map.tif", "map.tif.aux.xml",
    ]  # fmt: skip


def test_windows_of_every_size_give_one_map(run: Path, rasters: list[str], tmp_path: Path) -> None:
    maps = []
    for side in (48, 512):
        made = predict(run, rasters, tmp_path / f"{side}.tif", side=side, margin="exact")
        with rasterio.open(made.path) as dataset:
            maps.append(dataset.read(1))
    assert (maps[0] != maps[1]).mean() < 1e-3  # ties alone, within 1e-4 in the logits


def test_coarser_sensors_alone_and_missing_data(
    run: Path, tile: Path, write_model: Write, cut: Write, tmp_path: Path
) -> None:
    with rasterio.open(tile / "S1.tif") as dataset:
        data = dataset.read()
    data[:, :40, :50] = np.nan
    radar = cut(tile / "S1.tif", tmp_path / "radar.tif", 160, 160, data=data)
    alone = predict(run, [str(radar)], tmp_path / "alone.tif")
    with rasterio.open(alone.path) as dataset:
        classes = dataset.read(1)
        assert dataset.tags()["SENSORS"] == "S1"
    assert np.array_equal(classes == 255, np.isnan(data[0]))
    assert alone.areas[-1][:2] == ("no data", 2000)
    coarse = cut(
        tile / "S1.tif", tmp_path / "coarse.tif", 160, 160,
        transform=(20.0, 0.0, 5e5, 0.0, -20.0, 5e6),
    )  # fmt: skip
    made = predict(run, [f"S1={coarse}"], tmp_path / "coarse_map.tif")
    assert made.warnings[0].startswith("S1: pixels of 20 m, the model was trained on 10 m")


def test_a_scene_classifier_gives_a_coarse_map(
    write_model: Write, rasters: list[str], tmp_path: Path
) -> None:
    run = write_model(tmp_path / "run", task="scenes")
    made = predict(run, rasters, tmp_path / "map.tif")
    with rasterio.open(made.path) as dataset:
        assert dataset.shape == (10, 10)
        assert (dataset.transform.a, dataset.transform.e) == (160.0, -160.0)
        with rasterio.open(rasters[0].removeprefix("S1=")) as source:
            assert dataset.bounds == source.bounds
    # a pixel is 160 m wide
    assert sum(area[2] or 0 for area in made.areas) == pytest.approx(2.56)


@pytest.mark.parametrize(
    ("changes", "parts"),
    [
        ({"rasters": []}, ["no raster was given"]),
        ({"rasters": ["S9=a.tif"]}, ["'S9'"]),
        ({"rasters": ["S1={tile}/S2_10m.tif"]}, ["4 band(s), but S1 has 2: VV, VH"]),
        ({"rasters": ["S2={tile}/S2_20m.tif"]}, ["6 band(s), but S2 has 10", "B02"]),
        ({"side": 20}, ["--window 20", "multiple of 16"]),
        ({"side": 0}, ["--window 0"]),
        ({"out": "map.png"}, ["end in .tif"]),
        ({"out": "nowhere/map.tif"}, ["no folder", "nowhere"]),
        ({"out": "old.tif"}, ["old.csv exists already", "--overwrite"]),
        ({"run": "nothing"}, ["no run folder"]),
    ],
)
def test_what_cannot_be_a_map(
    changes: dict[str, Any], parts: list[str], run: Path, rasters: list[str], tile: Path,
    tmp_path: Path,
) -> None:  # fmt: skip
    (tmp_path / "old.csv").write_text("mine")
    given: Sequence[str] = changes.get("rasters", rasters)
    with pytest.raises(PredictionError) as error:
        predict(
            tmp_path / changes["run"] if "run" in changes else run,
            [each.format(tile=tile) for each in given],
            tmp_path / changes.get("out", "map.tif"),
            side=changes.get("side", 64),
        )
    for part in parts:
        assert part in str(error.value)
    assert [path.name for path in tmp_path.iterdir()] == ["old.csv"]


def test_rasters_that_one_grid_cannot_hold(
    run: Path, tile: Path, cut: Write, tmp_path: Path
) -> None:
    tiny = cut(tile / "S1.tif", tmp_path / "tiny.tif", 40, 7)
    with pytest.raises(PredictionError, match=r"40x7 pixels, less than the 8x8"):
        predict(run, [str(tiny)], tmp_path / "map.tif")
    coarse = cut(
        tile / "S1.tif", tmp_path / "coarse.tif", 80, 80,
        transform=_doubled(tile / "S1.tif"),
    )  # fmt: skip
    rasters = [f"S1={coarse}", f"S2={tile}/S2_10m.tif,{tile}/S2_20m.tif"]
    with pytest.raises(PredictionError, match="S1 is 2 times coarser"):
        predict(run, rasters, tmp_path / "map.tif")


def _doubled(path: Path) -> tuple[float, ...]:
    with rasterio.open(path) as dataset:
        a, b, c, d, e, f = dataset.transform[:6]
    return 2 * a, 2 * b, c, 2 * d, 2 * e, f


def test_an_old_map_is_replaced_when_asked(run: Path, rasters: list[str], tmp_path: Path) -> None:
    out = tmp_path / "map.tif"
    out.write_text("old")
    with pytest.raises(PredictionError, match=r"map\.tif exists already"):
        predict(run, rasters, out)
    assert out.read_text() == "old"
    predict(run, rasters, out, overwrite=True)
    with pytest.raises(PredictionError, match="one of the rasters"):
        predict(run, [f"S1={tmp_path}/../{tmp_path.name}/map.tif"], out, overwrite=True)
    with rasterio.open(out) as dataset:
        assert dataset.count == 1


@pytest.mark.parametrize("task", ["pixels", "scenes"])
def test_a_trained_run_needs_its_model_file_alone(
    task: str, tiny: Callable[..., Config], rasters: list[str], tmp_path: Path
) -> None:
    config = tiny(
        task=task, rounds=1, algorithm="mf+fw", clients={"sensors": ("S1",)},
        resources={"runtime": "serial"},
    )  # fmt: skip
    folder = train(config, tmp_path / "run")
    found = load(folder)
    assert found.sha256 == json.loads((folder / "result.json").read_text())["model_sha256"]
    assert found.description.task == task
    assert found.description.patch == 16
    assert found.description.whitening is not None
    (tmp_path / "alone").mkdir()
    (folder / MODEL_FILE).rename(tmp_path / "alone" / MODEL_FILE)
    made = predict(tmp_path / "alone", rasters[:1], tmp_path / "map.tif")
    assert sum(area[1] for area in made.areas) == (160**2 if task == "pixels" else 100)
    assert made.warnings == []
