"""Tests of the arithmetic of windows."""

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from raymmfl.prediction.windows import Box, starts, tile

SIZE = st.integers(1, 300)


@given(height=SIZE, width=SIZE, side=st.integers(1, 20), around=st.integers(0, 9))
@example(height=16, width=17, side=2, around=0)
def test_every_pixel_is_in_one_core_and_views_are_cut_by_the_image_alone(
    height: int, width: int, side: int, around: int
) -> None:
    stride = 8
    written = np.zeros((height, width), dtype=np.int64)
    for window in tile(height, width, side * stride, around * stride):
        core, view = window.core, window.view
        written[core.top : core.bottom, core.left : core.right] += 1
        assert written[core.top : core.bottom, core.left : core.right].shape == core.shape
        for first, last, seen_first, seen_last, length in (
            (core.top, core.bottom, view.top, view.bottom, height),
            (core.left, core.right, view.left, view.right, width),
        ):
            assert seen_first % stride == 0
            assert seen_first == max(0, first - around * stride)
            assert seen_last == min(length, last + around * stride)
            assert seen_last % stride == 0 or seen_last == length
    assert (written == 1).all()


def test_a_core_is_found_in_its_view() -> None:
    view = np.arange(100 * 90).reshape(100, 90)[24:72, 8:90]
    core = Box(32, 16, 64, 80)
    rows, columns = core.inside(Box(24, 8, 72, 90))
    assert view[rows, columns].shape == core.shape
    assert view[rows, columns][0, 0] == 32 * 90 + 16


def test_larger_pixels_around_a_box() -> None:
    # fine pixels 7 to 12 lie in coarse pixels 2 to 4 of three each; one more on each side, but
    # the image has five
    assert Box(7, 7, 13, 13).around(3, 1, 5, 5) == Box(1, 1, 5, 5)
    assert Box(0, 6, 2, 9).around(3, 0, 5, 5) == Box(0, 2, 1, 3)
    assert Box(1, 2, 3, 4).times(6) == Box(6, 12, 18, 24)


@given(length=st.integers(1, 500), patch=st.integers(1, 70))
def test_patches_cover_the_line_and_stay_on_it(length: int, patch: int) -> None:
    length = max(length, patch)
    found = starts(length, patch)
    assert len(found) == -(-length // patch)
    assert {pixel for start in found for pixel in range(start, start + patch)} == set(
        range(length)
    )
    assert found[:-1] == [index * patch for index in range(len(found) - 1)]
