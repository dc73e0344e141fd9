"""Tests of `raymmfl predict`: what it prints, and its errors as sentences with exit codes."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import rasterio
from rasterio.transform import Affine
from safetensors.torch import save

from raymmfl.cli import _main
from raymmfl.models.export import MODEL_FILE, ColumnDescription, Description, SensorDescription
from raymmfl.models.multimodal import build

PROGRAM = Path(sys.executable).with_name("raymmfl")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder, a raster of its one sensor, and a folder that is no run."""
    folder = tmp_path_factory.mktemp("predict")
    (folder / "run").mkdir()
    (folder / "unfinished").mkdir()
    (folder / "unfinished" / "config.yaml").write_text("name: demo\n")
    columns = (ColumnDescription("10m", ("VV", "VH"), 16, 10.0),)
    sensors = {"S1": SensorDescription(("VV", "VH"), (-12.0, -18.0), (4.0, 4.0), "dB", columns)}
    description = Description(
        "pixels", "mf", "cnn", "batch", None, None, False, ("water", "trees"), "bilinear", 16,
        sensors,
    )  # fmt: skip
    net = build({"S1": 2}, 2, "cnn", task="pixels")
    (folder / "run" / MODEL_FILE).write_bytes(save(net.state_dict(), description.metadata()))
    values = np.random.default_rng(0).normal(-15, 4, (2, 40, 50)).astype(np.float32)
    with rasterio.open(
        folder / "radar.tif", "w", driver="GTiff", count=2, height=40, width=50, dtype="float32",
        crs="EPSG:32633", transform=Affine(10, 0, 5e5, 0, -10, 5e6),
    ) as dataset:  # fmt: skip
        dataset.write(values)
    return folder


def test_a_map_from_the_shell(folder: Path, tmp_path: Path) -> None:
    done = subprocess.run(
        [PROGRAM, "predict", "run", "S1=radar.tif", "--out", tmp_path / "map.tif"],
        cwd=folder, capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0] == "S1 VV VH: radar.tif, bands 1 2"
    assert [line.split()[0] for line in lines[1:4]] == ["water", "trees", "no"]
    # 40 x 50 pixels of 100 m2
    assert sum(float(line.split("km2")[0].split()[-1]) for line in lines[1:4]) == 0.2
    assert sum(int(line.split("pixels")[0].split()[-1]) for line in lines[1:4]) == 2000
    for line, name in zip(lines[4:], ("map.tif", "map.png", "map.csv"), strict=True):
        assert line.endswith(str(tmp_path / name))
        assert (tmp_path / name).is_file()


@pytest.mark.parametrize(
    ("arguments", "code", "parts"),
    [
        (["nothing", "S1=radar.tif"], 2, ["nothing is no run folder"]),
        (["unfinished", "S1=radar.tif"], 2, ["not finished", "raymmfl resume"]),
        (["run"], 2, ["no raster was given", "S1 (2 bands)"]),
        (["run", "S1=none.tif"], 2, ["none.tif", "no such file"]),
        (["run", "S2=radar.tif"], 2, ["no sensor 'S2'"]),
        (["run", "radar.tif", "--window", "100"], 2, ["--window 100", "multiple of 16"]),
        (["run", "radar.tif", "--out", "/proc/map.tif"], 3, ["/proc/map.tif", "cannot be"]),
        (["run", "radar.tif", "--out", "radar.tif"], 2, ["radar.tif exists already"]),
    ],
)
def test_errors_are_sentences(
    arguments: list[str], code: int, parts: list[str], folder: Path, tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.chdir(folder)
    before = sorted(folder.rglob("*"))
    out = [] if "--out" in arguments else ["--out", str(tmp_path / "map.tif")]
    assert _main(["predict", *arguments, *out], False) == code
    said = capsys.readouterr().err
    assert said.startswith("raymmfl: ")
    assert said.count("raymmfl: ") == 1
    for part in parts:
        assert part in said
    assert sorted(folder.rglob("*")) == before
    assert not list(tmp_path.iterdir())


def test_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        _main(["predict", "--help"], False)
    shown = " ".join(capsys.readouterr().out.split())
    assert "raymmfl predict runs/demo S1=vv_vh.tif S2=10m.tif,20m.tif --out map.tif" in shown
