"""The whole model: an encoder per sensor, one linear head, a projection head for MIM.

Names in the state: ``stems.<sensor>.*`` and ``trunks.<sensor>.*`` belong to a sensor (with one
trunk for all sensors it is ``trunk.*``), ``head.*`` and ``projection.*`` to everyone.

Every tensor starts from a seed made of its own name, so that a client which holds one sensor
builds bit for bit the tensors that the full model has under the same names. The global random
state is neither read nor moved.

Shapes: B batch, C bands, H W pixels, D features, K classes, E length of an embedding.
"""

import math
from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from raymmfl.config import WhiteningConfig
from raymmfl.errors import ConfigError
from raymmfl.models.backbones import BACKBONES, Backbone, NormFactory, norm_factory
from raymmfl.models.whitening import GroupWhitening
from raymmfl.seeds import derive


class MultiModalNet(nn.Module):
    """Encoders of one or several sensors under a shared head; made by :func:`build`.

    Attributes:
        sensors: band count per sensor, in order.
        stems: first layers per sensor.
        trunks: remaining layers per sensor; empty when tied.
        trunk: the one trunk of all sensors; None unless tied.
        head: linear, D to K.
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
    ) -> None:
        """Put the parts together; their values are set by :func:`build`."""
        super().__init__()
        self.sensors = dict(sensors)
        self.classes = classes
        self.features_length = backbone.features
        self.stems = nn.ModuleDict(
            {sensor: backbone.stem(bands, norm) for sensor, bands in sensors.items()}
        )
        self.trunks = nn.ModuleDict(
            {} if tied else {sensor: backbone.trunk(norm) for sensor in sensors}
        )
        self.trunk = backbone.trunk(norm) if tied else None
        self.head = nn.Linear(backbone.features, classes)
        self.projection = (
            nn.Sequential(
                nn.Linear(backbone.features, backbone.features),
                nn.ReLU(),
                nn.Linear(backbone.features, projection),
            )
            if projection is not None
            else None
        )

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
        trunk = self.trunks[sensor] if self.trunk is None else self.trunk
        maps: Tensor = trunk(self.stems[sensor](image_BCHW))
        return maps.mean((2, 3))

    def embed(self, feature_BD: Tensor) -> Tensor:
        """Project features to the vectors that MIM compares: (B, E), each of length one.

        Raises:
            RuntimeError: if the model was built without a projection.
        """
        if self.projection is None:
            raise RuntimeError("this model was built without a projection: MIM is off")
        return F.normalize(self.projection(feature_BD), dim=1)

    def forward(self, images: Mapping[str, Tensor]) -> Tensor:
        """Score scenes by the mean of the present sensors' features.

        The head is linear, so this is the mean of the sensors' own logits.

        Args:
            images: per sensor, (B, C, H, W) of the same B scenes; sensors may be missing.

        Returns:
            Logits, (B, K).

        Raises:
            ValueError: if no image is given.
        """
        if not images:
            raise ValueError("no sensor's images were given")
        # In the model's own order, so that the caller's order cannot change the last bit.
        present = [sensor for sensor in self.sensors if sensor in images]
        if len(present) < len(images):
            unknown = sorted(set(images) - set(present))
            raise ValueError(f"no encoder for {unknown}: the model has {list(self.sensors)}")
        features = [self.features(sensor, images[sensor]) for sensor in present]
        logits_BK: Tensor = self.head(torch.stack(features).mean(0))
        return logits_BK


def build(
    sensors: Mapping[str, int],
    classes: int,
    backbone: str,
    norm: str = "batch",
    whitening: WhiteningConfig | None = None,
    projection: int | None = None,
    tied: bool = False,
    seed: int = 0,
) -> MultiModalNet:
    """Build a model whose every tensor follows from the seed and the tensor's name.

    Convolutions start Kaiming normal by fan out and the projection's linear layers by fan in
    (He et al., ICCV 2015), the head uniform within 1 / sqrt(D) so that first scores are small,
    biases at zero, normalisations as the identity.

    Args:
        sensors: band count per sensor name.
        classes: number of labels, K.
        backbone: a name in ``BACKBONES``.
        norm: ``batch`` or ``group``, wherever whitening is not.
        whitening: FW's settings; None for no whitening.
        projection: length of the embeddings E; None for no projection head.
        tied: sensor-specific stems, one trunk for all sensors.
        seed: the run's seed.

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
        )
    _start(model, seed)
    return model


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
            if prefix == "head":
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
