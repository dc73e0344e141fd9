"""A synthetic source folder: land-cover mosaics as real georeferenced GeoTIFFs of two sensors.

NO SATELLITE TOOK THESE PIXELS, and no result on them says how a method does on real ones. They
exercise the whole path (rasters, packing, splits, training) where real archives are not at hand.
Values and their sources stand in ``signatures.py``. A tile is made so:

1. mosaic: per cover a smooth random field plus a bias, the largest wins; the biases are set so
   that areas follow the tile's shares (a Dirichlet draw around the country's). The winner is taken
   per parcel, an irregular cell of about 120 m, so that borders look like fields.
2. optics: a parcel's reflectance is its cover's, times a brightness, times greenness (the parcel's
   own and the country's phenology); 10 m texture; sun and haze; blur of the optics; sensor noise;
   20 m bands are means of 2x2.
3. radar: the cover's backscatter plus parcel spread, soil moisture, wind; texture; blur; speckle:
   gamma noise of mean 1 and variance 1/4.4 on linear power, independent per pixel and channel.

Covers that look alike to optics: wetland and flooded crops, built-up and bare ground; to radar:
the two forests; arable land, pasture and shrub. H W pixels.
"""

import csv
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from raymmfl.archive.rasters.geotiff import environment, write_raster
from raymmfl.archive.readers.tile_layouts import SYNTHETIC
from raymmfl.archive.readers.tiles import PLACES_FILE
from raymmfl.archive.synthetic.signatures import (
    BANDS,
    COVERS,
    DEFAULT_REGIONS,
    EQUIVALENT_LOOKS,
    GREENNESS,
    REGIONS,
    SIGNAL_TO_NOISE,
    SMALLEST_REFLECTANCE,
    Region,
    haze,
    illumination,
)
from raymmfl.archive.writer import whole_folder
from raymmfl.errors import ArchiveError
from raymmfl.seeds import generator

PARCEL_PIXELS = 12
MOSAIC_PIXELS = 16.0  # standard deviation of the smoothing of the mosaic's fields
SHARES_CONCENTRATION = 60.0  # how closely a tile follows its country's shares
BRIGHTNESS_STD = 0.10  # parcel to parcel, logarithm
BAND_STD = 0.05  # parcel to parcel and band by band, logarithm
TEXTURE_STD = 0.06  # pixel to pixel, logarithm
TEXTURE_DB = 0.5  # pixel to pixel, before speckle
POLARISATION_DB = 0.5  # parcel to parcel, VV and VH apart
OPTICAL_BLUR_PIXELS = 0.5  # standard deviation of the point spread at 10 m
RADAR_BLUR_PIXELS = 0.85  # IW GRDH resolves about 20 m, sampled at 10 m
TILE_GAP_M = 10_000.0
SMALLEST_TILE = 32


def synthesise(
    out: Path,
    *,
    seed: int,
    regions: Sequence[str] | None = None,
    tiles: int = 2,
    size: int = 384,
) -> None:
    """Write a source folder that the layout ``synthetic`` packs; same seed, same pixels.

    Writes ``S1/<place>.tif`` (VV, VH; float32 dB), ``S2_10m`` and ``S2_20m`` (uint16 reflectance
    x 10000), ``LULC`` (uint8) and ``places.csv``.

    Args:
        out: the folder; must not exist.
        seed: every pixel follows from it, the region's name and the tile's number.
        regions: names in :data:`raymmfl.archive.synthetic.signatures.REGIONS` (default: six of
            them).
        tiles: tiles per region.
        size: pixels per side of a tile at 10 m, even.

    Raises:
        ArchiveError: an existing folder, an unknown region, a size or number out of range.
    """
    names = DEFAULT_REGIONS if regions is None else tuple(regions)
    unknown = [name for name in names if name not in REGIONS]
    if unknown or not names or len(set(names)) < len(names):
        raise ArchiveError(f"regions {list(names)}: choose each once from {list(REGIONS)}")
    if size < SMALLEST_TILE or size % 2 or tiles < 1:
        raise ArchiveError(
            f"size={size}, tiles={tiles}: the size must be even and at least {SMALLEST_TILE}, "
            "tiles at least 1"
        )
    with whole_folder(Path(out)) as folder, environment():
        for name in ("S1", "S2_10m", "S2_20m", "LULC"):
            (folder / name).mkdir()
        rows = []
        for name in names:
            for tile in range(1, tiles + 1):
                _write_tile(folder, seed, name, tile, size)
                rows.append((f"{name}_{tile}", name, REGIONS[name].date))
        with (folder / PLACES_FILE).open("w", encoding="utf-8", newline="") as file:
            csv.writer(file).writerows([("place", "region", "date"), *rows])


def _write_tile(folder: Path, seed: int, name: str, tile: int, size: int) -> None:
    region = REGIONS[name]

    def random(purpose: str) -> np.random.Generator:
        return generator(seed, "synthetic", name, tile, purpose)

    cells = parcels(random("parcels"), size)
    covers_HW = mosaic(random("mosaic"), cells, np.asarray(region.shares, dtype=np.float64))
    optics = reflectance(random("optics"), covers_HW, cells, region)
    radar = backscatter_db(random("radar"), covers_HW, cells, region)
    east, north = region.origin
    east += (tile - 1) * (size * 10.0 + TILE_GAP_M)
    fine, coarse = (10.0, 0.0, east, 0.0, -10.0, north), (20.0, 0.0, east, 0.0, -20.0, north)
    file = f"{name}_{tile}.tif"
    values = np.array(sorted(SYNTHETIC.classes), dtype=np.uint8)
    write_raster(folder / "LULC" / file, values[covers_HW][None], epsg=region.epsg, transform=fine)
    for raster in (raster for sensor in SYNTHETIC.sensors for raster in sensor.rasters):
        if raster.folder == "S1":
            data, transform = radar, fine
        else:
            data = optics[[BANDS.index(band) for band in raster.bands]]
            data, transform = (data, fine) if raster.ratio == 1 else (_halved(data), coarse)
            noise = SIGNAL_TO_NOISE[[BANDS.index(band) for band in raster.bands], None, None]
            data = data * (1 + random(raster.folder).standard_normal(data.shape) / noise)
            data = np.rint(np.clip(data, SMALLEST_REFLECTANCE, 65535))
        write_raster(
            folder / raster.folder / file, data.astype(raster.dtype), epsg=region.epsg,
            transform=transform, bands=raster.bands,
        )  # fmt: skip


def parcels(random: np.random.Generator, size: int) -> np.ndarray:
    """Number of the parcel that each pixel belongs to, int64 (H, W).

    The cells of the seed points of a jittered grid; the nearest seed is among the nine around.
    """
    count = size // PARCEL_PIXELS + 3
    points = (np.indices((count, count)) - 1 + random.random((2, count, count))) * PARCEL_PIXELS
    pixels = np.indices((size, size)) + 0.5
    home = np.indices((size, size)) // PARCEL_PIXELS + 1
    nearest = np.zeros((size, size), dtype=np.int64)
    smallest = np.full((size, size), np.inf)
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            row, column = home[0] + down, home[1] + right
            distance = ((pixels - points[:, row, column]) ** 2).sum(axis=0)
            closer = distance < smallest
            nearest[closer] = (row * count + column)[closer]
            smallest[closer] = distance[closer]
    return nearest


def mosaic(random: np.random.Generator, cells_HW: np.ndarray, shares: np.ndarray) -> np.ndarray:
    """Cover of each pixel as an index into ``COVERS``, int64 (H, W)."""
    size = len(cells_HW)
    wanted = random.dirichlet(SHARES_CONCENTRATION * shares / shares.sum())
    # The blur is periodic: without a margin, opposite borders (train and test ground) would match.
    margin = int(4 * MOSAIC_PIXELS)
    noise = random.standard_normal((len(shares), size + margin, size + margin))
    fields = np.stack([smooth(field, MOSAIC_PIXELS)[:size, :size] for field in noise])
    fields = fields.reshape(len(shares), -1)
    fields /= fields.std(axis=1, keepdims=True)
    # A parcel's value is its mean; only parcels that have a pixel count.
    numbers, area = cells_HW.ravel(), np.bincount(cells_HW.ravel())
    means = np.stack([np.bincount(numbers, field) for field in fields]) / np.maximum(area, 1)
    bias = np.zeros(len(shares))
    for _ in range(60):
        found = np.bincount((means + bias[:, None]).argmax(axis=0), area, len(shares)) / area.sum()
        bias += 0.3 * np.log((wanted + 1e-3) / (found + 1e-3))
    winners = (means + bias[:, None]).argmax(axis=0)
    covers_HW: np.ndarray = winners[cells_HW]
    return covers_HW


def reflectance(
    random: np.random.Generator, covers_HW: np.ndarray, cells_HW: np.ndarray, region: Region
) -> np.ndarray:
    """Reflectance x 10000 of the ten bands at 10 m before sensor noise, float64 (10, H, W)."""
    covers = list(COVERS.values())
    count = int(cells_HW.max()) + 1
    spread = np.array([cover.greenness_std for cover in covers])[covers_HW]
    season = np.array([cover.season for cover in covers])[covers_HW]
    green = spread * random.standard_normal(count)[cells_HW] + season * region.phenology
    bright = BRIGHTNESS_STD * random.standard_normal(count)
    own = bright + BAND_STD * random.standard_normal((len(BANDS), count))
    texture = TEXTURE_STD * random.standard_normal(covers_HW.shape)
    path = haze(region.haze)
    image = np.empty((len(BANDS), *covers_HW.shape))
    for band in range(len(BANDS)):
        typical = np.array([cover.reflectance[band] for cover in covers])[covers_HW]
        logarithm = GREENNESS[band] * green + own[band][cells_HW] + texture
        ground = typical * np.exp(logarithm) * illumination(region.zenith_deg)
        image[band] = smooth(ground, OPTICAL_BLUR_PIXELS) + path[band]
    return image


def backscatter_db(
    random: np.random.Generator, covers_HW: np.ndarray, cells_HW: np.ndarray, region: Region
) -> np.ndarray:
    """VV and VH with speckle, float64 dB (2, H, W)."""
    covers = list(COVERS.items())
    count = int(cells_HW.max()) + 1
    offset = np.array(
        [
            region.wind_db if name == "water" else cover.moisture * region.moisture_db
            for name, cover in covers
        ]
    )[covers_HW]
    spread = np.array([cover.parcel_db for _, cover in covers])[covers_HW]
    common = offset + spread * random.standard_normal(count)[cells_HW]
    common += TEXTURE_DB * random.standard_normal(covers_HW.shape)
    image = np.empty((2, *covers_HW.shape))
    for channel in range(2):
        typical = np.array([cover.backscatter_db[channel] for _, cover in covers])[covers_HW]
        own = POLARISATION_DB * random.standard_normal(count)[cells_HW]
        power = smooth(10 ** ((typical + common + own) / 10), RADAR_BLUR_PIXELS)
        image[channel] = 10 * np.log10(power * speckle(random, power.shape))
    return image


def speckle(random: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
    """Multi-look speckle: gamma noise of mean 1 and variance 1 / :data:`EQUIVALENT_LOOKS`."""
    return random.gamma(EQUIVALENT_LOOKS, 1 / EQUIVALENT_LOOKS, shape)


def smooth(field_HW: np.ndarray, std_pixels: float) -> np.ndarray:
    """Gaussian blur of a positive or signed field, periodic at the borders, sum kept."""
    spectrum = np.fft.rfft2(field_HW) * _gaussian_spectrum(field_HW.shape, std_pixels)
    return np.fft.irfft2(spectrum, s=field_HW.shape)


@lru_cache(maxsize=4)  # every band of a tile is blurred alike
def _gaussian_spectrum(shape: tuple[int, ...], std_pixels: float) -> np.ndarray:
    offsets = [np.minimum(np.arange(length), length - np.arange(length)) for length in shape]
    rows, columns = (np.exp(-0.5 * (offset / std_pixels) ** 2) for offset in offsets)
    kernel = np.outer(rows / rows.sum(), columns / columns.sum())
    return np.fft.rfft2(kernel)


def _halved(image: np.ndarray) -> np.ndarray:
    bands, height, width = image.shape
    halved: np.ndarray = image.reshape(bands, height // 2, 2, width // 2, 2).mean(axis=(2, 4))
    return halved
