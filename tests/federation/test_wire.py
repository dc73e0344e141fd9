"""Tests of the number formats: exact or within their stated error, and their bytes."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from raymmfl.config import WireFormat
from raymmfl.federation.wire import decode, decode_rows, encode, encode_rows, row_blocks

vectors = st.tuples(st.integers(0, 2**31), st.integers(1, 60), st.integers(-6, 3)).map(
    lambda each: (np.random.default_rng(each[0]).normal(size=each[1]) * 10.0 ** each[2]).astype(
        np.float32
    )
)


def test_float32_is_exact_and_not_copied() -> None:
    vector = np.array([1.5, -0.0, 3e38, 1e-45, np.nan, np.inf], np.float32)
    encoded = encode(vector, "float32")
    decoded = decode(encoded)
    assert np.shares_memory(vector, decoded)
    assert decoded.tobytes() == vector.tobytes()
    assert encoded.nbytes == 24


@settings(deadline=None)
@given(vector=vectors)
def test_float16_halves_the_bytes_within_half_a_unit(vector: NDArray[np.float32]) -> None:
    encoded = encode(vector, "float16")
    assert encoded.nbytes == 2 * vector.size
    decoded = decode(encoded)
    assert decoded.dtype == np.float32
    # 11 significant bits; below 2^-14 a fixed grid of 2^-24
    assert (np.abs(decoded - vector) <= np.abs(vector) * 2.0**-11 + 2.0**-25).all()


@settings(deadline=None)
@given(vector=vectors, data=st.data())
def test_int8_is_within_half_a_step_of_its_block(
    vector: NDArray[np.float32], data: st.DataObject
) -> None:
    cuts = sorted(data.draw(st.sets(st.integers(0, vector.size), max_size=4)))
    edges = [0, *cuts, vector.size]
    blocks = [slice(a, b) for a, b in pairwise(edges)]
    encoded = encode(vector, "int8", blocks)
    assert encoded.nbytes == vector.size + 4 * len(blocks)
    decoded = decode(encoded, blocks)
    for block in blocks:
        step = np.abs(vector[block]).max(initial=0) / 127
        error = np.abs(decoded[block] - vector[block])
        assert (error <= step * (0.5 + 1e-4)).all()


def test_int8_by_hand() -> None:
    encoded = encode(np.array([127, -64, 0.4, 0.6, 0, 0], np.float32), "int8", row_blocks(3, 2))
    assert encoded.payload.tolist() == [127, -64, 85, 127, 0, 0]
    np.testing.assert_allclose(encoded.scales, [1, 0.6 / 127, 0], rtol=1e-6)
    assert decode(encoded, row_blocks(3, 2))[4:].tolist() == [0, 0]


def test_what_cannot_be_sent_does_not_arrive_as_something_else() -> None:
    assert np.isinf(decode(encode(np.array([1e9], np.float32), "float16"))).all()
    for bad in (np.nan, np.inf):
        broken = np.array([1, bad, 2, 3], np.float32)
        assert np.isnan(decode(encode(broken, "float16"))).any() or np.isinf(bad)
        halves = row_blocks(2, 2)
        received = decode(encode(broken, "int8", halves), halves)
        assert np.isnan(received[:2]).all()  # its block is known to be broken
        np.testing.assert_allclose(received[2:], [2, 3], atol=0.02)


@pytest.mark.parametrize(("wire", "size"), [("float32", 96), ("float16", 48), ("int8", 36)])
def test_rows_each_have_their_own_scale(wire: WireFormat, size: int) -> None:
    rows = np.outer([1, 1e-4, 100], np.linspace(-1, 1, 8)).astype(np.float32)
    encoded = encode_rows(rows, wire)
    assert encoded.nbytes == size
    received = decode_rows(encoded, 3)
    assert received.shape == (3, 8)
    largest = np.abs(rows).max(axis=1, keepdims=True)
    assert (np.abs(received - rows) <= largest / 127).all()


def test_no_rows_are_no_bytes() -> None:
    wires: tuple[WireFormat, ...] = ("float32", "float16")
    for wire in wires:
        encoded = encode_rows(np.zeros((0, 8), np.float32), wire)
        assert encoded.nbytes == 0
        assert decode_rows(encoded, 0).shape == (0, 0)
