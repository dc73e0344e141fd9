"""Deal the training scenes out to clients: sites (``sites.py``), each with its sensors' owners."""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raymmfl.archive.catalogue import Rows, Scenes, Strings
from raymmfl.archive.sites import (
    Site,
    by_attributes,
    by_chance,
    by_label_skew,
    mix_seasons,
    take_turns,
)
from raymmfl.config import ClientsConfig
from raymmfl.configfile import nearest
from raymmfl.errors import PartitionError


@dataclass(frozen=True)
class Client:
    """One owner of images.

    Attributes:
        client_id: ``<site>/<sensors>``, such as ``Austria/S1``.
        region: the region that its site, and no other site, covers; None where regions and sites
            do not match one to one.
        sensors: what it holds.
        rows: (n,) scene rows of its training scenes, ascending; each has at least one of its
            sensors.
    """

    client_id: str
    region: str | None
    sensors: tuple[str, ...]
    rows: Rows


@dataclass(frozen=True)
class Division:
    """The clients of a run in a fixed order, and what of the wish could not be had."""

    clients: list[Client]
    warnings: list[str]


def partition(archive: Scenes, config: ClientsConfig, seed: int) -> list[Client]:
    """The clients of a run, in a fixed order; as :func:`divide`, without its warnings."""
    return divide(archive, config, seed).clients


def divide(archive: Scenes, config: ClientsConfig, seed: int) -> Division:
    """Deal out the training scenes of an archive, whose pixels are not needed.

    Raises:
        PartitionError: for an attribute, region, season or sensor the archive does not have, a
            client that would hold no scene, two clients of one name, or none at all.
    """
    sensors = chosen_sensors(archive, config)
    sites = _sites(archive, config, scenes(archive, config, "train"), seed)
    warnings = _left_out(archive, config, sites)
    if config.season_mix and sites:
        sites, lacking = mix_seasons(
            sites, archive.attributes["region"], _spare(archive, config), config.season_mix, seed
        )
        warnings += [
            f"clients.season_mix {config.season_mix}: {region} has {had} training scenes of "
            f"other seasons for the {wanted} to be replaced; {wanted - had} were not"
            for region, (wanted, had) in lacking.items()
        ]
    unknown = [name for name in config.holdings if name not in {site.name for site in sites}]
    if unknown:
        names = [site.name for site in sites]
        raise PartitionError(
            f"clients.holdings names the site {unknown[0]!r}{nearest(unknown[0], names)}; "
            f"sites are: {', '.join(names)}"
        )
    homes = _homes(sites)
    clients = []
    for site, default in zip(sites, _holdings(sites, config, sensors), strict=True):
        for held in config.holdings.get(site.name, default):
            clients.append(_client(archive, site, homes.get(site.name), held, sensors))
    _check_ids([client.client_id for client in clients])
    return Division(clients, warnings)


def pooled(clients: Sequence[Client]) -> Client:
    """One client that holds everything the clients hold (the centralised bound)."""
    sensors = tuple(dict.fromkeys(sensor for client in clients for sensor in client.sensors))
    rows = np.unique(np.concatenate([client.rows for client in clients]))
    return Client("everyone/" + "+".join(sensors), None, sensors, rows)


def scenes(archive: Scenes, config: ClientsConfig, split: str) -> Rows:
    """Scene rows of a split in a chosen region and season that have at least one chosen sensor."""
    return _choose(archive, config, split, chosen_seasons(archive, config))


def class_counts(archive: Scenes, clients: Sequence[Client]) -> NDArray[np.int64]:
    """Training scenes per client and class, (clients, K)."""
    counts = [archive.targets[client.rows].sum(axis=0, dtype=np.int64) for client in clients]
    return np.stack(counts)


def attribute_counts(
    archive: Scenes, clients: Sequence[Client], attribute: str
) -> tuple[list[str], NDArray[np.int64]]:
    """The values that occur, sorted, and training scenes per client and value (clients, values).

    Raises:
        PartitionError: for an attribute the archive does not have.
    """
    _check_attribute(archive, attribute, "attribute")
    column = archive.attributes[attribute]
    values, number = np.unique(
        np.concatenate([column[client.rows] for client in clients]), return_inverse=True
    )
    parts = np.split(number, np.cumsum([len(client.rows) for client in clients])[:-1])
    counts = [np.bincount(part, minlength=len(values)) for part in parts]
    return values.tolist(), np.stack(counts).astype(np.int64)


def chosen_sensors(archive: Scenes, config: ClientsConfig) -> tuple[str, ...]:
    """The run's sensors, in the archive's order.

    Raises:
        PartitionError: for a sensor the archive does not have.
    """
    _known(config.sensors, list(archive.sensors), "clients.sensors", archive)
    return tuple(s for s in archive.sensors if not config.sensors or s in config.sensors)


def chosen_regions(archive: Scenes, config: ClientsConfig) -> list[str]:
    """The run's regions, sorted.

    Raises:
        PartitionError: for a region the archive does not have.
    """
    present = np.unique(archive.attributes["region"]).tolist()
    _known(config.regions, present, "clients.regions", archive)
    return sorted(set(config.regions)) if config.regions else present


def chosen_seasons(archive: Scenes, config: ClientsConfig) -> list[str]:
    """The run's seasons, sorted; "" is that of scenes without a date.

    Raises:
        PartitionError: for a season the archive does not have.
    """
    present = np.unique(archive.attributes["season"]).tolist()
    dated = [each for each in present if each] or ["no scene with a date"]
    _known(config.seasons, dated, "clients.seasons", archive)
    return sorted(set(config.seasons)) if config.seasons else present


def _choose(archive: Scenes, config: ClientsConfig, split: str, seasons: list[str]) -> Rows:
    rows = archive.rows(split)
    present = np.zeros(len(rows), bool)
    for sensor in chosen_sensors(archive, config):
        present |= archive.present(sensor)[rows]
    regions = chosen_regions(archive, config)
    present &= np.isin(archive.attributes["region"][rows], regions)
    present &= np.isin(archive.attributes["season"][rows], seasons)
    return rows[present]


def _spare(archive: Scenes, config: ClientsConfig) -> Rows:
    """Training scenes like the chosen ones, but of the seasons left out."""
    every = np.unique(archive.attributes["season"]).tolist()
    others = [each for each in every if each and each not in config.seasons]
    return _choose(archive, config, "train", others)


def _sites(archive: Scenes, config: ClientsConfig, rows: Rows, seed: int) -> list[Site]:
    if config.partition == "random" and config.sizes == "region":
        found = by_attributes(archive.attributes, ["region"], rows)
        return by_chance(rows, [len(site.rows) for site in found], seed)
    if config.partition in ("random", "dirichlet"):
        if config.sites > len(rows):
            raise PartitionError(
                f"clients.sites: {config.sites} sites for {len(rows)} training scenes; use fewer"
            )
        if config.partition == "dirichlet":
            targets = archive.targets[rows]
            return by_label_skew(rows, targets, config.sites, config.alpha, seed)
        sizes = [len(part) for part in np.array_split(rows, config.sites)]
        return by_chance(rows, sizes, seed)
    names = config.partition.split("+")
    for name in names:
        _check_attribute(archive, name, "clients.partition")
        _check_known(archive, name, rows)
    found = by_attributes(archive.attributes, names, rows)
    if names == ["region"]:  # whoever names a region wants a client of it
        by_name = {site.name: site for site in found}
        regions = chosen_regions(archive, config)
        return [by_name.get(each, Site(each, each, rows[:0])) for each in regions]
    return found


def _left_out(archive: Scenes, config: ClientsConfig, sites: Sequence[Site]) -> list[str]:
    """A sentence for each region that no combination of attributes has a scene of."""
    found = {site.region for site in sites}
    if None in found:
        return []
    return [
        f"clients.partition {config.partition}: {region} has no training scene of the chosen "
        f"seasons and sensors, so no client"
        for region in chosen_regions(archive, config)
        if region not in found
    ]


def _homes(sites: Sequence[Site]) -> dict[str, str]:
    """Site -> region, where every region has one site of its own; else nothing."""
    regions = [site.region for site in sites if site.region is not None]
    if len(set(regions)) < len(sites):
        return {}
    return {site.name: region for site, region in zip(sites, regions, strict=True)}


def _holdings(
    sites: Sequence[Site], config: ClientsConfig, sensors: tuple[str, ...]
) -> list[tuple[tuple[str, ...], ...]]:
    """Per site the sensors of each of its clients."""
    if config.geography == "disjoint":
        turns = take_turns(sites, sensors)
        idle = [sensor for sensor in sensors if sensor not in turns.values()]
        if idle:
            raise PartitionError(
                f"clients.geography disjoint: {idle[0]} gets no site, for there are fewer regions "
                f"or sites than sensors; use more of them, or geography paired"
            )
        return [((turns[site.name],),) for site in sites]
    together = (sensors,) if config.holding == "all" else tuple((s,) for s in sensors)
    return [together] * len(sites)


def _known(names: Iterable[str], known: Sequence[str], key: str, archive: Scenes) -> None:
    for name in names:
        if name not in known:
            raise PartitionError(
                f"{key}: {name!r} is not in the archive {archive.path}{nearest(name, known)}; "
                f"it has {', '.join(known)}"
            )


def _check_attribute(archive: Scenes, name: str, key: str) -> None:
    if name not in archive.attributes:
        known = list(archive.attributes)
        hint = nearest(name, [*known, "random", "dirichlet"])
        raise PartitionError(
            f"{key}: the scenes of {archive.path} have no attribute {name!r}{hint}; they have "
            f"{', '.join(known)}; random and dirichlet need none"
        )


def _check_known(archive: Scenes, name: str, rows: Rows) -> None:
    values: Strings = archive.attributes[name][rows]
    unknown = np.flatnonzero(values == "")
    if unknown.size:
        raise PartitionError(
            f"clients.partition: {len(unknown)} of the {len(rows)} training scenes of "
            f"{archive.path} have no {name}, such as {archive.scene_ids[rows[unknown[0]]]}; "
            f"choose another partition"
        )


def _check_ids(ids: Sequence[str]) -> None:
    if not ids:
        raise PartitionError(
            "there is no client: no training scene is of the chosen regions, seasons and sensors, "
            "or clients.holdings leaves every site without a client"
        )
    client_id, count = Counter(ids).most_common(1)[0]
    if count > 1:
        raise PartitionError(
            f"clients.holdings names the client {client_id} twice; give each of a site's clients "
            f"other sensors"
        )


def _client(
    archive: Scenes,
    site: Site,
    region: str | None,
    held: tuple[str, ...],
    sensors: tuple[str, ...],
) -> Client:
    client_id = f"{site.name}/{'+'.join(held)}"
    _known(held, sensors, f"clients.holdings.{site.name}", archive)
    present = np.zeros(len(site.rows), bool)
    for sensor in held:
        present |= archive.present(sensor)[site.rows]
    if not present.any():
        raise PartitionError(
            f"client {client_id} would hold no training scene; use fewer sites, a larger "
            f"clients.alpha, or leave it out by clients.regions or clients.holdings"
        )
    return Client(client_id, region, held, site.rows[present])
