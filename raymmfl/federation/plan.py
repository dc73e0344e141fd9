"""The sharing plan as plain data: which arrays leave a client, how far, and how they merge.

NumPy only, so that a server needs no torch. `sharing.py` makes plans from models.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass
from functools import cached_property
from math import prod
from typing import Literal

Scope = Literal["all", "modality", "client"]
Merge = Literal["mean", "moments", "max"]
Kind = Literal["weights", "moments", "counters"]


@dataclass(frozen=True)
class Slot:
    """One parameter or buffer of the model.

    Attributes:
        name: its ``state_dict`` key.
        shape: of the array.
        kind: weights (float32), moments (float32 normalisation statistics) or counters (int64).
        sensor: whose encoder it belongs to; None where every client has it.
        scope: ``all`` over every client, ``modality`` over the clients of that sensor,
            ``client`` never leaves.
        merge: ``mean``; ``moments`` pools with the between-client term; ``max`` for counters.
        mean: for a second moment, the name of the slot with its mean.
    """

    name: str
    shape: tuple[int, ...]
    kind: Kind
    sensor: str | None
    scope: Scope
    merge: Merge
    mean: str | None = None

    @property
    def size(self) -> int:
        """Number of elements."""
        return prod(self.shape)


@dataclass(frozen=True)
class Plan:
    """All slots of the full model, in the order of its ``state_dict``."""

    slots: tuple[Slot, ...]

    @cached_property
    def by_name(self) -> dict[str, Slot]:
        """Slots by their names."""
        return {slot.name: slot for slot in self.slots}

    @cached_property
    def spans(self) -> dict[str, slice]:
        """Where each shared slot lies in the flat vector of its kind."""
        ends = {"weights": 0, "moments": 0, "counters": 0}
        spans = {}
        for slot in self.shared():
            start = ends[slot.kind]
            ends[slot.kind] = start + slot.size
            spans[slot.name] = slice(start, ends[slot.kind])
        return spans

    def shared(self, sensors: Collection[str] | None = None) -> Iterator[Slot]:
        """Slots that leave a client holding these sensors (None: any client)."""
        for slot in self.slots:
            if slot.scope != "client" and held(slot, sensors):
                yield slot

    def length(self, kind: Kind) -> int:
        """Elements of the flat vector of a kind."""
        return sum(slot.size for slot in self.shared() if slot.kind == kind)

    def table(self) -> str:
        """The plan as text: a line per (part, kind, scope, merge) with its arrays and numbers."""
        groups: dict[tuple[str, str, str, str], list[int]] = {}
        for slot in self.slots:
            key = (slot.name.split(".")[0], slot.kind, slot.scope, slot.merge)
            groups.setdefault(key, []).append(slot.size)
        lines = [f"{'part':<12}{'kind':<10}{'scope':<10}{'merge':<9}{'arrays':>7}{'numbers':>12}"]
        for (part, kind, scope, merge), sizes in groups.items():
            lines.append(
                f"{part:<12}{kind:<10}{scope:<10}{merge:<9}{len(sizes):>7}{sum(sizes):>12,}"
            )
        return "\n".join(lines)


def held(slot: Slot, sensors: Collection[str] | None) -> bool:
    """Whether a client with these sensors has the slot (None: any client)."""
    return sensors is None or slot.sensor is None or slot.sensor in sensors
