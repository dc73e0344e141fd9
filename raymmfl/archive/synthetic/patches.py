"""Patches of BigEarthNet's size and bands, cut out of drawn landscapes; no archive layout yet.

NO SATELLITE TOOK THESE PIXELS. They are drawn as in ``synthetic.py``, with signatures, countries
and noise of ``signatures.py``; beside that:

* landscape: blocks of up to 4x4 patches, each drawn on its own, with parcels of 480 m (about the
  25 ha that CORINE maps); a block belongs to one split, so no landscape stands in two;
* seasons: a country's phenology and sun are shifted by season;
* B01 and B09 are 0.8 times B02 and once B8A (near the ratios of the band means published for
  BigEarthNet), at 60 m;
* each 25th patch is covered by snow (winter, spring) or thin cloud (summer, autumn), in S2.

H W pixels.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from raymmfl.archive.rasters.geotiff import longitude_latitude
from raymmfl.archive.readers.patch_files import PATCH_PIXELS, S1, S2
from raymmfl.archive.synthetic.signatures import (
    BANDS,
    COVERS,
    REGIONS,
    SIGNAL_TO_NOISE,
    SMALLEST_REFLECTANCE,
    Region,
)
from raymmfl.archive.synthetic.tiles import backscatter_db, mosaic, parcels, reflectance
from raymmfl.errors import ArchiveError
from raymmfl.seeds import generator

LARGEST_BLOCK = 4  # patches per side
BLOCKS_PER_COUNTRY = 8  # wanted at least; with 16 each split meets each season
COARSE = 4  # pixels of a landscape's grid cell
TILE_PATCHES = 90  # per side of a Sentinel-2 tile
TILE_M, PATCH_M = 100_000, 1_200
COVERED_EVERY = 25
SPLIT_CYCLE = ("train", "val", "train", "test")
CODES: Mapping[str, int] = {
    "water": 512, "broad-leaved forest": 311, "coniferous forest": 312, "arable land": 211,
    "pasture": 231, "built-up": 112, "bare ground": 333, "wetland": 411, "flooded crops": 213,
    "shrub": 324,
}  # fmt: skip
DERIVED_BANDS = {"B01": ("B02", 0.8, 129.0), "B09": ("B8A", 1.0, 114.0)}  # from, times, SNR
SNOW = {"B11": 800.0, "B12": 600.0}  # reflectance x 10000; 8000 in all other bands
CLOUD, CLOUD_SHARE = 6500.0, 0.6


@dataclass(frozen=True)
class Season:
    """A date and how it shifts a country's phenology and the sun's zenith angle."""

    name: str
    date: str
    phenology: float
    zenith_deg: float
    covered_by: str


SEASONS = (
    Season("summer", "20170717", 0.2, 0.0, "cloud"),
    Season("autumn", "20171002", -0.4, 14.0, "cloud"),
    Season("winter", "20180211", -0.8, 24.0, "snow"),
    Season("spring", "20180508", 0.0, 4.0, "snow"),
)


@dataclass(frozen=True)
class DrawnPatch:
    """A patch.

    Attributes:
        country: its fictional home.
        season: of the picture.
        split: "train", "val" or "test".
        epsg: UTM zone.
        tile: MGRS name of the square it lies in.
        square: its column and row in the tile.
        corner: easting and northing of its top-left corner, metres.
        codes_HW: CORINE level-3 codes, uint16.
        bands: band name -> (H, W) in the band's dtype.
        covered_by: "snow", "cloud" or "".
    """

    country: str
    season: Season
    split: str
    epsg: int
    tile: str
    square: tuple[int, int]
    corner: tuple[int, int]
    codes_HW: np.ndarray
    bands: Mapping[str, np.ndarray]
    covered_by: str


def draw_patches(
    patches: int, seed: int, countries: Sequence[str] | None = None
) -> Iterator[DrawnPatch]:
    """Draw patches block by block, the countries in turn; same arguments, same pixels.

    Args:
        patches: how many, those under snow and cloud included.
        seed: of every pixel.
        countries: names in :data:`raymmfl.archive.synthetic.signatures.REGIONS`; all by default.

    Raises:
        ArchiveError: an unknown or repeated country, or more patches than their tiles hold.
    """
    names = tuple(REGIONS) if countries is None else tuple(countries)
    unknown = [name for name in names if name not in REGIONS]
    if unknown or not names or len(set(names)) < len(names):
        raise ArchiveError(f"countries {list(names)}: choose each once from {list(REGIONS)}")
    wanted = int((patches / (len(names) * BLOCKS_PER_COUNTRY)) ** 0.5)
    side = min(max(wanted, 1), LARGEST_BLOCK)
    most = (TILE_PATCHES // side) ** 2 * side**2 * len(names)
    if not len(names) <= patches <= most:
        raise ArchiveError(
            f"{patches} patches of {len(names)} countries: at least one each, at most {most}"
        )
    blocks = -(-patches // side**2)
    return (
        patch
        for block in range(blocks)
        for patch in _draw_block(
            names[block % len(names)], block // len(names), side, seed,
            min(side**2, patches - block * side**2), block * side**2,
        )
    )  # fmt: skip


def _draw_block(
    country: str, number: int, side: int, seed: int, count: int, first: int
) -> Iterator[DrawnPatch]:
    """The first ``count`` patches of a country's block; ``first`` counts all patches before."""
    season = SEASONS[number % len(SEASONS)]
    cycle = len(SPLIT_CYCLE)
    split = SPLIT_CYCLE[(number + number // cycle) % cycle]  # shifted from year to year
    region = _in_season(REGIONS[country], season)

    def random(purpose: str) -> np.random.Generator:
        return generator(seed, "bigearthnet", country, number, purpose)

    size = side * PATCH_PIXELS
    cells = parcels(random("parcels"), size // COARSE)
    covers = mosaic(random("mosaic"), cells, np.asarray(region.shares, dtype=np.float64))
    covers, cells = (
        np.kron(field, np.ones((COARSE, COARSE), np.int64)) for field in (covers, cells)
    )
    optics = reflectance(random("optics"), covers, cells, region)
    radar = backscatter_db(random("radar"), covers, cells, region)
    codes = np.array([CODES[cover] for cover in COVERS], dtype=np.uint16)[covers]
    tile, tile_corner = _tile(region)
    per_row = TILE_PATCHES // side
    for inside in range(count):
        row, column = divmod(inside, side)
        square = (number % per_row * side + column, number // per_row * side + row)
        window = np.s_[
            row * PATCH_PIXELS : (row + 1) * PATCH_PIXELS,
            column * PATCH_PIXELS : (column + 1) * PATCH_PIXELS,
        ]
        covered_by = season.covered_by if (first + inside + 1) % COVERED_EVERY == 0 else ""
        image = _covered(optics[(slice(None), *window)], covered_by)
        yield DrawnPatch(
            country=country,
            season=season,
            split=split,
            epsg=region.epsg,
            tile=tile,
            square=square,
            corner=(tile_corner[0] + square[0] * PATCH_M, tile_corner[1] - square[1] * PATCH_M),
            codes_HW=codes[window],
            bands={
                **_optical_bands(random(f"noise {inside}"), image),
                **{
                    band: radar[(channel, *window)].astype(np.float32)
                    for channel, band in enumerate(S1.columns[0].bands)
                },
            },
            covered_by=covered_by,
        )


def _optical_bands(random: np.random.Generator, image: np.ndarray) -> dict[str, np.ndarray]:
    """The twelve bands, each at its pixel size with sensor noise, uint16."""
    bands = {}
    for column in S2.columns:
        ratio = PATCH_PIXELS // column.size
        for band in column.bands:
            source, factor, ratio_to_noise = DERIVED_BANDS.get(band, (band, 1.0, 0.0))
            index = BANDS.index(source)
            shape = (column.size, ratio, column.size, ratio)
            data = factor * image[index].reshape(shape).mean(axis=(1, 3))
            noise = random.standard_normal(data.shape) / (ratio_to_noise or SIGNAL_TO_NOISE[index])
            data = np.rint(np.clip(data * (1 + noise), SMALLEST_REFLECTANCE, 65535))
            bands[band] = data.astype(np.uint16)
    return bands


def _covered(image: np.ndarray, by: str) -> np.ndarray:
    if by == "snow":
        snow = np.array([SNOW.get(band, 8000.0) for band in BANDS])[:, None, None]
        return 0.2 * image + 0.8 * snow
    if by == "cloud":
        return (1 - CLOUD_SHARE) * image + CLOUD_SHARE * CLOUD
    return image


def _in_season(region: Region, season: Season) -> Region:
    return replace(
        region,
        phenology=region.phenology + season.phenology,
        zenith_deg=region.zenith_deg + season.zenith_deg,
    )


def _tile(region: Region) -> tuple[str, tuple[int, int]]:
    """MGRS name of the 100 km square of a region's origin, and the square's top-left corner."""
    east, north = (int(metres // TILE_M) for metres in region.origin)
    zone = region.epsg % 100
    latitude = longitude_latitude(f"EPSG:{region.epsg}", [region.origin[0]], [region.origin[1]])[1]
    band = "CDEFGHJKLMNPQRSTUVWX"[int((latitude[0] + 80) // 8)]
    column = ("STUVWXYZ", "ABCDEFGH", "JKLMNPQR")[zone % 3][east - 1]
    row = "ABCDEFGHJKLMNPQRSTUV"[(north + (0 if zone % 2 else 5)) % 20]
    return f"{zone}{band}{column}{row}", (east * TILE_M, (north + 1) * TILE_M)
