"""Round time on the Ray runtime against a bare two-process PyTorch loop doing the same work.

All sides live at once and take turns round by round, so that whatever else the machine does hits
them alike; who goes first changes from turn to turn. After the first round the trainable weights
must agree. Evaluation, tracking and checkpoints are off everywhere. A second bare loop, whose
malloc is set as in our client actors, tells what the framework alone costs.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch

from benchmarks import bare, ours, parts
from benchmarks.processes import Fresh, Processors, foreign, fresh
from benchmarks.workload import CLIENTS, WORKS, Work, quick, write_archive
from raymmfl import environment

AGREEMENT = 1e-5
QUIET = 0.15  # cores of foreign load below which a round counts as undisturbed
START_AIM = 2.5
SIDES = ("ours", "bare", "tuned")


@dataclass(frozen=True)
class Turn:
    """One round of each side, next to each other in time.

    Attributes:
        ours: seconds.
        bare: seconds.
        tuned: seconds of the bare loop with our malloc setting.
        foreign: cores that other programs kept busy in the worst of them.
    """

    ours: float
    bare: float
    tuned: float
    foreign: float


def main() -> None:
    """Measure, print a table, write the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--quick", action="store_true", help="small data, few rounds")
    parser.add_argument("--out", type=Path, help="write the figures there as JSON")
    parser.add_argument("--only", choices=[work.backbone for work in WORKS], help="one model")
    parser.add_argument("--repetitions", type=int, default=3, help="fresh sets of processes")
    parser.add_argument("--rounds", type=int, default=10, help="rounds of each side per set")
    parser.add_argument("--starts", type=int, default=3, help="fresh processes of each side")
    chosen = parser.parse_args()
    works = [work for work in WORKS if chosen.only in (None, work.backbone)]
    if chosen.quick:
        works = [quick(work) for work in works]
        chosen.repetitions, chosen.rounds, chosen.starts = 1, 3, 1
    torch.set_num_threads(1)
    found: dict[str, Any] = {
        "environment": environment.describe(1),
        "quick": chosen.quick,
        "models": {},
    }
    _say(_machine(found["environment"]))
    with tempfile.TemporaryDirectory() as folder:
        for work in works:
            archive = write_archive(work, Path(folder))
            found["models"][work.backbone] = _measure(work, archive, chosen)
    if chosen.out:
        chosen.out.parent.mkdir(parents=True, exist_ok=True)
        chosen.out.write_text(json.dumps(found, indent=1) + "\n")
        _say(f"figures written to {chosen.out}")


def _measure(work: Work, archive: Path, chosen: argparse.Namespace) -> dict[str, Any]:
    _say(f"\n{work.backbone}: {CLIENTS} clients with {work.images} images each")
    repetitions, difference = [], 0.0
    sizes: dict[str, int] = {}
    for _ in range(chosen.repetitions):
        turns, apart, sizes = _take_turns(work, archive, chosen.rounds)
        repetitions.append(turns)
        difference = max(difference, apart)
    rounds = _summarise(repetitions)
    _say(
        f"  weights after round 1 differ by at most {difference:.1e}\n"
        f"  {'round':<22}{'ours s':>9}{'bare s':>9}{'ratio':>8}   aim {work.aim:.2f}"
        f"      {'tuned bare s':>14}{'ratio':>8}"
    )
    for name in ("all", "quiet", "fastest"):
        line = rounds.get(name)
        if line:
            _say(
                f"  {_title(name, line):<22}{line['ours']:>9.3f}{line['bare']:>9.3f}"
                f"{line['ratio']:>8.2f}   {_spread(line, 'ratio'):<14}"
                f"{line['tuned']:>14.3f}{line['tuned ratio']:>8.2f}   "
                f"{_spread(line, 'tuned ratio')}"
            )
    _say(f"  foreign load in the rounds: median {rounds['foreign']:.2f} cores")
    starts = _starts(work, archive, chosen.starts)
    for line in starts["lines"]:
        _say(line)
    _say(
        "  MB per round: " + ", ".join(f"{name} {size / 1e6:.2f}" for name, size in sizes.items())
    )
    each = parts.measure(work, archive, 4 if chosen.quick else 12)
    total = parts.per_round(each)
    _say(f"  {'where a round goes':<36}{'ms a call':>10}{'ms a round':>12}")
    for name, value in each.items():
        _say(f"  {name:<36}{value:>10.2f}{total[name]:>12.1f}")
    return {
        "work": asdict(work),
        "difference": difference,
        "rounds": rounds,
        "turns": [[asdict(turn) for turn in turns] for turns in repetitions],
        "start": starts["figures"],
        "bytes": sizes,
        "parts_ms": {"call": each, "round": total},
    }


def _take_turns(
    work: Work, archive: Path, rounds: int
) -> tuple[list[Turn], float, dict[str, int]]:
    """Rounds in turn with a fresh set of processes; how far the weights were apart; bytes."""
    loop, tuned = bare.BareLoop(work), bare.BareLoop(work, keep=True)
    runtime = ours.start(work, archive)
    try:
        if runtime.workers != bare.PROCESSES:
            raise RuntimeError(
                f"auto chose {runtime.workers} client actors, the bare loop has "
                f"{bare.PROCESSES} processes: this comparison needs 2 cores with free memory"
            )
        loop.round()
        tuned.round()
        state, outcome = runtime.round()
        assert runtime.setting is not None
        apart = parts.largest_difference(ours.weights(runtime.setting, state), loop.weights())
        if not apart < AGREEMENT:
            raise RuntimeError(f"not the same work: weights differ by {apart:.1e} after a round")
        sizes = {
            f"{way} {purpose}": sum(getattr(record, way)[purpose] for record in outcome.records)
            for way in ("up", "down")
            for purpose in ("weights", "moments", "counters")
        }
        turns = []
        processors = Processors()
        for index in range(rounds):
            times, foreigns = {}, []
            sides = [("ours", runtime.round), ("bare", loop.round), ("tuned", tuned.round)]
            first = index % len(sides)
            for name, play in sides[first:] + sides[:first]:
                before = processors.now()
                started = time.perf_counter()
                play()
                times[name] = time.perf_counter() - started
                foreigns.append(foreign(before, processors.now()))
            turns.append(Turn(foreign=max(foreigns), **times))
    finally:
        loop.close()
        tuned.close()
        runtime.close()
    return turns, apart, sizes


def _summarise(repetitions: list[list[Turn]]) -> dict[str, Any]:
    """Medians over all rounds and over the quiet ones; the fastest round of each side.

    The spread of the first is that over the repetitions' medians, else that over the rounds.
    """
    turns = [turn for each in repetitions for turn in each]
    quiet = [turn for turn in turns if turn.foreign < QUIET]
    found: dict[str, Any] = {
        "foreign": median(turn.foreign for turn in turns),
        "all": _line(turns),
        "repetitions": [_line(each) for each in repetitions],
    }
    if len(quiet) >= 3:
        found["quiet"] = _line(quiet)
    for name in ("ratio", "tuned ratio"):
        medians = [each[name] for each in found["repetitions"]]
        found["all"][f"{name} range"] = [min(medians), max(medians)]
    fastest = {name: min(getattr(turn, name) for turn in turns) for name in SIDES}
    found["fastest"] = {
        "turns": len(turns),
        **fastest,
        "ratio": fastest["ours"] / fastest["bare"],
        "tuned ratio": fastest["ours"] / fastest["tuned"],
    }
    return found


def _line(turns: list[Turn]) -> dict[str, Any]:
    line: dict[str, Any] = {"turns": len(turns)}
    line |= {name: median(getattr(turn, name) for turn in turns) for name in SIDES}
    for name, other in (("ratio", "bare"), ("tuned ratio", "tuned")):
        ratios = [turn.ours / getattr(turn, other) for turn in turns]
        line |= {name: median(ratios), f"{name} range": [min(ratios), max(ratios)]}
    return line


def _title(name: str, line: dict[str, Any]) -> str:
    titles = {"all": "median of", "quiet": "median of the quiet", "fastest": "fastest of"}
    return f"{titles[name]} {line['turns']}"


def _spread(line: dict[str, Any], name: str) -> str:
    least, most = line.get(f"{name} range", (None, None))
    return f"[{least:.2f}-{most:.2f}]" if least else ""


def _starts(work: Work, archive: Path, repeats: int) -> dict[str, Any]:
    """Fresh processes of either side in turn: time to the end of round 1, then memory."""
    found: dict[str, list[Fresh]] = {"ours": [], "bare": []}
    for _ in range(repeats):
        for kind, measured in found.items():
            measured.append(fresh(kind, work, archive))
    seconds = {kind: median(each.seconds for each in found[kind]) for kind in found}
    memory = {kind: median(each.pss_mb for each in found[kind]) for kind in found}
    count = {kind: max(each.processes for each in found[kind]) for kind in found}
    lines = [
        f"  start to end of round 1: ours {seconds['ours']:.1f} s, bare {seconds['bare']:.1f} s, "
        f"ratio {seconds['ours'] / seconds['bare']:.2f} (aim {START_AIM}; {repeats} of each)",
        f"  peak PSS of all processes: ours {memory['ours']:.0f} MB ({count['ours']} processes), "
        f"bare {memory['bare']:.0f} MB ({count['bare']}), "
        f"ratio {memory['ours'] / memory['bare']:.2f}",
    ]
    figures = {
        "seconds": seconds,
        "ratio": seconds["ours"] / seconds["bare"],
        "pss_mb": memory,
        "processes": count,
        "each": {kind: [asdict(one) for one in measured] for kind, measured in found.items()},
    }
    return {"lines": lines, "figures": figures}


def _machine(facts: dict[str, Any]) -> str:
    packages = ", ".join(f"{name} {version}" for name, version in facts["packages"].items())
    return (
        f"{facts['cores']} cores of {facts['processor']}, {facts['system']}, Python "
        f"{facts['python']}, {packages}; one compute thread per process"
    )


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
