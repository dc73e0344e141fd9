"""Make a sharing plan from a model, by the types of its modules (never by names alone).

MF is the plan "encoders: modality, head: all"; FedAvg with sensor-specific stems is "stems:
modality, the rest: all"; ``local`` is "everything: client". A tensor's sensor decides between
`all` and `modality`, its module's type decides how it merges.
"""

from typing import Literal

from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from raymmfl.federation.plan import Kind, Merge, Plan, Scope, Slot
from raymmfl.models.multimodal import sensor_of
from raymmfl.models.whitening import GroupWhitening

# buffer -> the buffer of the same module that holds its mean (None: it is the mean itself)
_STATISTICS: tuple[tuple[type[nn.Module], dict[str, str | None]], ...] = (
    (_BatchNorm, {"running_mean": None, "running_var": "running_mean"}),
    (GroupWhitening, {"running_mean": None, "running_cov": "running_mean"}),
)


def resolve(model: nn.Module, shares: bool, statistics: Literal["moments", "mean"]) -> Plan:
    """The plan of a model holding every sensor.

    Args:
        model: with ``stems.<sensor>``, ``trunks.<sensor>`` or ``trunk``, ``head``, ``projection``.
        shares: False keeps every slot on its client.
        statistics: how running means and (co)variances of normalisations merge.

    Raises:
        TypeError: for a buffer whose merging is not known (our bug, not the user's).
    """
    parameters = {name for name, _ in model.named_parameters()}
    state = model.state_dict()
    slots = []
    for name, tensor in state.items():
        sensor = sensor_of(name)
        kind: Kind = "weights"
        merge: Merge = "mean"
        mean = None
        if name not in parameters:
            kind, merge, mean = _buffer(model, name, statistics)
        scope: Scope = "client" if not shares else "modality" if sensor else "all"
        slots.append(Slot(name, tuple(tensor.shape), kind, sensor, scope, merge, mean))
    return Plan(tuple(slots))


def _buffer(
    model: nn.Module, name: str, statistics: Literal["moments", "mean"]
) -> tuple[Kind, Merge, str | None]:
    path, _, leaf = name.rpartition(".")
    module = model.get_submodule(path)
    if leaf == "num_batches_tracked":
        return "counters", "max", None
    for kind, names in _STATISTICS:
        if isinstance(module, kind) and leaf in names:
            mean = names[leaf]
            return "moments", statistics, f"{path}.{mean}" if mean else None
    raise TypeError(f"no merging is known for the buffer {name} of {type(module).__name__}")
