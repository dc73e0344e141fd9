"""The scene table of a packed archive as arrays; n scenes, K classes."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from numpy.typing import NDArray

from raymmfl.archive.catalogue import Catalogue, Rows, Strings, seasons
from raymmfl.errors import ArchiveError


@dataclass(frozen=True)
class SceneTable:
    """What ``scenes.parquet`` tells of the scenes.

    Attributes:
        catalogue: all that dealing them out needs.
        dates: (n,) "YYYY-MM-DD", "" where unknown.
        lons: (n,) of the centres, degrees (WGS 84), float64.
        lats: (n,) of the centres, degrees (WGS 84), float64.
        numbers: sensor, or another Arrow file -> (n,) int64 row in it, -1 where absent.
    """

    catalogue: Catalogue
    dates: Strings
    lons: NDArray[np.float64]
    lats: NDArray[np.float64]
    numbers: Mapping[str, Rows]


def read_scenes(
    path: Path,
    labels: Sequence[str],
    sensors: Sequence[str],
    attributes: Sequence[str] = (),
    others: Sequence[str] = (),
) -> SceneTable:
    """Read ``scenes.parquet``.

    Args:
        path: the file, in the archive's folder.
        labels: class names in label order.
        sensors: whose row numbers it holds.
        attributes: its columns beyond those every archive has.
        others: Arrow files beside the sensors' whose row numbers it holds.

    Raises:
        ArchiveError: a table that is unreadable, lacks a column, or has an unknown label.
    """
    names = ["scene_id", "split", "labels", "region", "place", "date", "lon", "lat", *attributes]
    names += [f"row_{name}" for name in (*sensors, *others)]
    try:
        with pq.ParquetFile(path) as file:
            missing = [name for name in names if name not in file.schema_arrow.names]
            if missing:
                raise ArchiveError(f"{path}: no column {missing}; pack again")
            table = file.read(columns=names)
    except (OSError, ValueError, pa.ArrowException) as error:
        raise ArchiveError(f"{path}: not a readable scene table ({error}); pack again") from error
    try:
        dates = strings(table["date"])
        numbers = {
            name: table[f"row_{name}"].to_numpy().astype(np.int64) for name in (*sensors, *others)
        }
        catalogue = Catalogue(
            path=path.parent,
            labels=tuple(labels),
            sensors=tuple(sensors),
            scene_ids=table["scene_id"].to_pylist(),
            splits=strings(table["split"]),
            targets=multi_hot(table["labels"], labels, str(path)),
            attributes={
                "region": strings(table["region"]),
                "season": seasons(dates),
                "place": strings(table["place"]),
                **{name: strings(table[name]) for name in attributes},
            },
            presence={sensor: numbers[sensor] >= 0 for sensor in sensors},
        )
        lons, lats = (table[name].to_numpy().astype(np.float64) for name in ("lon", "lat"))
    except (ValueError, TypeError, pa.ArrowException) as error:
        raise ArchiveError(f"{path}: a misshapen column ({error}); pack again") from error
    return SceneTable(catalogue, dates, lons, lats, numbers)


def strings(column: pa.ChunkedArray) -> Strings:
    """A column of text as NumPy strings, (n,); "" where it has none."""
    coded = pc.fill_null(column.cast(pa.string()), "").combine_chunks().dictionary_encode()
    values: Strings = np.array(coded.dictionary.to_pylist(), dtype=np.str_)
    found: Strings = values[coded.indices.to_numpy()]
    return found


def multi_hot(column: pa.ChunkedArray, labels: Sequence[str], where: str) -> NDArray[np.uint8]:
    """A column of lists of class names as uint8 (n, K), 1 where the list has the class.

    Args:
        column: list of text per scene.
        labels: the K class names in order.
        where: the file, for messages.

    Raises:
        ArchiveError: for a name that is none of the labels.
    """
    lists = column.cast(pa.list_(pa.string())).combine_chunks()
    names = lists.flatten()
    index = pc.index_in(names, value_set=pa.array(labels, pa.string()))
    if index.null_count:
        unknown = names.filter(index.is_null())[0].as_py()
        raise ArchiveError(
            f"{where}: a scene has the label {unknown!r}, not among {list(labels)}; pack again"
        )
    targets = np.zeros((len(lists), len(labels)), np.uint8)
    targets[pc.list_parent_indices(lists).to_numpy(), index.to_numpy()] = 1
    return targets
