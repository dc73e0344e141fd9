"""Where the values of a setting stand on an axis of its own."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

LOG_RATIO = 20.0  # a positive setting that spans more is drawn on a logarithmic axis
FEW = 5  # numbers with so few different values stand at equal steps, each with its name
EDGE = 0.06  # room above and below, in heights of the axis
ABSENT = 0.12  # how far below all numbers a setting stands that a training does not have


@dataclass(frozen=True)
class Scale:
    """An axis of height 1.

    Attributes:
        places: height of each value.
        ticks: heights that have a name.
        names: of the ticks.
    """

    places: Sequence[float]
    ticks: Sequence[float]
    names: Sequence[str]


def setting(values: Sequence[object]) -> Scale:
    """The axis of a setting; None stands for one that a training does not have."""
    there = [value for value in values if value is not None]
    amounts = [float(v) for v in there if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if there and len(amounts) == len(there) and len(set(amounts)) > FEW:
        return _with_absent(values, numbers(amounts))
    if len(amounts) == len(there):
        words = [_word(each) for each in sorted(set(amounts))]
    else:
        words = sorted({_word(each) for each in there})
    if len(there) < len(values):
        words = [_word(None), *words]
    step = (1 - 2 * EDGE) / max(1, len(words) - 1)
    height = {word: EDGE + step * index for index, word in enumerate(words)}
    return Scale([height[_word(value)] for value in values], list(height.values()), words)


def numbers(values: Sequence[float]) -> Scale:
    """A numeric axis; logarithmic where positive values span a wide range."""
    log = min(values) > 0 and spread(values) > LOG_RATIO
    shown = [math.log10(value) for value in values] if log else list(values)
    low, high = min(shown), max(shown)
    width = (high - low) or 1.0
    ticks = [low + width * part / 4 for part in range(5)] if high > low else [low]
    return Scale(
        [EDGE + (1 - 2 * EDGE) * (each - low) / width for each in shown],
        [EDGE + (1 - 2 * EDGE) * (each - low) / width for each in ticks],
        [f"{10**each if log else each:.3g}" for each in ticks],
    )


def spread(values: Sequence[float]) -> float:
    """Largest over smallest of positive values, else 1."""
    return max(values) / min(values) if values and min(values) > 0 else 1.0


def _with_absent(values: Sequence[object], scale: Scale) -> Scale:
    """A numeric axis with a place of its own for what is not there, below all numbers."""
    if len(scale.places) == len(values):
        return scale

    def lift(height: float) -> float:
        return EDGE + ABSENT + (height - EDGE) * (1 - ABSENT / (1 - 2 * EDGE))

    there = iter(scale.places)
    places = [EDGE if value is None else lift(next(there)) for value in values]
    return Scale(places, [EDGE, *map(lift, scale.ticks)], [_word(None), *scale.names])


def _word(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return "+".join(map(str, value)) or "none"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        return f"{value:.4g}"
    return "none" if value is None or value == {} else str(value)
