"""Sites: training scenes grouped by what they are, by chance or by label skew; seasons mixed in.

A site is the ground that one owner sees; ``partition.py`` hands its sensors out to clients.
n scenes of the archive, m scenes to deal, K classes.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from raymmfl.archive.catalogue import Rows, Strings
from raymmfl.seeds import generator


@dataclass(frozen=True)
class Site:
    """Scenes that belong together.

    Attributes:
        name: unique among the sites; the values of its attributes joined by +, or a number.
        region: the one region that its attributes leave for its scenes; None if they may be of
            several.
        rows: scene rows, ascending.
    """

    name: str
    region: str | None
    rows: Rows


def by_attributes(
    attributes: Mapping[str, Strings], names: Sequence[str], rows: Rows
) -> list[Site]:
    """A site per combination of values that occurs, sorted by the values.

    Args:
        attributes: name -> (n,) value of each scene, "region" among them.
        names: the attributes that tell sites apart.
        rows: (m,) scene rows to deal, ascending.
    """
    code = np.zeros(len(rows), np.int64)
    for name in names:
        values, number = np.unique(attributes[name][rows], return_inverse=True)
        code = code * len(values) + number
    order = np.argsort(code, kind="stable")
    cuts = np.flatnonzero(np.diff(code[order])) + 1
    found = []
    for part in np.split(rows[order], cuts) if len(rows) else []:
        regions = attributes["region"][part]
        region = str(regions[0]) if (regions == regions[0]).all() else None
        found.append(Site("+".join(str(attributes[n][part[0]]) for n in names), region, part))
    return found


def by_chance(rows: Rows, sizes: Sequence[int], seed: int) -> list[Site]:
    """Random sites of given sizes, which add up to the scenes there are."""
    order = generator(seed, "partition", "random").permutation(rows)
    return _numbered(np.split(order, np.cumsum(sizes)[:-1]))


def by_label_skew(
    rows: Rows, targets: NDArray[np.uint8], sites: int, alpha: float, seed: int
) -> list[Site]:
    """Label skew for multi-label scenes.

    Each scene stands for one of its labels, drawn evenly; each label's scenes are dealt out in
    proportions drawn from Dirichlet(alpha) (Hsu, Qi, Brown 2019, arXiv 1909.06335, for one label
    per image). Scenes without a label are dealt out evenly.

    Args:
        rows: (m,) scene rows to deal.
        targets: (m, K) their labels.
        sites: how many.
        alpha: concentration.
        seed: of the run.
    """
    random = generator(seed, "partition", "dirichlet")
    classes = targets.shape[1]
    shares = np.vstack([random.dirichlet([alpha] * sites, classes), [[1 / sites] * sites]])
    which, where = random.random((2, len(rows)))  # one draw for the label, one for the site
    held = targets.sum(axis=1, dtype=np.int64)
    # the label at place floor(u * held) among those the scene has; K where it has none
    rank = np.cumsum(targets, axis=1, dtype=np.int64)
    label = np.argmax(rank > (which * held).astype(np.int64)[:, None], axis=1)
    label[held == 0] = classes
    site = np.empty(len(rows), np.int64)
    for each in range(classes + 1):
        own = label == each
        site[own] = np.searchsorted(np.cumsum(shares[each]), where[own], side="right")
    site = np.minimum(site, sites - 1)  # cumulated shares may end a rounding error below 1
    order = np.argsort(site, kind="stable")
    return _numbered(np.split(rows[order], np.cumsum(np.bincount(site, minlength=sites))[:-1]))


def mix_seasons(
    sites: Sequence[Site], regions: Strings, spare: Rows, share: float, seed: int
) -> tuple[list[Site], dict[str, tuple[int, int]]]:
    """Replace a share of each site's scenes by scenes of the same region from other seasons.

    Of a site of m scenes, ``round(share * m)`` drawn at random give way, each to a spare scene of
    its own region; no spare scene is dealt twice. Where a region has too few, those that give way
    are drawn among all that should, of whichever site.

    Args:
        sites: disjoint.
        regions: (n,) region of each scene of the archive.
        spare: scene rows of the other seasons, in no site.
        share: between 0 and 1.
        seed: of the run.

    Returns:
        The sites, of the sizes they had, and by region in want of spare scenes how many were to
        be replaced and how many were.
    """
    rows = np.concatenate([site.rows for site in sites])
    starts = np.cumsum([0, *(len(site.rows) for site in sites)])
    leaving = [
        start
        + generator(seed, "partition", "season_mix", site.name).choice(
            len(site.rows), round(share * len(site.rows)), replace=False
        )
        for start, site in zip(starts, sites, strict=False)
    ]
    places = np.sort(np.concatenate(leaving))
    lacking = {}
    region_of_place, region_of_spare = regions[rows[places]], regions[spare]
    for region in np.unique(region_of_place):
        random = generator(seed, "partition", "season_mix", "region", str(region))
        old = random.permutation(places[region_of_place == region])
        new = random.permutation(spare[region_of_spare == region])
        count = min(len(old), len(new))
        rows[old[:count]] = new[:count]
        if count < len(old):
            lacking[str(region)] = (len(old), count)
    parts = np.split(rows, starts[1:-1])
    mixed = [replace(site, rows=np.sort(part)) for site, part in zip(sites, parts, strict=True)]
    return mixed, lacking


def take_turns(sites: Sequence[Site], sensors: Sequence[str]) -> dict[str, str]:
    """Site -> its one sensor: regions in order take turns; sites without a region by themselves.

    So no two sensors see one region whose sites lie within it, and each sensor gets as many
    regions (or sites) as any other, or one more.
    """
    grounds = sorted({site.region or site.name for site in sites})
    turn = {ground: sensors[index % len(sensors)] for index, ground in enumerate(grounds)}
    return {site.name: turn[site.region or site.name] for site in sites}


def _numbered(parts: Sequence[Rows]) -> list[Site]:
    return [Site(f"site{i:02d}", None, np.sort(part)) for i, part in enumerate(parts, start=1)]
