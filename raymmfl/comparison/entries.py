"""What is compared: trainings, read back from run folders or from a study."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from raymmfl import configfile as configuration
from raymmfl import history
from raymmfl.config import Config
from raymmfl.errors import CheckpointError, ConfigError
from raymmfl.tasks import TASKS, VIEWS, Metric
from raymmfl.tuning import record
from raymmfl.tuning.study import TOTALS

UNCOMPARED = ("name", "seed", "baselines", "version")
"""Keys that say nothing of the method; where a run runs and is mirrored does not either."""
UNCOMPARED_SECTIONS = ("tracking", "resources")


@dataclass(frozen=True)
class Entry:
    """One training.

    Attributes:
        name: of its folder; a baseline's follows that of its run.
        folder: of the run.
        status: ``finished``, ``pruned`` (stopped early), ``failed`` or ``running``.
        settings: configuration key -> value, without what does not decide the method.
        seed: of the training.
        task: what it predicts.
        synthetic: no satellite took its pixels; None where the run has no result.
        lines: its history, round by round.
        test: metrics on the test split; empty where it was not read.
        reason: why it failed.
    """

    name: str
    folder: Path
    status: str
    settings: Mapping[str, Any]
    seed: int
    task: str
    synthetic: bool | None
    lines: Sequence[Mapping[str, Any]]
    test: Mapping[str, float]
    reason: str = ""

    @property
    def round(self) -> int:
        """The last round."""
        return int(self.lines[-1]["round"]) if self.lines else 0

    @cached_property
    def megabytes(self) -> float:
        """Exchanged both ways over all rounds, in 10^6 bytes."""
        return sum(self.moved)

    @property
    def moved(self) -> list[float]:
        """Exchanged in each round, in 10^6 bytes."""
        return [
            sum(sum(each.values()) for each in line["bytes"].values()) / 1e6 for line in self.lines
        ]

    def curve(self, metric: str) -> dict[int, float]:
        """Round -> value of a metric, where it was scored."""
        found = {}
        for line in self.lines:
            value = line["metrics"].get(metric)
            if value is not None:
                found[int(line["round"])] = float(value)
        return found

    def last(self, metric: str) -> float | None:
        """The metric's last value; of the test split from the result."""
        if metric.startswith("test/"):
            return self.test.get(metric)
        return next(reversed(self.curve(metric).values()), None)


@dataclass(frozen=True)
class Comparison:
    """Trainings and the metric that orders them.

    Attributes:
        title: what is compared.
        entries: in the order given, or of the trials.
        metric: full name, such as ``val/global/all/map``.
        more_is_better: whether the metric is to be large.
        study: the record, if these are a study's trials.
        confirmed: the content of the study's ``confirm.json``, if there is one.
    """

    title: str
    entries: Sequence[Entry]
    metric: str
    more_is_better: bool
    study: record.Recorded | None = None
    confirmed: Mapping[str, Any] | None = None

    @property
    def heading(self) -> str:
        """The title of its figures, which travel without the page."""
        synthetic = all(entry.synthetic for entry in self.entries)
        return f"{self.title}, synthetic data" if synthetic else self.title

    @property
    def headline(self) -> Metric | None:
        """What the metric is called, where it is one of the task's."""
        key = self.metric.rsplit("/", 1)[-1]
        info = TASKS[self.entries[0].task]
        return next((each for each in info.headline if each.key == key), None)

    @cached_property
    def keys(self) -> list[str]:
        """The settings in which the entries differ, in the order of the configuration."""
        names = [each.key for each in configuration.fields()]
        return [
            name
            for name in names
            if len({json.dumps(each.settings.get(name), default=str) for each in self.entries}) > 1
        ]

    @cached_property
    def ranked(self) -> list[Entry]:
        """The trainings that ended and have the metric, best first."""
        way = -1 if self.more_is_better else 1
        scored = [(each.last(self.metric), each) for each in self.entries]
        ended = [(v, e) for v, e in scored if v is not None and e.status == "finished"]
        return [entry for _, entry in sorted(ended, key=lambda pair: way * pair[0])]


def read(paths: Sequence[Path], metric: str | None = None) -> Comparison:
    """Read run folders, or one study.

    Args:
        paths: run folders, or a single study's folder.
        metric: what orders them; None for the study's first score, or the leading score of the
            task on the test split (on validation, where a run has no test scores).

    Raises:
        ConfigError: nothing to compare, runs of different tasks, or an unknown metric.
        CheckpointError: a folder that is neither run nor study, or cannot be read.
    """
    if not paths:
        raise ConfigError("compare: name at least two run folders, or one study")
    if len({path.resolve() for path in paths}) < len(paths):
        raise ConfigError("compare: a folder is named twice")
    if len(paths) == 1 and record.is_study(paths[0]):
        return _study(paths[0], metric)
    studies = [path for path in paths if record.is_study(path)]
    if studies:
        raise ConfigError(f"compare: {studies[0]} is a study; compare one study, or runs alone")
    entries = [entry for path in paths for entry in _run(path, path.name)]
    if len(entries) < 2:
        raise ConfigError(f"compare: {paths[0]} is one training without baselines; name another")
    _one_task(entries)
    chosen = metric or _leading(entries)
    _check(entries, chosen)
    return Comparison(f"{len(paths)} runs", entries, chosen, not chosen.endswith("/loss"))


def _study(folder: Path, metric: str | None) -> Comparison:
    found = record.read(folder)
    if not found.trials:
        raise CheckpointError(f"{folder} has no trial yet; let it run first")
    record.check_folders(found)
    entries = []
    searched = {name for trial in found.trials for name in trial.settings}
    for trial in found.trials:
        path = found.path(trial)
        if (path / "config.yaml").is_file():
            entry = _entry(trial.name, path, trial.status, found.lines(trial), trial.reason)
            # a setting that was not asked for, as it means nothing beside the others, is absent
            settings = {
                key: value
                for key, value in entry.settings.items()
                if key in trial.settings or key not in searched
            }
            synthetic = bool(found.facts["synthetic"])
            entries.append(replace(entry, settings=settings, synthetic=synthetic))
    if not entries:
        raise CheckpointError(f"no trial of {folder} got as far as its first round")
    scores = [name for name in found.objectives if name not in TOTALS]
    first = scores[0] if scores else f"val/global/all/{TASKS[entries[0].task].headline[0].key}"
    chosen = metric or first
    more = found.objectives.get(chosen, "max") == "max" and not chosen.endswith("/loss")
    if chosen in TOTALS:
        raise ConfigError(f"--metric {chosen}: order by a score, such as {first}")
    _check(entries, chosen)
    return Comparison(f"study {folder.name}", entries, chosen, more, found, found.confirmed())


def _run(folder: Path, name: str) -> list[Entry]:
    """A run and its baselines."""
    if not (folder / "config.yaml").is_file():
        raise CheckpointError(f"{folder} is no run folder and no study: it has no config.yaml")
    status = "finished" if (folder / "result.json").is_file() else "running"
    entries = [_entry(name, folder, status, history.read(folder / "history.jsonl"))]
    for baseline in sorted((folder / "baselines").glob("*/")):
        done = "finished" if (baseline / "result.json").is_file() else "running"
        lines = history.read(baseline / "history.jsonl")
        title = f"{name} {baseline.name}"
        entries.append(_entry(title, baseline, done, lines, "", folder, baseline.name))
    return entries


def _entry(
    name: str,
    folder: Path,
    status: str,
    lines: Sequence[Mapping[str, Any]],
    reason: str = "",
    parent: Path | None = None,
    algorithm: str | None = None,
) -> Entry:
    config: Config = configuration.load((parent or folder) / "config.yaml")
    result = _json(folder / "result.json") if (folder / "result.json").is_file() else {}
    settings = {
        key: value
        for key, value in _flat(config.model_dump(mode="json")).items()
        if key not in UNCOMPARED and key.split(".")[0] not in UNCOMPARED_SECTIONS
    }
    settings["algorithm"] = algorithm or result.get("algorithm") or config.algorithm
    return Entry(
        name, folder, status, settings, config.seed, config.task, result.get("synthetic"),
        lines, result.get("metrics", {}), reason,
    )  # fmt: skip


def _flat(tree: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    known = {each.key for each in configuration.fields()}
    found: dict[str, Any] = {}
    for key, value in tree.items():
        if isinstance(value, Mapping) and f"{prefix}{key}" not in known:
            found |= _flat(value, f"{prefix}{key}.")
        else:
            found[f"{prefix}{key}"] = value
    return found


def _one_task(entries: Sequence[Entry]) -> None:
    tasks = {entry.task: entry.name for entry in entries}
    if len(tasks) > 1:
        named = ", ".join(f"{name} predicts {task}" for task, name in tasks.items())
        raise ConfigError(f"compare: {named}; compare runs of one task")


def _leading(entries: Sequence[Entry]) -> str:
    key = TASKS[entries[0].task].headline[0].key
    for split in ("test", "val"):
        for view in VIEWS:
            name = f"{split}/{view}/all/{key}"
            if all(entry.last(name) is not None for entry in entries):
                return name
    # algorithms without a global model are scored at home only: take what most runs have
    names = [f"{split}/{view}/all/{key}" for split in ("test", "val") for view in VIEWS]
    return max(names, key=lambda name: sum(entry.last(name) is not None for entry in entries))


def _check(entries: Sequence[Entry], metric: str) -> None:
    if any(entry.last(metric) is not None for entry in entries):
        return
    if all(entry.status == "failed" for entry in entries):
        raise ConfigError(f"every training failed; {entries[0].name}: {entries[0].reason}")
    known = sorted(
        {name for each in entries for line in each.lines[-1:] for name in line["metrics"]}
        | {name for each in entries for name in each.test}
    )
    hint = configuration.nearest(metric, known)
    shown = [name for name in known if name.count("/") == 3]
    if not shown:
        raise ConfigError("no training was scored yet; let them run first")
    raise ConfigError(f"--metric {metric!r}: no run has it{hint}; there are {', '.join(shown)}")


def _json(path: Path) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("no JSON object")
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path} cannot be read: {error}") from None
    return found
