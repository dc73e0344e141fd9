"""Seeds from (seed, round, client, purpose), so that any worker can play any client."""

import hashlib

import numpy as np


def derive(seed: int, *parts: str | int) -> int:
    """A 63-bit seed that depends on every part and on nothing else.

    Args:
        seed: the run's seed.
        parts: what the numbers are for, e.g. ``(round_index, client_id, "batches")``.
    """
    text = "\x1f".join([str(seed), *map(str, parts)])
    digest = hashlib.blake2b(text.encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(seed: int, *parts: str | int) -> np.random.Generator:
    """A NumPy generator seeded by :func:`derive`; its stream is the same on every platform."""
    return np.random.Generator(np.random.Philox(derive(seed, *parts)))
