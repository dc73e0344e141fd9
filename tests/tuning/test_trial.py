"""Tests of one trial without Ray: what it reports, where it stops, that it continues."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from raymmfl import configfile, history
from raymmfl.config import Config
from raymmfl.run import run
from raymmfl.scoring.split import Split
from raymmfl.tuning.tally import Tally, named
from raymmfl.tuning.trial import Job, play
from tests.tuning.by_hand import SCORE

Make = Callable[..., Config]
Digests = Callable[[Path], dict[str, str]]
SERIAL = {"runtime": "serial"}


@pytest.fixture
def job(tiny: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Job:
    monkeypatch.chdir(tmp_path)  # a trial changes the working folder
    base = tiny(rounds=3, resources=SERIAL)
    return Job(
        base, {"algorithm": "mf"}, tmp_path / "trial_0000", (SCORE, "mb", "flops"), tmp_path
    )


class Reports(list[dict[str, Any]]):
    """Receives reports; ends the trial at a chosen one, as Ray Tune does."""

    def __init__(self, stop: int | None = None) -> None:
        self.stop = stop

    def __call__(self, result: dict[str, Any]) -> None:
        self.append(result)
        if result["round"] == self.stop and not result["decided"]:
            raise SystemExit


def test_every_round_is_reported_and_the_test_split_is_not_read(
    job: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    splits = []

    def noted(archive: Any, config: Any, name: str) -> Any:
        splits.append(name)
        return Split(archive, config, name)

    for module in ("opening", "rounds", "results"):
        monkeypatch.setattr(f"raymmfl.{module}.Split", noted)
    play(job, reports := Reports())
    assert set(splits) == {"train", "val"}
    lines = history.read(job.folder / "history.jsonl")
    tally = Tally(job.objectives)
    assert reports == [
        {"round": line["round"], "rounds": 3, "decided": False, **named(tally.add(line))}
        for line in lines
    ]
    assert reports[-1]["value1"] > 2 * reports[0]["value1"] > 0
    assert reports[-1]["value2"] == 3 * reports[0]["value2"] > 0
    files = {path.name for path in job.folder.iterdir()}
    assert {"result.json", "model.safetensors", "config.yaml"} <= files
    assert "figures" not in files
    metrics = job.folder / "result.json"
    assert "test/" not in metrics.read_text()


def test_stopped_and_played_again_it_continues_with_the_same_bits(
    job: Job, digests: Digests, expected: Callable[[Config], dict[str, str]]
) -> None:
    with pytest.raises(SystemExit):
        play(job, first := Reports(stop=2))
    assert [each["round"] for each in first] == [1, 2]
    before = history.read(job.folder / "history.jsonl")
    play(job, second := Reports())
    assert [(each["round"], each["decided"]) for each in second] == [
        (1, True),
        (2, False),  # whether it was decided upon, nobody knows
        (3, False),
    ]
    assert [{**each, "decided": False} for each in second[:2]] == first
    assert history.read(job.folder / "history.jsonl")[:2] == before
    assert digests(job.folder) == expected(job.base.model_copy(update={"algorithm": "mf"}))
    play(job, third := Reports())
    assert [each["round"] for each in third] == [1, 2, 3]


def test_it_continues_on_what_there_is_now(
    job: Job, digests: Digests, expected: Callable[[Config], dict[str, str]]
) -> None:
    with pytest.raises(SystemExit):
        play(job, Reports(stop=2))
    resources = job.base.resources.model_copy(update={"cpus": 0.5})
    base = job.base.model_copy(update={"resources": resources})
    play(replace(job, base=base), reports := Reports())
    assert reports[-1]["round"] == 3
    assert configfile.load(job.folder / "config.yaml").resources.cpus == 0.5
    assert digests(job.folder) == expected(job.base.model_copy(update={"algorithm": "mf"}))


def test_a_trial_that_runs_into_nan_fails_with_its_round(job: Job) -> None:
    play(replace(job, settings={"train.lr": 1e30}), reports := Reports())
    assert reports[-1]["rounds"] == 3
    assert any(word in reports[-1]["failed"] for word in ("no update was accepted", "not finite"))


@pytest.mark.parametrize(
    ("settings", "objectives", "words"),
    [
        ({"train.lr": -1}, (SCORE,), "train.lr"),
        ({"clients.regions": ["Atlantis"]}, (SCORE,), "Atlantis"),
        ({}, ("val/x",), "no metric 'val/x'"),
    ],
)
def test_why_a_trial_failed_is_a_sentence(
    settings: dict[str, Any], objectives: tuple[str, ...], words: str, job: Job
) -> None:
    play(replace(job, settings=settings, objectives=objectives), reports := Reports())
    assert words in reports[-1]["failed"]
    assert "Traceback" not in reports[-1]["failed"]


def test_a_folder_without_a_whole_checkpoint_is_begun_again(job: Job) -> None:
    with pytest.raises(SystemExit):
        play(job, Reports(stop=1))
    for path in (job.folder / "checkpoints").rglob("*.safetensors"):
        path.write_bytes(b"")
    play(job, reports := Reports())
    assert [each["round"] for each in reports] == [1, 2, 3]


def test_without_objectives_it_is_a_run_like_any_other(
    job: Job, digests: Digests, tmp_path: Path
) -> None:
    play(replace(job, objectives=(), settings={"seed": 3}), reports := Reports())
    assert reports == [{"round": 3, "rounds": 3, "decided": True}]
    other = run(job.base.model_copy(update={"seed": 3}), tmp_path / "other")
    assert digests(job.folder) == digests(other)
    names = ["result.json", "history.jsonl"]
    assert "test/global/all/f1_macro" in (job.folder / names[0]).read_text()
