"""Where a round goes: our own functions, called in this process on one round's data and timed."""

import multiprocessing
import time
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import ray
import torch

from benchmarks import bare
from benchmarks.ours import make_setting
from benchmarks.workload import CLIENTS, Work, make_data
from raymmfl.federation.aggregate import add, admit, empty, finish, merge
from raymmfl.federation.client import load, remember, through_wire
from raymmfl.federation.exchange import Bank
from raymmfl.federation.server import State, broadcast, tasks
from raymmfl.federation.update import Update
from raymmfl.learning.training import train
from raymmfl.runtime.cluster import connect
from raymmfl.runtime.memory import keep_freed_memory
from raymmfl.runtime.worker import Worker

PROCESSES = 2


def measure(work: Work, archive: Path, repeats: int) -> dict[str, float]:
    """Milliseconds of each part; medians of calls, with one process at work.

    Keys ending in ``(bare)`` are the bare loop's own parts. Runs in a fresh process, because what
    malloc keeps is set as in our client actors once the bare parts are done.
    """
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(_measure, work, archive, repeats).result()


def _measure(work: Work, archive: Path, repeats: int) -> dict[str, float]:
    torch.set_num_threads(1)
    connect(None)
    setting = make_setting(work, archive)
    plan, config = setting.plan, setting.config
    worker = Worker(str(archive), threads=1)
    worker.prepare(setting)
    client = setting.clients[0]
    state = State(0, worker.start(), Bank(setting.scenes))
    cohort = [each.client_id for each in setting.clients]
    task = tasks(setting, state, cohort)[0]
    model, take = worker._model(client.sensors), worker._receive
    sent = broadcast(setting, state)
    watch = _Watch()
    _measure_bare(work, watch, repeats)
    keep_freed_memory()  # as our client actors do; from here on

    def leave() -> Update:
        arrays = {n: t.detach().cpu().numpy() for n, t in model.state_dict().items()}
        remember(plan, arrays)
        shared = {slot.name: arrays[slot.name] for slot in plan.shared(client.sensors)}
        return through_wire(setting, Update(shared, {}))[0]

    used = None
    for turn in range(repeats):
        reference = watch("server: ray.put of the broadcast", ray.put, sent)
        flat = watch(
            "actor: take the broadcast", lambda r, n: take((n,), ray.get(r)), reference, turn
        )
        watch("client: load into the model", load, plan, model, flat, {})
        seed = (config.seed, turn, client.client_id)
        watch(
            "client: train", train, model, worker.images, client.sensors, client.rows,
            config.train, None, seed,
        )  # fmt: skip
        update = watch("client: read out, wire", leave)
        watch("client: admit", admit, plan, client.sensors, update.arrays, flat)
        used = watch("actor: empty sum", empty, plan, used)
        watch(
            "client: add to the sum", add, plan, used, client.client_id, update.arrays,
            task.shares, flat,
        )  # fmt: skip
        handed = watch("actor: hand in the sum", ray.put, used)
        partials = [ray.get(handed), used]
        merged = watch("server: merge", merge, partials)
        shares = dict.fromkeys(task.shares, 1.0)
        after = watch("server: finish", finish, plan, merged, shares, state.flat)
        watch("server: ray.put of the new state", ray.put, after)
        watch("server: answer to the driver", ray.put, after)
        del handed, partials, merged, after
    ray.shutdown()
    return {name: 1000 * median(times[1:]) for name, times in watch.times.items()}


def _measure_bare(work: Work, watch: "_Watch", repeats: int) -> None:
    images, labels = (torch.from_numpy(each) for each in make_data(work))
    model = bare.make_model(work)
    parts = bare.averaged(model)
    flat = torch.cat([part.reshape(-1) for part in parts])
    mine, total = bare.views(flat.clone(), parts), bare.views(torch.zeros_like(flat), parts)
    for turn in range(repeats):
        watch("client: load (bare)", torch._foreach_copy_, parts, mine)
        watch("client: train (bare)", bare.train, model, images[0], labels[0].float(), turn, 0)
        watch(
            "client: add to the sum (bare)",
            lambda: torch._foreach_add_(total, parts, alpha=1 / CLIENTS),
        )
        other = torch.zeros_like(flat)
        watch("server: add the sums (bare)", lambda o: torch.add(o, o, out=flat), other)


def per_round(parts: dict[str, float]) -> dict[str, float]:
    """The parts on the critical path of a round: five clients follow each other in an actor."""
    times = {"client": CLIENTS / PROCESSES, "actor": 1.0, "server": 1.0}
    return {name: value * times[name.partition(":")[0]] for name, value in parts.items()}


class _Watch:
    """Times calls by name."""

    def __init__(self) -> None:
        self.times: dict[str, list[float]] = {}

    def __call__(self, name: str, call: Callable[..., Any], *arguments: Any) -> Any:
        started = time.perf_counter()
        found = call(*arguments)
        self.times.setdefault(name, []).append(time.perf_counter() - started)
        return found


def largest_difference(ours: dict[str, Any], theirs: dict[str, torch.Tensor]) -> float:
    """The largest difference of any trainable weight."""
    assert ours.keys() == theirs.keys()
    return max(float(np.abs(ours[name] - theirs[name].numpy()).max()) for name in ours)
