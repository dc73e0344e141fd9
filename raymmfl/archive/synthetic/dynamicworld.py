"""A synthetic folder in the exact layout of Dynamic World's expert tiles, with imagery beside it.

NO SATELLITE TOOK THESE PIXELS AND NO EXPERT MARKED THEM. Landscapes, optics and radar are drawn as
in ``synthetic.py``, with the signatures of ``signatures.py``; beside that:

* sites: six pairs of hemisphere and biome with covers, sun, haze and moisture of their own, dealt
  the tiles in turn. They only borrow the numbers of biomes;
* classes: the two forests are trees, arable land and flooded crops are crops, pasture is grass,
  wetland is flooded vegetation; at a site with snow, bare ground lies under it in S2;
* marking: smooth patches of the tile, without the borders between covers, about half of it; the
  rest is 0. Each fourth tile has a cloud in S2, marked 10;
* imagery: S2 of ten bands at 10 m, those of 20 m repeated 2x2; S1 VV, VH in dB.

H W pixels.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from raymmfl.archive.rasters.geotiff import environment, longitude_latitude, write_raster
from raymmfl.archive.readers.dynamicworld import LABELS, SYNTHETIC_PROVENANCE
from raymmfl.archive.readers.patch_files import SYNTHETIC_FILE
from raymmfl.archive.synthetic.signatures import (
    BANDS,
    COVERS,
    REGIONS,
    SIGNAL_TO_NOISE,
    SMALLEST_REFLECTANCE,
    Region,
)
from raymmfl.archive.synthetic.tiles import backscatter_db, mosaic, parcels, reflectance, smooth
from raymmfl.archive.writer import whole_folder
from raymmfl.errors import ArchiveError
from raymmfl.seeds import generator

TILE_PIXELS = 510
TILES_PER_ROW = 8
TILE_STEP_M = 15_000.0  # from corner to corner
CLASSES: Mapping[str, str] = {
    "water": "water", "broad-leaved forest": "trees", "coniferous forest": "trees",
    "arable land": "crops", "pasture": "grass", "built-up": "built", "bare ground": "bare",
    "wetland": "flooded vegetation", "flooded crops": "crops", "shrub": "scrub",
}  # fmt: skip
COARSE_BANDS = ("B05", "B06", "B07", "B8A", "B11", "B12")
MARKING_PIXELS, MARKED_ABOVE = 40.0, -0.3  # blur, and threshold in standard deviations
CLOUD_EVERY, CLOUD_VALUE, CLOUD_ABOVE = 4, 10, 1.5
CLOUD, CLOUD_SHARE = 6500.0, 0.8  # reflectance x 10000 and opacity
SNOW = np.array([800.0 if b == "B11" else 600.0 if b == "B12" else 8000.0 for b in BANDS])


@dataclass(frozen=True)
class Site:
    """A hemisphere and a biome's number with what is special of them."""

    hemisphere: str
    biome: str
    region: Region
    snow: bool = False


def _like(name: str, epsg: int, east: float, north: float, **changes: object) -> Region:
    return replace(REGIONS[name], epsg=epsg, origin=(east, north), **changes)  # type: ignore[arg-type]


#   shares: wat bro con ara pas bui bar wet flo shr
SITES = (
    Site("EH", "4", _like("Belgium", 32631, 500e3, 5640e3, date="2019-05-08")),
    Site("WH", "1", _like("Ireland", 32721, 500e3, 9560e3, date="2019-08-11", haze=200,
         phenology=0.8, shares=(10, 56, 2, 4, 10, 3, 2, 10, 1, 2))),
    Site("EH", "6", _like("Finland", 32635, 440e3, 6840e3, date="2018-03-02", phenology=-0.8,
         zenith_deg=62.0, shares=(10, 8, 34, 4, 4, 3, 20, 9, 1, 7)), snow=True),
    Site("WH", "8", _like("Serbia", 32614, 500e3, 4500e3, date="2019-07-19",
         shares=(2, 3, 2, 50, 22, 6, 6, 2, 2, 5))),
    Site("EH", "12", _like("Portugal", 32629, 500e3, 4310e3, date="2019-08-14")),
    Site("WH", "13", _like("Portugal", 32612, 440e3, 3700e3, date="2017-06-20", haze=80,
         shares=(1, 2, 2, 5, 4, 8, 42, 1, 1, 34))),
)  # fmt: skip


def synthesise_dynamicworld(
    out: Path, *, tiles: int = 24, seed: int = 0, size: int = TILE_PIXELS
) -> None:
    """Write a folder that the layout ``dynamicworld`` packs; same seed, same pixels.

    Args:
        out: the folder; must not exist.
        tiles: in all; the sites get them in turn.
        seed: every pixel follows from it, the site and the tile's number.
        size: pixels per side of a tile, even; the real ones have 510.

    Raises:
        ArchiveError: an existing folder, or a number out of range.
    """
    if tiles < len(SITES) or size < 32 or size % 2:
        raise ArchiveError(
            f"tiles={tiles}, size={size}: at least {len(SITES)} tiles, one per hemisphere and "
            "biome, of an even size of at least 32"
        )
    with whole_folder(Path(out)) as root, environment():
        text = f"{SYNTHETIC_PROVENANCE}\n"
        (root / SYNTHETIC_FILE).write_text(text, encoding="utf-8")
        for number in range(tiles):
            turn, site = divmod(number, len(SITES))
            clouded = number % CLOUD_EVERY == CLOUD_EVERY - 1
            _write_tile(root, SITES[site], turn, size, seed, clouded)


def _write_tile(root: Path, site: Site, turn: int, size: int, seed: int, clouded: bool) -> None:
    region = site.region

    def random(purpose: str) -> np.random.Generator:
        return generator(seed, "dynamicworld", site.hemisphere, site.biome, turn, purpose)

    cells = parcels(random("parcels"), size)
    covers = mosaic(random("mosaic"), cells, np.asarray(region.shares, dtype=np.float64))
    optics = reflectance(random("optics"), covers, cells, region)
    radar = backscatter_db(random("radar"), covers, cells, region)
    value = {name: number for number, name in enumerate(LABELS, start=1)}
    truth = np.array([value[CLASSES[name]] for name in COVERS], dtype=np.uint8)[covers]
    if site.snow:
        snow = truth == value["bare"]
        truth[snow] = value["snow/ice"]
        optics[:, snow] = 0.2 * optics[:, snow] + 0.8 * SNOW[:, None]
    labels = _marked(random("marking"), truth)
    if clouded:
        cloud = _field(random("cloud"), size) > CLOUD_ABOVE
        labels[cloud] = CLOUD_VALUE
        optics[:, cloud] = (1 - CLOUD_SHARE) * optics[:, cloud] + CLOUD_SHARE * CLOUD
    for band in COARSE_BANDS:
        image = optics[BANDS.index(band)]
        coarse = image.reshape(size // 2, 2, size // 2, 2).mean(axis=(1, 3))
        optics[BANDS.index(band)] = coarse.repeat(2, axis=0).repeat(2, axis=1)
    noise = random("noise").standard_normal(optics.shape) / SIGNAL_TO_NOISE[:, None, None]
    optics = np.rint(np.clip(optics * (1 + noise), SMALLEST_REFLECTANCE, 65535))
    row, column = divmod(turn, TILES_PER_ROW)
    east, north = region.origin[0] + column * TILE_STEP_M, region.origin[1] - row * TILE_STEP_M
    middle = size * 10.0 / 2
    lon, lat = longitude_latitude(f"EPSG:{region.epsg}", [east + middle], [north - middle])[:, 0]
    name = f"dw_{lon:.10f}_{lat:.10f}-{region.date.replace('-', '')}.tif"
    for folder, data, bands in (
        ("Experts", labels[None], ()),
        ("s2", optics.astype(np.uint16), BANDS),
        ("s1", radar.astype(np.float32), ("VV", "VH")),
    ):
        path = root / folder / site.hemisphere / site.biome / name
        path.parent.mkdir(parents=True, exist_ok=True)
        transform = (10.0, 0.0, east, 0.0, -10.0, north)
        write_raster(path, data, epsg=region.epsg, transform=transform, bands=bands)


def _marked(random: np.random.Generator, truth_HW: np.ndarray) -> np.ndarray:
    """The classes where an annotator would have been sure, 0 elsewhere."""
    labels = truth_HW.copy()
    for axis in (0, 1):
        for shift in (-1, 1):
            labels[np.roll(truth_HW, shift, axis) != truth_HW] = 0
    labels[_field(random, len(truth_HW)) < MARKED_ABOVE] = 0
    return labels


def _field(random: np.random.Generator, size: int) -> np.ndarray:
    """A smooth field of mean 0 and deviation 1."""
    blurred = smooth(random.standard_normal((size, size)), MARKING_PIXELS)
    field: np.ndarray = (blurred - blurred.mean()) / blurred.std()
    return field
