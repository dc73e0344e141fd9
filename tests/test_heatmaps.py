"""Tests of the heat maps: pictures of awkward tables, and the numbers beside them."""

import csv
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread

from raymmfl import heatmaps

CLASSES = [f"Land principally occupied by agriculture, kind {number}" for number in range(19)]


def rows(picture: Path) -> list[dict[str, str]]:
    image = imread(picture)
    assert image.std() > 0.01  # something is drawn
    for edge in (image[0], image[-1], image[:, 0], image[:, -1]):
        assert edge.min() == 1.0  # and nothing is cut off at the border
    with picture.with_suffix(".csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


@pytest.mark.parametrize(
    ("clients", "classes", "unit"), [(30, 19, "scene"), (1, 1, "pixel"), (0, 3, "pixel")]
)
def test_partition(clients: int, classes: int, unit: str, tmp_path: Path) -> None:
    names = [f"Bosnia and Herzegovina {number}/S1" for number in range(clients)]
    counts = np.arange(clients * classes).reshape(clients, classes) * 7_000
    table = rows(
        heatmaps.partition(names, CLASSES[:classes], counts, tmp_path / "p.png", "title", unit)
    )
    assert [row["client"] for row in table] == names
    if clients:
        assert int(table[-1][CLASSES[classes - 1]]) == counts[-1, -1]


@pytest.mark.parametrize(("classes", "view"), [(1, "home"), (9, "global")])
def test_confusion(classes: int, view: str, tmp_path: Path) -> None:
    labels = CLASSES[:classes]
    random = np.random.default_rng(0)
    tables = {name: random.integers(0, 9000, (classes, classes)) for name in ("all", "S1", "S2")}
    tables["S1"][0] = 0  # a class without a true pixel
    result: dict[str, Any] = {
        "algorithm": "mf",
        "task": "pixels",
        "labels": labels,
        "metrics": {f"test/{view}/all/miou": 0.5},
        "confusion": {f"test/{view}/{name}": table.tolist() for name, table in tables.items()},
    }
    result["confusion"]["test/away/all"] = tables["S2"].tolist()
    found = rows(heatmaps.confusion(result, tmp_path / "c.png"))
    assert len(found) == 3 * classes
    for number, (sensors, table) in enumerate(tables.items()):
        for row, line in enumerate(found[number * classes : (number + 1) * classes]):
            assert line["sensors"] == sensors
            assert line["true class"] == labels[row]
            assert [int(line[label]) for label in labels] == table[row].tolist()
