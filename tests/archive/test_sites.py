"""Tests of grouping scenes into sites, by hand and against the definitions."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymmfl.archive.sites import (
    Site,
    by_attributes,
    by_chance,
    by_label_skew,
    mix_seasons,
    take_turns,
)


def rows(*numbers: int) -> Any:
    return np.array(numbers, np.int64)


def shown(sites: list[Site]) -> list[tuple[str, str | None, list[int]]]:
    return [(site.name, site.region, site.rows.tolist()) for site in sites]


def test_attributes_by_hand() -> None:
    attributes = {
        "region": np.array(["B", "A", "B", "A", "B", "C"]),
        "biome": np.array(["7", "7", "10", "7", "7", "1"]),
    }
    dealt = rows(0, 1, 2, 3, 4)  # the sixth scene is not dealt, so C is no site
    found = by_attributes(attributes, ["region", "biome"], dealt)
    assert shown(found) == [("A+7", "A", [1, 3]), ("B+10", "B", [2]), ("B+7", "B", [0, 4])]
    assert shown(by_attributes(attributes, ["biome"], dealt)) == [
        ("10", "B", [2]),  # all of it lies in B
        ("7", None, [0, 1, 3, 4]),
    ]
    assert by_attributes(attributes, ["region"], rows()) == []


def test_chance_keeps_the_sizes_and_follows_the_seed() -> None:
    dealt = np.arange(10, 40)
    found = by_chance(dealt, [20, 7, 3], seed=0)
    assert [(site.name, len(site.rows)) for site in found] == [
        ("site01", 20),
        ("site02", 7),
        ("site03", 3),
    ]
    np.testing.assert_array_equal(np.sort(np.concatenate([s.rows for s in found])), dealt)
    assert shown(by_chance(dealt, [20, 7, 3], seed=0)) == shown(found)
    assert shown(by_chance(dealt, [20, 7, 3], seed=1)) != shown(found)


@pytest.mark.parametrize("held", [1, 3])
def test_label_skew_draws_each_of_a_scenes_labels_alike(held: int) -> None:
    """A site per label in the limit of small alpha: how scenes divide shows which label stood."""
    count = 3000
    targets = np.zeros((count, 4), np.uint8)
    targets[:, :held] = 1
    found = by_label_skew(np.arange(count), targets, 50, 1e-6, seed=4)
    sizes = sorted((len(site.rows) for site in found), reverse=True)
    spread = 5 * np.sqrt(count * (1 / held) * (1 - 1 / held))  # five standard deviations
    for size in sizes[:held]:
        assert abs(size - count / held) <= spread
    assert sum(sizes[:held]) == count


def test_label_skew_tends_to_even_shares_and_deals_the_unlabelled_evenly() -> None:
    targets = np.zeros((8000, 3), np.uint8)
    targets[:4000, 1] = 1  # and the others have no label
    for dealt in (np.arange(4000), np.arange(4000, 8000)):
        found = by_label_skew(dealt, targets[dealt], 4, 1e6, seed=0)
        for site in found:
            assert abs(len(site.rows) - 1000) < 5 * np.sqrt(4000 * 0.25 * 0.75)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_label_skew_deals_every_scene_once(data: st.DataObject) -> None:
    count, sites = data.draw(st.integers(0, 30)), data.draw(st.integers(1, 6))
    bits = st.lists(st.integers(0, 1), min_size=3, max_size=3)
    targets = np.array([data.draw(bits) for _ in range(count)], np.uint8).reshape(count, 3)
    alpha = data.draw(st.sampled_from([1e-6, 0.5, 1e6]))
    found = by_label_skew(np.arange(count) + 5, targets, sites, alpha, seed=count)
    assert len(found) == sites
    together = np.concatenate([site.rows for site in found])
    assert sorted(together.tolist()) == list(range(5, count + 5))
    again = by_label_skew(np.arange(count) + 5, targets, sites, alpha, seed=count)
    assert shown(again) == shown(found)


def test_mixing_seasons_by_hand() -> None:
    regions = np.array(["A"] * 10 + ["B"] * 4 + ["A"] * 5 + ["B"])
    sites = [
        Site("A", "A", np.arange(10)),
        Site("B", "B", np.arange(10, 14)),
    ]
    spare = rows(14, 15, 16, 17, 18, 19)
    mixed, lacking = mix_seasons(sites, regions, spare, 0.5, seed=0)
    assert [len(site.rows) for site in mixed] == [10, 4]
    assert set(mixed[0].rows) & set(spare) == {14, 15, 16, 17, 18}  # half of ten
    assert set(mixed[1].rows) & set(spare) == {19}  # of two wanted
    assert lacking == {"B": (2, 1)}
    assert shown(mix_seasons(sites, regions, spare, 0.5, seed=0)[0]) == shown(mixed)
    assert shown(mix_seasons(sites, regions, spare, 0.0, seed=0)[0]) == shown(sites)
    assert sites[0].rows.tolist() == list(range(10))  # what came in is left as it was


@settings(max_examples=60, deadline=None)
@given(data=st.data(), share=st.floats(0, 1))
def test_mixing_keeps_sizes_regions_and_disjointness(data: st.DataObject, share: float) -> None:
    count = data.draw(st.integers(1, 40))
    letters = st.lists(st.sampled_from("AB"), min_size=count, max_size=count)
    regions = np.array(data.draw(letters))
    # 0 and 1 are sites, which share regions, 2 the spare scenes
    kinds = np.array(data.draw(st.lists(st.integers(0, 2), min_size=count, max_size=count)))
    sites = [Site(f"site{kind}", None, np.flatnonzero(kinds == kind)) for kind in (0, 1)]
    spare = np.flatnonzero(kinds == 2)
    mixed, lacking = mix_seasons(sites, regions, spare, share, seed=3)
    everything = np.concatenate([site.rows for site in mixed])
    assert len(set(everything.tolist())) == len(everything)
    wanted = sum(round(share * len(site.rows)) for site in sites)
    short = sum(asked - had for asked, had in lacking.values())
    assert np.isin(everything, spare).sum() == wanted - short
    for region, (asked, had) in lacking.items():
        assert had == (regions[spare] == region).sum() < asked
    for before, after in zip(sites, mixed, strict=True):
        assert sorted(regions[after.rows]) == sorted(regions[before.rows])
        assert (np.diff(after.rows) > 0).all()
        assert set(after.rows) <= set(before.rows) | set(spare)


def test_regions_take_turns_between_the_sensors() -> None:
    names = [("A+autumn", "A"), ("A+spring", "A"), ("B+spring", "B"), ("C+spring", "C")]
    sites = [Site(name, region, rows(0)) for name, region in names]
    assert take_turns(sites, ["S1", "S2"]) == {
        "A+autumn": "S1",
        "A+spring": "S1",  # a region is seen by one sensor, whatever the season
        "B+spring": "S2",
        "C+spring": "S1",
    }
    assert take_turns(sites[::-1], ["S1", "S2"]) == take_turns(sites, ["S1", "S2"])
    alone = [Site(f"site{number}", None, rows(0)) for number in range(3)]
    assert list(take_turns(alone, ["S1", "S2"]).values()) == ["S1", "S2", "S1"]
