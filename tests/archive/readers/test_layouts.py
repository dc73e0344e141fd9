"""Layouts and the options they read."""

from pathlib import Path
from typing import Any

import pytest

from raymmfl.archive.readers.layouts import LAYOUTS
from raymmfl.archive.readers.options import Options
from raymmfl.errors import ArchiveError


@pytest.mark.parametrize(
    ("layout", "options"),
    [
        ("reben", {"patch": 64}),
        ("reben", {"countries": Path("countries.csv")}),
        ("bigearthnet_mm", {"seed": 3}),
        ("dynamicworld", {"block": 64}),
        ("synthetic", {"include_snow_cloud": True}),
    ],
)
def test_an_option_without_meaning_is_refused(
    layout: str, options: dict[str, Any], tmp_path: Path
) -> None:
    ((name, value),) = options.items()
    with pytest.raises(ArchiveError, match=f"^{name}={value}: has no meaning in this layout"):
        LAYOUTS[layout].open(tmp_path, Options(**options))


def test_options_as_they_are_by_default_count_as_not_given() -> None:
    assert Options().changed == {}
    assert Options(patch=32, stride=16).changed == {"stride": 16}
