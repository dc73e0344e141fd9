"""Tests of Student's interval against printed tables."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymmfl.tuning.interval import t_interval, t_quantile


@pytest.mark.parametrize(
    ("probability", "freedom", "wanted"),
    [
        (0.975, 1, 12.7062047),
        (0.975, 2, 4.3026527),
        (0.975, 4, 2.7764451),
        (0.975, 9, 2.2621572),
        (0.95, 10, 1.8124611),
        (0.995, 30, 2.7499957),
        (0.975, 120, 1.9799304),
        (0.75, 1, 1.0),
    ],
)
def test_quantiles(probability: float, freedom: int, wanted: float) -> None:
    assert t_quantile(probability, freedom) == pytest.approx(wanted, rel=1e-7)


def test_an_interval_by_hand() -> None:
    """1, 2, 3: mean 2, deviation 1, 4.3027 / sqrt(3) = 2.4841."""
    assert t_interval([1.0, 2.0, 3.0]) == pytest.approx((2.0, -0.4841377, 4.4841377))


@settings(deadline=None)  # the first call may fall into a busy moment
@given(st.lists(st.floats(-10, 10), min_size=2, max_size=8), st.floats(-5, 5))
def test_an_interval_moves_with_its_values(values: list[float], shift: float) -> None:
    centre, low, high = t_interval(values)
    assert low <= centre <= high
    moved = t_interval([value + shift for value in values])
    assert moved == pytest.approx((centre + shift, low + shift, high + shift), abs=1e-6)
