import shutil
from pathlib import Path

import numpy as np
import pytest

from raymmfl.archive.store import Archive
from raymmfl.archive.summary import absent_labels, info
from raymmfl.archive.verify import verify


@pytest.fixture
def copy(tiny_archive: Archive, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_archive.path, tmp_path / "copy"))


def flip(path: Path, position: int) -> None:
    content = bytearray(path.read_bytes())
    content[position] ^= 0x10
    path.write_bytes(content)


def test_a_whole_archive_has_no_problems(tiny_archive: Archive) -> None:
    assert verify(tiny_archive.path) == []


@pytest.mark.parametrize("name", ["S1", "S2", "mask"])
def test_a_flipped_pixel_names_its_scene(tiny_archive: Archive, copy: Path, name: str) -> None:
    scene = 70  # in the second record batch
    rows = np.array([scene])
    pixels = tiny_archive.read_mask(rows) if name == "mask" else tiny_archive.read(name, rows)[-1]
    position = (copy / f"{name}.arrow").read_bytes().index(pixels.tobytes())
    flip(copy / f"{name}.arrow", position + 3)
    problems = verify(copy)
    assert len(problems) == 2
    assert f"{name}.arrow" in problems[0]
    assert f"{name}.arrow" in problems[1]
    assert tiny_archive.scene_ids[scene] in problems[1]


@pytest.mark.parametrize(
    "name", ["S1.arrow", "S2.arrow", "mask.arrow", "scenes.parquet", "archive.json"]
)
def test_a_flipped_byte_anywhere_is_found(copy: Path, name: str) -> None:
    content = (copy / name).read_bytes()
    # Schema, pixels, and above all the footer, where the damage meets Arrow's own checks.
    near_the_end = len(content) - 1 - np.arange(0, min(1200, len(content)), 60)
    for position in [0, 300, 700, len(content) // 2, *near_the_end.tolist()]:
        flip(copy / name, position)
        assert name in verify(copy)[0]
        (copy / name).write_bytes(content)


def test_missing_and_truncated_files_are_told(copy: Path) -> None:
    (copy / "S1.arrow").unlink()
    assert "S1.arrow" in verify(copy)[0]
    assert "archive.json" in verify(copy / "nothing")[0]


def test_info_tells_what_is_there(tiny_archive: Archive) -> None:
    text = info(tiny_archive.path)
    assert "SYNTHETIC" in text
    for word in (
        "CC0-1.0",
        "VV",
        "B8A",
        "20m",
        "Portugal",
        "flooded crops",
        f"{len(tiny_archive)}",
    ):
        assert word in text
    absent = absent_labels(tiny_archive)
    for split, labels in absent.items():
        rows = tiny_archive.targets[tiny_archive.splits == split]
        for number, label in enumerate(tiny_archive.labels):
            assert (label in labels) == (rows[:, number].sum() == 0)
