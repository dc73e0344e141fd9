"""Tests of the confirmation: who is compared, the differences, the verdict, the file."""

from pathlib import Path
from typing import Any

import pytest

from raymmfl import configfile, history
from raymmfl.config import Config
from raymmfl.errors import CheckpointError, RunError
from raymmfl.tuning.confirm import compare, contenders, folder_of, judged_by, table, write_best
from raymmfl.tuning.record import Recorded, Trial
from tests.tuning.by_hand import SCORE

TEST = "test/global/all/f1_macro"


def trial(number: int, origin: str, value: float, status: str = "finished") -> Trial:
    settings = {"train.lr": 0.001 * (number + 1)}
    return Trial(number, origin, settings, settings, {}, status, 3, [value])  # type: ignore[arg-type]


def study(folder: Path, *trials: Trial, aim: str = "max") -> Recorded:
    facts = {"name": "s", "objectives": {SCORE: aim}, "synthetic": True}
    return Recorded(folder, facts, list(trials), [])


def scored(recorded: Recorded, top: int, scores: dict[int, list[float]]) -> dict[str, Any]:
    """A comparison of runs that left these test scores, by trial."""
    chosen = contenders(recorded, top)
    seeds = [1, 2, 3]
    for each in chosen:
        for seed, value in zip(seeds, scores[each.trial.number], strict=True):
            folder = folder_of(recorded, each, seed)
            folder.mkdir(parents=True)
            history.write_json(folder / "result.json", {"metrics": {TEST: value}})
    return compare(recorded, chosen, seeds)


def test_the_best_by_validation_and_the_baselines_none_twice(tmp_path: Path) -> None:
    recorded = study(
        tmp_path,
        trial(0, "base", 0.5),
        trial(1, "baseline", 0.8),
        trial(2, "baseline", 0.1, status="pruned"),
        trial(3, "search", 0.9),
        trial(4, "search", 0.7),
    )
    found = [(each.trial.number, each.role) for each in contenders(recorded, 2)]
    assert found == [(3, "rank 1"), (1, "rank 2"), (0, "base"), (2, "baseline")]


def test_a_setting_found_twice_is_run_once_and_a_failed_baseline_not_at_all(
    tmp_path: Path,
) -> None:
    again = trial(4, "search", 0.9)
    again.settings = trial(3, "search", 0.9).settings
    recorded = study(
        tmp_path,
        trial(0, "base", 0.5),
        trial(1, "baseline", 0.8, status="failed"),
        trial(2, "search", 0.7),
        trial(3, "search", 0.9),
        again,
    )
    found = [(each.trial.number, each.role) for each in contenders(recorded, 2)]
    assert found == [(3, "rank 1"), (2, "rank 2"), (0, "base")]


GAINS = {
    # differences 0.1, 0.2, 0.3: mean 0.2, deviation 0.1, half width 4.3027 * 0.1 / sqrt(3)
    "cannot be told from the base": ([0.6, 0.7, 0.8], [0.5, 0.5, 0.5], -0.0484, 0.4484),
    "is better": ([0.6, 0.61, 0.62], [0.5, 0.5, 0.5], 0.0852, 0.1348),
    "is worse than the base": ([0.5, 0.5, 0.5], [0.6, 0.61, 0.62], -0.1348, -0.0852),
}


@pytest.mark.parametrize("words", GAINS)
def test_paired_differences_and_a_verdict(words: str, tmp_path: Path) -> None:
    ours, theirs, low, high = GAINS[words]
    recorded = study(tmp_path, trial(0, "base", 0.5), trial(1, "search", 0.6))
    found = scored(recorded, 1, {0: theirs, 1: ours})
    (difference,) = found["differences"]
    assert (difference["low"], difference["high"]) == pytest.approx((low, high), abs=1e-4)
    assert difference["mean"] == pytest.approx(sum(ours) / 3 - sum(theirs) / 3)
    assert found["verdict"].startswith(f"trial 1 (train.lr=0.002) {words}")
    assert "3 seeds" in found["verdict"]
    assert "synthetic" in found["verdict"]
    assert [row["role"] for row in found["settings"]] == ["rank 1", "base"]
    assert found["settings"][0]["mean"] == pytest.approx(sum(ours) / 3)
    assert table(found).endswith(found["verdict"])


def test_a_base_among_the_best_is_still_what_they_are_judged_against(tmp_path: Path) -> None:
    recorded = study(tmp_path, trial(0, "base", 0.5), trial(1, "search", 0.6))
    found = scored(recorded, 2, {0: [0.5, 0.5, 0.5], 1: [0.6, 0.61, 0.62]})
    assert [row["role"] for row in found["settings"]] == ["rank 1", "rank 2"]
    assert found["verdict"].startswith("trial 1 (train.lr=0.002) is better: +0.1100")


def test_a_base_that_was_stopped_is_judged_by_its_twin(tmp_path: Path) -> None:
    twin = trial(1, "search", 0.6)
    base = trial(0, "base", 0.5, status="pruned")
    base.settings = twin.settings
    recorded = study(tmp_path, base, twin, trial(2, "search", 0.7))
    found = scored(recorded, 2, {1: [0.6, 0.61, 0.62], 2: [0.5, 0.5, 0.5]})
    assert found["base"] == 1
    assert "is worse than the base: -0.1100" in found["verdict"]


def test_a_base_that_failed_leaves_nothing_to_gain_on(tmp_path: Path) -> None:
    recorded = study(tmp_path, trial(0, "base", 0.5, status="failed"), trial(1, "search", 0.6))
    verdict = scored(recorded, 1, {1: [0.6, 0.6, 0.6]})["verdict"]
    assert verdict == "trial 1 (train.lr=0.002) has 0.6000 +- 0.0000; the base failed"


def test_a_total_in_the_lead_does_not_turn_the_score_round(tmp_path: Path) -> None:
    recorded = study(tmp_path, trial(0, "base", 9.0), trial(1, "search", 3.0))
    recorded.facts["objectives"] = {"mb": "min", SCORE: "max"}
    found = scored(recorded, 1, {0: [0.6, 0.61, 0.62], 1: [0.5, 0.5, 0.5]})
    assert "is worse than the base: -0.1100" in found["verdict"]
    recorded.facts |= {"objectives": {"mb": "min"}, "base": {"task": "pixels"}}
    assert judged_by(recorded) == ("test/global/all/miou", "max")


def test_few_seeds_are_said_to_be_few(tmp_path: Path) -> None:
    recorded = study(tmp_path, trial(0, "base", 0.5), trial(1, "search", 0.6))
    verdict = scored(recorded, 1, {0: [0.5, 0.6, 0.7], 1: [0.6, 0.5, 0.9]})["verdict"]
    assert "cannot be told from the base" in verdict
    assert "; no gain is shown (3 seeds show only a large one)" in verdict


def test_less_may_be_better(tmp_path: Path) -> None:
    recorded = study(tmp_path, trial(0, "base", 0.5), trial(1, "search", 0.4), aim="min")
    found = scored(recorded, 1, {0: [0.6, 0.61, 0.62], 1: [0.5, 0.5, 0.5]})
    assert "is better: +0.1100" in found["verdict"]
    assert "interval +0.0852 to +0.1348" in found["verdict"]


def test_a_baseline_that_did_better_is_named(tmp_path: Path) -> None:
    recorded = study(
        tmp_path, trial(0, "base", 0.5), trial(1, "baseline", 0.4), trial(2, "search", 0.6)
    )
    scores = {0: [0.5, 0.5, 0.5], 1: [0.7, 0.8, 0.9], 2: [0.6, 0.6, 0.6]}
    verdict = scored(recorded, 1, scores)["verdict"]
    assert verdict.startswith("trial 2 (train.lr=0.003) is better")
    assert verdict.endswith("the best mean here is that of trial 1 (train.lr=0.002), 0.8000")


def test_nothing_gained(tmp_path: Path) -> None:
    recorded = study(tmp_path, trial(0, "base", 0.5), trial(1, "search", 0.4))
    found = scored(recorded, 1, {0: [0.5, 0.6, 0.7]})
    assert found["differences"] == []
    assert "nothing was gained" in found["verdict"]


def test_a_confirmation_of_what_was_the_best_before_is_over(tmp_path: Path) -> None:
    recorded = study(tmp_path, trial(0, "base", 0.5), trial(1, "search", 0.6))
    assert recorded.confirmed() is None
    found = scored(recorded, 1, {0: [0.5, 0.5, 0.5], 1: [0.6, 0.6, 0.6]})
    history.write_json(tmp_path / "confirm.json", found)
    assert recorded.confirmed() == found
    recorded.trials.append(trial(2, "search", 0.7))
    assert recorded.confirmed() is None
    (tmp_path / "confirm.json").write_text("{}")
    with pytest.raises(CheckpointError, match=r"confirm\.json cannot be read"):
        recorded.confirmed()


def test_a_score_that_is_missing(tmp_path: Path) -> None:
    recorded = study(tmp_path, trial(0, "base", 0.5))
    with pytest.raises(RunError, match="no finite test/global/all/f1_macro"):
        scored(recorded, 1, {0: [0.5, float("nan"), 0.5]})


def test_the_best_setting_as_a_configuration(tmp_path: Path) -> None:
    base = Config(rounds=7)
    recorded = study(tmp_path, trial(0, "base", 0.5), trial(1, "search", 0.6))
    write_best(recorded, base)
    text = (tmp_path / "best.yaml").read_text()
    heading = "# Trial 1 of the study s: val/global/all/f1_macro 0.6000\n# "
    assert text.startswith(f"{heading}not confirmed yet\n")
    found = scored(recorded, 1, {0: [0.5, 0.5, 0.5], 1: [0.6, 0.6, 0.6]})
    history.write_json(tmp_path / "confirm.json", found | {"verdict": "judged so"})
    write_best(recorded, base)
    text = (tmp_path / "best.yaml").read_text()
    assert text.startswith(f"{heading}judged so\n")
    assert configfile.load(tmp_path / "best.yaml") == configfile.change(
        base, {"train.lr": 0.002}, ""
    )
