import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from raymmfl.archive.packing.moments import Moments
from raymmfl.errors import ArchiveError


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**32), cuts=st.lists(st.integers(1, 5), min_size=1, max_size=6))
def test_parts_add_up_to_the_whole(seed: int, cuts: list[int]) -> None:
    random = np.random.default_rng(seed)
    patches = [
        (random.normal(1e4, 5, (2, 4, 4)), random.integers(0, 60000, (1, 2, 2)).astype(np.uint16))
        for _ in range(sum(cuts))
    ]
    whole, left = Moments(3), iter(patches)
    for cut in cuts:
        part = Moments(3)
        for _ in range(cut):
            part.add(next(left))
        whole.merge(json.loads(json.dumps(part.tell())))
    mean, std = whole.result()
    for band in range(3):
        column, index = (0, band) if band < 2 else (1, 0)
        values = np.stack([patch[column][index] for patch in patches]).astype(np.float64)
        assert mean[band] == pytest.approx(values.mean(), rel=1e-12)
        assert std[band] == pytest.approx(values.std(), rel=1e-9)


def test_a_part_without_patches_changes_nothing() -> None:
    moments = Moments(1)
    moments.merge(Moments(1).tell())
    with pytest.raises(ArchiveError, match="no train patch"):
        moments.result()
    moments.add([np.array([[[1, 3]]])])
    moments.merge(Moments(1).tell())
    assert moments.result() == ([2.0], [1.0])


def test_a_constant_band_has_deviation_one() -> None:
    moments = Moments(1)
    moments.add([np.full((1, 2, 2), 7, np.int16)])
    assert moments.result() == ([7.0], [1.0])
