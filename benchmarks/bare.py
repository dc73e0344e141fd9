"""The bare loop: two processes, shared memory and nothing else, doing a round's work.

Each process takes the next client, loads the global state, trains, and adds the result to its own
float32 sum; the parent adds the two sums. Data stay in memory. Only the model is the package's.
"""

import multiprocessing
from multiprocessing.connection import Connection
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits

from benchmarks.workload import (
    BANDS,
    BATCH,
    CLIENTS,
    LABELS,
    RATE,
    SEED,
    SENSOR,
    Work,
    make_data,
    order,
)
from raymmfl.models.multimodal import MultiModalNet, build
from raymmfl.runtime.memory import keep_freed_memory

PROCESSES = 2


def make_model(work: Work) -> MultiModalNet:
    """The untrained model that ours starts from as well."""
    return build({SENSOR: BANDS}, len(LABELS), work.backbone, seed=SEED)


class BareLoop:
    """Two persistent processes and the state they share.

    Args:
        work: what to train.
        keep: let malloc keep freed memory, as our client actors do; a plain loop does not.
    """

    def __init__(self, work: Work, keep: bool = False) -> None:
        model = make_model(work)
        self.names = [name for name, _ in model.named_parameters()]
        self.shapes = [parameter.shape for parameter in model.parameters()]
        # parameters first, then the running statistics, in one vector
        self.state = torch.cat([part.detach().reshape(-1) for part in averaged(model)])
        self.sums = [torch.zeros_like(self.state) for _ in range(PROCESSES)]
        for vector in (self.state, *self.sums):
            vector.share_memory_()  # type: ignore[no-untyped-call]
        context: Any = multiprocessing.get_context("spawn")
        self.next = context.Value("i", 0)
        self.round_index = 0
        self.pipes: list[Connection] = []
        self.processes = []
        for own in self.sums:
            ours, theirs = context.Pipe()
            process = context.Process(
                target=serve, args=(theirs, work, self.state, own, self.next, keep), daemon=True
            )
            process.start()
            self.pipes.append(ours)
            self.processes.append(process)

    def round(self) -> float:
        """One round; returns the mean loss."""
        self.round_index += 1
        self.next.value = 0
        for pipe in self.pipes:
            pipe.send(self.round_index)
        loss: float = sum(pipe.recv() for pipe in self.pipes)
        torch.add(self.sums[0], self.sums[1], out=self.state)
        return loss / CLIENTS

    def weights(self) -> dict[str, Tensor]:
        """The trainable weights by name."""
        sizes = [shape.numel() for shape in self.shapes]
        parts = torch.split(self.state[: sum(sizes)], sizes)
        return {
            name: part.view(shape)
            for name, part, shape in zip(self.names, parts, self.shapes, strict=True)
        }

    def close(self) -> None:
        """Stop the processes."""
        for pipe in self.pipes:
            pipe.send(None)
        for process in self.processes:
            process.join()


def averaged(model: MultiModalNet) -> list[Tensor]:
    """What is averaged: parameters and floating statistics (counters are not)."""
    statistics = [each for each in model.buffers() if each.is_floating_point()]
    return [*(parameter.data for parameter in model.parameters()), *statistics]


def views(vector: Tensor, parts: list[Tensor]) -> list[Tensor]:
    """Views of a flat vector in the shapes of the parts."""
    pieces = torch.split(vector, [part.numel() for part in parts])
    return [piece.view(part.shape) for piece, part in zip(pieces, parts, strict=True)]


def serve(
    pipe: Connection, work: Work, state: Tensor, own: Tensor, following: Any, keep: bool
) -> None:
    """A process: play clients until there are none left, then wait for the next round."""
    if keep:
        keep_freed_memory()
    torch.set_num_threads(1)
    model = make_model(work)
    arrays, targets = make_data(work)
    images = torch.from_numpy(arrays)
    labels = torch.from_numpy(targets).float()
    mine = averaged(model)
    globally, total = views(state, mine), views(own, mine)
    while (round_index := pipe.recv()) is not None:
        own.zero_()
        loss = 0.0
        while True:
            with following.get_lock():
                client = following.value
                following.value += 1
            if client >= CLIENTS:
                break
            torch._foreach_copy_(mine, globally)
            loss += train(model, images[client], labels[client], round_index, client)
            torch._foreach_add_(total, mine, alpha=1 / CLIENTS)
        pipe.send(loss)


def train(
    model: MultiModalNet, images: Tensor, labels: Tensor, round_index: int, client: int
) -> float:
    """One local epoch; returns the mean loss."""
    optimizer = torch.optim.SGD(model.parameters(), RATE, fused=True)
    model.train()
    total = 0.0
    batches = torch.split(torch.from_numpy(order(round_index, client, len(images))), BATCH)
    for batch in batches:
        logits = model.head(model.features(SENSOR, images[batch]))
        loss = binary_cross_entropy_with_logits(logits, labels[batch])
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        total += float(loss.detach())
    return total / len(batches)
