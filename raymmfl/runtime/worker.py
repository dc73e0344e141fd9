"""A worker plays any client: trains it, adds its update to a partial sum, scores scenes.

Both runtimes use it: the serial one calls it directly, a ClientActor wraps one.
"""

import time
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from raymmfl.archive.store import Archive
from raymmfl.errors import UpdateRefused
from raymmfl.federation.aggregate import Flat, Partial, add, admit, empty, flatten
from raymmfl.federation.client import client_step, load, through_wire, unshared
from raymmfl.federation.plan import Plan
from raymmfl.federation.setting import Setting
from raymmfl.federation.sharing import resolve
from raymmfl.federation.update import (
    Answer,
    Broadcast,
    Job,
    Memory,
    PixelScoring,
    Record,
    Scoring,
    Tally,
    Task,
)
from raymmfl.federation.wire import decode
from raymmfl.learning.batches import Images
from raymmfl.learning.counting import count
from raymmfl.models.multimodal import MultiModalNet, build, fuse


def make_model(archive: Archive, setting: Setting, sensors: Sequence[str]) -> MultiModalNet:
    """The untrained model with the encoders of these sensors; its weights follow from the seed."""
    config, algorithm = setting.config, setting.algorithm
    return build(
        {sensor: len(archive.sensors[sensor].bands) for sensor in sensors},
        classes=len(archive.labels),
        backbone=config.model.backbone,
        norm=config.model.norm,
        whitening=config.whitening if algorithm.whitening else None,
        projection=config.model.projection if algorithm.mim else None,
        tied=algorithm.tied,
        seed=config.seed,
        task=config.task,
    )


def all_sensors(archive: Archive, setting: Setting) -> tuple[str, ...]:
    """The sensors any client holds, in the archive's order."""
    held = {sensor for client in setting.clients for sensor in client.sensors}
    return tuple(sensor for sensor in archive.sensors if sensor in held)


def make_plan(archive: Archive, setting: Setting) -> Plan:
    """The sharing plan of a setting (whose own plan is not looked at)."""
    model = make_model(archive, setting, all_sensors(archive, setting))
    algorithm = setting.algorithm
    return resolve(model, algorithm.shares, setting.config.sharing.statistics)


class Worker:
    """Plays clients and scores scenes, one at a time, on one device."""

    def __init__(self, archive_path: str, threads: int, gpu: bool = False) -> None:
        """Open the archive.

        Args:
            archive_path: absolute path of the packed archive.
            threads: compute threads.
            gpu: whether a GPU, or a share of one, was given to this process. It decides, and not
                what torch sees: Ray hides no GPU from an actor that was given none.
        """
        torch.set_num_threads(threads)
        torch.backends.cudnn.deterministic = True
        self.device = torch.device("cuda" if gpu and torch.cuda.is_available() else "cpu")
        self.archive = Archive.open(archive_path)

    def prepare(self, setting: Setting) -> None:
        """Get ready for a training; what an earlier one left is dropped."""
        self.setting = setting
        coarsest_m = setting.config.archive.coarsest_m
        if coarsest_m != self.archive.coarsest_m:
            self.archive = Archive.open(self.archive.path, coarsest_m)
        self.images = Images(self.archive, setting.config.archive.resample, self.device)
        self._models: dict[tuple[str, ...], MultiModalNet] = {}
        self._initial: Memory | None = None
        self._attempt: tuple[int, ...] = ()
        self._partial: Partial | None = None
        self._received: tuple[tuple[int, ...], Flat] | None = None

    def start(self) -> Flat:
        """The untrained global state."""
        return flatten(self.setting.plan, self._untrained())

    def initial(self) -> Memory:
        """The untrained arrays that never leave a client, by name; most plans have none."""
        if self._initial is None:
            plan = self.setting.plan
            kept = any(slot.scope == "client" for slot in plan.slots)
            self._initial = unshared(plan, self._untrained()) if kept else {}
        return self._initial

    def _untrained(self) -> dict[str, NDArray[np.generic]]:
        model = make_model(self.archive, self.setting, all_sensors(self.archive, self.setting))
        return {name: tensor.numpy() for name, tensor in model.state_dict().items()}

    def play(self, attempt: tuple[int, ...], broadcast: Broadcast, task: Task) -> Record:
        """Train one client and add its update to this worker's partial sum of the attempt.

        Args:
            attempt: names the gathering; a new one starts a new partial sum.
            broadcast: the global state.
            task: what is addressed to the client.
        """
        if attempt != self._attempt:
            self._attempt = attempt
            self._partial = empty(self.setting.plan, self._partial)
        assert self._partial is not None
        plan = self.setting.plan
        client = self.setting.by_id[task.client_id]
        started = time.perf_counter()
        flat = self._receive(attempt, broadcast)
        update, memory, losses = client_step(
            self.setting,
            self._model(client.sensors),
            self.images,
            client,
            flat,
            broadcast.round,
            task,
            self.initial(),
        )
        update, up = through_wire(self.setting, update)
        refused = None
        try:
            admit(plan, client.sensors, update.arrays, flat)
            for sensor, parcel in update.embeddings.items():
                if not np.isfinite(parcel.open().vectors).all():
                    raise UpdateRefused(f"the embeddings of {sensor} are not finite")
            for name, array in memory.items():  # what is never shared must be sound as well
                if not np.isfinite(array).all():
                    raise UpdateRefused(f"{name} is not finite")
            add(plan, self._partial, client.client_id, update.arrays, task.shares, flat)
        except UpdateRefused as error:
            refused = str(error)
        itemsize = broadcast.weights.payload.itemsize
        down = {
            "weights": sum(
                slot.size * itemsize + (4 if itemsize == 1 else 0)
                for slot in plan.shared(client.sensors)
                if slot.kind == "weights"
            ),
            "moments": up["moments"],
            "counters": up["counters"],
            "embeddings": sum(parcel.nbytes for parcel in task.inbox.values()),
        }
        return Record(
            client_id=client.client_id,
            num_samples=len(client.rows),
            losses=losses,
            refused=refused,
            embeddings={} if refused else update.embeddings,
            memory={} if refused else memory,
            up=up,
            down=down,
            seconds=time.perf_counter() - started,
        )

    def partial(self, attempt: tuple[int, ...]) -> Partial:
        """The sum over the clients this worker played in the attempt."""
        if attempt != self._attempt or self._partial is None:
            return empty(self.setting.plan)
        return self._partial

    def score(self, state: Flat, job: Job) -> Answer:
        """Logits (n, K) of one sensor's images, or the tally of their pixels by all sensors."""
        with torch.inference_mode():
            if isinstance(job, PixelScoring):
                return self._tally(state, job)
            return self._logits(state, job)

    def _logits(self, state: Flat, job: Scoring) -> NDArray[np.float32]:
        model = self._loaded(state, job.sensor, job.memory)
        parts = []
        for rows in self._batches(job.rows):
            image = self.images.load(job.sensor, rows)
            parts.append(model.answer(job.sensor, image)[1].cpu().numpy())
        return np.concatenate(parts)

    def _tally(self, state: Flat, job: PixelScoring) -> Tally:
        models = {
            sensor: self._loaded(state, sensor, memory) for sensor, memory in job.memories.items()
        }
        classes = len(self.archive.labels)
        names = ["all", *models]
        found = Tally(
            {name: np.zeros((classes, classes), np.int64) for name in names},
            dict.fromkeys(names, 0.0),
        )
        for rows in self._batches(job.rows):
            masks = self.images.masks(rows)
            parts = []
            for sensor, model in models.items():
                places = np.flatnonzero(self.archive.present(sensor)[rows])
                if places.size:
                    image = self.images.load(sensor, rows[places])
                    logits = model.answer(sensor, image)[1]
                    _add(found, sensor, logits, masks[torch.from_numpy(places).to(masks.device)])
                    parts.append((places, logits))
            _add(found, "all", fuse(parts, len(rows)), masks)
        return found

    def _batches(self, rows: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
        size = self.setting.config.evaluate.batch_size
        for start in range(0, len(rows), size):
            yield rows[start : start + size]

    def _loaded(self, state: Flat, sensor: str, memory: Memory) -> MultiModalNet:
        """A sensor's model, ready to score with the state and what overlays it."""
        model = self._model((sensor,))
        load(self.setting.plan, model, state, {**self.initial(), **memory})
        return model.eval()

    def _model(self, sensors: tuple[str, ...]) -> MultiModalNet:
        if sensors not in self._models:
            with torch.inference_mode(False):  # made while scoring, it may be trained later
                model = make_model(self.archive, self.setting, sensors)
                self._models[sensors] = model.to(self.device)
        return self._models[sensors]

    def _receive(self, attempt: tuple[int, ...], broadcast: Broadcast) -> Flat:
        """Decode a broadcast once, however many clients are played on it."""
        if self._received is None or self._received[0] != attempt:
            plan = self.setting.plan
            blocks = [plan.spans[slot.name] for slot in plan.shared() if slot.kind == "weights"]
            weights = decode(broadcast.weights, blocks)  # may be a view of Ray's store
            flat = Flat(weights, broadcast.moments, broadcast.counters)
            self._received = attempt, flat
        return self._received[1]


def _add(tally: Tally, name: str, logits_BKHW: Tensor, mask_BHW: Tensor) -> None:
    confusion, loss = count(logits_BKHW, mask_BHW)
    tally.confusion[name] += confusion
    tally.loss[name] += loss
