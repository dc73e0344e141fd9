"""Verification: every digest recomputed, of an archive's files and rows and of what it is made of.

Batch by batch, in the order of the files: as much memory as a batch needs, whatever the size.
"""

import hashlib
import os
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from raymmfl.archive.store import MASK, SCENES_FILE, Archive, read_index
from raymmfl.archive.writer import file_digest, row_digest
from raymmfl.errors import ArchiveError

STREAM_START = 8  # an Arrow file is a stream between a magic of eight bytes and a footer
SCENES_AT_A_TIME = 4096
NAMED = 3  # scenes, or added files, that a message names
UNREADABLE = (OSError, ValueError, KeyError, MemoryError, pa.ArrowException)


@dataclass(frozen=True)
class SourceReport:
    """What became of the files that an archive was packed from.

    Attributes:
        problems: in words, one per file that is missing or changed, naming its scenes.
        files: how many are as they were.
        added: how many files of the same kind are there that no scene was made of: new ones, and
            those of scenes that were left out when packing.
        examples: the first of these.
    """

    problems: list[str]
    files: int
    added: int
    examples: list[str]


def verify(path: str | Path) -> list[str]:
    """Recompute all digests of an archive.

    Returns:
        Problems in words, naming file and, for pixels, sensor and scene; empty when all is well.
    """
    path = Path(path)
    try:
        index, _ = read_index(path)
    except ArchiveError as error:
        return [str(error)]
    problems = _damaged_files(path, index["files"])
    try:
        Archive.open(path)
    except ArchiveError as error:
        problems.append(str(error))
    columns = {name: content["columns"] for name, content in index["sensors"].items()}
    if index["mask"] is not None:
        columns[MASK] = [index["mask"]]
    for name, each in columns.items():
        problems += _damaged_rows(path, name, [column["name"] for column in each])
    return problems


def verify_source(path: str | Path, source: Path) -> SourceReport:
    """Recompute the digests of the files that an archive was packed from.

    Args:
        path: the archive.
        source: the folder that was packed.

    Raises:
        ArchiveError: no such folder, or an archive that cannot be read.
    """
    path = Path(path)
    if not source.is_dir():
        raise ArchiveError(f"{source}: no such folder; give the one that was packed")
    index, _ = read_index(path)
    scenes: dict[str, list[str]] = {}  # of the files with a problem
    reasons: dict[str, str] = {}
    seen, suffixes = array("Q"), set()

    @lru_cache(maxsize=SCENES_AT_A_TIME)
    def check(name: str, expected: str) -> str:
        seen.append(_number(name))
        suffixes.add(PurePosixPath(name).suffix)
        return _problem(source, name, expected)

    tables = index.get("tables", {})  # archives packed before 0.3 do not know of them
    problems = []
    for name, expected in tables.items():
        reason = check(name, expected)
        if reason:
            problems.append(f"{source / name}: {reason}; it tells of many scenes: pack again")
    suffixes.clear()  # what is added beside a table is no image
    try:
        for scene, sources in _columns(path, "scene_id", "sources"):
            for each in sources:
                reason = check(each["path"], each["sha256"])
                if reason:
                    reasons[each["path"]] = reason
                    scenes.setdefault(each["path"], []).append(scene)
    except UNREADABLE as error:
        raise ArchiveError(f"{path / SCENES_FILE}: cannot be read ({error})") from error
    known = np.unique(np.frombuffer(seen, dtype=np.uint64))
    added = 0
    examples: list[str] = []
    for name in _files(source, suffixes):
        number = np.uint64(_number(name))
        place = int(np.searchsorted(known, number))
        if place == len(known) or known[place] != number:
            added += 1
            examples += [name] if len(examples) < NAMED else []
    problems += [
        f"{source / name}: {reason}; {_some(scenes[name])}" for name, reason in reasons.items()
    ]
    return SourceReport(problems, len(known) - len(problems), added, examples)


def _damaged_files(path: Path, files: dict[str, Any]) -> list[str]:
    problems = []
    for name, facts in files.items():
        if not (path / name).is_file():
            problems.append(f"{path / name}: missing")
        elif file_digest(path / name) != facts["sha256"]:
            problems.append(f"{path / name}: the sha256 of the file differs from archive.json")
    return problems


def _damaged_rows(path: Path, name: str, columns: Sequence[str]) -> list[str]:
    """Compare each row of an Arrow file with its digest in the scene table."""
    file = path / f"{name}.arrow"
    problems: list[str] = []
    try:
        scenes = _columns(path, "scene_id", f"row_{name}", f"sha256_{name}")
        expected = (scene for scene in scenes if scene[1] >= 0)
        rows = _rows(file, columns)
        for scene, number, digest in expected:
            try:
                found = next(rows, None)
            except UNREADABLE as error:
                lost = [scene, *(each[0] for each in expected)]
                return [*problems, f"{file}: cannot be read ({error}); {_some(lost)}"]
            if found is None:
                lost = [scene, *(each[0] for each in expected)]
                return [*problems, f"{file}: ends before row {number}; {_some(lost)}"]
            if found != digest:
                problems.append(
                    f"{file}: row {number}, scene {scene}: its pixels differ from when packed"
                )
    except UNREADABLE as error:
        problems.append(f"{path / SCENES_FILE}: cannot be read ({error})")
    return problems


def _rows(file: Path, columns: Sequence[str]) -> Iterator[str]:
    """Digests of the rows of an Arrow file, as far as it can be read without its footer."""
    with pa.memory_map(str(file)) as content:
        content.seek(STREAM_START)
        for batch in pa.ipc.open_stream(content):
            views = [batch.column(column).to_numpy_ndarray() for column in columns]
            for arrays in zip(*views, strict=True):
                yield row_digest(arrays)


def _columns(path: Path, *names: str) -> Iterator[tuple[Any, ...]]:
    """The scene table's rows, a part at a time."""
    with pq.ParquetFile(path / SCENES_FILE) as file:
        for batch in file.iter_batches(SCENES_AT_A_TIME, columns=list(names)):
            yield from zip(*(batch[name].to_pylist() for name in names), strict=True)


def _problem(source: Path, name: str, expected: str) -> str:
    if PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts:
        return "is not below the source's folder"
    file = source / name
    if not file.is_file():
        return "missing"
    try:
        same = file_digest(file) == expected
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return "" if same else "changed since it was packed"


def _files(folder: Path, suffixes: set[str]) -> Iterator[str]:
    """Files below a folder that end in one of the suffixes, by name, relative to it."""
    for top, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            if PurePosixPath(name).suffix in suffixes:
                yield (Path(top) / name).relative_to(folder).as_posix()


def _number(name: str) -> int:
    """Names as 64 bits: millions of them stay small in memory."""
    return int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest(), "little")


def _some(scenes: Sequence[str]) -> str:
    named = ", ".join(scenes[:NAMED])
    more = f" and {len(scenes) - NAMED} more" if len(scenes) > NAMED else ""
    return f"scene{'s' if len(scenes) > 1 else ''} {named}{more}"
