"""Fixtures of the studies' tests."""

from collections.abc import Callable
from pathlib import Path

import pytest

from raymmfl.config import Config
from raymmfl.configfile import dump


@pytest.fixture
def base_file(tiny: Callable[..., Config], tmp_path: Path) -> Path:
    """A small configuration on disk, of runs without MLflow."""
    path = tmp_path / "base.yaml"
    path.write_text(dump(tiny(rounds=3)))
    return path
