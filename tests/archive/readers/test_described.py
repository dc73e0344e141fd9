"""Archives described by YAML: equal to the built-in reader, every kind of labels, every error."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import rasterio
import yaml
from rasterio.transform import Affine

from raymmfl.archive.packing.pack import pack
from raymmfl.archive.readers.described import open_described
from raymmfl.archive.readers.description import read_description
from raymmfl.archive.readers.layouts import LAYOUTS, find_layout
from raymmfl.archive.readers.options import Options
from raymmfl.archive.readers.source import Scene, Source
from raymmfl.archive.readers.tile_layouts import SYNTHETIC, TERRAMESH
from raymmfl.errors import ArchiveError

Tree = dict[str, Any]
HEAD = {"name": "mine", "licence": "CC0-1.0", "provenance": "drawn for a test", "pixel_m": 10}
SYNTHETIC_TILES: Tree = {
    **HEAD,
    "synthetic": True,
    "patch": "cut",
    "sensors": {
        "S1": {"files": "S1/{id}.tif", "bands": ["VV", "VH"], "dtype": "float32", "unit": "dB"},
        "S2": {
            "files": "S2_{pixel_m}m/{id}.tif",
            "bands": {
                10: ["B02", "B03", "B04", "B08"],
                20: ["B05", "B06", "B07", "B8A", "B11", "B12"],
            },
            "dtype": "uint16",
            "unit": "reflectance x 10000",
            "nodata": 0,
        },
    },
    "labels": {
        "kind": "mask",
        "files": "LULC/{id}.tif",
        "classes": dict(SYNTHETIC.classes),
        "ignored": [0],
    },
    "table": {"csv": "places.csv", "id": "place"},
    "region": "{region}",
    "date": "{date}",
    "split": "spatial",
}
TERRAMESH_TILES: Tree = {
    **HEAD,
    "patch": "cut",
    "sensors": {
        sensor.name: {
            "files": f"{sensor.rasters[0].folder}/{{id}}.tif",
            "bands": list(sensor.rasters[0].bands),
            "dtype": sensor.rasters[0].dtype,
            "unit": sensor.unit,
            **({} if sensor.nodata is None else {"nodata": sensor.nodata}),
        }
        for sensor in TERRAMESH.sensors
        if sensor.name in TERRAMESH.default_sensors
    },
    "labels": {
        "kind": "mask",
        "files": "LULC/{id}.tif",
        "classes": dict(TERRAMESH.classes),
        "ignored": [0, 8],
    },
    "region": "{id}",
    "split": "spatial",
}
# Four scenes of a size, one file per band, 40 m a side: 4 pixels of 10 m, 2 of 20 m.
BANDS: Tree = {
    **HEAD,
    "patch": "whole",
    "sensors": {
        "S2": {
            "files": "s2/{id}/{id}_{band}.tif",
            "bands": {10: ["B02", "B03"], 20: ["B05", "B11"]},
            "dtype": "uint16",
            "unit": "reflectance x 10000",
        },
        "S1": {
            "files": "s1/{id}.tif",
            "bands": ["VV", "VH"],
            "dtype": "float32",
            "unit": "dB",
            "nodata": float("nan"),
        },
    },
    "labels": {
        "kind": "list",
        "column": "cover",
        "separator": ";",
        "classes": ["water", "trees", "crops"],
    },
    "table": {"csv": "scenes.csv", "id": "scene"},
    "match": r"(?P<country>[A-Z]+)_(?P<day>\d{8})_\d",
    "region": "{country}",
    "place": "{country}/{tile}",
    "date": "{day}",
    "split": "{subset}",
    "attributes": {"biome": "b{biome}"},
}
ROWS = """scene,cover,tile,subset,biome
AT_20180620_1,crops; water,a,train,4
AT_20180620_2,trees,b,validation,4
PT_20170814_1,"crops",c,test,12
PT_20170814_2,water;trees;crops,c,train,12
"""
IDS = ("AT_20180620_1", "AT_20180620_2", "PT_20170814_1", "PT_20170814_2")


def described(root: Path, tree: Tree, options: Options = Options()) -> Source:  # noqa: B008
    file = root.parent / "mine.yaml"
    file.write_text(yaml.safe_dump(tree, sort_keys=False), encoding="utf-8")
    return find_layout(str(file)).open(root, options)


def changed(tree: Tree, changes: Tree) -> Tree:
    """A copy with some keys set by their path; None takes a key away."""
    new: Tree = json.loads(json.dumps(tree))
    for path, value in changes.items():
        *branches, leaf = path.split(".")
        at = new
        for branch in branches:
            at = at[branch]
        if value is None:
            del at[leaf]
        else:
            at[leaf] = value
    return new


def write(path: Path, data_BHW: np.ndarray, pixel: float = 10.0, **profile: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    names = profile.pop("names", ())
    kept = {
        "driver": "GTiff", "crs": "EPSG:32633",
        "transform": Affine(pixel, 0, 5e5, 0, -pixel, 5e6), "count": len(data_BHW),
        "height": data_BHW.shape[1], "width": data_BHW.shape[2], "dtype": data_BHW.dtype,
        **profile,
    }  # fmt: skip
    with rasterio.open(path, "w", **kept) as file:
        file.write(data_BHW)
        for index, name in enumerate(names, start=1):
            file.set_band_description(index, name)


def numbers(seed: int, bands: int, side: int, dtype: str) -> np.ndarray:
    return (1 + seed + np.arange(bands * side * side).reshape(bands, side, side)).astype(dtype)


@pytest.fixture
def scenes(tmp_path: Path) -> Path:
    """Four scenes as :data:`BANDS` describes them."""
    root = tmp_path / "scenes"
    for seed, name in enumerate(IDS):
        for index, (band, pixel) in enumerate(
            {"B02": 10, "B03": 10, "B05": 20, "B11": 20}.items()
        ):
            data = numbers(100 * seed + 20 * index, 1, 40 // pixel, "uint16")
            write(root / "s2" / name / f"{name}_{band}.tif", data, pixel)
        write(root / "s1" / f"{name}.tif", -numbers(seed, 2, 4, "float32"))
    (root / "scenes.csv").write_text(ROWS, encoding="utf-8")
    return root


def read(source: Source) -> dict[str, Scene]:
    return {s.scene_id: s for unit in source.units() for s in source.read(unit).scenes}


def same_files(first: Path, second: Path) -> set[str]:
    names = {path.name for path in first.iterdir()}
    assert names == {path.name for path in second.iterdir()}
    return {name for name in names if (first / name).read_bytes() == (second / name).read_bytes()}


def test_the_synthetic_tiles_are_packed_byte_by_byte(tiny_source: Path, tmp_path: Path) -> None:
    options = Options(patch=16, stride=8)
    (tmp_path / "d").mkdir()
    root = tmp_path / "d" / "tiles"
    root.symlink_to(tiny_source)
    pack(LAYOUTS["synthetic"].open(tiny_source, options), tmp_path / "built-in")
    archive = pack(described(root, SYNTHETIC_TILES, options), tmp_path / "described")
    equal = same_files(tmp_path / "built-in", tmp_path / "described")
    assert equal == {"S1.arrow", "S2.arrow", "mask.arrow", "scenes.parquet"}
    assert archive.synthetic
    assert archive.provenance["description"] == "mine.yaml"


def test_the_real_tiles_are_packed_byte_by_byte(terramesh: Path, tmp_path: Path) -> None:
    options = Options(patch=28)
    (tmp_path / "d").mkdir()
    root = tmp_path / "d" / "tiles"
    root.symlink_to(terramesh)
    pack(LAYOUTS["terramesh"].open(terramesh, options), tmp_path / "built-in")
    pack(described(root, TERRAMESH_TILES, options), tmp_path / "described")
    equal = same_files(tmp_path / "built-in", tmp_path / "described")
    assert equal == {"S1.arrow", "S2.arrow", "mask.arrow", "scenes.parquet"}


def test_files_per_band_and_a_column_of_labels(scenes: Path) -> None:
    source = described(scenes, BANDS)
    s2, s1 = source.format.sensors
    assert [(c.name, c.bands, c.size, c.pixel_m) for c in s2.columns] == [
        ("10m", ("B02", "B03"), 4, 10),
        ("20m", ("B05", "B11"), 2, 20),
    ]
    assert (s1.columns[0].bands, s1.columns[0].size, s1.unit) == (("VV", "VH"), 4, "dB")
    assert source.format.mask is None
    found = read(source)
    assert tuple(found) == IDS
    for seed, scene in enumerate(found.values()):
        fine, coarse = scene.images["S2"]
        for index, band in enumerate((*fine, *coarse)):
            side = 4 if index < 2 else 2
            np.testing.assert_array_equal(
                band, numbers(100 * seed + 20 * index, 1, side, "uint16")[0]
            )
        np.testing.assert_array_equal(scene.images["S1"][0], -numbers(seed, 2, 4, "float32"))
        assert scene.transform == (10, 0, 5e5, 0, -10, 5e6)
        assert scene.epsg == 32633
        assert scene.lon == pytest.approx(15, abs=1e-3)
        assert len(scene.sources) == 5
    first = found["AT_20180620_1"]
    assert first.labels == ("water", "crops"), "in the order of the classes"
    assert (first.region, first.place, first.date) == ("AT", "AT/a", "2018-06-20")
    assert first.attributes == {"biome": "b4"}
    assert [scene.split for scene in found.values()] == ["train", "val", "test", "train"]


def test_a_column_per_class(scenes: Path) -> None:
    rows = "scene,w,t,tile,subset,biome\n" + "".join(
        f"{name},{n % 2},{'true' if n < 3 else '0.0'},x,train,1\n" for n, name in enumerate(IDS)
    )
    (scenes / "scenes.csv").write_text("\ufeff" + rows, encoding="utf-8")
    labels = {"kind": "onehot", "classes": {"t": "trees", "w": "water"}}
    source = described(scenes, changed(BANDS, {"labels": labels}))
    assert source.format.labels == ("trees", "water")
    assert [scene.labels for scene in read(source).values()] == [
        ("trees",), ("trees", "water"), ("trees",), ("water",),
    ]  # fmt: skip


NAMES = [["sea", "crops"], ["bog"], ["crops"], ["sea", "bog"]]


@pytest.mark.parametrize("form", ["list", "text", "shares", "pairs", "one file"])
def test_json_labels(scenes: Path, form: str) -> None:
    labels: Tree = {
        "kind": "json",
        "files": "labels/{id}.json",
        "key": "what",
        "classes": {"sea": "water", "lake": "water", "crops": "crops"},
        "ignored": ["bog"],
    }
    (scenes / "labels").mkdir()
    everything = {}
    for name, names in zip(IDS, NAMES, strict=True):
        value: Any = names
        if form == "text":
            value, labels["separator"] = "; ".join(names), ";"
        elif form == "shares":
            value = {"lake": 0.05, **dict.fromkeys(names, 0.4)}
        elif form == "pairs":
            value = [["lake", 0.05], *([each, 1] for each in names)]
        everything[f"{name}.tif"] = value
        (scenes / "labels" / f"{name}.json").write_text(json.dumps({"what": value}))
    if form == "one file":
        labels |= {"files": "labels.json", "key": "{id}.tif"}
        (scenes / "labels.json").write_text(json.dumps(everything))
    source = described(scenes, changed(BANDS, {"labels": labels}))
    assert source.format.labels == ("water", "crops")
    found = read(source)
    assert {name: scene.labels for name, scene in found.items()} == {
        IDS[0]: ("water", "crops"),
        IDS[2]: ("crops",),
        IDS[3]: ("water",),
    }, "a scene of ignored labels alone is left out"
    assert (f"labels/{IDS[0]}.json" in found[IDS[0]].sources) == (form != "one file")
    assert (scenes / "labels.json" in source.tables()) == (form == "one file")
    left_out = [source.read(unit).left_out for unit in source.units() if unit.name == IDS[1]]
    assert left_out == [{"val: no label": 1}]


def test_a_mask_of_whole_scenes(scenes: Path) -> None:
    for name in IDS:
        mask = np.array([[-1, -1, 3, 3], [7, 7, 3, 3], [7, 7, 9, 9], [7, 7, 9, 9]], np.int16)
        write(scenes / "mask" / f"{name}_m.tif", np.stack([mask * 0 + 50, mask]))
    labels = {
        "kind": "mask",
        "files": "mask/{id}_m.tif",
        "band": 2,
        "classes": {9: "forest", 3: "water", 7: "forest"},
        "ignored": [-1],
    }
    source = described(scenes, changed(BANDS, {"labels": labels}), Options(min_share=0.3))
    assert source.format.labels == ("forest", "water"), "in the order of their first value"
    scene = read(source)[IDS[0]]
    assert scene.mask is not None
    assert scene.mask.tolist() == [
        [255, 255, 1, 1], [0, 0, 1, 1], [0, 0, 0, 0], [0, 0, 0, 0],
    ]  # fmt: skip
    assert scene.labels == ("forest",), "10 of 16 pixels; water has 4"
    labels["sparse"] = True
    source = described(scenes, changed(BANDS, {"labels": labels}), Options(min_share=0.28))
    assert read(source)[IDS[0]].labels == ("forest", "water"), "4 of 14 labelled pixels"


def test_parts_of_names_make_the_id(tmp_path: Path) -> None:
    """As SEN12MS lies: ROIs1158_spring/s1_1/ROIs1158_spring_s1_1_p30.tif."""
    root = tmp_path / "sen12ms"
    for season in ("ROIs1158_spring", "ROIs1868_summer"):
        for sensor, bands, dtype in (("s1", 2, "float32"), ("s2", 13, "uint16")):
            for patch in ("p3", "p30"):
                here = root / season
                write(
                    here / f"{sensor}_1" / f"{season}_{sensor}_1_{patch}.tif",
                    numbers(1, bands, 4, dtype),
                )
                lc = here / "lc_1" / f"{season}_lc_1_{patch}.tif"
                write(lc, (numbers(0, 4, 4, "uint16") - 1) % 16 + 1)
    names = "{season}/s1_{scene}/{season}_s1_{scene}_{patch}.tif"
    kept = {"dtype": "float32", "bands": ["VV", "VH"], "unit": "dB"}
    tree = {
        **HEAD,
        "patch": "whole",
        "sensors": {
            "S1": {**kept, "files": names},
            "S2": {
                "files": names.replace("s1_", "s2_"),
                "dtype": "uint16",
                "bands": [f"B{n}" for n in range(13)],
                "unit": "reflectance x 10000",
            },
        },
        "labels": {
            "kind": "mask",
            "files": names.replace("s1_", "lc_"),
            "classes": {value: "low" if value < 9 else "high" for value in range(1, 17)},
        },
        "region": "{season}",
        "place": "{season}/{scene}",
        "split": "random",
    }
    source = described(root, tree)
    found = read(source)
    assert list(found) == [
        f"{season}_1_{patch}"
        for season in ("ROIs1158_spring", "ROIs1868_summer")
        for patch in ("p3", "p30")
    ]
    assert {scene.region for scene in found.values()} == {"ROIs1158_spring", "ROIs1868_summer"}
    assert all(set(scene.images) == {"S1", "S2"} for scene in found.values())
    renamed = described(root, {**tree, "id": "{season}_s2_{scene}_{patch}"})
    assert next(iter(read(renamed))) == "ROIs1158_spring_s2_1_p3"


def test_a_random_split_keeps_places_together(scenes: Path) -> None:
    rows = ["scene,cover,tile,subset,biome"]
    for n in range(40):
        name = f"AT_20180620_{n:02d}"
        for band in ("B02", "B03"):
            write(scenes / "s2" / name / f"{name}_{band}.tif", numbers(0, 1, 4, "uint16"))
        for band in ("B05", "B11"):
            write(scenes / "s2" / name / f"{name}_{band}.tif", numbers(0, 1, 2, "uint16"), 20)
        rows.append(f"{name},crops,{n // 2},,")
    (scenes / "scenes.csv").write_text("\n".join(rows))
    tree = changed(BANDS, {"split": "random", "match": r"(?P<country>[A-Z]+)_(?P<day>\d{8})_\d+"})
    del tree["sensors"]["S1"]
    units = {
        seed: [u for u in described(scenes, tree, Options(seed=seed)).units() if u.split]
        for seed in (0, 1)
    }
    used = [unit for unit in units[0] if not unit.details.left_out]
    assert len(used) == 40
    by_place: dict[str, set[str]] = {}
    for unit in used:
        by_place.setdefault(unit.details.place, set()).add(unit.split)
    assert (
        sorted(map(sorted, by_place.values())) == [["test"]] * 3 + [["train"]] * 14 + [["val"]] * 3
    )
    assert units[0] != units[1]


def test_lists_of_ids(scenes: Path) -> None:
    (scenes / "train.lst").write_text(f"{IDS[0]}.tif\n{IDS[1]}.tif\n\n")
    (scenes / "test.lst").write_text(f"{IDS[2]}\n")
    lists = {"train": "train.lst", "test": "test.lst"}
    source = described(scenes, changed(BANDS, {"split": lists}))
    assert {path.name for path in source.tables()} == {"scenes.csv", "train.lst", "test.lst"}
    found = read(source)
    # Of the two train places of AT one is drawn for the validation that has no list.
    assert sorted(scene.split for scene in found.values()) == ["test", "train", "val"]
    assert found[IDS[2]].split == "test"
    assert [dict(source.read(unit).left_out) for unit in source.units()][3] == {
        "in no split list": 1
    }


def test_what_is_missing_is_left_out_and_counted(scenes: Path) -> None:
    (scenes / "s1" / f"{IDS[0]}.tif").unlink()
    gap = -numbers(0, 2, 4, "float32")
    gap[0, 0, 0] = np.nan
    write(scenes / "s1" / f"{IDS[1]}.tif", gap)
    kept = ROWS.splitlines()
    (scenes / "scenes.csv").write_text("\n".join([*kept[:3], kept[4]]))
    source = described(scenes, BANDS)
    found = read(source)
    assert {name: set(scene.images) for name, scene in found.items()} == {
        IDS[0]: {"S2"},
        IDS[1]: {"S2"},
        IDS[3]: {"S1", "S2"},
    }
    assert [dict(source.read(unit).left_out) for unit in source.units()] == [
        {}, {"val: S1 with a pixel without data": 1}, {"no row in the table": 1}, {},
    ]  # fmt: skip
    only = described(scenes, BANDS, Options(sensors=("S1",)))
    assert [s.name for s in only.format.sensors] == ["S1"]
    assert [dict(only.read(unit).left_out) for unit in only.units()] == [
        {"no sensor has a file": 1},
        {"val: S1 with a pixel without data": 1, "val: no sensor has data": 1},
        {"no row in the table": 1},
        {},
    ]


def unlinked(name: str) -> Callable[[Path], None]:
    return lambda root: (root / name).unlink()


def rows(text: str) -> Callable[[Path], object]:
    return lambda root: (root / "scenes.csv").write_text(text)


def replaced(name: str, data: np.ndarray, **profile: Any) -> Callable[[Path], None]:
    return lambda root: write(root / name, data, **profile)


def rewritten(root: Path, sides: tuple[int, ...], pixels: tuple[int, ...]) -> None:
    """The second scene has S2 alone, on another grid."""
    (root / VV).unlink()
    for band, side, pixel in zip(("B02", "B03", "B05", "B11"), sides, pixels, strict=True):
        path = root / f"s2/{IDS[1]}/{IDS[1]}_{band}.tif"
        write(path, numbers(0, 1, side, "uint16"), pixel)


B03 = f"s2/{IDS[1]}/{IDS[1]}_B03.tif"
VV = f"s1/{IDS[1]}.tif"
BAD_FILES: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "a lost band": (unlinked(B03), (B03, "cannot be read")),
    "no file at all": (
        lambda root: shutil.rmtree(root / "s1"),
        ("no file is named as s1/{id}.tif",),
    ),
    "a name that contradicts its folder": (
        lambda root: (root / B03).rename(root / f"s2/{IDS[1]}/other_B03.tif"),
        ("other_B03.tif", "is not named as"),
    ),
    "an empty file": (lambda root: (root / B03).write_bytes(b""), (B03, "empty")),
    "another dtype": (replaced(B03, numbers(0, 1, 4, "float32")), (B03, "float32", "uint16")),
    "a sensor in the place of another": (
        replaced(VV, numbers(0, 12, 4, "uint16")),
        (VV, "12 band(s) of uint16, expected 2 of float32"),
    ),
    "bands in another order": (
        replaced(VV, numbers(0, 2, 4, "float32"), names=("VH", "VV")),
        (VV, "VH, VV"),
    ),
    "another ground": (
        replaced(VV, numbers(0, 2, 4, "float32"), transform=Affine(10, 0, 6e5, 0, -10, 5e6)),
        (VV, "bounds"),
    ),
    "another CRS": (replaced(VV, numbers(0, 2, 4, "float32"), crs="EPSG:32634"), (VV, "CRS")),
    "a band on another grid": (replaced(B03, numbers(0, 1, 2, "uint16"), pixel=20), (B03,)),
    "a scene of another size": (
        lambda root: rewritten(root, (6, 6, 3, 3), (10, 10, 20, 20)),
        (IDS[1], "one size"),
    ),
    "other pixels than described": (
        lambda root: rewritten(root, (4, 4, 2, 2), (30, 30, 60, 60)),
        ("pixels of 30 m", "described as 10 m"),
    ),
    "an infinite value": (
        replaced(VV, np.full((2, 4, 4), np.inf, np.float32)),
        (VV, "infinite"),
    ),
    "no table": (unlinked("scenes.csv"), ("scenes.csv", "not a readable CSV")),
    "a table without a column": (
        rows(ROWS.replace("cover", "covers")),
        ("scenes.csv, line 1", "no column 'cover'; did you mean 'covers'?"),
    ),
    "a column twice": (rows(ROWS.replace("biome", "tile")), ("line 1", "'tile' stands twice")),
    "a short row": (rows(ROWS.replace("trees,b,", "trees,")), ("line 3", "4 values in 5 columns")),
    "an id twice": (rows(ROWS + ROWS.splitlines()[1]), ("line 6", IDS[0], "stands twice")),
    "an id without files": (
        rows(ROWS + "AT_20180620_9,trees,b,train,4\n"),
        ("line 6", "AT_20180620_9", "no files"),
    ),
    "a label of no class": (
        rows(ROWS.replace("trees,b", "tree,b")),
        ("scenes.csv, line 3", "'tree'", "did you mean 'trees'?"),
    ),
    "a split by another name": (
        rows(ROWS.replace("validation", "dev")),
        ("'dev'", IDS[1], "validation"),
    ),
    "an id that match does not fit": (
        lambda root: (root / f"s1/{IDS[0]}.tif").rename(root / "s1/odd.tif"),
        ("mine.yaml, match", "'odd'"),
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_named(name: str, scenes: Path, tmp_path: Path) -> None:
    spoil, said = BAD_FILES[name]
    spoil(scenes)
    with pytest.raises(ArchiveError) as caught:
        pack(described(scenes, BANDS), tmp_path / "out")
    for text in said:
        assert text in str(caught.value)
    assert not (tmp_path / "out").exists()


MASK = {"kind": "mask", "files": "m/{id}.tif", "classes": {1: "a"}, "ignored": [0]}
BAD_KEYS: dict[str, tuple[Tree, tuple[str, ...]]] = {
    "unknown key": ({"licens": "x"}, ("licens: unknown key; did you mean 'licence'?",)),
    "unknown key of a sensor": (
        {"sensors.S1.dtpye": "x"},
        ("sensors.S1.dtpye: unknown key; did you mean 'dtype'?", "known here: files, bands"),
    ),
    "unknown key of the table": (
        {"table.idd": "x"},
        ("table.idd: unknown key; did you mean 'id'?", "known here: csv, id"),
    ),
    "missing key": ({"pixel_m": None}, ("pixel_m",)),
    "wrong kind of value": ({"pixel_m": "ten"}, ('pixel_m: "ten"',)),
    "wrong dtype": ({"sensors.S1.dtype": "float23"}, ("sensors.S1.dtype", "'float32'?")),
    "wrong kind of labels": ({"labels.kind": "masks"}, ("labels.kind", "did you mean 'mask'?")),
    "bands that are no list": ({"sensors.S1.bands": "VV"}, ("sensors.S1.bands",)),
    "a band twice": ({"sensors.S1.bands": ["VV", "VV"]}, ("sensors.S1.bands", "once")),
    "sizes that do not fit": (
        {"sensors.S2.bands": {"10": ["a"], "15": ["b"]}},
        ("sensors.S2.bands: 15 m", "whole multiple"),
    ),
    "sizes that cannot be told apart": (
        {"sensors.S2.files": "s2/{id}.tif"},
        ("sensors.S2.files", "{band} or {pixel_m}"),
    ),
    "a pattern that leaves the folder": ({"sensors.S1.files": "../{id}.tif"}, ("inside SOURCE",)),
    "a brace alone": ({"sensors.S1.files": "s1/{id.tif"}, ("a brace",)),
    "a pattern of one file": ({"sensors.S1.files": "s1/all.tif"}, ("sensors.S1.files", "{id}")),
    "patterns of other parts": (
        {"sensors.S1.files": "s1/{name}.tif"},
        ("sensors.S1.files", "same open parts"),
    ),
    "sensor named mask": ({"sensors.mask": BANDS["sensors"]["S1"]}, ("sensors.mask",)),
    "attribute in use": ({"attributes.region": "x"}, ("attributes.region", "rename")),
    "list without a table": ({"table": None}, ("kind list needs a table",)),
    "labels of another kind's keys": ({"labels.band": 2}, ("kind list has no band",)),
    "labels without their keys": ({"labels.separator": None}, ("kind list needs separator",)),
    "mask with names alone": (
        {"labels": {**MASK, "classes": ["water"]}},
        ("'water' is no whole number",),
    ),
    "a value both class and ignored": (
        {"labels": {**MASK, "ignored": [1]}},
        ("labels.ignored: 1",),
    ),
    "no class": ({"labels.classes": []}, ("labels.classes",)),
    "a class twice": ({"labels.classes": ["a", "a"]}, ("labels.classes", "twice")),
    "cut without a mask": ({"patch": "cut"}, ("labels of kind mask",)),
    "spatial split of whole scenes": ({"split": "spatial"}, ("patch: cut",)),
    "a split that is no word": ({"split": "randm"}, ("split: 'randm'",)),
    "lists without test": ({"split": {"train": "a"}}, ("train and test",)),
    "a broken expression": ({"match": "(?P<a"}, ("match", "no regular expression")),
    "an expression without groups": ({"match": ".*"}, ("match", "no named group")),
    "an unknown part": (
        {"region": "{contry}"},
        ("mine.yaml, region: {contry}", "did you mean 'country'?"),
    ),
    "an unknown part of the labels": (
        {"labels": {"kind": "json", "files": "{ide}.json", "key": "a", "classes": ["a"]}},
        ("mine.yaml, labels.files: {ide}", "did you mean 'id'?"),
    ),
    "bands of a mask": ({"labels": {**MASK, "files": "m/{id}_{band}.tif"}}, ("labels.band",)),
    "an unknown part of the id": ({"id": "{idd}"}, ("mine.yaml, id: {idd}", "did you mean 'id'?")),
    "a date that is none": ({"date": "{biome}"}, ("mine.yaml, date: '4'", IDS[0])),
    "a list that is not there": ({"split": {"train": "a", "test": "b"}}, ("a: cannot be read",)),
    "ids that are one": (
        {"id": "x", "table": {"csv": "none.csv", "id": "x"}},
        ("have one id, 'x'", "mine.yaml"),
    ),
}


@pytest.mark.parametrize("name", BAD_KEYS)
def test_a_bad_key_is_named(name: str, scenes: Path) -> None:
    changes, said = BAD_KEYS[name]
    with pytest.raises(ArchiveError) as caught:
        described(scenes, changed(BANDS, changes)).units()
    for text in said:
        assert text in str(caught.value)


def test_bad_masks_are_named(scenes: Path) -> None:
    tree = changed(BANDS, {"labels": MASK})
    path = scenes / "m" / f"{IDS[0]}.tif"
    for data, text in (
        (np.full((1, 4, 4), 3, np.uint8), "values [3] are in no class"),
        (np.ones((1, 4, 4), np.float32), "whole numbers in band 1"),
        (np.ones((1, 8, 8), np.uint8), "8x8"),
    ):
        write(path, data)
        source = described(scenes, tree)
        with pytest.raises(ArchiveError) as caught:
            source.read(source.units()[0])
        assert text in str(caught.value)
        assert str(path) in str(caught.value)
    path.write_text("<html>")
    with pytest.raises(ArchiveError, match="not a whole GeoTIFF"):
        source.read(source.units()[0])
    with pytest.raises(ArchiveError, match=re.escape(f"{IDS[1]}.tif")):
        source.read(source.units()[1])


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("{", "not readable as JSON"),
        ('{"other": []}', "key 'what'"),
        ('{"what": 3}', "3 is no list"),
        ('{"what": ["sea", 3]}', "is no list"),
        ('{"what": ["moon"]}', "label 'moon' is in no class"),
        ('{"what": {"moon": 0.01}}', "label 'moon' is in no class"),
    ],
)
def test_bad_json_is_named(scenes: Path, content: str, said: str) -> None:
    labels = {"kind": "json", "files": "{id}.json", "key": "what", "classes": ["sea"]}
    path = scenes / f"{IDS[0]}.json"
    path.write_text(content)
    source = described(scenes, changed(BANDS, {"labels": labels}))
    with pytest.raises(ArchiveError) as caught:
        source.read(source.units()[0])
    assert said in str(caught.value)
    assert str(path) in str(caught.value)


def test_bad_paths_are_named(scenes: Path, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match=r"nowhere\.yaml"):
        open_described(tmp_path / "nowhere.yaml", scenes, Options())
    with pytest.raises(ArchiveError, match="nothing: no such folder"):
        described(tmp_path / "nothing", BANDS)
    with pytest.raises(ArchiveError, match="choose from"):
        described(scenes, BANDS, Options(sensors=("S3",)))
    file = tmp_path / "twice.yaml"
    file.write_text("name: a\nname: b\n")
    with pytest.raises(ArchiveError, match="'name' stands twice"):
        read_description(file)
    file.write_text("")
    with pytest.raises(ArchiveError, match=r"(?s)name: missing.*sensors: missing"):
        read_description(file)
    file.write_text("sensors: {}\n")
    with pytest.raises(ArchiveError, match="sensors: too few entries; at least 1"):
        read_description(file)


DOCUMENT = Path(__file__).parents[3] / "docs" / "archives.md"


def test_the_documented_examples_are_whole(tmp_path: Path) -> None:
    examples = re.findall(r"```yaml\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
    assert len(examples) == 2
    for text in examples:
        (tmp_path / "a.yaml").write_text(text)
        assert read_description(tmp_path / "a.yaml").labels.labels
