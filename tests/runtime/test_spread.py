"""Work over Ray: the same archive, errors as they are, dead workers replaced."""

import os
import signal
from pathlib import Path

import pytest

from raymmfl.archive.packing.pack import pack
from raymmfl.archive.readers.layouts import LAYOUTS
from raymmfl.archive.readers.options import Options
from raymmfl.archive.synthetic.tiles import synthesise
from raymmfl.errors import ArchiveError, ResourceError, RunError
from raymmfl.runtime.spread import over_ray

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("ray_cluster")]


def test_every_item_once() -> None:
    results = sorted(over_ray(3)(lambda item: item * item, list(range(1, 20))))
    assert results == [item * item for item in range(1, 20)]
    assert list(over_ray(3)(lambda item: item, [])) == []


def test_errors_of_ours_pass_and_others_are_told() -> None:
    def fail(item: int) -> int:
        raise ArchiveError("a.tif: cut off") if item else ZeroDivisionError("by 0")

    with pytest.raises(ArchiveError, match=r"^a\.tif: cut off$"):
        list(over_ray(1)(fail, [7]))
    with pytest.raises(RunError, match="0 failed: ZeroDivisionError: by 0"):
        list(over_ray(1)(fail, [0]))


def test_a_dead_worker_is_replaced(tmp_path: Path) -> None:
    def die_once(item: int) -> int:
        mark = tmp_path / f"{item}"
        if item == 2 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return item

    assert sorted(over_ray(2)(die_once, [1, 2, 3])) == [1, 2, 3]
    assert (tmp_path / "2").exists()


def test_a_worker_that_always_dies_is_told() -> None:
    def die(item: str) -> None:
        os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(RunError, match=r"at unit-seven died again and again \(WorkerCrashed"):
        list(over_ray(1)(die, ["unit-seven"]))


@pytest.mark.parametrize("workers", [99, 0, -1])
def test_a_number_of_workers_that_cannot_be(workers: int) -> None:
    with pytest.raises(ResourceError, match=rf"{workers} workers .* the cluster has 4 CPUs"):
        list(over_ray(workers)(str, [1]))


def test_an_archive_packed_over_ray_has_the_same_bytes(tmp_path: Path) -> None:
    regions = ("Austria", "Finland", "Portugal")
    synthesise(tmp_path / "tiles", seed=1, regions=regions, tiles=1, size=96)
    source = LAYOUTS["synthetic"].open(tmp_path / "tiles", Options(patch=16))
    pack(source, tmp_path / "a")
    pack(source, tmp_path / "b", spread=over_ray(2))
    for path in (tmp_path / "a").iterdir():
        assert path.read_bytes() == (tmp_path / "b" / path.name).read_bytes()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b", "tiles"]
