"""How many client actors each trial gets, refused before anything starts where it does not fit."""

from collections.abc import Mapping, Sequence
from math import floor

from raymmfl.config import ResourcesConfig
from raymmfl.errors import ConfigError, ResourceError
from raymmfl.runtime.resources import ACTOR_GIB, fit

Resources = Mapping[str, float]


def actors_per_trial(
    settings: ResourcesConfig,
    clients: int,
    nodes: Sequence[Resources],
    memory_gib: float,
    concurrent: int,
) -> int:
    """Client actors of each of several trials side by side.

    Args:
        settings: of every trial.
        clients: of the largest cohort.
        nodes: Ray's resources per node.
        memory_gib: memory that is free now.
        concurrent: trials side by side.

    Raises:
        ConfigError: settings under which no place can be reserved for a trial.
        ResourceError: the trials do not fit, with how many would.
    """
    if settings.runtime != "ray":
        raise ConfigError(
            f"resources.runtime={settings.runtime}: a trial of a study runs on Ray; leave it out"
        )
    if settings.cpus == 0 and settings.gpus == 0:
        raise ConfigError("resources.cpus=0: a trial reserves its place; give it some of a CPU")
    fits = sum(fit(settings, node, concurrent * clients) for node in nodes)
    if settings.actors == "auto":
        spare = max(1, floor(memory_gib / ACTOR_GIB / concurrent))
        wanted = max(1, min(fits // concurrent, clients, spare))
    else:
        wanted = clients if settings.actors == "per-client" else min(settings.actors, clients)
    if concurrent * wanted > fits:
        cpus, gpus = (sum(node.get(kind, 0.0) for node in nodes) for kind in ("CPU", "GPU"))
        raise ResourceError(
            f"{concurrent} concurrent trial{'s' if concurrent > 1 else ''} of {wanted} client "
            f"actor{'s' if wanted > 1 else ''} with resources.cpus={settings.cpus:g} and "
            f"resources.gpus={settings.gpus:g} each do not fit: the cluster has {cpus:g} CPUs and "
            f"{gpus:g} GPUs, room for {fits // wanted} of them. Lower --concurrent, "
            f"resources.cpus or resources.gpus, or give a larger cluster by --address"
        )
    return wanted


def bundles(settings: ResourcesConfig, actors: int) -> list[dict[str, float]]:
    """The placement group of a trial: an empty head for driver and server, a part per client."""
    part = {"CPU": settings.cpus, "GPU": settings.gpus}
    return [{}] + [{kind: amount for kind, amount in part.items() if amount}] * actors
