"""Tests of where a worker computes."""

import pytest
import torch

from raymmfl.archive.store import Archive
from raymmfl.runtime.worker import Worker


@pytest.mark.parametrize(
    ("given", "seen", "device"),
    [(True, True, "cuda"), (False, True, "cpu"), (True, False, "cpu"), (False, False, "cpu")],
)
def test_only_who_is_given_a_gpu_computes_there(
    given: bool, seen: bool, device: str, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: seen)
    assert Worker(str(archive.path), 1, gpu=given).device.type == device
