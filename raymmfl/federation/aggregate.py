"""Sums that do not depend on who summed: fixed-point integers instead of floats.

Client i adds ``rint(p_i * x * 2^40)`` as int64, where ``p_i = n_i / N`` over the planned cohort of
the clients that hold the slot. Integer addition is associative, so any order and any grouping
into partial sums gives equal bits. The total is divided by the accepted share.

Error of a merged weight, before its rounding to float32, for K clients and |x| <= X:
``|error| <= K * 2^-41 / share + X * 2^-50``: half a unit of the grid per client, plus five
roundings in float64 (p_i, its product with x, the share, the factor made of it, the result).
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from raymmfl.errors import UpdateRefused
from raymmfl.federation.plan import Plan, Slot

Arrays = Mapping[str, NDArray[np.generic]]
Shares = Mapping[str | None, float]

WEIGHT_BITS, WEIGHT_LIMIT = 40, 2.0**11
MOMENT_BITS, MOMENT_LIMIT = 32, 2.0**30

# Adding 1.5 * 2^52 to a float64 of at most 2^51 leaves its nearest integer in the low bits.
_MAGIC = 1.5 * 2.0**52
_MAGIC_BITS = np.float64(_MAGIC).view(np.int64)
_CHUNK = 1 << 15  # a chunk and its float64s fit the second-level cache; few calls per array


@dataclass
class Flat:
    """The shared slots as one vector per kind; what a server broadcasts and keeps.

    Attributes:
        weights: float32, parameters.
        moments: float32, normalisation statistics.
        counters: int64, batch counters.
    """

    weights: NDArray[np.float32]
    moments: NDArray[np.float32]
    counters: NDArray[np.int64]

    def read(self, plan: Plan, slot: Slot) -> NDArray[np.generic]:
        """A view of one slot in its own shape."""
        vector: NDArray[np.generic] = getattr(self, slot.kind)
        return vector[plan.spans[slot.name]].reshape(slot.shape)


def flatten(plan: Plan, arrays: Arrays) -> Flat:
    """Copy the shared slots of a full model's state into flat vectors."""
    flat = Flat(
        np.empty(plan.length("weights"), np.float32),
        np.empty(plan.length("moments"), np.float32),
        np.empty(plan.length("counters"), np.int64),
    )
    for slot in plan.shared():
        flat.read(plan, slot)[...] = arrays[slot.name]
    return flat


def admit(plan: Plan, sensors: Collection[str], arrays: Arrays, centre: Flat) -> None:
    """Check that an update holds exactly what its client declared, finite and in range.

    Args:
        plan: the sharing plan.
        sensors: what the client holds.
        arrays: what it sent.
        centre: the broadcast; second moments must stay in range about its means too.

    Raises:
        UpdateRefused: naming the array and what is wrong with it.
    """
    declared = {slot.name: slot for slot in plan.shared(sensors)}
    undeclared, missing = sorted(arrays.keys() - declared), sorted(declared.keys() - arrays)
    if undeclared or missing:
        parts = [f"undeclared array {undeclared[0]}"] if undeclared else []
        parts += [f"missing array {missing[0]}"] if missing else []
        raise UpdateRefused(" and ".join(parts))
    for name, slot in declared.items():
        array = arrays[name]
        dtype = np.int64 if slot.kind == "counters" else np.float32
        if array.shape != slot.shape or array.dtype != dtype:
            raise UpdateRefused(
                f"{name} is {array.dtype}{list(array.shape)}, "
                f"declared {np.dtype(dtype)}{list(slot.shape)}"
            )
        if slot.kind == "counters":
            if array.min(initial=0) < 0:
                raise UpdateRefused(f"{name} counts below zero")
        elif slot.kind == "weights":
            _check_range(name, array, WEIGHT_LIMIT)
        else:
            _check_range(name, array, MOMENT_LIMIT, strict=True)
    for name, slot in declared.items():  # every mean is known to be finite by now
        if slot.mean is not None:
            value = _centred(plan, slot, arrays, centre)
            _check_range(f"{name} about the merged mean", value, MOMENT_LIMIT, strict=True)


def _check_range(
    name: str, array: NDArray[np.generic], limit: float, strict: bool = False
) -> None:
    flat = array.reshape(-1)
    # One product of the array with itself is cheap and cannot hide a NaN, an infinity or a large
    # value; only when it is suspicious are the elements looked at.
    with np.errstate(over="ignore", invalid="ignore"):
        if float(np.dot(flat, flat)) < 0.99 * limit**2:
            return
    finite = np.isfinite(flat)
    if not finite.all():
        index = int(np.argmin(finite))
        raise UpdateRefused(f"{name} holds {flat[index]} (element {index}), not a finite number")
    index = int(np.argmax(np.abs(flat)))
    largest = abs(float(flat[index]))
    if largest > limit or (strict and largest == limit):
        raise UpdateRefused(f"{name} holds {flat[index]:g} (element {index}), beyond {limit:g}")


@dataclass
class Partial:
    """The sum over some clients; partial sums add up to the total in any order."""

    weights: NDArray[np.int64]
    moments: NDArray[np.int64]
    counters: NDArray[np.int64]
    clients: list[str] = field(default_factory=list)


def empty(plan: Plan, used: Partial | None = None) -> Partial:
    """The sum over nobody.

    Args:
        plan: the sharing plan.
        used: a sum of the same plan that nobody reads any more; its memory is used again.
    """
    if used is not None:
        for vector in (used.weights, used.moments, used.counters):
            vector.fill(0)
        return Partial(used.weights, used.moments, used.counters)
    return Partial(
        np.zeros(plan.length("weights"), np.int64),
        np.zeros(plan.length("moments"), np.int64),
        np.zeros(plan.length("counters"), np.int64),
    )


def add(
    plan: Plan, partial: Partial, client_id: str, arrays: Arrays, shares: Shares, centre: Flat
) -> None:
    """Add one admitted update to a partial sum, in place.

    Args:
        plan: the sharing plan.
        partial: the sum so far.
        client_id: whose update it is.
        arrays: exactly the declared slots.
        shares: ``p_i`` over all clients (key None) and over the clients of each own sensor.
        centre: the broadcast, about whose means second moments are taken.
    """
    for name, array in arrays.items():
        slot = plan.by_name[name]
        span = plan.spans[name]
        if slot.kind == "counters":
            flat = array.reshape(-1)
            np.maximum(partial.counters[span], flat, out=partial.counters[span])
        elif slot.kind == "weights":
            _add_weights(partial.weights[span], array, shares[slot.sensor])
        else:
            value = _centred(plan, slot, arrays, centre)
            scaled = np.rint(value.reshape(-1) * (shares[slot.sensor] * 2.0**MOMENT_BITS))
            partial.moments[span] += scaled.astype(np.int64)
    partial.clients.append(client_id)


def _centred(plan: Plan, slot: Slot, arrays: Arrays, centre: Flat) -> NDArray[np.float64]:
    """A client's statistic as it is summed: second moments about the mean in the broadcast."""
    value = arrays[slot.name].astype(np.float64)
    if slot.merge == "moments" and slot.mean is not None:
        mean = arrays[slot.mean].astype(np.float64)
        about = centre.read(plan, plan.by_name[slot.mean]).astype(np.float64)
        value += outer(mean - about, slot.shape)
    return value


def _add_weights(total: NDArray[np.int64], array: NDArray[np.generic], share: float) -> None:
    flat = array.reshape(-1)
    scale = np.float64(share) * 2.0**WEIGHT_BITS
    buffer = np.empty(min(_CHUNK, flat.size), np.float64)
    for start in range(0, flat.size, _CHUNK):
        part = flat[start : start + _CHUNK]
        scaled = buffer[: part.size]
        scaled[...] = part
        scaled *= scale
        scaled += _MAGIC
        bits = scaled.view(np.int64)
        bits -= _MAGIC_BITS
        sums = total[start : start + part.size]
        np.add(sums, bits, out=sums)


def outer(difference: NDArray[np.float64], shape: Sequence[int]) -> NDArray[np.float64]:
    """The between-client term of a second moment.

    Args:
        difference: (C,) means minus a common centre.
        shape: (C,) for variances, giving squares; (G, g, g) for grouped covariances, giving the
            outer product within each group.
    """
    if len(shape) == 1:
        return difference**2
    groups = difference.reshape(shape[0], shape[1])
    return groups[:, :, None] * groups[:, None, :]


def merge(partials: Sequence[Partial]) -> Partial:
    """Add up partial sums; any order and grouping gives equal bits."""
    if len(partials) == 1:
        return partials[0]
    first, second = partials[:2]
    total = Partial(  # new arrays; the parts stay as they are
        first.weights + second.weights,
        first.moments + second.moments,
        np.maximum(first.counters, second.counters),
        [*first.clients, *second.clients],
    )
    for partial in partials[2:]:
        total.weights += partial.weights
        total.moments += partial.moments
        np.maximum(total.counters, partial.counters, out=total.counters)
        total.clients += partial.clients
    return total


def finish(plan: Plan, total: Partial, accepted: Shares, before: Flat) -> Flat:
    """Turn a total into the next global state.

    Args:
        plan: the sharing plan.
        total: the sum over all accepted clients.
        accepted: accepted share of the planned cohort, over all and per sensor. A slot of which
            nobody's update was accepted keeps its value.
        before: the broadcast of this round.
    """
    after = Flat(np.empty_like(before.weights), before.moments.copy(), before.counters.copy())
    means: dict[str, NDArray[np.float64]] = {}
    for slot in plan.shared():
        share = accepted.get(slot.sensor, 0.0)
        span = plan.spans[slot.name]
        if share == 0.0:
            if slot.kind == "weights":
                after.weights[span] = before.weights[span]
            continue
        if slot.kind == "weights":
            _descale(total.weights[span], after.weights[span], 2.0**-WEIGHT_BITS / share)
        elif slot.kind == "counters":
            after.counters[span] = total.counters[span]
        else:
            value = total.moments[span].astype(np.float64) * (2.0**-MOMENT_BITS / share)
            value = value.reshape(slot.shape)
            if slot.mean is None:
                means[slot.name] = value
            elif slot.merge == "moments":
                centre = before.read(plan, plan.by_name[slot.mean]).astype(np.float64)
                value = value - outer(means[slot.mean] - centre, slot.shape)
                if value.ndim == 1:  # rounding must not leave a variance below zero
                    value = np.maximum(value, 0.0)
            after.read(plan, slot)[...] = value
    return after


def _descale(total: NDArray[np.int64], out: NDArray[np.float32], scale: float) -> None:
    buffer = np.empty(min(_CHUNK, total.size), np.float64)
    for start in range(0, total.size, _CHUNK):
        part = total[start : start + _CHUNK]
        scaled = buffer[: part.size]
        scaled[...] = part
        scaled *= scale
        out[start : start + part.size] = scaled
