"""The record of a study on disk, in open formats: ``study.json`` and ``trials.jsonl``.

``trials.jsonl`` has a line when a trial begins and one when it ends, in the order in which the
sampler was told: replaying them gives the sampler's state. What happened in between stands in the
trial's run folder. Nothing heavy is imported.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, FiniteFloat, TypeAdapter, ValidationError

from raymmfl import configfile, history
from raymmfl.errors import CheckpointError, RaymmflError

Status = Literal["running", "finished", "pruned", "failed"]
STUDY_FILE = "study.json"
TRIALS_FILE = "trials.jsonl"
CONFIRM_FILE = "confirm.json"
_FORMAT = 1


class _Line(BaseModel):
    """A line of ``trials.jsonl``."""

    model_config = ConfigDict(strict=True, extra="forbid")
    trial: int = Field(ge=0)


class _Begun(_Line):
    event: Literal["begun"]
    origin: str
    params: dict[str, Any]
    settings: dict[str, Any]
    distributions: dict[str, dict[str, Any]]


class _Ended(_Line):
    event: Literal["ended"]
    status: Literal["finished", "pruned", "failed"]
    round: int = Field(ge=0)
    values: list[FiniteFloat]
    reason: str


class _Facts(BaseModel):
    """What readers of ``study.json`` rely on."""

    model_config = ConfigDict(strict=True)
    format: Literal[1]
    name: str
    objectives: dict[str, Literal["max", "min"]] = Field(min_length=1)
    trials: int
    stopping: dict[str, int] | None
    seed: int
    startup: int
    space: dict[str, dict[str, Any]]
    points: list[dict[str, Any]]
    archive: str
    synthetic: bool
    base: dict[str, Any]
    versions: dict[str, str]


class _Setting(BaseModel):
    trial: int
    role: str
    settings: dict[str, Any]
    mean: float
    sd: float


class _Confirmed(BaseModel):
    """What readers of ``confirm.json`` rely on."""

    metric: str
    seeds: list[int]
    level: float
    settings: list[_Setting] = Field(min_length=1)
    differences: list[dict[str, Any]]
    verdict: str


_LINE: TypeAdapter[_Begun | _Ended] = TypeAdapter(
    Annotated[_Begun | _Ended, Field(discriminator="event")]
)


@dataclass
class Trial:
    """One trial.

    Attributes:
        number: from 0, in the order of suggestion.
        origin: ``base``, ``baseline`` or ``search``.
        params: what the sampler chose, by configuration key.
        settings: all keys that it changes in the base.
        distributions: what each of ``params`` was drawn from, as Optuna's JSON objects.
        status: finished (ran to its last round), pruned (stopped early), failed, or running
            (also: interrupted).
        round: the last one that was scored.
        values: of the study's objectives after that round; empty where there is none.
        reason: why it failed.
    """

    number: int
    origin: str
    params: dict[str, Any]
    settings: dict[str, Any]
    distributions: dict[str, Any]
    status: Status = "running"
    round: int = 0
    values: list[float] = field(default_factory=list)
    reason: str = ""

    @property
    def name(self) -> str:
        """Of its run folder within the study's."""
        return f"trial_{self.number:04d}"


@dataclass
class Recorded:
    """A study as read back.

    Attributes:
        folder: the study's.
        facts: the content of ``study.json``.
        trials: by number.
        events: (``begun`` or ``ended``, trial number), in the order in which they happened.
    """

    folder: Path
    facts: dict[str, Any]
    trials: list[Trial]
    events: list[tuple[str, int]]

    @property
    def objectives(self) -> dict[str, str]:
        """Metrics and their aims."""
        return dict(self.facts["objectives"])

    def path(self, trial: Trial) -> Path:
        """The run folder of a trial."""
        return self.folder / trial.name

    def lines(self, trial: Trial) -> list[dict[str, Any]]:
        """The history of a trial up to the round that its record names."""
        found = history.read(self.path(trial) / "history.jsonl")
        return [line for line in found if line["round"] <= trial.round]

    def rounds(self) -> tuple[int, int]:
        """Rounds that were run, and those that all trials would have had to their ends."""
        own = int(self.facts["base"]["rounds"])
        whole = sum(int(trial.settings.get("rounds", own)) for trial in self.trials)
        return sum(trial.round for trial in self.trials), whole

    def story(self) -> str:
        """How many trials ended in which way, and how many rounds that took, in one line."""
        names = {"finished": "finished", "pruned": "stopped early", "failed": "failed",
                 "running": "not finished"}  # fmt: skip
        found = {status: sum(t.status == status for t in self.trials) for status in names}
        told = ", ".join(f"{n} {names[each]}" for each, n in found.items() if n)
        done, whole = self.rounds()
        return f"{len(self.trials)} trials: {told}; {done} of {whole} rounds were run"

    def finished(self) -> list[Trial]:
        """Trials that ran to their end."""
        return [trial for trial in self.trials if trial.status == "finished"]

    def ranked(self) -> list[Trial]:
        """Finished trials, the best by the first objective first; equal ones as suggested."""
        way = -1 if next(iter(self.objectives.values())) == "max" else 1
        return sorted(self.finished(), key=lambda trial: (way * trial.values[0], trial.number))

    def best(self) -> list[Trial]:
        """The best finished trial, or the Pareto front where there are several objectives."""
        return self.front() if len(self.objectives) > 1 else self.ranked()[:1]

    def confirmed(self) -> dict[str, Any] | None:
        """The content of ``confirm.json``.

        None where there is none, or where it is about a setting that has since been surpassed.

        Raises:
            CheckpointError: the file is not as it was written.
        """
        path, ranked = self.folder / CONFIRM_FILE, self.ranked()
        if not path.is_file() or not ranked:
            return None
        try:
            found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
            _Confirmed.model_validate(found)
        except (OSError, ValueError) as error:
            raise CheckpointError(f"{path} cannot be read: {_why(error)}") from None
        return found if found["settings"][0]["trial"] == ranked[0].number else None

    def front(self, among: Sequence[int] | None = None) -> list[Trial]:
        """Finished trials that no other finished one beats in all objectives (Pareto front).

        Args:
            among: places of the objectives that count; None counts all.
        """
        ways = [-1 if aim == "max" else 1 for aim in self.objectives.values()]
        places = range(len(ways)) if among is None else among
        scores = {
            trial.number: [ways[place] * trial.values[place] for place in places]
            for trial in self.finished()
        }
        return [
            trial
            for trial in self.finished()
            if not any(dominates(other, scores[trial.number]) for other in scores.values())
        ]


def in_words(fact: Any) -> str:
    """A fact of a study in a few words; a distribution as its range."""
    attributes = fact.get("attributes", {}) if isinstance(fact, Mapping) else {}
    if "choices" in attributes:
        return " | ".join(map(str, attributes["choices"]))
    if "low" in attributes:
        step = attributes["step"] if attributes["step"] not in (None, 1) else 0
        return (
            f"{attributes['low']:g} to {attributes['high']:g}"
            + (f" in steps of {step:g}" if step else "")
            + (" (log)" if attributes["log"] else "")
        )
    return "none" if fact is None else json.dumps(fact)


def dominates(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether one is nowhere worse and somewhere better; less is better."""
    return all(a <= b for a, b in zip(one, other, strict=True)) and list(one) != list(other)


def write_facts(folder: Path, facts: Mapping[str, Any]) -> None:
    """Write ``study.json``."""
    history.write_json(folder / STUDY_FILE, {"format": _FORMAT, **facts})


def begun(folder: Path, trial: Trial) -> None:
    """Note that a trial begins."""
    line = {
        "event": "begun",
        "trial": trial.number,
        "origin": trial.origin,
        "params": trial.params,
        "settings": trial.settings,
        "distributions": trial.distributions,
    }
    history.append(folder / TRIALS_FILE, line)


def ended(folder: Path, trial: Trial) -> None:
    """Note that a trial has ended."""
    line = {
        "event": "ended",
        "trial": trial.number,
        "status": trial.status,
        "round": trial.round,
        "values": trial.values,
        "reason": trial.reason,
    }
    history.append(folder / TRIALS_FILE, line)


def is_study(folder: Path) -> bool:
    """Whether a folder is that of a study."""
    return (folder / STUDY_FILE).is_file()


def read(folder: Path) -> Recorded:
    """Read a study back.

    Raises:
        CheckpointError: the folder is no study, or a file of it is not as it was written.
    """
    try:
        facts = json.loads((folder / STUDY_FILE).read_text(encoding="utf-8"))
        _Facts.model_validate(facts)
    except FileNotFoundError:
        raise CheckpointError(f"{folder} is no study: it has no {STUDY_FILE}") from None
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{folder / STUDY_FILE} cannot be read: {_why(error)}") from None
    trials: list[Trial] = []
    events: list[tuple[str, int]] = []
    try:
        for each in history.read(folder / TRIALS_FILE):
            line = _LINE.validate_python(each)
            events.append((line.event, line.trial))
            if isinstance(line, _Begun):
                if line.trial != len(trials):
                    raise ValueError(f"trial {line.trial} does not follow {len(trials) - 1}")
                asked = (line.params, line.settings, line.distributions)
                trials.append(Trial(line.trial, line.origin, *asked))
                continue
            if line.trial >= len(trials):
                raise ValueError(f"trial {line.trial} ends and has not begun")
            trial = trials[line.trial]
            if trial.status != "running":
                raise ValueError(f"trial {trial.number} ends twice")
            if line.status != "failed" and len(line.values) != len(facts["objectives"]):
                raise ValueError(f"trial {trial.number} ends with {len(line.values)} values")
            trial.status, trial.round = line.status, line.round
            trial.values, trial.reason = line.values, line.reason
        there = {path.name for path in folder.iterdir() if re.fullmatch(r"trial_\d+", path.name)}
        unknown = there - {trial.name for trial in trials}
        if unknown:
            raise ValueError(f"it does not know of {min(unknown)}, which is there")
    except ValueError as error:
        raise CheckpointError(
            f"{folder / TRIALS_FILE} is not as it was written ({_why(error)}); put the file back"
        ) from None
    return Recorded(folder, facts, trials, events)


def check_folders(recorded: Recorded) -> None:
    """See that the trials which have ended still have what their record rests on.

    Raises:
        CheckpointError: a run folder is gone, or another than the one that was written.
    """
    for trial in recorded.trials:
        if trial.status not in ("finished", "pruned"):
            continue
        folder = recorded.path(trial)
        try:
            config = configfile.load(folder / "config.yaml")
            rounds = [line["round"] for line in recorded.lines(trial)]
            if configfile.change(config, trial.settings, trial.name) != config:
                raise ValueError("its config.yaml has other settings")
            if not rounds or rounds[-1] != trial.round:
                raise ValueError(f"its history has no round {trial.round}")
        except (RaymmflError, OSError, ValueError, KeyError, TypeError) as error:
            raise CheckpointError(
                f"{folder} is not as it was when trial {trial.number} ended "
                f"({' '.join(str(error).split())}); put the folder back"
            ) from None


def _why(error: Exception) -> str:
    """What is wrong with a file, in a few words."""
    if not isinstance(error, ValidationError):
        return str(error)
    first = error.errors()[0]
    return f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
