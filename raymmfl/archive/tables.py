"""Small Parquet tables of plain columns, written whole or not at all."""

import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from raymmfl.errors import ArchiveError
from raymmfl.files import write_whole


def write_table(path: str | Path, columns: Mapping[str, Sequence[Any]]) -> None:
    """Write a table to ``path``, replacing what is there in one step.

    A reader sees the old file or the new one, never a part: the table goes to a temporary sibling,
    is flushed to the disk, and is renamed.

    Args:
        path: the Parquet file; its folder must exist.
        columns: name -> values, all of one length.

    Raises:
        ArchiveError: columns of unequal lengths or of mixed types, or a folder that is not there.
    """
    path = Path(path)
    lengths = {name: len(values) for name, values in columns.items()}
    if len(set(lengths.values())) > 1:
        raise ArchiveError(f"{path}: columns of unequal lengths {lengths}; give every row a value")
    try:
        table = pa.table({name: list(values) for name, values in columns.items()})
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ArchiveError(
            f"{path}: a column mixes types ({error}); keep one type per column"
        ) from error
    if not path.parent.is_dir():
        raise ArchiveError(f"{path}: cannot write here; make its folder first")
    content = io.BytesIO()
    pq.write_table(table, content)
    write_whole(path, content.getvalue())  # by a name that the next write reuses after a kill


def read_table(path: str | Path) -> dict[str, list[Any]]:
    """Read a table written by :func:`write_table` as name -> list of Python values.

    Raises:
        ArchiveError: a missing or damaged file.
    """
    try:
        columns: dict[str, list[Any]] = pq.read_table(path, memory_map=False).to_pydict()
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ArchiveError(f"{path}: not a readable Parquet table ({error})") from error
    return columns
