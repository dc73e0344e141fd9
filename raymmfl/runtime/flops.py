"""Training FLOPs of a client's round, counted on one real step and multiplied.

`torch.utils.flop_counter` sees matrix products and convolutions, forward and backward, and none of
the additions, normalisations and activations between them: a lower bound that is the same on every
machine. One step over two scenes is counted per kind of client (the sensors it holds) and taken as
proportional to its scenes; only NT-Xent's own products, a vanishing part, grow otherwise.
"""

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from raymmfl.archive.partition import Client
from raymmfl.archive.store import Archive
from raymmfl.federation.setting import Setting
from raymmfl.learning.batches import Images
from raymmfl.learning.training import Mim, train
from raymmfl.runtime.worker import make_model

_SCENES = 2  # the fewest a batch normalisation takes


def client_flops(setting: Setting, archive: Archive) -> dict[str, int]:
    """FLOPs of one round of local training, by client.

    Args:
        setting: the training.
        archive: whose images give the step its shapes.
    """
    images = Images(archive, setting.config.archive.resample, torch.device("cpu"))
    step: dict[tuple[str, ...], int] = {}
    found = {}
    for client in setting.clients:
        if client.sensors not in step:
            step[client.sensors] = _step(setting, archive, images, client)
        scenes = len(client.rows) * setting.config.train.epochs
        found[client.client_id] = step[client.sensors] * scenes // _SCENES
    return found


def _step(setting: Setting, archive: Archive, images: Images, client: Client) -> int:
    """FLOPs of one optimiser step over two scenes, the MIM term on where the algorithm has it."""
    config, rows = setting.config, _rows(archive, client)
    mim = None
    if setting.algorithm.mim:
        vectors = np.ones((len(rows), config.model.projection), np.float32)
        others = [sensor for sensor in archive.sensors if sensor not in client.sensors]
        partners = dict.fromkeys(others, (rows, vectors))
        mim = Mim(config.mim, partners, active=config.mim.weight > 0, upload=False)
    once = config.train.model_copy(update={"epochs": 1, "batch_size": _SCENES})
    model = make_model(archive, setting, client.sensors)
    with FlopCounterMode(display=False) as counter:
        train(model, images, client.sensors, rows, once, mim, (config.seed, 0, client.client_id))
    return int(counter.get_total_flops())


def _rows(archive: Archive, client: Client) -> np.ndarray:
    """Two training scenes of a client, with all of its sensors where it has such."""
    whole = np.all([archive.present(sensor)[client.rows] for sensor in client.sensors], axis=0)
    rows = client.rows[whole] if whole.sum() >= _SCENES else client.rows
    return np.sort(np.resize(rows, _SCENES))
