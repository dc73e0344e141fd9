"""The work of the round benchmark: ten clients, their images, the same for ours and the bare loop.

The archive holds standard normal noise with mean 0 and deviation 1 on record, so that our
normalisation changes no bit and the bare loop may keep the same numbers in memory.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from raymmfl.archive.store import FORMAT_VERSION, MASK, SCENES_FILE, Column
from raymmfl.archive.tables import write_table
from raymmfl.archive.writer import TensorFile, whole_folder, write_index
from raymmfl.seeds import generator

CLIENTS = 10
BANDS, SIZE = 2, 32
BATCH = 32
RATE = 0.05
SEED = 0
LABELS = tuple(f"class{index}" for index in range(10))
SENSOR = "S1"


@dataclass(frozen=True)
class Work:
    """One model and the images of each client."""

    backbone: str
    images: int
    aim: float
    """What the ratio of our round to the bare one is meant to reach."""


WORKS = (Work("cnn", images=256, aim=1.10), Work("resnet18", images=32, aim=1.35))


def client_names() -> list[str]:
    """Clients in the order in which our partition makes them."""
    return [f"site{index:02d}/{SENSOR}" for index in range(CLIENTS)]


def make_data(work: Work) -> tuple[NDArray[np.float32], NDArray[np.uint8]]:
    """Images (clients, n, B, S, S) and labels (clients, n, K), the same at every call."""
    random = np.random.default_rng(SEED)
    shape = (CLIENTS, work.images, BANDS, SIZE, SIZE)
    images = random.standard_normal(shape, dtype=np.float32)
    labels = random.random((CLIENTS, work.images, len(LABELS))) < 0.3
    labels[:, :, 0] |= ~labels.any(axis=2)
    return images, labels.astype(np.uint8)


def order(round_index: int, client: int, images: int) -> NDArray[np.int64]:
    """The order in which a client visits its images in a round, as our training draws it."""
    name = client_names()[client]
    # A permutation moves places, whatever stands there: our scene rows are these plus an offset.
    return generator(SEED, round_index, name, "order", 0).permutation(np.arange(images))


def write_archive(work: Work, folder: Path) -> Path:
    """Write the images as a packed archive."""
    images, labels = make_data(work)
    column = Column("10m", ("VV", "VH"), SIZE, "float32", 10.0)
    mask = Column("class", ("class",), SIZE, "uint8", 10.0)
    scenes: dict[str, list[object]] = {
        name: []
        for name in ("scene_id", "split", "labels", "region", "place", f"row_{SENSOR}", "row_mask")
    }
    out = folder / f"{work.backbone}-archive"
    with whole_folder(out) as temporary:
        file = TensorFile(temporary / f"{SENSOR}.arrow", [column])
        masks = TensorFile(temporary / f"{MASK}.arrow", [mask])
        blank = np.zeros((1, SIZE, SIZE), np.uint8)
        for client, name in enumerate(client_names()):
            site = name.partition("/")[0]
            for index in range(work.images):
                file.append([images[client, index]])
                row, _ = masks.append([blank])
                names = [LABELS[k] for k in np.flatnonzero(labels[client, index])]
                values = (f"{site}_{index:04d}", "train", names, site, site, row, row)
                for key, value in zip(scenes, values, strict=True):
                    scenes[key].append(value)
        file.close()
        masks.close()
        write_table(temporary / SCENES_FILE, scenes)
        described = {
            "unit": "noise",
            "columns": [
                {
                    "name": column.name,
                    "bands": list(column.bands),
                    "size": column.size,
                    "dtype": column.dtype,
                    "pixel_m": column.pixel_m,
                }
            ],
            "mean": [0.0] * BANDS,
            "std": [1.0] * BANDS,
        }
        write_index(
            temporary,
            {
                "version": FORMAT_VERSION,
                "synthetic": True,
                "labels": list(LABELS),
                "mask": {**vars(mask), "bands": list(mask.bands)},
                "attributes": [],
                "sensors": {SENSOR: described},
                "licence": "none: noise",
                "provenance": {"source": "standard normal noise of the round benchmark"},
            },
        )
    return out


def quick(work: Work) -> Work:
    """A smaller version, to see that everything runs."""
    return replace(work, images=min(work.images, 64))
