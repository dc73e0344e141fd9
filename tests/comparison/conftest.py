"""Run folders and studies of a few lines each, written as the real ones are."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from raymmfl import history
from raymmfl.config import Config
from raymmfl.configfile import dump, parse
from raymmfl.tuning import record
from raymmfl.tuning.record import Trial
from tests.tuning.by_hand import make_facts

METRIC = "val/global/all/map"


def write_run(folder: Path, scores: list[float], test: float | None, config: Config) -> Path:
    """A run folder whose validation scores are given, at one megabyte per round."""
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(dump(config), encoding="utf-8")
    for number, score in enumerate(scores, 1):
        line = {
            "round": number,
            "metrics": {METRIC: score, "val/global/all/f1_macro": score / 2},
            "bytes": {"up": {"weights": 600_000}, "down": {"weights": 400_000}},
            "flops": 1e9,
        }
        history.append(folder / "history.jsonl", line)
    if test is not None:
        result = {
            "algorithm": config.algorithm,
            "synthetic": True,
            "metrics": {"test/global/all/map": test, "test/global/all/f1_macro": test / 2},
        }
        history.write_json(folder / "result.json", result)
    return folder


@pytest.fixture
def make_run(tmp_path: Path) -> Callable[..., Path]:
    """Makes a run folder by name; keywords change its configuration."""

    def make(name: str, scores: list[float], test: float | None = None, **changes: Any) -> Path:
        return write_run(tmp_path / name, scores, test, parse({"name": "run", **changes}))

    return make


@pytest.fixture
def make_study(tmp_path: Path) -> Callable[..., Path]:
    """Makes a study of the trials given as (settings, scores, status)."""

    def make(
        trials: list[tuple[Mapping[str, Any], list[float], str]],
        objectives: Mapping[str, str] | None = None,
    ) -> Path:
        folder = tmp_path / "study"
        folder.mkdir()
        aims = dict(objectives or {METRIC: "max"})
        base = {"rounds": 3, "seed": 0, "task": "scenes"}
        facts = make_facts(name="study", objectives=aims, trials=len(trials), base=base)
        record.write_facts(folder, facts)
        for number, (settings, scores, status) in enumerate(trials):
            kinds = {
                name: {
                    "name": "FloatDistribution",
                    "attributes": {"low": 0.0, "high": 1.0, "log": False, "step": None},
                }
                for name in settings
            }
            trial = Trial(
                number, "search" if number else "base", dict(settings), dict(settings), kinds
            )
            tree: dict[str, Any] = {"name": trial.name}
            for key, value in settings.items():
                section, name = key.split(".")
                tree.setdefault(section, {})[name] = value
            record.begun(folder, trial)
            write_run(folder / trial.name, scores, None, parse(tree))
            trial.status = status  # type: ignore[assignment]
            trial.round = len(scores)
            if status != "failed":
                totals = {METRIC: scores[-1], "mb": float(len(scores)), "flops": 1e9 * len(scores)}
                trial.values = [totals[name] for name in aims]
            trial.reason = "NaN in round 1" if status == "failed" else ""
            record.ended(folder, trial)
        return folder

    return make
