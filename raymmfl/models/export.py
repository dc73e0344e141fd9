"""The final model outside its run: as a file that describes itself, as a module for MLflow."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from raymmfl.config import TaskName, WhiteningConfig
from raymmfl.errors import ConfigError, PredictionError
from raymmfl.models.multimodal import MultiModalNet, build

MODEL_FILE = "model.safetensors"
ENTRY = "raymmfl"


@dataclass(frozen=True)
class ColumnDescription:
    """Bands of a sensor that were trained on in one native pixel size, as in the archive."""

    name: str
    bands: tuple[str, ...]
    size: int
    pixel_m: float


@dataclass(frozen=True)
class SensorDescription:
    """What an encoder takes: its bands in order, and the statistics that standardise them."""

    bands: tuple[str, ...]
    mean: tuple[float, ...]
    std: tuple[float, ...]
    unit: str
    columns: tuple[ColumnDescription, ...]

    @property
    def size(self) -> int:
        """Pixels per side of a training patch on the sensor's finest grid."""
        return max(column.size for column in self.columns)

    @property
    def pixel_m(self) -> float:
        """Side of a pixel of the sensor's finest grid in metres."""
        return max(self.columns, key=lambda column: column.size).pixel_m


@dataclass(frozen=True)
class Description:
    """All that is needed beside the weights to build the model and to feed it.

    Attributes:
        task: what it classifies.
        algorithm: name of the algorithm that trained it.
        backbone: of the encoders.
        norm: wherever whitening is not.
        whitening: its settings; None without whitening.
        projection: length of MIM's embeddings; None without them.
        tied: one trunk for all sensors.
        labels: class names in label order.
        resample: how coarser bands were brought to the finest grid, "bilinear" or "nearest".
        patch: pixels per side of the finest grid trained on.
        sensors: what each encoder takes, in the model's order.
    """

    task: TaskName
    algorithm: str
    backbone: str
    norm: str
    whitening: Mapping[str, Any] | None
    projection: int | None
    tied: bool
    labels: tuple[str, ...]
    resample: str
    patch: int
    sensors: Mapping[str, SensorDescription]

    def metadata(self) -> dict[str, str]:
        """The metadata of ``model.safetensors``.

        One entry: safetensors writes several in a random order, and equal models must be equal
        files.
        """
        return {ENTRY: json.dumps(asdict(self))}

    @staticmethod
    def parse(text: str) -> "Description":
        """Read an entry written by :meth:`metadata`.

        Raises:
            KeyError, TypeError, ValueError, AttributeError: if it is none.
        """
        tree = json.loads(text)
        unknown = tree.keys() - Description.__dataclass_fields__.keys()
        missing = Description.__dataclass_fields__.keys() - tree.keys()
        if unknown or missing:
            raise KeyError(*sorted(missing or unknown))
        sensors = {
            name: SensorDescription(
                bands=tuple(each["bands"]),
                mean=tuple(each["mean"]),
                std=tuple(each["std"]),
                unit=each["unit"],
                columns=tuple(
                    ColumnDescription(c["name"], tuple(c["bands"]), c["size"], c["pixel_m"])
                    for c in each["columns"]
                ),
            )
            for name, each in tree["sensors"].items()
        }
        return Description(**{**tree, "labels": tuple(tree["labels"]), "sensors": sensors})


@dataclass(frozen=True)
class Trained:
    """A model read from a run folder, in evaluation mode on the CPU.

    Attributes:
        net: with its trained weights.
        description: how it was trained and what it takes.
        sha256: of the file.
    """

    net: MultiModalNet
    description: Description
    sha256: str


def load(run: Path) -> Trained:
    """Read the final model of a run folder; nothing else in it, nor the archive, is needed.

    Raises:
        PredictionError: no run folder, a run that is not finished, a file that is damaged or of
            another version, or an algorithm that trains no model of all clients.
    """
    path = run / MODEL_FILE
    if not path.is_file():
        if (run / "config.yaml").is_file():
            raise PredictionError(
                f"{run} has no {MODEL_FILE}: the run is not finished; go on with it first: "
                f"raymmfl resume {run}"
            )
        raise PredictionError(f"{run} is no run folder: it has no {MODEL_FILE}")
    try:
        content = path.read_bytes()
        with safe_open(path, "pt") as file:
            text = (file.metadata() or {}).get(ENTRY)
        arrays = safetensors.torch.load(content)
    except (OSError, SafetensorError, ValueError) as error:
        raise PredictionError(
            f"{path} is damaged or no model ({error}); put the file back, or train again"
        ) from error
    old = "it was written by another version of raymmfl; train again with this one"
    if text is None:
        raise PredictionError(f"{path} does not describe its model: {old}")
    try:
        description = Description.parse(text)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise PredictionError(f"{path} describes its model otherwise ({error}): {old}") from error
    if any("/" in name for name in arrays):
        raise PredictionError(
            f"{path}: {description.algorithm} trains a model per client and none of all; choose "
            "the run of an algorithm that shares its weights, such as mf"
        )
    broken = [name for name, array in arrays.items() if not bool(array.isfinite().all())]
    if broken:
        raise PredictionError(
            f"{path} is damaged: {broken[0]} holds values that are no numbers; put the file back, "
            "or train again"
        )
    try:
        net = _build(description)
        net.load_state_dict(arrays)
    except (RuntimeError, TypeError, ValueError, ConfigError) as error:
        raise PredictionError(f"{path}: weights and description disagree ({error}): {old}") from (
            error
        )
    return Trained(net.eval(), description, hashlib.sha256(content).hexdigest())


def _build(description: Description) -> MultiModalNet:
    whitening = description.whitening
    return build(
        {name: len(sensor.bands) for name, sensor in description.sensors.items()},
        classes=len(description.labels),
        backbone=description.backbone,
        norm=description.norm,
        whitening=None if whitening is None else WhiteningConfig(**whitening),
        projection=description.projection,
        tied=description.tied,
        task=description.task,
    )


class SceneClassifier(nn.Module):
    """Scores scenes from all sensors' bands in their own units.

    Input (B, C, H, W) float32: the bands of the sensors one after the other, as ``bands`` lists
    them, on the finest grid. Output (B, K): logits of the labels.
    """

    def __init__(
        self,
        net: MultiModalNet,
        bands: Mapping[str, Sequence[str]],
        mean: Mapping[str, Sequence[float]],
        std: Mapping[str, Sequence[float]],
    ) -> None:
        super().__init__()
        self.net = net
        self.bands = {sensor: tuple(names) for sensor, names in bands.items()}
        for sensor in bands:
            self.register_buffer(f"mean_{sensor}", torch.tensor(mean[sensor]).view(-1, 1, 1))
            self.register_buffer(f"std_{sensor}", torch.tensor(std[sensor]).view(-1, 1, 1))

    def forward(self, image: Tensor) -> Tensor:
        """Logits (B, K) of images (B, C, H, W)."""
        images = {}
        start = 0
        for sensor, names in self.bands.items():
            part = image[:, start : start + len(names)]
            start += len(names)
            mean, std = self.get_buffer(f"mean_{sensor}"), self.get_buffer(f"std_{sensor}")
            images[sensor] = (part - mean) / std
        logits: Tensor = self.net(images)
        return logits
