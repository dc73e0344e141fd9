"""What a study is: which run, which settings, which aims, when to stop. Plain values."""

import re
from collections.abc import Callable, Mapping
from typing import Annotated, Any, Literal

import optuna
from pydantic import ConfigDict, Field, StrictInt
from pydantic.dataclasses import dataclass

from raymmfl.errors import ConfigError

Settings = Mapping[str, Any]  # configuration keys and their values
Space = Callable[[optuna.Trial], Settings | None]
Some = Annotated[StrictInt, Field(ge=1)]
Several = Annotated[StrictInt, Field(ge=2)]
Seed = Annotated[StrictInt, Field(ge=0, lt=2**32)]
TOTALS = ("mb", "flops")  # what is counted over all rounds of a trial so far


@dataclass(frozen=True, config=ConfigDict(extra="forbid"))
class Stopping:
    """Asynchronous successive halving by rounds (ASHA; Li et al., MLSys 2020, arXiv 1810.05934).

    Attributes:
        first: the first round after which a trial may be stopped; the next are ``first * keep``,
            ``first * keep**2`` and so on.
        keep: one in ``keep`` trials is let past such a round.
    """

    first: Some = 3
    keep: Several = 3


@dataclass(frozen=True, kw_only=True, config=ConfigDict(extra="forbid"))
class Study:
    """A search.

    Attributes:
        name: its folder is ``runs/<name>``.
        base: the configuration file that every trial starts from, as ``raymmfl run`` takes it.
        space: receives an Optuna trial and asks it for values under the names of configuration
            keys, e.g. ``trial.suggest_float("mim.weight", 0.01, 1, log=True)``, also behind an
            ``if``; may return further keys with their values. Called often: it computes nothing.
        objectives: what to reach, ``max`` or ``min``: metrics of the validation split, such as
            ``val/global/all/f1_macro``, and ``mb`` and ``flops`` (bytes exchanged, in 10^6, and
            FLOPs of local training, over the whole trial). Several are searched for their Pareto
            front (NSGA-II), one by TPE.
        overrides: changes to the base, ``key=value``.
        baselines: settings tried right after the base's own, in the names of the space.
        trials: how many in all.
        stopping: when poor trials end; None lets all run to the last round.
        seed: of the search; the trials' own seed is the configuration's.
        startup: trials drawn at random before TPE learns; the population of NSGA-II.
    """

    name: str
    base: str
    space: Space
    objectives: Mapping[str, Literal["max", "min"]]
    overrides: tuple[str, ...] = ()
    baselines: tuple[Settings, ...] = ()
    trials: Some = 16
    stopping: Stopping | None = Stopping()
    seed: Seed = 0
    startup: Several = 8

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", self.name):
            self._refuse(f"name {self.name!r}: up to 100 letters, digits, '.', '_' and '-' only")
        if not self.objectives:
            self._refuse("objectives: there is none; write {'val/global/all/f1_macro': 'max'}")
        for metric in self.objectives:
            if metric not in TOTALS and not metric.startswith("val/"):
                self._refuse(
                    f"objective {metric!r}: a search sees the validation split alone; it must "
                    f"start with val/, or be one of {', '.join(TOTALS)}"
                )
        if self.stopping is not None and len(self.objectives) > 1:
            self._refuse("several objectives know no early stopping; write stopping=None")

    @property
    def headline(self) -> str:
        """The first objective, by which trials are ordered where one order is asked for."""
        return next(iter(self.objectives))

    def _refuse(self, what: str) -> None:
        raise ConfigError(f"the study: {what}")


def sign(aim: str) -> int:
    """1 where more is better, else -1."""
    return 1 if aim == "max" else -1
