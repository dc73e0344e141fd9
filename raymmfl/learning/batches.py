"""Batches from the packed archive: normalised, resampled to one grid, augmented by seed.

Shapes: B scenes, C bands, H W pixels.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from raymmfl.archive.store import Archive

Rows = NDArray[np.int64]


class Images:
    """Reads normalised images of an archive.

    Normalisation is (x - mean) / std per band with the statistics of the archive's training
    split, which `archive.json` records.
    """

    def __init__(self, archive: Archive, resample: str, device: torch.device) -> None:
        self.archive = archive
        self.resample = resample
        self.device = device
        self._scales: dict[str, list[tuple[Tensor, Tensor]]] = {}

    def load(self, sensor: str, rows: Rows) -> Tensor:
        """Images of one sensor, float32 (B, C, H, W) on the device.

        Args:
            sensor: its name.
            rows: (B,) scene rows that have the sensor.
        """
        size = self.archive.sensors[sensor].size
        parts = []
        # NumPy converts as it copies from the map, and torch wraps what it wrote: one pass
        columns = self.archive.read(sensor, rows, "float32")
        for native, (mean, factor) in zip(columns, self._scale(sensor), strict=True):
            part = torch.from_numpy(native).to(self.device)
            part.sub_(mean).mul_(factor)
            if part.shape[-1] != size:
                mode = "nearest" if self.resample == "nearest" else "bilinear"
                corners = None if mode == "nearest" else False
                part = functional.interpolate(
                    part, size=(size, size), mode=mode, align_corners=corners
                )
            parts.append(part)
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=1)

    def masks(self, rows: Rows) -> Tensor:
        """Class of every pixel, int64 (B, H, W) on the device; 255 where it has no label.

        Args:
            rows: (B,) scene rows.
        """
        return torch.from_numpy(self.archive.read_mask(rows)).to(self.device).long()

    def _scale(self, sensor: str) -> list[tuple[Tensor, Tensor]]:
        if sensor not in self._scales:
            described = self.archive.sensors[sensor]
            scales = []
            start = 0
            for column in described.columns:
                stop = start + len(column.bands)
                mean = torch.tensor(described.mean[start:stop], dtype=torch.float32)
                std = torch.tensor(described.std[start:stop], dtype=torch.float32)
                factor = 1 / std.clamp(min=1e-6)
                scales.append(
                    (mean.view(-1, 1, 1).to(self.device), factor.view(-1, 1, 1).to(self.device))
                )
                start = stop
            self._scales[sensor] = scales
        return self._scales[sensor]


def split(order: Rows, batch_size: int) -> Iterator[Rows]:
    """Cut an order into batches; a last batch of one joins the one before it.

    One scene alone cannot be normalised by its batch where feature maps are single pixels.
    """
    cuts = list(range(batch_size, len(order), batch_size))
    if cuts and len(order) - cuts[-1] == 1:
        cuts.pop()
    yield from np.split(order, cuts)


def augment(image: Tensor, turns: NDArray[np.int64]) -> Tensor:
    """Flip and turn each image by one of the eight symmetries of the square.

    Args:
        image: (B, C, H, W), H = W.
        turns: (B,) in 0..7: quarter turns (value % 4) after a flip of columns (value >= 4).
    """
    out = torch.empty_like(image)
    for turn in np.unique(turns):
        index = torch.from_numpy(np.flatnonzero(turns == turn))
        part = image[index]
        if turn >= 4:
            part = part.flip(3)
        out[index] = part.rot90(int(turn) % 4, (2, 3))
    return out
