"""Tests of loading study files, those of the repository among them."""

import sys
from pathlib import Path

import pytest

from raymmfl import configfile
from raymmfl.errors import ConfigError
from raymmfl.tuning.space import check_space
from raymmfl.tuning.studyfile import load_study

HOUSE = Path(__file__).parents[2]
STUDIES = sorted((HOUSE / "tune").glob("*.py"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_studies_of_the_house(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HOUSE)
    study = load_study(path)
    assert study.name == path.stem
    found = check_space(study, configfile.load(study.base, study.overrides))
    assert len(found.points) == 1 + len(study.baselines)
    assert study.trials >= 16
    assert "tune" not in sys.modules


def test_overrides_and_trials_go_on_top(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(HOUSE)
    study = load_study(HOUSE / "tune" / "accuracy_vs_bytes.py", ("rounds=7",), 5)
    assert study.trials == 5
    assert study.overrides[-1] == "rounds=7"
    assert configfile.load(study.base, study.overrides).rounds == 7


GIVEN = """from raymmfl.tuning.study import *
GIVEN = dict(name="x", base="b", space=print, objectives={"val/loss": "min"})
STUDY = Study(**GIVEN | dict("""

BAD = {
    "x = (": ["line 1", "not Python"],
    "a = 1\nb = a / 0": ["line 2", "ZeroDivisionError"],
    "import nowhere_to_be_found": ["line 1", "nowhere_to_be_found"],
    "STUDY = 3": ["STUDY = Study(...)"],
    "from raymmfl.tuning.study import Study\n"
    "STUDY = Study(name='', base='', space=print, objectives={})": ["letters, digits"],
    "import sys\nsys.exit(0)": ["line 2", "SystemExit"],
    "a = '\0'": ["null bytes"],
    **{
        GIVEN + text + "))": ["line 3", *words]
        for text, words in {
            "trails=3": ["Study has no trails; did you mean 'trials'?"],
            "stopping=Stopping(frist=1)": ["Stopping has no frist; did you mean 'first'?"],
            "trials=3.5": ["trials=3.5: it should be a valid integer"],
            "trials=0": ["trials=0: it should be greater than or equal to 1"],
            "seed=-1": ["seed=-1"],
            "seed=None": ["seed=None"],
            "startup=1": ["startup=1"],
            "base=0": ["base=0"],
            "overrides=(3,)": ["overrides.0=3"],
            "baselines=({'train.lr': 0.1})": [
                "baselines={'train.lr': 0.1}: it should be a valid tuple"
            ],
            "objectives={'val/loss': 'up'}": ["'up': it should be 'max' or 'min'"],
            "name='a b'": ["letters, digits"],
            "stopping=Stopping(first=0)": ["first=0"],
            "stopping=Stopping(keep=1)": ["keep=1"],
            "stopping=3": ["stopping=3", "Stopping"],
        }.items()
    },
}


@pytest.mark.parametrize("text", BAD)
def test_a_file_that_is_no_study(text: str, tmp_path: Path) -> None:
    path = tmp_path / "bad.py"
    path.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_study(path)
    for word in ["bad.py", *BAD[text]]:
        assert word in str(caught.value)
    assert not (tmp_path / "__pycache__").exists()


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no such file"):
        load_study(tmp_path / "x.py")
    (tmp_path / "x.yaml").write_text("")
    with pytest.raises(ConfigError, match=r"ends in \.py"):
        load_study(tmp_path / "x.yaml")
