"""The lists published for BigEarthNet v1: splits, snow and cloud, which S1 patch shows which S2.

Every list is ``<name>.csv`` or ``<name>.csv.bz2``, in the archive's folder or in its ``splits/``.
Lists of names have one or two columns (S2, S1) and no header.
"""

import bz2
import csv
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from raymmfl.archive.splits import SPLITS
from raymmfl.errors import ArchiveError

# Hours may have lost their leading zero.
S2_NAME = re.compile(r"S2[AB]_MSIL2A_(\d{8})T\d{5,6}_(\d{1,2})_(\d{1,2})")
S1_NAME = re.compile(r"S1[AB]_IW_GRDH_1SDV_(\d{8})T\d{5,6}_(\d{1,2}[A-Z]{3})_(\d{1,2})_(\d{1,2})")

COVERED = ("patches_with_seasonal_snow", "patches_with_cloud_and_shadow")
COUNTRIES = "s1_s2_name_country_season"


@dataclass(frozen=True)
class Splits:
    """What the split lists tell.

    Attributes:
        of: patch name, S1 or S2 -> "train", "val" or "test".
        partners: S1 name -> S2 name, from lists of two columns.
    """

    of: Mapping[str, str]
    partners: Mapping[str, str]


@dataclass(frozen=True)
class Countries:
    """What a table of countries tells.

    Attributes:
        of: S2 name -> country.
        partners: S1 name -> S2 name.
    """

    of: Mapping[str, str]
    partners: Mapping[str, str]


def read_splits(root: Path) -> Splits:
    """Read the train, val and test lists.

    Raises:
        ArchiveError: a list that is missing or damaged, or a patch that stands in them twice.
    """
    files = {split: find_list(root, split) for split in SPLITS}
    missing = [f"{split}.csv" for split, file in files.items() if file is None]
    if missing:
        raise ArchiveError(
            f"{root}: no {', '.join(missing)}; put the published split lists train.csv, val.csv "
            f"and test.csv (or .csv.bz2) there or into {root / 'splits'}"
        )
    of: dict[str, str] = {}
    partners: dict[str, str] = {}
    for split, file in files.items():
        assert file is not None
        for line, (s2, s1) in _pairs(file):
            for name in (s2, s1):
                if name and of.setdefault(name, split) != split:
                    raise ArchiveError(
                        f"{file}, line {line}: {name} is also in the list {of[name]}; a patch "
                        "belongs to one split"
                    )
            if s1 and s2 and partners.setdefault(s1, s2) != s2:
                raise ArchiveError(
                    f"{file}, line {line}: {s1} stands beside {partners[s1]} and beside {s2}; "
                    "correct the list"
                )
    return Splits(of, partners)


def read_covered(root: Path) -> set[str]:
    """Names in the lists of snow, cloud and shadow; a list that is not there names nothing.

    Raises:
        ArchiveError: a damaged list.
    """
    files = [file for file in (find_list(root, name) for name in COVERED) if file is not None]
    return {name for file in files for _, names in _pairs(file) for name in names if name}


def read_countries(path: Path) -> Countries:
    """Read ``s1_s2_name_country_season.csv[.bz2]``, or the ``metadata.parquet`` of reBEN.

    Raises:
        ArchiveError: a file that is missing, damaged, of another kind or without the columns.
    """
    if path.suffix == ".parquet":
        columns = ("s1_name", "s2v1_name", "country")
        try:
            table = pq.read_table(path, columns=list(columns)).to_pydict()
            s1, s2, countries = (table[name] for name in columns)
        except (OSError, KeyError, pa.ArrowException) as error:
            raise ArchiveError(
                f"{path}: not a readable table with the columns {', '.join(columns)} ({error}); "
                "give the metadata.parquet of BigEarthNet v2.0"
            ) from error
        return Countries(dict(zip(s2, countries, strict=True)), dict(zip(s1, s2, strict=True)))
    rows = _rows(path)
    header = next(rows, (0, []))[1]
    wanted = ("s1_name", "s2_name", "country")
    if not set(wanted) <= set(header):
        raise ArchiveError(
            f"{path}: columns {header}, expected {', '.join(wanted)}; give bigearthnet_common's "
            f"{COUNTRIES}.csv.bz2 or the metadata.parquet of BigEarthNet v2.0"
        )
    places = [header.index(name) for name in wanted]
    of, partners = {}, {}
    for line, row in rows:
        if len(row) != len(header):
            raise ArchiveError(f"{path}, line {line}: {row} has not {len(header)} columns")
        s1_name, s2_name, country = (row[place] for place in places)
        of[s2_name] = country
        partners[s1_name] = s2_name
    return Countries(of, partners)


def find_list(root: Path, name: str) -> Path | None:
    """The file of a list, None if it is nowhere.

    Raises:
        ArchiveError: the list stands in more than one file.
    """
    places = (root / folder / f"{name}{suffix}" for folder in ("", "splits")
              for suffix in (".csv", ".csv.bz2"))  # fmt: skip
    found = [path for path in places if path.exists()]
    if len(found) > 1:
        raise ArchiveError(f"{found[0]} and {found[1]}: which is meant? keep one")
    return found[0] if found else None


def _pairs(path: Path) -> Iterator[tuple[int, tuple[str, str]]]:
    """Line number and (S2, S1) of every row, "" for the one that a row does not name."""
    seen: set[tuple[str, str]] = set()
    for line, row in _rows(path):
        s2 = [cell for cell in row if S2_NAME.fullmatch(cell)]
        s1 = [cell for cell in row if S1_NAME.fullmatch(cell)]
        if max(len(s2), len(s1)) > 1 or len(s1) + len(s2) != len(row):
            raise ArchiveError(
                f"{path}, line {line}: {','.join(row)[:120]!r} is not an S2 and an S1 patch name, "
                "nor one of them; copy the published list again"
            )
        pair = (s2[0] if s2 else "", s1[0] if s1 else "")
        if pair in seen:
            raise ArchiveError(f"{path}, line {line}: {' '.join(pair)} stands twice; keep one")
        seen.add(pair)
        yield line, pair


def _rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Line number and cells of every row that is not empty."""
    try:
        content = path.read_bytes()
        text = (bz2.decompress(content) if path.suffix == ".bz2" else content).decode()
        for number, row in enumerate(csv.reader(text.splitlines()), start=1):
            if row:
                yield number, row
    except (OSError, ValueError, EOFError, csv.Error) as error:
        raise ArchiveError(
            f"{path}: not a readable list ({error}); copy or download it again"
        ) from error
