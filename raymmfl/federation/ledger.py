"""The ledger: logical bytes up and down, per round, client and purpose, from real encoding."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

PURPOSES = ("weights", "moments", "counters", "embeddings")

Direction = Literal["up", "down"]


@dataclass(frozen=True)
class Entry:
    """Bytes of one purpose between the server and one client in one round."""

    round: int
    client: str
    direction: Direction
    purpose: str
    bytes: int


def entries(
    round_index: int, client_id: str, direction: Direction, purposes: Mapping[str, int]
) -> list[Entry]:
    """One entry per purpose that moved anything."""
    return [
        Entry(round_index, client_id, direction, purpose, size)
        for purpose, size in purposes.items()
        if size
    ]


def totals(rows: Iterable[Entry]) -> dict[str, dict[str, int]]:
    """Bytes by direction and purpose."""
    sums = {"up": dict.fromkeys(PURPOSES, 0), "down": dict.fromkeys(PURPOSES, 0)}
    for row in rows:
        sums[row.direction][row.purpose] += row.bytes
    return sums
