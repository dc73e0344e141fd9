"""Tests of what fits side by side."""

import pytest

from raymmfl.config import ResourcesConfig
from raymmfl.errors import ConfigError, ResourceError
from raymmfl.tuning.place import actors_per_trial, bundles

TWO = [{"CPU": 2.0}]
GPU = [{"CPU": 16.0, "GPU": 1.0}]


def make(**values: object) -> ResourcesConfig:
    return ResourcesConfig.model_validate(values)


@pytest.mark.parametrize(
    ("settings", "nodes", "concurrent", "wanted"),
    [
        ({}, TWO, 1, 2),
        ({}, TWO, 2, 1),
        ({"cpus": 0.5}, TWO, 2, 2),
        ({"actors": 1}, TWO, 2, 1),
        ({"actors": 9}, [{"CPU": 8.0}], 2, 4),  # no more than clients
        ({}, [{"CPU": 3.0}, {"CPU": 1.0}], 2, 2),
        ({"gpus": 0.25}, GPU, 2, 2),
        ({"gpus": 0.25}, GPU, 1, 4),
        ({"gpus": 0.5, "actors": 1}, GPU, 2, 1),
        ({"cpus": 0.25, "actors": "per-client"}, TWO, 2, 4),
    ],
)
def test_actors_of_each_trial(
    settings: dict[str, object], nodes: list[dict[str, float]], concurrent: int, wanted: int
) -> None:
    assert actors_per_trial(make(**settings), 4, nodes, 64.0, concurrent) == wanted


@pytest.mark.parametrize(
    ("settings", "nodes", "concurrent", "words"),
    [
        ({}, TWO, 3, "room for 2 of them"),
        ({"actors": 2}, TWO, 2, "room for 1 of them"),
        ({"gpus": 0.5}, GPU, 3, "resources.gpus=0.5"),
        ({"gpus": 0.25}, TWO, 1, "0 GPUs"),
        ({"cpus": 2.0}, [{"CPU": 1.0}] * 4, 1, "room for 0 of them"),
        ({"actors": "per-client"}, TWO, 1, "4 client actors"),
    ],
)
def test_what_does_not_fit_is_refused(
    settings: dict[str, object], nodes: list[dict[str, float]], concurrent: int, words: str
) -> None:
    with pytest.raises(ResourceError, match=words) as caught:
        actors_per_trial(make(**settings), 4, nodes, 64.0, concurrent)
    assert f"{concurrent} concurrent trial" in str(caught.value)


def test_short_memory_means_fewer_actors() -> None:
    assert actors_per_trial(make(), 8, [{"CPU": 16.0}], 3.3, 2) == 2


@pytest.mark.parametrize("settings", [{"runtime": "serial"}, {"cpus": 0.0}])
def test_a_trial_needs_a_place_to_reserve(settings: dict[str, object]) -> None:
    with pytest.raises(ConfigError, match=f"resources.{next(iter(settings))}="):
        actors_per_trial(make(**settings), 4, TWO, 64.0, 1)


def test_bundles() -> None:
    assert bundles(make(), 2) == [{}, {"CPU": 1.0}, {"CPU": 1.0}]
    assert bundles(make(cpus=0.5, gpus=0.25), 1) == [{}, {"CPU": 0.5, "GPU": 0.25}]
