"""Tests of the figures: every awkward input gives a picture, and the CSV holds its numbers."""

import csv
import math
from pathlib import Path
from typing import Any

import matplotlib as mpl
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread
from matplotlib.text import Text

from raymmfl import figures

CLASSES = [f"Land principally occupied by agriculture, kind {number}" for number in range(19)]


def history(rounds: int, sensors: tuple[str, ...], gaps: bool = False) -> list[dict[str, Any]]:
    lines = []
    for number in range(1, rounds + 1):
        metrics: dict[str, Any] = {"train/loss": 1.0 / number}
        if not (gaps and number % 2 == 0):
            for place, name in enumerate(("all", *sensors)):
                metrics[f"val/global/{name}/map"] = 0.8 - 0.1 * place
                metrics[f"val/global/{name}/f1_macro"] = None if gaps else 0.5
        lines.append(
            {
                "round": number,
                "metrics": metrics,
                "bytes": {"up": {"weights": 2_000_000}, "down": {"weights": 1_000_000, "x": 500}},
                "clients": {"spread": {"loss": [0.1, 0.2, 0.3, 0.4, 0.5]}},
            }
        )
    return lines


def result(sensors: tuple[str, ...], classes: list[str]) -> dict[str, Any]:
    metrics: dict[str, Any] = {"test/home/all/map": 0.71}
    for place, name in enumerate(("all", *sensors)):
        metrics[f"test/global/{name}/map"] = 0.7 - 0.1 * place
        metrics[f"test/global/{name}/f1_macro_tuned"] = 0.6
        for number, label in enumerate(classes):
            metrics[f"test/global/{name}/f1/{label}"] = number / 20
    return {
        "algorithm": "mf+fw+mim",
        "rounds": 3,
        "archive": {"path": "data/alps"},
        "synthetic": True,
        "metrics": metrics,
        "absent_classes": {"test": ["Glaciers"]},
        "baselines": {
            "guess": {"test/all/map": 0.3, "test/all/f1_macro_tuned": math.nan},
            "local": {"test/home/all/map": 0.66, "test/away/all/map": 0.4},
            "fedavg": {"test/global/all/map": 0.6, "test/global/all/f1_macro_tuned": 0.5},
        },
    }


def rows(picture: Path) -> list[dict[str, str]]:
    image = imread(picture)
    assert image.std() > 0.01  # something is drawn
    for edge in (image[0], image[-1], image[:, 0], image[:, -1]):
        assert edge.min() == 1.0  # and nothing is cut off at the border
    with picture.with_suffix(".csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def texts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The text of every figure saved from here on."""
    seen: list[str] = []
    save = Figure.savefig

    def savefig(figure: Figure, *args: Any, **options: Any) -> None:
        save(figure, *args, **options)
        seen.extend(text.get_text() for text in figure.findobj(Text) if isinstance(text, Text))

    monkeypatch.setattr(Figure, "savefig", savefig)
    return seen


@pytest.mark.parametrize("rounds", [0, 1, 4, 50])
@pytest.mark.parametrize("sensors", [("S1",), ("DEM", "S1", "S2", "S3")])
def test_learning_curves(rounds: int, sensors: tuple[str, ...], tmp_path: Path) -> None:
    out = figures.learning_curves(
        history(rounds, sensors), tmp_path / "new" / "curves.png", "title"
    )
    table = rows(out)
    assert len(table) == rounds
    if rounds:
        assert float(table[-1]["val/global/all/map"]) == 0.8
        assert float(table[0]["train/loss"]) == 1.0
        assert float(table[0]["clients/loss/q75"]) == 0.4
        assert float(table[0][f"val/global/{sensors[0]}/map"]) == pytest.approx(0.7)


def test_rounds_without_a_metric_are_empty_cells(tmp_path: Path) -> None:
    table = rows(figures.learning_curves(history(4, ("S1",), gaps=True), tmp_path / "a.png"))
    assert [row["val/global/all/map"] for row in table] == ["0.8", "", "0.8", ""]
    assert {row["val/global/all/f1_macro"] for row in table} == {""}


@pytest.mark.parametrize("sensors", [("S1",), ("S1", "S2"), ("DEM", "S1", "S2", "S3")])
def test_class_f1(
    sensors: tuple[str, ...], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = texts(monkeypatch)
    table = rows(figures.class_f1(result(sensors, [*CLASSES, "a/b"]), tmp_path / "f1.png"))
    assert table[0] == {
        "class": "a/b",
        "all sensors": "0.95",
        **{f"{name} alone": "0.95" for name in sensors},
    }
    assert len(table) == 20
    assert "Glaciers (absent)" in seen
    assert any("synthetic data" in text for text in seen)


def test_class_f1_without_classes(tmp_path: Path) -> None:
    assert rows(figures.class_f1({"metrics": {}, "absent_classes": {}}, tmp_path / "f1.png")) == []


def test_comparison(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = texts(monkeypatch)
    table = rows(figures.comparison(result(("S1", "S2"), CLASSES), tmp_path / "c.png"))
    assert [(row["model"].split(":")[0], row["map"]) for row in table] == [
        ("mf+fw+mim", "0.7"),
        ("mf+fw+mim", "0.6"),
        ("mf+fw+mim", "0.49999999999999994"),
        ("mf+fw+mim", "0.71"),
        ("local", "0.66"),
        ("local", "0.4"),
        ("fedavg", "0.6"),
        ("no-image guess", "0.3"),
    ]
    assert [row["model"].split(", ")[-1] for row in table[4:6]] == ["at home", "away from home"]
    assert table[-1]["f1_macro_tuned"] == ""
    assert "no value" in seen
    assert any("mf+fw+mim · alps · 3 rounds · synthetic data" in text for text in seen)


def test_comparison_of_local_alone_shows_its_two_views(tmp_path: Path) -> None:
    metrics = {"test/home/all/map": 0.6, "test/away/all/map": 0.4}
    table = rows(
        figures.comparison({"algorithm": "local", "metrics": metrics}, tmp_path / "c.png")
    )
    assert [row["map"] for row in table] == ["0.6", "0.4"]


def as_pixels(content: dict[str, Any]) -> dict[str, Any]:
    """The same numbers under the names of pixel classification."""

    def renamed(metrics: dict[str, Any]) -> dict[str, Any]:
        names = {"map": "miou", "f1_macro_tuned": "f1_macro"}
        return {
            "/".join(
                [*key.split("/")[:-1], names.get(key.split("/")[-1], key.split("/")[-1])]
            ): value
            for key, value in metrics.items()
        }

    baselines = {name: renamed(each) for name, each in content["baselines"].items()}
    metrics = renamed(content["metrics"])
    return {**content, "task": "pixels", "metrics": metrics, "baselines": baselines}


def test_pixels_have_their_own_scores(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen = texts(monkeypatch)
    found = as_pixels(result(("S1", "S2"), CLASSES))
    table = rows(figures.comparison(found, tmp_path / "c.png"))
    assert [row["miou"] for row in table][:2] == ["0.7", "0.6"]
    assert table[0]["f1_macro"] == "0.6"
    assert "mean intersection over union: higher is better" in seen
    assert len(rows(figures.class_f1(found, tmp_path / "f.png"))) == 19
    assert "F1" in seen
    assert "F1 at 0.5" not in seen
    lines = [{"round": 1, "metrics": {"val/global/all/miou": 0.4, "val/global/all/f1_macro": 0.5}}]
    (row,) = rows(figures.learning_curves(lines, tmp_path / "l.png", task="pixels"))
    assert (row["val/global/all/miou"], row["val/global/all/f1_macro"]) == ("0.4", "0.5")


@pytest.mark.parametrize("rounds", [0, 1, 60])
def test_bytes_exchanged(rounds: int, tmp_path: Path) -> None:
    table = rows(figures.bytes_exchanged(history(rounds, ()), tmp_path / "b.png"))
    assert len(table) == rounds
    if rounds:
        assert float(table[-1]["up/weights (MB)"]) == 2.0
        assert float(table[-1]["down/x (MB)"]) == 0.0005


def test_the_callers_style_is_left_alone(tmp_path: Path) -> None:
    before = dict(mpl.rcParams)
    figures.bytes_exchanged(history(2, ()), tmp_path / "b.png")
    assert dict(mpl.rcParams) == before
    assert sorted(entry.name for entry in tmp_path.iterdir()) == ["b.csv", "b.png"]


def test_real_data_are_not_called_synthetic() -> None:
    assert figures.describe({"algorithm": "mf", "archive": {"path": "x/y"}}) == "mf · y"
