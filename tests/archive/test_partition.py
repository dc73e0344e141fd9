"""Tests of dealing scenes to clients: nobody gets a foreign or a test scene, nothing is lost."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymmfl.archive.partition import Client, class_counts, partition, pooled
from raymmfl.archive.store import Archive
from raymmfl.config import ClientsConfig
from raymmfl.configfile import parse
from raymmfl.errors import PartitionError

KINDS: list[dict[str, Any]] = [
    {},
    {"holding": "all"},
    {"partition": "random", "sites": 5},
    {"partition": "dirichlet", "sites": 3, "alpha": 1.0},
    {"regions": ["Finland"]},
    {"sensors": ["S2"]},
    {"holdings": {"Austria": [["S2"]], "Finland": [["S1", "S2"], ["S1"]]}},
]


def clients_config(**values: Any) -> ClientsConfig:
    return parse({"clients": values}).clients


class Scenes:
    """The part of an archive that dealing looks at; some scenes lack a sensor."""

    path = "scenes"

    def __init__(self, present: Mapping[str, Sequence[bool]], regions: Sequence[str]) -> None:
        self.sensors = dict.fromkeys(present)
        self.regions = np.array(regions)
        self.targets = np.eye(len(regions), 4, dtype=np.uint8)
        self._present = {name: np.array(each) for name, each in present.items()}

    def present(self, sensor: str) -> Any:
        return self._present[sensor]

    def rows(self, split: str) -> Any:
        assert split == "train"
        return np.arange(len(self.regions))


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
    again = partition(archive, clients_config(**values), seed=3)
    assert [c.rows.tolist() for c in again] == [c.rows.tolist() for c in clients]


@pytest.mark.parametrize("kind", ["region", "random", "dirichlet"])
def test_sites_share_out_every_scene_once_per_sensor(archive: Archive, kind: str) -> None:
    clients = partition(archive, clients_config(partition=kind, sites=3, alpha=5.0), seed=0)
    for sensor in archive.sensors:
        rows = np.concatenate([c.rows for c in clients if c.sensors == (sensor,)])
        assert sorted(rows.tolist()) == archive.rows("train", [sensor]).tolist()


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
        ({"regions": ["Atlantis"]}, "clients.regions: 'Atlantis' is not in the archive"),
        ({"sensors": ["S3"]}, "clients.sensors: 'S3' is not in the archive"),
        ({"holdings": {"Atlantis": [["S1"]]}}, "names the site 'Atlantis'; sites are: Austria"),
        ({"holdings": {"Austria": [["S3"]]}}, "clients.holdings.Austria: 'S3'"),
        ({"sensors": ["S1"], "holdings": {"Austria": [["S2"]]}}, "holdings.Austria: 'S2'"),
        ({"partition": "random", "sites": 5000}, "5000 sites for "),
        ({"partition": "dirichlet", "sites": 40, "alpha": 1e-6}, "client site"),
        ({"holdings": {"Austria": [[]]}}, "client Austria/ would hold no training scene"),
        ({"holdings": {"Austria": [["S1"], ["S1"]]}}, "names the client Austria/S1 twice"),
        ({"holdings": {"Austria": [], "Finland": []}}, "every site without a client"),
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
    scenes: Any = Scenes({"S1": [True, False, True], "S2": [True, True, False]}, ["a"] * 3)
    found = {
        client.client_id: client.rows.tolist() for client in partition(scenes, clients_config(), 0)
    }
    assert found == {"a/S1": [0, 2], "a/S2": [0, 1]}
    (both,) = partition(scenes, clients_config(holding="all"), 0)
    assert both.rows.tolist() == [0, 1, 2]


def test_a_region_without_training_scenes_is_named() -> None:
    scenes: Any = Scenes({"S1": [True, True, False]}, ["a", "a", "b"])
    with pytest.raises(PartitionError, match="client b/S1 would hold no training scene"):
        partition(scenes, clients_config(), 0)
    found = partition(scenes, clients_config(regions=["a"]), 0)
    assert [(c.client_id, c.rows.tolist()) for c in found] == [("a/S1", [0, 1])]


@settings(max_examples=30, deadline=None)
@given(data=st.data(), scenes=st.integers(4, 30))
def test_no_client_holds_a_scene_without_its_sensor(data: st.DataObject, scenes: int) -> None:
    flags = st.lists(st.booleans(), min_size=scenes, max_size=scenes)
    present = {"S1": data.draw(flags), "S2": data.draw(flags)}
    fake: Any = Scenes(present, ["a"] * scenes)
    config = clients_config(
        partition=data.draw(st.sampled_from(["region", "random"])),
        sites=2,
        holding=data.draw(st.sampled_from(["single", "all"])),
    )
    try:
        clients = partition(fake, config, seed=0)
    except PartitionError as error:
        assert "would hold no training scene" in str(error)
        return
    for client in clients:
        for row in client.rows:
            assert any(present[sensor][row] for sensor in client.sensors)


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


def test_class_counts_by_hand() -> None:
    scenes: Any = Scenes({"S1": [True] * 3}, ["a"] * 3)
    scenes.targets = np.array([[1, 0, 1], [1, 0, 0], [0, 0, 1]], np.uint8)
    clients = [
        Client("x/S1", None, ("S1",), np.array([0, 1])),
        Client("y/S1", None, ("S1",), np.array([2])),
    ]
    assert class_counts(scenes, clients).tolist() == [[2, 0, 1], [0, 0, 1]]
