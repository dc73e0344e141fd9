"""The tags of a TIFF, read without GDAL: what places it on the ground, and how long it must be.

GDAL looks every coordinate system up in a data base, which takes it longer than reading a patch;
and it does not miss what a cut file lacks behind the pixels. Classic TIFF only (TIFF 6.0, and
GeoTIFF 1.1, OGC 19-008r4); of a BigTIFF nothing is told.
"""

import struct
from dataclasses import dataclass

import numpy as np

_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
_NUMBERS = {3: "u2", 4: "u4"}
_STRIPS, _TILES = (273, 279), (324, 325)  # offsets and byte counts
_PIXEL_SCALE, _TIEPOINTS, _MATRIX = 33550, 33922, 34264
_GEO_KEYS = (34735, 34736, 34737)
_RASTER_TYPE, _PIXEL_IS_AREA = 1025, 1


@dataclass(frozen=True)
class Tags:
    """What the tags of a file say.

    Attributes:
        length: bytes that the file must have, so that nothing the tags point at is cut off.
        geo_keys: the keys that name the coordinate system, as they stand in the file.
        transform: (a, b, c, d, e, f) of a file that is north up, with the corner of a pixel as
            reference; None for any other.
    """

    length: int
    geo_keys: bytes
    transform: tuple[float, float, float, float, float, float] | None


def read_tags(content: bytes) -> Tags | None:
    """Read the tags of a file's bytes; None if it is no classic TIFF."""
    order = {b"II*\0": "<", b"MM\0*": ">"}.get(content[:4])
    if order is None or len(content) < 8:
        return None
    (place,) = struct.unpack_from(f"{order}I", content, 4)
    length, first, seen = 8, None, set[int]()
    while place and place not in seen and len(content) >= length:
        seen.add(place)
        tags, place, end = _directory(content, place, order)
        length = max(length, end)
        first = tags if first is None else first
    first = first or {}
    return Tags(
        length, b"".join(first.get(tag, b"") for tag in _GEO_KEYS), _transform(first, order)
    )


def _directory(content: bytes, place: int, order: str) -> tuple[dict[int, bytes], int, int]:
    """A directory: the values of its tags, the place of the next one, and where it all ends."""
    if place + 2 > len(content):
        return {}, 0, place + 2
    (count,) = struct.unpack_from(f"{order}H", content, place)
    end = place + 2 + 12 * count + 4
    if end > len(content):
        return {}, 0, end
    tags, kinds = {}, {}
    for at in range(place + 2, end - 4, 12):
        tag, kind, number = struct.unpack_from(f"{order}HHI", content, at)
        size = number * _SIZES.get(kind, 0)
        start = at + 8
        if size > 4:
            (start,) = struct.unpack_from(f"{order}I", content, at + 8)
            end = max(end, start + size)
        tags[tag], kinds[tag] = content[start : start + size], kind
    if end > len(content):
        return {}, 0, end
    for pair in (_STRIPS, _TILES):
        if all(kinds.get(tag) in _NUMBERS for tag in pair):
            starts, lengths = (
                np.frombuffer(tags[tag], f"{order}{_NUMBERS[kinds[tag]]}").tolist() for tag in pair
            )
            ends = map(sum, zip(starts, lengths, strict=False))  # GDAL refuses unequal ones
            end = max(end, *ends, 0)
    (following,) = struct.unpack_from(f"{order}I", content, place + 2 + 12 * count)
    return tags, following, end


def _transform(
    tags: dict[int, bytes], order: str
) -> tuple[float, float, float, float, float, float] | None:
    scale, tie = tags.get(_PIXEL_SCALE, b""), tags.get(_TIEPOINTS, b"")
    if len(scale) != 24 or len(tie) != 48 or _MATRIX in tags:
        return None
    keys = tags.get(_GEO_KEYS[0], b"")
    area = struct.pack(f"{order}4H", _RASTER_TYPE, 0, 1, _PIXEL_IS_AREA)
    if area not in (keys[at : at + 8] for at in range(8, len(keys), 8)):
        return None
    across, down, _ = struct.unpack(f"{order}3d", scale)
    column, row, _, x, y, _ = struct.unpack(f"{order}6d", tie)
    if not (across > 0 and down > 0):
        return None
    return across, 0.0, x - column * across, 0.0, -down, y + row * down
