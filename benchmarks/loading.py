"""Loading random batches: our packed archive against memmap, LMDB and GeoTIFFs.

Every side turns the same patches, in the same random order, into the same float32 tensors of
native size, before normalising and resampling; that they are equal is checked first. Each side has
a process of its own, as a client actor has, with the same malloc setting and one thread; they live
at once and take turns. Files are in the page cache (warm).
"""

import argparse
import hashlib
import json
import multiprocessing
import os
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
import torch

from benchmarks import forms
from benchmarks.forms import Load, Rows
from benchmarks.reben import SENSORS, write_archive
from raymmfl import environment
from raymmfl.archive.store import Archive
from raymmfl.learning.batches import Images
from raymmfl.runtime.memory import keep_freed_memory

BATCH = 64


@dataclass(frozen=True)
class Side:
    """One way to load.

    Attributes:
        title: for the table.
        make: opens the data in a folder.
        aim: how many times its speed ours is meant to reach.
        share: of the batches of a turn that it plays; a slow side plays few.
    """

    title: str
    make: Callable[[Path], Load]
    aim: float | None
    share: float = 1.0


def _ready(folder: Path) -> Load:
    images = Images(Archive.open(folder / forms.ARCHIVE), "bilinear", torch.device("cpu"))
    return lambda rows: [images.load(sensor, rows) for sensor in SENSORS]


OURS, READY = "ours", "ready"
SIDES = {
    OURS: Side("packed archive (ours)", forms.ours, None),
    "memmap": Side("numpy.memmap, rows copied into one buffer", forms.memmap, 0.8),
    "lmdb": Side("LMDB + safetensors, a tensor per band", forms.lmdb_bands, 2.0),
    "lmdb sizes": Side("LMDB + safetensors, a tensor per pixel size", forms.lmdb_sizes, 2.0),
    "geotiff": Side("a GeoTIFF per band, rasterio", forms.geotiff, 50.0, 0.0),
    READY: Side("ours, normalised and on one 10 m grid", _ready, None, 0.25),
}


def main() -> None:
    """Write the data, measure, print a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scenes", type=int, default=4096, help="patches, some 275 kB each")
    parser.add_argument("--repetitions", type=int, default=7, help="turns of each side")
    parser.add_argument("--batches", type=int, default=64, help=f"of {BATCH} patches per turn")
    parser.add_argument("--folder", type=Path, help="write the data below this folder")
    chosen = parser.parse_args()
    random = np.random.default_rng(0)
    orders = [
        [random.choice(chosen.scenes, BATCH, replace=False) for _ in range(chosen.batches)]
        for _ in range(chosen.repetitions)
    ]
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        folder = Path(name)
        _say(f"writing {chosen.scenes} patches in four forms below {folder}")
        write_archive(folder / forms.ARCHIVE, chosen.scenes)
        forms.write(folder, np.unique(np.concatenate([order[0] for order in orders])))
        os.sync()  # no disk writes while the clock runs
        _report(chosen, _take_turns(folder, orders))


def _take_turns(folder: Path, orders: list[list[Rows]]) -> dict[str, list[float]]:
    """Images per second of each side and repetition; who goes first changes."""
    context = multiprocessing.get_context("spawn")
    pools = {name: ProcessPoolExecutor(1, context, _begin, (name, folder)) for name in SIDES}
    try:
        turns = {
            name: [order[: max(1, int(side.share * len(order)))] for order in orders]
            for name, side in SIDES.items()
        }
        digests = {
            name: [pool.submit(_digest, order[0]).result() for order in orders]
            for name, pool in pools.items()
            if name != READY
        }
        for name, found in digests.items():
            if found != digests[OURS]:
                raise RuntimeError(f"{name} loads something else than the packed archive")
        for name, pool in pools.items():  # bring all files into the page cache
            for order in turns[name]:
                pool.submit(_speed, order).result()
        speeds: dict[str, list[float]] = {name: [] for name in SIDES}
        names = list(SIDES)
        for index in range(len(orders)):
            first = index % len(names)
            for name in names[first:] + names[:first]:
                speeds[name].append(pools[name].submit(_speed, turns[name][index]).result())
    finally:
        for pool in pools.values():
            pool.shutdown()
    return speeds


_load: Load


def _begin(name: str, folder: Path) -> None:
    """Make this process a side's own."""
    global _load
    torch.set_num_threads(1)
    keep_freed_memory()
    _load = SIDES[name].make(folder)


def _digest(rows: Rows) -> str:
    digest = hashlib.sha256()
    for tensor in _load(rows):
        digest.update(str(tuple(tensor.shape)).encode())
        digest.update(tensor.numpy().data)
    return digest.hexdigest()


def _speed(order: list[Rows]) -> float:
    started = time.perf_counter()
    for rows in order:
        _load(rows)
    return BATCH * len(order) / (time.perf_counter() - started)


def _report(chosen: argparse.Namespace, speeds: dict[str, list[float]]) -> None:
    facts = environment.describe(1)
    _say(
        f"{chosen.scenes} patches (S2 at 10, 20 and 60 m, S1), batches of {BATCH}, medians of "
        f"{chosen.repetitions} turns of {chosen.batches} batches (GeoTIFF: of 1), warm cache, one "
        f"thread of {facts['processor']}"
    )
    _say(f"{'':<46}{'images/s':>9}   {'least to most':<17}{'ours is':>9}{'aim':>7}")
    ratios = {}
    for name, side in SIDES.items():
        found = speeds[name]
        spread = f"{min(found):.0f} to {max(found):.0f}"
        line = f"{side.title:<46}{median(found):>9.0f}   {spread:<17}"
        if side.aim is not None:
            ratios[name] = median(a / b for a, b in zip(speeds[OURS], found, strict=True))
            line += f"{ratios[name]:>8.2f}x{side.aim:>6g}x"
        _say(line)
    _say(
        json.dumps(
            {
                "scenes": chosen.scenes,
                "batch": BATCH,
                "images_per_s": {name: median(found) for name, found in speeds.items()},
                "ratios": ratios,
                "aims": {name: side.aim for name, side in SIDES.items() if side.aim},
                "environment": facts,
            }
        )
    )


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
