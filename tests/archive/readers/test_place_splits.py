from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymmfl.archive.readers.place_splits import split_places


@pytest.mark.parametrize(
    ("places", "train", "held_back"),
    [(1, 1, 0), (2, 2, 0), (3, 1, 1), (4, 2, 1), (7, 5, 1), (20, 14, 3), (100, 70, 15)],
)
def test_shares_within_a_region(places: int, train: int, held_back: int) -> None:
    found = Counter(split_places({f"p{n}": "here" for n in range(places)}, 0).values())
    assert (found["train"], found["val"], found["test"]) == (train, held_back, held_back)


def test_only_a_validation_is_drawn() -> None:
    found = Counter(split_places({f"p{n}": "here" for n in range(20)}, 0, ("val",)).values())
    assert found == {"train": 17, "val": 3}


@given(st.dictionaries(st.text(max_size=4), st.sampled_from("abc"), max_size=40), st.integers())
def test_a_region_knows_nothing_of_the_others(regions: dict[str, str], seed: int) -> None:
    found = split_places(regions, seed)
    assert list(found) == list(regions)
    for region in set(regions.values()):
        here = {place: r for place, r in reversed(list(regions.items())) if r == region}
        assert split_places(here, seed) == {place: found[place] for place in here}


def test_the_seed_draws() -> None:
    regions = {f"p{n}": "here" for n in range(30)}
    assert split_places(regions, 1) == split_places(regions, 1) != split_places(regions, 2)
