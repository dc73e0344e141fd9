"""Mean and deviation per band in one pass, over parts that are added up in a fixed order."""

from collections.abc import Mapping, Sequence

import numpy as np

from raymmfl.errors import ArchiveError

STATISTICS = (
    "mean and population standard deviation per band over every pixel of the train patches of all "
    "regions, in float64; no validation or test pixel; a constant band has deviation 1"
)


class Moments:
    """Count, mean and squared deviations per band (Chan, Golub, LeVeque 1983, eq. 2.1).

    Args:
        bands: of the sensor, over all its columns.
    """

    def __init__(self, bands: int) -> None:
        self.count = np.zeros(bands)
        self.mean = np.zeros(bands)
        self.squares = np.zeros(bands)

    def add(self, arrays: Sequence[np.ndarray]) -> None:
        """Add the pixels of a patch: one array (B, size, size) per column."""
        count, mean, squares = [], [], []
        for array in arrays:
            values = array.reshape(len(array), -1).astype(np.float64)
            count.append(np.full(len(values), float(values.shape[1])))
            mean.append(values.mean(axis=1))
            values -= mean[-1][:, None]
            squares.append(np.einsum("ij,ij->i", values, values))
        self._add(*(np.concatenate(parts) for parts in (count, mean, squares)))

    def merge(self, other: Mapping[str, Sequence[float]]) -> None:
        """Add what :meth:`tell` told of other patches."""
        if any(other["count"]):
            self._add(*(np.asarray(other[name]) for name in ("count", "mean", "squares")))

    def tell(self) -> dict[str, list[float]]:
        """The three rows as plain numbers; JSON keeps every bit of them."""
        return {
            "count": self.count.tolist(),
            "mean": self.mean.tolist(),
            "squares": self.squares.tolist(),
        }

    def result(self) -> tuple[list[float], list[float]]:
        """Mean and population standard deviation per band; 1 for a constant band.

        Raises:
            ArchiveError: no patch was added.
        """
        if not self.count.all():
            raise ArchiveError("no train patch; leave the sensor out or add places")
        std = np.sqrt(self.squares / self.count)
        return self.mean.tolist(), np.where(std > 0, std, 1.0).tolist()

    def _add(self, count: np.ndarray, mean: np.ndarray, squares: np.ndarray) -> None:
        delta, total = mean - self.mean, self.count + count
        self.squares += squares + delta**2 * self.count * count / total
        self.mean += delta * count / total
        self.count = total
