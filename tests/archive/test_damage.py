"""Cut and flipped files in the formats of real archives: none passes unseen."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import rasterio

from raymmfl.archive.packing.pack import pack
from raymmfl.archive.readers.layouts import LAYOUTS
from raymmfl.archive.readers.options import Options
from raymmfl.archive.readers.source import Source, Unit
from raymmfl.archive.store import MASK, Archive
from raymmfl.archive.synthetic.bigearthnet import synthesise_reben
from raymmfl.archive.verify import verify, verify_source
from raymmfl.errors import ArchiveError

DAMAGES = 100  # of each kind


@pytest.fixture(scope="module")
def patches(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Fifteen files a patch: uncompressed bands and a deflated reference map."""
    folder = tmp_path_factory.mktemp("reben") / "source"
    synthesise_reben(folder, patches=24, seed=2)
    return folder


@pytest.fixture(scope="module")
def deflated(tiny_source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny source, its rasters compressed."""
    folder = tmp_path_factory.mktemp("deflated") / "source"
    shutil.copytree(tiny_source, folder)
    for path in folder.rglob("*.tif"):
        with rasterio.open(path) as file:
            data, profile = file.read(), file.profile
        path.unlink()
        with rasterio.open(path, "w", **{**profile, "compress": "deflate"}) as file:
            file.write(data)
    return folder


def sources(patches: Path, deflated: Path) -> Iterator[tuple[Source, Unit, Path]]:
    """Raster after raster of both folders, in random order, with the unit that reads it."""
    found = []
    for layout, folder, options in (
        ("reben", patches, Options()),
        ("synthetic", deflated, Options(patch=16)),
    ):
        source = LAYOUTS[layout].open(folder, options)
        for unit in source.units():
            for scene in source.read(unit).scenes[:1]:
                found += [(source, unit, folder / name) for name in scene.sources]
    tiles = [each for each in found if each[2].is_relative_to(deflated)]
    random = np.random.default_rng(3)
    for index in random.permutation(len(found)).tolist():
        yield found[index]
        yield tiles[index % len(tiles)]


def test_packing_finds_every_file_that_is_cut(patches: Path, deflated: Path) -> None:
    random = np.random.default_rng(4)
    for number, (source, unit, path) in zip(
        range(DAMAGES), sources(patches, deflated), strict=False
    ):
        content = path.read_bytes()
        # anywhere, and every fourth time by a few bytes only
        length = int(random.integers(len(content)))
        if number % 4 == 0:
            length = len(content) - int(random.integers(1, 9))
        path.write_bytes(content[:length])
        try:
            with pytest.raises(ArchiveError) as caught:
                source.read(unit)
        finally:
            path.write_bytes(content)
        assert str(path) in str(caught.value), f"cut to {length} of {len(content)}"


def test_sources_that_changed_after_packing_are_all_named(patches: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(patches, tmp_path / "source"))
    pack(LAYOUTS["reben"].open(folder, Options()), tmp_path / "a")
    report = verify_source(tmp_path / "a", folder)
    table = pq.read_table(tmp_path / "a" / "scenes.parquet").to_pydict()
    scene_of = {
        each["path"]: scene
        for scene, made_of in zip(table["scene_id"], table["sources"], strict=True)
        for each in made_of
    }
    files = len(scene_of) + 1  # with metadata.parquet
    assert (report.problems, report.files, report.added) == ([], files, 0)
    random = np.random.default_rng(5)
    damaged = random.permutation(sorted(scene_of))[: 2 * DAMAGES].tolist()
    for number, name in enumerate(damaged):
        content = bytearray((folder / name).read_bytes())
        if number < DAMAGES:
            content = content[: random.integers(len(content))]
        else:
            content[random.integers(len(content))] ^= 1 << int(random.integers(8))
        (folder / name).write_bytes(content)
    gone, new = sorted(set(scene_of) - set(damaged))[0], Path(damaged[0]).with_name("new.tif")
    (folder / gone).unlink()
    (folder / new).touch()
    report = verify_source(tmp_path / "a", folder)
    assert len(damaged) == 2 * DAMAGES
    assert sorted(report.problems) == sorted(
        [f"{folder / name}: changed since it was packed; scene {scene_of[name]}"
         for name in damaged] + [f"{folder / gone}: missing; scene {scene_of[gone]}"]
    )  # fmt: skip
    assert report.files == files - 2 * DAMAGES - 1
    assert (report.added, report.examples) == (1, [new.as_posix()])


def pixel_owners(archive: Archive) -> dict[str, list[tuple[int, int, str]]]:
    """Per Arrow file where each scene's pixels lie: first byte, end, scene."""
    owners: dict[str, list[tuple[int, int, str]]] = {}
    for name in [*archive.sensors, MASK]:
        content = (archive.path / f"{name}.arrow").read_bytes()
        owners[f"{name}.arrow"] = []
        for row, scene in enumerate(archive.scene_ids):
            rows = np.array([row])
            arrays = [archive.read_mask(rows)] if name == MASK else archive.read(name, rows)
            for array in arrays:
                start = content.find(array.tobytes())
                if content.count(array.tobytes()) == 1:  # patches of one class look alike
                    owners[f"{name}.arrow"].append((start, start + array.nbytes, scene))
    return owners


def test_verify_finds_every_damage_to_a_packed_file(tiny_archive: Archive, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_archive.path, tmp_path / "copy"))
    owners = pixel_owners(tiny_archive)
    files = [*owners, "scenes.parquet", "archive.json"]
    random = np.random.default_rng(6)
    named = 0
    for number in range(2 * DAMAGES):
        name = files[number % len(files)]
        content = (copy / name).read_bytes()
        at = int(random.integers(len(content)))
        damaged = bytearray(content)
        damaged[at] ^= 1 << int(random.integers(8))
        (copy / name).write_bytes(content[:at] if number < DAMAGES else damaged)
        problems = "\n".join(verify(copy))
        (copy / name).write_bytes(content)
        assert f"{copy / name}: " in problems, f"damage {number} at {at} of {name}"
        if number < DAMAGES:
            lost = [scene for _, end, scene in owners.get(name, []) if end > at]
            assert not lost or "cannot be read" in problems or "ends before" in problems
        else:
            hit = [scene for start, end, scene in owners.get(name, []) if start <= at < end]
            assert all(f"scene {scene}: its pixels differ" in problems for scene in hit)
            named += len(hit)
    assert named > DAMAGES / 3
    assert verify(copy) == []


def test_a_cut_file_names_the_scenes_it_lost(tiny_archive: Archive, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(tiny_archive.path, tmp_path / "copy"))
    content = (copy / "S2.arrow").read_bytes()
    (copy / "S2.arrow").write_bytes(content[: len(content) * 9 // 10])
    found = [problem for problem in verify(copy) if "cannot be read" in problem]
    count = len(tiny_archive) - 64
    assert len(found) == 1
    assert f"scenes {tiny_archive.scene_ids[64]}, " in found[0]
    assert f" and {count - 3} more" in found[0]
