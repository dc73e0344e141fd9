"""Tests of what Ray Tune's machine says of itself."""

from types import SimpleNamespace

import pytest

from raymmfl.tuning.launch import PATIENCE_S, Results


def test_a_long_wait_for_a_place_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("raymmfl.tuning.launch.time.monotonic", lambda: clock[0])
    said: list[str] = []
    results = Results(lambda config, result: None, said.append)

    def step(status: str, seconds: float) -> int:
        clock[0] += seconds
        results.on_step_begin(1, [SimpleNamespace(status=status)])
        return len(said)

    assert step("PENDING", PATIENCE_S - 1) == 0
    assert step("PENDING", 2) == 1
    assert step("PENDING", 1) == 1
    assert step("RUNNING", PATIENCE_S) == 1
    assert step("PENDING", PATIENCE_S - 1) == 1
    assert step("PENDING", 2) == 2
    assert said[0].startswith("waiting: ")
