"""A packed archive of BigEarthNet's shape, filled with noise: as many patches as one asks for.

Sizes, dtypes, bands, labels, countries and seasons are those of BigEarthNet v2.0; the pixels are
drawn at random, so nothing can be learnt from them.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from raymmfl.archive.store import FORMAT_VERSION, SCENES_FILE, Archive, Column
from raymmfl.archive.tables import write_table
from raymmfl.archive.writer import TensorFile, whole_folder, write_index

SENSORS = {
    "S1": (Column("10m", ("VV", "VH"), 120, "float32", 10.0),),
    "S2": (
        Column("10m", ("B02", "B03", "B04", "B08"), 120, "uint16", 10.0),
        Column("20m", ("B05", "B06", "B07", "B8A", "B11", "B12"), 60, "uint16", 20.0),
        Column("60m", ("B01", "B09"), 20, "uint16", 60.0),
    ),
}
UNITS = {"S1": "dB", "S2": "reflectance x 10000"}
LABELS = tuple(f"class {number:02d}" for number in range(19))
REGIONS = (
    "Austria", "Belgium", "Finland", "Ireland", "Kosovo", "Lithuania", "Luxembourg", "Portugal",
    "Serbia", "Switzerland",
)  # fmt: skip
SPLITS = ("train", "train", "val", "test")  # as published: half, a quarter, a quarter
DATES = ("2017-07-17", "2017-10-02", "2018-02-11", "2018-05-08")
POOL = 256  # distinct rows of noise; their sums with another row make the patches


def write_archive(out: Path, scenes: int, seed: int = 0) -> Archive:
    """Write so many patches with both sensors; some 275 kB each."""
    random = np.random.default_rng(seed)
    with whole_folder(out) as folder:
        rows: dict[str, list[Any]] = {}
        for sensor, columns in SENSORS.items():
            pools = [_pool(random, column) for column in columns]
            file = TensorFile(folder / f"{sensor}.arrow", columns)
            numbers, digests = [], []
            for scene in range(scenes):
                shift = scene // POOL % 97
                number, digest = file.append([pool[scene % POOL] + shift for pool in pools])
                numbers.append(number)
                digests.append(digest)
            file.close()
            rows |= {f"row_{sensor}": numbers, f"sha256_{sensor}": digests}
        write_table(folder / SCENES_FILE, {**_scenes(scenes, random), **rows})
        write_index(folder, _index())
    return Archive.open(out)


def _pool(random: np.random.Generator, column: Column) -> NDArray[Any]:
    shape = (POOL, len(column.bands), column.size, column.size)
    if column.dtype == "float32":
        return random.normal(-15, 5, shape).astype(np.float32)
    return random.integers(1, 4000, shape).astype(column.dtype)


def _scenes(scenes: int, random: np.random.Generator) -> dict[str, list[Any]]:
    numbers = range(scenes)
    held = random.random((scenes, len(LABELS))) < 3 / len(LABELS)
    held[:, 0] |= ~held.any(axis=1)
    return {
        "scene_id": [f"patch_{number:06d}" for number in numbers],
        "split": [SPLITS[number // len(REGIONS) % 4] for number in numbers],
        "labels": [[LABELS[k] for k in np.flatnonzero(row)] for row in held],
        "region": [REGIONS[number % len(REGIONS)] for number in numbers],
        "place": [f"{REGIONS[number % len(REGIONS)]}_{number // 4096}" for number in numbers],
        "date": [DATES[number // 40 % 4] for number in numbers],
        "lon": random.uniform(-9, 30, scenes).tolist(),
        "lat": random.uniform(37, 69, scenes).tolist(),
        "epsg": [32633] * scenes,
        "transform": [[10.0, 0.0, 0.0, 0.0, -10.0, 0.0]] * scenes,
        "sources": [[{"path": "noise", "sha256": ""}]] * scenes,
    }


def _index() -> dict[str, Any]:
    sensors = {}
    for name, columns in SENSORS.items():
        bands = sum(len(column.bands) for column in columns)
        sensors[name] = {
            "unit": UNITS[name],
            "columns": [
                {
                    "name": column.name,
                    "bands": list(column.bands),
                    "size": column.size,
                    "dtype": column.dtype,
                    "pixel_m": column.pixel_m,
                }
                for column in columns
            ],
            "mean": [-15.0 if name == "S1" else 2000.0] * bands,
            "std": [5.0 if name == "S1" else 1155.0] * bands,
            "statistics": "of the distribution the noise was drawn from",
        }
    return {
        "version": FORMAT_VERSION,
        "synthetic": True,
        "labels": list(LABELS),
        "sensors": sensors,
        "mask": None,
        "attributes": [],
        "licence": "none: noise",
        "provenance": {"source": "noise of BigEarthNet's shape", "layout": "benchmark"},
    }
