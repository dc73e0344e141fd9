"""Which scenes a described archive holds, and what is known of each before a raster is opened."""

import datetime
import re
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from raymmfl.archive.readers.csv_files import Row, read_csv
from raymmfl.archive.readers.described_labels import json_labels, read_json, row_labels
from raymmfl.archive.readers.description import Description, LabelsPart, SensorPart
from raymmfl.archive.readers.file_patterns import FilePattern, fill, parts_of
from raymmfl.archive.readers.options import Options
from raymmfl.archive.readers.place_splits import split_places
from raymmfl.archive.readers.source import Unit
from raymmfl.archive.splits import SPLITS
from raymmfl.configfile import nearest
from raymmfl.errors import ArchiveError

NO_ROW = "no row in the table"
NO_SPLIT = "in no split list"
_DATE = re.compile(r"(\d{4})-?(\d{2})-?(\d{2})(?:T.*)?")


@dataclass(frozen=True)
class Details:
    """What a unit of a described archive carries.

    Attributes:
        values: of the parts of its file names, the groups of ``match`` and the table's columns.
        place: scenes of one place share a random split.
        attributes: as in :class:`raymmfl.archive.readers.source.Scene`.
        labels: known without reading a file of its own; None else.
        left_out: why it is not read; "" if it is.
    """

    values: Mapping[str, str]
    place: str = ""
    attributes: Mapping[str, str] = field(default_factory=dict)
    labels: tuple[str, ...] | None = None
    left_out: str = ""


def list_units(
    root: Path,
    description: Description,
    sensors: Mapping[str, SensorPart],
    options: Options,
    told: Path,
) -> list[Unit]:
    """The scenes or tiles of an archive, sorted by id.

    Those without a row in the table, or in no split list, are units too, left out when read, so
    that they are counted. A row, or an id in a list, without files is an error.

    Args:
        root: the archive's folder.
        description: of the archive.
        sensors: those that are packed.
        options: ``min_share`` of labels with shares, and the seed of random splits.
        told: the file of the description, for errors.

    Raises:
        ArchiveError: a pattern without files, ids that stand twice, a table or list that is
            damaged or names what is not there, a sentence with an unknown part, a wrong date,
            split or label.
    """
    scenes = _find(root, description, sensors, told)
    columns, rows = _read_table(root, description, scenes)
    _check_sentences(description, columns, next(iter(scenes.values())), told)
    labelled = _labels_by_key(root, description.labels)
    units = []
    for name, parts in scenes.items():
        values = {**parts, "id": name, **_groups(description.match, name, told)}
        if description.table is not None:
            if name not in rows:
                units.append(Unit(name, "train", "", "", Details(values, left_out=NO_ROW)))
                continue
            values = {**rows[name].values, **values}
        labels = None
        if description.table is not None and description.labels.kind in ("list", "onehot"):
            where = f"{root / description.table.csv}, line {rows[name].line}"
            labels = row_labels(values, description.labels, where)
        elif labelled is not None:
            labels = labelled(values, options.min_share)
        attributes = {key: fill(text, values) for key, text in description.attributes.items()}
        details = Details(values, fill(description.place, values), attributes, labels)
        region, date = fill(description.region, values), _date(description.date, values, told)
        units.append(Unit(name, "", region, date, details))
    return _with_splits(units, root, description, options.seed, told)


def _find(
    root: Path, description: Description, sensors: Mapping[str, SensorPart], told: Path
) -> dict[str, dict[str, str]]:
    """Id -> parts of its file names, sorted by id; also of scenes with other sensors alone."""
    looked: dict[str, list[dict[str, str]]] = {}
    needed = {sensor.files for sensor in sensors.values()} | {description.labels.files}
    for sensor in description.sensors.values():
        narrowed = [
            FilePattern(sensor.files).narrowed({"band": band, "pixel_m": f"{size:g}"})
            for size, bands in sensor.by_size(description.pixel_m).items()
            for band in (bands[0], bands[-1])  # with one alone, a lost band would hide a scene
        ]
        looked[sensor.files] = [
            parts for pattern in dict.fromkeys(narrowed) for parts in pattern.find(root)
        ]
    if description.labels.kind == "mask":
        assert description.labels.files is not None
        looked[description.labels.files] = FilePattern(description.labels.files).find(root)
    scenes: dict[str, dict[str, str]] = {}
    order = FilePattern(next(iter(description.sensors.values())).files).open_parts
    sentence = description.id or "_".join(f"{{{part}}}" for part in order)
    _check_parts(f"{told}, id", sentence, order)
    for text, found in looked.items():
        if not found and text in needed:
            raise ArchiveError(
                f"{root}: no file is named as {text}; correct {told}, or copy the files"
            )
        for parts in found:
            name = fill(sentence, parts)
            if scenes.setdefault(name, parts) != parts:
                raise ArchiveError(
                    f"{root}: the files of {parts} and of {scenes[name]} have one id, {name!r}; "
                    f"let id in {told} tell them apart"
                )
    return dict(sorted(scenes.items()))


def _read_table(
    root: Path, description: Description, scenes: Collection[str]
) -> tuple[tuple[str, ...], dict[str, Row]]:
    """The columns of the table and its rows by id; nothing without a table."""
    if description.table is None:
        return (), {}
    path, labels = root / description.table.csv, description.labels
    needed = [description.table.id]
    needed += [] if labels.column is None else [labels.column]
    needed += list(labels.names) if labels.kind == "onehot" else []
    columns, found = read_csv(path, needed)
    rows: dict[str, Row] = {}
    for row in found:
        name = row.values[description.table.id]
        if name in rows:
            raise ArchiveError(f"{path}, line {row.line}: {name!r} stands twice; keep one")
        if name not in scenes:
            raise ArchiveError(
                f"{path}, line {row.line}: {name!r} has no files; copy them, or take the row out"
            )
        rows[name] = row
    return columns, rows


def _groups(match: str | None, name: str, told: Path) -> dict[str, str]:
    """Named groups of the regular expression on an id; "" for those that took no part."""
    if match is None:
        return {}
    found = re.fullmatch(match, name)
    if found is None:
        raise ArchiveError(f"{told}, match: {match!r} does not fit the id {name!r}; correct it")
    return {key: value or "" for key, value in found.groupdict().items()}


def _check_sentences(
    description: Description, columns: Iterable[str], parts: Iterable[str], told: Path
) -> None:
    groups = re.compile(description.match or "").groupindex
    known = tuple(dict.fromkeys(("id", *parts, *groups, *columns)))
    sentences = {
        "region": description.region, "place": description.place, "date": description.date,
        "labels.files": description.labels.files or "", "labels.key": description.labels.key or "",
    }  # fmt: skip
    sentences |= {f"attributes.{key}": text for key, text in description.attributes.items()}
    if isinstance(description.split, str):
        sentences["split"] = description.split
    for key, sentence in sentences.items():
        _check_parts(f"{told}, {key}", sentence, known)


def _check_parts(key: str, sentence: str, known: Sequence[str]) -> None:
    for part in parts_of(sentence):
        if part not in known:
            raise ArchiveError(
                f"{key}: {{{part}}} is unknown{nearest(part, known)}; known here: "
                f"{', '.join(known)}"
            )


def _labels_by_key(
    root: Path, labels: LabelsPart
) -> Callable[[Mapping[str, str], float], tuple[str, ...]] | None:
    """Finds a scene's labels in the one JSON file of all; None where there is no such file."""
    if labels.kind != "json" or labels.files is None or parts_of(labels.files):
        return None
    path = root / labels.files
    tree = read_json(path)

    def find(values: Mapping[str, str], min_share: float) -> tuple[str, ...]:
        return json_labels(tree, fill(labels.key or "", values), labels, min_share, path)

    return find


def _date(sentence: str, values: Mapping[str, str], told: Path) -> str:
    text = fill(sentence, values)
    if not text:
        return ""
    found = _DATE.fullmatch(text)
    try:
        return datetime.date(*map(int, found.groups() if found else ())).isoformat()
    except (TypeError, ValueError):
        raise ArchiveError(
            f"{told}, date: {text!r} of {values['id']} is no date; make it YYYY-MM-DD or YYYYMMDD"
        ) from None


def _with_splits(
    units: Sequence[Unit], root: Path, description: Description, seed: int, told: Path
) -> list[Unit]:
    """The units with their splits; spatial ones get theirs when read."""
    sentence = description.split
    if sentence == "spatial":
        return list(units)
    used = [unit for unit in units if not unit.details.left_out]
    if isinstance(sentence, dict):
        chosen = _read_lists(root, sentence, {unit.name for unit in units})
        if "val" not in sentence:
            train = [unit for unit in used if chosen.get(unit.name) == "train"]
            drawn = split_places({u.details.place: u.region for u in train}, seed, ("val",))
            chosen |= {unit.name: drawn[unit.details.place] for unit in train}
    elif sentence == "random":
        drawn = split_places({unit.details.place: unit.region for unit in used}, seed)
        chosen = {unit.name: drawn[unit.details.place] for unit in used}
    else:
        chosen = {unit.name: _split_of(unit, sentence, told) for unit in used}
    return [
        replace(unit, split=chosen[unit.name]) if unit.name in chosen else _unlisted(unit)
        for unit in units
    ]


def _unlisted(unit: Unit) -> Unit:
    reason = unit.details.left_out or NO_SPLIT
    return replace(unit, split="train", details=replace(unit.details, left_out=reason))


def _split_of(unit: Unit, sentence: str, told: Path) -> str:
    text = fill(sentence, unit.details.values)
    split = "val" if text == "validation" else text
    if split not in SPLITS:
        raise ArchiveError(
            f"{told}, split: {text!r} of {unit.name} is none of train, val, validation, test; "
            "correct it, or its source"
        )
    return split


def _read_lists(root: Path, lists: Mapping[Any, str], names: Collection[str]) -> dict[str, str]:
    """Id -> split, from a text file per split with an id, or a file named by it, per line."""
    found: dict[str, str] = {}
    for split, file in lists.items():
        path = root / file
        try:
            lines = path.read_text(encoding="utf-8-sig").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            raise ArchiveError(f"{path}: cannot be read ({error})") from error
        for number, line in enumerate(lines, start=1):
            name, where = line.strip().removesuffix(".tif"), f"{path}, line {number}"
            if name in found:
                raise ArchiveError(
                    f"{where}: {name!r} stands twice, before in {found[name]}; keep one"
                )
            if name and name not in names:
                raise ArchiveError(f"{where}: {name!r} has no files; copy them, or take it out")
            found |= {name: split} if name else {}
    return found
