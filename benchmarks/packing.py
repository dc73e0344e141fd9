"""Packing over Ray against a bare rasterio loop that reads the same files, two processes each.

The bare loop opens every file and reads it, and keeps nothing: no digest, no check, no label, no
archive. Ours does all of that, up to the archive renamed into its place. Files are in the page
cache on both sides; Ray, its two processes and those of the bare loop have started and have each
done the whole work once before anything is timed. The sides take turns, so that whatever else the
machine does hits both.
"""

import argparse
import json
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import pyarrow.parquet as pq

import raymmfl.runtime  # noqa: F401  (sets what Ray reads when it is imported)
from benchmarks.processes import Processors, foreign
from raymmfl.archive.packing.pack import pack
from raymmfl.archive.rasters import geotiff
from raymmfl.archive.readers.layouts import LAYOUTS
from raymmfl.archive.readers.options import Options
from raymmfl.archive.store import SCENES_FILE
from raymmfl.archive.synthetic.bigearthnet import synthesise_bigearthnet_mm, synthesise_reben

PROCESSES = 2
AIM = 0.9
QUIET = 0.15  # cores of foreign load below which a turn counts as undisturbed
SYNTHESISE = {"reben": synthesise_reben, "bigearthnet_mm": synthesise_bigearthnet_mm}


@dataclass(frozen=True)
class Turn:
    """Both sides once, next to each other in time.

    Attributes:
        ours: seconds of a pack.
        bare: seconds of the bare loop.
        tuned: seconds of the bare loop with our GDAL settings.
        cpu: per side the processor seconds of all our processes, which a busy machine lengthens
            less than it does the time.
        foreign: cores that other programs kept busy in the worst of them.
    """

    ours: float
    bare: float
    tuned: float
    cpu: Mapping[str, float]
    foreign: float


def main() -> None:
    """Measure, print a table, write the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--layout", choices=list(SYNTHESISE), default="reben")
    parser.add_argument("--source", type=Path, help="a source folder (default: a synthetic one)")
    parser.add_argument("--patches", type=int, default=600, help="of the synthetic source")
    parser.add_argument("--turns", type=int, default=9, help="of each side")
    parser.add_argument("--out", type=Path, help="write the figures there as JSON")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        source = chosen.source
        if source is None:
            source = Path(folder) / "source"
            SYNTHESISE[chosen.layout](source, patches=chosen.patches)
        turns, scenes, files = measure(source, chosen.layout, Path(folder), chosen.turns)
    say(f"{chosen.layout}: {scenes} scenes, {files} files, {PROCESSES} processes each")
    quiet = [turn for turn in turns if turn.foreign < QUIET]
    for name, some in (("all", turns), ("quiet", quiet)):
        if some:
            ours, bare, tuned = (
                median(getattr(t, side) for t in some) for side in ("ours", "bare", "tuned")
            )
            say(
                f"  {name:<6}{len(some):>3} turns: ours {scenes / ours:.0f} scenes/s, bare "
                f"{scenes / bare:.0f}, with our GDAL settings {scenes / tuned:.0f}; ours over "
                f"bare {median(t.bare / t.ours for t in some):.2f}, over the second "
                f"{median(t.tuned / t.ours for t in some):.2f} (aim {AIM}); in processor "
                f"seconds {median(t.cpu['bare'] / t.cpu['ours'] for t in some):.2f} and "
                f"{median(t.cpu['tuned'] / t.cpu['ours'] for t in some):.2f}"
            )
    if chosen.out:
        figures = {"scenes": scenes, "files": files, "turns": [asdict(turn) for turn in turns]}
        chosen.out.write_text(json.dumps(figures, indent=1) + "\n")


def measure(source: Path, layout: str, folder: Path, turns: int) -> tuple[list[Turn], int, int]:
    """The turns; how many scenes are packed and how many files they are read from."""
    import ray

    from raymmfl.runtime.spread import over_ray

    ray.init(
        num_cpus=PROCESSES, include_dashboard=False, log_to_driver=False, logging_level="ERROR"
    )
    opened = LAYOUTS[layout].open(source, Options())

    def ours() -> None:
        shutil.rmtree(folder / "archive", ignore_errors=True)
        pack(opened, folder / "archive", spread=over_ray(PROCESSES))

    ours()
    table = pq.read_table(folder / "archive" / SCENES_FILE, columns=["sources"])
    patches = [[source / each["path"] for each in row] for row in table["sources"].to_pylist()]
    rasters = [[str(path) for path in patch if path.suffix == ".tif"] for patch in patches]
    context = multiprocessing.get_context("spawn")
    found = []
    with (
        ProcessPoolExecutor(PROCESSES, context) as plain,
        ProcessPoolExecutor(PROCESSES, context, initializer=enter_environment) as tuned,
    ):
        sides: list[tuple[str, Callable[[], None]]] = [
            ("ours", ours),
            ("bare", lambda: loop(plain, rasters)),
            ("tuned", lambda: loop(tuned, rasters)),
        ]
        for _, play in sides[1:]:
            play()
        processors = Processors()
        for index in range(turns):
            times, cpu, foreigns = {}, {}, []
            first = index % len(sides)
            for name, play in sides[first:] + sides[:first]:
                os.sync()  # what the last one wrote is not written on the next one's time
                before, began = processors.now(), time.perf_counter()
                play()
                times[name] = time.perf_counter() - began
                after = processors.now()
                cpu[name] = after.own - before.own
                foreigns.append(foreign(before, after))
            found.append(Turn(cpu=cpu, foreign=max(foreigns), **times))
    ray.shutdown()
    return found, len(rasters), sum(map(len, rasters))


def loop(pool: ProcessPoolExecutor, patches: Sequence[Sequence[str]]) -> None:
    """Read every patch in some process of the pool."""
    pixels = sum(pool.map(read, patches, chunksize=8))
    assert pixels > 0


def read(paths: Sequence[str]) -> int:
    """The bare loop's work on one patch; how many pixels it saw."""
    import rasterio

    pixels = 0
    for path in paths:
        with rasterio.open(path) as dataset:
            pixels += dataset.read().size
    return pixels


def enter_environment() -> None:
    """Give a process our GDAL settings for as long as it lives."""
    geotiff.environment().__enter__()


def say(line: str) -> None:
    """Tell a line at once."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
