"""Tests of the terminal's tables."""

from hypothesis import given
from hypothesis import strategies as st

from raymmfl.report import abbreviate, partition_table


def test_a_small_partition() -> None:
    text = partition_table(
        ["Austria/S1", "Kosovo/S2"], ["Water", "Mixed forest"], [[3, 0], [12, 1]]
    )
    assert text.splitlines() == [
        "client     Water MixeFore",
        "Austria/S1     3        .",
        "Kosovo/S2     12        1",
        "MixeFore = Mixed forest",
    ]


def test_nineteen_long_names_stay_narrow() -> None:
    labels = [f"Principally occupied vegetation of kind {number}" for number in range(19)]
    text = partition_table(["Bosnia and Herzegovina/S1"], labels, [[100] * 19])
    assert max(map(len, text.splitlines())) <= 125


def test_no_clients() -> None:
    assert partition_table([], ["Water"], []) == "client Water"


@given(st.lists(st.text(max_size=40), unique=True, max_size=30), st.integers(4, 8))
def test_short_names_are_short_and_distinct(labels: list[str], length: int) -> None:
    short = abbreviate(labels, length)
    assert list(short) == labels
    assert len(set(short.values())) == len(labels)
    assert all(len(name) <= length for name in short.values())
