"""A client's round as a pure function: (broadcast, task, own data, seed) -> (update, memory)."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray

from raymmfl.archive.partition import Client
from raymmfl.federation.aggregate import Flat
from raymmfl.federation.exchange import Embeddings, pack
from raymmfl.federation.plan import Plan
from raymmfl.federation.setting import Setting
from raymmfl.federation.update import Memory, Task, Update
from raymmfl.federation.wire import decode, encode
from raymmfl.learning.batches import Images
from raymmfl.learning.training import Mim, train
from raymmfl.models.multimodal import MultiModalNet


def client_step(
    setting: Setting,
    model: MultiModalNet,
    images: Images,
    client: Client,
    broadcast: Flat,
    round_index: int,
    task: Task,
    initial: Memory,
) -> tuple[Update, Memory, dict[str, float]]:
    """Play one client's round.

    Args:
        setting: configuration, algorithm and sharing plan.
        model: with the client's encoders; every tensor of it is overwritten first.
        images: the archive.
        client: who and which scenes.
        broadcast: the global state as received.
        round_index: from 1.
        task: what the server addressed to this client.
        initial: the untrained model, from which arrays that are never shared start.

    Returns:
        The update, whose arrays are views of the model and last until it plays again; the
        client's memory; its losses.
    """
    config = setting.config
    load(setting.plan, model, broadcast, {**unshared(setting.plan, initial), **task.memory})
    mim = None
    if setting.algorithm.mim:
        partners = {sensor: parcel.open() for sensor, parcel in task.inbox.items()}
        mim = Mim(
            config.mim,
            {sensor: (each.rows, each.vectors) for sensor, each in partners.items()},
            active=config.mim.weight > 0 and round_index >= config.mim.first_round,
            upload=config.mim.weight > 0 and round_index < config.rounds,
        )
    trained = train(
        model,
        images,
        client.sensors,
        client.rows,
        config.train,
        mim,
        (config.seed, round_index, client.client_id),
    )
    state = {name: tensor.detach().cpu().numpy() for name, tensor in model.state_dict().items()}
    arrays = {slot.name: state[slot.name] for slot in setting.plan.shared(client.sensors)}
    parcels = {
        sensor: pack(Embeddings(*vectors), config.wire.embeddings)
        for sensor, vectors in trained.embeddings.items()
    }
    return Update(arrays, parcels), remember(setting.plan, state), trained.losses


def load(plan: Plan, model: MultiModalNet, broadcast: Flat, memory: Memory) -> None:
    """Fill a model with the broadcast, overlaid with what a client keeps for itself.

    A client continues its own running statistics, with which the home view scores, instead of
    the merged ones. For the merged statistics that changes nothing while all clients take part
    with as many batches: a running average is linear in where it starts.
    """
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            kept = memory.get(name)
            array = broadcast.read(plan, plan.by_name[name]) if kept is None else kept
            if tensor.device.type == "cpu":  # NumPy copies from Ray's read-only store as well
                np.copyto(tensor.numpy(), array)
            else:
                tensor.copy_(torch.from_numpy(np.array(array)))


def unshared(plan: Plan, arrays: Mapping[str, NDArray[np.generic]]) -> Memory:
    """The arrays that the plan keeps on their client."""
    return {name: array for name, array in arrays.items() if plan.by_name[name].scope == "client"}


def remember(plan: Plan, state: dict[str, NDArray[np.generic]]) -> Memory:
    """What the client keeps: its own normalisation statistics and all that never leaves it."""
    return {
        name: array.copy()
        for name, array in state.items()
        if plan.by_name[name].scope == "client" or plan.by_name[name].kind != "weights"
    }


def through_wire(setting: Setting, update: Update) -> tuple[Update, dict[str, int]]:
    """The update as the server receives it, and the bytes it took by purpose."""
    wire = setting.config.wire.weights
    sizes = {"weights": 0, "moments": 0, "counters": 0}
    arrays: dict[str, NDArray[np.generic]] = {}
    for name, array in update.arrays.items():
        slot = setting.plan.by_name.get(name)
        if slot is None or slot.kind != "weights":
            arrays[name] = array
            sizes["moments" if slot is None else slot.kind] += array.nbytes
            continue
        encoded = encode(array.reshape(-1).view(np.float32), wire)
        sizes["weights"] += encoded.nbytes
        arrays[name] = decode(encoded).reshape(array.shape)
    embeddings = sum(parcel.nbytes for parcel in update.embeddings.values())
    return Update(arrays, update.embeddings), {**sizes, "embeddings": embeddings}
