"""The verbs of runs: train, continue, and name what there is to choose from."""

import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import tyro

from raymmfl import configfile as configuration

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

    start(settings, out, address=address, say=say)


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

    go_on(run, address=address, say=say)


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


def _algorithms() -> dict[str, str]:
    from raymmfl.algorithms import ALGORITHMS

    return {name: f"{each.summary} [{each.source}]" for name, each in ALGORITHMS.items()}


def _backbones() -> dict[str, str]:
    from raymmfl.models.backbones import BACKBONES

    return {name: each.summary for name, each in BACKBONES.items()}


def _partitions() -> dict[str, str]:
    return {
        "region": "a site per region of the archive (DS2)",
        "region+season": "a site per combination of attributes, any joined by + (DS3)",
        "random": "random sites, equally large or (clients.sizes) as large as the regions (DS1)",
        "dirichlet": "sites with label skew, Dirichlet(clients.alpha)",
    }


def _archives() -> dict[str, str]:
    from raymmfl.archive.readers.layouts import LAYOUTS

    return {name: each.summary for name, each in LAYOUTS.items()}


def say(line: str) -> None:
    """Print a line for a person at once."""
    try:
        print(line, flush=True)
    except BrokenPipeError:  # whoever read along has left; the run goes on
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
