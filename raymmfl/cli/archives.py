"""The verbs of archives: pack, describe, check, synthesise."""

from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import tyro

from raymmfl.errors import ConfigError

Flag = tyro.conf.arg


def pack(
    source: Annotated[Path, tyro.conf.Positional, Flag(metavar="SOURCE")],
    /,
    out: Path,
    layout: str = "synthetic",
    patch: int = 32,
    stride: Annotated[int | None, Flag(metavar="INT")] = None,
    min_share: float = 0.1,
    sensors: tuple[str, ...] = (),
    seed: int = 0,
) -> None:
    """Cut the co-registered GeoTIFFs of SOURCE into patches and pack them into an archive.

    Example: raymmfl archive pack tiles --layout terramesh --out data/terramesh --stride 16

    Args:
        source: a folder with one subfolder per sensor.
        out: the archive's folder; must not exist.
        layout: how SOURCE is laid out; see `raymmfl list archives`.
        patch: pixels per side of a patch, on the finest grid.
        stride: pixels from patch to patch (default: the patch, no overlap).
        min_share: share of a patch that a class must cover to label the scene.
        sensors: which to pack (default: the layout's own choice).
        seed: of the split into train, validation and test blocks.
    """
    from raymmfl.archive.layouts import LAYOUTS
    from raymmfl.archive.pack import pack as start

    if layout not in LAYOUTS:
        raise ConfigError(f"--layout {layout!r} is not known; choose one of {', '.join(LAYOUTS)}")
    with _progress("packing") as progress:
        start(
            source,
            out,
            LAYOUTS[layout],
            patch=patch,
            stride=stride,
            min_share=min_share,
            sensors=sensors or None,
            seed=seed,
            progress=progress,
        )
    info(out)


def synth(
    out: Annotated[Path, tyro.conf.Positional, Flag(metavar="OUT")],
    /,
    seed: int = 0,
    regions: tuple[str, ...] = (),
    tiles: int = 2,
    size: int = 384,
) -> None:
    """Write synthetic Sentinel-1/2 tiles to OUT as GeoTIFFs; `archive pack` packs them.

    Example: raymmfl archive synth data/synthetic-tiles --tiles 2 --size 384

    Args:
        out: a folder that does not exist.
        seed: of the landscape and its noise.
        regions: which (default all).
        tiles: per region.
        size: pixels per side of a tile, at 10 m.
    """
    from raymmfl.archive.synthetic import synthesise

    synthesise(out, seed=seed, regions=regions or None, tiles=tiles, size=size)
    print(f"wrote {out}")


def info(archive: Annotated[Path, tyro.conf.Positional, Flag(metavar="ARCHIVE")], /) -> None:
    """Print sizes, sensors, splits and label counts of ARCHIVE.

    Example: raymmfl archive info data/synthetic

    Args:
        archive: a packed archive.
    """
    from raymmfl.archive.summary import info as describe

    print(describe(archive))


def verify(archive: Annotated[Path, tyro.conf.Positional, Flag(metavar="ARCHIVE")], /) -> None:
    """Check every digest of ARCHIVE; name each damaged file and scene.

    Example: raymmfl archive verify data/synthetic

    Args:
        archive: a packed archive.
    """
    from raymmfl.archive.verify import verify as check
    from raymmfl.errors import ArchiveError

    problems = check(archive)
    if problems:
        raise ArchiveError("\n".join([*problems, f"{archive} is damaged; pack it again"]))
    print(f"{archive}: every file and scene is as it was packed")


def _progress(what: str) -> Any:
    from tqdm import tqdm

    class Bar:
        def __enter__(self) -> Callable[[int, int], None]:
            self.bar = tqdm(desc=what, unit="tile", disable=None)
            return self.update

        def __exit__(self, *_: object) -> None:
            self.bar.close()

        def update(self, done: int, total: int) -> None:
            self.bar.total = total
            self.bar.update(done - self.bar.n)

    return Bar()
