"""Local training: one client's epochs on its own scenes, ``L = L_task + weight * L_MIM``.

Shapes: B scenes of a batch, D features, E embedding, K classes, H W pixels, n training scenes.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raymmfl.config import MimConfig, TrainConfig
from raymmfl.learning.batches import Images, Rows, augment, split
from raymmfl.learning.losses import nt_xent, pixel_loss, task_loss
from raymmfl.models.multimodal import MultiModalNet, fuse
from raymmfl.seeds import generator

Vectors = tuple[Rows, NDArray[np.float32]]  # scene rows (n,) ascending, their vectors (n, E)


@dataclass
class Trained:
    """What training reports beside the model it changed.

    Attributes:
        losses: means over the last epoch's scenes: ``loss``, ``task_loss``, and ``mim_loss`` over
            the batches that had a pair.
        embeddings: per own sensor, the vectors of the training scenes, if asked for.
    """

    losses: dict[str, float]
    embeddings: dict[str, Vectors] = field(default_factory=dict)


@dataclass(frozen=True)
class Mim:
    """What the MIM term of one client and round needs.

    Attributes:
        settings: weight, temperature, where embeddings come from.
        partners: per partner sensor, the vectors of the client's own scenes, detached.
        active: whether the term is on in this round.
        upload: whether the embeddings will be read by somebody.
    """

    settings: MimConfig
    partners: Mapping[str, Vectors]
    active: bool
    upload: bool


def train(
    model: MultiModalNet,
    images: Images,
    sensors: Sequence[str],
    rows: Rows,
    settings: TrainConfig,
    mim: Mim | None,
    seed: tuple[int, int, str],
) -> Trained:
    """Train the model in place on one client's scenes.

    Args:
        model: with the client's encoders; its task decides the task's loss.
        images: the archive.
        sensors: what the client holds.
        rows: (n,) its scene rows; each has at least one of the sensors.
        settings: epochs, batch size, optimiser.
        mim: the MIM term; None without it.
        seed: (seed, round, client id), from which order and augmentation follow.
    """
    optimizer = _optimizer(model, settings)
    collected: dict[str, list[tuple[Rows, Tensor]]] = {sensor: [] for sensor in sensors}
    sums: dict[str, tuple[float, int]] = {}
    model.train()
    for epoch in range(settings.epochs):
        last = epoch == settings.epochs - 1
        order = generator(*seed, "order", epoch).permutation(rows)
        turns = generator(*seed, "augment", epoch).integers(0, 8, len(rows))
        position = 0
        for batch in split(order, settings.batch_size):
            turn = turns[position : position + len(batch)] if settings.augment else None
            position += len(batch)
            features: Features = {}
            parts = []
            for sensor, places, image in _inputs(images, sensors, batch, turn):
                feature, logits = model.answer(sensor, image)
                features[sensor] = places, feature
                parts.append((places, logits))
            task = _task_loss(model, images, fuse(parts, len(batch)), batch, turn)
            loss = task
            if mim is not None:
                embeddings = _embed(model, features, mim, last)
                term = _mim_term(embeddings, batch, features, mim) if mim.active else None
                if term is not None:
                    loss = task + mim.settings.weight * term
                if last:
                    _note(sums, "mim_loss", term, len(batch))
                    _collect(collected, embeddings, features, batch, mim)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if last:
                _note(sums, "task_loss", task, len(batch))
                _note(sums, "loss", loss, len(batch))
    if mim is not None and mim.upload and mim.settings.embeddings == "extra_pass":
        collected = _extra_pass(model, images, sensors, rows, settings.batch_size)
    losses = {name: total / count for name, (total, count) in sums.items()}
    return Trained(losses, {sensor: _sort(parts) for sensor, parts in collected.items() if parts})


Features = dict[str, tuple[NDArray[np.int64], Tensor]]  # sensor -> places in the batch, (b, D)


def _optimizer(model: MultiModalNet, settings: TrainConfig) -> torch.optim.Optimizer:
    if settings.optimizer == "adam":
        return torch.optim.Adam(
            model.parameters(), settings.lr, weight_decay=settings.weight_decay, fused=True
        )
    return torch.optim.SGD(
        model.parameters(),
        settings.lr,
        momentum=settings.momentum,
        weight_decay=settings.weight_decay,
        fused=True,
    )


def _inputs(
    images: Images, sensors: Sequence[str], batch: Rows, turns: NDArray[np.int64] | None
) -> Iterator[tuple[str, NDArray[np.int64], Tensor]]:
    """Per sensor that is there: its name, the places of its scenes in the batch, their images."""
    for sensor in sensors:
        places = np.flatnonzero(images.archive.present(sensor)[batch])
        if places.size:
            image = images.load(sensor, batch[places])
            yield sensor, places, image if turns is None else augment(image, turns[places])


def _task_loss(
    model: MultiModalNet,
    images: Images,
    logits: Tensor,
    batch: Rows,
    turns: NDArray[np.int64] | None,
) -> Tensor:
    """The loss of a batch's fused logits; masks are turned as the images were."""
    if model.task == "pixels":
        mask_BHW = images.masks(batch)
        if turns is not None:
            mask_BHW = augment(mask_BHW.unsqueeze(1), turns).squeeze(1)
        return pixel_loss(logits, mask_BHW)
    targets = torch.from_numpy(images.archive.targets[batch]).to(logits)
    return task_loss(logits, targets)


def _embed(model: MultiModalNet, features: Features, mim: Mim, last: bool) -> dict[str, Tensor]:
    """Unit embeddings per sensor, (b, E); with gradient only where the term is on."""
    if mim.active:
        return {sensor: model.embed(feature) for sensor, (_, feature) in features.items()}
    if last and mim.upload and mim.settings.embeddings == "last_epoch":
        with torch.no_grad():
            return {sensor: model.embed(feature) for sensor, (_, feature) in features.items()}
    return {}


def _mim_term(
    embeddings: Mapping[str, Tensor], batch: Rows, features: Features, mim: Mim
) -> Tensor | None:
    """Mean NT-Xent over the pairs of sensors that share at least two scenes of the batch.

    The partners are those of the inbox and, for a client with several sensors, its own others.
    """
    terms = []
    own = list(embeddings)
    for index, sensor in enumerate(own):
        places, ours = features[sensor][0], embeddings[sensor]
        for rows, vectors in mim.partners.values():
            at = np.searchsorted(rows, batch[places]).clip(max=len(rows) - 1)
            shared = np.flatnonzero(rows[at] == batch[places])
            if shared.size > 1:
                theirs = torch.from_numpy(vectors[at[shared]]).to(ours)
                terms.append(
                    nt_xent(ours[torch.from_numpy(shared)], theirs, mim.settings.temperature)
                )
        for other in own[index + 1 :]:
            _, left, right = np.intersect1d(places, features[other][0], return_indices=True)
            if left.size > 1:
                pair = ours[torch.from_numpy(left)], embeddings[other][torch.from_numpy(right)]
                terms.append(nt_xent(*pair, mim.settings.temperature))
    return torch.stack(terms).mean() if terms else None


def _collect(
    collected: dict[str, list[tuple[Rows, Tensor]]],
    embeddings: Mapping[str, Tensor],
    features: Features,
    batch: Rows,
    mim: Mim,
) -> None:
    if mim.upload and mim.settings.embeddings == "last_epoch":
        for sensor, embedding in embeddings.items():
            collected[sensor].append((batch[features[sensor][0]], embedding.detach()))


def _extra_pass(
    model: MultiModalNet, images: Images, sensors: Sequence[str], rows: Rows, batch_size: int
) -> dict[str, list[tuple[Rows, Tensor]]]:
    """Embeddings of the trained model in evaluation mode, without augmentation."""
    collected: dict[str, list[tuple[Rows, Tensor]]] = {sensor: [] for sensor in sensors}
    model.eval()
    with torch.no_grad():
        for batch in split(rows, batch_size):
            for sensor, places, image in _inputs(images, sensors, batch, None):
                vectors = model.embed(model.features(sensor, image))
                collected[sensor].append((batch[places], vectors))
    return collected


def _sort(parts: Sequence[tuple[Rows, Tensor]]) -> Vectors:
    rows = np.concatenate([rows for rows, _ in parts])
    vectors = torch.cat([vectors for _, vectors in parts]).cpu().numpy()
    order = np.argsort(rows)
    return rows[order], vectors[order]


def _note(sums: dict[str, tuple[float, int]], name: str, value: Tensor | None, size: int) -> None:
    if value is not None:
        total, count = sums.get(name, (0.0, 0))
        sums[name] = total + float(value.detach()) * size, count + size
