"""Private memory of the client actors in a run on an archive of many patches.

The archive has BigEarthNet's shape (``reben.py``), the run is MF+FW+MIM on Ray with two client
actors. A few clients of one region train on two batches each and every validation scene of the
region is scored, so that the run ends in minutes; the whole archive is open in each actor all the
time. Private is what would be free again if the process ended (USS), without mapped pages of the
archive and of Ray's store, which the system may drop or shares.
"""

import argparse
import json
import shutil
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import psutil

from benchmarks.reben import REGIONS, write_archive
from raymmfl import environment
from raymmfl.configfile import parse
from raymmfl.run import run
from raymmfl.runtime.actors import RayRuntime

ACTORS = 2
SITES = 4
MAPPED = ("/dev/shm/", ".arrow")
PAUSE_S = 0.3
AIM_MB = 2000.0
PATCH_BYTES = 280_000


@dataclass
class Peak:
    """The most that any one client actor had, in MB (10^6 bytes).

    Attributes:
        private: without mapped pages.
        uss: with the mapped pages that no other process has.
        archive: of the archive's pages, those in the actor's map, shared or not.
    """

    private: float = 0.0
    uss: float = 0.0
    archive: float = 0.0


class Watch:
    """Looks at the client actors every now and then, in a thread of its own.

    Attributes:
        phase: what the run is doing.
        peaks: per phase.
        looks: how often the actors were looked at, per phase.
    """

    def __init__(self) -> None:
        self.phase = "start"
        self.peaks: dict[str, Peak] = {}
        self.looks: dict[str, int] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> "Watch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._done.set()
        self._thread.join()

    def during(self, phase: str, call: Callable[..., Any]) -> Callable[..., Any]:
        """The call, with the phase told while it lasts."""

        def told(*arguments: Any, **named: Any) -> Any:
            self.phase = phase
            try:
                return call(*arguments, **named)
            finally:
                self.phase = "between"

        return told

    def _watch(self) -> None:
        here = psutil.Process()
        while not self._done.wait(PAUSE_S):
            for process in here.children(recursive=True):
                try:
                    if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::Client"):
                        self._look(process)
                except psutil.Error:
                    continue

    def _look(self, process: psutil.Process) -> None:
        phase = self.phase
        maps = process.memory_maps(grouped=True)
        own = {each.path: each.private_clean + each.private_dirty for each in maps}
        mapped = sum(size for path, size in own.items() if any(part in path for part in MAPPED))
        archive = sum(each.rss for each in maps if each.path.endswith(".arrow"))
        peak = self.peaks.setdefault(phase, Peak())
        total = sum(own.values())
        peak.private = max(peak.private, (total - mapped) / 1e6)
        peak.uss = max(peak.uss, total / 1e6)
        peak.archive = max(peak.archive, archive / 1e6)
        self.looks[phase] = self.looks.get(phase, 0) + 1


def main() -> None:
    """Write the archive, run, print a table and a line of JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--scenes", type=int, default=20_000, help="patches, some 275 kB each")
    parser.add_argument("--backbone", default="resnet18")
    parser.add_argument("--batch", type=int, default=32, help="patches per training batch")
    parser.add_argument("--eval-batch", type=int, default=64, help="patches per scoring pass")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--folder", type=Path, help="write the archive below this folder")
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=chosen.folder) as name:
        folder = Path(name)
        free = shutil.disk_usage(folder).free
        if free < 1.2 * PATCH_BYTES * chosen.scenes:
            sys.exit(f"{folder} has {free / 1e9:.1f} GB free; choose fewer --scenes or a --folder")
        _say(f"writing {chosen.scenes} patches below {folder}")
        write_archive(folder / "archive", chosen.scenes)
        tree = _config(folder / "archive", chosen)
        with Watch() as watch:
            for phase, name in (("training", "round"), ("scoring", "score")):
                setattr(RayRuntime, name, watch.during(phase, getattr(RayRuntime, name)))
            began = time.perf_counter()
            run(parse(tree), folder / "run", say=lambda line: _say(f"  {line}"))
        _report(chosen, tree, watch, time.perf_counter() - began)


def _config(archive: Path, chosen: argparse.Namespace) -> dict[str, Any]:
    """A region's training scenes dealt to sites of two batches; half of the clients each round."""
    train = chosen.scenes // len(REGIONS) // 2
    sites = max(SITES, train // (2 * chosen.batch))
    return {
        "name": "memory",
        "rounds": chosen.rounds,
        "algorithm": "mf+fw+mim",
        "archive": {"path": str(archive)},
        "clients": {
            "regions": [REGIONS[0]],
            "partition": "random",
            "sites": sites,
            "fraction": SITES / (2 * sites),
        },
        "model": {"backbone": chosen.backbone},
        "train": {"batch_size": chosen.batch},
        "evaluate": {"batch_size": chosen.eval_batch},
        "resources": {"actors": ACTORS, "threads": 1},
        "tracking": {"mlflow": False},
    }


def _report(
    chosen: argparse.Namespace, tree: dict[str, Any], watch: Watch, seconds: float
) -> None:
    facts = environment.describe(1)
    _say(
        f"{chosen.backbone}, batches of {chosen.batch} to train and {chosen.eval_batch} to score, "
        f"{chosen.scenes} patches, {ACTORS} client actors, {chosen.rounds} rounds in "
        f"{seconds:.0f} s; the most that one actor had, in MB"
    )
    _say(f"{'':<12}{'private':>9}{'USS':>9}{'archive mapped':>16}{'looks':>8}")
    for phase, peak in watch.peaks.items():
        _say(
            f"{phase:<12}{peak.private:>9.0f}{peak.uss:>9.0f}{peak.archive:>16.0f}"
            f"{watch.looks[phase]:>8}"
        )
    most = max(peak.private for peak in watch.peaks.values())
    verdict = "within" if most <= AIM_MB else "ABOVE"
    _say(f"{most:.0f} MB of private memory: {verdict} the aim of {AIM_MB:.0f} MB")
    _say(
        json.dumps(
            {
                "scenes": chosen.scenes,
                "config": tree,
                "seconds": seconds,
                "peaks_mb": {phase: asdict(peak) for phase, peak in watch.peaks.items()},
                "looks": watch.looks,
                "aim_mb": AIM_MB,
                "environment": facts,
            }
        )
    )


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
