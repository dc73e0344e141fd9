"""Reader of the expert tiles of Dynamic World's training data, beside imagery of one's own.

Tait et al., PANGAEA 2021, doi:10.1594/PANGAEA.933475 (CC-BY-4.0): one-band uint8 label tiles of
510x510 pixels of 10 m, marked by hand, most pixels left unmarked. No imagery is shipped: whoever
packs puts Sentinel-2 and Sentinel-1 GeoTIFFs on the labels' grid beside them.

```
<root>/Experts/{EH,WH}/<n>/dw_<lon>_<lat>-<YYYYMMDD>.tif    labels, as published; or labels/...
<root>/s2/[{EH,WH}/<n>/]dw_<lon>_<lat>-<YYYYMMDD>.tif       imagery, either may be missing
<root>/s1/[{EH,WH}/<n>/]dw_<lon>_<lat>-<YYYYMMDD>.tif
<root>/splits.csv                                           stem,split; if wanted
```
The folders name the hemisphere and the number of the biome. The tiles that others than experts
marked (``Non_expert/``) are not read; put them under ``labels/`` to have them.

Splits: a tile, with all its dates, is in one split, drawn within each region (hemisphere/biome)
as in ``place_splits.py``, or as ``splits.csv`` says. Tiles are samples spread over the globe, so
that other tiles are ground unseen; parting each tile into blocks, as for the few tiles of other
layouts, would train on all 4,194 places and show less of how a model does elsewhere.

Labels of a patch: the classes with at least ``min_share`` of its *labelled* pixels. Experts mark
what they are sure of and leave the rest; of a patch a quarter marked, a class on all of the marked
ground would else be a quarter of the patch at most, and sparse marking would count as absence.

A patch goes without a sensor that has a pixel without data in it: imagery cut by hand often ends
within a tile. The 62 pixels at the right and lower edge that no patch of 64 fills are dropped.
"""

import datetime
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from raymmfl.archive.rasters import geotiff
from raymmfl.archive.readers.csv_files import read_csv
from raymmfl.archive.readers.cutting import Layer, Tile, cut, label_mask
from raymmfl.archive.readers.options import Options
from raymmfl.archive.readers.patch_files import SYNTHETIC_FILE, SYNTHETIC_LICENCE
from raymmfl.archive.readers.place_splits import split_places
from raymmfl.archive.readers.source import Format, Reading, SensorFormat, Unit
from raymmfl.archive.splits import SPLITS, Rectangle, patch_windows
from raymmfl.archive.store import Column, mask_column
from raymmfl.errors import ArchiveError

LABELS = (
    "water", "trees", "grass", "flooded vegetation", "crops", "scrub", "built", "bare", "snow/ice",
)  # fmt: skip
VALUES = range(1, 10)
IGNORED_VALUES = (0, 10)  # unmarked, cloud
PIXEL_M = 10.0
LABEL_FOLDERS = ("Experts", "labels")
SPLITS_FILE = "splits.csv"
FOLDERS = {"S1": "s1", "S2": "s2"}
UNITS = {"S1": "dB", "S2": "reflectance x 10000"}
NODATA = {"S1": float("nan"), "S2": 0.0}
DTYPES = {"S1": ("float32", "float64"), "S2": ("uint16", "int16")}
S1_BANDS = ("VV", "VH")
S2_BANDS = (
    "B01", "B02", "B03", "B04", "B05", "B06", "B07", "B08", "B8A", "B09", "B11", "B12",
)  # fmt: skip
# What a file holds that does not name its bands, by their number.
BANDS_BY_COUNT: Mapping[str, Mapping[int, tuple[str, ...]]] = {
    "S1": {2: S1_BANDS},
    "S2": {12: S2_BANDS, 10: tuple(band for band in S2_BANDS if band not in ("B01", "B09"))},
}
LICENCE = "CC-BY-4.0 (labels); imagery: of whoever supplied it"
PROVENANCE = (
    "Dynamic World training data, expert tiles (Tait et al., PANGAEA 2021, "
    "doi:10.1594/PANGAEA.933475); imagery supplied by whoever packed it"
)
SYNTHETIC_PROVENANCE = (
    "SYNTHETIC: drawn by raymmfl.archive.synthetic.dynamicworld; no satellite took these pixels "
    "and no expert marked them."
)
STEM = re.compile(r"dw_(-?\d+(?:\.\d+)?)_(-?\d+(?:\.\d+)?)-(\d{8})")


@dataclass(frozen=True)
class DynamicWorldSource:
    """The tiles of a folder; each is a unit, with the path of its labels as details."""

    root: Path
    format: Format
    labels: Path
    options: Options

    def units(self) -> list[Unit]:
        """The tiles, sorted by stem.

        Raises:
            ArchiveError: no tiles, a name without a date, a stem that stands twice, imagery that
                belongs to no tile, a damaged ``splits.csv``.
        """
        paths: dict[str, Path] = {}
        for path in _tiles(self.labels):
            if path.stem in paths:
                raise ArchiveError(
                    f"{path}: stands twice, also as {paths[path.stem]}; keep one of them"
                )
            paths[path.stem] = path
        if not paths:
            raise ArchiveError(
                f"{self.labels}: no dw_*.tif in it, nor in its folders EH/<n> and WH/<n>; unpack "
                "the tiles there"
            )
        units = [self._unit(stem, path) for stem, path in sorted(paths.items())]
        for sensor in self.format.sensors:
            self._check_owned(FOLDERS[sensor.name], paths)
        if (self.root / SPLITS_FILE).exists():
            splits = _read_splits(self.root / SPLITS_FILE, paths)
        else:
            ground = {unit.name: unit.name.rpartition("-")[0] for unit in units}
            drawn = split_places(
                {ground[unit.name]: unit.region for unit in units}, self.options.seed
            )
            splits = {name: drawn[place] for name, place in ground.items()}
        return [
            Unit(each.name, splits[each.name], each.region, each.date, each.details)
            for each in units
        ]

    def tables(self) -> list[Path]:
        """``splits.csv``, if there is one."""
        return [path for path in [self.root / SPLITS_FILE] if path.exists()]

    def read(self, unit: Unit) -> Reading:
        """Read, check and cut one tile.

        Raises:
            ArchiveError: a raster that is damaged, of other bands or on another grid, a label that
                is none of 0 to 10, values that are not finite.
        """
        path, options = self.root / unit.details, self.options
        images = {
            sensor.name: image
            for sensor in self.format.sensors
            if (image := self._image(FOLDERS[sensor.name], path)) is not None
        }
        if not images:
            return Reading([], Counter({f"{unit.split}: tile without imagery": 1}))
        mask = geotiff.read_raster(path, bands=1, dtype="uint8")
        pixel = mask.transform.a
        if not mask.crs.is_projected or abs(pixel / PIXEL_M - 1) > 0.01:
            raise ArchiveError(
                f"{path}: pixels of {pixel:g} in {mask.crs}, expected 10 m in a UTM zone; take "
                "the published tile"
            )
        labels_HW = label_mask(mask, VALUES, IGNORED_VALUES, "dynamicworld")
        layers = {
            sensor.name: [self._layer(sensor, images[sensor.name], mask)]
            for sensor in self.format.sensors
            if sensor.name in images
        }
        windows = patch_windows(Rectangle(0, 0, *mask.shape), options.patch, options.step)
        if not len(windows):
            raise ArchiveError(
                f"{path}: {mask.shape[0]}x{mask.shape[1]} pixels hold no patch of "
                f"{options.patch}; use smaller patches"
            )
        folders = path.relative_to(self.labels).parts[:-1]
        hemisphere, biome = folders if folders else ("", "")
        tile = Tile(
            unit.name, unit.region, unit.date, mask, labels_HW, layers,
            {"hemisphere": hemisphere, "biome": biome},
        )  # fmt: skip
        rasters = [mask, *(layer.raster for found in layers.values() for layer in found)]
        return cut(
            tile,
            [(unit.split, top, left) for top, left in windows.tolist()],
            LABELS,
            options,
            {r.path.relative_to(self.root).as_posix(): r.sha256 for r in rasters},
            sparse=True,
            gaps=True,
        )

    def _unit(self, stem: str, path: Path) -> Unit:
        found = STEM.fullmatch(stem)
        try:
            date = datetime.datetime.strptime(found[3] if found else "", "%Y%m%d").date()
        except ValueError:
            raise ArchiveError(
                f"{path}: is not named dw_<lon>_<lat>-<YYYYMMDD>.tif; take the published name"
            ) from None
        folders = path.relative_to(self.labels).parts[:-1]
        return Unit(
            stem, "", "/".join(folders), date.isoformat(), path.relative_to(self.root).as_posix()
        )

    def _image(self, folder: str, labels: Path) -> Path | None:
        """The imagery of a tile, in the folder itself or in the labels' own subfolder."""
        places = [
            self.root / folder / labels.relative_to(self.labels),
            self.root / folder / labels.name,
        ]
        there = [path for path in dict.fromkeys(places) if path.exists()]
        if len(there) > 1:
            raise ArchiveError(f"{there[0]}: stands twice, also as {there[1]}; keep one of them")
        return there[0] if there else None

    def _check_owned(self, folder: str, tiles: dict[str, Path]) -> None:
        for path in _tiles(self.root / folder):
            if path.stem not in tiles:
                raise ArchiveError(
                    f"{path}: no tile of {self.labels} has this name; give imagery its tile's name"
                )

    def _layer(self, sensor: SensorFormat, path: Path, mask: geotiff.Raster) -> Layer:
        (column,) = sensor.columns
        raster = geotiff.read_raster(path, bands=len(column.bands), dtype=column.dtype)
        geotiff.check_registered(raster, mask, 1)
        if _bands(sensor.name, path, raster.descriptions)[0] != column.bands:
            raise ArchiveError(
                f"{path}: bands {', '.join(raster.descriptions)}, but {', '.join(column.bands)} "
                "in the first file; bring all files into one order"
            )
        return Layer(raster, 1, NODATA[sensor.name])


def open_dynamicworld(root: Path, options: Options) -> DynamicWorldSource:
    """The expert tiles of a folder as a source.

    Bands and dtype of a sensor are those of its first file, by name; every other must be equal.
    Bands are told by the file's band descriptions (B2 or B02, VV); without any by their number:
    12 bands are B01 to B12 without B10, 10 bands these without B01 and B09, with B8A after B08; 2
    bands are VV, VH.

    Args:
        root: the folder that holds the labels and the imagery.
        options: of cutting, and the sensors (default: those whose folder is there).

    Raises:
        ArchiveError: no labels, no imagery, a sensor's first file of other bands or dtype, an
            option out of range.
    """
    options.check_cutting(1)
    there = [folder for folder in LABEL_FOLDERS if (root / folder).is_dir()]
    if len(there) != 1:
        raise ArchiveError(
            f"{root}: label tiles must lie in Experts/ or in labels/, found "
            f"{' and '.join(there) or 'neither'}; see docs/archives.md"
        )
    unknown = [name for name in options.sensors if name not in FOLDERS]
    if unknown:
        raise ArchiveError(f"sensors {list(options.sensors)}: choose from {', '.join(FOLDERS)}")
    sensors, told = [], {}
    for name, folder in FOLDERS.items():
        if name not in options.sensors if options.sensors else not (root / folder).is_dir():
            continue
        first = min(_tiles(root / folder), default=None, key=lambda path: path.stem)
        if first is None:
            raise ArchiveError(
                f"{root / folder}: no dw_*.tif in it; Dynamic World ships labels alone: put your "
                f"{name} imagery there, or choose other sensors"
            )
        header = geotiff.read_header(first)
        if header.dtype not in DTYPES[name]:
            raise ArchiveError(
                f"{first}: {header.bands} band(s) of {header.dtype}, expected {name} as "
                f"{' or '.join(DTYPES[name])}; is this another sensor?"
            )
        bands, told[f"bands of {name}"] = _bands(name, first, header.descriptions)
        column = Column("10m", bands, options.patch, header.dtype, PIXEL_M)
        sensors.append(SensorFormat(name, (column,), UNITS[name]))
    if not sensors:
        raise ArchiveError(
            f"{root}: neither s1/ nor s2/; Dynamic World ships labels alone: put imagery on the "
            "same grid, under the same names, into these folders"
        )
    synthetic = (root / SYNTHETIC_FILE).is_file()
    form = Format(
        layout="dynamicworld",
        sensors=tuple(sensors),
        labels=LABELS,
        mask=mask_column(options.patch, PIXEL_M),
        attributes=("hemisphere", "biome"),
        licence=SYNTHETIC_LICENCE if synthetic else LICENCE,
        provenance=SYNTHETIC_PROVENANCE if synthetic else PROVENANCE,
        synthetic=synthetic,
        options={
            "patch": options.patch,
            "stride": options.step,
            "min_share": options.min_share,
            "min_share_of": "labelled pixels",
            "min_labelled": options.min_labelled,
            "seed": options.seed,
            "splits": SPLITS_FILE if (root / SPLITS_FILE).exists() else "drawn by tile",
            **told,
        },
    )
    return DynamicWorldSource(root, form, root / there[0], options)


def _tiles(folder: Path) -> Iterator[Path]:
    """Tiles of a folder and of its folders EH/<n> and WH/<n>."""
    for pattern in ("dw_*.tif", "[EW]H/*/dw_*.tif"):
        yield from folder.glob(pattern)


def _bands(sensor: str, path: Path, descriptions: tuple[str, ...]) -> tuple[tuple[str, ...], str]:
    """Names of a file's bands, and how they are known."""
    known = S1_BANDS if sensor == "S1" else S2_BANDS
    names = tuple(re.sub(r"^B(\d)$", r"B0\1", text.strip().upper()) for text in descriptions)
    by_count, count = BANDS_BY_COUNT[sensor], len(names)
    wrong = [f"band {n} {text!r}" for n, text in enumerate(names, 1) if text not in known]
    if count not in by_count:
        raise ArchiveError(
            f"{path}: {count} band(s); {sensor} needs {' or '.join(map(str, by_count))}: "
            + "; ".join(", ".join(bands) for bands in by_count.values())
        )
    if len(wrong) == count:
        return by_count[count], "by their number"
    ordered = sensor == "S2" or names == S1_BANDS
    if wrong or len(set(names)) < count or not ordered:
        raise ArchiveError(
            f"{path}: bands {', '.join(names)}{''.join(f'; {each}' for each in wrong[:1])}; name "
            f"each once, from {', '.join(known)}" + (", in this order" if sensor == "S1" else "")
        )
    return names, "by their descriptions"


def _read_splits(path: Path, stems: dict[str, Path]) -> dict[str, str]:
    splits: dict[str, str] = {}
    for row in read_csv(path, ("stem", "split"))[1]:
        stem, split = row.values["stem"], row.values["split"]
        problem = ""
        if stem not in stems:
            problem = "no tile has this name"
        elif split not in SPLITS:
            problem = f"{split!r} is none of {', '.join(SPLITS)}"
        elif stem in splits:
            problem = "stands twice"
        if problem:
            raise ArchiveError(f"{path}, line {row.line}: {stem}: {problem}; correct it")
        splits[stem] = split
    missing = sorted(set(stems) - set(splits))
    if missing:
        raise ArchiveError(
            f"{path}: {len(missing)} tile(s) are not listed, first {missing[0]}; list every tile"
        )
    return splits
