"""BigEarthNet-MM v1: patches of Sentinel-1 and Sentinel-2 with the published splits, 19 classes.

```
BigEarthNet-v1.0/<patch>/<patch>_{B01 ... B12}.tif, <patch>_labels_metadata.json
BigEarthNet-S1-v1.0/<patch>/<patch>_{VV,VH}.tif, <patch>_labels_metadata.json
train.csv, val.csv, test.csv and other lists, here or in splits/ (bigearthnet_lists.py)
```
The JSON of an S1 patch names its S2 patch. A patch without partner becomes a scene of one sensor.
(Sumbul et al., "BigEarthNet-MM", IEEE Geoscience and Remote Sensing Magazine 2021.)
"""

import hashlib
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from raymmfl.archive.readers.bigearthnet_lists import (
    COUNTRIES,
    COVERED,
    S1_NAME,
    S2_NAME,
    Countries,
    Splits,
    find_list,
    read_countries,
    read_covered,
    read_splits,
)
from raymmfl.archive.readers.nomenclature import LABELS, labels_of
from raymmfl.archive.readers.options import Options
from raymmfl.archive.readers.patch_files import (
    SYNTHETIC_FILE,
    SYNTHETIC_LICENCE,
    SYNTHETIC_PROVENANCE,
    choose_sensors,
    folder_names,
    on_earth,
    read_patch,
)
from raymmfl.archive.readers.source import Format, Reading, Scene, Unit
from raymmfl.archive.splits import SPLITS
from raymmfl.errors import ArchiveError

FOLDERS = {"S1": "BigEarthNet-S1-v1.0", "S2": "BigEarthNet-v1.0"}
NAMES = {"S1": S1_NAME, "S2": S2_NAME}
UNKNOWN = "unknown"
LICENCE = "CDLA-Permissive-1.0"
PROVENANCE = (
    "BigEarthNet-MM v1.0 (TU Berlin, BIFOLD), 19-class nomenclature; contains modified Copernicus "
    "Sentinel data 2017-2018, labels of CORINE Land Cover 2018"
)


@dataclass(frozen=True)
class Pair:
    """The patches of a scene; "" where the archive has none.

    ``s2_shown`` is the S2 patch that the S1 patch shows, also where its folder is absent.
    """

    s1: str
    s2: str
    s2_shown: str


@dataclass(frozen=True)
class Json:
    """The ``*_labels_metadata.json`` of a patch."""

    path: Path
    content: Mapping[str, Any]
    sha256: str


def open_bigearthnet_mm(root: Path, options: Options) -> "BigEarthNetMM":
    """The archive in a folder; nothing of it is read yet.

    Args:
        root: holds ``BigEarthNet-v1.0`` and ``BigEarthNet-S1-v1.0``.
        options: ``sensors`` (default both), ``include_snow_cloud``, ``countries`` (default:
            ``s1_s2_name_country_season.csv`` if it is there).

    Raises:
        ArchiveError: an unknown sensor, or two tables of countries.
    """
    synthetic = (root / SYNTHETIC_FILE).is_file()
    sensors = choose_sensors(options.sensors)
    countries = options.countries or find_list(root, COUNTRIES)
    return BigEarthNetMM(
        root,
        Format(
            layout="bigearthnet_mm",
            sensors=sensors,
            labels=LABELS,
            mask=None,
            attributes=(),
            licence=SYNTHETIC_LICENCE if synthetic else LICENCE,
            provenance=SYNTHETIC_PROVENANCE if synthetic else PROVENANCE,
            synthetic=synthetic,
            options={
                "include_snow_cloud": options.include_snow_cloud,
                "countries": countries.name if countries else None,
            },
        ),
        countries,
        options.include_snow_cloud,
    )


@dataclass(frozen=True)
class BigEarthNetMM:
    """A :class:`raymmfl.archive.readers.source.Source`."""

    root: Path
    format: Format
    countries: Path | None
    include_snow_cloud: bool

    def units(self) -> list[Unit]:
        """One unit per scene, by name, and one that counts what the lists leave out.

        Left out are patches in no split list (as published, these lists hold no patch with snow,
        cloud or shadow, nor any without a 19-class label), patches in the lists of snow, cloud and
        shadow unless they are asked for, and listed patches that have no folder.

        The region is the country where a table of countries is given or found, else the MGRS tile
        ("33UUP") of the S1 patch; "unknown" where neither tells. The date is that of the S2 patch.

        Raises:
            ArchiveError: a folder or list that is missing or damaged, or contradictions.
        """
        names = {
            sensor.name: folder_names(
                self.root / FOLDERS[sensor.name],
                NAMES[sensor.name],
                {f"an {other} patch": NAMES[other] for other in NAMES if other != sensor.name},
            )
            for sensor in self.format.sensors
        }
        splits = read_splits(self.root)
        countries = read_countries(self.countries) if self.countries else None
        covered = set() if self.include_snow_cloud else read_covered(self.root)
        partners = self._partners(names.get("S1", set()), splits, countries)
        pairs = _pairs(names, partners, self.root)
        units, left_out = [], Counter[str]()
        for pair in pairs:
            known = {pair.s1, pair.s2, pair.s2_shown}
            told = {splits.of[name] for name in known if name in splits.of}
            if len(told) > 1:
                raise ArchiveError(
                    f"{self.root}: {pair.s1} and {pair.s2_shown} are a pair, but in the lists "
                    f"{' and '.join(sorted(told))}; correct the split lists"
                )
            if covered & known:
                left_out["listed with snow, cloud or shadow"] += 1
            elif not told:
                left_out["in no split list"] += 1
            else:
                units.append(_unit(pair, told.pop(), countries))
        listed = {partners.get(name, name) for name in splits.of}
        absent = len(listed - {pair.s2_shown or pair.s1 for pair in pairs})
        if absent:
            left_out["in a split list, but without a folder"] = absent
        if left_out:
            units.append(Unit("patches that the lists leave out", "", "", "", dict(left_out)))
        return units

    def tables(self) -> list[Path]:
        """The lists of splits, snow, cloud and shadow, and the list of countries."""
        lists = [find_list(self.root, name) for name in (*SPLITS, *COVERED)]
        return [path for path in [*lists, self.countries] if path is not None]

    def read(self, unit: Unit) -> Reading:
        """Read a scene's rasters and labels; without a 19-class label it is left out.

        Labels are those of the S2 patch where it is packed, else those of the S1 patch.

        Raises:
            ArchiveError: a raster or JSON that is missing, damaged or contradictory.
        """
        if isinstance(unit.details, dict):
            return Reading([], Counter(unit.details))
        pair: Pair = unit.details
        patches = {"S1": pair.s1, "S2": pair.s2}
        folders = {
            sensor: self.root / FOLDERS[sensor] / name for sensor, name in patches.items() if name
        }
        told = {sensor: _read_json(folder) for sensor, folder in folders.items()}
        if "S1" in told:
            shown = _shown(told["S1"])
            if pair.s2_shown not in ("", shown):
                raise ArchiveError(
                    f"{folders['S1']}: its JSON says it shows {shown}, the lists pair it with "
                    f"{pair.s2_shown}; correct the lists"
                )
        owner = "S2" if "S2" in told else "S1"
        labels = _labels(told[owner])
        if not labels:
            return Reading([], Counter(["no label among the 19 classes"]))
        patch = read_patch(self.root, folders)
        scene = Scene(
            scene_id=unit.name,
            split=unit.split,
            labels=labels,
            region=unit.region,
            place=unit.name.rsplit("_", 2)[0],
            date=unit.date,
            images=patch.images,
            mask=None,
            sources={
                **patch.sources,
                **{str(each.path.relative_to(self.root)): each.sha256 for each in told.values()},
            },
            **on_earth(patch.grid),
        )
        return Reading([scene])

    def _partners(
        self, folders: set[str], splits: Splits, countries: Countries | None
    ) -> dict[str, str]:
        """S1 name -> S2 name, from the lists where they tell it, else from the S1 JSONs."""
        partners = {**(countries.partners if countries else {}), **splits.partners}
        shown = set(partners.values())
        # A folder is asked only if it may be the missing partner of a listed patch.
        alone = {_square(name) for name in splits.of if name[1] == "2" and name not in shown}
        for name in sorted(folders - partners.keys()):
            if name in splits.of or _square(name) in alone:
                folder = self.root / FOLDERS["S1"] / name
                partners[name] = _shown(_read_json(folder))
        return partners


def _unit(pair: Pair, split: str, countries: Countries | None) -> Unit:
    s1, s2 = S1_NAME.fullmatch(pair.s1), S2_NAME.fullmatch(pair.s2)
    if countries is not None:
        region = countries.of.get(pair.s2_shown, UNKNOWN)
    else:
        region = s1[2] if s1 else UNKNOWN
    match = s2 or s1
    assert match is not None, "folders were checked by these patterns"
    day = match[1]
    date = f"{day[:4]}-{day[4:6]}-{day[6:]}"
    return Unit(pair.s2 or pair.s1, split, region, date, pair)


def _pairs(names: Mapping[str, set[str]], partners: Mapping[str, str], root: Path) -> list[Pair]:
    """Every folder once, with its partner where both are there; by the scene's name."""
    shown_by: dict[str, str] = {}
    for s1 in sorted(names.get("S1", set()) & partners.keys()):
        other = shown_by.setdefault(partners[s1], s1)
        if other != s1:
            raise ArchiveError(
                f"{root / FOLDERS['S1']}: {other} and {s1} both show {partners[s1]}; keep one"
            )
    s2_names = names.get("S2", set())
    pairs = [Pair(shown_by.get(name, ""), name, name) for name in s2_names]
    paired = {pair.s1 for pair in pairs}
    pairs += [Pair(name, "", partners.get(name, "")) for name in names.get("S1", set()) - paired]
    return sorted(pairs, key=lambda pair: pair.s2 or pair.s1)


def _square(name: str) -> str:
    """Column and row of a patch in its tile: the same for S1 and S2."""
    return "_".join(name.rsplit("_", 2)[1:])


def _read_json(folder: Path) -> Json:
    path = folder / f"{folder.name}_labels_metadata.json"
    try:
        content = path.read_bytes()
        told = json.loads(content)
    except (OSError, ValueError) as error:
        raise ArchiveError(
            f"{path}: not readable as JSON ({error}); copy the patch again"
        ) from error
    if not isinstance(told, dict):
        raise ArchiveError(f"{path}: no JSON object; copy the patch again")
    return Json(path, told, hashlib.sha256(content).hexdigest())


def _shown(told: Json) -> str:
    name = told.content.get("corresponding_s2_patch")
    if not isinstance(name, str) or not S2_NAME.fullmatch(name):
        raise ArchiveError(
            f"{told.path}: corresponding_s2_patch is {name!r}, no S2 patch name; copy the patch "
            "again"
        )
    return name


def _labels(told: Json) -> tuple[str, ...]:
    names = told.content.get("labels")
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ArchiveError(
            f"{told.path}: labels are {names!r}, not a list of names; copy it again"
        )
    try:
        return labels_of(names)
    except KeyError as error:
        raise ArchiveError(
            f"{told.path}: label {error} is not among the 43 CORINE names; correct it"
        ) from error
