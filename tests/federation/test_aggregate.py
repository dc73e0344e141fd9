"""Tests of the integer sums against exact fractions and the statistics of pooled samples."""

from collections.abc import Mapping
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from raymmfl.errors import UpdateRefused
from raymmfl.federation.aggregate import (
    Flat,
    Partial,
    add,
    admit,
    empty,
    finish,
    flatten,
    merge,
)
from raymmfl.federation.plan import Kind, Merge, Plan, Slot

Array = NDArray[Any]
Update = dict[str, Array]
BOTH = ("S1", "S2")


def slot(
    name: str,
    shape: tuple[int, ...],
    kind: Kind,
    sensor: str | None = None,
    merging: Merge = "mean",
    mean: str | None = None,
) -> Slot:
    return Slot(name, shape, kind, sensor, "modality" if sensor else "all", merging, mean)


def a_plan(merging: Merge = "moments") -> Plan:
    return Plan(
        (
            slot("stems.S1.weight", (3,), "weights", "S1"),
            slot("stems.S1.mean", (4,), "moments", "S1", merging),
            slot("stems.S1.var", (4,), "moments", "S1", merging, "stems.S1.mean"),
            slot("stems.S1.batches", (), "counters", "S1", "max"),
            slot("stems.S2.weight", (3,), "weights", "S2"),
            slot("stems.S2.mean", (4,), "moments", "S2", merging),
            slot("stems.S2.cov", (2, 2, 2), "moments", "S2", merging, "stems.S2.mean"),
            slot("head.weight", (2, 2), "weights"),
        )
    )


PLAN = a_plan()
HEAD = Plan((slot("head", (2,), "weights"),))


def zeros(plan: Plan) -> Flat:
    arrays = {
        each.name: np.zeros(each.shape, np.int64 if each.kind == "counters" else np.float32)
        for each in plan.slots
    }
    return flatten(plan, arrays)


def random_update(seed: int, sensors: tuple[str, ...], scale: float = 1.0) -> Update:
    random = np.random.default_rng(seed)
    arrays: Update = {}
    for each in PLAN.shared(sensors):
        if each.kind == "counters":
            arrays[each.name] = np.array(random.integers(0, 100), np.int64)
        else:
            values = random.uniform(-scale, scale, each.shape)
            arrays[each.name] = values.astype(np.float32)
    return arrays


def shares_of(
    counts: Mapping[str, int], holds: Mapping[str, tuple[str, ...]]
) -> dict[str, dict[str | None, float]]:
    total = sum(counts.values())
    per = {s: sum(n for c, n in counts.items() if s in holds[c]) for s in BOTH}
    return {c: {None: n / total, **{s: n / per[s] for s in holds[c]}} for c, n in counts.items()}


def bits(partial: Partial) -> tuple[bytes, bytes, bytes]:
    return partial.weights.tobytes(), partial.moments.tobytes(), partial.counters.tobytes()


@settings(max_examples=40, deadline=None)
@given(data=st.data(), clients=st.integers(1, 7), exponent=st.integers(-30, 3))
def test_any_order_and_grouping_gives_equal_bits(
    data: st.DataObject, clients: int, exponent: int
) -> None:
    names = [f"c{index}" for index in range(clients)]
    held = st.sampled_from([("S1",), ("S2",), BOTH])
    holds = {name: data.draw(held) for name in names}
    counts = {name: data.draw(st.integers(1, 1000)) for name in names}
    shares = shares_of(counts, holds)
    updates = {
        name: random_update(index, holds[name], 10.0**exponent) for index, name in enumerate(names)
    }
    centre = zeros(PLAN)
    centre.moments[:] = np.linspace(-3, 3, centre.moments.size)

    one = empty(PLAN)
    for name in names:
        add(PLAN, one, name, updates[name], shares[name], centre)

    groups = [empty(PLAN) for _ in range(data.draw(st.integers(1, 4)))]
    for name in data.draw(st.permutations(names)):
        partial = groups[data.draw(st.integers(0, len(groups) - 1))]
        add(PLAN, partial, name, updates[name], shares[name], centre)
    total = merge(data.draw(st.permutations(groups)))

    assert bits(total) == bits(one)
    assert sorted(total.clients) == names


def test_merging_leaves_the_parts_alone() -> None:
    partials = [empty(HEAD), empty(HEAD), empty(HEAD)]
    for index, partial in enumerate(partials):
        arrays: Update = {"head": np.ones(2, np.float32)}
        add(HEAD, partial, f"c{index}", arrays, {None: 0.5}, zeros(HEAD))
    before = [bits(partial) for partial in partials]
    merge(partials)
    assert [bits(partial) for partial in partials] == before
    assert [partial.clients for partial in partials] == [["c0"], ["c1"], ["c2"]]


def test_three_clients_of_two_numbers_by_hand() -> None:
    # n = 1, 2, 5 of 8: (1 * 8 + 2 * -4 + 5 * 0.5) / 8 and (1 * 0 + 2 * 1 + 5 * 2) / 8
    total = empty(HEAD)
    values = {"a": ([8, 0], 1), "b": ([-4, 1], 2), "c": ([0.5, 2], 5)}
    for name, (value, count) in values.items():
        arrays: Update = {"head": np.array(value, np.float32)}
        add(HEAD, total, name, arrays, {None: count / 8}, zeros(HEAD))
    assert total.weights.tolist() == [int(0.3125 * 2**40), int(1.5 * 2**40)]
    assert finish(HEAD, total, {None: 1.0}, zeros(HEAD)).weights.tolist() == [0.3125, 1.5]


magnitude = st.one_of(
    st.floats(float(np.float32(1e-30)), 2048, width=32),
    st.sampled_from([1e-30, 1e-13, 2.0**-41, 2.0**-40, 1.0, 2047.9999, 2048.0]),
)
number = st.builds(lambda size, sign: size * sign, magnitude, st.sampled_from([-1, 1]))


@settings(max_examples=150, deadline=None)
@given(
    members=st.lists(st.tuples(number, st.integers(1, 5000), st.booleans()), min_size=1),
)
def test_error_against_exact_fractions(members: list[tuple[float, int, bool]]) -> None:
    plan = Plan((slot("w", (1,), "weights"),))
    planned = sum(count for _, count, _ in members)
    accepted = [(np.float32(x), n) for x, n, taken in members if taken] or [
        (np.float32(members[0][0]), members[0][1])
    ]
    total = empty(plan)
    for index, (x, count) in enumerate(accepted):
        arrays: Update = {"w": np.array([x])}
        add(plan, total, f"c{index}", arrays, {None: count / planned}, zeros(plan))
    weight = sum(count for _, count in accepted)
    share = Fraction(weight, planned)
    exact = sum((Fraction(float(x)) * n for x, n in accepted), Fraction(0)) / weight
    largest = max(abs(Fraction(float(x))) for x, _ in accepted)
    bound = len(accepted) * Fraction(1, 2**41) / share + largest * Fraction(1, 2**50)

    summed = Fraction(int(total.weights[0]), 2**40) / share
    assert abs(summed - exact) <= bound
    result = finish(plan, total, {None: weight / planned}, zeros(plan)).weights[0]
    rounding = abs(exact) * Fraction(1, 2**23) + Fraction(1, 2**150)
    assert abs(Fraction(float(result)) - exact) <= bound + rounding


def test_extremes_are_exact_in_every_chunk() -> None:
    size = 3 * (1 << 14) + 5  # several chunks and a rest
    plan = Plan((slot("w", (size,), "weights"),))
    values = np.random.default_rng(0).uniform(-2048, 2048, size).astype(np.float32)
    values[[0, 1, -1]] = [2048, -2048, 2.0**-40]
    total = empty(plan)
    add(plan, total, "c", {"w": values}, {None: 1.0}, zeros(plan))
    assert total.weights[[0, 1, -1]].tolist() == [2**51, -(2**51), 1]
    after = finish(plan, total, {None: 1.0}, zeros(plan)).weights
    np.testing.assert_allclose(after, values, rtol=0, atol=2**-41)
    large = np.abs(values) >= 2.0**-16  # from there on a float32 is a multiple of the grid
    np.testing.assert_array_equal(after[large], values[large])


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("head.weight", np.nan, "not a finite number"),
        ("head.weight", np.inf, "not a finite number"),
        ("head.weight", -np.inf, "not a finite number"),
        ("head.weight", np.nextafter(np.float32(2048), np.float32(1e9)), "beyond 2048"),
        ("head.weight", -3e38, "beyond 2048"),
        ("stems.S1.mean", np.nan, "not a finite number"),
        ("stems.S1.mean", 2.0**30, "beyond"),
        ("stems.S1.var", -(2.0**30), "beyond"),
        ("stems.S1.var", np.inf, "not a finite number"),
        ("stems.S2.cov", -np.inf, "not a finite number"),
        ("stems.S2.cov", 3e38, "beyond"),
    ],
)
def test_bad_numbers_are_refused_by_name(name: str, value: float, says: str) -> None:
    update = random_update(0, BOTH)
    admit(PLAN, BOTH, update, zeros(PLAN))
    update[name].reshape(-1)[-1] = value
    with pytest.raises(UpdateRefused, match=says) as refusal:
        admit(PLAN, BOTH, update, zeros(PLAN))
    assert name in str(refusal.value)
    assert f"element {update[name].size - 1}" in str(refusal.value)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("head.weight", 2048.0),
        ("head.weight", -2048.0),
        ("head.weight", 1e-30),
        ("stems.S1.var", np.nextafter(np.float32(2.0**30), np.float32(0))),
    ],
)
def test_the_last_good_number_is_admitted(name: str, value: float) -> None:
    update = random_update(0, BOTH)
    update[name].reshape(-1)[0] = value
    admit(PLAN, BOTH, update, zeros(PLAN))


def test_a_second_moment_that_leaves_the_range_about_the_merged_mean_is_refused() -> None:
    update = random_update(0, BOTH)
    update["stems.S2.mean"][1] = 40_000  # its square is beyond 2^30, and int64 would wrap around
    with pytest.raises(UpdateRefused, match=r"stems\.S2\.cov about the merged mean"):
        admit(PLAN, BOTH, update, zeros(PLAN))
    near = zeros(PLAN)
    near.read(PLAN, PLAN.by_name["stems.S2.mean"])[1] = 39_000
    admit(PLAN, BOTH, update, near)
    plain = a_plan("mean")  # nothing is squared there
    admit(plain, BOTH, update, zeros(plain))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf, 2048.0002, -1e20])
@pytest.mark.parametrize("place", [0, 777_777, 999_999])
def test_one_bad_value_cannot_hide_in_a_large_array(bad: float, place: int) -> None:
    plan = Plan((slot("w", (1_000_000,), "weights"),))
    small = np.full(1_000_000, 1e-6, np.float32)
    admit(plan, (), {"w": small}, zeros(plan))
    large = np.full(1_000_000, -2048, np.float32)  # suspicious in sum, good one by one
    admit(plan, (), {"w": large}, zeros(plan))
    for values in (small, large):
        values[place] = bad
        with pytest.raises(UpdateRefused, match=rf"w holds .* \(element {place}\)"):
            admit(plan, (), {"w": values}, zeros(plan))


def test_shape_dtype_and_declaration_are_checked_by_name() -> None:
    centre = zeros(PLAN)

    def refused(sensors: tuple[str, ...], change: Update, *leave_out: str) -> str:
        update = {**random_update(0, sensors), **change}
        for name in leave_out:
            del update[name]
        with pytest.raises(UpdateRefused) as refusal:
            admit(PLAN, sensors, update, centre)
        return str(refusal.value)

    assert refused(BOTH, {"head.weight": np.zeros((4,), np.float32)}) == (
        "head.weight is float32[4], declared float32[2, 2]"
    )
    assert "head.weight is float64[2, 2]" in refused(BOTH, {"head.weight": np.zeros((2, 2))})
    assert "stems.S1.batches is int32[]" in refused(
        BOTH, {"stems.S1.batches": np.array(1, np.int32)}
    )
    assert "stems.S1.batches counts below zero" in refused(
        BOTH, {"stems.S1.batches": np.array(-1, np.int64)}
    )
    assert "undeclared array pixels" in refused(BOTH, {"pixels": np.zeros(3, np.float32)})
    assert "missing array stems.S2.cov" in refused(BOTH, {}, "stems.S2.cov")
    # an encoder that the client does not hold is not declared for it
    foreign: Update = {"stems.S2.weight": np.zeros(3, np.float32)}
    assert "undeclared array stems.S2.weight" in refused(("S1",), foreign)
    message = refused(BOTH, {"extra": np.zeros(1)}, "head.weight")
    assert "extra" in message
    assert "head.weight" in message


def test_a_client_slot_never_leaves() -> None:
    plan = Plan((Slot("head", (2,), "weights", None, "client", "mean"),))
    admit(plan, (), {}, zeros(plan))
    with pytest.raises(UpdateRefused, match="undeclared array head"):
        admit(plan, (), {"head": np.zeros(2, np.float32)}, zeros(plan))


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**31), refused=st.integers(0, 4))
def test_a_refused_client_leaves_the_round_of_the_others(seed: int, refused: int) -> None:
    random = np.random.default_rng(seed)
    counts = {f"c{index}": int(random.integers(1, 50)) for index in range(5)}
    holds = dict.fromkeys(counts, BOTH)
    updates = {name: random_update(seed + index, BOTH) for index, name in enumerate(counts)}
    others = {name: n for name, n in counts.items() if name != f"c{refused}"}
    centre = flatten(PLAN, random_update(seed + 9, BOTH))
    results = []
    for planned in (counts, others):
        shares = shares_of(planned, holds)
        total = empty(PLAN)
        for name in others:
            add(PLAN, total, name, updates[name], shares[name], centre)
        share = sum(others.values()) / sum(planned.values())
        accepted: dict[str | None, float] = {None: share, "S1": share, "S2": share}
        results.append(finish(PLAN, total, accepted, centre))
    np.testing.assert_allclose(results[0].weights, results[1].weights, rtol=0, atol=1e-6)
    np.testing.assert_allclose(results[0].moments, results[1].moments, rtol=0, atol=1e-6)
    np.testing.assert_array_equal(results[0].counters, results[1].counters)


def test_a_sensor_without_an_update_keeps_its_values() -> None:
    before = flatten(PLAN, random_update(1, BOTH))
    update = random_update(2, ("S2",))
    total = empty(PLAN)
    add(PLAN, total, "c", update, {None: 0.25, "S2": 1.0}, before)
    after = finish(PLAN, total, {None: 0.25, "S1": 0.0, "S2": 1.0}, before)
    for each in PLAN.slots:
        old: Array = before.read(PLAN, each)
        new: Array = after.read(PLAN, each)
        if each.sensor == "S1":
            assert old.tobytes() == new.tobytes(), each.name
        else:
            np.testing.assert_allclose(new, update[each.name], rtol=1e-5, atol=1e-6)
    assert before.weights.tobytes() == flatten(PLAN, random_update(1, BOTH)).weights.tobytes()


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**31),
    sizes=st.lists(st.integers(2, 40), min_size=1, max_size=5),
    spread=st.floats(0, 30),
    centre=st.floats(-20, 20),
)
def test_moments_merge_to_the_statistics_of_the_pooled_samples(
    seed: int, sizes: list[int], spread: float, centre: float
) -> None:
    random = np.random.default_rng(seed)
    mix = random.normal(size=(4, 4))
    samples = [random.normal(size=(n, 4)) @ mix + random.normal(0, spread, 4) for n in sizes]
    before = zeros(PLAN)
    before.moments[:] = centre
    total = empty(PLAN)
    for index, own in enumerate(samples):
        arrays: Update = {
            "stems.S1.mean": own.mean(0).astype(np.float32),
            "stems.S1.var": own.var(0).astype(np.float32),
            "stems.S2.mean": own.mean(0).astype(np.float32),
            "stems.S2.cov": grouped(own).astype(np.float32),
        }
        share = len(own) / sum(sizes)
        add(PLAN, total, f"c{index}", arrays, {None: share, "S1": share, "S2": share}, before)
    after = finish(PLAN, total, {None: 1.0, "S1": 1.0, "S2": 1.0}, before)
    pool = np.concatenate(samples)
    tolerance = 1e-5 * (1 + spread) ** 2 * 40
    for name, expected in {
        "stems.S1.mean": pool.mean(0),
        "stems.S1.var": pool.var(0),
        "stems.S2.mean": pool.mean(0),
        "stems.S2.cov": grouped(pool),
    }.items():
        found: Array = after.read(PLAN, PLAN.by_name[name])
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=tolerance, err_msg=name)


def grouped(samples: NDArray[np.float64]) -> NDArray[np.float64]:
    """Covariances (2, 2, 2) of two groups of two channels."""
    both = np.cov(samples, rowvar=False, ddof=0)
    return np.stack([both[:2, :2], both[2:, 2:]])


def test_moments_and_mean_by_hand() -> None:
    # two clients alike in size: means 0 and 4, variances 1 and 3: pooled 2 + (2^2 + 2^2) / 2 = 6
    found = {}
    for merging in ("moments", "mean"):
        plan = a_plan("moments" if merging == "moments" else "mean")
        total = empty(plan)
        for name, mean, var in (("a", 0, 1), ("b", 4, 3)):
            arrays: Update = {
                "stems.S1.mean": np.full(4, mean, np.float32),
                "stems.S1.var": np.full(4, var, np.float32),
                "stems.S2.mean": np.full(4, mean, np.float32),
                "stems.S2.cov": np.full((2, 2, 2), var, np.float32),
            }
            add(plan, total, name, arrays, {"S1": 0.5, "S2": 0.5}, zeros(plan))
        after = finish(plan, total, {"S1": 1.0, "S2": 1.0}, zeros(plan))
        found[merging] = [
            np.unique(after.read(plan, plan.by_name[name])).tolist()
            for name in ("stems.S1.mean", "stems.S1.var", "stems.S2.cov")
        ]
    assert found["moments"] == [[2], [6], [6]]
    assert found["mean"] == [[2], [2], [2]]


def test_a_variance_never_falls_below_zero() -> None:
    before = zeros(PLAN)
    before.moments[:] = 1000.1
    total = empty(PLAN)
    for index in range(3):
        arrays: Update = {
            "stems.S1.mean": np.full(4, 0.1, np.float32),
            "stems.S1.var": np.zeros(4, np.float32),
        }
        add(PLAN, total, f"c{index}", arrays, {"S1": 1 / 3}, before)
    var = finish(PLAN, total, {"S1": 1.0}, before).read(PLAN, PLAN.by_name["stems.S1.var"])
    assert (np.asarray(var) >= 0).all()


def test_counters_take_the_largest() -> None:
    total = empty(PLAN)
    for name, count in (("a", 3), ("b", 12), ("c", 7)):
        arrays: Update = {"stems.S1.batches": np.array(count, np.int64)}
        add(PLAN, total, name, arrays, {"S1": 1 / 3}, zeros(PLAN))
    assert finish(PLAN, total, {"S1": 1.0}, zeros(PLAN)).counters.tolist() == [12]


def test_flatten_reads_back_every_slot() -> None:
    update = random_update(3, BOTH)
    flat = flatten(PLAN, update)
    for each in PLAN.slots:
        read = flat.read(PLAN, each)
        assert read.dtype == update[each.name].dtype
        np.testing.assert_array_equal(read, update[each.name])
