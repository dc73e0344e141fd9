"""Tests of what makes a study the same study."""

from pathlib import Path
from typing import Any

import pytest

from raymmfl.errors import CheckpointError
from raymmfl.tuning import record
from raymmfl.tuning.identity import earlier
from tests.tuning.by_hand import make_facts

FACTS = make_facts(
    trials=4,
    base={"rounds": 3, "resources": {"actors": 2, "cpus": 1.0, "gpus": 0.0, "threads": 1}},
)


def changed(**resources: Any) -> dict[str, Any]:
    base = FACTS["base"]
    return FACTS | {"base": base | {"resources": base["resources"] | resources}}


def test_another_machine_may_continue_it(tmp_path: Path) -> None:
    record.write_facts(tmp_path, FACTS)
    found = earlier(tmp_path, changed(actors=1, cpus=0.5, gpus=0.5) | {"trials": 9}, resume=True)
    assert found is not None
    assert found.facts["trials"] == 4


def test_threads_are_part_of_the_result(tmp_path: Path) -> None:
    record.write_facts(tmp_path, FACTS)
    with pytest.raises(CheckpointError, match=r"base\.resources\.threads \(1 then, 2 now\)"):
        earlier(tmp_path, changed(threads=2), resume=True)


def test_a_lock_that_a_killed_process_left_is_nothing(tmp_path: Path) -> None:
    (tmp_path / ".lock").touch()
    assert earlier(tmp_path, FACTS, resume=False) is None
    (tmp_path / "mine.txt").touch()
    with pytest.raises(CheckpointError, match="is no study"):
        earlier(tmp_path, FACTS, resume=False)
