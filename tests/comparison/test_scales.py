"""Tests of where values stand on an axis."""

import pytest

from raymmfl.comparison.scales import ABSENT, EDGE, numbers, setting


def test_many_numbers_keep_their_distances() -> None:
    found = setting([0.0, 1.0, 2.0, 3.0, 4.0, 10.0])
    assert found.places == pytest.approx(
        [EDGE + (1 - 2 * EDGE) * x for x in (0, 0.1, 0.2, 0.3, 0.4, 1)]
    )
    assert found.names == ["0", "2.5", "5", "7.5", "10"]


def test_a_wide_range_is_logarithmic() -> None:
    found = numbers([0.001, 0.01, 0.1])
    assert found.places == pytest.approx([EDGE, 0.5, 1 - EDGE])
    assert found.names[0] == "0.001"
    assert found.names[-1] == "0.1"


def test_few_numbers_stand_at_equal_steps_by_size() -> None:
    found = setting([16, 2, 4, 16])
    assert found.names == ["2", "4", "16"]
    assert found.places == pytest.approx([1 - EDGE, EDGE, 0.5, 1 - EDGE])


@pytest.mark.parametrize(
    ("values", "names"),
    [
        (["b", None, "a"], ["none", "a", "b"]),
        ([8, None, 4], ["none", "4", "8"]),
        ([True, False, None], ["none", "False", "True"]),
        ([("S1", "S2"), (), ("S1",)], ["S1", "S1+S2", "none"]),
    ],
)
def test_what_is_absent_stands_lowest(values: list[object], names: list[str]) -> None:
    found = setting(values)
    assert found.names == names
    if None in values:
        assert found.places[values.index(None)] == EDGE


def test_what_is_absent_stands_below_all_numbers() -> None:
    amounts = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
    found = setting([None, *amounts, None])
    assert found.places[0] == found.places[-1] == EDGE
    there = found.places[1:-1]
    assert min(there) == pytest.approx(EDGE + ABSENT)
    assert max(there) == pytest.approx(1 - EDGE)
    assert list(there) == sorted(there)
    assert (found.names[0], found.ticks[0]) == ("none", EDGE)


def test_one_value_has_a_place() -> None:
    assert setting(["a", "a"]).places == [EDGE, EDGE]
    assert numbers([3.0, 3.0]).names == ["3"]
