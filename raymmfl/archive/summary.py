"""What an archive holds, in words: files, sensors, bands, splits, labels, regions, seasons."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from textwrap import wrap

import numpy as np

from raymmfl.archive.splits import SPLITS
from raymmfl.archive.store import IGNORED, Archive, read_index

LONGEST_NAME = 48
MOST_ROWS = 40
LINE_LENGTH = 100
MASKS_LOOKED_AT = 500


def absent_labels(archive: Archive) -> dict[str, tuple[str, ...]]:
    """Per split the classes that no scene of it has."""
    return {
        split: tuple(
            label
            for label, count in zip(archive.labels, counts.tolist(), strict=True)
            if count == 0
        )
        for split, counts in label_counts(archive).items()
    }


def label_counts(archive: Archive) -> dict[str, np.ndarray]:
    """Per split the number of scenes that have each class, int64 (K,)."""
    return {
        split: archive.targets[archive.splits == split].sum(axis=0, dtype=np.int64)
        for split in SPLITS
    }


def labelled_share(archive: Archive, most: int = MASKS_LOOKED_AT) -> tuple[float, int]:
    """Share of the mask's pixels that have a class, and the number of scenes looked at.

    These are all scenes with a mask, or ``most`` of them at even steps.
    """
    rows = archive.masked()
    if len(rows) > most:
        rows = rows[np.linspace(0, len(rows) - 1, most).astype(np.int64)]
    if not len(rows):
        return 0.0, 0
    return float((archive.read_mask(rows) != IGNORED).mean()), len(rows)


def info(path: str | Path) -> str:
    """A page about an archive, for people.

    Raises:
        ArchiveError: no whole archive there.
    """
    archive = Archive.open(path)
    parts = [_head(archive), *(_sensor(archive, name) for name in archive.sensors)]
    parts += [_together(archive), _mask(archive), _labels(archive)]
    parts += [_values(archive, name) for name in archive.attributes if name != "place"]
    parts.append(_remarks(archive))
    return "\n\n".join("\n".join(lines) for lines in parts if lines)


def _head(archive: Archive) -> list[str]:
    index, _ = read_index(archive.path)
    sizes = {file.name: file.stat().st_size for file in sorted(archive.path.iterdir())}
    kind = "SYNTHETIC (no satellite took these pixels)" if archive.synthetic else "real"
    told = {
        name: value
        for name, value in archive.provenance.items()
        if name not in ("left_out", "skipped") and value not in (None, "", [], ())
    }
    return [
        str(archive.path),
        f"{len(archive):,} scenes of {len(set(archive.places.tolist())):,} places, "
        f"{_size(sum(sizes.values()))}, {kind}",
        f"licence: {archive.licence}",
        *(f"{name}: {_plain(value)}" for name, value in told.items()),
        "",
        *(f"  {name:<20}{_size(size):>10}" for name, size in sizes.items()),
        f"format version {index['version']}, sha256 of archive.json {archive.digest[:16]}",
    ]


def _sensor(archive: Archive, name: str) -> list[str]:
    sensor = archive.sensors[name]
    held = int(archive.present(name).sum())
    lines = [f"{name}  {held:,} scenes, {sensor.unit}"]
    facts = iter(zip(sensor.bands, sensor.mean, sensor.std, strict=True))
    for column in sensor.columns:
        lines.append(
            f"  {column.name}  {column.size}x{column.size} pixels of {column.pixel_m:g} m, "
            f"{column.dtype}"
        )
        for band, mean, std in (next(facts) for _ in column.bands):
            lines.append(f"    {band:<6} mean {mean:10.3f}  std {std:10.3f}  (train split)")
    return lines


def _together(archive: Archive) -> list[str]:
    """How many scenes have which sensors, where not all have the same."""
    names = list(archive.sensors)
    held = np.stack([archive.present(name) for name in names], axis=1)
    numbers = held @ (1 << np.arange(len(names)))
    counts = Counter(numbers.tolist())
    if len(counts) < 2:
        return []
    titles = {
        number: " + ".join(n for bit, n in enumerate(names) if number >> bit & 1) or "none"
        for number in counts
    }
    return [f"{count:>11,} scenes with {titles[number]}" for number, count in counts.most_common()]


def _mask(archive: Archive) -> list[str]:
    if archive.mask is None:
        return ["no pixel labels"]
    share, looked = labelled_share(archive)
    held = len(archive.masked())
    of = "all" if looked == held else f"{looked:,} scenes looked at"
    return [
        f"pixel labels  {held:,} scenes, {archive.mask.size}x{archive.mask.size} pixels of "
        f"{archive.mask.pixel_m:g} m; {share:.1%} of the pixels have a class (of {of})"
    ]


def _labels(archive: Archive) -> list[str]:
    counts = label_counts(archive)
    rows = {
        label: [int(counts[split][number]) for split in SPLITS]
        for number, label in enumerate(archive.labels)
    }
    each = archive.targets.sum(axis=1, dtype=np.int64)
    mean = f"{each.mean():.2f} labels per scene" if len(each) else ""
    return [
        *_table("label", rows, archive),
        f"{mean}; a scene counts under each of its labels; the last column is the share of all "
        "scenes",
    ]


def _values(archive: Archive, name: str) -> list[str]:
    values = archive.attributes[name].tolist()
    counts = Counter(zip(values, archive.splits.tolist(), strict=True))
    found = Counter(values)
    if set(found) == {""}:
        return [f"{name}: unknown"]
    order = sorted(found) if len(found) <= MOST_ROWS else [v for v, _ in found.most_common()]
    rows = {
        value or "unknown": [counts[value, split] for split in SPLITS]
        for value in order[:MOST_ROWS]
    }
    lines = _table(name, rows, archive)
    if len(order) > MOST_ROWS:
        lines.insert(-1, f"and {len(order) - MOST_ROWS:,} more with fewer scenes")
    return lines


def _remarks(archive: Archive) -> list[str]:
    left_out: Mapping[str, int] = archive.provenance.get("left_out") or {}
    lines = [f"left out: {count:,} {reason}" for reason, count in left_out.items()]
    skipped = archive.provenance.get("skipped")
    if skipped:
        lines.append(f"skipped: {skipped:,} bad units, listed in problems.parquet")
    elif skipped == 0:
        lines.append("skipped: nothing was bad")
    absent = absent_labels(archive)
    nowhere = [label for label in archive.labels if all(label in each for each in absent.values())]
    if nowhere:
        lines += _wrapped("warning: no scene at all has the class", nowhere)
    for split, labels in absent.items():
        here = [label for label in labels if label not in nowhere]
        if here:
            lines += _wrapped(f"warning: no {split} scene has the class", here)
    return lines


def _wrapped(text: str, names: Sequence[str]) -> list[str]:
    return wrap(f"{text} {'; '.join(map(repr, names))}", LINE_LENGTH, subsequent_indent="  ")


def _table(title: str, rows: Mapping[str, Sequence[int]], archive: Archive) -> list[str]:
    """Counts per split, their sum, and its share of all scenes; the last row is all scenes."""
    splits = Counter(archive.splits.tolist())
    total = [splits[split] for split in SPLITS]
    names = {name: _shorten(name) for name in (*rows, "all scenes")}
    width = max(len(title), *map(len, names.values()))
    lines = [_line(title, width, [*SPLITS, "all", "share"])]
    for name, counts in [*rows.items(), ("all scenes", total)]:
        share = sum(counts) / len(archive) if len(archive) else 0.0
        cells = [*(f"{count:,}" for count in (*counts, sum(counts))), f"{share:.1%}"]
        lines.append(_line(names[name], width, cells))
    return lines


def _line(name: str, width: int, cells: Iterable[str]) -> str:
    return f"{name:<{width}}" + "".join(f"{cell:>10}" for cell in cells)


def _shorten(name: str) -> str:
    return name if len(name) <= LONGEST_NAME else f"{name[: LONGEST_NAME - 1].rstrip()}…"


def _plain(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{name} {_plain(each)}" for name, each in value.items())
    if isinstance(value, (list, tuple)):
        return ", ".join(map(_plain, value))
    return str(value)


def _size(count: int) -> str:
    """Bytes in a unit that people read (powers of 1000)."""
    for unit, size in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} B"
