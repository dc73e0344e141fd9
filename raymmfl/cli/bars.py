"""Progress on a terminal: a bar per stage of a pack, with rate and time left."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def bars() -> Iterator[Callable[[Any], None]]:
    """Gives what is to be called with each :class:`raymmfl.archive.packing.pack.Progress`.

    Where nobody looks on (no terminal), nothing is drawn.
    """
    shown = _Bars()
    try:
        yield shown.update
    finally:
        shown.close()


class _Bars:
    def __init__(self) -> None:
        self.stage = ""
        self.bar: Any = None

    def update(self, seen: Any) -> None:
        from tqdm import tqdm

        if seen.stage != self.stage:
            self.close()
            unit = "unit" if seen.stage == "reading" else "scene"
            # what an earlier, broken pack had read counts neither for the rate nor the time left
            self.bar = tqdm(
                desc=seen.stage, unit=unit, total=seen.total, initial=seen.done, disable=None
            )
            self.stage, self.scenes = seen.stage, seen.scenes
        if self.bar.disable:
            return
        elapsed = self.bar.format_dict["elapsed"]
        if seen.stage == "reading" and elapsed:
            rate = (seen.scenes - self.scenes) / elapsed
            self.bar.set_postfix_str(f"{seen.scenes} scenes, {rate:.1f}/s", refresh=False)
        self.bar.update(seen.done - self.bar.n)

    def close(self) -> None:
        if self.bar is not None:
            self.bar.close()
