"""Tests of the runtime without Ray: faults name the client, as they do on actors."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from raymmfl import history
from raymmfl.config import Config
from raymmfl.errors import RunError
from raymmfl.federation.client import client_step
from raymmfl.run import resume, run
from raymmfl.runtime import worker

CULPRIT = "Finland/S1"


def test_code_that_raises_ends_the_run_with_the_clients_name(
    tiny: Callable[..., Config],
    expected: Callable[[Config], dict[str, str]],
    digests: Callable[[Path], dict[str, str]],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    config = tiny(resources={"runtime": "serial"})

    def broken(*arguments: Any) -> Any:
        client, round_index = arguments[3], arguments[5]
        if client.client_id == CULPRIT and round_index == 3:
            raise ValueError("boom")
        return client_step(*arguments)

    monkeypatch.setattr(worker, "client_step", broken)
    with pytest.raises(RunError, match=f"client {CULPRIT} failed: ValueError: boom"):
        run(config, tmp_path / "run")
    assert [line["round"] for line in history.read(tmp_path / "run" / "history.jsonl")] == [1, 2]
    monkeypatch.undo()
    assert digests(resume(tmp_path / "run")) == expected(config)


def test_two_runs_in_a_row_are_the_same_file(
    tiny: Callable[..., Config],
    expected: Callable[[Config], dict[str, str]],
    digests: Callable[[Path], dict[str, str]],
    tmp_path: Path,
) -> None:
    config = tiny(resources={"runtime": "serial"})
    assert digests(run(config, tmp_path / "run")) == expected(config)


def test_an_undeclared_array_never_reaches_the_sum(
    tiny: Callable[..., Config], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def leak(*arguments: Any) -> Any:
        update, memory, losses = client_step(*arguments)
        if arguments[3].client_id == CULPRIT:
            update.arrays["pixels"] = np.ones(7, np.float32)
        return update, memory, losses

    monkeypatch.setattr(worker, "client_step", leak)
    out = run(tiny(resources={"runtime": "serial"}, rounds=1), tmp_path / "run")
    (line,) = history.read(out / "history.jsonl")
    assert list(line["clients"]["refused"]) == [CULPRIT]
    assert "pixels" in line["clients"]["refused"][CULPRIT]
    assert line["clients"]["accepted"] == 3
