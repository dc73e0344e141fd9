"""What stays the same over the rounds of one training; workers and server get it once."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

from raymmfl.algorithms import Algorithm
from raymmfl.archive.partition import Client
from raymmfl.config import Config
from raymmfl.federation.plan import Plan


@dataclass(frozen=True)
class Setting:
    """One training of one algorithm.

    Attributes:
        config: the run's configuration.
        algorithm: what is trained; may differ from ``config.algorithm`` (baselines).
        plan: what is shared.
        clients: all clients, in their fixed order.
        scenes: number of scenes in the archive.
    """

    config: Config
    algorithm: Algorithm
    plan: Plan
    clients: tuple[Client, ...]
    scenes: int

    @cached_property
    def by_id(self) -> dict[str, Client]:
        """Clients by their ids."""
        return {client.client_id: client for client in self.clients}

    def weight(self, client_id: str) -> int:
        """``n_i``: training scenes, or 1 where all clients weigh alike."""
        uniform = self.config.sharing.weighting == "uniform"
        return 1 if uniform else len(self.by_id[client_id].rows)

    def total(self, cohort: Sequence[str], sensor: str | None) -> int:
        """``N`` over the clients of a cohort that hold a sensor (None: all of them)."""
        return sum(
            self.weight(client_id)
            for client_id in cohort
            if sensor is None or sensor in self.by_id[client_id].sensors
        )
