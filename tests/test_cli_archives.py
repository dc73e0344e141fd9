"""Tests of `raymmfl archive pack` and `verify` as a person calls them."""

from pathlib import Path

import pytest

from raymmfl.archive.store import Archive
from raymmfl.archive.synthetic.tiles import synthesise
from raymmfl.cli import _main as main


@pytest.fixture
def tiles(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    synthesise(tmp_path / "tiles", seed=1, regions=("Austria", "Portugal"), tiles=1, size=96)
    return tmp_path / "tiles"


def call(text: str) -> int:
    return main(["archive", *text.split()], debug=False)


def test_packing_a_part_and_checking_it(tiles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = "pack tiles --out a --patch 16 --regions Portugal --seasons summer --limit 1"
    assert call(command) == 0
    assert "Portugal" in capsys.readouterr().out
    assert set(Archive.open("a").regions) == {"Portugal"}
    assert call("verify a --source tiles") == 0
    said = capsys.readouterr().out
    assert "every file that was packed is as it was (5 files)" in said
    assert "4 files are in no scene, such as LULC/Austria_1.tif" in said
    (tiles / "S1" / "Portugal_1.tif").write_bytes(b"")
    assert call("verify a --source tiles") == 2
    said = capsys.readouterr().err
    assert "S1/Portugal_1.tif: changed since it was packed; scenes Portugal_1_r" in said
    with (tiles / "places.csv").open("a") as table:
        table.write("\n")
    assert call("verify a --source tiles") == 2
    said = capsys.readouterr().err
    assert "places.csv: changed since it was packed; it tells of many scenes: pack again" in said
    assert call("verify a --source nowhere") == 2


def test_what_is_not_there_is_told(tiles: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert call("pack tiles --out a --patch 16 --regions Spain") == 2
    assert "no region Spain; there are ['Austria', 'Portugal']" in capsys.readouterr().err


def test_a_bad_file_stops_the_pack_which_goes_on_when_it_is_mended(
    tiles: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = tiles / "S1" / "Portugal_1.tif"
    content = bad.read_bytes()
    bad.write_bytes(content[:-100])
    assert call("pack tiles --out a --patch 16 --workers 0") == 2
    said = capsys.readouterr().err
    assert "S1/Portugal_1.tif: not a whole GeoTIFF" in said
    assert ".a.packing: the same command goes on from there" in said
    assert call("pack tiles --out a --patch 16 --on-bad skip") == 2
    said = capsys.readouterr().err
    assert "1 of 2 units are bad, more than 1%" in said
    assert ".a.packing/problems.csv" in said
    bad.write_bytes(content)
    assert call("pack tiles --out a --patch 16") == 0
    assert sorted(path.name for path in tiles.parent.iterdir()) == ["a", "tiles"]
