"""The columns of ``scenes.parquet``: made per shard, with rows counted from the shard's start."""

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from raymmfl.archive.readers.source import Format, Scene
from raymmfl.archive.store import MASK
from raymmfl.errors import ArchiveError

UNIT = "unit"  # in a shard's table only: tells where a scene came from when two have one id
_SOURCES = pa.list_(pa.struct([("path", pa.string()), ("sha256", pa.string())]))
_COMMON = {
    "scene_id": pa.string(),
    "split": pa.string(),
    "labels": pa.list_(pa.string()),
    "region": pa.string(),
    "place": pa.string(),
    "date": pa.string(),
}
_FOOTPRINT = {
    "lon": pa.float64(),
    "lat": pa.float64(),
    "epsg": pa.int64(),
    "transform": pa.list_(pa.float64()),
}


def tensors(form: Format) -> dict[str, Sequence[Any]]:
    """Names of the Arrow files -> their columns: the sensors, and the mask if there is one."""
    found: dict[str, Sequence[Any]] = {sensor.name: sensor.columns for sensor in form.sensors}
    return found if form.mask is None else {**found, MASK: [form.mask]}


def schema(form: Format) -> pa.Schema:
    """The columns of the scene table of a source, in order.

    Raises:
        ArchiveError: an attribute named like another column, or like what every archive has; a
            sensor named like the mask.
    """
    fields = dict(_COMMON)
    taken = {*_COMMON, *_FOOTPRINT, "season", "sources", UNIT}
    for name in form.attributes:
        if name in taken or name.startswith(("row_", "sha256_")):
            raise ArchiveError(f"layout {form.layout}: attribute {name!r}: choose another name")
        taken.add(name)
        fields[name] = pa.string()
    if any(sensor.name == MASK for sensor in form.sensors):
        raise ArchiveError(f"layout {form.layout}: sensor {MASK!r}: choose another name")
    fields |= _FOOTPRINT
    for name in tensors(form):
        fields |= {f"row_{name}": pa.int64(), f"sha256_{name}": pa.string()}
    return pa.schema([*fields.items(), ("sources", _SOURCES)])


def describe(scene: Scene, rows: Mapping[str, tuple[int, str]], unit: str) -> dict[str, Any]:
    """A scene's row: its facts, and per Arrow file its row number and digest (-1 and "" if none).

    Args:
        scene: the scene.
        rows: Arrow file -> row number, sha256 of the row.
        unit: name of its unit.
    """
    row: dict[str, Any] = {
        "scene_id": scene.scene_id, "split": scene.split, "labels": list(scene.labels),
        "region": scene.region, "place": scene.place, "date": scene.date, **scene.attributes,
        "lon": scene.lon, "lat": scene.lat, "epsg": scene.epsg,
        "transform": list(scene.transform), UNIT: unit,
        "sources": [{"path": path, "sha256": digest} for path, digest in scene.sources.items()],
    }  # fmt: skip
    for name, (number, digest) in rows.items():
        row |= {f"row_{name}": number, f"sha256_{name}": digest}
    return row
