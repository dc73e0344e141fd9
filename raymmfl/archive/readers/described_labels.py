"""Labels of a described archive: from masks, the columns of a table, or JSON.

H W pixels of a mask.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from raymmfl.archive.rasters.geotiff import Raster
from raymmfl.archive.readers.description import LabelsPart
from raymmfl.archive.store import IGNORED
from raymmfl.configfile import nearest
from raymmfl.errors import ArchiveError

TRUE, FALSE = ("1", "1.0", "true"), ("0", "0.0", "false")


def class_names(values: Iterable[str], labels: LabelsPart, where: str) -> tuple[str, ...]:
    """Class names, in label order and each once, of what a source calls its labels.

    Args:
        values: as the source spells them.
        labels: the description.
        where: file and line or key, for the error.

    Raises:
        ArchiveError: a value that is neither a class nor ignored.
    """
    names, ignored = labels.names, {str(value) for value in labels.ignored}
    found = set()
    for value in values:
        if value in names:
            found.add(names[value])
        elif value not in ignored:
            raise ArchiveError(
                f"{where}: label {value!r} is in no class{nearest(value, [*names, *ignored])}; "
                "add it to classes or ignored, or correct it"
            )
    return tuple(name for name in labels.labels if name in found)


def row_labels(row: Mapping[str, str], labels: LabelsPart, where: str) -> tuple[str, ...]:
    """Labels of a row of the table, by a column of names or a column per class.

    Raises:
        ArchiveError: as :func:`class_names`, or a column per class that holds neither 0 nor 1.
    """
    if labels.kind == "list":
        assert labels.column is not None and labels.separator is not None
        return class_names(_split(row[labels.column], labels.separator), labels, where)
    set_columns = []
    for column in labels.names:
        value = row[column].strip().lower()
        if value not in (*TRUE, *FALSE):
            raise ArchiveError(f"{where}: {column} is {row[column]!r}; it must be 0 or 1")
        if value in TRUE:
            set_columns.append(column)
    return class_names(set_columns, labels, where)


def read_json(path: Path) -> Any:
    """The content of a JSON file.

    Raises:
        ArchiveError: a file that is missing or no JSON.
    """
    try:
        return json.loads(path.read_bytes())
    except OSError as error:
        raise ArchiveError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise ArchiveError(f"{path}: not readable as JSON ({error})") from error


def json_labels(
    tree: Any, key: str, labels: LabelsPart, min_share: float, path: Path
) -> tuple[str, ...]:
    """Labels under a key of a JSON object.

    They may be a list of names, a text with a separator, or names with their shares: ``{name:
    share}`` or ``[[name, share], ...]``, of which those of at least ``min_share`` count.

    Raises:
        ArchiveError: no such key, another form, or as :func:`class_names`.
    """
    where = f"{path}, key {key!r}"
    if not isinstance(tree, dict) or key not in tree:
        raise ArchiveError(f"{where}: not there; correct labels.key or the file")
    found = tree[key]
    if isinstance(found, str) and labels.separator is not None:
        return class_names(_split(found, labels.separator), labels, where)
    pairs: list[Any] = [None]
    if isinstance(found, dict):
        pairs = list(found.items())
    elif isinstance(found, list):
        pairs = found
    if all(isinstance(each, str) for each in pairs):
        return class_names(pairs, labels, where)
    shares = {}
    for each in pairs:
        match each:
            case [str(name), int() | float() as share]:
                shares[name] = share
            case _:
                raise ArchiveError(
                    f"{where}: {found!r} is no list of names, no names with shares and no text "
                    "with the separator"
                )
    class_names(shares, labels, where)  # a wrong name is wrong whatever its share
    return class_names((n for n, share in shares.items() if share >= min_share), labels, where)


def mask_labels(mask: Raster, labels: LabelsPart) -> np.ndarray:
    """A mask as label numbers: uint8 (H, W), index into the labels, 255 where ignored.

    Raises:
        ArchiveError: a mask without that band or not of whole numbers, or with values that are in
            no class.
    """
    if len(mask.data_BHW) < labels.band or mask.data_BHW.dtype.kind not in "iu":
        raise ArchiveError(
            f"{mask.path}: {len(mask.data_BHW)} band(s) of {mask.data_BHW.dtype}; a mask needs "
            f"whole numbers in band {labels.band}: correct labels.band or convert the file"
        )
    number = {name: index for index, name in enumerate(labels.labels)}
    numbers = {int(value): number[name] for value, name in labels.names.items()}
    numbers |= {int(value): IGNORED for value in labels.ignored}
    values, inverse = np.unique(mask.data_BHW[labels.band - 1], return_inverse=True)
    unknown = [value for value in values.tolist() if value not in numbers]
    if unknown:
        raise ArchiveError(
            f"{mask.path}: values {unknown} are in no class, known are {sorted(numbers)}; add "
            "them to labels.classes or labels.ignored, or correct the mask"
        )
    known = np.array([numbers[value] for value in values.tolist()], dtype=np.uint8)
    labels_HW: np.ndarray = known[inverse].reshape(mask.shape)
    return labels_HW


def _split(text: str, separator: str) -> list[str]:
    return [part.strip() for part in text.split(separator) if part.strip()]
