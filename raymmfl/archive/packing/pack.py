"""Packing: a source archive is checked, cut, split and written once.

1. The units that the subset chooses are divided into shards (``shards.py``).
2. Each shard is read, checked and written whole, by any process, in any order.
3. The shards are merged in order (``merge.py``) and the archive is renamed into its place.

Killed at any moment, the same call goes on with the shards that are whole, and the archive has the
same bytes as one packed without a break.
"""

import csv
import shutil
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from raymmfl.archive.packing.merge import Parts, merge, merged_already
from raymmfl.archive.packing.scene_table import schema
from raymmfl.archive.packing.shards import Done, ReadShard, Shard, divide, load
from raymmfl.archive.packing.spread import Spread, serial
from raymmfl.archive.packing.subset import Subset
from raymmfl.archive.packing.working import MERGED, PROBLEMS_FILE, place, plan, working_folder
from raymmfl.archive.readers.source import Source, Unit
from raymmfl.archive.store import FORMAT_VERSION, INDEX_FILE, Archive
from raymmfl.archive.writer import file_digest, flush, refuse_existing
from raymmfl.errors import ArchiveError

MOST_BAD = 0.01  # share of the units
EVERYTHING = Subset()


@dataclass(frozen=True)
class Progress:
    """How far a pack is.

    Attributes:
        stage: "reading", or "merging " and the name of a sensor.
        done: units read, or scenes merged, those of an earlier, broken pack among them.
        total: of these.
        scenes: read so far.
    """

    stage: str
    done: int
    total: int
    scenes: int


def pack(
    source: Source,
    out: Path,
    *,
    subset: Subset = EVERYTHING,
    on_bad: Literal["stop", "skip"] = "stop",
    spread: Spread = serial,
    progress: Callable[[Progress], None] = lambda _: None,
) -> Archive:
    """Pack a source into an archive; there is a whole one at the end, or none.

    What was read before a kill or an error is kept in a hidden folder beside ``out``; the same
    call goes on from there. Files of finished shards are not looked at again.

    Args:
        source: to be read; by other processes too, if the work is spread.
        out: the archive's folder; must not exist.
        subset: the part of the source to pack.
        on_bad: "stop" at the first unit that is bad, or "skip" it and note it in
            ``problems.parquet``; more than 1 % of bad units stops in any case.
        spread: who reads the shards; they must see ``out`` and the source under the same paths.
        progress: called after every shard, and while merging.

    Returns:
        The new archive, opened.

    Raises:
        ArchiveError: an existing ``out``; a source that is missing, damaged or contradictory,
            naming the file; nothing to pack, or nothing to train on; two scenes of one id; a
            folder left by a pack of something else.
    """
    out = Path(out)
    if not place(out).exists():
        refuse_existing(out)  # before the units are listed, which may take a while
    form = source.format
    schema(form)
    units = subset.choose(source.units(), source.root)
    _check_names(units, source)
    if out.resolve().is_relative_to(source.root.resolve()):
        raise ArchiveError(
            f"{out}: lies inside the source {source.root}, which is only read; choose a folder "
            "outside of it"
        )
    tables = _tables(source)
    shards = divide(units)
    inputs = plan(
        {
            "source": str(source.root.resolve()),
            "layout or options": (FORMAT_VERSION, form),
            "subset": subset,
            "list of units": units,
            "catalogues or lists": tables,
        }
    )
    with working_folder(out, inputs) as folder:
        if not (folder / MERGED / INDEX_FILE).exists():
            reader = ReadShard(source, folder.absolute(), subset.splits, on_bad)
            parts = _read(reader, shards, spread, progress)
            scenes = sum(sum(done.scenes.values()) for _, done in parts)
            merge(
                folder,
                source,
                parts,
                {
                    "source": form.provenance,
                    "layout": form.layout,
                    **form.options,
                    **subset.tell(),
                },
                tables,
                lambda name, done, total: progress(
                    Progress(f"merging {name}", done, total, scenes)
                ),
            )
        _finish(folder, shards, out)
    return Archive.open(out)


def _tables(source: Source) -> dict[str, str]:
    """Path below the source -> sha256 of its catalogues and lists."""
    root = source.root.absolute()
    found = [path.absolute() for path in source.tables()]
    return {
        path.relative_to(root).as_posix(): file_digest(path)
        for path in found
        if path.is_relative_to(root)
    }


def _check_names(units: Sequence[Unit], source: Source) -> None:
    seen: set[str] = set()
    for unit in units:
        if unit.name in seen:
            raise ArchiveError(f"{source.root}: {unit.name} is listed twice; list it once")
        seen.add(unit.name)


def _read(
    reader: ReadShard,
    shards: Sequence[Shard],
    spread: Spread,
    progress: Callable[[Progress], None],
) -> Parts:
    """Read the shards that are not there yet; all of them, in order."""
    total = sum(len(shard.units) for shard in shards)
    found: dict[int, Done] = {}
    gone = merged_already(reader.folder, reader.source.format)
    for shard in shards:
        done = load(reader.folder, shard, gone)
        if done is not None and (reader.on_bad == "skip" or not done.problems):
            found[shard.number] = done
    units, scenes, bad = (
        sum(count(done) for done in found.values()) for count in (_units, _scenes, _bad)
    )
    missing = [shard for shard in shards if shard.number not in found]
    with closing(spread(reader, missing)) as results:
        progress(Progress("reading", units, total, scenes))
        for done in results:
            found[done.number] = done
            units, scenes, bad = units + done.units, scenes + _scenes(done), bad + _bad(done)
            progress(Progress("reading", units, total, scenes))
            if bad > MOST_BAD * total:
                break
    parts = [(shard, found[shard.number]) for shard in shards if shard.number in found]
    if bad > MOST_BAD * total:
        raise _too_many(reader.folder, parts, total)
    assert len(parts) == len(shards), "whoever spreads the work does all of it"
    return parts


def _units(done: Done) -> int:
    return done.units


def _scenes(done: Done) -> int:
    return sum(done.scenes.values())


def _bad(done: Done) -> int:
    return len(done.problems)


def _too_many(folder: Path, parts: Parts, total: int) -> ArchiveError:
    """The end of a pack with too many bad units; those are read again when it goes on."""
    problems = [problem for _, done in parts for problem in done.problems]
    with (folder / PROBLEMS_FILE).open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([("unit", "file", "reason"), *problems])
    for shard, done in parts:
        if done.problems:
            shutil.rmtree(folder / shard.name, ignore_errors=True)
    reasons = "\n  ".join(problem[2] for problem in problems[:3])
    return ArchiveError(
        f"{len(problems)} of {total} units are bad, more than {MOST_BAD:.0%}; the first:\n  "
        f"{reasons}\nAll are listed in {folder / PROBLEMS_FILE}; mend them, or leave them out of "
        "the source"
    )


def _finish(folder: Path, shards: Sequence[Shard], out: Path) -> None:
    """Flush the archive to the disk and rename it; only then is the work done."""
    merged = folder / MERGED
    for path in merged.iterdir():
        flush(path)
    flush(merged)
    for shard in shards:
        shutil.rmtree(folder / shard.name, ignore_errors=True)
    refuse_existing(out)
    merged.rename(out)
    flush(out.parent)
