"""How many client actors run, checked against what the cluster has before anything starts."""

from collections.abc import Mapping
from math import floor

from raymmfl.config import ResourcesConfig
from raymmfl.errors import ResourceError

# What one actor that trains a ResNet-18 was seen to need; only `auto` looks at it.
ACTOR_GIB = 0.8


def actor_count(
    settings: ResourcesConfig, clients: int, cluster: Mapping[str, float], memory_gib: float
) -> int:
    """Number of client actors.

    Args:
        settings: what was asked for.
        clients: clients of the largest cohort; more actors than that would idle.
        cluster: Ray's resources, such as ``{"CPU": 2.0, "GPU": 1.0}``.
        memory_gib: memory that is free now.

    Raises:
        ResourceError: saying what was asked for, what is there and what to change.
    """
    have = {"CPU": cluster.get("CPU", 0.0), "GPU": cluster.get("GPU", 0.0)}
    need = {"CPU": settings.cpus, "GPU": settings.gpus}
    fits = min([_fit(have[kind], need[kind]) for kind in have if need[kind] > 0], default=clients)
    if settings.actors == "auto":
        if fits < 1:
            raise _error(1, settings, have)
        return max(1, min(clients, fits, floor(memory_gib / ACTOR_GIB)))
    wanted = clients if settings.actors == "per-client" else min(settings.actors, clients)
    if wanted > fits:
        raise _error(wanted, settings, have)
    return wanted


def _fit(have: float, need: float) -> int:
    """How many requests fit; a fraction of a GPU is packed within one device by Ray."""
    per_device = floor(1 / need + 1e-9) if need < 1 else 0
    return floor(have) * per_device if per_device else floor(have / need + 1e-9)


def _error(actors: int, settings: ResourcesConfig, have: Mapping[str, float]) -> ResourceError:
    return ResourceError(
        f"{actors} client actor{'s' if actors > 1 else ''} with resources.cpus={settings.cpus:g} "
        f"and resources.gpus={settings.gpus:g} each do not fit: the cluster has "
        f"{have['CPU']:g} CPUs and {have['GPU']:g} GPUs. Lower resources.cpus, resources.gpus or "
        f"resources.actors, or give a larger cluster by --address"
    )
