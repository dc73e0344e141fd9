"""An archive described by a person in a small YAML file; ``docs/archives.md`` explains every key.

The description is checked in itself here: unknown keys, names that do not fit together. What it
says is compared with the files by ``described.py``.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from raymmfl.archive.readers.file_patterns import GIVEN, FilePattern, parts_of, problem_of
from raymmfl.archive.store import MASK
from raymmfl.configfile import read_yaml, validate
from raymmfl.errors import ArchiveError, ConfigError

Dtype = Literal["uint8", "int8", "uint16", "int16", "uint32", "int32", "float32", "float64"]
# Names of what every scene has anyway; as an attribute they would stand twice in the table.
TAKEN = (
    "scene_id", "split", "labels", "region", "place", "date", "season", "lon", "lat", "epsg",
    "transform", "sources",
)  # fmt: skip
MOST_CLASSES = 255  # as 255 is the label of ignored pixels
# Per kind of labels: the keys it needs, and those it may have.
LABEL_KEYS: Mapping[str, tuple[set[str], set[str]]] = {
    "mask": ({"files"}, {"band", "sparse"}),
    "list": ({"column", "separator"}, set()),
    "onehot": (set(), set()),
    "json": ({"files", "key"}, {"separator"}),
}


class Part(BaseModel):
    """A part of the description; unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class SensorPart(Part):
    """A sensor: where its files are and what is in them."""

    files: str = Field(description="Pattern; with {band}, one file per band.")
    bands: tuple[str, ...] | dict[float, tuple[str, ...]] = Field(
        description="Names in order; by pixel size in metres where there are several."
    )
    dtype: Dtype = Field(description="NumPy name of the files' dtype.")
    unit: str = Field(description="Of the values, such as dB.")
    nodata: float | None = Field(None, description="Value of pixels without data, .nan for NaN.")

    def by_size(self, pixel_m: float) -> Mapping[float, tuple[str, ...]]:
        """Bands by pixel size in metres; those without one have the archive's finest."""
        return self.bands if isinstance(self.bands, dict) else {pixel_m: self.bands}


class TablePart(Part):
    """A CSV file with a row per scene."""

    csv: str = Field(description="Its path below SOURCE.")
    id: str = Field(description="Column that holds the scenes' ids.")


class LabelsPart(Part):
    """Where the labels come from."""

    kind: Literal["mask", "list", "onehot", "json"] = Field(
        description="Pixel labels; a column of the table; a column per class; JSON."
    )
    classes: tuple[str, ...] | dict[str, str] = Field(
        description="Names in label order, or value in the source: name."
    )
    ignored: tuple[str | int, ...] = Field((), description="Values that are no class.")
    files: str | None = Field(None, description="mask, json: pattern of the files.")
    band: int = Field(1, ge=1, description="mask: number of the band that holds the classes.")
    sparse: bool = Field(False, description="mask: min_share counts labelled pixels only.")
    column: str | None = Field(None, description="list: column of the table.")
    key: str | None = Field(None, description="json: key of the labels.")
    separator: str | None = Field(None, description="list, json: what stands between labels.")

    @property
    def names(self) -> Mapping[str, str]:
        """Value in the source -> class name."""
        if isinstance(self.classes, dict):
            return self.classes
        return {name: name for name in self.classes}

    @property
    def labels(self) -> tuple[str, ...]:
        """Class names in label order: that in which they are first written."""
        return tuple(dict.fromkeys(self.names.values()))


class Description(Part):
    """An archive: its files, its labels and what is known of each scene."""

    name: str = Field(description="Of the layout, for the record.")
    licence: str = Field(description="Of the data.")
    provenance: str = Field(description="Where the data come from.")
    synthetic: bool = Field(False, description="No satellite took these pixels.")
    pixel_m: float = Field(gt=0, description="Side of the finest pixel, and of the masks', in m.")
    patch: Literal["whole", "cut"] = Field(
        description="Each file is one scene, or a tile to be cut into patches."
    )
    sensors: dict[str, SensorPart] = Field(min_length=1, description="By name, in order.")
    labels: LabelsPart = Field(description="Where the labels come from.")
    table: TablePart | None = Field(None, description="A CSV file with a row per scene.")
    id: str | None = Field(None, description="Sentence that makes the id of a scene.")
    match: str | None = Field(None, description="Regular expression with named groups on the id.")
    region: str = Field("", description="Sentence: the client's ground.")
    place: str = Field("{id}", description="Sentence: scenes of one place share a split.")
    date: str = Field("", description="Sentence: YYYY-MM-DD or YYYYMMDD.")
    split: str | dict[Literal["train", "val", "test"], str] = Field(
        description="random, spatial, a sentence, or a list of ids per split."
    )
    attributes: dict[str, str] = Field({}, description="More to deal scenes out by: sentences.")


def read_description(path: Path) -> Description:
    """Read and check a description.

    Raises:
        ArchiveError: a file that is missing, no YAML, or says what cannot be, naming the key.
    """
    try:
        description = validate(Description, read_yaml(path), str(path))
    except ConfigError as error:
        raise ArchiveError(str(error)) from None
    wrong = [*_sensor_problems(description), *_label_problems(description.labels)]
    wrong += [*_pattern_problems(description), *_scene_problems(description)]
    if wrong:
        raise ArchiveError(f"{path}:\n" + "\n".join(f"  {line}" for line in wrong))
    return description


def _sensor_problems(description: Description) -> Iterator[str]:
    for name, sensor in description.sensors.items():
        key, by_size = f"sensors.{name}", sensor.by_size(description.pixel_m)
        if not re.fullmatch(r"[A-Za-z][A-Za-z0-9_-]*", name) or name == MASK:
            yield f"{key}: name sensors by letters, digits, _ and -, and none {MASK!r}"
        bands = [band for bands in by_size.values() for band in bands]
        if not by_size or not all(by_size.values()) or len(set(bands)) < len(bands):
            yield f"{key}.bands: {bands} must be at least one band per size, each named once"
        for size in by_size:
            ratio = size / description.pixel_m
            if not (ratio >= 1 and abs(ratio - round(ratio)) < 1e-6):
                yield (
                    f"{key}.bands: {size:g} m must be a whole multiple of pixel_m, "
                    f"{description.pixel_m:g} m, the finest pixel"
                )
        if len(by_size) > 1 and not {*parts_of(sensor.files)} & {*GIVEN}:
            yield f"{key}.files: must have {{band}} or {{pixel_m}}, to tell the sizes apart"


def _label_problems(labels: LabelsPart) -> Iterator[str]:
    needed, possible = LABEL_KEYS[labels.kind]
    told = labels.model_fields_set - {"kind", "classes", "ignored"}
    if needed - told:
        yield f"labels: kind {labels.kind} needs {', '.join(sorted(needed - told))}"
    if told - needed - possible:
        yield f"labels: kind {labels.kind} has no {', '.join(sorted(told - needed - possible))}"
    if not labels.names or len(labels.labels) > MOST_CLASSES or not all(labels.labels):
        yield f"labels.classes: must be 1 to {MOST_CLASSES} classes, each with a name"
    if isinstance(labels.classes, tuple) and len(set(labels.classes)) < len(labels.classes):
        yield "labels.classes: a class is named twice; name each once"
    twice = sorted({str(value) for value in labels.ignored} & set(labels.names))
    if twice:
        yield f"labels.ignored: {twice[0]} is a class as well; keep one"
    if labels.kind == "mask":
        values = [str(value) for value in (*labels.names, *labels.ignored)]
        wrong = [value for value in values if not re.fullmatch(r"-?\d+", value)]
        if wrong:
            yield f"labels: {wrong[0]!r} is no whole number; a mask needs `value: name`"


def _pattern_problems(description: Description) -> Iterator[str]:
    patterns = {f"sensors.{name}.files": each.files for name, each in description.sensors.items()}
    if description.labels.files is not None:
        patterns["labels.files"] = description.labels.files
        if {*parts_of(description.labels.files)} & {*GIVEN}:
            yield "labels.files: {band} and {pixel_m} are of sensors; tell the band by labels.band"
    wrong = {key: problem_of(text) for key, text in patterns.items()}
    yield from (f"{key}: {patterns[key]!r} {each}" for key, each in wrong.items() if each)
    if description.labels.kind == "json":
        patterns.pop("labels.files", None)  # may be one file for all scenes
    first, *_ = patterns
    parts = {key: set(FilePattern(text).open_parts) for key, text in patterns.items()}
    for key, names in parts.items():
        if not names or names != parts[first]:
            yield (
                f"{key}: {patterns[key]!r} must have the same open parts as every other pattern, "
                f"at least one, such as {{id}}; {first} has {sorted(parts[first])}"
            )
    taken = [name for name in description.attributes if name in TAKEN or not name.isidentifier()]
    if taken:
        yield f"attributes.{taken[0]}: every scene has one anyway, or it is no word; rename it"


def _scene_problems(description: Description) -> Iterator[str]:
    kind, split = description.labels.kind, description.split
    if description.patch == "cut" and kind != "mask":
        yield f"patch: cut needs a label per pixel, labels of kind mask, not {kind}"
    if kind in ("list", "onehot") and description.table is None:
        yield f"labels: kind {kind} needs a table"
    if isinstance(split, dict):
        if {"train", "test"} - {*split}:
            yield "split: lists are needed for train and test; one for val may be left out"
    elif split == "spatial":
        if description.patch != "cut":
            yield "split: spatial divides tiles, patch: cut; use random for whole scenes"
    elif split != "random" and not parts_of(split):
        yield (
            f"split: {split!r} must be random, spatial, a sentence such as {{split}}, or lists "
            "of ids for train, val and test"
        )
    if description.match is not None:
        try:
            groups = re.compile(description.match).groupindex
        except re.error as error:
            yield f"match: {description.match!r} is no regular expression ({error})"
        else:
            if not groups:
                yield "match: has no named group, such as (?P<region>[^_]+)_.*"
