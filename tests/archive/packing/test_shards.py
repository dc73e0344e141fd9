"""Packing by shards: who reads them, in which order, and what kills it changes no byte."""

import csv
import json
import shutil
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from raymmfl.archive.packing.pack import Progress, pack
from raymmfl.archive.packing.shards import LEAST_SHARDS, MOST_UNITS, divide, named_file
from raymmfl.archive.packing.subset import Subset
from raymmfl.archive.readers.source import Format, Reading, Scene, SensorFormat, Unit
from raymmfl.archive.store import Archive, Column, mask_column
from raymmfl.archive.verify import verify
from raymmfl.errors import ArchiveError

S1 = SensorFormat("S1", (Column("10m", ("VV", "VH"), 4, "float32", 10.0),), "dB")
S2 = SensorFormat(
    "S2",
    (
        Column("10m", ("B02",), 4, "uint16", 10.0),
        Column("20m", ("B05", "B06"), 2, "uint16", 20.0),
    ),
    "reflectance x 10000",
)
COUNTRIES = ("Austria", "Finland", "Serbia")
DATES = ("2018-01-05", "2018-07-01", "2018-10-02", "")
SPLITS = ("train", "train", "val", "test")


@dataclass(frozen=True)
class Fake:
    """A source without files: unit u007 is one scene; every fifth lacks S1; reads are noted."""

    root: Path
    count: int
    bad: Mapping[str, str] = field(default_factory=dict)
    masked: bool = True
    change: Mapping[str, Any] = field(default_factory=dict)
    reads: list[str] = field(default_factory=list)

    @property
    def format(self) -> Format:
        return Format(
            "fake", (S1, S2), ("water", "trees"), mask_column(4, 10.0) if self.masked else None,
            ("biome",), "CC0-1.0", "noise of a test", True, {"colour": "grey"},
        )  # fmt: skip

    def units(self) -> list[Unit]:
        return [
            Unit(f"u{i:03d}", SPLITS[i % 4], COUNTRIES[i % 3], DATES[i // 2 % 4], {"number": i})
            for i in range(self.count)
        ]

    def tables(self) -> list[Path]:
        return []

    def read(self, unit: Unit) -> Reading:
        self.reads.append(unit.name)
        if unit.name in self.bad:
            raise ArchiveError(self.bad[unit.name])
        number = unit.details["number"]
        random = np.random.default_rng(number)
        optics = [random.integers(0, 9000, (1, 4, 4)), random.integers(0, 9000, (2, 2, 2))]
        images = {"S2": tuple(array.astype(np.uint16) for array in optics)}
        if number % 5:
            images["S1"] = (random.normal(-12, 3, (2, 4, 4)).astype(np.float32),)
        scene = Scene(
            scene_id=f"scene-{unit.name}", split=unit.split,
            labels=("water",) if number % 2 else ("water", "trees"), region=unit.region,
            place=f"tile{number // 10}", date=unit.date, lon=10.0 + number, lat=50.0, epsg=32633,
            transform=(10.0, 0.0, 5e5 + number, 0.0, -10.0, 5e6), images=images,
            mask=random.integers(0, 2, (4, 4)).astype(np.uint8) if self.masked else None,
            sources={f"{unit.name}.tif": f"{number:064x}"},
            attributes={"biome": f"biome{number % 2}"},
        )  # fmt: skip
        left_out = Counter({"too dark": 1} if number % 7 == 0 else {})
        return Reading([replace(scene, **self.change.get(unit.name, {}))], left_out)


@pytest.fixture
def fake(tmp_path: Path) -> Callable[..., Fake]:
    """Makes a source; 300 units are 60 shards of five."""
    return lambda count=300, **options: Fake(tmp_path / "source", count, **options)


def contents(archive: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(archive.iterdir())}


def backwards(function: Callable[[Any], Any], items: Sequence[Any]) -> Generator[Any, None, None]:
    yield from reversed([function(item) for item in reversed(items)])


def stop_at(stage: str, calls: int) -> Callable[[Progress], None]:
    """Ctrl+C at the n-th report of a stage."""
    left = [calls]

    def report(seen: Progress) -> None:
        left[0] -= seen.stage == stage
        if left[0] < 0:
            raise KeyboardInterrupt

    return report


@pytest.mark.parametrize("count", [1, 2, 64, 65, 500, 20_000])
def test_division_keeps_order_and_depends_on_the_number_alone(count: int) -> None:
    units = [Unit(str(i), "", "", "") for i in range(count)]
    shards = divide(units)
    assert [unit for shard in shards for unit in shard.units] == units
    assert [shard.number for shard in shards] == list(range(len(shards)))
    sizes = {len(shard.units) for shard in shards[:-1]} or {1}
    assert len(sizes) == 1
    assert max(sizes) <= MOST_UNITS
    assert len(shards) >= min(count, LEAST_SHARDS // 2)


def test_what_is_packed(fake: Callable[..., Fake], tmp_path: Path) -> None:
    archive = pack(fake(), tmp_path / "a")
    table = pq.read_table(tmp_path / "a" / "scenes.parquet").to_pydict()
    assert list(table) == [
        "scene_id", "split", "labels", "region", "place", "date", "biome", "lon", "lat", "epsg",
        "transform", "row_S1", "sha256_S1", "row_S2", "sha256_S2", "row_mask", "sha256_mask",
        "sources",
    ]  # fmt: skip
    assert archive.scene_ids == [f"scene-u{i:03d}" for i in range(300)]
    assert table["row_S2"] == table["row_mask"] == list(range(300))
    there = [i for i in range(300) if i % 5]
    assert [table["row_S1"][i] for i in there] == list(range(240))
    assert {table["row_S1"][i] for i in range(0, 300, 5)} == {-1}
    assert table["sources"][7] == [{"path": "u007.tif", "sha256": f"{7:064x}"}]
    source = fake()
    for i in (1, 64, 299):
        (scene,) = source.read(source.units()[i]).scenes
        for name, arrays in scene.images.items():
            for found, expected in zip(archive.read(name, np.array([i])), arrays, strict=True):
                np.testing.assert_array_equal(found[0], expected)
        assert scene.mask is not None
        np.testing.assert_array_equal(archive.read_mask(np.array([i]))[0], scene.mask)
    index = json.loads((tmp_path / "a" / "archive.json").read_text())
    assert index["attributes"] == ["biome"]
    assert index["mask"]["bands"] == ["class"]
    assert index["provenance"] == {
        "source": "noise of a test", "layout": "fake", "colour": "grey",
        "left_out": {"too dark": 43}, "skipped": 0,
    }  # fmt: skip
    assert verify(tmp_path / "a") == []
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_statistics_are_those_of_the_train_scenes(
    fake: Callable[..., Fake], tmp_path: Path
) -> None:
    archive = pack(fake(), tmp_path / "a")
    for name, sensor in archive.sensors.items():
        rows = np.flatnonzero((archive.splits == "train") & archive.present(name))
        arrays = [array.astype(np.float64) for array in archive.read(name, rows)]
        mean = np.concatenate([array.mean(axis=(0, 2, 3)) for array in arrays])
        std = np.concatenate([array.std(axis=(0, 2, 3)) for array in arrays])
        np.testing.assert_allclose(sensor.mean, mean, rtol=1e-12)
        np.testing.assert_allclose(sensor.std, std, rtol=1e-12)


def test_neither_order_nor_place_of_reading_changes_a_byte(
    fake: Callable[..., Fake], tmp_path: Path
) -> None:
    pack(fake(), tmp_path / "a")
    pack(fake(), tmp_path / "b", spread=backwards)
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize(
    ("stage", "calls", "read_again"),
    [("reading", 0, 300), ("reading", 1, 295), ("reading", 40, 100), ("reading", 60, 0),
     ("merging S1", 0, 0), ("merging S1", 30, 0), ("merging S2", 3, 0), ("merging mask", 59, 0)],
)  # fmt: skip
def test_an_interrupted_pack_goes_on_where_it_was(
    fake: Callable[..., Fake], tmp_path: Path, stage: str, calls: int, read_again: int
) -> None:
    undisturbed = pack(fake(), tmp_path / "undisturbed")
    with pytest.raises(KeyboardInterrupt):
        pack(fake(), tmp_path / "a", progress=stop_at(stage, calls))
    assert not (tmp_path / "a").exists()
    again = fake()
    seen: list[Progress] = []
    pack(again, tmp_path / "a", progress=seen.append)
    assert len(again.reads) == read_again
    assert seen[0] == Progress("reading", 300 - read_again, 300, 300 - read_again)
    assert contents(tmp_path / "a") == contents(undisturbed.path)
    assert not list(tmp_path.glob(".*"))


def test_a_pack_killed_as_it_ended_is_whole(fake: Callable[..., Fake], tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt):
        pack(fake(), tmp_path / "a", progress=stop_at("merging mask", 59))
    working = tmp_path / ".a.packing"
    shutil.copytree(working, tmp_path / "kept")
    pack(fake(), tmp_path / "a")
    # killed between the index and the rename; the shards are gone or not
    for shards in (True, False):
        shutil.rmtree(working, ignore_errors=True)
        shutil.copytree(tmp_path / "kept", working)
        for left in [] if shards else working.glob("shard-*"):
            shutil.rmtree(left)
        shutil.rmtree(working / "archive")
        (tmp_path / "a").rename(working / "archive")
        again = fake()
        pack(again, tmp_path / "a")
        assert again.reads == []
        assert verify(tmp_path / "a") == []
    # killed after the rename
    working.mkdir()
    (working / "plan.json").write_text("{}")
    with pytest.raises(ArchiveError, match="exists already"):
        pack(fake(), tmp_path / "a")
    assert not working.exists()


def test_a_bad_unit_stops_and_what_was_read_is_kept(
    fake: Callable[..., Fake], tmp_path: Path
) -> None:
    with pytest.raises(ArchiveError, match=r"u203\.tif is bad.*\n.*kept in .*\.a\.packing"):
        pack(fake(bad={"u203": "u203.tif is bad"}), tmp_path / "a")
    mended = fake()
    pack(mended, tmp_path / "a")
    assert mended.reads[0] == "u200", "the shard of the bad unit is read anew"
    assert len(mended.reads) == 100
    pack(fake(), tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_a_bad_first_unit_leaves_nothing(fake: Callable[..., Fake], tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"^u003 is bad$"):
        pack(fake(bad={"u003": "u003 is bad"}), tmp_path / "a")
    assert list(tmp_path.iterdir()) == []


def test_bad_units_are_skipped_and_listed(fake: Callable[..., Fake], tmp_path: Path) -> None:
    root = tmp_path / "source"
    bad = {f"u{i:03d}": f"{root}/S1/u{i:03d}.tif: cut off: copy it again" for i in (3, 100, 299)}
    archive = pack(fake(bad=bad), tmp_path / "a", on_bad="skip")
    assert len(archive) == 297
    assert archive.provenance["skipped"] == 3
    assert pq.read_table(tmp_path / "a" / "problems.parquet").to_pydict() == {
        "unit": ["u003", "u100", "u299"],
        "file": ["S1/u003.tif", "S1/u100.tif", "S1/u299.tif"],
        "reason": list(bad.values()),
    }
    assert verify(tmp_path / "a") == []


def test_more_than_one_percent_of_bad_units_stop(
    fake: Callable[..., Fake], tmp_path: Path
) -> None:
    bad = {f"u{i:03d}": f"u{i:03d} is bad" for i in (3, 100, 200, 210)}
    source = fake(bad=bad)
    with pytest.raises(ArchiveError, match=r"4 of 300 units are bad, more than 1%.*") as caught:
        pack(source, tmp_path / "a", on_bad="skip")
    assert len(source.reads) == 215, "it stops as soon as it knows"
    listed = tmp_path / ".a.packing" / "problems.csv"
    assert str(listed) in str(caught.value)
    rows = list(csv.reader(listed.open(encoding="utf-8")))
    assert [row[0] for row in rows] == ["unit", *bad]
    mended = fake(bad={"u003": "u003 is bad"})
    archive = pack(mended, tmp_path / "a", on_bad="skip")
    assert len(mended.reads) == 300 - 215 + 4 * 5, "shards with problems are read again"
    assert archive.provenance["skipped"] == 1


def test_after_a_stop_one_may_go_on_skipping(fake: Callable[..., Fake], tmp_path: Path) -> None:
    bad = {"u203": "u203 is bad"}
    with pytest.raises(ArchiveError, match="u203 is bad"):
        pack(fake(bad=bad), tmp_path / "a")
    source = fake(bad=bad)
    pack(source, tmp_path / "a", on_bad="skip")
    assert len(source.reads) == 100
    pack(fake(bad=bad), tmp_path / "b", on_bad="skip")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


@pytest.mark.parametrize(
    ("change", "options", "what"),
    [({"count": 301}, {}, "list of units"), ({"masked": False}, {}, "layout or options"),
     ({}, {"subset": Subset(splits=("train",))}, "subset")],
)  # fmt: skip
def test_a_folder_of_other_inputs_is_refused(
    fake: Callable[..., Fake], tmp_path: Path, change: dict[str, Any],
    options: dict[str, Any], what: str,
) -> None:  # fmt: skip
    with pytest.raises(KeyboardInterrupt):
        pack(fake(), tmp_path / "a", progress=stop_at("reading", 9))
    before = sorted((tmp_path / ".a.packing").iterdir())
    with pytest.raises(ArchiveError, match=rf"another .*{what}.*delete"):
        pack(fake(**change), tmp_path / "a", **options)
    assert sorted((tmp_path / ".a.packing").iterdir()) == before


def test_a_shard_that_changed_on_the_disk_is_read_again(
    fake: Callable[..., Fake], tmp_path: Path
) -> None:
    with pytest.raises(KeyboardInterrupt):
        pack(fake(), tmp_path / "a", progress=stop_at("reading", 9))
    working = tmp_path / ".a.packing"
    (working / "shard-000002" / "S1.arrow").write_bytes(b"torn")
    file = working / "shard-000005" / "S2.arrow"
    content = bytearray(file.read_bytes())
    content[content.index(pixels(fake(), 27))] ^= 1
    file.write_bytes(content)
    with pytest.raises(ArchiveError, match=r"shard-000005: changed on the disk"):
        pack(fake(), tmp_path / "a")
    again = fake()
    pack(again, tmp_path / "a")
    assert again.reads == [f"u{i:03d}" for i in range(25, 30)]
    pack(fake(), tmp_path / "b")
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def pixels(source: Fake, number: int) -> bytes:
    (scene,) = source.read(source.units()[number]).scenes
    return scene.images["S2"][0].tobytes()


def test_two_packs_into_one_folder(fake: Callable[..., Fake], tmp_path: Path) -> None:
    def meddle(seen: Progress) -> None:
        with pytest.raises(ArchiveError, match="another process is packing"):
            pack(fake(), tmp_path / "a")

    pack(fake(4), tmp_path / "a", progress=meddle)
    assert len(Archive.open(tmp_path / "a")) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"u007": {"scene_id": "scene-u250"}}, "scene-u250 stands twice: in u007 and in u250"),
        ({"u007": {"split": "dev"}}, "u007, scene scene-u007: split 'dev' not as the layout"),
        ({"u007": {"labels": ("lava",)}}, "label 'lava' not as"),
        ({"u007": {"attributes": {}}}, "attributes"),
        ({"u007": {"mask": np.zeros((5, 5), np.uint8)}}, "scene-u007: mask not as"),
        ({"u007": {"images": {"S1": (np.zeros((2, 4, 4)),)}}}, "scene-u007: S1 not as"),
        ({f"u{i:03d}": {"split": "val"} for i in range(300)}, "no train scene"),
        (
            {f"u{i:03d}": {"images": {}} for i in range(300)},
            "S1: no train patch; leave the sensor out",
        ),
    ],
)
def test_what_no_archive_may_hold(
    fake: Callable[..., Fake], tmp_path: Path, change: dict[str, Any], message: str
) -> None:
    with pytest.raises(ArchiveError, match=message):
        pack(fake(change=change), tmp_path / "a")
    assert not (tmp_path / "a").exists()


def test_an_archive_without_masks_and_a_scene_without_one(
    fake: Callable[..., Fake], tmp_path: Path
) -> None:
    archive = pack(fake(masked=False), tmp_path / "a")
    assert archive.mask is None
    assert "row_mask" not in pq.read_schema(tmp_path / "a" / "scenes.parquet").names
    assert not (tmp_path / "a" / "mask.arrow").exists()
    assert verify(tmp_path / "a") == []
    archive = pack(fake(change={"u001": {"mask": None, "region": ""}}), tmp_path / "b")
    assert archive.mask is not None
    assert archive.read_mask(np.array([0, 2])).shape == (2, 4, 4)
    assert archive.regions[1] == ""
    assert verify(tmp_path / "b") == []


def test_units_of_one_name_are_refused(fake: Callable[..., Fake], tmp_path: Path) -> None:
    class Twice(Fake):
        def units(self) -> list[Unit]:
            return [*super().units(), super().units()[3]]

    with pytest.raises(ArchiveError, match="u003 is listed twice"):
        pack(Twice(tmp_path, 10), tmp_path / "a")


@pytest.mark.parametrize(
    ("message", "file"),
    [
        ("{root}/S1/a b.tif: cut off: copy it again", "S1/a b.tif"),
        ("{root}/S1/a b.tif, rows 1-4: NaN", "S1/a b.tif"),
        ("{root}/S1/a b.tif beside {root}/S2/c.tif: bounds", "S1/a b.tif"),
        ("{root}/S1/gone.tif: cannot be read (No such file)", "S1/gone.tif"),
        ("the unit is bad", ""),
    ],
)
def test_the_file_an_error_names(tmp_path: Path, message: str, file: str) -> None:
    (tmp_path / "S1").mkdir()
    (tmp_path / "S1" / "a b.tif").touch()
    assert named_file(message.format(root=tmp_path), tmp_path) == file
