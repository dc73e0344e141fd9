"""The answer in one line: which setting, and how sure."""

from raymmfl.comparison.entries import Comparison
from raymmfl.comparison.groups import Group, groups
from raymmfl.comparison.page import text
from raymmfl.tuning.interval import t_interval
from raymmfl.tuning.record import Recorded, Trial

LEVEL = 0.95


def answer(comparison: Comparison) -> str:
    """One line for a person; no more certainty in it than the seeds allow."""
    if comparison.confirmed is not None:
        return f"Confirmed on the test split: {comparison.confirmed['verdict']}."
    rows = groups(comparison)
    if not rows:
        return "No training has ended, so nothing can be said yet."
    best = rows[0]
    if comparison.study is not None and len(comparison.study.objectives) > 1:
        return _front(comparison.study)
    ahead = (
        f"{_name(best, comparison)} is ahead with {comparison.metric} {best.mean:.4f} "
        f"({_seeds(best)})"
    )
    if comparison.study is not None:
        return f"{ahead}; {_of_study(comparison, best)}."
    if len(rows) == 1:
        others = len(comparison.entries) - len(best.entries)
        only = "the only setting" + (" of which a run has ended" if others else "")
        return f"{ahead}; it is {only}."
    return f"{ahead}; {_against(best, rows[1], comparison)}."


def _front(study: Recorded) -> str:
    """Several objectives have no best; a front goes from one end to the other."""
    ranked = study.ranked()
    front = [trial for trial in ranked if trial in study.front()]

    def told(trial: Trial) -> str:
        scores = zip(study.objectives, trial.values, strict=True)
        return f"trial {trial.number} ({', '.join(f'{name} {v:.4g}' for name, v in scores)})"

    ends = told(front[0]) if len(front) == 1 else f"{told(front[0])} to {told(front[-1])}"
    return (
        f"{len(front)} of {len(ranked)} finished trials are on the Pareto front: {ends}. One "
        f"seed: not sure; `raymmfl tune ... --resume --confirm 5 --top 3` tells how good the best "
        f"are."
    )


def _of_study(comparison: Comparison, best: Group) -> str:
    """What a search alone can tell: one seed, on the split that chose."""
    assert comparison.study is not None
    ended = len(comparison.ranked)
    base = next((e for e in comparison.entries if e.name == "trial_0000"), None)
    value = base.last(comparison.metric) if base is not None else None
    if base is not None and base.name == best.name:
        return (
            f"the base's own setting is the best of {ended} finished trials: one seed, on "
            f"validation; so far there is no gain to confirm"
        )
    gain = ""
    if base is not None and base.status == "finished" and value is not None:
        gain = f"{best.mean - value:+.4f} against the base, "
    return (
        f"{gain}of {ended} finished trials. One seed, and validation chose it: not sure; "
        f"`raymmfl tune ... --resume --confirm 5` tells whether the gain survives"
    )


def _against(best: Group, second: Group, comparison: Comparison) -> str:
    """The lead over the runner-up, in pairs of equal seeds where there are two or more."""
    lead = f"{best.mean - second.mean:+.4f} against {_name(second, comparison)}"
    shared = sorted(best.by_seed.keys() & second.by_seed.keys())
    if len(shared) < 2:
        return f"{lead}, not sure: fewer than two seeds in common (run more seeds)"
    pairs = [best.by_seed[seed] - second.by_seed[seed] for seed in shared]
    mean, low, high = t_interval(pairs, LEVEL)
    way = 1 if comparison.more_is_better else -1
    if way * low > 0 and way * high > 0:
        sure = "so it is ahead"
    elif way * low < 0 and way * high < 0:
        sure = "so it is behind on the seeds that both have: give them the same seeds"
    else:
        sure = "so they cannot be told apart"
    return (
        f"{mean:+.4f} against {_name(second, comparison)} over {len(shared)} seeds in pairs, "
        f"{LEVEL:.0%} interval {low:+.4f} to {high:+.4f}, {sure}"
    )


def _name(group: Group, comparison: Comparison) -> str:
    settings = group.entries[0].settings
    differing = ", ".join(
        f"{key}={text(settings[key])}" for key in comparison.keys if key in settings
    )
    return f"{group.name} ({differing})" if differing else group.name


def _seeds(group: Group) -> str:
    if group.spread is None:
        return f"one seed: {group.entries[0].seed}"
    return f"mean of {len(group.values)} seeds, spread {group.spread:.4f}"
