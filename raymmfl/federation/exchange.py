"""MIM on the server: the bank of embeddings, matched across sensors by scene.

A client uploads the embeddings of its own training scenes with their numbers; it receives those
of the partner sensors for the scenes it holds itself, and no other. Pixels never move.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from raymmfl.config import WireFormat
from raymmfl.federation.wire import Encoded, decode_rows, encode_rows

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int64]


@dataclass
class Embeddings:
    """Unit vectors of one sensor.

    Attributes:
        rows: (n,) int64, scene rows of the archive, ascending.
        vectors: (n, E) float32.
    """

    rows: IntArray
    vectors: FloatArray


@dataclass
class Parcel:
    """Embeddings as they travel."""

    rows: IntArray
    encoded: Encoded

    @property
    def nbytes(self) -> int:
        """Bytes on the wire, scene numbers included."""
        return int(self.rows.nbytes) + self.encoded.nbytes

    def open(self) -> Embeddings:
        """What the receiver sees."""
        return Embeddings(self.rows, decode_rows(self.encoded, len(self.rows)))


def pack(embeddings: Embeddings, wire: WireFormat) -> Parcel:
    """Encode embeddings for the way."""
    return Parcel(embeddings.rows, encode_rows(embeddings.vectors, wire))


Parcels = Mapping[str, Parcel]  # by sensor


@dataclass
class Bank:
    """The newest embedding of every (sensor, scene) and the round it is from (0: none)."""

    scenes: int
    vectors: dict[str, FloatArray] = field(default_factory=dict)
    rounds: dict[str, NDArray[np.int32]] = field(default_factory=dict)

    def store(self, sensor: str, embeddings: Embeddings, round_index: int) -> None:
        """Remember what a client said of its scenes in this round."""
        if sensor not in self.vectors:
            width = embeddings.vectors.shape[1]
            self.vectors[sensor] = np.zeros((self.scenes, width), np.float32)
            self.rounds[sensor] = np.zeros(self.scenes, np.int32)
        self.vectors[sensor][embeddings.rows] = embeddings.vectors
        self.rounds[sensor][embeddings.rows] = round_index

    def inbox(
        self, own: Collection[str], rows: IntArray, round_index: int, max_age: int
    ) -> dict[str, Embeddings]:
        """Partner embeddings for one client.

        Args:
            own: the client's sensors; its partners are all others.
            rows: the client's training scenes.
            round_index: the round about to start.
            max_age: embeddings older than this many rounds are left out.
        """
        found = {}
        for sensor, rounds in self.rounds.items():
            if sensor in own:
                continue
            age = rounds[rows]
            fresh = rows[(age > 0) & (age >= round_index - max_age)]
            if fresh.size:
                found[sensor] = Embeddings(fresh, self.vectors[sensor][fresh])
        return found
