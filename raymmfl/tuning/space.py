"""A study's space, tried out before anything starts; and the settings that are tried first."""

import json
import re
import traceback
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import optuna

from raymmfl.config import Config
from raymmfl.configfile import change, fields
from raymmfl.errors import ConfigError
from raymmfl.tuning.record import in_words
from raymmfl.tuning.study import Settings, Study

FIXED = (
    "version",
    "name",
    "seed",
    "baselines",
    "archive.path",
    "evaluate",
    "resources",
    "tracking",
)
SAMPLES = 64  # random settings looked at; a branch rarer than that shows up when it is drawn

optuna.logging.set_verbosity(optuna.logging.WARNING)


@dataclass(frozen=True)
class Checked:
    """A space that holds what it must.

    Attributes:
        distributions: what each name was seen to range over, as Optuna's JSON objects.
        points: the base's own setting and the baselines, complete, in the space's names.
    """

    distributions: dict[str, Any]
    points: list[dict[str, Any]]


def check_space(study: Study, base: Config) -> Checked:
    """Draw settings from the space and see that each makes a configuration.

    Raises:
        ConfigError: an unknown key, an empty range, a value the configuration refuses, or a
            base or baseline that the space does not hold.
    """
    drawn = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    seen: dict[str, Any] = {}
    for _ in range(SAMPLES):
        trial = drawn.ask()
        settings = settings_of(study, trial)
        _check_names(study, settings)
        for name, distribution in trial.distributions.items():
            _check_plain(study, name, distribution)
            seen.setdefault(name, distribution)
        change(base, settings, f"the space of {study.name}")
    if not seen:
        raise ConfigError(f"the space of {study.name} is empty: it asks its trial for nothing")
    points = []
    for number, changes in enumerate([{}, *study.baselines]):
        what = "the base's own setting" if number == 0 else f"baseline {number}"
        point = _point(study, base, changes, what)
        if point not in points:
            points.append(point)
    ordered = {name: describe(seen[name]) for name in sorted(seen)}
    return Checked(ordered, points)


def _check_names(study: Study, names: Mapping[str, Any]) -> None:
    """Refuse keys that are the same for all trials of a study."""
    fixed = FIXED if study.stopping is None else (*FIXED, "rounds")
    for name in names:
        if not isinstance(name, str):
            raise ConfigError(
                f"the space of {study.name} asks for {name!r}; names are configuration keys, such "
                f"as 'train.lr'"
            )
        if any(name == key or name.startswith(f"{key}.") for key in fixed):
            why = " while trials are stopped by rounds" if name == "rounds" else ""
            raise ConfigError(
                f"the space of {study.name} sets {name!r}, which cannot be searched{why}; "
                f"set it in the base or in overrides"
            )


def _check_plain(
    study: Study, name: str, distribution: optuna.distributions.BaseDistribution
) -> None:
    """Refuse choices that JSON does not have, such as NumPy's numbers."""
    try:
        describe(distribution)
    except TypeError as error:
        raise ConfigError(
            f"the space of {study.name}: the choices of {name!r} must be plain numbers, words or "
            f"lists of them: {error}"
        ) from None


def settings_of(study: Study, trial: Any) -> dict[str, Any]:
    """The configuration keys of a trial: what it was asked for, and what the space returned."""
    returned = returned_by(study, trial)
    return {**trial.params, **returned}


def returned_by(study: Study, trial: Any) -> dict[str, Any]:
    """What the space returns beside what it asks a trial for.

    Raises:
        ConfigError: the space's own code fails, as with an empty range.
    """
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            returned = study.space(trial)
        except (Exception, SystemExit) as error:
            text = " ".join(str(error).split())
            code = getattr(study.space, "__code__", None)
            where = line_of(error, code.co_filename) if code else ""
            raise ConfigError(
                f"the space of {study.name}{where}: {type(error).__name__}: {text}"
            ) from None
    for text in (str(each.message) for each in caught):
        # other warnings are about how Optuna would keep a study, which it does not here
        name = next(iter(re.findall(r"""["'](.*?)["']""", text)), "")
        if "Inconsistent parameter values" in text:
            raise ConfigError(
                f"the space of {study.name} asks for {name!r} twice with different ranges"
            )
        if "out of the range" in text:
            held = in_words(describe(trial.distributions[name]))
            raise ConfigError(
                f"{name}={trial.params[name]}, where the space of {study.name} has {held}; widen "
                f"it, or change the base (overrides)"
            )
    if returned is not None and not isinstance(returned, Mapping):
        raise ConfigError(
            f"the space of {study.name} returns {type(returned).__name__}; it must return "
            f"configuration keys with their values, or nothing"
        )
    return dict(returned or {})


def line_of(error: BaseException, source: str) -> str:
    """The last line of a file that an error came through, as ``, line 12``; empty if none did."""
    lines = [each.lineno for each in traceback.extract_tb(error.__traceback__)
             if each.filename == source]  # fmt: skip
    return f", line {lines[-1]}" if lines else ""


def describe(distribution: optuna.distributions.BaseDistribution) -> Any:
    """A distribution as Optuna writes it in JSON."""
    return json.loads(optuna.distributions.distribution_to_json(distribution))


def _point(study: Study, base: Config, changes: Settings, what: str) -> dict[str, Any]:
    """The base's values, with some changed, for each name that the space asks for."""
    tree = base.model_dump(mode="json")
    values = {each.key: leaf(tree, each.key) for each in fields()} | dict(changes)
    trial = optuna.trial.FixedTrial(values)
    try:
        settings = settings_of(study, trial)
    except ConfigError as error:
        raise ConfigError(f"{what} is not in the space: {error}") from None
    unused = set(changes) - set(trial.params)
    if unused:
        raise ConfigError(
            f"{what} of {study.name} names {min(unused)!r}, for which the space does not ask then"
        )
    change(base, settings, f"{what} of {study.name}")
    return dict(trial.params)


def leaf(tree: Any, key: str) -> Any:
    """The value at a dotted key of a configuration's tree."""
    for part in key.split("."):
        tree = tree[part]
    return tree
