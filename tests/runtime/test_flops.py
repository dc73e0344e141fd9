"""Tests of counted training FLOPs against a count by hand."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from raymmfl.algorithms import ALGORITHMS
from raymmfl.archive.partition import partition
from raymmfl.archive.store import Archive
from raymmfl.config import Config
from raymmfl.federation.plan import Plan
from raymmfl.federation.setting import Setting
from raymmfl.runtime.flops import client_flops
from raymmfl.runtime.worker import make_model

Make = Callable[..., Config]


def setting_of(config: Config, archive: Archive) -> Setting:
    clients = tuple(partition(archive, config.clients, config.seed))
    chosen = ALGORITHMS[config.algorithm]
    return Setting(config, chosen, Plan(()), clients, len(archive.targets))


def by_hand(setting: Setting, archive: Archive, sensor: str) -> int:
    """Of one scene, forward and backward: 2 per multiply-add, twice more for both gradients.

    The first convolution needs no gradient of the image.
    """
    total, first = 0, True

    def count(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        nonlocal total, first
        if isinstance(module, nn.Conv2d):
            products = module.weight.numel() * output.shape[2] * output.shape[3]
        elif isinstance(module, nn.Linear):
            products = module.weight.numel()
        else:
            return
        total += 2 * products * (2 if first else 3)
        first = False

    model = make_model(archive, setting, [sensor])
    for module in model.modules():
        module.register_forward_hook(count)
    size, bands = archive.sensors[sensor].size, len(archive.sensors[sensor].bands)
    model.head(model.features(sensor, torch.zeros(1, bands, size, size)))
    return total


@pytest.mark.parametrize("algorithm", ["mf", "local"])
def test_counted_as_by_hand(algorithm: str, tiny: Make, archive: Archive) -> None:
    setting = setting_of(tiny(algorithm=algorithm, train={"epochs": 3}), archive)
    found = client_flops(setting, archive)
    for client in setting.clients:
        (sensor,) = client.sensors
        scene = by_hand(setting, archive, sensor)
        assert found[client.client_id] == 3 * len(client.rows) * scene


def test_the_modules_cost_something(tiny: Make, archive: Archive) -> None:
    sums = {
        name: sum(client_flops(setting_of(tiny(algorithm=name), archive), archive).values())
        for name in ("mf", "mf+fw", "mf+mim", "mf+fw+mim")
    }
    assert sums["mf"] < sums["mf+fw"] < sums["mf+fw+mim"]
    assert sums["mf"] < sums["mf+mim"] < sums["mf+fw+mim"]


def test_a_client_with_both_sensors_pays_for_both(tiny: Make, archive: Archive) -> None:
    single = client_flops(setting_of(tiny(algorithm="mf"), archive), archive)
    whole = client_flops(
        setting_of(tiny(algorithm="mf", clients={"holding": "all"}), archive), archive
    )
    assert sum(whole.values()) == sum(single.values())
