"""Tests of the terminal's tables."""

from hypothesis import given
from hypothesis import strategies as st

from raymmfl.report import abbreviate, comparison_table, partition_table


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


def test_many_pixels_stay_narrow() -> None:
    text = partition_table(["a/S1"], ["Water", "Crops"], [[99_999, 1_234_567]], "pixel")
    assert text.splitlines() == ["client (pixels) Water Crops", "a/S1            99999 1235k"]


def test_the_comparison_shows_the_scores_of_the_task() -> None:
    result = {
        "task": "pixels",
        "algorithm": "mf",
        "sensors": ["S1"],
        "synthetic": True,
        "scenes": {"test": 5},
        "seed": 3,
        "metrics": {
            "test/global/all/miou": 0.5,
            "test/global/all/f1_macro": 0.6,
            "test/global/all/f1_micro": 0.75,
            "test/global/S1/miou": 0.25,
        },
        "baselines": {"guess": {"test/all/miou": 0.1, "test/all/f1_micro": 0.3}},
    }
    assert comparison_table(result).splitlines() == [
        "on the test split  scored  mIoU all  mIoU S1  macro-F1  micro-F1",
        "mf                 global     0.500    0.250     0.600     0.750",
        "no-image guess                0.100        -         -     0.300",
        "(synthetic data, 5 test scenes, one seed: 3)",
    ]


@given(st.lists(st.text(max_size=40), unique=True, max_size=30), st.integers(4, 8))
def test_short_names_are_short_and_distinct(labels: list[str], length: int) -> None:
    short = abbreviate(labels, length)
    assert list(short) == labels
    assert len(set(short.values())) == len(labels)
    assert all(len(name) <= length for name in short.values())
