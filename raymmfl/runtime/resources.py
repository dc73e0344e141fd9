"""How many client actors run, checked against what the cluster has before anything starts."""

from collections.abc import Mapping, Sequence
from math import floor

from raymmfl.config import ResourcesConfig
from raymmfl.errors import ResourceError

# What one actor that trains a ResNet-18 was seen to need; only `auto` looks at it.
ACTOR_GIB = 0.8


def actor_count(
    settings: ResourcesConfig,
    clients: int,
    nodes: Sequence[Mapping[str, float]],
    memory_gib: float,
) -> int:
    """Number of client actors.

    Args:
        settings: what was asked for.
        clients: clients of the largest cohort; more actors than that would idle.
        nodes: Ray's resources per node, such as ``{"CPU": 2.0, "GPU": 1.0}``; an actor lives on
            one of them.
        memory_gib: memory that is free now.

    Raises:
        ResourceError: saying what was asked for, what is there and what to change.
    """
    fits = sum(fit(settings, node, clients) for node in nodes)
    if settings.actors == "auto":
        if fits < 1:
            raise _error(1, settings, nodes)
        return max(1, min(clients, fits, floor(memory_gib / ACTOR_GIB)))
    wanted = clients if settings.actors == "per-client" else min(settings.actors, clients)
    if wanted > fits:
        raise _error(wanted, settings, nodes)
    return wanted


def fit(settings: ResourcesConfig, node: Mapping[str, float], most: int) -> int:
    """How many actors fit on a node, or in a part of one that a trial has reserved.

    Ray packs a fraction of a GPU within one device; a reserved part may be such a fraction.
    """
    fits = [most]
    if settings.cpus > 0:
        fits.append(floor(node.get("CPU", 0.0) / settings.cpus + 1e-9))
    if 0 < settings.gpus < 1:
        gpus = node.get("GPU", 0.0)
        whole = floor(gpus)
        on_a_part = floor((gpus - whole) / settings.gpus + 1e-9)
        fits.append(whole * floor(1 / settings.gpus + 1e-9) + on_a_part)
    elif settings.gpus:
        fits.append(floor(node.get("GPU", 0.0) / settings.gpus + 1e-9))
    return min(fits)


def idle_gpus(settings: ResourcesConfig, nodes: Sequence[Mapping[str, float]]) -> list[str]:
    """A line for those who have GPUs and ask for none."""
    gpus = sum(node.get("GPU", 0.0) for node in nodes)
    if settings.gpus or not gpus:
        return []
    return [
        f"resources.gpus=0: none of the cluster's {gpus:g} GPUs is used; resources.gpus=0.25, "
        f"say, gives each client actor a quarter of one"
    ]


def _error(
    actors: int, settings: ResourcesConfig, nodes: Sequence[Mapping[str, float]]
) -> ResourceError:
    cpus, gpus = (sum(node.get(kind, 0.0) for node in nodes) for kind in ("CPU", "GPU"))
    spread = f" on {len(nodes)} nodes" if len(nodes) > 1 else ""
    return ResourceError(
        f"{actors} client actor{'s' if actors > 1 else ''} with resources.cpus={settings.cpus:g} "
        f"and resources.gpus={settings.gpus:g} each do not fit: the cluster has {cpus:g} CPUs and "
        f"{gpus:g} GPUs{spread}. Lower resources.cpus, resources.gpus or resources.actors, or "
        f"give a larger cluster by --address"
    )
