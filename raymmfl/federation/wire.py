"""Number formats on the wire: how arrays are encoded, and how many bytes that takes.

``float32`` is exact, ``float16`` halves the bytes, ``int8`` quarters them with one float32 scale
per block (a tensor, or an embedding): ``x ~ q * scale``, ``scale = max|x| / 127``.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raymmfl.config import WireFormat

FloatArray = NDArray[np.float32]


@dataclass
class Encoded:
    """A float32 array as it travels.

    Attributes:
        payload: the numbers in the wire format.
        scales: one per block for int8, else empty.
    """

    payload: NDArray[np.generic]
    scales: FloatArray

    @property
    def nbytes(self) -> int:
        """Bytes on the wire."""
        return int(self.payload.nbytes + self.scales.nbytes)


def encode(vector: FloatArray, wire: WireFormat, blocks: Iterable[slice] = ()) -> Encoded:
    """Encode a flat vector (n,).

    Args:
        vector: float32 (n,).
        wire: the format.
        blocks: the spans that share an int8 scale; empty means one for all.
    """
    none = np.empty(0, np.float32)
    if wire == "float32":
        return Encoded(vector, none)
    if wire == "float16":
        with np.errstate(over="ignore"):  # an overflow becomes infinite and is refused as such
            return Encoded(vector.astype(np.float16), none)
    spans = list(blocks) or [slice(0, vector.size)]
    payload = np.zeros(vector.size, np.int8)
    scales = np.zeros(len(spans), np.float32)
    for index, span in enumerate(spans):
        part = vector[span]
        scale = np.float32(np.max(np.abs(part), initial=0.0) / 127)
        scales[index] = scale
        if np.isfinite(scale) and scale > 0:
            payload[span] = np.clip(np.rint(part / scale), -127, 127).astype(np.int8)
    return Encoded(payload, scales)


def decode(encoded: Encoded, blocks: Iterable[slice] = ()) -> FloatArray:
    """The float32 vector (n,) that the receiver sees; a block with a broken scale is NaN."""
    payload = encoded.payload
    if payload.dtype == np.float32:
        return payload.view(np.float32)
    vector = payload.astype(np.float32)
    if payload.dtype == np.int8:
        spans = list(blocks) or [slice(0, vector.size)]
        for span, scale in zip(spans, encoded.scales, strict=True):
            vector[span] *= scale if np.isfinite(scale) else np.float32(np.nan)
    return vector


def encode_rows(rows: FloatArray, wire: WireFormat) -> Encoded:
    """Encode vectors (n, E), each with its own int8 scale."""
    return encode(np.ascontiguousarray(rows).reshape(-1), wire, row_blocks(*rows.shape))


def decode_rows(encoded: Encoded, count: int) -> FloatArray:
    """The vectors (n, E) that :func:`encode_rows` sent."""
    width = encoded.payload.size // max(count, 1)
    return decode(encoded, row_blocks(count, width)).reshape(count, width)


def row_blocks(count: int, width: int) -> list[slice]:
    """The span of each row of a flattened (count, width) array."""
    return [slice(row * width, (row + 1) * width) for row in range(count)]
