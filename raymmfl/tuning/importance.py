"""How much of a score's variance each setting explains, by Optuna's fANOVA.

Hutter, Hoos and Leyton-Brown, ICML 2014.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

import optuna
from optuna.distributions import json_to_distribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState, create_trial

from raymmfl.tuning.record import Recorded, Trial

optuna.logging.set_verbosity(optuna.logging.WARNING)
FEWEST = 4
"""Finished trials below which a share means nothing at all."""


@dataclass(frozen=True)
class Importance:
    """A setting's part in a score.

    Attributes:
        setting: configuration key.
        share: of the score's variance, in [0, 1].
        trials: the finished trials that it rests on: those that have the setting.
    """

    setting: str
    share: float
    trials: int


def importance(study: Recorded) -> list[Importance]:
    """Importance of each setting for the first objective, the largest first.

    Only finished trials count: a stopped one has the score of an early round. A setting that
    depends on another (a temperature without MIM) is judged among the trials that have it, so
    that shares add up to 1 only among settings that rest on the same trials.

    Returns:
        Nothing for settings with fewer than :data:`FEWEST` trials, or whose trials do not differ
        in the setting or in their scores.
    """
    finished = study.finished()
    names = dict.fromkeys(name for trial in finished for name in trial.params)
    groups: dict[tuple[int, ...], list[str]] = {}
    for name in names:
        having = tuple(trial.number for trial in finished if name in trial.params)
        groups.setdefault(having, []).append(name)
    found = []
    for numbers, own in groups.items():
        shares = _shares([trial for trial in finished if trial.number in numbers])
        found += [Importance(name, shares[name], len(numbers)) for name in own if name in shares]
    return sorted(found, key=lambda each: -each.share)


def _shares(trials: Sequence[Trial]) -> dict[str, float]:
    """Share of each setting that all these trials drew from one range and in which they differ."""
    shared = [
        name
        for name in trials[0].params
        if all(name in trial.params for trial in trials)
        and len({json.dumps(trial.params[name]) for trial in trials}) > 1
        and len({json.dumps(trial.distributions[name]) for trial in trials}) == 1
    ]
    if len(trials) < FEWEST or len({trial.values[0] for trial in trials}) < 2 or not shared:
        return {}
    made = optuna.create_study(direction="maximize")
    for trial in trials:
        kinds = {
            name: json_to_distribution(json.dumps(trial.distributions[name])) for name in shared
        }
        made.add_trial(
            create_trial(
                state=TrialState.COMPLETE,
                params={name: trial.params[name] for name in shared},
                distributions=kinds,
                value=trial.values[0],
            )
        )
    evaluator = FanovaImportanceEvaluator(seed=0)
    found = get_param_importances(made, evaluator=evaluator, params=shared)
    return {name: float(share) for name, share in found.items()}
