"""Where a run's actors may live: anywhere in the cluster, or in the placement group around it.

A trial of a search runs inside a placement group: its server and clients stay in there, one client
actor per bundle, so that trials side by side do not take each other's processors.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import ray
from ray.util.placement_group import get_current_placement_group
from ray.util.scheduling_strategies import (
    NodeAffinitySchedulingStrategy,
    PlacementGroupSchedulingStrategy,
)


@dataclass(frozen=True)
class Place:
    """What a run has.

    Attributes:
        parts: resources such as ``{"CPU": 2.0}``; a client actor fits within one part.
        clients: how Ray places a client actor.
        server: how Ray places the server.
    """

    parts: Sequence[Mapping[str, float]]
    clients: Any
    server: Any


def own_place() -> Place:
    """The placement group that this process was started in, or else the whole cluster."""
    group = get_current_placement_group()
    if group is not None:
        inside = PlacementGroupSchedulingStrategy(group)
        return Place(group.bundle_specs, inside, inside)
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    return Place(cluster_nodes(), "DEFAULT", here)


def cluster_nodes() -> list[Mapping[str, float]]:
    """The resources of each living node."""
    return [node["Resources"] for node in ray.nodes() if node["Alive"]]
