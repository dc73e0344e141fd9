from pathlib import Path
from typing import Any

import pytest

from raymmfl.archive.packing.pack import pack
from raymmfl.archive.packing.subset import Subset
from raymmfl.archive.readers.layouts import LAYOUTS
from raymmfl.archive.readers.options import Options
from raymmfl.archive.readers.source import Unit
from raymmfl.errors import ArchiveError

UNITS = [
    Unit(f"{region}-{split}-{month:02d}", split, region, f"2018-{month:02d}-15")
    for region in ("Austria", "Finland")
    for split in ("train", "val")
    for month in (1, 4, 7, 10)
] + [Unit("undated", "train", "Austria", ""), Unit("nowhere", "train", "", "2018-07-01")]


@pytest.mark.parametrize(
    ("subset", "names"),
    [
        (Subset(), [unit.name for unit in UNITS]),
        (Subset(regions=("Finland",), splits=("val",)),
         [f"Finland-val-{month:02d}" for month in (1, 4, 7, 10)]),
        (Subset(seasons=("summer", "winter"), regions=("Austria",), splits=("train",)),
         ["Austria-train-01", "Austria-train-07"]),
        (Subset(limit=1), ["Austria-train-01", "Austria-val-01", "Finland-train-01",
                           "Finland-val-01", "nowhere"]),
        (Subset(seasons=("autumn",), limit=1), ["Austria-train-10", "Austria-val-10",
                                                "Finland-train-10", "Finland-val-10"]),
    ],
)  # fmt: skip
def test_choice(subset: Subset, names: list[str]) -> None:
    assert [unit.name for unit in subset.choose(UNITS, "here")] == names


@pytest.mark.parametrize(
    ("subset", "message"),
    [
        (Subset(regions=("Finland", "Norway")), r"no region Norway; there are \['Austria', 'Fin"),
        (Subset(seasons=("Summer",)), r"no season Summer; there are \['autumn', 'spring'"),
        (Subset(splits=("test",)), r"here: no split test; there are \['train', 'val'\]"),
        (Subset(limit=0), "limit=0"),
    ],
)
def test_what_is_not_there_is_refused(subset: Subset, message: str) -> None:
    with pytest.raises(ArchiveError, match=message):
        subset.choose(UNITS, "here")


def test_nothing_left_is_refused() -> None:
    alone = [Unit("a", "train", "Austria", "2018-01-01"), Unit("b", "val", "Serbia", "2018-07-01")]
    with pytest.raises(ArchiveError, match="nothing is left"):
        Subset(regions=("Austria",), seasons=("summer",)).choose(alone, "here")


def opened(folder: Path) -> Any:
    return LAYOUTS["synthetic"].open(folder, Options(patch=16))


def test_a_split_that_reading_decides_is_chosen_scene_by_scene(
    tiny_source: Path, tmp_path: Path
) -> None:
    everything = pack(opened(tiny_source), tmp_path / "all")
    subset = Subset(regions=("Portugal",), splits=("train", "test"))
    archive = pack(opened(tiny_source), tmp_path / "some", subset=subset)
    wanted = [
        name
        for name, split in zip(everything.scene_ids, everything.splits, strict=True)
        if name.startswith("Portugal") and split != "val"
    ]
    assert archive.scene_ids == wanted
    assert archive.provenance["regions"] == ["Portugal"]
    assert archive.provenance["splits"] == ["train", "test"]
    assert "limit" not in archive.provenance


def test_no_train_scene_is_refused_and_leaves_nothing(tiny_source: Path, tmp_path: Path) -> None:
    with pytest.raises(ArchiveError, match="no train scene"):
        pack(opened(tiny_source), tmp_path / "a", subset=Subset(splits=("test",)))
    assert list(tmp_path.iterdir()) == []
