"""Which part of a source is packed, decided before a pixel is read."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from raymmfl.archive.catalogue import season
from raymmfl.archive.readers.source import Unit
from raymmfl.archive.splits import SPLITS
from raymmfl.errors import ArchiveError


@dataclass(frozen=True)
class Subset:
    """A choice of units; empty means all.

    Attributes:
        regions: names of regions (countries).
        seasons: of :data:`raymmfl.archive.catalogue.SEASONS`; units without a date are in none.
        splits: "train", "val", "test". Where reading decides the split, its scenes are chosen
            after reading.
        limit: the first so many units of each region and split.
    """

    regions: tuple[str, ...] = ()
    seasons: tuple[str, ...] = ()
    splits: tuple[str, ...] = ()
    limit: int | None = None

    def choose(self, units: Sequence[Unit], source: Any) -> list[Unit]:
        """The units to pack, in their order.

        Args:
            units: all units of a source.
            source: named in errors.

        Raises:
            ArchiveError: a name that no unit has, naming those there are; a limit below 1; nothing
                left.
        """
        if self.limit is not None and self.limit < 1:
            raise ArchiveError(f"limit={self.limit}: must be at least 1")
        there = {unit.split for unit in units}
        _check("region", self.regions, {unit.region for unit in units}, source)
        _check("season", self.seasons, {season(unit.date) for unit in units}, source)
        _check("split", self.splits, set(SPLITS) if "" in there else there, source)
        counts: Counter[tuple[str, str]] = Counter()
        chosen = []
        for unit in units:
            if (
                (self.regions and unit.region not in self.regions)
                or (self.seasons and season(unit.date) not in self.seasons)
                or (self.splits and unit.split and unit.split not in self.splits)
            ):
                continue
            counts[unit.region, unit.split] += 1
            if self.limit is None or counts[unit.region, unit.split] <= self.limit:
                chosen.append(unit)
        if not chosen:
            raise ArchiveError(f"{source}: nothing is left to pack by {self}; choose more")
        return chosen

    def tell(self) -> dict[str, Any]:
        """What was chosen, for the record; without what was not."""
        return {name: value for name, value in asdict(self).items() if value not in ((), None)}


def _check(kind: str, wanted: Sequence[str], there: set[str], source: Any) -> None:
    known = sorted(there - {""})
    unknown = [name for name in wanted if name not in known]
    if unknown:
        raise ArchiveError(f"{source}: no {kind} {', '.join(unknown)}; there are {known}")
