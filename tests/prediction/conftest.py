"""Models as a run leaves them, and rasters of a small synthetic tile."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

from raymmfl.archive.rasters.geotiff import environment, read_raster, write_raster
from raymmfl.archive.synthetic.tiles import synthesise
from raymmfl.config import WhiteningConfig
from raymmfl.models.export import (
    MODEL_FILE,
    ColumnDescription,
    Description,
    SensorDescription,
    Trained,
    load,
)
from raymmfl.models.multimodal import build

LABELS = ("water", "trees", "crops", "built")
FINE = ("B02", "B03", "B04", "B08")
COARSE = ("B05", "B06", "B07", "B8A", "B11", "B12")
RADAR = ("VV", "VH")
S1 = SensorDescription(
    RADAR, (-12.0, -18.0), (4.0, 4.0), "dB", (ColumnDescription("10m", RADAR, 16, 10.0),)
)
S2 = SensorDescription(
    (*FINE, *COARSE),
    (450.0, 700.0, 650.0, 2300.0, 1100.0, 1900.0, 2300.0, 2500.0, 1900.0, 1200.0),
    (200.0, 250.0, 400.0, 900.0, 400.0, 700.0, 900.0, 900.0, 800.0, 700.0),
    "reflectance x 10000",
    (ColumnDescription("10m", FINE, 16, 10.0), ColumnDescription("20m", COARSE, 8, 20.0)),
)
SENSORS = {"S1": S1, "S2": S2}


def _write_model(
    folder: Path,
    *,
    task: str = "pixels",
    backbone: str = "cnn",
    norm: str = "batch",
    whitening: bool = False,
    resample: str = "bilinear",
    sensors: Mapping[str, SensorDescription] = SENSORS,
    labels: Sequence[str] = LABELS,
    algorithm: str = "mf",
) -> Path:
    """A run folder with a model of seeded weights, whose running statistics fit noise."""
    settings = WhiteningConfig() if whitening else None
    bands = {name: len(each.bands) for name, each in sensors.items()}
    details: dict[str, Any] = {"backbone": backbone, "norm": norm, "task": task}
    net = build(bands, len(labels), whitening=settings, seed=5, **details)
    random = torch.Generator().manual_seed(1)
    net.train()
    with torch.no_grad():
        for _ in range(8):
            for name, count in bands.items():
                net.answer(name, torch.randn(2, count, 32, 32, generator=random))
    description = Description(
        **details,
        algorithm=algorithm,
        whitening=settings.model_dump() if settings else None,
        projection=None,
        tied=False,
        labels=tuple(labels),
        resample=resample,
        patch=16,
        sensors=sensors,
    )
    folder.mkdir(parents=True, exist_ok=True)
    arrays = {name: tensor.contiguous() for name, tensor in net.state_dict().items()}
    (folder / MODEL_FILE).write_bytes(save(arrays, description.metadata()))
    return folder


@pytest.fixture(scope="session")
def write_model() -> Callable[..., Path]:
    """Writes a run folder that holds a model and nothing else."""
    return _write_model


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Trained]:
    """Makes and loads a model; equal settings make it once."""
    known: dict[str, Trained] = {}

    def make(**settings: Any) -> Trained:
        key = repr(settings)
        if key not in known:
            known[key] = load(_write_model(tmp_path_factory.mktemp("run"), **settings))
        return known[key]

    return make


@pytest.fixture(scope="session")
def tile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A synthetic tile of 160x160 pixels: S1.tif, S2_10m.tif, S2_20m.tif. Only to be read."""
    folder = tmp_path_factory.mktemp("tile")
    synthesise(folder / "source", seed=11, regions=["Austria"], tiles=1, size=160)
    for name in ("S1", "S2_10m", "S2_20m"):
        (folder / "source" / name / "Austria_1.tif").rename(folder / f"{name}.tif")
    return folder


def _cut(source: Path, out: Path, height: int, width: int, **changes: Any) -> Path:
    """Write the top-left part of a raster; keywords replace what ``write_raster`` is given."""
    dtype, bands = {
        "S1": ("float32", RADAR),
        "S2_10m": ("uint16", FINE),
        "S2_20m": ("uint16", COARSE),
    }[source.stem]
    raster = read_raster(source, bands=len(bands), dtype=dtype)
    settings: dict[str, Any] = {
        "epsg": raster.crs.to_epsg(),
        "transform": raster.transform[:6],
        "bands": bands,
    } | changes
    data = settings.pop("data", raster.data_BHW[:, :height, :width])
    with environment():
        write_raster(out, np.ascontiguousarray(data), **settings)
    return out


@pytest.fixture(scope="session")
def cut() -> Callable[..., Path]:
    """Writes the top-left part of a raster of the tile, changed as the keywords say."""
    return _cut
