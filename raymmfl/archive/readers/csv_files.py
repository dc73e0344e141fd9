"""CSV files with a header, every row checked against it."""

import csv
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from raymmfl.configfile import nearest
from raymmfl.errors import ArchiveError


@dataclass(frozen=True)
class Row:
    """A row: the number of its line, counted from 1, and column -> value without outer spaces."""

    line: int
    values: Mapping[str, str]


def read_csv(path: Path, needed: Iterable[str]) -> tuple[tuple[str, ...], list[Row]]:
    """Read a CSV file.

    Args:
        path: the file; UTF-8, with or without a byte order mark.
        needed: columns it must have.

    Returns:
        The names of the columns and the rows; empty lines are passed over.

    Raises:
        ArchiveError: a file that cannot be read, a column that is missing or stands twice, a row
            of another length, naming the line.
    """
    rows = []
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            columns = tuple(name.strip() for name in next(reader, []))
            twice = [name for name in columns if columns.count(name) > 1]
            if twice:
                raise ArchiveError(f"{path}, line 1: column {twice[0]!r} stands twice; rename one")
            for name in needed:
                if name not in columns:
                    raise ArchiveError(
                        f"{path}, line 1: no column {name!r}{nearest(name, columns)}; there are "
                        f"{', '.join(columns) or 'none'}"
                    )
            for values in reader:
                if values and len(values) != len(columns):
                    raise ArchiveError(
                        f"{path}, line {reader.line_num}: {len(values)} values in "
                        f"{len(columns)} columns; quote what holds a comma"
                    )
                if values:
                    stripped = [value.strip() for value in values]
                    rows.append(Row(reader.line_num, dict(zip(columns, stripped, strict=True))))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ArchiveError(f"{path}: not a readable CSV file ({error})") from error
    return columns, rows
