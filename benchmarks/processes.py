"""Processes seen from outside: their start-up, their memory, the load that others make."""

import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from benchmarks.workload import Work

PAUSE = 0.1
MEMORY_ROUNDS = 3


@dataclass(frozen=True)
class Fresh:
    """One fresh process.

    Attributes:
        seconds: from its start to the end of its first round.
        pss_mb: peak over the following rounds, summed over the process and all it started.
        processes: how many that were.
    """

    seconds: float
    pss_mb: float
    processes: int


def fresh(kind: str, work: Work, archive: Path) -> Fresh:
    """Start ``ours`` or ``bare`` anew, wait for its first round, then watch its memory."""
    command = [sys.executable, "-m", "benchmarks.child", kind]
    command += [work.backbone, str(work.images), str(archive), str(MEMORY_ROUNDS)]
    began = time.perf_counter()
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdin and child.stdout
        _expect(child.stdout.readline(), "first")
        seconds = time.perf_counter() - began
        peak, count = 0.0, 0
        child.stdin.write("go on\n")
        child.stdin.flush()
        done = threading.Event()
        lines: list[str] = []

        def wait() -> None:
            assert child.stdout
            lines.append(child.stdout.readline())
            done.set()

        thread = threading.Thread(target=wait)
        thread.start()
        while not done.wait(PAUSE):
            memory, processes = tree_pss_mb(child.pid)
            peak, count = max(peak, memory), max(count, processes)
        thread.join()
        _expect(lines[0], "last")
        child.stdin.write("stop\n")
        child.stdin.flush()
    return Fresh(seconds, peak, count)


def _expect(line: str, word: str) -> None:
    if line.strip() != word:
        raise RuntimeError(f"the measured process said {line!r} instead of {word!r}")


def tree_pss_mb(pid: int) -> tuple[float, int]:
    """Proportional set size of a process and all its descendants, in MB, and their number.

    Ray's daemons are descendants of the driver that started them.
    """
    total, count = 0, 0
    for process in _tree(pid):
        try:
            total += process.memory_full_info().pss
            count += 1
        except (psutil.NoSuchProcess, psutil.AccessDenied):
            continue
    return total / 1e6, count


def _tree(pid: int) -> list[psutil.Process]:
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


@dataclass(frozen=True)
class Moment:
    """Processor time spent up to now.

    Attributes:
        wall: seconds of the clock.
        busy: of the whole machine, what the hypervisor took away included.
        own: of this process and its descendants.
    """

    wall: float
    busy: float
    own: float


class Processors:
    """Tells the load that other programs put on the machine."""

    def __init__(self) -> None:
        self.processes = _tree(psutil.Process().pid)

    def now(self) -> Moment:
        """Where the counters stand."""
        times = psutil.cpu_times()
        busy = times.user + times.system + getattr(times, "irq", 0.0)
        busy += times.nice + getattr(times, "softirq", 0.0) + getattr(times, "steal", 0.0)
        own = 0.0
        for process in self.processes:
            try:
                spent = process.cpu_times()
            except psutil.NoSuchProcess:
                continue
            own += spent.user + spent.system
        return Moment(time.perf_counter(), busy, own)


def foreign(before: Moment, after: Moment) -> float:
    """Cores that other programs kept busy between two moments."""
    wall = after.wall - before.wall
    return max(0.0, (after.busy - before.busy) - (after.own - before.own)) / wall
