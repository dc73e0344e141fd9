"""Tests of the bank: a client receives its own scenes' partner embeddings and no other."""

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from raymmfl.federation.exchange import Bank, Embeddings, pack

SENSORS = ("S1", "S2", "S3")
SCENES = 20

scenes = st.sets(st.integers(0, SCENES - 1), min_size=1).map(
    lambda rows: np.array(sorted(rows), np.int64)
)


@settings(max_examples=100, deadline=None)
@given(
    uploads=st.lists(
        st.tuples(st.sampled_from(SENSORS), scenes, st.integers(1, 9)), max_size=12
    ).map(lambda each: sorted(each, key=lambda upload: upload[2])),
    own=st.sets(st.sampled_from(SENSORS), min_size=1),
    rows=scenes,
    round_index=st.integers(10, 14),
    max_age=st.integers(1, 12),
)
def test_the_inbox_holds_the_newest_partner_vectors_of_own_scenes(
    uploads: list[tuple[str, np.ndarray, int]],
    own: set[str],
    rows: np.ndarray,
    round_index: int,
    max_age: int,
) -> None:
    bank = Bank(SCENES)
    newest: dict[tuple[str, int], tuple[int, int]] = {}
    for number, (sensor, uploaded, spoken) in enumerate(uploads):
        # a vector tells who, which scene and which upload it is
        vectors = np.stack([np.full(len(uploaded), number), uploaded], 1).astype(np.float32)
        bank.store(sensor, Embeddings(uploaded, vectors), spoken)
        for row in uploaded.tolist():
            newest[sensor, row] = (spoken, number)
    inbox = bank.inbox(own, rows, round_index, max_age)
    expected = {
        (sensor, row): number
        for (sensor, row), (spoken, number) in newest.items()
        if sensor not in own and row in rows and round_index - spoken <= max_age
    }
    found = {
        (sensor, int(row)): int(vector[0])
        for sensor, each in inbox.items()
        for row, vector in zip(each.rows, each.vectors, strict=True)
    }
    assert found == expected
    for each in inbox.values():
        assert each.rows.size
        assert (np.diff(each.rows) > 0).all()
        assert (each.vectors[:, 1] == each.rows).all()


def test_age_is_counted_in_rounds() -> None:
    bank = Bank(3)
    one = np.array([1])
    bank.store("S1", Embeddings(one, np.ones((1, 4), np.float32)), 2)
    assert set(bank.inbox(("S2",), one, 3, max_age=1)) == {"S1"}
    assert bank.inbox(("S2",), one, 4, max_age=1) == {}
    assert set(bank.inbox(("S2",), one, 4, max_age=2)) == {"S1"}
    assert bank.inbox(("S2",), np.array([0, 2]), 3, max_age=9) == {}


def test_the_inbox_is_the_receivers_own_copy() -> None:
    bank = Bank(3)
    rows = np.array([0, 2])
    bank.store("S1", Embeddings(rows, np.ones((2, 4), np.float32)), 1)
    bank.inbox(("S2",), rows, 2, 5)["S1"].vectors[:] = 7
    assert (bank.vectors["S1"][rows] == 1).all()


def test_a_parcel_weighs_its_vectors_and_scene_numbers() -> None:
    vectors = np.random.default_rng(0).normal(size=(5, 16)).astype(np.float32)
    given_ = Embeddings(np.arange(5), vectors)
    assert pack(given_, "float32").nbytes == 5 * 16 * 4 + 5 * 8
    assert pack(given_, "float16").nbytes == 5 * 16 * 2 + 5 * 8
    assert pack(given_, "int8").nbytes == 5 * 16 + 5 * 4 + 5 * 8
    opened = pack(given_, "float32").open()
    np.testing.assert_array_equal(opened.rows, given_.rows)
    np.testing.assert_array_equal(opened.vectors, vectors)
    np.testing.assert_allclose(pack(given_, "int8").open().vectors, vectors, atol=0.02)
