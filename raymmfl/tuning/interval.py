"""Student's t interval of a mean, for a handful of seeds. Standard library only."""

import math
from collections.abc import Sequence
from statistics import mean, stdev


def t_interval(values: Sequence[float], level: float = 0.95) -> tuple[float, float, float]:
    """Mean and confidence interval of independent values, taken as normally distributed.

    Args:
        values: at least two.
        level: of confidence.

    Returns:
        The mean, the lower and the upper end.
    """
    centre, count = mean(values), len(values)
    half = t_quantile((1 + level) / 2, count - 1) * stdev(values) / math.sqrt(count)
    return centre, centre - half, centre + half


def t_quantile(probability: float, freedom: int) -> float:
    """Quantile above 1/2 of Student's t distribution, by bisection of its distribution function.

    Args:
        probability: between 1/2 and 1.
        freedom: degrees of freedom, from 1.
    """
    low, high = 0.0, 1.0
    while _below(high, freedom) < probability:
        high *= 2
    for _ in range(60):
        middle = (low + high) / 2
        low, high = (middle, high) if _below(middle, freedom) < probability else (low, middle)
    return (low + high) / 2


def _below(t: float, freedom: int) -> float:
    """Probability of a value below t >= 0; with t = sqrt(n) tan(a) the density is a cosine power.

    Composite Simpson rule: smooth, so 200 pieces give it to 1e-9.
    """
    end, pieces = math.atan(t / math.sqrt(freedom)), 200
    step = end / pieces
    weights = [1, *([4, 2] * (pieces // 2 - 1)), 4, 1]
    area = sum(
        weight * math.cos(index * step) ** (freedom - 1) for index, weight in enumerate(weights)
    )
    scale = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2)) / math.sqrt(
        math.pi
    )
    return 0.5 + scale * area * step / 3
