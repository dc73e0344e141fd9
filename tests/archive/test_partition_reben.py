"""Tests of the scenarios on the whole BigEarthNet v2.0 catalogue, against counts of its table."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from raymmfl.archive.catalogue import Catalogue
from raymmfl.archive.partition import (
    attribute_counts,
    class_counts,
    divide,
    partition,
    scenes,
)
from raymmfl.archive.readers.reben import catalogue
from raymmfl.config import ClientsConfig
from raymmfl.configfile import parse

SEVEN = ["Austria", "Belgium", "Finland", "Ireland", "Lithuania", "Serbia", "Switzerland"]


def clients_config(**values: Any) -> ClientsConfig:
    return parse({"clients": values}).clients


@pytest.fixture(scope="module")
def reben(real_data: Path) -> Catalogue:
    """The whole of BigEarthNet v2.0 without pixels."""
    return catalogue(real_data / "reben_v2")


@pytest.fixture(scope="module")
def table(real_data: Path) -> pa.Table:
    """Its published table with the month of each patch, read without the package."""
    path = real_data / "reben_v2" / "catalogue" / "metadata.parquet"
    plain = pq.read_table(path, columns=["patch_id", "country", "split", "labels"])
    return plain.append_column("month", pc.utf8_slice_codeunits(plain["patch_id"], 15, 17))


def test_reben_by_country_in_summer_is_what_the_sister_study_counted(reben: Catalogue) -> None:
    published = {
        "Finland": (14805, 8209),
        "Ireland": (7150, 4263),
        "Serbia": (7180, 3248),
        "Austria": (5941, 1871),
        "Belgium": (1323, 32),
        "Lithuania": (4206, 2151),
        "Portugal": (8037, 4220),
        "Switzerland": (1692, 2039),
    }
    config = clients_config(regions=list(published), seasons=["summer"])
    clients = partition(reben, config, 0)
    assert len(clients) == 16
    test = reben.regions[scenes(reben, config, "test")]
    for client in clients:
        assert client.region is not None
        train, expected = published[client.region]
        assert (len(client.rows), (test == client.region).sum()) == (train, expected)
    s1, s2 = clients[::2], clients[1::2]
    assert [c.rows.tolist() for c in s1] == [c.rows.tolist() for c in s2]  # paired


def test_reben_random_sites_of_the_countries_sizes(reben: Catalogue) -> None:
    chosen = {"regions": SEVEN, "seasons": ["summer"]}
    by_country = partition(reben, clients_config(**chosen), 0)
    random = partition(reben, clients_config(partition="random", sizes="region", **chosen), 0)
    assert [len(c.rows) for c in random] == [len(c.rows) for c in by_country]
    assert len(random) == 14
    names, counts = attribute_counts(reben, random, "region")
    assert names == SEVEN
    assert (counts[:, names.index("Finland")] > 0).all()  # a third of all scenes
    assert counts[::2].sum() == 5941 + 1323 + 14805 + 7150 + 4206 + 7180 + 1692


def test_reben_countries_and_seasons_against_a_group_by(reben: Catalogue, table: pa.Table) -> None:
    found = partition(reben, clients_config(partition="region+season", sensors=["S2"]), 0)
    train = table.filter(pc.equal(table["split"], "train"))
    groups = train.group_by(["country", "month"]).aggregate([("patch_id", "count")]).to_pylist()
    months = {"winter": ("12", "01", "02"), "spring": ("03", "04", "05")}
    months |= {"summer": ("06", "07", "08"), "autumn": ("09", "10", "11")}
    expected: dict[str, int] = {}
    for group in groups:
        (season,) = (name for name, each in months.items() if group["month"] in each)
        name = f"{group['country']}+{season}"
        expected[name] = expected.get(name, 0) + group["patch_id_count"]
    assert {c.client_id.removesuffix("/S2"): len(c.rows) for c in found} == expected


def test_reben_classes_against_a_group_by(reben: Catalogue, table: pa.Table) -> None:
    clients = partition(reben, clients_config(sensors=["S2"]), 0)
    counts = class_counts(reben, clients)
    train = table.filter(pc.equal(table["split"], "train"))
    flat = pa.table(
        {
            "country": train["country"].take(pc.list_parent_indices(train["labels"])),
            "label": pc.list_flatten(train["labels"]),
        }
    )
    groups = flat.group_by(["country", "label"]).aggregate([([], "count_all")]).to_pylist()
    expected = {(g["country"], g["label"]): g["count_all"] for g in groups}
    shown = {
        (client.region, label): int(count)
        for client, row in zip(clients, counts, strict=True)
        for label, count in zip(reben.labels, row, strict=True)
        if count
    }
    assert shown == expected
    names, by_region = attribute_counts(reben, clients, "region")
    assert names == sorted(names)
    assert by_region.tolist() == np.diag([len(client.rows) for client in clients]).tolist()


def test_reben_mixed_seasons(reben: Catalogue) -> None:
    config = clients_config(regions=SEVEN, seasons=["summer"], season_mix=0.2)
    found = divide(reben, config, 0)
    names, counts = attribute_counts(reben, found.clients, "season")
    summer = counts[:, names.index("summer")]
    sizes = {"Austria": 5941, "Belgium": 1323, "Finland": 14805, "Switzerland": 1692}
    for client, total, kept in zip(found.clients, counts.sum(axis=1), summer, strict=True):
        if client.region in sizes:
            assert total == sizes[client.region]
        if client.region != "Switzerland":  # which has summer scenes alone
            assert kept == total - round(0.2 * total)
    assert summer[-2:].tolist() == [1692, 1692]
    assert len(found.warnings) == 1
    assert "Switzerland has 0 training scenes" in found.warnings[0]
    assert "for the 338 to be replaced" in found.warnings[0]


def test_reben_disjoint_geography(reben: Catalogue) -> None:
    config = clients_config(regions=SEVEN, seasons=["summer"], geography="disjoint")
    found = {c.client_id: len(c.rows) for c in partition(reben, config, 0)}
    assert found == {
        "Austria/S1": 5941,
        "Belgium/S2": 1323,
        "Finland/S1": 14805,
        "Ireland/S2": 7150,
        "Lithuania/S1": 4206,
        "Serbia/S2": 7180,
        "Switzerland/S1": 1692,
    }
