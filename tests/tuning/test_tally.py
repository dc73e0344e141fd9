"""Tests of reading objectives from a history."""

import pytest

from raymmfl.errors import RunError
from raymmfl.tuning.tally import Tally
from tests.tuning.by_hand import SCORE, line


def test_scores_are_the_round_s_own_and_totals_add_up() -> None:
    tally = Tally([SCORE, "mb", "flops"])
    assert tally.add(line(1, 0.25, mb=2.0)) == [0.25, 2.0, 1000.0]
    unscored = {**line(2, 0.0, mb=3.0), "metrics": {"train/loss": 1.0}}
    assert tally.add(unscored) == []
    assert tally.add(line(3, 0.5, mb=0.5)) == [0.5, 5.5, 3000.0]


@pytest.mark.parametrize("value", [None, float("nan"), float("inf")])
def test_what_is_not_finite_ends_the_trial(value: float | None) -> None:
    with pytest.raises(RunError, match=f"{SCORE} is not finite after round 4"):
        Tally(["mb", SCORE]).add({**line(4, 0.0), "metrics": {SCORE: value}})


def test_a_metric_that_does_not_exist() -> None:
    with pytest.raises(RunError, match="no metric 'val/x'; it has val/global/all/f1_macro"):
        Tally(["val/x"]).add(line(1, 0.0))
