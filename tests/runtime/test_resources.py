"""Tests of how many actors run: what fits per node, and errors that say what is there."""

from typing import Any

import pytest

from raymmfl.config import ResourcesConfig
from raymmfl.errors import ResourceError
from raymmfl.runtime.resources import actor_count, idle_gpus

PLENTY = 1000.0


def node(cpu: float = 0.0, gpu: float = 0.0) -> dict[str, float]:
    """What Ray says of a node; a kind it lacks is left out."""
    found = {"memory": 1e10, "CPU": cpu, "GPU": gpu}
    return {kind: amount for kind, amount in found.items() if amount}


def count(nodes: list[dict[str, float]], clients: int = 100, **settings: Any) -> int:
    return actor_count(ResourcesConfig(**settings), clients, nodes, PLENTY)


@pytest.mark.parametrize(
    ("nodes", "settings", "fits"),
    [
        ([node(2)], {"cpus": 1}, 2),
        ([node(2)], {"cpus": 0.5}, 4),
        ([node(2)], {"cpus": 0.4}, 5),  # processors are shared out of one pool
        ([node(2)], {"cpus": 0.1}, 20),
        ([node(4)], {"cpus": 3}, 1),
        ([node(16, 1)], {"cpus": 1, "gpus": 0.25}, 4),
        ([node(16, 2)], {"cpus": 1, "gpus": 0.25}, 8),
        ([node(16, 2)], {"cpus": 1, "gpus": 0.3}, 6),
        ([node(16, 2)], {"cpus": 1, "gpus": 0.6}, 2),  # a device is never split over two
        ([node(16, 4)], {"cpus": 1, "gpus": 2}, 2),
        ([node(3, 4)], {"cpus": 1, "gpus": 0.25}, 3),  # the scarcer one decides
        ([node(0, 1)], {"cpus": 0, "gpus": 0.5}, 2),
        ([node(3), node(3)], {"cpus": 2}, 2),  # and not three: an actor lives on one node
        ([node(8), node(2, 1)], {"cpus": 1, "gpus": 0.25}, 2),
        ([node(1), node()], {"cpus": 1}, 1),
        # parts that a trial has reserved
        ([node(0.5, 0.25)] * 3, {"cpus": 0.5, "gpus": 0.25}, 3),
        ([node(1, 0.6)], {"cpus": 0.5, "gpus": 0.3}, 2),
        ([node(4, 1.5)], {"cpus": 1, "gpus": 0.5}, 3),
    ],
)
def test_auto_takes_what_fits_and_no_number_may_exceed_it(
    nodes: list[dict[str, float]], settings: dict[str, Any], fits: int
) -> None:
    assert count(nodes, **settings) == fits
    assert count(nodes, actors=fits, **settings) == fits
    assert count(nodes, clients=fits, actors="per-client", **settings) == fits
    with pytest.raises(ResourceError):
        count(nodes, actors=fits + 1, **settings)
    with pytest.raises(ResourceError):
        count(nodes, clients=fits + 1, actors="per-client", **settings)


def test_never_more_actors_than_clients() -> None:
    assert count([node(16)], clients=3) == 3
    assert count([node(16)], clients=3, actors=8) == 3
    assert count([node(2)], clients=2, actors=8) == 2


def test_without_a_claim_any_number_fits() -> None:
    assert count([node(1)], clients=7, cpus=0) == 7
    assert count([node(1)], clients=7, cpus=0, actors="per-client") == 7


@pytest.mark.parametrize(("memory_gib", "actors"), [(0.1, 1), (1.7, 2), (PLENTY, 8)])
def test_auto_minds_the_memory(memory_gib: float, actors: int) -> None:
    assert actor_count(ResourcesConfig(), 8, [node(8)], memory_gib) == actors


@pytest.mark.parametrize("actors", ["auto", 1, "per-client"])
@pytest.mark.parametrize("gpus", [0.25, 1, 4])
def test_a_gpu_that_is_not_there(actors: str | int, gpus: float) -> None:
    with pytest.raises(ResourceError, match="0 GPUs") as caught:
        count([node(8)], actors=actors, gpus=gpus)
    assert caught.value.exit_code == 3


def test_the_error_says_what_is_asked_and_what_is_there() -> None:
    with pytest.raises(ResourceError) as caught:
        count([node(2, 1), node(4)], actors=9, gpus=0.5)
    text = str(caught.value)
    for part in ("9 client actors", "cpus=1", "gpus=0.5", "6 CPUs", "1 GPUs", "2 nodes"):
        assert part in text
    assert "resources.actors" in text


def test_gpus_that_nobody_asks_for_are_told() -> None:
    (line,) = idle_gpus(ResourcesConfig(), [node(4, 1), node(4, 1)])
    assert "2 GPUs" in line and "resources.gpus=0.25" in line
    assert idle_gpus(ResourcesConfig(gpus=0.5), [node(4, 1)]) == []
    assert idle_gpus(ResourcesConfig(), [node(4)]) == []
