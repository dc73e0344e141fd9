"""The objectives of a trial, read from its history line by line."""

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from raymmfl.errors import RunError


class Tally:
    """Follows one trial; bytes and FLOPs add up over its rounds."""

    def __init__(self, objectives: Iterable[str]) -> None:
        self.objectives = list(objectives)
        self.totals = {"mb": 0.0, "flops": 0.0}

    def add(self, line: Mapping[str, Any]) -> list[float]:
        """The objectives after a round; empty where the round was not scored.

        Args:
            line: the next line of the history.

        Raises:
            RunError: an objective is missing or not finite.
        """
        exchanged = sum(sum(purposes.values()) for purposes in line["bytes"].values())
        self.totals["mb"] += exchanged / 1e6
        self.totals["flops"] += float(line["flops"])
        metrics = line["metrics"]
        if not any(name.startswith("val/") for name in metrics):
            return []
        values = [
            self.totals[name] if name in self.totals else metrics.get(name, "missing")
            for name in self.objectives
        ]
        for name, value in zip(self.objectives, values, strict=True):
            if value == "missing":
                scores = ", ".join(sorted(each for each in metrics if each.startswith("val/")))
                raise RunError(f"the run has no metric {name!r}; it has {scores}")
            if value is None or not math.isfinite(value):
                raise RunError(f"{name} is not finite after round {line['round']}")
        return [float(value) for value in values]


def named(values: Sequence[float]) -> dict[str, float]:
    """Objectives under the names that Ray Tune knows them by."""
    return {value_name(index): value for index, value in enumerate(values)}


def value_name(index: int) -> str:
    """What Ray Tune calls an objective; a metric's own name holds slashes, which it would cut."""
    return f"value{index}"
