"""Trainings that differ by their seed alone, as one row with mean and spread."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from raymmfl.comparison.entries import Comparison, Entry


@dataclass(frozen=True)
class Group:
    """Trainings of one setting.

    Attributes:
        name: of the first.
        entries: one per seed.
        values: the metric of each, in the order of the entries.
    """

    name: str
    entries: tuple[Entry, ...]
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over the seeds."""
        return fmean(self.values)

    @property
    def spread(self) -> float | None:
        """Standard deviation between seeds (n - 1); None of one seed."""
        return stdev(self.values) if len(self.values) > 1 else None

    @property
    def by_seed(self) -> dict[int, float]:
        """The metric of each seed."""
        return {e.seed: v for e, v in zip(self.entries, self.values, strict=True)}


def groups(comparison: Comparison) -> list[Group]:
    """The settings among the trainings that ended, best mean first."""
    found: dict[str, list[Entry]] = {}
    for entry in comparison.ranked:
        found.setdefault(json.dumps(entry.settings, sort_keys=True, default=str), []).append(entry)
    rows = [_group(entries, comparison.metric) for entries in found.values()]
    return sorted(rows, key=lambda row: -row.mean if comparison.more_is_better else row.mean)


def _group(entries: Sequence[Entry], metric: str) -> Group:
    by_seed: dict[int, Entry] = {}
    for entry in sorted(entries, key=lambda entry: entry.seed):
        by_seed.setdefault(entry.seed, entry)  # the same setting and seed again is the same run
    ordered = tuple(by_seed.values())
    values = [entry.last(metric) for entry in ordered]
    return Group(ordered[0].name, ordered, tuple(v for v in values if v is not None))
