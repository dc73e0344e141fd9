"""Tests of who scores what, and of the ledger's sums."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from raymmfl.archive.partition import partition
from raymmfl.archive.store import Archive
from raymmfl.configfile import parse
from raymmfl.federation.ledger import Entry, entries, totals
from raymmfl.federation.setting import Setting
from raymmfl.federation.views import Group, groups, jobs

Arrange = Callable[..., Setting]
REGIONS = np.array(["Finland", "Austria", "Elsewhere", "Austria"])
BOTH = ("S1", "S2")


def memory_of(setting: Setting) -> dict[str, Any]:
    return {each.client_id: {"mark": np.array([i])} for i, each in enumerate(setting.clients)}


def shown(found: list[Group]) -> list[tuple[str, str, list[int], dict[str, list[str]]]]:
    return [
        (g.view, g.name, g.places.tolist(), {s: sorted(m) for s, m in g.memories.items()})
        for g in found
    ]


def test_shared_models_score_everywhere_and_at_home(arrange: Arrange) -> None:
    setting = arrange("mf")
    memory = memory_of(setting)
    own: dict[str, list[str]] = {"S1": ["mark"], "S2": ["mark"]}
    none: dict[str, list[str]] = {"S1": [], "S2": []}
    expected: list[Any] = [
        ("global", "", [0, 1, 2, 3], none),
        ("home", "Austria", [1, 3], own),
        ("home", "Elsewhere", [2], none),  # nobody's home: the merged statistics serve it
        ("home", "Finland", [0], own),
    ]
    for final in (False, True):
        assert shown(groups(setting, REGIONS, BOTH, memory, final)) == expected
    home = groups(setting, REGIONS, BOTH, memory, False)[1]
    assert home.memories["S2"] is memory["Austria/S2"]
    # before its first round a client keeps nothing
    assert shown(groups(setting, REGIONS, BOTH, {}, False))[1] == ("home", "Austria", [1, 3], none)


def test_local_models_score_at_home_and_at_the_end_away(arrange: Arrange) -> None:
    setting = arrange("local", {"holdings": {"Austria": [["S1"]]}})
    memory = memory_of(setting)
    home: list[Any] = [
        ("home", "Austria", [1, 3], {"S1": ["mark"]}),
        ("home", "Finland", [0], {"S1": ["mark"], "S2": ["mark"]}),
    ]
    away: list[Any] = [
        ("away", "Austria", [0, 2], {"S1": ["mark"]}),
        ("away", "Finland", [1, 2, 3], {"S1": ["mark"], "S2": ["mark"]}),
    ]
    assert shown(groups(setting, REGIONS, BOTH, memory, False)) == home
    assert shown(groups(setting, REGIONS, BOTH, memory, True)) == home + away


def test_there_is_no_home_without_regions_or_statistics(arrange: Arrange) -> None:
    for setting in (
        arrange("mf", {"partition": "random", "sites": 2}),
        arrange("mf", model={"norm": "group"}),
        arrange("centralised"),
    ):
        found = groups(setting, REGIONS, BOTH, memory_of(setting), True)
        assert [each.view for each in found] == ["global"]


def test_a_region_with_several_owners_is_no_home(arrange: Arrange, archive: Archive) -> None:
    seasons = np.array(["spring", "summer"])[np.arange(len(archive)) % 2]
    mixed = replace(archive.catalogue, attributes={**archive.attributes, "season": seasons})

    def views(**clients: Any) -> set[str]:
        config = parse({"clients": {"partition": "region+season", **clients}}).clients
        setting = arrange("mf", partition(mixed, config, 0))
        return {each.view for each in groups(setting, REGIONS, BOTH, memory_of(setting), True)}

    assert views() == {"global"}
    assert views(seasons=["summer"]) == {"global", "home"}


def test_jobs_cover_the_scenes_that_have_the_sensor() -> None:
    memory = {"S1": {"a": np.zeros(1)}, "S2": {}}
    group = Group("home", "x", np.array([0, 2, 3, 5, 6]), memory)
    rows = np.arange(7) * 10
    present = {
        "S1": np.array([1, 1, 1, 1, 0, 1, 1], bool),
        "S2": np.array([0, 1, 0, 1, 1, 0, 0], bool),
    }
    found = jobs(group, rows, present, size=2)
    assert [(s, p.tolist(), j.rows.tolist()) for s, p, j in found] == [
        ("S1", [0, 2], [0, 20]),
        ("S1", [3, 5], [30, 50]),
        ("S1", [6], [60]),
        ("S2", [3], [30]),
    ]
    assert all(job.memory is memory[sensor] for sensor, _, job in found)


def test_the_ledger_by_hand() -> None:
    rows = entries(1, "a/S1", "up", {"weights": 100, "moments": 8, "embeddings": 0})
    rows += entries(1, "a/S1", "down", {"weights": 50})
    rows += entries(2, "b/S2", "up", {"weights": 7, "counters": 16})
    assert Entry(1, "a/S1", "up", "weights", 100) in rows
    assert len(rows) == 5  # what did not move has no row
    assert totals(rows) == {
        "up": {"weights": 107, "moments": 8, "counters": 16, "embeddings": 0},
        "down": {"weights": 50, "moments": 0, "counters": 0, "embeddings": 0},
    }
