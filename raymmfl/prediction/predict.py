"""A map from a run folder and rasters: check, classify window by window, write it whole."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import lcm
from pathlib import Path

import numpy as np
import torch

from raymmfl import __version__
from raymmfl.archive.rasters.mapfile import NODATA, names_file, read_small, write_map
from raymmfl.archive.rasters.mosaic import Mosaic, open_mosaic
from raymmfl.errors import PredictionError
from raymmfl.models.export import Description, Trained, load
from raymmfl.prediction import pixels, scenes
from raymmfl.prediction.arguments import parse
from raymmfl.prediction.colours import colours
from raymmfl.prediction.inputs import Inputs
from raymmfl.quicklook import LONGEST, Area, quicklook

SIDE = 512
BLOCKS = (256, 128, 64, 32, 16)
WHITE = (255, 255, 255)
PIXEL_TOLERANCE = 0.01  # of the side of a pixel: above, the model sees another scale


@dataclass(frozen=True)
class Map:
    """A map that was written.

    Attributes:
        path: the GeoTIFF; its class names stand in ``<path>.aux.xml``.
        picture: the quick look.
        table: the areas as CSV.
        areas: per class and for "no data": pixels, square kilometres, share of all pixels.
        bands: a line per file: which of its bands were taken for which.
        warnings: what may be wrong with the rasters.
    """

    path: Path
    picture: Path
    table: Path
    areas: list[Area]
    bands: list[str]
    warnings: list[str]


def predict(
    run: Path,
    rasters: Sequence[str],
    out: Path,
    *,
    margin: str = "auto",
    side: int = SIDE,
    overwrite: bool = False,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Map:
    """Classify rasters with the final model of a run.

    Args:
        run: the run folder.
        rasters: as in :func:`raymmfl.prediction.arguments.parse`.
        out: the map, a ``.tif``; its folder must exist.
        margin: ``auto`` or ``exact``; see :func:`raymmfl.prediction.pixels.choose_margin`.
        side: pixels per side of a window without its margin.
        overwrite: replace a map that is there.
        progress: told how many windows, or rows of patches, of all are done.

    Raises:
        PredictionError: whatever cannot be made into a map.
        OSError: if the map cannot be written; there is none then, or the old one.
    """
    picture, table = out.with_suffix(".png"), out.with_suffix(".csv")
    _check_out(out, (out, names_file(out), picture, table), overwrite)
    trained = load(run)
    description = trained.description
    bands = {name: sensor.bands for name, sensor in description.sensors.items()}
    files = parse(rasters, bands)
    if out.resolve() in (path.resolve() for paths in files.values() for path in paths):
        raise PredictionError(f"--out {out} is one of the rasters; give another name")
    with open_mosaic(files, bands) as mosaic:
        inputs = Inputs(mosaic, description)
        grid = _grid(trained, mosaic, inputs, side, margin)
        net = trained.net.to("cuda" if torch.cuda.is_available() else "cpu")
        tones = colours(description.labels)
        with write_map(
            out,
            height=-(-mosaic.height // grid.step),
            width=-(-mosaic.width // grid.step),
            block=grid.block,
            crs=mosaic.crs,
            transform=mosaic.coarser(grid.step),
            names=description.labels,
            colours=tones,
            tags={
                "RUN": run.resolve().name,
                "MODEL_SHA256": trained.sha256,
                "ALGORITHM": description.algorithm,
                "TASK": description.task,
                "SENSORS": ",".join(inputs.sensors),
                "SOFTWARE": f"raymmfl {__version__}",
            },
        ) as writer:
            if description.task == "pixels":
                pixels.draw(net, inputs, mosaic, side, grid.margin, writer, progress)
            else:
                scenes.draw(net, inputs, mosaic, grid.step, writer, progress)
        areas = _areas(writer.counts, description.labels, mosaic.pixel_area_m2, grid.step)
        warnings = [*_other_scale(mosaic, inputs, description), *inputs.warnings()]
        lines = _bands_used(mosaic, bands)
    title = f"{run.resolve().name} · {'+'.join(inputs.sensors)}"
    quicklook(read_small(out, LONGEST), [*tones, WHITE], areas, picture, title)
    return Map(out, picture, table, areas, lines, warnings)


@dataclass(frozen=True)
class _Grid:
    """How the rasters are walked through.

    Attributes:
        step: side of the map's pixel in pixels of the rasters.
        block: side of the GeoTIFF's blocks.
        margin: around a window of pixel classification.
    """

    step: int
    block: int
    margin: int


def _grid(trained: Trained, mosaic: Mosaic, inputs: Inputs, side: int, margin: str) -> _Grid:
    """Choose the grid, and refuse rasters that the model cannot be moved over."""
    net, description = trained.net, trained.description
    if description.task == "scenes":
        return _Grid(scenes.patch_side(inputs, mosaic, description), BLOCKS[0], 0)
    whole = lcm(net.stride, BLOCKS[-1])
    if side < whole or side % whole:
        raise PredictionError(
            f"--window {side}: windows of this model need a multiple of {whole} pixels"
        )
    for sensor, ratio in inputs.ratios.items():
        if ratio > 1:
            raise PredictionError(
                f"{sensor} is {ratio} times coarser than the finest raster; pixels are classified "
                f"on one grid: give each sensor at least one file of the finest pixel size"
            )
    if min(mosaic.height, mosaic.width) < net.stride:
        raise PredictionError(
            f"the rasters have {mosaic.height}x{mosaic.width} pixels, less than the "
            f"{net.stride}x{net.stride} that the encoder makes one of; give a larger image"
        )
    block = next(each for each in BLOCKS if side % each == 0)
    return _Grid(1, block, pixels.choose_margin(net, margin))


def _check_out(out: Path, files: Sequence[Path], overwrite: bool) -> None:
    if out.suffix.lower() not in (".tif", ".tiff"):
        raise PredictionError(f"--out {out}: a map is a GeoTIFF; let its name end in .tif")
    if not out.parent.is_dir():
        raise PredictionError(f"--out {out}: there is no folder {out.parent}; make it first")
    there = [path for path in files if path.exists()]
    if any(path.is_dir() for path in there):
        raise PredictionError(f"--out {out}: {there[0]} is a folder; give another name")
    if there and not overwrite:
        raise PredictionError(
            f"{there[0]} exists already; give another --out, or --overwrite to replace it"
        )


def _areas(
    counts: np.ndarray, labels: Sequence[str], pixel_m2: float | None, step: int
) -> list[Area]:
    """Pixels of the map per class; "no data" comes last."""
    found = [int(counts[number]) for number in range(len(labels))] + [int(counts[NODATA])]
    km2 = None if pixel_m2 is None else pixel_m2 * step**2 / 1e6
    return [
        (name, count, None if km2 is None else count * km2, count / sum(found))
        for name, count in zip([*labels, "no data"], found, strict=True)
    ]


def _other_scale(mosaic: Mosaic, inputs: Inputs, description: Description) -> list[str]:
    """Sensors whose pixels have another size than those trained on."""
    if mosaic.pixel_m is None:
        return []
    found = []
    for sensor, ratio in inputs.ratios.items():
        pixel, trained = mosaic.pixel_m * ratio, description.sensors[sensor].pixel_m
        if trained and abs(pixel - trained) > PIXEL_TOLERANCE * trained:
            found.append(
                f"{sensor}: pixels of {pixel:g} m, the model was trained on {trained:g} m; "
                f"resample the raster if classes look wrong"
            )
    return found


def _bands_used(mosaic: Mosaic, bands: Mapping[str, Sequence[str]]) -> list[str]:
    return [
        f"{sensor} {' '.join(bands[sensor][each] for each in layer.positions)}: {layer.path}, "
        f"band{'s'[: len(layer.numbers) > 1]} {' '.join(map(str, layer.numbers))}"
        for sensor, layers in mosaic.layers.items()
        for layer in layers
    ]
