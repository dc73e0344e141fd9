import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymmfl.archive.splits import Rectangle, patch_windows, split_blocks
from raymmfl.errors import ArchiveError

GRID = st.integers(5, 40)
SEED = st.integers(0, 2**32)


def block_map(rows: int, columns: int, seed: int, place: str) -> np.ndarray:
    blocks = np.full((rows, columns), ".", dtype="U1")
    for name, part in split_blocks(rows, columns, seed, place).items():
        window = blocks[part.top : part.top + part.height, part.left : part.left + part.width]
        assert window.shape == (part.height, part.width), "inside the grid"
        assert (window == ".").all(), "no block in two splits"
        window[:] = {"train": "T", "val": "V", "test": "E"}[name]
    return blocks


@given(GRID, GRID, SEED, st.text(max_size=8))
def test_no_held_back_block_touches_train(rows: int, columns: int, seed: int, place: str) -> None:
    blocks = block_map(rows, columns, seed, place)
    kinds = np.pad(blocks, 1, constant_values=".")
    for down in (-1, 0, 1):
        for right in (-1, 0, 1):
            beside = np.roll(kinds, (down, right), axis=(0, 1))
            assert not ((kinds == "T") & ((beside == "V") | (beside == "E"))).any()
            assert not ((kinds == "V") & (beside == "E")).any()
    assert {"T", "V", "E"} <= set(blocks.ravel())
    assert (blocks == "T").sum() > ((blocks == "V") | (blocks == "E")).sum()


@given(GRID, GRID, SEED)
def test_equal_seeds_give_equal_splits(rows: int, columns: int, seed: int) -> None:
    assert split_blocks(rows, columns, seed, "a") == split_blocks(rows, columns, seed, "a")


def test_sides_differ_between_places_and_seeds() -> None:
    assert len({str(split_blocks(9, 9, 0, f"place {n}")) for n in range(50)}) == 8
    assert len({str(split_blocks(9, 9, seed, "a")) for seed in range(50)}) == 8


def test_twelve_blocks_by_hand() -> None:
    for seed in range(10):
        blocks = block_map(12, 12, seed, "a")
        counts = {kind: int((blocks == kind).sum()) for kind in "TVE."}
        assert counts["T"] == 96  # 12 - 3 held back - 1 gap
        assert sorted((counts["V"], counts["E"])) == [15, 18]  # 3 x 5 and 3 x 6, one column apart


@pytest.mark.parametrize(("rows", "columns"), [(4, 5), (5, 4), (0, 0)])
def test_small_grids_are_refused(rows: int, columns: int) -> None:
    with pytest.raises(ArchiveError, match=f"meadow: a grid of {rows}x{columns}"):
        split_blocks(rows, columns, 0, "meadow")


@given(
    st.integers(0, 50), st.integers(0, 50), st.integers(1, 60), st.integers(1, 60),
    st.integers(1, 20), st.integers(1, 20),
)  # fmt: skip
def test_patches_stay_inside(
    top: int, left: int, height: int, width: int, patch: int, stride: int
) -> None:
    corners = patch_windows(Rectangle(top, left, height, width), patch, stride)
    if min(height, width) < patch:
        assert len(corners) == 0
        return
    expected = ((height - patch) // stride + 1) * ((width - patch) // stride + 1)
    assert len({tuple(corner) for corner in corners.tolist()}) == expected
    assert (corners >= [top, left]).all()
    assert (corners + patch <= [top + height, left + width]).all()
