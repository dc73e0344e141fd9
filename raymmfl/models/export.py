"""The final model as one module from measured values to class scores, for MLflow."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from raymmfl.models.multimodal import MultiModalNet


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
