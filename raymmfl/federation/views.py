"""Which model scores which scene: the global view, the home view, and models away from home.

- ``global``: one model for every scene, with merged statistics (the published setting).
- ``home``: the same weights with the statistics that the region's own client keeps; for
  ``local``, the region's own model.
- ``away`` (``local`` only): every region's models on the scenes of all other regions.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from raymmfl.federation.setting import Setting
from raymmfl.federation.update import Memory, Scoring

FloatArray = NDArray[np.float32]
Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Group:
    """Scenes scored by one set of models.

    Attributes:
        view: ``global``, ``home`` or ``away``.
        name: which part of the view (the model's region for ``away``); parts of ``home`` are
            scored together, those of ``away`` one by one.
        places: where its scenes stand in the split.
        memories: per sensor, what overlays the global state; a sensor that is left out has no
            model here.
    """

    view: str
    name: str
    places: Rows
    memories: Mapping[str, Memory]

    @property
    def scored_as(self) -> tuple[str, str]:
        """View and part: groups of the home view are scored together, those away one by one."""
        return self.view, self.name if self.view == "away" else ""


def groups(
    setting: Setting,
    regions: NDArray[np.str_],
    sensors: Sequence[str],
    memory: Mapping[str, Memory],
    final: bool,
) -> list[Group]:
    """Who scores the scenes of a split.

    Args:
        setting: the training.
        regions: (n,) region of each scene of the split.
        sensors: the run's sensors.
        memory: what each client keeps.
        final: also score models away from home, which costs as many passes as there are regions.
    """
    everywhere = np.arange(len(regions))
    shares = setting.algorithm.shares
    found = []
    if shares:
        found.append(Group("global", "", everywhere, {sensor: {} for sensor in sensors}))
    owners = _owners(setting)
    if owners and (not shares or any(slot.kind == "moments" for slot in setting.plan.slots)):
        for region in sorted(set(map(str, regions))):
            # a region without a client for a sensor is served by the global statistics
            memories: dict[str, Memory] = {sensor: {} for sensor in sensors} if shares else {}
            held = owners.get(region, {})
            memories |= {sensor: memory.get(each, {}) for sensor, each in held.items()}
            found.append(Group("home", region, np.flatnonzero(regions == region), memories))
    if not shares and (final or not owners):
        for site, held in (owners or _alone(setting)).items():
            memories = {sensor: memory.get(each, {}) for sensor, each in held.items()}
            found.append(Group("away", site, np.flatnonzero(regions != site), memories))
    return [group for group in found if group.places.size and group.memories]


def jobs(
    group: Group, rows: Rows, present: Mapping[str, NDArray[np.bool_]], size: int
) -> list[tuple[str, Rows, Scoring]]:
    """The group's scoring jobs: (sensor, places in the split, job), cut the same for any fleet.

    Args:
        group: who scores.
        rows: (n,) scene rows of the split.
        present: per sensor, (n,) whether each scene has it.
        size: most scenes of one job.
    """
    found = []
    for sensor, memory in group.memories.items():
        places = group.places[present[sensor][group.places]]
        for start in range(0, len(places), size):
            part = places[start : start + size]
            found.append((sensor, part, Scoring(sensor, rows[part], memory)))
    return found


def _owners(setting: Setting) -> dict[str, dict[str, str]]:
    """Region -> sensor -> client id; empty where sites are not regions."""
    owners: dict[str, dict[str, str]] = {}
    for client in setting.clients:
        if client.region is not None:
            for sensor in client.sensors:
                owners.setdefault(client.region, {}).setdefault(sensor, client.client_id)
    return owners


def _alone(setting: Setting) -> dict[str, dict[str, str]]:
    return {
        client.client_id: dict.fromkeys(client.sensors, client.client_id)
        for client in setting.clients
    }
