"""The whole model: an encoder per sensor, one shared head, a projection head for MIM.

The head is linear on averaged maps (labels of scenes) or a decoder (a class for every pixel).

Names in the state: ``stems.<sensor>.*`` and ``trunks.<sensor>.*`` belong to a sensor (with one
trunk for all sensors it is ``trunk.*``), ``head.*`` and ``projection.*`` to everyone.

Every tensor starts from a seed made of its own name, so that a client which holds one sensor
builds bit for bit the tensors that the full model has under the same names. The global random
state is neither read nor moved.

Shapes: B batch, C bands, H W pixels, D features, K classes, E length of an embedding. Logits are
(B, K) for scenes and (B, K, H, W) for pixels.
"""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from raymmfl.config import TaskName, WhiteningConfig
from raymmfl.errors import ConfigError
from raymmfl.models.backbones import BACKBONES, Backbone, NormFactory, norm_factory, pyramid
from raymmfl.models.decoder import Decoder
from raymmfl.models.whitening import GroupWhitening
from raymmfl.seeds import derive


class MultiModalNet(nn.Module):
    """Encoders of one or several sensors under a shared head; made by :func:`build`.

    Attributes:
        sensors: band count per sensor, in order.
        task: what the head predicts.
        stride: pixels of the image per pixel of an encoder's output, along one side.
        stems: first layers per sensor.
        trunks: remaining layers per sensor; empty when tied.
        trunk: the one trunk of all sensors; None unless tied.
        head: linear, D to K; or a decoder of the encoder's maps.
        projection: D to E, or None.
    """

    def __init__(
        self,
        sensors: Mapping[str, int],
        classes: int,
        backbone: Backbone,
        norm: NormFactory,
        projection: int | None,
        tied: bool,
        task: TaskName,
    ) -> None:
        """Put the parts together; their values are set by :func:`build`."""
        super().__init__()
        self.sensors = dict(sensors)
        self.classes = classes
        self.task = task
        self.features_length = backbone.features
        self.stride = backbone.stride
        self.stems = nn.ModuleDict(
            {sensor: backbone.stem(bands, norm) for sensor, bands in sensors.items()}
        )
        self.trunks = nn.ModuleDict(
            {} if tied else {sensor: backbone.trunk(norm) for sensor in sensors}
        )
        self.trunk = backbone.trunk(norm) if tied else None
        self.head = (
            nn.Linear(backbone.features, classes)
            if task == "scenes"
            else Decoder(backbone.scales, classes, norm)
        )
        self.projection = (
            nn.Sequential(
                nn.Linear(backbone.features, backbone.features),
                nn.ReLU(),
                nn.Linear(backbone.features, projection),
            )
            if projection is not None
            else None
        )

    def encoder(self, sensor: str) -> tuple[nn.Sequential, nn.Sequential]:
        """A sensor's stem and trunk.

        Raises:
            KeyError: if the model has no such sensor.
        """
        trunk = self.trunks[sensor] if self.trunk is None else self.trunk
        stem = self.stems[sensor]
        assert isinstance(stem, nn.Sequential) and isinstance(trunk, nn.Sequential)
        return stem, trunk

    def features(self, sensor: str, image_BCHW: Tensor) -> Tensor:
        """Encode one sensor's images and average over the grid.

        Args:
            sensor: a name in ``sensors``.
            image_BCHW: standardised bands, float32.

        Returns:
            (B, D).

        Raises:
            KeyError: if the model has no such sensor.
        """
        stem, trunk = self.encoder(sensor)
        maps: Tensor = trunk(stem(image_BCHW))
        return maps.mean((2, 3))

    def answer(self, sensor: str, image_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """One sensor's features, (B, D), and logits, from one forward pass.

        Args:
            sensor: a name in ``sensors``.
            image_BCHW: standardised bands, float32; for pixels of any size from ``stride`` on.

        Raises:
            KeyError: if the model has no such sensor.
        """
        if isinstance(self.head, nn.Linear):
            feature_BD = self.features(sensor, image_BCHW)
            return feature_BD, self.head(feature_BD)
        maps = pyramid(*self.encoder(sensor), image_BCHW)
        height, width = image_BCHW.shape[2:]
        return maps[-1].mean((2, 3)), self.head(maps, (height, width))

    def embed(self, feature_BD: Tensor) -> Tensor:
        """Project features to the vectors that MIM compares: (B, E), each of length one.

        Raises:
            RuntimeError: if the model was built without a projection.
        """
        if self.projection is None:
            raise RuntimeError("this model was built without a projection: MIM is off")
        return F.normalize(self.projection(feature_BD), dim=1)

    def forward(self, images: Mapping[str, Tensor]) -> Tensor:
        """Score scenes, or all their pixels, by the mean of the present sensors' logits.

        Args:
            images: per sensor, (B, C, H, W) of the same B scenes; sensors may be missing.

        Returns:
            Logits, (B, K) or (B, K, H, W).

        Raises:
            ValueError: if no image is given, or one of a sensor the model has not.
        """
        if not images:
            raise ValueError("no sensor's images were given")
        # In the model's own order, so that the caller's order cannot change the last bit.
        present = [sensor for sensor in self.sensors if sensor in images]
        if len(present) < len(images):
            unknown = sorted(set(images) - set(present))
            raise ValueError(f"no encoder for {unknown}: the model has {list(self.sensors)}")
        logits = [self.answer(sensor, images[sensor])[1] for sensor in present]
        return torch.stack(logits).mean(0)


def build(
    sensors: Mapping[str, int],
    classes: int,
    backbone: str,
    norm: str = "batch",
    whitening: WhiteningConfig | None = None,
    projection: int | None = None,
    tied: bool = False,
    seed: int = 0,
    task: TaskName = "scenes",
) -> MultiModalNet:
    """Build a model whose every tensor follows from the seed and the tensor's name.

    Convolutions start Kaiming normal by fan out and the projection's linear layers by fan in
    (He et al., ICCV 2015), the layer that ends in the classes uniform within 1 / sqrt(its input
    channels) so that first scores are small, biases at zero, normalisations as the identity.

    Args:
        sensors: band count per sensor name.
        classes: number of labels, K.
        backbone: a name in ``BACKBONES``.
        norm: ``batch`` or ``group``, wherever whitening is not.
        whitening: FW's settings; None for no whitening.
        projection: length of the embeddings E; None for no projection head.
        tied: sensor-specific stems, one trunk for all sensors.
        seed: the run's seed.
        task: labels of scenes, or a class for every pixel.

    Raises:
        ConfigError: on an unknown backbone or norm, no sensor, a sensor name that cannot stand in
            a state name, or a whitening group that does not divide the channels.
    """
    if backbone not in BACKBONES:
        raise ConfigError(
            f"model.backbone: {backbone!r} is unknown; choose one of {', '.join(BACKBONES)}"
        )
    if not sensors:
        raise ConfigError("a model needs at least one sensor")
    for sensor in sensors:
        if not sensor or "." in sensor or hasattr(nn.ModuleDict, sensor):
            raise ConfigError(
                f"sensor name {sensor!r} cannot stand in the names of a model's weights: "
                "use letters, digits, '-' and '_'"
            )
    # The modules' own first values come from the global stream, which is put back; all of them
    # are replaced. (The meta device would draw none, but imports a second of code per process.)
    with torch.random.fork_rng(devices=[]):
        model = MultiModalNet(
            sensors,
            classes,
            BACKBONES[backbone],
            norm_factory(norm, whitening),
            projection,
            tied,
            task,
        )
    _start(model, seed)
    return model


def fuse(parts: Sequence[tuple[NDArray[np.int64], Tensor]], scenes: int) -> Tensor:
    """Mean over the sensors that each scene has.

    Args:
        parts: per sensor, the places (b,) of its scenes, ascending, and their values (b, ...);
            every scene has at least one sensor.
        scenes: how many scenes, B.

    Returns:
        (B, ...).
    """
    _, first = parts[0]
    if len(parts) == 1:
        return first
    total = first.new_zeros(scenes, *first.shape[1:])
    count = first.new_zeros(scenes, *[1] * (first.dim() - 1))
    for places, values in parts:
        index = torch.from_numpy(places).to(values.device)
        total = total.index_add(0, index, values)
        count[index] += 1
    return total / count


def sensor_of(name: str) -> str | None:
    """The sensor that a state entry belongs to; None if it is shared by all.

    Args:
        name: a key of ``state_dict()``, such as ``trunks.S1.stage1.0.conv1.weight``.
    """
    part, _, rest = name.partition(".")
    return rest.split(".", 1)[0] if part in ("stems", "trunks") else None


@torch.no_grad()
def _start(model: MultiModalNet, seed: int) -> None:
    """Give every parameter and buffer its first value."""
    for prefix, module in model.named_modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            random = torch.Generator().manual_seed(derive(seed, "init", f"{prefix}.weight"))
            weight = module.weight
            if prefix in ("head", "head.classify"):
                bound = 1 / math.sqrt(module.weight.shape[1])
                weight.uniform_(-bound, bound, generator=random)
            elif isinstance(module, nn.Conv2d):
                fan_out = weight.shape[0] * math.prod(weight.shape[2:])
                weight.normal_(0, math.sqrt(2 / fan_out), generator=random)
            else:
                weight.normal_(0, math.sqrt(2 / weight.shape[1]), generator=random)
            if module.bias is not None:
                module.bias.zero_()
        elif isinstance(module, nn.BatchNorm2d | nn.GroupNorm | GroupWhitening):
            module.reset_parameters()
        else:
            assert not list(module.parameters(recurse=False)), f"{prefix} has no first values"
            assert not list(module.buffers(recurse=False)), f"{prefix} has no first values"
