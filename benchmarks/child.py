"""One fresh process of the start-up measurement: a first round, then some more on demand."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.workload import Work


def main(kind: str, backbone: str, images: str, archive: str, rounds: str) -> None:
    """Play ``ours`` or ``bare``; says when the first and when the last round is over."""
    work = Work(backbone, int(images), 0.0)
    play: Callable[[], Any]
    close: Callable[[], None]
    if kind == "ours":
        from benchmarks import ours

        runtime = ours.start(work, Path(archive))
        play, close = runtime.round, runtime.close
    else:
        from benchmarks import bare

        loop = bare.BareLoop(work)
        play, close = loop.round, loop.close
    play()
    _say("first")
    sys.stdin.readline()
    for _ in range(int(rounds)):
        play()
    _say("last")
    sys.stdin.readline()
    close()


def _say(word: str) -> None:
    sys.stdout.write(word + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(*sys.argv[1:])
