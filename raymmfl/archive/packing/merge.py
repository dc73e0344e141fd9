"""Merging: the shards become the archive's files, in order, whatever order they were read in.

Each step ends in a file that is whole, and only then are the shards' parts removed: a pack that is
killed here goes on with the next one. At most one sensor lies on the disk twice.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raymmfl.archive.packing.moments import STATISTICS, Moments
from raymmfl.archive.packing.scene_table import UNIT, schema, tensors
from raymmfl.archive.packing.shards import SHARD_FILE, TABLE_FILE, Done, Shard, read_table
from raymmfl.archive.packing.working import MERGED, Hopeless
from raymmfl.archive.readers.source import Format, Source
from raymmfl.archive.store import FORMAT_VERSION, SCENES_FILE, Column
from raymmfl.archive.tables import write_table
from raymmfl.archive.writer import TensorFile, file_digest, write_index
from raymmfl.errors import ArchiveError
from raymmfl.files import write_whole

PROBLEMS_TABLE = "problems.parquet"
ROW_GROUP = 8192  # scenes; far fewer than in a shard would make the table slow to read
Parts = Sequence[tuple[Shard, Done]]


def merged_already(folder: Path, form: Format) -> list[str]:
    """Names of the shards' files that a pack that was killed had merged."""
    return [f"{name}.arrow" for name in tensors(form) if _facts_file(folder, name).exists()]


def merge(
    folder: Path,
    source: Source,
    parts: Parts,
    provenance: Mapping[str, Any],
    tables: Mapping[str, str],
    report: Callable[[str, int, int], None],
) -> None:
    """Write the archive into the working folder's ``archive``.

    Args:
        folder: the working folder.
        source: that was read.
        parts: the shards in order, all whole.
        provenance: for the index, beside what is counted here.
        tables: path below the source -> sha256 of its catalogues and lists.
        report: called with what is merged, scenes done, and scenes in all.

    Raises:
        ArchiveError: no train scene, a sensor without one, two scenes of one id, or a shard that
            was damaged on the disk; that one is removed, to be read again.
    """
    out = folder / MERGED
    out.mkdir(exist_ok=True)
    for left in [*out.glob(".*"), out / PROBLEMS_TABLE]:  # of a pack that was killed here
        left.unlink(missing_ok=True)
    form = source.format
    try:
        statistics = _statistics(form, parts)
    except ArchiveError as error:
        raise Hopeless(f"{source.root}: {error}") from error
    _merge_scenes(folder, form, parts)
    known = {
        f"{name}.arrow": _merge_rows(folder, name, columns, parts, report)
        for name, columns in tensors(form).items()
    }
    problems = [problem for _, done in parts for problem in done.problems]
    if problems:
        columns = zip(("unit", "file", "reason"), zip(*problems, strict=True), strict=True)
        write_table(out / PROBLEMS_TABLE, dict(columns))
    sensors = {
        sensor.name: {
            "unit": sensor.unit,
            "columns": [_column(column) for column in sensor.columns],
            **statistics[sensor.name],
            "statistics": STATISTICS,
        }
        for sensor in form.sensors
    }
    index = {
        "version": FORMAT_VERSION,
        "synthetic": form.synthetic,
        "labels": list(form.labels),
        "sensors": sensors,
        "mask": None if form.mask is None else _column(form.mask),
        "attributes": list(form.attributes),
        "licence": form.licence,
        "provenance": {
            **provenance,
            "left_out": dict(sorted(_left_out(parts).items())),
            "skipped": len(problems),
        },
        "tables": dict(tables),
    }
    write_index(out, index, known)


def _statistics(form: Format, parts: Parts) -> dict[str, dict[str, list[float]]]:
    if not any(done.scenes.get("train") for _, done in parts):
        raise ArchiveError(
            f"no train scene was found; left out: {dict(sorted(_left_out(parts).items()))}; lower "
            "min_share, choose more of the source or check its labels"
        )
    found = {}
    for sensor in form.sensors:
        moments = Moments(sum(len(column.bands) for column in sensor.columns))
        for _, done in parts:
            moments.merge(done.moments[sensor.name])
        try:
            mean, std = moments.result()
        except ArchiveError as error:
            raise ArchiveError(f"{sensor.name}: {error}") from error
        found[sensor.name] = {"mean": mean, "std": std}
    return found


def _left_out(parts: Parts) -> Counter[str]:
    return sum((Counter(done.left_out) for _, done in parts), Counter[str]())


def _merge_scenes(folder: Path, form: Format, parts: Parts) -> None:
    """Write the scene table: rows counted through, ids checked."""
    columns, names = schema(form), tensors(form)
    first = dict.fromkeys(names, 0)
    seen: set[str] = set()
    waiting: list[pa.Table] = []
    with pq.ParquetWriter(folder / MERGED / SCENES_FILE, columns, compression="zstd") as writer:
        for shard, done in parts:
            if file_digest(folder / shard.name / TABLE_FILE) != done.files[TABLE_FILE]["sha256"]:
                raise _damaged(folder, shard)
            table = read_table(folder, shard)
            _check_ids(table, seen, parts, folder)
            for name in names:
                column = f"row_{name}"
                rows = table[column]
                there = pc.if_else(pc.less(rows, 0), rows, pc.add(rows, first[name]))
                table = table.set_column(table.schema.get_field_index(column), column, there)
                first[name] += done.rows[name]
            waiting.append(table.select(columns.names).cast(columns))
            if sum(map(len, waiting)) >= ROW_GROUP:
                writer.write_table(pa.concat_tables(waiting), row_group_size=2 * ROW_GROUP)
                waiting.clear()
        if waiting:
            writer.write_table(pa.concat_tables(waiting), row_group_size=2 * ROW_GROUP)


def _check_ids(table: pa.Table, seen: set[str], parts: Parts, folder: Path) -> None:
    for row, name in enumerate(table["scene_id"].to_pylist()):
        if name in seen:
            tables = (read_table(folder, shard) for shard, _ in parts)
            units = (t.filter(pc.equal(t["scene_id"], name))[UNIT].to_pylist() for t in tables)
            first = next(found[0] for found in units if found)
            raise Hopeless(
                f"scene {name} stands twice: in {first} and in {table[UNIT][row].as_py()}; "
                "take one of them out of the source"
            )
        seen.add(name)


def _merge_rows(
    folder: Path,
    name: str,
    columns: Sequence[Column],
    parts: Parts,
    report: Callable[[str, int, int], None],
) -> dict[str, Any]:
    """Write a sensor's Arrow file and remove the shards' parts of it; returns bytes and sha256."""
    facts_file, target = _facts_file(folder, name), folder / MERGED / f"{name}.arrow"
    if not facts_file.exists():
        total = sum(done.rows[name] for _, done in parts)
        file = TensorFile(target, columns)
        for shard, _ in parts:
            for arrays, expected in _rows(folder, shard, name, columns):
                if file.append(arrays)[1] != expected:
                    raise _damaged(folder, shard)
            report(name, file.rows, total)
        write_whole(facts_file, json.dumps(file.close()).encode())
    for shard, _ in parts:
        (folder / shard.name / f"{name}.arrow").unlink(missing_ok=True)
    facts: dict[str, Any] = json.loads(facts_file.read_text())
    return facts


def _rows(
    folder: Path, shard: Shard, name: str, columns: Sequence[Column]
) -> Iterator[tuple[tuple[np.ndarray, ...], str]]:
    """A sensor's rows in a shard, each with the digest that it had when it was read."""
    try:
        digests = read_table(folder, shard)[f"sha256_{name}"].to_pylist()
        expected = iter([digest for digest in digests if digest])
        with pa.memory_map(str(folder / shard.name / f"{name}.arrow")) as file:
            reader = pa.ipc.open_file(file)
            for number in range(reader.num_record_batches):
                batch = reader.get_batch(number)
                views = [batch.column(column.name).to_numpy_ndarray() for column in columns]
                for arrays in zip(*views, strict=True):
                    yield arrays, next(expected)
    except (ValueError, StopIteration, pa.ArrowException) as error:
        raise _damaged(folder, shard) from error


def _damaged(folder: Path, shard: Shard) -> ArchiveError:
    (folder / shard.name / SHARD_FILE).unlink(missing_ok=True)
    return ArchiveError(
        f"{folder / shard.name}: changed on the disk since it was written (is the disk failing?); "
        "it will be read again"
    )


def _facts_file(folder: Path, name: str) -> Path:
    return folder / f"merged-{name}.json"


def _column(column: Column) -> dict[str, Any]:
    return {**asdict(column), "bands": list(column.bands)}
