"""Tests of the notebooks as they are kept; `make notebooks` executes them."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))
# a home, a temporary folder or a drive of whoever wrote it
MACHINE = re.compile(r"(?<![\w.])(?:/(?:home|root|Users|tmp|work|mnt)/|[A-Z]:\\\\)")


@pytest.fixture(params=NOTEBOOKS, ids=lambda path: path.name)
def text(request: pytest.FixtureRequest) -> str:
    path: Path = request.param
    return path.read_text(encoding="utf-8")


def cells(text: str, kind: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(text)["cells"]
    return [cell for cell in found if cell["cell_type"] == kind]


def source(cell: dict[str, Any]) -> str:
    return "".join(cell["source"])


def test_there_are_three() -> None:
    assert [path.name[:2] for path in NOTEBOOKS] == ["01", "02", "03"]


def test_outputs_are_stripped(text: str) -> None:
    for cell in cells(text, "code"):
        assert (cell["outputs"], cell["execution_count"], cell["metadata"]) == ([], None, {})
        assert source(cell).strip(), "an empty cell"


def test_any_python_kernel_executes_it(text: str) -> None:
    metadata = json.loads(text)["metadata"]
    assert metadata["kernelspec"]["name"] == "python3"
    assert metadata["language_info"] == {"name": "python"}  # no version of anyone's Python


def test_it_names_no_machine(text: str) -> None:
    assert MACHINE.findall(text) == []


def test_it_stays_in_a_temporary_folder_and_says_that_its_data_are_synthetic(text: str) -> None:
    code = "\n".join(map(source, cells(text, "code")))
    assert "tempfile.TemporaryDirectory(" in code
    assert "os.chdir(folder.name)" in code
    assert "No satellite took these pixels" in " ".join(source(cells(text, "markdown")[0]).split())


def test_no_magic_and_no_shell(text: str) -> None:
    lines = [line for cell in cells(text, "code") for line in source(cell).splitlines()]
    assert not [line for line in lines if line.lstrip().startswith(("%", "!"))]
