from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from raymmfl.archive.readers.file_patterns import FilePattern, fill, parts_of, problem_of
from raymmfl.errors import ArchiveError

WORD = st.text("abcXYZ019-.", min_size=1, max_size=8).filter(lambda text: text[0] not in ".-")


def touch(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).touch()


def test_parts_in_order() -> None:
    assert parts_of("{a}/{b}_{a}_{band}.tif") == ("a", "b", "band")
    assert FilePattern("{a}/{b}_{a}_{band}.tif").open_parts == ("a", "b")
    assert fill("{a}-{b}", {"a": "1", "b": "{a}"}) == "1-{a}", "values are not filled in again"


def test_the_first_part_takes_as_much_as_it_can(tmp_path: Path) -> None:
    touch(
        tmp_path,
        "s1/Sri_Lanka_17_S1.tif",
        "s1/.hidden_1_S1.tif",
        "s1/other.txt",
        "s1/a/b_1_S1.tif",
    )
    assert FilePattern("s1/{country}_{chip}_S1.tif").find(tmp_path) == [
        {"country": "Sri_Lanka", "chip": "17"}
    ]


def test_letters_with_a_meaning_of_their_own(tmp_path: Path) -> None:
    touch(tmp_path, "s[1]/a.b+c (1).tif", "s1/x.tif")
    assert FilePattern("s[1]/{id} (1).tif").find(tmp_path) == [{"id": "a.b+c"}]


def test_equal_parts_must_be_equal(tmp_path: Path) -> None:
    touch(tmp_path, "p1/p1_B02.tif", "p2/p2_B02.tif")
    pattern = FilePattern("{id}/{id}_{band}.tif").narrowed({"band": "B02"})
    assert pattern.find(tmp_path) == [{"id": "p1"}, {"id": "p2"}]
    touch(tmp_path, "p2/p3_B02.tif")
    with pytest.raises(ArchiveError, match=r"p2/p3_B02\.tif"):
        pattern.find(tmp_path)


@given(WORD, WORD)
def test_a_filled_pattern_is_found_again(
    tmp_path_factory: pytest.TempPathFactory, first: str, second: str
) -> None:
    root = tmp_path_factory.mktemp("root")
    pattern = FilePattern("{a}/x_{b}.tif")
    values = {"a": first, "b": second}
    path = pattern.path(root, values)
    path.parent.mkdir(parents=True)
    path.touch()
    assert pattern.find(root) == [values]


@pytest.mark.parametrize(
    "text", ["", "/abs/{id}.tif", "../{id}.tif", "a/{id.tif", "a/id}.tif", "a/{my id}.tif", "{}"]
)
def test_what_is_no_pattern(text: str) -> None:
    assert problem_of(text)


def test_a_pattern_without_fault() -> None:
    assert problem_of("a b/{id}_{band}.tif") == ""
