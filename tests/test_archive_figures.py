"""Tests of the pictures of an archive: what they show, and that odd archives give them too."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from raymmfl.archive.readers.source import Scene
from raymmfl.archive.store import Archive, Column, Sensor
from raymmfl.archive.summary import label_counts
from raymmfl.archive_figures.draw import draw
from raymmfl.archive_figures.samples import choose
from raymmfl.archive_figures.views import pictures, view_of
from raymmfl.cli import _main
from raymmfl.prediction.colours import colours

LABELS = ("water", "trees")


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def column(bands: tuple[str, ...], size: int = 4, dtype: str = "float32") -> Column:
    return Column(f"{size}", bands, size, dtype, 40.0 / size)


def scene(number: int, images: dict[str, tuple[np.ndarray, ...]], **changes: Any) -> Scene:
    facts: dict[str, Any] = {
        "scene_id": f"scene{number}", "split": "train", "labels": ("water",), "region": "here",
        "place": "tile", "date": "", "lon": 10.0 + number, "lat": 50.0, "epsg": 32633,
        "transform": (10.0, 0.0, 0.0, 0.0, -10.0, 0.0), "images": images, "mask": None,
        "sources": {},
    }  # fmt: skip
    return Scene(**{**facts, **changes})


def test_a_synthetic_archive_is_drawn(archive: Archive, tmp_path: Path) -> None:
    found = draw(archive, colours(archive.labels), tmp_path / "pictures")
    names = ["samples", "places", "labels", "spectra_S1", "spectra_S2"]
    assert found == [tmp_path / "pictures" / f"{name}.png" for name in names]
    for picture in found:
        assert imread(picture).std() > 0.05, "not blank"
    counts = label_counts(archive)
    for row in table(tmp_path / "pictures" / "labels.csv"):
        number = archive.labels.index(row["class"])
        for split in ("train", "val", "test"):
            assert int(row[split]) == counts[split][number]
    places = table(tmp_path / "pictures" / "places.csv")
    assert {row["region"] for row in places} == {"Austria", "Finland"}
    assert sum(int(row["train"]) for row in places) == len(archive.rows("train"))
    austria = archive.regions == "Austria"
    assert float(places[0]["lat"]) == pytest.approx(archive.lats[austria].mean(), abs=1e-5)
    samples = table(tmp_path / "pictures" / "samples.csv")
    assert len(samples) == 8
    assert {row["region"] for row in samples} == {"Austria", "Finland"}
    bands = {row["band"] for row in table(tmp_path / "pictures" / "spectra_S2.csv")}
    assert bands == set(archive.sensors["S2"].bands)


def test_the_same_seed_draws_the_same_scenes(archive: Archive) -> None:
    np.testing.assert_array_equal(choose(archive, 6, 0), choose(archive, 6, 0))
    assert choose(archive, 6, 0).tolist() != choose(archive, 6, 1).tolist()


def test_an_odd_archive_is_drawn(handmade: Callable[..., Archive], tmp_path: Path) -> None:
    """Sensors of other names, one band, no true colour, a sensor missing, constant pixels."""
    radar, heat = np.ones((2, 4, 4), np.float32), np.zeros((1, 2, 2), np.int16)
    split = {0: "train", 1: "train", 2: "test"}
    scenes = [
        scene(
            number,
            {"sar": (radar,), "heat": (heat,)} if number else {"heat": (heat,)},
            split=split[number],
            labels=LABELS[: 1 + number % 2],
            region=f"a region / with a $long$ name {number}",
        )
        for number in range(3)
    ]
    sensors = {"sar": (column(("VV", "VH")),), "heat": (column(("T",), 2, "int16"),)}
    packed = handmade(scenes, sensors, LABELS, {"sar": "linear", "heat": "K"})
    found = draw(packed, colours(LABELS), tmp_path)
    assert [path.stem for path in found] == [
        "samples", "places", "labels", "spectra_sar", "spectra_heat",
    ]  # fmt: skip
    assert all(path.stat().st_size > 5000 for path in found)
    heats = table(tmp_path / "spectra_heat.csv")
    assert [(row["class"], row["pixels"], row["mean"]) for row in heats] == [
        ("water", "8", "0.0"),
        ("trees", "4", "0.0"),
    ]


@pytest.mark.parametrize(
    ("bands", "title", "shown"),
    [
        (("B02", "B03", "B04", "B08"), "S true colour", ("B04", "B03", "B02")),
        (("B03", "B04", "B08"), "S infrared", ("B08", "B04", "B03")),
        (("VH", "VV"), "S VV, VH, VV/VH", ("VV", "VH")),
        (("a", "b", "c", "d"), "S a, b, c", ("a", "b", "c")),
        (("HH", "HV"), "S HH", ("HH",)),
        (("S",), "S", ("S",)),
    ],
)
def test_a_sensor_is_shown_by_what_it_has(
    bands: tuple[str, ...], title: str, shown: tuple[str, ...]
) -> None:
    view = view_of(Sensor("S", (column(bands),), "?", (0.0,) * len(bands), (1.0,) * len(bands)))
    assert (view.title, view.bands) == (title, shown)


def test_true_colours_are_red_green_and_blue(handmade: Callable[..., Archive]) -> None:
    ramp = np.linspace(0, 1000, 16, dtype=np.float32).reshape(4, 4)
    blue_green_red = np.stack([ramp * 0, ramp, ramp * 0])
    flat = np.stack([ramp * 0, 400 + ramp / 10, ramp * 0])  # little contrast
    scenes = [scene(0, {"S2": (blue_green_red,)}), scene(1, {"S2": (flat,)})]
    sensors = {"S2": (column(("B02", "B03", "B04")),)}
    packed = handmade(scenes, sensors, LABELS, {"S2": "DN"})
    image, _ = pictures(packed, view_of(packed.sensors["S2"]), np.array([0, 1]))
    red, green, blue = np.moveaxis(image, -1, 0)
    assert (red.max(), blue.max()) == (0, 0)
    assert (green.min(), green.max()) == (0, 1)
    assert (np.diff(green.ravel()) >= 0).all()


def test_radar_power_is_shown_as_decibels(handmade: Callable[..., Archive]) -> None:
    random = np.random.default_rng(0)
    decibels = random.uniform(-25, 0, (4, 2, 4, 4)).astype(np.float32)
    for power, unit in ((decibels, "dB"), (10 ** (decibels / 10), "linear power")):
        scenes = [scene(n, {"S1": (each,)}) for n, each in enumerate(power)]
        packed = handmade(scenes, {"S1": (column(("VV", "VH")),)}, LABELS, {"S1": unit})
        image = pictures(packed, view_of(packed.sensors["S1"]), np.arange(4))
        if unit == "dB":
            expected = image
        np.testing.assert_allclose(image, expected, atol=1e-4)
    assert expected.shape == (4, 4, 4, 3)
    ratio = decibels[:, 0] - decibels[:, 1]
    assert expected[..., 2].ravel()[ratio.argmax()] == 1


def test_the_verb_draws_and_names_the_pictures(
    archive: Archive, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert _main(["archive", "plot", str(archive.path), "--out", str(tmp_path / "p")], False) == 0
    told = capsys.readouterr().out.splitlines()
    assert sorted(told) == sorted(map(str, (tmp_path / "p").glob("*.png")))
    assert _main(["archive", "plot", str(tmp_path / "gone"), "--out", str(tmp_path / "q")], False)
    assert "raymmfl archive pack" in capsys.readouterr().err
    assert not (tmp_path / "q").exists()
    (tmp_path / "file").write_text("in the way")
    assert _main(["archive", "plot", str(archive.path), "--out", str(tmp_path / "file")], False)
    assert "raymmfl: " in capsys.readouterr().err
