"""Work spread over Ray: plain tasks of one CPU each, so many at a time, retried when one dies."""

from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeVar

import ray
from ray.exceptions import RayError, RayTaskError

from raymmfl.archive.packing.spread import Spread
from raymmfl.errors import RaymmflError, ResourceError, RunError
from raymmfl.runtime.cluster import connect

DEATHS_PER_TASK = 3
LAST_WORDS_S = 10.0  # for tasks that were told to end, to remove what they had begun
T = TypeVar("T")
R = TypeVar("R")


def over_ray(workers: int | None = None, address: str | None = None) -> Spread:
    """Spread work over Ray, which is connected to (or started) when the work begins.

    Args:
        workers: tasks at a time; None for as many as the cluster has CPUs.
        address: of an existing cluster; None uses a running local one or starts one.

    Raises:
        ResourceError: when used, if there are fewer CPUs, or no cluster answers.
        RunError: when used, if processes died again and again with one item, or if the function
            failed. Errors of raymmfl and of the operating system pass as they are.
    """

    def spread(function: Callable[[T], R], items: Sequence[T], /) -> Generator[R, None, None]:
        if not items:
            return
        owned = connect(address)
        try:
            yield from _run(function, items, _at_a_time(workers))
        finally:
            if owned:
                ray.shutdown()

    return spread


def _at_a_time(workers: int | None) -> int:
    there = int(ray.cluster_resources().get("CPU", 0))
    wanted = max(there, 1) if workers is None else workers
    if not 1 <= wanted <= there:
        raise ResourceError(
            f"{wanted} workers of one CPU each do not fit: the cluster has {there} CPUs; ask for "
            "1 or more, but not for more than these, or work without Ray (0 workers)"
        )
    return wanted


def _run(
    function: Callable[[T], R], items: Sequence[T], at_a_time: int
) -> Generator[R, None, None]:
    task = ray.remote(_call).options(num_cpus=1, max_retries=DEATHS_PER_TASK)
    shared = ray.put(function)
    left = iter(items)
    running: dict[Any, T] = {}
    try:
        while True:
            while len(running) < at_a_time and (item := next(left, None)) is not None:
                running[task.remote(shared, item)] = item
            if not running:
                return
            (ready, *_), _ = ray.wait(list(running), num_returns=1)
            yield _result(ready, running.pop(ready))
    finally:
        for reference in running:
            ray.cancel(reference)
        if running:
            ray.wait(list(running), num_returns=len(running), timeout=LAST_WORDS_S)


def _call(function: Callable[[T], R], item: T) -> R:
    return function(item)


def _result(reference: Any, item: object) -> Any:
    try:
        return ray.get(reference)
    except RayTaskError as error:
        if isinstance(error.cause, (RaymmflError, OSError)):
            raise error.cause from None
        failure = RunError(f"{item} failed: {type(error.cause).__name__}: {error.cause}")
        failure.add_note(str(error))
        raise failure from None
    except RayError as error:
        raise RunError(
            f"the process at {item} died again and again ({type(error).__name__}); is memory "
            "short, or does one of its files crash the reader?"
        ) from None
