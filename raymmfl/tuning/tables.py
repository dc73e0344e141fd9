"""What a study says of itself on the terminal, as plain text."""

from collections.abc import Mapping, Sequence
from typing import Any

from raymmfl import history
from raymmfl.tuning.record import Recorded, Trial

SHOWN = 10  # trials in the closing table


def heading(recorded: Recorded, clients: int, actors: int, concurrent: int) -> str:
    """What will happen: how many trials, of what, how many at a time."""
    facts = recorded.facts
    aims = ", ".join(f"{aim} {metric}" for metric, aim in recorded.objectives.items())
    stopping, given = facts["stopping"], min(len(facts["points"]), facts["trials"])
    how = (
        f"one in {stopping['keep']} is let past round {stopping['first']} (ASHA)"
        if stopping
        else "all run to the end"
    )
    length = "" if "rounds" in facts["space"] else f" of {facts['base']['rounds']} rounds"
    baselines = f" and {given - 1} baseline{'s' if given > 2 else ''}" if given > 1 else ""
    sampler = "TPE" if len(recorded.objectives) == 1 else "NSGA-II"
    return (
        f"study {facts['name']}: {aims}; {facts['trials']} trials{length} with {clients} clients, "
        f"{how}\n"
        f"first the base's setting{baselines}, then {facts['trials'] - given} that {sampler} "
        f"suggests\n"
        f"{concurrent} at a time, each with {actors} client actor{'s' if actors > 1 else ''}; "
        f"study folder: {recorded.folder}"
    )


def trial_line(recorded: Recorded, trial: Trial, trials: Sequence[Trial]) -> str:
    """One line when a trial begins or has ended."""
    start = _start(recorded, trial)
    if trial.status == "running":
        done = history.read(recorded.path(trial) / "history.jsonl")
        verb = f"continues after round {done[-1]['round']}" if done else "begins"
        return f"{start} {verb}  {in_words(trial.settings)}"
    if trial.status == "failed":
        return f"{start} failed after round {trial.round}: {trial.reason}"
    scores = _scores(recorded, trial)
    if trial.status == "pruned":
        return f"{start} stopped after round {trial.round}  {scores}"
    shown = Recorded(recorded.folder, recorded.facts, list(trials), [])
    if len(recorded.objectives) > 1:
        front = len(shown.front())
        return f"{start} finished  {scores}  (front: {front} trial{'s' if front > 1 else ''})"
    best = shown.ranked()[0]
    return f"{start} finished  {scores}  (best: {best.values[0]:.4g}, trial {best.number})"


def round_line(recorded: Recorded, trial: Trial, number: int, rounds: int) -> str:
    """One line while a long trial runs."""
    return f"{_start(recorded, trial)} has run {number} of {rounds} rounds"


def clock(seconds: float) -> str:
    """Hours, minutes and seconds."""
    whole = max(0, round(seconds))
    return f"{whole // 3600}:{whole // 60 % 60:02d}:{whole % 60:02d}"


def ending(recorded: Recorded) -> str:
    """The best trials and how many ended in which way."""
    lines = [recorded.story()]
    several = len(recorded.objectives) > 1
    shown = recorded.front() if several else recorded.ranked()[:SHOWN]
    if shown:
        lines.append("Pareto front:" if several else "best on the validation split:")
        lines += [
            f"  trial {trial.number:>3}  {_scores(recorded, trial)}  {in_words(trial.settings)}"
            for trial in shown
        ]
    data = "synthetic data" if recorded.facts["synthetic"] else "real data"
    lines.append(f"({data}, validation split, one seed: {recorded.facts['base']['seed']})")
    return "\n".join(lines)


def reasons(recorded: Recorded) -> str:
    """Why trials failed, a line each."""
    rows = [
        f"  trial {trial.number:>3}  after round {trial.round:>3}  {trial.reason}  "
        f"[{in_words(trial.settings)}]"
        for trial in recorded.trials
        if trial.status == "failed"
    ]
    return "\n".join(rows)


def in_words(settings: Mapping[str, Any]) -> str:
    """Settings in one line."""
    return " ".join(f"{key}={_value(value)}" for key, value in settings.items()) or "(base)"


def _start(recorded: Recorded, trial: Trial) -> str:
    planned = recorded.facts["trials"]
    width = len(str(planned))
    return f"trial {trial.number:>{width}} ({trial.number + 1:>{width}} of {planned})"


def _value(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _scores(recorded: Recorded, trial: Trial) -> str:
    return "  ".join(
        f"{name.removeprefix('val/')} {value:.4g}"
        for name, value in zip(recorded.objectives, trial.values, strict=True)
    )
