"""Tests of dealing scenes to clients: nobody gets a foreign or a test scene, nothing is lost."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from raymmfl.archive.catalogue import Catalogue
from raymmfl.archive.partition import (
    Client,
    attribute_counts,
    class_counts,
    divide,
    partition,
    pooled,
    scenes,
)
from raymmfl.archive.store import Archive
from raymmfl.config import ClientsConfig
from raymmfl.configfile import parse
from raymmfl.errors import PartitionError

KINDS: list[dict[str, Any]] = [
    {},
    {"holding": "all"},
    {"partition": "random", "sites": 5},
    {"partition": "random", "sizes": "region"},
    {"partition": "dirichlet", "sites": 3, "alpha": 1.0},
    {"partition": "season+region"},
    {"partition": "place", "geography": "disjoint"},
    {"regions": ["Finland"]},
    {"sensors": ["S2"]},
    {"holdings": {"Austria": [["S2"]], "Finland": [["S1", "S2"], ["S1"]]}},
]


def clients_config(**values: Any) -> ClientsConfig:
    return parse({"clients": values}).clients


def some_scenes(
    present: Mapping[str, Sequence[bool]],
    regions: Sequence[str],
    seasons: Sequence[str] = (),
    splits: Sequence[str] = (),
    **attributes: Sequence[str],
) -> Catalogue:
    """Scenes of the given regions, of the train split and without a date unless said otherwise."""
    count = len(regions)
    return Catalogue(
        path=Path("scenes"),
        labels=("a", "b", "c", "d"),
        sensors=tuple(present),
        scene_ids=[f"scene{number}" for number in range(count)],
        splits=np.array(splits or ["train"] * count),
        targets=np.eye(count, 4, dtype=np.uint8),
        attributes={
            "region": np.array(regions),
            "season": np.array(seasons or [""] * count),
            "place": np.array([f"{region}_1" for region in regions]),
            **{name: np.array(values) for name, values in attributes.items()},
        },
        presence={name: np.array(each, bool) for name, each in present.items()},
    )


def held(found: Sequence[Client]) -> dict[str, list[int]]:
    return {client.client_id: client.rows.tolist() for client in found}


@pytest.mark.parametrize("values", KINDS, ids=str)
def test_clients_hold_training_scenes_of_their_sensors(
    archive: Archive, values: dict[str, Any]
) -> None:
    clients = partition(archive, clients_config(**values), seed=3)
    ids = [client.client_id for client in clients]
    assert len(set(ids)) == len(ids)
    for client in clients:
        assert client.rows.size
        assert (np.diff(client.rows) > 0).all()
        assert (archive.splits[client.rows] == "train").all()
        assert client.client_id.endswith("/" + "+".join(client.sensors))
        if client.region is not None:
            assert (archive.regions[client.rows] == client.region).all()
    assert held(partition(archive, clients_config(**values), seed=3)) == held(clients)
    # the pixels are not needed
    assert held(partition(archive.catalogue, clients_config(**values), seed=3)) == held(clients)


@pytest.mark.parametrize("kind", ["region", "random", "dirichlet", "season", "place+region"])
def test_sites_share_out_every_scene_once_per_sensor(archive: Archive, kind: str) -> None:
    clients = partition(archive, clients_config(partition=kind, sites=3, alpha=5.0), seed=0)
    for sensor in archive.sensors:
        rows = np.concatenate([c.rows for c in clients if c.sensors == (sensor,)])
        assert sorted(rows.tolist()) == archive.rows("train").tolist()


def test_random_sites_are_of_equal_size_and_follow_the_seed(archive: Archive) -> None:
    config = clients_config(partition="random", sites=5, sensors=["S1"])
    clients = partition(archive, config, seed=1)
    sizes = [len(client.rows) for client in clients]
    assert max(sizes) - min(sizes) <= 1
    assert [client.region for client in clients] == [None] * 5
    assert clients[0].client_id == "site01/S1"
    other = partition(archive, config, seed=2)
    assert any((a.rows[:9] != b.rows[:9]).any() for a, b in zip(clients, other, strict=True))


def test_a_small_alpha_skews_the_labels_more(archive: Archive) -> None:
    def skew(alpha: float) -> float:
        spread = []
        for seed in range(4):
            config = clients_config(partition="dirichlet", sites=2, alpha=alpha, sensors=["S1"])
            counts = class_counts(archive, partition(archive, config, seed)).astype(float)
            spread.append(float((counts / counts.sum(axis=0)).std(axis=0).mean()))
        return float(np.mean(spread))

    assert skew(0.1) > 2 * skew(300.0)


def test_holdings_replace_a_site_and_may_leave_it_out(archive: Archive) -> None:
    both = partition(archive, clients_config(holdings={"Austria": [["S1", "S2"]]}), 0)
    ids = [client.client_id for client in both]
    assert ids == ["Austria/S1+S2", "Finland/S1", "Finland/S2"]
    less = partition(archive, clients_config(holdings={"Austria": []}), 0)
    assert [client.client_id for client in less] == ["Finland/S1", "Finland/S2"]


@pytest.mark.parametrize(
    ("values", "says"),
    [
        ({"regions": ["Autria"]}, "clients.regions: 'Autria' is not in the archive"),
        ({"regions": ["Autria"]}, "did you mean 'Austria'?; it has Austria, Finland"),
        ({"sensors": ["S3"]}, "clients.sensors: 'S3' is not in the archive"),
        ({"seasons": ["winter"]}, "clients.seasons: 'winter' is not in the archive"),
        ({"partition": "regoin"}, "no attribute 'regoin'; did you mean 'region'?; they have"),
        ({"partition": "region+biome"}, "no attribute 'biome'; they have region, season, place"),
        ({"partition": "randon"}, "did you mean 'random'?"),
        ({"holdings": {"Atlantis": [["S1"]]}}, "names the site 'Atlantis'; sites are: Austria"),
        ({"holdings": {"Austria": [["S3"]]}}, "clients.holdings.Austria: 'S3'"),
        ({"sensors": ["S1"], "holdings": {"Austria": [["S2"]]}}, "holdings.Austria: 'S2'"),
        ({"partition": "random", "sites": 5000}, "5000 sites for "),
        ({"partition": "dirichlet", "sites": 40, "alpha": 1e-6}, "client site"),
        ({"holdings": {"Austria": [[]]}}, "client Austria/ would hold no training scene"),
        ({"holdings": {"Austria": [["S1"], ["S1"]]}}, "names the client Austria/S1 twice"),
        ({"holdings": {"Austria": [], "Finland": []}}, "every site without a client"),
        ({"geography": "disjoint", "regions": ["Austria"]}, "disjoint: S2 gets no site"),
    ],
    ids=str,
)
def test_clients_that_cannot_be_made_are_named(
    archive: Archive, values: dict[str, Any], says: str
) -> None:
    with pytest.raises(PartitionError) as error:
        partition(archive, clients_config(**values), seed=0)
    assert says in str(error.value)


def test_a_scene_that_lacks_a_sensor_still_serves_the_client_of_the_other() -> None:
    few = some_scenes({"S1": [True, False, True], "S2": [True, True, False]}, ["a"] * 3)
    assert held(partition(few, clients_config(), 0)) == {"a/S1": [0, 2], "a/S2": [0, 1]}
    (both,) = partition(few, clients_config(holding="all"), 0)
    assert both.rows.tolist() == [0, 1, 2]


def test_a_region_without_training_scenes_is_named() -> None:
    few = some_scenes({"S1": [True, True, False]}, ["a", "a", "b"])
    with pytest.raises(PartitionError, match="client b/S1 would hold no training scene"):
        partition(few, clients_config(), 0)
    assert held(partition(few, clients_config(regions=["a"]), 0)) == {"a/S1": [0, 1]}


def test_attributes_combine_as_far_as_they_occur() -> None:
    few = some_scenes(
        {"S1": [True] * 5, "S2": [True] * 4 + [False]},
        ["x"] * 5,
        hemisphere=["W", "E", "E", "W", "E"],
        biome=["7", "7", "4", "7", "4"],
    )
    found = partition(few, clients_config(partition="hemisphere+biome"), 0)
    assert held(found) == {
        "E+4/S1": [2, 4],
        "E+4/S2": [2],
        "E+7/S1": [1],
        "E+7/S2": [1],
        "W+7/S1": [0, 3],
        "W+7/S2": [0, 3],
    }
    assert {client.region for client in found} == {None}  # all are of one region, x


def test_seasons_choose_scenes_of_every_split() -> None:
    few = some_scenes(
        {"S1": [True] * 6},
        ["a", "a", "b", "b", "a", "b"],
        ["summer", "winter", "summer", "spring", "summer", ""],
        ["train", "train", "train", "test", "test", "test"],
    )
    summer = clients_config(seasons=["summer"])
    assert held(partition(few, summer, 0)) == {"a/S1": [0], "b/S1": [2]}
    assert scenes(few, summer, "test").tolist() == [4]
    assert scenes(few, clients_config(seasons=["spring", "summer"]), "test").tolist() == [3, 4]
    assert scenes(few, clients_config(), "test").tolist() == [3, 4, 5]


def test_scenes_without_a_date_have_no_season() -> None:
    few = some_scenes({"S1": [True] * 2}, ["a"] * 2, ["summer", ""])
    with pytest.raises(PartitionError, match=r"1 of the 2 training scenes .* no season.*scene1"):
        partition(few, clients_config(partition="region+season"), 0)
    undated = some_scenes({"S1": [True]}, ["a"])
    with pytest.raises(PartitionError, match=r"'summer' is not in .* no scene with a date"):
        partition(undated, clients_config(seasons=["summer"]), 0)


def test_a_region_without_a_scene_of_the_season_has_no_client_and_a_warning() -> None:
    few = some_scenes({"S1": [True] * 3}, ["a", "b", "c"], ["summer", "summer", "winter"])
    found = divide(few, clients_config(partition="region+season", seasons=["summer"]), 0)
    assert held(found.clients) == {"a+summer/S1": [0], "b+summer/S1": [1]}
    assert len(found.warnings) == 1
    assert "c has no training scene" in found.warnings[0]


def test_a_region_is_a_home_only_where_it_has_one_site_of_its_own() -> None:
    few = some_scenes({"S1": [True] * 4}, ["a", "a", "b", "b"], ["spring", "summer"] * 2)

    def homes(**values: Any) -> list[str | None]:
        return [client.region for client in partition(few, clients_config(**values), 0)]

    assert homes() == ["a", "b"]
    assert homes(partition="region+season") == [None] * 4
    assert homes(partition="region+season", seasons=["summer"]) == ["a", "b"]
    assert homes(partition="season") == [None] * 2
    assert homes(partition="place") == ["a", "b"]  # each has one place
    assert homes(partition="random", sizes="region") == [None] * 2


def test_mixed_seasons_keep_the_sizes_and_touch_training_alone() -> None:
    seasons = ["summer"] * 10 + ["winter"] * 3 + ["summer"] * 4 + ["spring", "summer", ""]
    few = some_scenes(
        {"S1": [True] * 20},
        ["a"] * 13 + ["b"] * 7,
        seasons,
        ["train"] * 18 + ["test", "train"],
    )
    config = clients_config(seasons=["summer"], season_mix=0.5)
    found = divide(few, config, 0)
    others = {
        client.client_id: [seasons[row] for row in client.rows if seasons[row] != "summer"]
        for client in found.clients
    }
    assert [len(client.rows) for client in found.clients] == [10, 4]
    assert others == {"a/S1": ["winter"] * 3, "b/S1": ["spring"]}  # never the undated scene
    assert len(found.warnings) == 2
    assert "a has 3 training scenes of other seasons for the 5 to be replaced" in found.warnings[0]
    assert scenes(few, config, "test").tolist() == [18]
    other = divide(few, config, 1).clients
    assert any((x.rows != y.rows).any() for x, y in zip(found.clients, other, strict=True))


@settings(max_examples=60, deadline=None)
@given(data=st.data(), count=st.integers(4, 30))
def test_scenes_are_dealt_completely_and_to_nobody_twice(data: st.DataObject, count: int) -> None:
    def draw(values: Sequence[Any]) -> list[Any]:
        return data.draw(st.lists(st.sampled_from(values), min_size=count, max_size=count))

    few = some_scenes(
        {"S1": draw([True, True, False]), "S2": draw([True, True, False])},
        draw("ab"),
        draw(["winter", "summer"]),
        draw(["train", "train", "test"]),
        biome=draw("xy"),
    )
    mix = data.draw(st.sampled_from([0, 0, 0.4]))
    wish = clients_config(
        partition=data.draw(
            st.sampled_from(["region", "region+season", "biome+region", "random", "dirichlet"])
        ),
        sizes=data.draw(st.sampled_from(["even", "region"])),
        sites=2,
        seasons=["summer"] if mix else data.draw(st.sampled_from([[], ["winter"]])),
        season_mix=mix,
        geography=data.draw(st.sampled_from(["paired", "disjoint"])),
    )
    try:
        clients = partition(few, wish, seed=0)
    except PartitionError:
        assume(False)
    chosen = set(scenes(few, wish, "train").tolist())
    dealt = [row for client in clients for row in client.rows.tolist()]
    for client in clients:
        (sensor,) = client.sensors
        assert few.present(sensor)[client.rows].all()
        assert (few.splits[client.rows] == "train").all()
        if not mix:
            assert set(client.rows.tolist()) <= chosen
    by_sensor = {
        sensor: [row for c in clients if c.sensors == (sensor,) for row in c.rows.tolist()]
        for sensor in ("S1", "S2")
    }
    for sensor, rows in by_sensor.items():
        assert len(set(rows)) == len(rows)
        if wish.geography == "paired" and not mix:
            assert set(rows) == {row for row in chosen if few.present(sensor)[row]}
    if wish.geography == "disjoint":
        assert len(set(dealt)) == len(dealt)
        assert {len(client.client_id.split("/")) for client in clients} == {2}
        if "region" in wish.partition:
            seen = [set(few.regions[rows]) for rows in by_sensor.values()]
            assert not seen[0] & seen[1]


def test_pooled_holds_what_the_clients_hold() -> None:
    rows = [np.array(each, np.int64) for each in ([1, 4], [2, 4], [0])]
    clients = [
        Client("a/S2", "a", ("S2",), rows[0]),
        Client("a/S1", "a", ("S1",), rows[1]),
        Client("b/S2", "b", ("S2",), rows[2]),
    ]
    everyone = pooled(clients)
    assert (everyone.client_id, everyone.region) == ("everyone/S2+S1", None)
    assert everyone.rows.tolist() == [0, 1, 2, 4]


def test_counts_by_hand() -> None:
    few = some_scenes({"S1": [True] * 3}, ["b", "a", "b"])
    few.targets[:] = [[1, 0, 1, 0], [1, 0, 0, 0], [0, 0, 1, 0]]
    clients = [
        Client("x/S1", None, ("S1",), np.array([0, 1])),
        Client("y/S1", None, ("S1",), np.array([2])),
    ]
    assert class_counts(few, clients).tolist() == [[2, 0, 1, 0], [0, 0, 1, 0]]
    names, counts = attribute_counts(few, clients, "region")
    assert (names, counts.tolist()) == (["a", "b"], [[1, 1], [0, 1]])
    with pytest.raises(PartitionError, match="no attribute 'regin'; did you mean 'region'"):
        attribute_counts(few, clients, "regin")
