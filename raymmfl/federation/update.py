"""What a client and the server exchange in one round, and what a client keeps."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raymmfl.federation.aggregate import Shares
from raymmfl.federation.exchange import Parcel, Parcels
from raymmfl.federation.wire import Encoded

Memory = Mapping[str, NDArray[np.generic]]


@dataclass
class Broadcast:
    """The global state as it travels down; one object for the whole cohort."""

    round: int
    weights: Encoded
    moments: NDArray[np.float32]
    counters: NDArray[np.int64]


@dataclass
class Task:
    """One client's part of a round.

    Attributes:
        client_id: whom to play.
        inbox: partner embeddings addressed to this client alone.
        memory: what the client kept from its last round (empty before the first).
        shares: ``p_i`` over all clients and over those of each own sensor.
    """

    client_id: str
    inbox: Parcels
    memory: Memory
    shares: Shares


@dataclass
class Update:
    """What leaves a client: named arrays, nothing else.

    Attributes:
        arrays: exactly the slots the plan declares for the client's sensors.
        embeddings: per own sensor, of its own training scenes.
    """

    arrays: dict[str, NDArray[np.generic]]
    embeddings: dict[str, Parcel]


@dataclass
class Record:
    """What the server learns of one client's round beside the sum.

    Attributes:
        client_id: who.
        num_samples: its training scenes.
        losses: mean losses of its last local epoch.
        refused: why its update was not added; None if it was.
        embeddings: for the bank.
        memory: what it keeps; goes back to this client alone.
        up: bytes by purpose.
        down: bytes by purpose.
        seconds: local training time.
    """

    client_id: str
    num_samples: int
    losses: dict[str, float]
    refused: str | None
    embeddings: dict[str, Parcel]
    memory: Memory
    up: dict[str, int]
    down: dict[str, int]
    seconds: float


@dataclass
class Scoring:
    """Scenes whose labels are scored with one sensor; answered by logits (n, K).

    Attributes:
        sensor: whose images.
        rows: (n,) scene rows that have the sensor.
        memory: overlays the global state with what a client keeps; empty for the global view.
    """

    sensor: str
    rows: NDArray[np.int64]
    memory: Memory


@dataclass
class PixelScoring:
    """Scenes whose pixels are scored with several sensors; answered by a tally.

    Attributes:
        rows: (n,) scene rows that have at least one of the sensors.
        memories: per sensor, what overlays the global state; empty for the global view.
    """

    rows: NDArray[np.int64]
    memories: Mapping[str, Memory]


@dataclass
class Tally:
    """What a pixel scoring found; no map of scores travels.

    Attributes:
        confusion: pixels by true class (row) and predicted class (column), (K, K) int64, for
            ``all`` (mean logits of the sensors present) and for each sensor alone.
        loss: the sum of these pixels' cross-entropy; not finite if a score was not.
    """

    confusion: dict[str, NDArray[np.int64]]
    loss: dict[str, float]


Job = Scoring | PixelScoring
Answer = NDArray[np.float32] | Tally
