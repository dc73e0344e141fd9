"""Tests of the quick look: its colours are the map's, its table holds the areas."""

from pathlib import Path

import numpy as np
from matplotlib.image import imread

from raymmfl.quicklook import Area, quicklook

COLOURS = [(10, 20, 30), (200, 100, 0), (0, 0, 255)]
AREAS: list[Area] = [
    ("water", 30, 0.003, 0.3),
    ("a name that is far too long to stand in a legend beside a map", 70, None, 0.7),
    ("absent", 0, 0.0, 0.0),
]


def test_the_picture_shows_the_classes_and_the_table_their_areas(tmp_path: Path) -> None:
    classes = np.zeros((60, 90), np.uint8)
    classes[:, 45:] = 1
    classes[:10, :10] = 255
    out = quicklook(classes, COLOURS, AREAS, tmp_path / "map.png", "demo")
    image = (imread(out)[..., :3] * 255).round().astype(int)
    found, counts = np.unique(image.reshape(-1, 3), axis=0, return_counts=True)
    shown = {
        tuple(colour): int(count) for colour, count in zip(found.tolist(), counts, strict=True)
    }
    water, other = shown[(10, 20, 30)], shown[(200, 100, 0)]
    # 2600 pixels of water, 2700 of the other class; the legend adds a patch to each
    assert abs(water / other - 2600 / 2700) < 0.02
    assert (0, 0, 255) not in shown
    assert (tmp_path / "map.csv").read_text().splitlines() == [
        "class,pixels,km2,share",
        "water,30,0.003,0.3",
        f"{AREAS[1][0]},70,,0.7",
        "absent,0,0.0,0.0",
    ]


def test_long_and_flat_maps_are_drawn(tmp_path: Path) -> None:
    for name, shape in (("flat", (3, 400)), ("tall", (400, 3)), ("one", (1, 1))):
        out = quicklook(np.zeros(shape, np.uint8), COLOURS, AREAS, tmp_path / f"{name}.png", "")
        assert imread(out).shape[2] == 4
