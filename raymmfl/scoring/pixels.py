"""Scores of pixel classification: confusion matrices counted by the workers, summed here."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from raymmfl.archive.store import Archive
from raymmfl.errors import RunError
from raymmfl.evaluate_pixels import class_pixels, guess, score
from raymmfl.federation.setting import Setting
from raymmfl.federation.update import PixelScoring, Tally
from raymmfl.federation.views import Group
from raymmfl.scoring.split import Metrics, Runtime, Scored, Split, mean_of_parts


def score_groups(runtime: Runtime, parts: Sequence[Group], split: Split, size: int) -> Scored:
    """Score the pixels of groups of scenes; one forward pass per sensor and view serves all.

    Args:
        runtime: holds the state.
        parts: who scores which scenes.
        split: the scenes.
        size: most scenes of one job.

    Raises:
        RunError: if scores are not finite.
    """
    cut = [(part, job) for part in parts for job in jobs(part, split.rows, split.present, size)]
    answers = runtime.score([job for _, job in cut])
    sums: dict[tuple[str, str], Tally] = {}
    for (part, _), answer in zip(cut, answers, strict=True):
        assert isinstance(answer, Tally)
        add(sums.setdefault(part.scored_as, Tally({}, {})), answer)
    metrics: dict[str, list[Metrics]] = {}
    confusion: dict[str, NDArray[np.int64]] = {}
    for (view, _), tally in sums.items():
        for sensors, found in tally.confusion.items():
            loss = tally.loss[sensors]
            if not math.isfinite(loss):
                raise RunError(
                    f"the {view} scores of {sensors} on the {split.name} split are not finite; "
                    f"a smaller train.lr usually helps"
                )
            if found.any():
                place = f"{split.name}/{view}/{sensors}"
                metrics.setdefault(place, []).append(score(found, loss, split.labels))
                confusion[place] = confusion.get(place, 0) + found
    return Scored(mean_of_parts(metrics), {}, confusion)


def jobs(
    group: Group, rows: NDArray[np.int64], present: Mapping[str, NDArray[np.bool_]], size: int
) -> list[PixelScoring]:
    """The group's scoring jobs, cut the same for any fleet.

    Args:
        group: who scores.
        rows: (n,) scene rows of the split.
        present: per sensor, (n,) whether each scene has it.
        size: most scenes of one job.
    """
    seen = np.zeros(len(rows), bool)
    for sensor in group.memories:
        seen |= present[sensor]
    places = group.places[seen[group.places]]
    return [
        PixelScoring(rows[places[start : start + size]], group.memories)
        for start in range(0, len(places), size)
    ]


def add(total: Tally, more: Tally) -> None:
    """Add one tally to another, in place."""
    for name, confusion in more.confusion.items():
        total.confusion[name] = total.confusion.get(name, 0) + confusion
        total.loss[name] = total.loss.get(name, 0.0) + more.loss[name]


def guess_split(archive: Archive, setting: Setting, split: Split) -> Metrics:
    """Metrics of the no-image guess: the most frequent class of the region's training pixels."""
    train = np.unique(np.concatenate([client.rows for client in setting.clients]))
    confusion, loss = guess(
        class_pixels(archive, train),
        list(archive.regions[train]),
        split.pixels,
        list(split.regions),
    )
    return score(confusion, loss, split.labels)
