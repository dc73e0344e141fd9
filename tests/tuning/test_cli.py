"""Tests of `raymmfl tune` and `raymmfl sync` at the door: bad input ends before Ray is started."""

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from raymmfl import cli
from raymmfl.config import Config
from raymmfl.configfile import dump
from raymmfl.tuning import record

HOUSE = Path(__file__).parents[2]
STUDY = """
from raymmfl.tuning.study import Study

def space(trial):
    trial.suggest_float("train.lr", 1e-4, 1e-1)

STUDY = Study(name="door", base="base.yaml", space=space, objectives={"mb": "min"})
"""


@pytest.fixture
def refused(
    tiny: Callable[..., Config],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> Callable[..., str]:
    """Calls raymmfl in a folder with a study; returns the sentence with which it ends."""
    monkeypatch.chdir(tmp_path)

    def no_ray(*_: object) -> None:
        pytest.fail("Ray was started")

    monkeypatch.setattr("raymmfl.tuning.launch.connect", no_ray)
    Path("base.yaml").write_text(dump(tiny()))
    Path("study.py").write_text(STUDY)
    Path("odd.py").write_text(STUDY.replace('"mb": "min"', '"val/global/all/f1_makro": "max"'))

    def call(*arguments: str, code: int = 2) -> str:
        before = sorted(Path().rglob("*"))
        assert cli._main(list(arguments), debug=False) == code
        assert sorted(Path().rglob("*")) == before, "nothing half-written"
        said = capsys.readouterr().err
        assert said.startswith("raymmfl: ")
        assert "bug" not in said
        return said

    return call


BAD = {
    ("nowhere.py",): "no such file",
    ("base.yaml",): "ends in .py",
    ("study.py", "train.lr=3"): "not in the space",
    ("study.py", "train.lrr=3"): "did you mean",
    ("study.py", "archive.path=nowhere"): "nowhere",
    ("study.py", "tracking.mlflow=true", "tracking.uri=sqlite://x"): "tracking.uri",
    ("odd.py",): "no run has it; did you mean 'val/global/all/f1_macro'?",
    ("study.py", "--trials", "0"): "--trials 0",
    ("study.py", "--concurrent", "0"): "--concurrent 0",
    ("study.py", "--confirm", "1"): "at least 2 seeds",
    ("study.py", "--top", "0"): "--top 0",
    ("study.py", "--time", "soon"): "--time 'soon'",
    ("study.py", "--resume"): "no study to resume",
}


@pytest.mark.parametrize("arguments", BAD, ids=" ".join)
def test_bad_input(arguments: tuple[str, ...], refused: Callable[..., str]) -> None:
    assert BAD[arguments] in refused("tune", *arguments)


def test_a_folder_that_is_taken(refused: Callable[..., str]) -> None:
    Path("runs/door").mkdir(parents=True)
    Path("runs/door/notes.txt").write_text("mine")
    assert "exists already and is no study" in refused("tune", "study.py")
    shutil.rmtree("runs/door")


def test_a_name_that_exists_with_another_space(refused: Callable[..., str]) -> None:
    from raymmfl import configfile
    from raymmfl.archive.store import Archive
    from raymmfl.tuning.identity import describe
    from raymmfl.tuning.space import check_space
    from raymmfl.tuning.studyfile import load_study

    study = load_study(Path("study.py"))
    base = configfile.load("base.yaml")
    facts = describe(study, base, check_space(study, base), Archive.open(base.archive.path))
    Path("runs/door").mkdir(parents=True)
    record.write_facts(Path("runs/door"), facts)
    assert "continue it with --resume" in refused("tune", "study.py")
    changed = "another base.train.batch_size (16 then, 8 now)"
    assert changed in refused("tune", "study.py", "train.batch_size=8")
    Path("study.py").write_text(STUDY.replace("1e-1", "1e-2"))
    message = refused("tune", "study.py", "--resume")
    assert "another space.train.lr (0.0001 to 0.1 then, 0.0001 to 0.01 now)" in message
    assert "or another name or --out" in message


def test_sync_of_what_it_cannot_send(refused: Callable[..., str]) -> None:
    assert "neither a run nor a study" in refused("sync", "nowhere")
    Path("run").mkdir()
    Path("run/.lock").touch()
    shutil.copy("base.yaml", "run/config.yaml")
    assert "tracking.mlflow=false" in refused("sync", "run")
