"""What a network is fed with: windows of rasters, standardised and on one grid.

n images, C bands of a sensor, H W pixels of its grid (its finest file), h w pixels of a file.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from raymmfl.archive.rasters.mosaic import Layer, Mosaic
from raymmfl.errors import PredictionError
from raymmfl.models.export import Description
from raymmfl.prediction.windows import Box

ODD_STDS = 10.0
SMALLEST_STD = 1e-6  # as in training: a band that never varies


class Images(NamedTuple):
    """Images of one sensor, float32 (n, C, H, W), and bool (n, H, W): the pixels that it saw."""

    bands: Tensor
    seen: Tensor


class _Part(NamedTuple):
    """A window of one file: values (B, h, w); a value missing, all values zero (h, w)."""

    values: Tensor
    gaps: Tensor
    zeros: Tensor


class Inputs:
    """Reads a mosaic's sensors as the model was trained to see them.

    A value is missing if it is not finite, or is what the file declares as nodata unless that is
    zero. A pixel of a sensor is missing if one of its values is, or if all are zero and zero means
    no data (declared, or a sensor of reflectances): a dark pixel may be zero in some bands.
    Missing values are fed as the mean of the training images; zeros are fed as in training.

    Attributes:
        sensors: those of the mosaic.
        ratios: per sensor, the side of a pixel of its grid in pixels of the mosaic.
    """

    def __init__(self, mosaic: Mosaic, description: Description) -> None:
        self.sensors = tuple(mosaic.layers)
        self.ratios = {
            name: min(layer.ratio for layer in layers) for name, layers in mosaic.layers.items()
        }
        self._mosaic = mosaic
        self._description = description
        self._sums: dict[str, tuple[Tensor, Tensor]] = {}
        for name, layers in mosaic.layers.items():
            bands = len(description.sensors[name].bands)
            self._sums[name] = torch.zeros(bands).double(), torch.zeros(bands).double()
            for layer in layers:
                if layer.ratio % self.ratios[name]:
                    raise PredictionError(
                        f"{layer.path}: pixels {layer.ratio / self.ratios[name]:g} times those of "
                        f"the finest file of {name}; resample it to a whole multiple"
                    )

    def window(self, sensor: str, box: Box) -> Images:
        """One window, n = 1; coarser bands are resampled as they would be in the whole image.

        Args:
            sensor: one of ``sensors``.
            box: in pixels of the sensor's grid.
        """
        return self._join(sensor, [box], around=True)

    def patches(self, sensor: str, boxes: Sequence[Box]) -> Images:
        """Patches side by side, each resampled by itself as the patches of an archive are.

        Args:
            sensor: one of ``sensors``.
            boxes: equally large, in the same rows, whole pixels of every file of the sensor.
        """
        return self._join(sensor, boxes, around=False)

    def warnings(self) -> list[str]:
        """Bands whose values, among all that were read, are far from those trained on."""
        found = []
        for name, (total, count) in self._sums.items():
            trained = self._description.sensors[name]
            means = (total / count.clamp(min=1)).tolist()
            for band, mean, centre in zip(trained.bands, means, trained.mean, strict=True):
                if abs(mean) > ODD_STDS:
                    found.append(
                        f"{name} {band}: values lie {abs(mean):.0f} standard deviations from "
                        f"those trained on (around {centre:.4g} {trained.unit}); check the unit "
                        f"and the order of the bands"
                    )
        return found

    def _join(self, sensor: str, boxes: Sequence[Box], around: bool) -> Images:
        """Put the files of a sensor together: one image per box."""
        height, width = boxes[0].shape
        bands = len(self._description.sensors[sensor].bands)
        images = torch.empty(len(boxes), bands, height, width)
        gaps = torch.zeros(len(boxes), height, width, dtype=torch.bool)
        zeros = torch.ones_like(gaps)
        for layer in self._mosaic.layers[sensor]:
            ratio = layer.ratio // self.ratios[sensor]
            natives = [self._native(box, layer, ratio, around) for box in boxes]
            whole = Box(
                natives[0].top, natives[0].left, natives[-1].bottom, max(b.right for b in natives)
            )
            part = self._read(sensor, layer, whole)
            cuts = [native.inside(whole) for native in natives]
            stack = torch.stack([part.values[:, rows, columns] for rows, columns in cuts])
            where = boxes[0].inside(natives[0].times(ratio))
            images[:, layer.positions] = self._resample(stack, ratio)[:, :, *where]
            for mask, found in ((gaps, part.gaps), (zeros, part.zeros)):
                own = torch.stack([found[rows, columns] for rows, columns in cuts])
                own = own.repeat_interleave(ratio, 1).repeat_interleave(ratio, 2)[:, *where]
                mask.copy_(mask | own if mask is gaps else mask & own)
        return Images(images, ~(gaps | zeros) if self._zero_is_nothing(sensor) else ~gaps)

    def _native(self, box: Box, layer: Layer, ratio: int, around: bool) -> Box:
        """The pixels of a file under a box, with one more on each side to resample from."""
        height, width = self._mosaic.height // layer.ratio, self._mosaic.width // layer.ratio
        return box.around(ratio, 1 if around and ratio > 1 else 0, height, width)

    def _read(self, sensor: str, layer: Layer, native: Box) -> _Part:
        data = self._mosaic.read(layer, native.top, native.left, native.bottom, native.right)
        values = data.astype(np.float32)
        missing = ~np.isfinite(values)
        for band, nodata in enumerate(layer.nodata):
            if nodata:
                missing[band] |= data[band] == nodata
        trained = self._description.sensors[sensor]
        positions = list(layer.positions)
        mean = torch.tensor(trained.mean, dtype=torch.float32)[positions].view(-1, 1, 1)
        std = torch.tensor(trained.std, dtype=torch.float32)[positions].view(-1, 1, 1)
        holes = torch.from_numpy(missing)
        scaled = torch.from_numpy(values).sub_(mean).mul_(1 / std.clamp(min=SMALLEST_STD))
        scaled.masked_fill_(holes, 0)
        total, count = self._sums[sensor]
        total[positions] += scaled.sum((1, 2), dtype=torch.float64)
        count[positions] += (~holes).sum((1, 2))
        return _Part(scaled, holes.any(0), torch.from_numpy((data == 0).all(0)))

    def _resample(self, stack_nBhw: Tensor, ratio: int) -> Tensor:
        if ratio == 1:
            return stack_nBhw
        size = tuple(side * ratio for side in stack_nBhw.shape[2:])
        if self._description.resample == "nearest":
            return functional.interpolate(stack_nBhw, size=size, mode="nearest")
        return functional.interpolate(stack_nBhw, size=size, mode="bilinear", align_corners=False)

    def _zero_is_nothing(self, sensor: str) -> bool:
        """Whether a pixel that is zero in all bands holds no data."""
        declared = any(0 in layer.nodata for layer in self._mosaic.layers[sensor])
        return declared or "reflectance" in self._description.sensors[sensor].unit
