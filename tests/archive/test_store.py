import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from raymmfl.archive.store import Archive
from raymmfl.archive.writer import whole_folder
from raymmfl.errors import ArchiveError


@pytest.fixture
def copy(tiny_archive: Archive, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_archive.path, tmp_path / "copy"))


def test_sensors_are_described(tiny_archive: Archive) -> None:
    s1, s2 = tiny_archive.sensors["S1"], tiny_archive.sensors["S2"]
    assert s1.bands == ("VV", "VH")
    assert s2.bands == ("B02", "B03", "B04", "B08", "B05", "B06", "B07", "B8A", "B11", "B12")
    assert [(c.name, c.size, c.dtype, c.pixel_m) for c in s2.columns] == [
        ("10m", 16, "uint16", 10.0),
        ("20m", 8, "uint16", 20.0),
    ]
    assert (s1.size, s2.size) == (16, 16)
    assert len(s2.mean) == len(s2.std) == 10


def test_coarse_bands_are_left_out_as_if_they_were_not_there(tiny_archive: Archive) -> None:
    fine = Archive.open(tiny_archive.path, coarsest_m=10)
    assert fine.sensors["S1"] == tiny_archive.sensors["S1"]
    s2, whole = fine.sensors["S2"], tiny_archive.sensors["S2"]
    assert s2.bands == ("B02", "B03", "B04", "B08")
    assert (s2.columns, s2.mean, s2.std) == (whole.columns[:1], whole.mean[:4], whole.std[:4])
    rows = np.array([3, 1])
    (part,) = fine.read("S2", rows)
    np.testing.assert_array_equal(part, tiny_archive.read("S2", rows)[0])
    assert pickle.loads(pickle.dumps(fine)).sensors == fine.sensors
    assert Archive.open(tiny_archive.path, coarsest_m=20).sensors == tiny_archive.sensors
    with pytest.raises(ArchiveError, match="no sensor has pixels of 5 m or less"):
        Archive.open(tiny_archive.path, coarsest_m=5)


def test_reading_any_order_across_batches(tiny_archive: Archive) -> None:
    assert len(tiny_archive) > 64, "more than one record batch"
    everything = tiny_archive.read("S2", np.arange(len(tiny_archive)))
    rows = np.random.default_rng(0).permutation(len(tiny_archive))[:70]
    for part, whole in zip(tiny_archive.read("S2", rows), everything, strict=True):
        np.testing.assert_array_equal(part, whole[rows])


def test_reading_converts_as_numpy_would(tiny_archive: Archive) -> None:
    rows = np.array([5, 70, 5])
    for dtype in ("float32", "int16"):
        found = tiny_archive.read("S2", rows, dtype)
        for part, plain in zip(found, tiny_archive.read("S2", rows), strict=True):
            assert part.dtype == dtype
            assert part.flags.owndata
            np.testing.assert_array_equal(part, plain.astype(dtype))


def test_what_is_read_is_ours(tiny_archive: Archive) -> None:
    first = tiny_archive.read("S1", np.array([0]))[0]
    kept = first.copy()
    assert first.flags.owndata
    first[:] = 0
    np.testing.assert_array_equal(tiny_archive.read("S1", np.array([0]))[0], kept)


def test_no_rows_give_empty_arrays(tiny_archive: Archive) -> None:
    shapes = [array.shape for array in tiny_archive.read("S2", np.array([], dtype=np.int64))]
    assert shapes == [(0, 4, 16, 16), (0, 6, 8, 8)]


def test_what_the_scene_table_tells(tiny_archive: Archive) -> None:
    assert tiny_archive.mask is not None
    assert (tiny_archive.mask.size, tiny_archive.mask.dtype) == (16, "uint8")
    assert list(tiny_archive.attributes) == ["region", "season", "place"]
    assert tiny_archive.attributes["region"] is tiny_archive.regions
    assert all(len(date) == 10 for date in tiny_archive.dates)
    assert (np.abs(tiny_archive.lats - 45) < 10).all()  # Austria and Portugal
    assert (tiny_archive.lons[tiny_archive.regions == "Portugal"] < 0).all()


def test_splits_divide_the_scenes(tiny_archive: Archive) -> None:
    rows = np.concatenate([tiny_archive.rows(split) for split in ("train", "val", "test")])
    np.testing.assert_array_equal(np.sort(rows), np.arange(len(tiny_archive)))
    assert len(set(tiny_archive.scene_ids)) == len(tiny_archive)
    assert (tiny_archive.targets.sum(axis=1) >= 1).all()


def test_a_pickle_is_a_path(tiny_archive: Archive) -> None:
    content = pickle.dumps(tiny_archive)
    assert len(content) < 1000
    again = pickle.loads(content)
    assert again.digest == tiny_archive.digest
    np.testing.assert_array_equal(
        again.read("S1", np.array([5]))[0], tiny_archive.read("S1", np.array([5]))[0]
    )


def test_an_unknown_sensor_is_refused(tiny_archive: Archive) -> None:
    with pytest.raises(ArchiveError, match=r"no sensor S3.*S1"):
        tiny_archive.read("S3", np.array([0]))


def test_no_archive_there(tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"nowhere/archive\.json.*raymmfl archive pack"):
        Archive.open(tmp_path / "nowhere")


@pytest.mark.parametrize("name", ["S1.arrow", "S2.arrow", "mask.arrow", "scenes.parquet"])
def test_missing_and_truncated_files(copy: Path, name: str) -> None:
    content = (copy / name).read_bytes()
    (copy / name).write_bytes(content[:-1])
    with pytest.raises(ArchiveError, match=f"{name}.*truncated"):
        Archive.open(copy)
    (copy / name).unlink()
    with pytest.raises(ArchiveError, match=f"{name}: missing"):
        Archive.open(copy)


def test_another_format_version(copy: Path) -> None:
    index = json.loads((copy / "archive.json").read_text())
    (copy / "archive.json").write_text(json.dumps({**index, "version": 99}))
    with pytest.raises(ArchiveError, match="format version 99"):
        Archive.open(copy)


def test_an_edited_index(copy: Path) -> None:
    text = (copy / "archive.json").read_text()
    (copy / "archive.json").write_text(text.replace("CC0-1.0", "CC0-1.1"))
    with pytest.raises(ArchiveError, match="edited"):
        Archive.open(copy)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"{}", b'{"version": 1, "checksum": 3}'])
def test_no_index(copy: Path, content: bytes) -> None:
    (copy / "archive.json").write_bytes(content)
    with pytest.raises(ArchiveError, match="not an archive's index"):
        Archive.open(copy)


def test_a_folder_is_whole_or_absent(tmp_path: Path) -> None:
    out = tmp_path / "deep" / "out"

    def fail(error: Exception) -> None:
        with whole_folder(out) as folder:
            (folder / "part").write_text("half")
            raise error

    with pytest.raises(RuntimeError):
        fail(RuntimeError())
    with pytest.raises(ArchiveError, match="free the disk"):
        fail(OSError("no space left"))
    assert list((tmp_path / "deep").iterdir()) == []
    with whole_folder(out) as folder:
        (folder / "part").write_text("whole")
        assert not out.exists()
    assert [path.name for path in out.parent.iterdir()] == ["out"]
    assert (out / "part").read_text() == "whole"


def test_a_changed_scene_table_is_refused(archive: Archive, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(archive.path, copy)
    table = copy / "scenes.parquet"
    content = bytearray(table.read_bytes())
    content[len(content) // 3] ^= 1
    table.write_bytes(content)
    with pytest.raises(ArchiveError, match=r"scenes.parquet was changed or damaged"):
        Archive.open(copy)
