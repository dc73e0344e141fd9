"""The verbs of archives: pack, describe, check, synthesise."""

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Literal

import tyro

from raymmfl.cli.bars import bars
from raymmfl.errors import ConfigError

Flag = tyro.conf.arg
WORTH_RAY = 200  # patches or tiles; fewer are read in about the time in which Ray starts


def pack(
    source: Annotated[Path, tyro.conf.Positional, Flag(metavar="SOURCE")],
    /,
    out: Path,
    layout: str = "synthetic",
    patch: int = 32,
    stride: Annotated[int | None, Flag(metavar="INT")] = None,
    min_share: float = 0.1,
    min_labelled: float = 0.5,
    seed: int = 0,
    sensors: tuple[str, ...] = (),
    countries_file: Annotated[Path | None, Flag(metavar="FILE")] = None,
    include_snow_cloud: bool = False,
    regions: tuple[str, ...] = (),
    seasons: tuple[str, ...] = (),
    splits: tuple[str, ...] = (),
    limit: Annotated[int | None, Flag(metavar="INT")] = None,
    on_bad: Literal["stop", "skip"] = "stop",
    workers: Annotated[int | None, Flag(metavar="INT")] = None,
    address: Annotated[str | None, Flag(metavar="HOST:PORT")] = None,
) -> None:
    """Check the rasters of SOURCE and pack them, cut into patches where they are tiles.

    Cut short (Ctrl+C, a kill, a bad file), the same command goes on where it was.

    Example: raymmfl archive pack tiles --layout terramesh --out data/terramesh --stride 16

    Args:
        source: the archive's folder.
        out: the packed archive's folder; must not exist.
        layout: how SOURCE is laid out: a name of `raymmfl list archives`, or the path of a YAML
            file that describes it.
        patch: of tiles: pixels per side of a patch, on the finest grid.
        stride: of tiles: pixels from patch to patch (default: the patch, no overlap).
        min_share: of tiles: share of a patch that a class must cover to label the scene.
        min_labelled: of tiles: share of labelled pixels below which a patch is left out.
        seed: of tiles: of the split into train, validation and test blocks.
        sensors: which to pack (default: the layout's own choice).
        countries_file: tells the country of each patch, where the archive itself does not.
        include_snow_cloud: also pack patches listed as covered by snow, cloud or shadow.
        regions: only these regions (countries).
        seasons: only these of winter, spring, summer, autumn.
        splits: only these of train, val, test.
        limit: only the first so many patches or tiles of each region and split.
        on_bad: stop at the first bad file, or skip and list it (more than 1 % stops all the same).
        workers: processes that read, over Ray; 0 for none (default: all CPUs, or none where there
            is little to read).
        address: of an existing Ray cluster, whose nodes see SOURCE and the folder of --out.
    """
    from raymmfl.archive.packing.pack import pack as start
    from raymmfl.archive.packing.subset import Subset
    from raymmfl.archive.readers.layouts import find_layout
    from raymmfl.archive.readers.options import Options

    options = Options(
        patch=patch, stride=stride, min_share=min_share, min_labelled=min_labelled, seed=seed,
        sensors=sensors, include_snow_cloud=include_snow_cloud,
        countries=countries_file and countries_file.absolute(),
    )  # fmt: skip
    with bars() as progress:
        start(
            find_layout(layout).open(source.absolute(), options),  # also for other processes
            out,
            subset=Subset(regions, seasons, splits, limit),
            on_bad=on_bad,
            spread=_spread(workers, address),
            progress=progress,
        )
    info(out)


def synth(
    out: Annotated[Path, tyro.conf.Positional, Flag(metavar="OUT")],
    /,
    layout: str = "synthetic",
    seed: int = 0,
    regions: tuple[str, ...] = (),
    tiles: Annotated[int | None, Flag(metavar="INT")] = None,
    size: int = 384,
    patches: int = 1000,
) -> None:
    """Write a synthetic archive to OUT as GeoTIFFs in a layout that `archive pack` reads.

    Example: raymmfl archive synth data/synthetic-reben --layout reben --patches 1000

    Args:
        out: a folder that does not exist.
        layout: synthetic or dynamicworld (tiles), bigearthnet_mm or reben (patches).
        seed: of the landscape and its noise.
        regions: which countries (default: the layout's own choice); none for dynamicworld.
        tiles: synthetic: per region (default 2); dynamicworld: in all (default 24).
        size: synthetic: pixels per side of a tile, at 10 m; those of dynamicworld have 510.
        patches: in all; of a layout of patches.
    """
    from raymmfl.archive.synthetic.bigearthnet import synthesise_bigearthnet_mm, synthesise_reben
    from raymmfl.archive.synthetic.dynamicworld import synthesise_dynamicworld
    from raymmfl.archive.synthetic.tiles import synthesise

    names = regions or None
    makers: dict[str, Callable[[], None]] = {
        "synthetic": partial(
            synthesise,
            out,
            seed=seed,
            regions=names,
            size=size,
            tiles=2 if tiles is None else tiles,
        ),
        "dynamicworld": partial(
            synthesise_dynamicworld, out, seed=seed, tiles=24 if tiles is None else tiles
        ),
        "bigearthnet_mm": partial(
            synthesise_bigearthnet_mm, out, patches=patches, seed=seed, countries=names
        ),
        "reben": partial(synthesise_reben, out, patches=patches, seed=seed, countries=names),
    }
    if layout not in makers:
        raise ConfigError(f"--layout {layout!r} is not known; choose one of {', '.join(makers)}")
    if regions and layout == "dynamicworld":
        raise ConfigError(f"--regions {' '.join(regions)}: dynamicworld has sites of its own")
    makers[layout]()
    print(f"wrote {out}")


def info(archive: Annotated[Path, tyro.conf.Positional, Flag(metavar="ARCHIVE")], /) -> None:
    """Print sizes, sensors, splits and label counts of ARCHIVE.

    Example: raymmfl archive info data/synthetic

    Args:
        archive: a packed archive.
    """
    from raymmfl.archive.summary import info as describe

    print(describe(archive))


def plot(
    archive: Annotated[Path, tyro.conf.Positional, Flag(metavar="ARCHIVE")],
    /,
    out: Path,
    seed: int = 0,
) -> None:
    """Draw sample scenes, spectra per class, places and label counts of ARCHIVE.

    Example: raymmfl archive plot data/synthetic --out pictures

    Args:
        archive: a packed archive.
        out: folder for the pictures (PNG) and their numbers (CSV); earlier ones are replaced.
        seed: of the choice of scenes and pixels.
    """
    from raymmfl.archive.store import Archive
    from raymmfl.archive_figures.draw import draw
    from raymmfl.prediction.colours import colours

    opened = Archive.open(archive)
    for picture in draw(opened, colours(opened.labels), out, seed):
        print(picture)


def verify(
    archive: Annotated[Path, tyro.conf.Positional, Flag(metavar="ARCHIVE")],
    /,
    source: Annotated[Path | None, Flag(metavar="DIR")] = None,
) -> None:
    """Check every digest of ARCHIVE; name each damaged file and scene.

    Example: raymmfl archive verify data/synthetic --source data/synthetic-tiles

    Args:
        archive: a packed archive.
        source: the folder it was packed from; its files are checked too.
    """
    from raymmfl.archive.verify import verify as check
    from raymmfl.archive.verify import verify_source
    from raymmfl.errors import ArchiveError

    problems = check(archive)
    if problems:
        raise ArchiveError("\n".join([*problems, f"{archive} is damaged; pack it again"]))
    print(f"{archive}: every file and scene is as it was packed")
    if source is None:
        return
    found = verify_source(archive, source)
    if found.problems:
        last = f"{source} is not what {archive} was packed from; mend it, or pack it again"
        raise ArchiveError("\n".join([*found.problems, last]))
    print(f"{source}: every file that was packed is as it was ({found.files} files)")
    if found.added:
        examples = ", ".join(found.examples)
        print(f"{source}: {found.added} files are in no scene, such as {examples}")


def _spread(workers: int | None, address: str | None) -> Any:
    """Without Ray if asked so, or if there is little to read and nothing was asked."""
    from raymmfl.archive.packing.spread import serial

    if workers is not None and workers < 0:
        raise ConfigError(f"--workers {workers}: 0 for no Ray, or a number of processes")
    if workers == 0:
        return serial

    def spread(function: Any, items: Sequence[Any]) -> Any:
        units = sum(len(shard.units) for shard in items)
        if workers is None and address is None and units < WORTH_RAY:
            return serial(function, items)
        from raymmfl.runtime.spread import over_ray

        return over_ray(workers, address)(function, items)

    return spread
