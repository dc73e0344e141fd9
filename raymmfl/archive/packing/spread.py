"""Work that can be spread over processes; without Ray it is done one item after the other."""

from collections.abc import Callable, Generator, Sequence
from typing import Protocol, TypeVar

T = TypeVar("T")
R = TypeVar("R")


class Spread(Protocol):
    """Calls a function with each item, in whatever processes; yields the results as they come.

    ``raymmfl.runtime.spread.over_ray`` makes one over Ray. Closing the generator ends the calls
    that still run.
    """

    def __call__(
        self, function: Callable[[T], R], items: Sequence[T], /
    ) -> Generator[R, None, None]:
        """Spread the calls; the function, the items and the results are picklable."""


def serial(function: Callable[[T], R], items: Sequence[T], /) -> Generator[R, None, None]:
    """Call a function with each item in turn, in this process."""
    for item in items:
        yield function(item)
