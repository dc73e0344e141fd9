"""Verification: every digest of a packed archive recomputed, file by file and row by row."""

from pathlib import Path
from typing import Any

import numpy as np

from raymmfl.archive.store import MASK, SCENES_FILE, Archive, read_index
from raymmfl.archive.tables import read_table
from raymmfl.archive.writer import file_digest, row_digest
from raymmfl.errors import ArchiveError


def verify(path: str | Path) -> list[str]:
    """Recompute all digests of an archive.

    Returns:
        Problems in words, naming file and, for pixels, sensor and scene; empty when all is well.
    """
    path = Path(path)
    problems: list[str] = []
    try:
        index, _ = read_index(path)
        problems += _damaged_files(path, index["files"])
        archive = Archive.open(path)
        scenes = read_table(path / SCENES_FILE)
        for sensor in [*archive.sensors, MASK]:
            problems += _damaged_rows(archive, sensor, scenes)
    except ArchiveError as error:
        problems.append(str(error))
    return problems


def _damaged_files(path: Path, files: dict[str, Any]) -> list[str]:
    problems = []
    for name, facts in files.items():
        if not (path / name).is_file():
            problems.append(f"{path / name}: missing")
        elif file_digest(path / name) != facts["sha256"]:
            problems.append(f"{path / name}: the sha256 of the file differs from archive.json")
    return problems


def _damaged_rows(archive: Archive, sensor: str, scenes: dict[str, list[Any]]) -> list[str]:
    file = archive.path / f"{sensor}.arrow"
    problems = []
    for scene, (name, number, expected) in enumerate(
        zip(scenes["scene_id"], scenes[f"row_{sensor}"], scenes[f"sha256_{sensor}"], strict=True)
    ):
        if number < 0:
            continue
        one = np.array([scene])
        arrays = (archive.read_mask(one),) if sensor == MASK else archive.read(sensor, one)
        if row_digest(arrays) != expected:
            problems.append(
                f"{file}: row {number}, scene {name}: its pixels differ from when packed"
            )
    return problems
