"""How much of a score's variance each setting explains, by Optuna's fANOVA.

Hutter, Hoos and Leyton-Brown, ICML 2014.
"""

import json
from collections.abc import Mapping

import optuna
from optuna.distributions import json_to_distribution
from optuna.importance import FanovaImportanceEvaluator, get_param_importances
from optuna.trial import TrialState, create_trial

from raymmfl.tuning.record import Recorded

optuna.logging.set_verbosity(optuna.logging.WARNING)
FEWEST = 4
"""Finished trials below which a share means nothing at all."""


def importance(study: Recorded) -> tuple[Mapping[str, float], int]:
    """Importance of each setting for the first objective.

    Only finished trials count: a stopped one has the score of an early round. A setting that
    depends on another (a temperature without MIM) is compared among the trials that have it.

    Returns:
        Setting -> share in [0, 1], and the number of trials they rest on; nothing below
        :data:`FEWEST` trials or where all scores are equal.
    """
    finished = study.finished()
    scores = {trial.values[0] for trial in finished}
    shared = [
        name
        for name in dict.fromkeys(name for trial in finished for name in trial.params)
        if all(name in trial.params for trial in finished)
        and len({json.dumps(trial.params[name]) for trial in finished}) > 1
    ]
    if len(finished) < FEWEST or len(scores) < 2 or not shared:
        return {}, len(finished)
    made = optuna.create_study(direction="maximize")
    for trial in finished:
        kinds = {
            name: json_to_distribution(json.dumps(kind) if isinstance(kind, dict) else kind)
            for name, kind in trial.distributions.items()
        }
        made.add_trial(
            create_trial(
                state=TrialState.COMPLETE,
                params=dict(trial.params),
                distributions=kinds,
                value=trial.values[0],
            )
        )
    shares = get_param_importances(
        made, evaluator=FanovaImportanceEvaluator(seed=0), params=shared
    )
    return {name: float(share) for name, share in shares.items()}, len(finished)
