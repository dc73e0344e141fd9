"""Optuna's sampler and Ray Tune's halving, in the order of the record, and replayed from it.

A sampler's state follows from its seed and from what it was asked and told. `trials.jsonl` keeps
that order, the trials' run folders keep the scores: a resumed study asks and tells a fresh sampler
the same again and thereby continues it, also after ``kill -9``. No snapshot of Ray Tune is read.
"""

import json
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import optuna
from optuna.trial import TrialState
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search.optuna import OptunaSearch

from raymmfl.configfile import python_value
from raymmfl.errors import CheckpointError, RunError
from raymmfl.seeds import derive
from raymmfl.tuning import record
from raymmfl.tuning.record import Recorded, Trial
from raymmfl.tuning.space import describe, returned_by
from raymmfl.tuning.study import Stopping, Study
from raymmfl.tuning.tally import Tally, named, value_name

Result = dict[str, Any]
PATIENCE = 50  # draws of what was tried before, one after the other
_STATES = {
    "finished": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}


class Search(OptunaSearch):  # type: ignore[misc]
    """OptunaSearch that records every trial, tells Optuna of pruned ones, and can be replayed."""

    def __init__(
        self,
        study: Study,
        points: Sequence[dict[str, Any]],
        folder: Path,
        listen: Callable[[Trial], None],
    ) -> None:
        """Make a fresh sampler.

        Args:
            study: what is searched.
            points: tried first; the base's own setting leads.
            folder: of the study.
            listen: is told of each trial that begins or ends, after it was recorded.
        """
        names = [value_name(index) for index in range(len(study.objectives))]
        single = len(names) == 1
        modes = list(study.objectives.values())
        super().__init__(
            space=lambda trial: returned_by(study, trial),
            metric=names[0] if single else names,
            mode=modes[0] if single else modes,
            points_to_evaluate=list(points),
            sampler=_sampler(study),
        )
        self.study, self.points, self.folder, self.listen = study, points, folder, listen
        # not TPE's own seed: its random start would be drawn once more
        self.random = optuna.samplers.RandomSampler(derive(study.seed, "instead") % 2**32)
        self.trials: dict[str, Trial] = {}  # by Ray Tune's own id
        self._waiting: deque[str] = deque()  # begun in an earlier process, not ended
        self._scored: dict[str, set[int]] = {}
        self._replaying = False

    def suggest(self, trial_id: str) -> dict[str, Any]:
        """The next trial: one that was interrupted, or a new one."""
        if self._waiting and not self._replaying:
            known = self._waiting.popleft()
            self._ot_trials[trial_id] = self._ot_trials.pop(known)
            self.trials[trial_id] = self.trials.pop(known)
        else:
            settings = self._new_settings(trial_id)
            asked, number = self._ot_trials[trial_id], len(self.trials)
            given = asked.number < len(self.points)
            origin = "search" if not given else "baseline" if number else "base"
            ranges = {name: describe(each) for name, each in asked.distributions.items()}
            trial = Trial(number, origin, plain(asked.params), settings, ranges)
            self.trials[trial_id] = trial
            if not self._replaying:
                record.begun(self.folder, trial)
        self._scored[trial_id] = set()
        trial = self.trials[trial_id]
        if not self._replaying:
            self.listen(trial)
        return {
            "trial": trial.number,
            "folder": trial.name,
            "settings": json.dumps(trial.settings),
        }

    def _new_settings(self, trial_id: str) -> dict[str, Any]:
        """Ask Optuna; a random setting where it suggests one that has been tried.

        Equal settings give equal bits. What is not run is told as failed, which Optuna's samplers
        pass over. A space that has little new to offer repeats itself in the end.
        """
        settings, own = plain(super().suggest(trial_id)), self._ot_study.sampler
        for _ in range(PATIENCE):
            known = (t.settings for t in self.trials.values() if t.status != "running")
            if settings not in known:
                break
            self._ot_study.tell(self._ot_trials.pop(trial_id), state=TrialState.FAIL)
            self._ot_study.sampler = self.random
            settings = plain(super().suggest(trial_id))
        self._ot_study.sampler = own
        return settings

    def on_trial_result(self, trial_id: str, result: Result) -> None:
        """Tell Optuna the score after a round."""
        step = self.trials[trial_id].round = result["round"]
        if "failed" in result or len(self.study.objectives) > 1:
            return
        if step not in self._scored[trial_id]:
            self._scored[trial_id].add(step)
            self._ot_trials[trial_id].report(result[value_name(0)], step)

    def on_trial_complete(
        self, trial_id: str, result: Result | None = None, error: bool = False
    ) -> None:
        """Record how a trial ended and tell Optuna; once, however often Ray Tune says so."""
        trial = self.trials[trial_id]
        if trial.status != "running":
            return
        count = len(self.study.objectives)
        if error or not result or "failed" in result:
            trial.status = "failed"
            trial.reason = (result or {}).get("failed", "its process died again and again")
            trial.round = (result or {}).get("round", trial.round)
        else:
            self.on_trial_result(trial_id, result)  # Ray Tune does not when it stops a trial
            trial.status = "finished" if result["round"] == result["rounds"] else "pruned"
            trial.round = result["round"]
            trial.values = [float(result[value_name(index)]) for index in range(count)]
        if not self._replaying:
            record.ended(self.folder, trial)
        values = trial.values if trial.status == "finished" else None
        self._ot_study.tell(self._ot_trials[trial_id], values, state=_STATES[trial.status])
        if not self._replaying:
            self.listen(trial)

    def save(self, checkpoint_path: str) -> None:
        """Nothing: the record is the only state there is."""
        Path(checkpoint_path).write_bytes(b"")

    def __getstate__(self) -> dict[str, Any]:
        """Nothing, for Ray Tune's snapshot of its own settings."""
        return {}

    def replay(self, recorded: Recorded) -> None:
        """Ask and tell again what the record says was asked and told.

        Raises:
            CheckpointError: the sampler does not suggest what it did.
        """
        self._replaying = True
        for event, number in recorded.events:
            known, trial = f"recorded-{number}", recorded.trials[number]
            if event == "begun":
                self.suggest(known)
                again = self.trials[known]
                if (again.params, again.settings) != (trial.params, trial.settings):
                    raise CheckpointError(
                        f"trial {number} of {self.folder} began with {trial.settings}, and the "
                        f"study now begins it with {again.settings}: the space has changed, or "
                        f"Optuna has ({recorded.facts['versions']['optuna']} then, "
                        f"{optuna.__version__} now). Put it back, or give another --out"
                    )
                self._waiting.append(known)
            else:
                self._waiting.remove(known)
                for result in results(recorded, trial):
                    self.on_trial_result(known, result)
                last: Result = {"round": trial.round, "rounds": trial.round, **named(trial.values)}
                if trial.status == "pruned":
                    last["rounds"] = trial.round + 1
                if trial.status == "failed":
                    last["failed"] = trial.reason
                self.on_trial_complete(known, last)
        self._replaying = False


class Halving(ASHAScheduler):  # type: ignore[misc]
    """ASHA by rounds; the last round is nobody's to stop, a round decided before is let be."""

    def __init__(self, stopping: Stopping, aim: str, rounds: int) -> None:
        super().__init__(
            time_attr="round",
            metric=value_name(0),
            mode=aim,
            max_t=max(rounds, stopping.first),
            grace_period=stopping.first,
            reduction_factor=stopping.keep,
            stop_last_trials=False,
        )
        self.rounds = rounds

    def on_trial_result(self, controller: Any, trial: Any, result: Result) -> str:
        """Whether a trial goes on after a round."""
        if result["round"] >= self.rounds or "failed" in result:
            return str(self.CONTINUE)
        decision = str(super().on_trial_result(controller, trial, result))
        return str(self.CONTINUE) if result["decided"] else decision

    def replay(self, recorded: Recorded) -> None:
        """Fill in the scores of the trials that have ended."""
        for event, number in recorded.events:
            if event == "ended":
                trial = SimpleNamespace(trial_id=f"recorded-{number}")
                self.on_trial_add(None, trial)
                for result in results(recorded, recorded.trials[number]):
                    self.on_trial_result(None, trial, result)


def results(recorded: Recorded, trial: Trial) -> list[Result]:
    """What a trial reported after each of its scored rounds.

    Raises:
        RunError: the trial has not failed, and its history has no score where there was one.
    """
    tally = Tally(recorded.objectives)
    found = []
    for line in recorded.lines(trial):
        try:
            values = tally.add(line)
        except RunError:
            if trial.status != "failed":
                raise
            break  # this is what it failed of; it was not reported
        if values:
            found.append({"round": line["round"], "decided": True, **named(values)})
    return found


def plain(settings: Any) -> dict[str, Any]:
    """Settings as they come back from the record."""
    found: dict[str, Any] = json.loads(json.dumps(settings, default=python_value))
    return found


def _sampler(study: Study) -> optuna.samplers.BaseSampler:
    if len(study.objectives) == 1:
        return optuna.samplers.TPESampler(n_startup_trials=study.startup, seed=study.seed)
    return optuna.samplers.NSGAIISampler(population_size=study.startup, seed=study.seed)
