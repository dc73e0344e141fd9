"""The metadata table of BigEarthNet v2.0 (reBEN), read column by column and checked.

n rows, K classes.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from raymmfl.archive.catalogue import season
from raymmfl.archive.readers.nomenclature import LABELS
from raymmfl.errors import ArchiveError

MAIN_FILE = "metadata.parquet"
COVERED_FILE = "metadata_for_patches_with_snow_cloud_or_shadow.parquet"
PATCH_ID = r"S2[AB]_MSIL2A_\d{8}T\d{6}_N\d{4}_R\d{3}_T\d{2}[A-Z]{3}_\d{2}_\d{2}"
S1_NAME = r"S1[AB]_IW_GRDH_1SDV_\d{8}T\d{6}_\d{2}[A-Z]{3}_\d{1,2}_\d{1,2}"
SPLIT_NAMES = {"train": "train", "validation": "val", "test": "test"}
COVERED = ("contains_seasonal_snow", "contains_cloud_or_shadow")
COLUMNS: Mapping[str, pa.DataType] = {
    "patch_id": pa.string(), "labels": pa.list_(pa.string()), "split": pa.string(),
    "country": pa.string(), "s1_name": pa.string(), COVERED[0]: pa.bool_(), COVERED[1]: pa.bool_(),
}  # fmt: skip


@dataclass(frozen=True)
class Metadata:
    """Rows of the table.

    Attributes:
        path: of the main file.
        patch_ids: S2 patch names.
        s1_names: S1 patch names.
        splits: (n,) "train", "val" or "test".
        countries: (n,).
        tiles: (n,) S2 product and tile, the folder of the patch.
        dates: (n,) "YYYY-MM-DD" of the S2 patch.
        seasons: (n,) of that date.
        targets: uint8 (n, K).
        covered: rows left out for snow, cloud or shadow.
    """

    path: Path
    patch_ids: list[str]
    s1_names: list[str]
    splits: np.ndarray
    countries: np.ndarray
    tiles: np.ndarray
    dates: np.ndarray
    seasons: np.ndarray
    targets: np.ndarray
    covered: int


def metadata_files(root: Path, include_covered: bool) -> list[Path]:
    """The tables of an archive, the main one first; they may not be there."""
    folder = next((f for f in (root, root / "catalogue") if (f / MAIN_FILE).exists()), root)
    return [folder / MAIN_FILE, *([folder / COVERED_FILE] if include_covered else [])]


def read_metadata(root: Path, include_covered: bool) -> Metadata:
    """Read ``metadata.parquet``, in the archive's folder or in its ``catalogue/``.

    Args:
        root: the archive.
        include_covered: with the rows of the second file, those with snow, cloud or shadow.

    Raises:
        ArchiveError: a file that is missing, damaged or without a column; a value that is missing
            or unknown; a patch that stands twice. Names file and row.
    """
    files = metadata_files(root, include_covered)
    folder = files[0].parent
    tables = [_read(file) for file in files]
    table = pa.concat_tables(tables)
    is_covered = pc.or_(table[COVERED[0]], table[COVERED[1]])
    covered = 0 if include_covered else int(pc.sum(is_covered).as_py() or 0)
    if covered:
        table = table.filter(pc.invert(is_covered))
    table = table.combine_chunks()
    ids = table["patch_id"]
    patch_ids = ids.to_pylist()
    if len(set(patch_ids)) < len(patch_ids):
        twice = next(name for name, count in Counter(patch_ids).items() if count > 1)
        raise ArchiveError(
            f"{' and '.join(file.name for file in files)} in {folder}: {twice} stands twice; keep "
            "one row per patch"
        )
    days = pc.utf8_slice_codeunits(ids, 11, 19)  # S2A_MSIL2A_20170613T...
    return Metadata(
        path=files[0],
        patch_ids=patch_ids,
        s1_names=table["s1_name"].to_pylist(),
        splits=_strings(table["split"], SPLIT_NAMES.__getitem__),
        countries=_strings(table["country"]),
        tiles=_strings(pc.replace_substring_regex(ids, r"_\d+_\d+$", "")),
        dates=_strings(days, _date),
        seasons=_strings(days, lambda day: season(_date(day))),
        targets=_targets(table["labels"]),
        covered=covered,
    )


def _read(path: Path) -> pa.Table:
    try:
        there = pq.read_schema(path).names
        missing = [name for name in COLUMNS if name not in there]
        if missing:
            raise ArchiveError(
                f"{path}: no column {', '.join(missing)}; give the file published with "
                "BigEarthNet v2.0"
            )
        table = pq.read_table(path, columns=list(COLUMNS))
        table = table.cast(pa.schema(list(COLUMNS.items()))).combine_chunks()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ArchiveError(
            f"{path}: not a readable metadata table ({error}); download it again"
        ) from error
    for name in COLUMNS:
        _refuse(path, table, pc.is_null(table[name]), f"has no {name}")
    for name, pattern in (("patch_id", PATCH_ID), ("s1_name", S1_NAME)):
        wrong = pc.invert(pc.match_substring_regex(table[name], f"^{pattern}$"))
        _refuse(path, table, wrong, f"has a {name} that is no patch name", name)
    unknown = pc.invert(pc.is_in(table["split"], pa.array(list(SPLIT_NAMES))))
    _refuse(path, table, unknown, f"has a split that is not one of {list(SPLIT_NAMES)}", "split")
    flat = pc.list_flatten(table["labels"])
    strange = pc.invert(pc.is_in(flat, pa.array(LABELS)))
    rows = pc.filter(pc.list_parent_indices(table["labels"]), strange)
    if len(rows):
        label = pc.filter(flat, strange)[0].as_py()
        row = rows[0].as_py()
        raise ArchiveError(
            f"{path}, row {row} ({table['patch_id'][row].as_py()}): label {label!r} is not among "
            f"the 19 classes; correct it"
        )
    return table


def _refuse(
    path: Path, table: pa.Table, wrong: pa.ChunkedArray, what: str, column: str = ""
) -> None:
    rows = np.flatnonzero(wrong.to_numpy())
    if len(rows):
        row = int(rows[0])
        value = f": {table[column][row].as_py()!r}" if column else ""
        raise ArchiveError(
            f"{path}, row {row} ({table['patch_id'][row].as_py()}): {what}{value}; correct the "
            "table or download it again"
        )


def _strings(column: pa.ChunkedArray, named: Callable[[str], str] = str) -> np.ndarray:
    """A column of few distinct values as a NumPy array of strings, each value renamed."""
    encoded = column.combine_chunks().dictionary_encode()
    values = [named(value) for value in encoded.dictionary.to_pylist()]
    strings: np.ndarray = np.array(values, dtype=np.str_)[encoded.indices.to_numpy()]
    return strings


def _date(day: str) -> str:
    return f"{day[:4]}-{day[4:6]}-{day[6:]}"


def _targets(labels: pa.ChunkedArray) -> np.ndarray:
    targets = np.zeros((len(labels), len(LABELS)), dtype=np.uint8)
    rows = pc.list_parent_indices(labels).to_numpy()
    classes = pc.index_in(pc.list_flatten(labels), pa.array(LABELS)).to_numpy()
    targets[rows, classes] = 1
    return targets
