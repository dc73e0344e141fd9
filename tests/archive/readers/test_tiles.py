"""Tests of the reader of tiles, beyond what packing them shows."""

from pathlib import Path

from raymmfl.archive.readers.layouts import LAYOUTS
from raymmfl.archive.readers.options import Options


def test_places_written_by_a_spreadsheet_are_read(source: Path) -> None:
    file = source / "places.csv"
    plain = file.read_text(encoding="utf-8")
    before = LAYOUTS["synthetic"].open(source, Options(patch=16)).units()
    file.write_text(plain, encoding="utf-8-sig")  # spreadsheets put a byte order mark first
    assert file.read_bytes().startswith(b"\xef\xbb\xbf")
    assert LAYOUTS["synthetic"].open(source, Options(patch=16)).units() == before
    assert {unit.region for unit in before} == {"Austria", "Portugal"}
