"""Tests of the page: self-contained, escaped, its answer no surer than the seeds allow."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from raymmfl import history
from raymmfl.comparison.answer import answer
from raymmfl.comparison.entries import read
from raymmfl.comparison.groups import groups
from raymmfl.comparison.write import compare
from raymmfl.errors import ConfigError
from raymmfl.tuning import record
from raymmfl.tuning.importance import importance
from tests.comparison.conftest import METRIC

Make = Callable[..., Path]


@pytest.fixture
def study(make_study: Make) -> Path:
    """Six trials whose score is their weight; the temperature says nothing."""
    settings = [(0.1, 0.9), (0.2, 0.3), (0.5, 0.6), (0.7, 0.2), (0.9, 0.5)]
    trials: list[tuple[dict[str, float], list[float], str]] = [
        ({"mim.weight": weight, "mim.temperature": other}, [0.0, weight], "finished")
        for weight, other in settings
    ]
    return make_study([*trials, ({"mim.weight": 0.3, "mim.temperature": 0.4}, [0.1], "failed")])


def test_the_page_of_a_study_needs_nothing_else(study: Path, tmp_path: Path) -> None:
    sentence, page = compare([study], tmp_path / "page")
    html = page.read_text(encoding="utf-8")
    assert sentence.startswith("trial_0004 (mim.weight=0.9, mim.temperature=0.5) is ahead")
    assert "One seed, and validation chose it: not sure" in sentence
    assert not re.search(r"(src|href)=\"(?!data:)", html)
    assert "<script" not in html
    assert html.count("data:image/png;base64,") == 4
    assert "synthetic data" in html
    assert "6 trials: 5 finished, 1 failed; 11 of 18 rounds were run" in html
    assert "NaN in round 1" in html
    names = {path.name for path in page.parent.iterdir()}
    figures = ("learning_curves", "score_against_bytes", "parallel_coordinates", "importance")
    assert {f"{each}.{kind}" for each in figures for kind in ("png", "csv")} <= names
    assert {"trainings.csv", "settings.csv", "comparison.html"} <= names


def test_several_objectives_have_a_front_and_no_best(make_study: Make, tmp_path: Path) -> None:
    trials = [
        ({"train.lr": 0.1}, [0.1], "finished"),
        ({"train.lr": 0.2}, [0.1, 0.4, 0.8], "finished"),
        ({"train.lr": 0.3}, [0.1, 0.3, 0.5], "finished"),  # as much as the second, for less
        ({"train.lr": 0.4}, [0.3, 0.6], "finished"),
    ]
    objectives = {"val/global/all/map": "max", "mb": "min", "flops": "min"}
    sentence, page = compare([make_study(trials, objectives)], tmp_path / "page")
    assert sentence.startswith("3 of 4 finished trials are on the Pareto front: trial 1 (val/")
    assert "map 0.8, mb 3, flops 3e+09) to trial 0 (val/global/all/map 0.1, mb 1" in sentence
    rows = (page.parent / "pareto_front.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows if row.endswith("True")] == ["0", "1", "3"]


def test_names_are_escaped(make_run: Make, tmp_path: Path) -> None:
    paths = [make_run("<b>", [0.1], 0.2), make_run("plain", [0.1], 0.3)]
    _, page = compare(paths, tmp_path / "page")
    html = page.read_text(encoding="utf-8")
    assert "<b>" not in html
    assert "&lt;b&gt;" in html


def test_importance_finds_the_setting_that_decides(study: Path) -> None:
    first, second = importance(record.read(study))
    assert (first.setting, first.trials) == ("mim.weight", 5)
    assert (second.setting, second.trials) == ("mim.temperature", 5)
    assert first.share > 0.6
    assert first.share + second.share == pytest.approx(1.0)


def test_a_setting_of_some_trials_is_judged_among_them(make_study: Make) -> None:
    plain = [({"train.lr": rate}, [rate], "finished") for rate in (0.1, 0.2, 0.3, 0.4)]
    linked = [
        ({"train.lr": 0.2, "mim.weight": weight}, [weight], "finished")
        for weight in (0.1, 0.3, 0.6, 0.9)
    ]
    found = {each.setting: each for each in importance(record.read(make_study([*plain, *linked])))}
    assert (found["train.lr"].trials, found["mim.weight"].trials) == (8, 4)
    assert found["mim.weight"].share == pytest.approx(1.0), "these four differ in nothing else"


def test_too_few_trials_have_no_importance(make_study: Make) -> None:
    trials = [({"mim.weight": each}, [each], "finished") for each in (0.1, 0.2, 0.3)]
    assert importance(record.read(make_study(trials))) == []


def test_a_setting_whose_range_changes_has_no_share(make_study: Make) -> None:
    rates = [({"train.lr": each, "mim.weight": 1 - each}, [each], "finished") for each in
             (0.1, 0.3, 0.4, 0.9)]  # fmt: skip
    study = record.read(make_study(rates))
    study.trials[2].distributions["train.lr"]["attributes"]["high"] = 0.5
    assert [each.setting for each in importance(study)] == ["mim.weight"]


def test_a_total_in_the_lead_leaves_the_order_to_a_score(make_study: Make, tmp_path: Path) -> None:
    trials = [({"mim.weight": each}, [each], "finished") for each in (0.2, 0.1)]
    folder = make_study(trials, {"mb": "min", METRIC: "max"})
    compare([folder], tmp_path / "page")
    assert read([folder]).metric == METRIC
    with pytest.raises(ConfigError, match="order by a score, such as val/global/all/map"):
        read([folder], "mb")


def test_trials_may_be_ordered_by_one_class(make_study: Make, tmp_path: Path) -> None:
    folder = make_study([({"mim.weight": each}, [each], "finished") for each in (0.2, 0.1)])
    for path in folder.glob("*/history.jsonl"):
        lines = history.read(path)
        path.unlink()
        for line in lines:
            line["metrics"]["val/global/all/f1/water"] = line["metrics"][METRIC]
            history.append(path, line)
    _, page = compare([folder], tmp_path / "page", "val/global/all/f1/water")
    assert "val/global/all/f1/water" in page.read_text(encoding="utf-8")


def test_a_setting_tried_twice_has_one_seed(make_study: Make) -> None:
    folder = make_study([({"mim.weight": each}, [each], "finished") for each in (0.1, 0.2, 0.2)])
    best, _ = groups(read([folder]))
    assert (best.values, best.spread) == ((0.2,), None)
    assert "(one seed: 0)" in answer(read([folder]))


def test_a_lead_that_only_other_seeds_made_is_no_lead(make_run: Make) -> None:
    paths = [
        make_run(f"a{seed}", [0.1], value, seed=seed)
        for seed, value in enumerate((0.5, 0.501, 0.95))
    ]
    paths += [
        make_run(f"b{seed}", [0.1], value, seed=seed, train={"lr": 0.5})
        for seed, value in enumerate((0.6, 0.602))
    ]
    sentence = answer(read(paths))
    assert sentence.startswith("a0 (train.lr=0.001) is ahead")
    assert "-0.1005 against b0 (train.lr=0.5) over 2 seeds in pairs" in sentence
    assert "so it is behind on the seeds that both have" in sentence


def test_equal_seeds_are_compared_in_pairs(make_run: Make) -> None:
    # differences .1, .1, .1 but for a hair: surely ahead, though the seeds themselves spread
    gains = (0.1, 0.101, 0.099)
    paths = [make_run(f"a{i}", [0.1], 0.2 * i + 0.2, seed=i) for i in range(3)]
    paths += [
        make_run(f"b{i}", [0.1], 0.2 * i + 0.2 + gain, seed=i, train={"lr": 0.5})
        for i, gain in enumerate(gains)
    ]
    sentence = answer(read(paths))
    # t(0.975, 2) = 4.3027; sd .001; half width 4.3027 * .001 / sqrt(3) = .0025
    assert "+0.1000 against a0 (train.lr=0.001) over 3 seeds in pairs" in sentence
    assert "95% interval +0.0975 to +0.1025, so it is ahead" in sentence


def test_one_seed_is_never_sure(make_run: Make) -> None:
    sentence = answer(
        read([make_run("a", [0.1], 0.2), make_run("b", [0.1], 0.9, train={"lr": 0.5})])
    )
    assert "not sure: fewer than two seeds in common" in sentence


def test_the_base_as_the_best_is_no_gain(make_study: Make) -> None:
    folder = make_study([({"mim.weight": x}, [x], "finished") for x in (0.9, 0.1)])
    sentence = answer(read([folder]))
    assert "the base's own setting is the best of 2 finished trials" in sentence
    assert "no gain to confirm" in sentence and "--confirm" not in sentence


def test_a_setting_beside_one_that_has_not_ended(make_run: Make) -> None:
    ended = make_run("a", [0.1], 0.2)
    other = make_run("b", [0.1], None, train={"lr": 0.5})
    (other / "result.json").unlink(missing_ok=True)
    sentence = answer(read([ended, other]))
    assert sentence.endswith("it is the only setting of which a run has ended.")


def test_a_confirmed_study_answers_with_its_verdict(study: Path, tmp_path: Path) -> None:
    best = {"trial": 4, "role": "rank 1", "settings": {"mim.weight": 0.9}, "mean": 0.5, "sd": 0.01}
    base = {"trial": 0, "role": "base", "settings": {}, "mean": 0.4, "sd": 0.02}
    lead = {"against": 0, "role": "base", "mean": 0.1, "low": 0.05, "high": 0.15}
    found = {
        "metric": "test/global/all/map", "seeds": [1, 2, 3], "level": 0.95,
        "settings": [best, base], "differences": [lead],
        "verdict": "trial 4 is better: so and so",
    }  # fmt: skip
    history.write_json(study / "confirm.json", found)
    sentence, page = compare([study], tmp_path / "page")
    assert sentence == "Confirmed on the test split: trial 4 is better: so and so."
    html = page.read_text(encoding="utf-8")
    assert "<td>base</td><td>0</td><td>0.4000</td><td>0.0200</td>" in html
    assert "<td>+0.1000</td><td>+0.0500 to +0.1500</td>" in html
