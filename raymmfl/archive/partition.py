"""Deal the training scenes out to clients: (region, sensor) pairs, random groups, label skew."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from raymmfl.config import ClientsConfig
from raymmfl.errors import PartitionError
from raymmfl.seeds import generator

if TYPE_CHECKING:  # the server knows clients but reads no archive
    from raymmfl.archive.store import Archive

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Client:
    """One owner of images.

    Attributes:
        client_id: ``<site>/<sensors>``, such as ``Austria/S1``.
        region: the archive's region it covers; None where its site is not a region.
        sensors: what it holds.
        rows: (n,) scene rows of its training scenes, ascending; each has at least one of its
            sensors.
    """

    client_id: str
    region: str | None
    sensors: tuple[str, ...]
    rows: Rows


def partition(archive: "Archive", config: ClientsConfig, seed: int) -> list[Client]:
    """The clients of a run, in a fixed order.

    Raises:
        PartitionError: for a region or sensor the archive does not have, a client that would
            hold no scene, two clients of one name, or none at all.
    """
    sensors = chosen_sensors(archive, config)
    regions = chosen_regions(archive, config)
    train = scenes(archive, config, "train")
    if config.partition != "region" and config.sites > len(train):
        raise PartitionError(
            f"clients.sites: {config.sites} sites for {len(train)} training scenes; use fewer"
        )
    if config.partition == "region":
        sites = {region: train[archive.regions[train] == region] for region in regions}
    elif config.partition == "random":
        sites = _random(train, config.sites, seed)
    else:
        sites = _dirichlet(train, archive.targets[train], config.sites, config.alpha, seed)
    unknown = sorted(set(config.holdings) - set(sites))
    if unknown:
        raise PartitionError(
            f"clients.holdings names the site {unknown[0]!r}; sites are: {', '.join(sites)}"
        )
    together = (sensors,) if config.holding == "all" else tuple((s,) for s in sensors)
    clients = []
    for site, rows in sites.items():
        region = site if config.partition == "region" else None
        for held in config.holdings.get(site, together):
            clients.append(_client(archive, site, region, held, rows, sensors))
    _check_ids([client.client_id for client in clients])
    return clients


def pooled(clients: Sequence[Client]) -> Client:
    """One client that holds everything the clients hold (the centralised bound)."""
    sensors = tuple(dict.fromkeys(sensor for client in clients for sensor in client.sensors))
    rows = np.unique(np.concatenate([client.rows for client in clients]))
    return Client("everyone/" + "+".join(sensors), None, sensors, rows)


def scenes(archive: "Archive", config: ClientsConfig, split: str) -> Rows:
    """Scene rows of a split that lie in a chosen region and have at least one chosen sensor."""
    rows: Rows = archive.rows(split)
    present = np.zeros(len(rows), bool)
    for sensor in chosen_sensors(archive, config):
        present |= archive.present(sensor)[rows]
    return rows[present & np.isin(archive.regions[rows], chosen_regions(archive, config))]


def class_counts(archive: "Archive", clients: Sequence[Client]) -> NDArray[np.int64]:
    """Training scenes per client and class, (clients, K)."""
    counts = [archive.targets[client.rows].sum(axis=0, dtype=np.int64) for client in clients]
    return np.stack(counts)


def chosen_sensors(archive: "Archive", config: ClientsConfig) -> tuple[str, ...]:
    """The run's sensors, in the archive's order.

    Raises:
        PartitionError: for a sensor the archive does not have.
    """
    _known(config.sensors, list(archive.sensors), "clients.sensors", archive)
    return tuple(s for s in archive.sensors if not config.sensors or s in config.sensors)


def chosen_regions(archive: "Archive", config: ClientsConfig) -> list[str]:
    """The run's regions, sorted.

    Raises:
        PartitionError: for a region the archive does not have.
    """
    present = sorted({str(region) for region in archive.regions})
    _known(config.regions, present, "clients.regions", archive)
    return sorted(config.regions) if config.regions else present


def _known(names: Sequence[str], known: Sequence[str], key: str, archive: "Archive") -> None:
    for name in names:
        if name not in known:
            raise PartitionError(
                f"{key}: {name!r} is not in the archive {archive.path}; it has {', '.join(known)}"
            )


def _check_ids(ids: Sequence[str]) -> None:
    if not ids:
        raise PartitionError("clients.holdings leaves every site without a client")
    for client_id in ids:
        if ids.count(client_id) > 1:
            raise PartitionError(
                f"clients.holdings names the client {client_id} twice; give each of a site's "
                f"clients other sensors"
            )


def _client(
    archive: "Archive",
    site: str,
    region: str | None,
    held: tuple[str, ...],
    rows: Rows,
    sensors: tuple[str, ...],
) -> Client:
    client_id = f"{site}/{'+'.join(held)}"
    _known(held, sensors, f"clients.holdings.{site}", archive)
    present = np.zeros(len(rows), bool)
    for sensor in held:
        present |= archive.present(sensor)[rows]
    if not present.any():
        raise PartitionError(
            f"client {client_id} would hold no training scene; use fewer sites, a larger "
            f"clients.alpha, or leave it out by clients.regions or clients.holdings"
        )
    return Client(client_id, region, held, rows[present])


def _random(rows: Rows, sites: int, seed: int) -> dict[str, Rows]:
    order = generator(seed, "partition", "random").permutation(rows)
    return {_site(index): np.sort(part) for index, part in enumerate(np.array_split(order, sites))}


def _dirichlet(
    rows: Rows, targets: NDArray[np.uint8], sites: int, alpha: float, seed: int
) -> dict[str, Rows]:
    """Label skew for multi-label scenes.

    Each scene stands for one of its labels, drawn evenly; each label's scenes are dealt out in
    proportions drawn from Dirichlet(alpha).
    """
    random = generator(seed, "partition", "dirichlet")
    classes = targets.shape[1]
    # (K, sites) proportions; a scene without a label is dealt out evenly
    proportions = np.vstack([random.dirichlet([alpha] * sites, classes), [[1 / sites] * sites]])
    site_of = np.empty(len(rows), np.int64)
    for index, target in enumerate(targets):
        labels = np.flatnonzero(target)
        label = labels[random.integers(len(labels))] if labels.size else classes
        site_of[index] = random.choice(sites, p=proportions[label])
    return {_site(site): rows[site_of == site] for site in range(sites)}


def _site(index: int) -> str:
    return f"site{index + 1:02d}"
