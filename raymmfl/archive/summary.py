"""What an archive holds, in words: sensors, bands, statistics, splits, labels, regions."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from raymmfl.archive.splits import SPLITS
from raymmfl.archive.store import Archive


def absent_labels(archive: Archive) -> dict[str, tuple[str, ...]]:
    """Per split the classes that no scene of it has."""
    return {
        split: tuple(
            label
            for label, count in zip(archive.labels, _counts(archive, split), strict=True)
            if count == 0
        )
        for split in SPLITS
    }


def info(path: str | Path) -> str:
    """A page about an archive, for people.

    Raises:
        ArchiveError: no whole archive there.
    """
    archive = Archive.open(path)
    size_mb = sum(file.stat().st_size for file in archive.path.iterdir()) / 1e6
    kind = "SYNTHETIC (no satellite took these pixels)" if archive.synthetic else "real"
    lines = [
        f"{archive.path}  {len(archive)} scenes, {size_mb:.1f} MB, {kind}",
        f"licence {archive.licence}",
        *(f"{name}: {value}" for name, value in archive.provenance.items()),
        "",
    ]
    for sensor in archive.sensors.values():
        held = int(archive.present(sensor.name).sum())
        lines.append(f"{sensor.name}  {held} scenes, {sensor.unit}")
        band = 0
        for column in sensor.columns:
            lines.append(f"  {column.name}  {column.size}x{column.size} pixels {column.dtype}")
            for name in column.bands:
                mean, std = sensor.mean[band], sensor.std[band]
                lines.append(f"    {name:<4} mean {mean:10.3f}  std {std:10.3f}  (train split)")
                band += 1
    lines += ["", *_table("label", dict.fromkeys(archive.labels), archive, by_label=True)]
    regions = dict.fromkeys(sorted(set(archive.regions.tolist())))
    lines += ["", *_table("region", regions, archive, by_label=False)]
    for split, labels in absent_labels(archive).items():
        lines += [f"warning: no {split} scene has the class {label!r}" for label in labels]
    return "\n".join(lines)


def _counts(archive: Archive, split: str) -> np.ndarray:
    counts: np.ndarray = archive.targets[archive.splits == split].sum(axis=0, dtype=np.int64)
    return counts


def _table(
    title: str, names: Mapping[str, None], archive: Archive, *, by_label: bool
) -> list[str]:
    width = max(len(title), len("all scenes"), *(len(name) for name in names))
    lines = [f"{title:<{width}}  " + "  ".join(f"{split:>6}" for split in SPLITS)]
    for row, name in enumerate(names):
        cells = [
            int(_counts(archive, split)[row])
            if by_label
            else int(((archive.regions == name) & (archive.splits == split)).sum())
            for split in SPLITS
        ]
        lines.append(f"{name:<{width}}  " + "  ".join(f"{cell:>6}" for cell in cells))
    total = [int((archive.splits == split).sum()) for split in SPLITS]
    lines.append(f"{'all scenes':<{width}}  " + "  ".join(f"{cell:>6}" for cell in total))
    return lines
