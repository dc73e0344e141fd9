"""Shards: consecutive units that one process reads and writes, whole or not at all.

A shard is a folder of the working folder: the Arrow files and the scene table of its units, and
``shard.json`` with what was counted and the size and sha256 of each file. How units are divided
depends on their number alone, so that the packed archive does not depend on who read them.
"""

import json
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from raymmfl.archive.packing.moments import Moments
from raymmfl.archive.packing.scene_table import UNIT, describe, schema, tensors
from raymmfl.archive.rasters import geotiff
from raymmfl.archive.readers.source import Format, Scene, Source, Unit
from raymmfl.archive.splits import SPLITS
from raymmfl.archive.store import MASK
from raymmfl.archive.writer import TensorFile, file_digest
from raymmfl.errors import ArchiveError

SHARD_FILE = "shard.json"
TABLE_FILE = "scenes.table"
MOST_UNITS = 128  # what a kill costs each process at most
LEAST_SHARDS = 64  # so that small sources too keep every process busy and show progress


@dataclass(frozen=True)
class Shard:
    """Consecutive units of a source."""

    number: int
    units: tuple[Unit, ...]

    @property
    def name(self) -> str:
        """Of its folder."""
        return f"shard-{self.number:06d}"

    def __str__(self) -> str:
        return f"{self.name} ({self.units[0].name} to {self.units[-1].name})"


@dataclass(frozen=True)
class Done:
    """What ``shard.json`` tells of a shard that is whole.

    Attributes:
        number: of the shard.
        units: how many were read or skipped.
        scenes: split -> how many.
        rows: Arrow file -> how many.
        moments: sensor -> :meth:`Moments.tell` of its train patches.
        left_out: reason -> how many patches.
        problems: (unit, file, reason) of each unit that was skipped.
        files: name -> bytes and sha256.
    """

    number: int
    units: int
    scenes: Mapping[str, int]
    rows: Mapping[str, int]
    moments: Mapping[str, Mapping[str, Sequence[float]]]
    left_out: Mapping[str, int]
    problems: Sequence[Sequence[str]]
    files: Mapping[str, Mapping[str, Any]]


@dataclass(frozen=True)
class ReadShard:
    """Reads a shard into a working folder; called in any process.

    Attributes:
        source: to read from.
        folder: the working folder.
        splits: whose scenes are kept; empty for all.
        on_bad: "stop" at a unit that is bad, or "skip" and note it.
    """

    source: Source
    folder: Path
    splits: tuple[str, ...]
    on_bad: Literal["stop", "skip"]

    def __call__(self, shard: Shard) -> Done:
        """Read the units and put the shard's folder in its place.

        Raises:
            ArchiveError: a bad unit that is not to be skipped, naming the file.
        """
        done = load(self.folder, shard)
        if done is not None:  # a worker that died had finished it
            return done
        beside = Path(tempfile.mkdtemp(prefix=f".{shard.name}.", dir=self.folder))
        try:
            with geotiff.environment():
                done = self._write(shard, beside)
            _put(beside, self.folder / shard.name)
        except BaseException:
            shutil.rmtree(beside, ignore_errors=True)
            raise
        return done

    def _write(self, shard: Shard, folder: Path) -> Done:
        form = self.source.format
        files = {
            name: TensorFile(folder / f"{name}.arrow", columns)
            for name, columns in tensors(form).items()
        }
        moments = {s.name: Moments(sum(len(c.bands) for c in s.columns)) for s in form.sensors}
        left_out: Counter[str] = Counter()
        problems: list[tuple[str, str, str]] = []
        rows: list[dict[str, Any]] = []
        for unit in shard.units:
            try:
                reading = self.source.read(unit)
            except ArchiveError as error:
                if self.on_bad == "stop":
                    raise
                problems.append((unit.name, named_file(str(error), self.source.root), str(error)))
                continue
            left_out.update(reading.left_out)
            for scene in reading.scenes:
                if self.splits and scene.split not in self.splits:
                    continue
                _check(scene, form, unit)
                rows.append(describe(scene, _append(scene, files), unit.name))
                for name, arrays in scene.images.items():
                    if scene.split == "train":
                        moments[name].add(arrays)
        columns = schema(form).append(pa.field(UNIT, pa.string()))
        table = folder / TABLE_FILE
        with pa.ipc.new_file(table, columns) as writer:
            writer.write_table(pa.Table.from_pylist(rows, schema=columns))
        facts = {f"{name}.arrow": file.close() for name, file in files.items()}
        facts[TABLE_FILE] = {"bytes": table.stat().st_size, "sha256": file_digest(table)}
        done = Done(
            number=shard.number,
            units=len(shard.units),
            scenes=dict(Counter(row["split"] for row in rows)),
            rows={name: file.rows for name, file in files.items()},
            moments={name: each.tell() for name, each in moments.items()},
            left_out=dict(left_out),
            problems=problems,
            files=facts,
        )
        (folder / SHARD_FILE).write_text(json.dumps(asdict(done)))
        return done


def divide(units: Sequence[Unit]) -> list[Shard]:
    """Cut units into shards of one size."""
    size = min(MOST_UNITS, -(-len(units) // LEAST_SHARDS))
    starts = range(0, len(units), size)
    return [Shard(i, tuple(units[start : start + size])) for i, start in enumerate(starts)]


def load(folder: Path, shard: Shard, gone: Sequence[str] = ()) -> Done | None:
    """What is told of a shard; None if it is not there or not whole.

    Args:
        folder: the working folder.
        shard: which.
        gone: names of its files that are merged already, and may be removed.
    """
    place = folder / shard.name
    try:
        done = Done(**json.loads((place / SHARD_FILE).read_text()))
        sizes = {n: (place / n).stat().st_size for n in done.files if n not in gone}
    except (OSError, ValueError, TypeError):
        return None
    whole = all(size == done.files[name]["bytes"] for name, size in sizes.items())
    return done if whole and done.units == len(shard.units) else None


def read_table(folder: Path, shard: Shard) -> pa.Table:
    """A shard's scene table; the unit of each scene is its last column."""
    with (folder / shard.name / TABLE_FILE).open("rb") as file:
        return pa.ipc.open_file(file).read_all()


def named_file(message: str, root: Path) -> str:
    """The file that an error names, relative to the source; "" if it names none of the source."""
    start = message.find(f"{root}/")
    if start < 0:
        return ""
    text = message[start:]
    heads = [text[: end.start()] for end in re.finditer(r"[:,; ]", text)]
    missing = re.split("[:,;]", text)[0]
    path = next((head for head in heads if Path(head).is_file()), missing)
    return Path(path).relative_to(root).as_posix()


def _put(folder: Path, target: Path) -> None:
    """Rename a whole shard into its place; a damaged one there makes way."""
    if target.exists():
        shutil.rmtree(target, ignore_errors=True)
    try:
        folder.rename(target)
    except OSError:
        if not (target / SHARD_FILE).exists():
            raise
        shutil.rmtree(folder)  # a worker thought dead was faster; its files are the same


def _append(scene: Scene, files: Mapping[str, TensorFile]) -> dict[str, tuple[int, str]]:
    rows = dict.fromkeys(files, (-1, ""))
    for name, arrays in scene.images.items():
        rows[name] = files[name].append(arrays)
    if scene.mask is not None:
        rows[MASK] = files[MASK].append([scene.mask[None]])
    return rows


def _check(scene: Scene, form: Format, unit: Unit) -> None:
    """What a reader must keep to; a fault found here and not when the archive is opened."""
    columns: dict[str, Any] = tensors(form)
    images: dict[str, Sequence[np.ndarray]] = dict(scene.images)
    if scene.mask is not None:
        images[MASK] = [scene.mask[None]]
    wrong = [name for name in images if name not in columns]
    for name in images.keys() & columns.keys():
        due = [((len(c.bands), c.size, c.size), np.dtype(c.dtype)) for c in columns[name]]
        if [(array.shape, array.dtype) for array in images[name]] != due:
            wrong.append(name)
    if scene.split not in SPLITS:
        wrong.append(f"split {scene.split!r}")
    wrong += [f"label {label!r}" for label in scene.labels if label not in form.labels]
    if set(scene.attributes) != set(form.attributes):
        wrong.append(f"attributes {sorted(scene.attributes)}")
    if wrong:
        raise ArchiveError(
            f"{unit.name}, scene {scene.scene_id}: {', '.join(wrong)} not as the layout "
            f"{form.layout} says; correct its reader or description"
        )
