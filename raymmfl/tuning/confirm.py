"""Does the gain survive? The best settings and the baselines again: other seeds, the test split.

The search saw one seed and the validation split; what it found best is best by luck, too. Settings
run with the same seeds are compared in pairs: the mean of their differences, with Student's
interval. The verdict is on the setting that validation had chosen beforehand; the others of
``--top`` stand beside it for information.
"""

import json
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any

from ray import tune

from raymmfl import configfile, history
from raymmfl.config import Config
from raymmfl.errors import RunError
from raymmfl.files import write_whole
from raymmfl.rounds import Say
from raymmfl.tasks import TASKS
from raymmfl.tuning.interval import t_interval
from raymmfl.tuning.launch import Machine, launch
from raymmfl.tuning.record import CONFIRM_FILE, Recorded, Trial
from raymmfl.tuning.study import TOTALS, sign
from raymmfl.tuning.tables import clock, in_words
from raymmfl.tuning.trial import Job, plain_config

LEVEL = 0.95
FEW = 5  # seeds, below which Student's interval is wide whatever the setting


@dataclass(frozen=True)
class Contender:
    """A setting that is run again.

    Attributes:
        trial: which it was in the search.
        role: ``rank 1`` and so on, by validation; ``base`` or ``baseline``.
    """

    trial: Trial
    role: str


def contenders(recorded: Recorded, top: int) -> list[Contender]:
    """The best settings by validation, then the base's own and the baselines, none twice.

    Those that failed in the search are left out: they would fail again.
    """
    chosen: list[Contender] = []

    def add(trial: Trial, role: str) -> None:
        if all(trial.settings != each.trial.settings for each in chosen):
            chosen.append(Contender(trial, role))

    for trial in recorded.ranked():
        if len(chosen) < top:
            add(trial, f"rank {len(chosen) + 1}")
    for trial in recorded.trials:
        if trial.origin != "search" and trial.status != "failed":
            add(trial, trial.origin)
    return chosen


def confirm(
    recorded: Recorded,
    base: Config,
    seeds: int,
    top: int,
    machine: Machine,
    resources: list[dict[str, float]],
    say: Say,
) -> dict[str, Any]:
    """Run the contenders again and compare them.

    Args:
        recorded: a study with a finished trial.
        base: its base configuration.
        seeds: how many, each other than the search's.
        top: how many of the best settings.
        machine: where, and how many at a time.
        resources: of each run, as bundles.
        say: receives each line for a person.

    Returns:
        The content of ``confirm.json``.

    Raises:
        RunError: a run failed.
    """
    chosen = contenders(recorded, top)
    numbers = [base.seed + 1 + index for index in range(seeds)]
    home, plain = Path.cwd(), plain_config(base)
    jobs = [
        Job(
            plain, {**each.trial.settings, "seed": seed}, folder_of(recorded, each, seed), (), home
        )
        for seed in numbers
        for each in chosen
    ]
    to_do = {job.folder for job in jobs if not (job.folder / "result.json").is_file()}
    say(
        f"confirming {len(chosen)} settings with {seeds} seeds each on the test split: "
        f"{len(to_do)} runs to do"
    )
    begun = time.monotonic()
    failed: dict[Path, str] = {}
    ended: set[Path] = set()

    def heard(config: dict[str, Any], result: dict[str, Any]) -> None:
        folder = jobs[config["job"]].folder
        if "failed" in result:
            failed[folder] = result["failed"]
        ended.add(folder)
        how = "failed" if "failed" in result else "ended"
        done = len(ended & to_do)
        rest = (time.monotonic() - begun) / max(1, done) * (len(to_do) - done)
        say(f"confirm {folder.name} {how}  ({len(ended)} of {len(jobs)})  left {clock(rest)}")

    launch(
        lambda config: jobs[config["job"]],
        machine,
        resources,
        recorded.folder.absolute(),
        {},
        heard,
        say,
        param_space={"job": tune.grid_search(list(range(len(jobs))))},
    )
    undone = [job for job in jobs if not (job.folder / "result.json").is_file()]
    if undone:
        why = failed.get(undone[0].folder, "its process died, or there was no time left")
        raise RunError(
            f"{len(undone)} of {len(jobs)} runs of the confirmation did not end: "
            f"{undone[0].folder.name}: {why}; --resume --confirm {seeds} runs what is missing"
        )
    found = compare(recorded, chosen, numbers)
    history.write_json(recorded.folder / CONFIRM_FILE, found)
    write_best(recorded, base)
    say(table(found))
    return found


def folder_of(recorded: Recorded, contender: Contender, seed: int) -> Path:
    """The run folder of a setting with a seed."""
    return recorded.folder.absolute() / "confirm" / f"{contender.trial.name}-seed{seed}"


def compare(
    recorded: Recorded, chosen: Sequence[Contender], seeds: Sequence[int]
) -> dict[str, Any]:
    """Test scores per seed, their spread, and the differences from the best in pairs.

    Args:
        recorded: the study, whose confirmation has been run.
        chosen: the settings; the first is judged against each of the others.
        seeds: of the runs.
    """
    metric, aim = judged_by(recorded)
    own = recorded.trials[0].settings  # the base leads every study
    base = next((each.trial.number for each in chosen if each.trial.settings == own), None)
    scores = [
        [_score(folder_of(recorded, each, seed), metric) for seed in seeds] for each in chosen
    ]
    rows: list[dict[str, Any]] = [
        {
            "trial": each.trial.number,
            "role": each.role,
            "settings": each.trial.settings,
            "values": values,
            "mean": mean(values),
            "sd": stdev(values),
        }
        for each, values in zip(chosen, scores, strict=True)
    ]
    differences = []
    for each, values in zip(chosen[1:], scores[1:], strict=True):
        pairs = [ours - theirs for ours, theirs in zip(scores[0], values, strict=True)]
        centre, low, high = t_interval(pairs, LEVEL)
        names = {"against": each.trial.number, "role": each.role, "values": pairs}
        differences.append({**names, "mean": centre, "low": low, "high": high})
    found: dict[str, Any] = {
        "metric": metric,
        "aim": aim,
        "base": base,
        "seeds": list(seeds),
        "level": LEVEL,
        "synthetic": recorded.facts["synthetic"],
        "settings": rows,
        "differences": differences,
    }
    return {**found, "verdict": verdict(found)}


def verdict(found: Mapping[str, Any]) -> str:
    """One sentence: which setting, how much better than the base's own, how sure."""
    best, way = found["settings"][0], sign(found["aim"])
    setting = f"trial {best['trial']} ({in_words(best['settings'])})"
    if found["base"] is None:
        return f"{setting} has {best['mean']:.4f} +- {best['sd']:.4f}; the base failed"
    if found["base"] == best["trial"]:
        return "the base's own setting is the best found: nothing was gained by the search"
    against = next(each for each in found["differences"] if each["against"] == found["base"])
    seeds, data = len(found["seeds"]), "synthetic" if found["synthetic"] else "real"
    ends = sorted((way * against["low"], way * against["high"]))
    gain = (
        f"{way * against['mean']:+.4f} {found['metric']} over the base, "
        f"{found['level']:.0%} interval {ends[0]:+.4f} to {ends[1]:+.4f}, {seeds} seeds in pairs, "
        f"{data} data"
    )
    if ends[0] > 0:
        told = f"{setting} is better: {gain}; the gain survives"
    elif ends[1] < 0:
        told = f"{setting} is worse than the base: {gain}; keep the base"
    else:
        told = f"{setting} cannot be told from the base: {gain}; no gain is shown"
        if seeds < FEW:
            told += f" ({seeds} seeds show only a large one)"
    top = max(found["settings"], key=lambda row: way * row["mean"])
    if top is not best:
        told += (
            f"; the best mean here is that of trial {top['trial']} "
            f"({in_words(top['settings'])}), {top['mean']:.4f}"
        )
    return told


def table(found: Mapping[str, Any]) -> str:
    """The comparison as text."""
    lines = [
        f"on the test split, {found['metric']}, seeds {found['seeds']}; mean +- standard "
        f"deviation, differences with their {found['level']:.0%} intervals:"
    ]
    by_trial = {each["against"]: each for each in found["differences"]}
    for row in found["settings"]:
        line = f"  {row['role']:<9} trial {row['trial']:>3}  {row['mean']:.4f} +- {row['sd']:.4f}"
        other = by_trial.get(row["trial"])
        if other is not None:
            line += (
                f"  rank 1 minus this {other['mean']:+.4f} "
                f"[{other['low']:+.4f}, {other['high']:+.4f}]"
            )
        lines.append(f"{line}  {in_words(row['settings'])}")
    return "\n".join([*lines, found["verdict"]])


def judged_by(recorded: Recorded) -> tuple[str, str]:
    """The first objective that is a score, on the test split, and its aim."""
    for name, aim in recorded.objectives.items():
        if name not in TOTALS:
            return name.replace("val/", "test/", 1), aim
    leading = TASKS[recorded.facts["base"]["task"]].headline[0]
    return f"test/global/all/{leading.key}", "max"


def write_best(recorded: Recorded, base: Config) -> None:
    """Write ``best.yaml``: the best setting as a configuration that ``raymmfl run`` takes."""
    trial, confirmed = recorded.ranked()[0], recorded.confirmed()
    judged = confirmed["verdict"] if confirmed else "not confirmed yet"
    config = configfile.change(base, trial.settings, trial.name)
    scores = ", ".join(
        f"{name} {value:.4f}"
        for name, value in zip(recorded.objectives, trial.values, strict=True)
    )
    remark = (
        f"# Trial {trial.number} of the study {recorded.facts['name']}: {scores}\n# {judged}\n"
    )
    write_whole(recorded.folder / "best.yaml", (remark + configfile.dump(config)).encode())


def _score(folder: Path, metric: str) -> float:
    result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    value = result["metrics"].get(metric)
    if value is None:
        raise RunError(f"{folder} has no finite {metric}; its seed cannot be compared")
    return float(value)
