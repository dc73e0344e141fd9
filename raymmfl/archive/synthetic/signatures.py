"""The physics behind the synthetic archive: what each land cover reflects, how countries differ.

Everything here was fixed before any model was trained on it, and is not tuned to a method.

Where the numbers come from. They are rounded typical values, not entries copied from a table:

* Reflectance: the shapes of the spectra of the USGS Spectral Library Version 7 (Kokaly et al.,
  USGS Data Series 1035, 2017) for water, leaves, soil and building material, lowered to the level
  of canopies and mixed 10 m pixels that Sentinel-2 L2A shows.
* Backscatter: within the C-band ranges of Ulaby and Dobson, Handbook of Radar Scattering
  Statistics for Terrain (Artech House, 1989), for trees, grass, shrubs, short vegetation, soil and
  urban ground. Wetland has the raised co-polarised return of the double bounce between stems and
  water (review: Tsyganskaya et al., International Journal of Remote Sensing, 2018), flooded crops
  the low return of a young rice field under water.
* Check on real data, the TerraMesh example tiles (class means of five places): water -17/-22,
  trees -9/-14, crops -12/-18, built -11/-17, bare -17/-22, rangeland -12/-18 dB in VV/VH.
* Check on the mixture, the band means published for BigEarthNet (VV -12.6, VH -19.3 dB; B04 590,
  B08 2219, B11 1594).
* Instruments: 4.4 equivalent looks for IW GRDH (Sentinel-1 Product Definition,
  S1-RS-MDA-52-7440); signal-to-noise ratios per band as in the Sentinel-2 mission requirements.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

# fmt: off
BANDS = ("B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B11", "B12")
WAVELENGTH_NM = np.array([490, 560, 665, 705, 740, 783, 842, 865, 1610, 2190], dtype=np.float64)
SIGNAL_TO_NOISE = np.array([154, 168, 142, 117, 89, 105, 174, 72, 100, 100], dtype=np.float64)
# What one unit of greenness does to the logarithm of each band: leaves absorb red and blue light,
# scatter near infrared, and their water absorbs the short-wave infrared.
GREENNESS = np.array([-.25, -.10, -.45, -.15, .15, .25, .25, .25, -.20, -.35], dtype=np.float64)
# fmt: on

EQUIVALENT_LOOKS = 4.4
ANGSTROM_EXPONENT = 1.3  # continental aerosol: haze falls with wavelength to this power
REFERENCE_ZENITH_DEG = 35.0  # sun of the signatures above
SMALLEST_REFLECTANCE = 1.0  # 0 means no data


@dataclass(frozen=True)
class Cover:
    """A land cover.

    Attributes:
        reflectance: x 10000, in the order of :data:`BANDS`.
        backscatter_db: VV, VH.
        greenness_std: spread of greenness from parcel to parcel.
        season: how far the country's phenology moves its greenness, 0 to 1.
        moisture: share of the country's soil-moisture offset that its backscatter shows.
        parcel_db: spread of backscatter from parcel to parcel, dB.
    """

    reflectance: tuple[float, ...]
    backscatter_db: tuple[float, float]
    greenness_std: float
    season: float
    moisture: float
    parcel_db: float


# fmt: off
#                  B02  B03   B04   B05   B06   B07   B08   B8A   B11   B12      VV     VH
COVERS: Mapping[str, Cover] = {
    "water": Cover(
        (  350,  380,  260,  240,  180,  170,  150,  140,   80,   60), (-19.0, -25.0),
        0.3, 0.0, 0.0, 1.5),
    "broad-leaved forest": Cover(
        (  220,  450,  260,  850, 2400, 3000, 3200, 3350, 1700,  750), (-9.5, -14.5),
        0.4, 1.0, 0.1, 0.7),
    "coniferous forest": Cover(
        (  180,  320,  210,  520, 1400, 1750, 1850, 1950,  900,  420), (-10.0, -15.5),
        0.3, 0.3, 0.1, 0.7),
    "arable land": Cover(
        (  480,  770,  750, 1250, 2250, 2600, 2750, 2850, 2250, 1450), (-11.5, -18.0),
        1.0, 1.0, 0.7, 1.5),
    "pasture": Cover(
        (  350,  680,  480, 1150, 2550, 3050, 3200, 3300, 2150, 1150), (-12.5, -18.5),
        0.5, 0.8, 0.5, 1.0),
    "built-up": Cover(
        (  950, 1100, 1250, 1450, 1800, 1950, 2050, 2150, 2200, 1900), (-6.5, -13.5),
        0.5, 0.2, 0.0, 2.0),
    "bare ground": Cover(
        (  850, 1150, 1450, 1700, 1900, 2050, 2150, 2300, 2850, 2450), (-14.0, -21.0),
        0.3, 0.2, 1.0, 1.5),
    "wetland": Cover(
        (  330,  550,  450,  850, 1650, 1950, 2050, 2150, 1300,  650), (-8.0, -16.0),
        0.5, 0.8, 0.0, 1.2),
    "flooded crops": Cover(
        (  400,  620,  500,  850, 1550, 1800, 1900, 2000, 1150,  600), (-15.0, -21.5),
        0.6, 0.6, 0.0, 1.2),
    "shrub": Cover(
        (  300,  520,  430,  900, 1800, 2150, 2250, 2400, 1850,  950), (-11.5, -17.0),
        0.5, 0.6, 0.2, 1.0),
}


@dataclass(frozen=True)
class Region:
    """How a country differs from the next; a fictional analogue that only borrows its name.

    Attributes:
        epsg: UTM zone; origin: easting and northing of its first tile's corner, metres.
        date: of the pictures.
        zenith_deg: of the sun; pictures are not corrected for it, so brightness goes with its
            cosine.
        haze: reflectance x 10000 that the path adds at 490 nm.
        phenology: shift of greenness, below 0 after the season, above 0 at its height.
        moisture_db: rise of bare soil's backscatter over dry soil.
        wind_db: rise of water's backscatter over a calm surface.
        shares: area of each cover in the order of :data:`COVERS`, adding up to 100.
    """

    epsg: int
    origin: tuple[float, float]
    date: str
    zenith_deg: float
    haze: float
    phenology: float
    moisture_db: float
    wind_db: float
    shares: tuple[int, ...]


#                            corner                date      sun  haze phen. soil wind
#            wat bro con ara pas bui bar wet flo shr
REGIONS: Mapping[str, Region] = {
    "Austria":     Region(32633, (460e3, 5280e3), "2018-06-20", 28.0,  60,  0.3,  0.5, 0.0,
            ( 4, 14, 30, 14, 18,  7,  4,  3,  1,  5)),
    "Belgium":     Region(32631, (610e3, 5640e3), "2018-05-08", 36.0, 150,  0.1,  0.8, 1.5,
            ( 5, 12,  6, 28, 18, 18,  3,  4,  2,  4)),
    "Finland":     Region(32635, (440e3, 6840e3), "2018-06-02", 41.0,  20, -0.4,  0.0, 0.5,
            (14, 12, 34,  8,  4,  4,  3, 13,  1,  7)),
    "Ireland":     Region(32629, (560e3, 5890e3), "2018-05-27", 33.0,  90,  0.6,  1.5, 3.0,
            ( 6,  8,  7,  9, 40,  6,  2, 12,  1,  9)),
    "Lithuania":   Region(32634, (580e3, 6140e3), "2018-05-20", 37.0,  70,  0.0,  0.6, 1.0,
            ( 6, 15, 16, 30, 15,  5,  2,  6,  1,  4)),
    "Portugal":    Region(32629, (520e3, 4310e3), "2017-08-14", 30.0, 110, -0.8, -1.5, 2.0,
            ( 5, 18,  8, 14,  6,  7,  8,  3, 12, 19)),
    "Serbia":      Region(32634, (420e3, 4980e3), "2017-09-29", 49.0, 180, -0.5, -0.8, 0.0,
            ( 4, 20,  4, 36, 10,  8,  5,  4,  3,  6)),
    "Switzerland": Region(32632, (420e3, 5200e3), "2018-07-02", 27.0,  40,  0.4,  0.7, 0.5,
            ( 7, 11, 22, 16, 20, 11,  6,  2,  1,  4)),
}
# fmt: on
DEFAULT_REGIONS = ("Austria", "Belgium", "Finland", "Ireland", "Portugal", "Serbia")


def illumination(zenith_deg: float) -> float:
    """Brightness against the signatures': the cosine of the sun's zenith angle, relative."""
    return float(np.cos(np.radians(zenith_deg)) / np.cos(np.radians(REFERENCE_ZENITH_DEG)))


def haze(at_490_nm: float) -> np.ndarray:
    """Path reflectance x 10000 per band (10,), falling with wavelength (Angstrom's law)."""
    path: np.ndarray = at_490_nm * (WAVELENGTH_NM / WAVELENGTH_NM[0]) ** -ANGSTROM_EXPONENT
    return path
