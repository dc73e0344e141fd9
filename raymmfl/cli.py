"""The command line: verbs, progress, errors as sentences. The only place that prints."""

import inspect
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, Literal, NoReturn

import tyro

from raymmfl import config as configuration
from raymmfl.errors import ConfigError, RaymmflError

Flag = tyro.conf.arg
Words = tyro.conf.Positional[tuple[str, ...]]


def run(
    config: Annotated[Path, tyro.conf.Positional, Flag(metavar="CONFIG")],
    overrides: Annotated[Words, Flag(metavar="KEY=VALUE ...")] = (),
    /,
    out: Annotated[Path | None, Flag(metavar="DIR")] = None,
    address: Annotated[str | None, Flag(metavar="HOST:PORT")] = None,
) -> None:
    """Train, score and record the configuration CONFIG, changed by key=value OVERRIDES.

    Example: raymmfl run configs/demo.yaml mim.weight=0.2 rounds=5

    Args:
        config: a YAML file, such as configs/demo.yaml.
        overrides: changes to it, such as train.lr=1e-3.
        out: the run folder (default runs/<name>-<UTC time>); must not exist.
        address: of an existing Ray cluster (default: a local one is started).
    """
    settings = configuration.load(config, overrides)
    from raymmfl.run import run as start

    start(settings, out, address=address, say=_say)


def resume(
    run: Annotated[Path, tyro.conf.Positional, Flag(metavar="RUN")],
    /,
    address: Annotated[str | None, Flag(metavar="HOST:PORT")] = None,
) -> None:
    """Continue RUN from its last whole checkpoint.

    Example: raymmfl resume runs/demo-20261120-101500

    Args:
        run: the run folder.
        address: of an existing Ray cluster (default: a local one is started).
    """
    from raymmfl.run import resume as go_on

    go_on(run, address=address, say=_say)


Kind = Literal["all", "algorithms", "backbones", "partitions", "archives"]


def list_names(kind: Annotated[Kind, tyro.conf.Positional] = "all", /) -> None:
    """Name the algorithms, backbones, partitions and archive layouts there are.

    Example: raymmfl list algorithms

    Args:
        kind: which of them.
    """
    tables: dict[str, Callable[[], dict[str, str]]] = {
        "algorithms": _algorithms,
        "backbones": _backbones,
        "partitions": _partitions,
        "archives": _archives,
    }
    for name, table in tables.items():
        if kind in ("all", name):
            rows = table()
            width = max(map(len, rows))
            print(f"{name}:")
            print("\n".join(f"  {key:<{width}}  {text}" for key, text in rows.items()))


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


VERBS: dict[str, Any] = {
    "run": run,
    "resume": resume,
    "list": list_names,
    "archive": {"pack": pack, "synth": synth, "info": info, "verify": verify},
}


def main() -> NoReturn:
    """Entry point of `raymmfl`; exits 0, or as the error says."""
    signal.signal(signal.SIGTERM, _interrupt)
    arguments = sys.argv[1:]
    debug = "--debug" in arguments
    arguments = [each for each in arguments if each != "--debug"]
    sys.exit(_main(arguments, debug))


def _main(arguments: list[str], debug: bool) -> int:
    try:
        _dispatch(arguments, VERBS, "raymmfl")
    except RaymmflError as error:
        if debug:
            traceback.print_exc()
        print(f"raymmfl: {error}", file=sys.stderr)
        return error.exit_code
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:
        if debug:
            traceback.print_exc()
        where = f"{error.filename}: " if error.filename else ""
        what = f"{where}{error.strerror or error}"
        print(f"raymmfl: {what}; what was written before is whole", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        print("raymmfl: interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        if debug:
            traceback.print_exc()
        print(
            f"raymmfl: this is a bug of ours: {type(error).__name__}: {error} "
            f"(--debug shows where)",
            file=sys.stderr,
        )
        return 1
    return 0


def _dispatch(arguments: list[str], verbs: dict[str, Any], name: str) -> None:
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_overview(verbs, name))
        return
    if arguments == ["--version"]:
        from raymmfl import __version__

        print(f"raymmfl {__version__}")
        return
    verb, rest = arguments[0], arguments[1:]
    if verb not in verbs:
        hint = configuration.nearest(verb, list(verbs))
        raise ConfigError(f"unknown verb {verb!r}{hint}; there are {', '.join(verbs)}")
    found = verbs[verb]
    if isinstance(found, dict):
        _dispatch(rest, found, f"{name} {verb}")
        return
    description = inspect.cleandoc(found.__doc__).split("\n\nArgs:")[0]
    if found is run and {"-h", "--help"} & set(rest):
        description += "\n\n" + _config_help()
    tyro.cli(found, prog=f"{name} {verb}", args=rest, description=description)


def _overview(verbs: dict[str, Any], name: str) -> str:
    lines = [f"usage: {name} VERB ...  (`{name} VERB --help` tells more)", ""]
    for verb, found in verbs.items():
        text = (
            ", ".join(found) if isinstance(found, dict) else found.__doc__.strip().splitlines()[0]
        )
        lines.append(f"  {verb:<9} {text}")
    return "\n".join(lines)


def _config_help() -> str:
    lines = ["Configuration keys, with what they take and their defaults:"]
    for each in configuration.fields():
        default = "none" if each.default in ((), {}) else each.default
        lines.append(f"  {each.key}  ({each.kind}; default {default})\n      {each.sentence}")
    return "\n".join(lines)


def _algorithms() -> dict[str, str]:
    from raymmfl.algorithms import ALGORITHMS

    return {name: f"{each.summary} [{each.source}]" for name, each in ALGORITHMS.items()}


def _backbones() -> dict[str, str]:
    from raymmfl.models.backbones import BACKBONES

    return {name: each.summary for name, each in BACKBONES.items()}


def _partitions() -> dict[str, str]:
    return {
        "region": "a site per region of the archive",
        "random": "sites of equal size, drawn at random",
        "dirichlet": "sites with label skew, Dirichlet(clients.alpha)",
    }


def _archives() -> dict[str, str]:
    from raymmfl.archive.layouts import LAYOUTS

    return {
        name: f"{', '.join(sensor.name for sensor in each.sensors)}: {each.provenance}"
        for name, each in LAYOUTS.items()
    }


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


def _say(line: str) -> None:
    try:
        print(line, flush=True)
    except BrokenPipeError:  # whoever read along has left; the run goes on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _interrupt(signum: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
