"""The verb that shows how scenes are dealt out to clients, without training anything."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from raymmfl import configfile as configuration
from raymmfl.errors import ConfigError
from raymmfl.report import partition_table

if TYPE_CHECKING:  # the door imports nothing heavy before a verb is chosen
    from raymmfl.archive.catalogue import Scenes

Flag = tyro.conf.arg
SPLITS = ("val", "test")
Words = tyro.conf.Positional[tuple[str, ...]]


def clients(
    config: Annotated[Path, tyro.conf.Positional, Flag(metavar="CONFIG")],
    overrides: Annotated[Words, Flag(metavar="KEY=VALUE ...")] = (),
    /,
    source: Annotated[Path | None, Flag(metavar="DIR")] = None,
    layout: str = "reben",
    out: Annotated[Path | None, Flag(metavar="DIR")] = None,
) -> None:
    """Count the scenes of CONFIG's clients by class, region and season; trains nothing.

    Example: raymmfl archive clients configs/reben.yaml clients.partition=region+season

    Args:
        config: a YAML file, such as configs/reben.yaml.
        overrides: changes to it, such as clients.season_mix=0.2.
        source: an archive's own folder, whose table alone is read (default: the packed archive
            that CONFIG names).
        layout: of the source; reben has such a table.
        out: where the tables go as figures (PNG) and numbers (CSV).
    """
    settings = configuration.load(config, overrides)
    from raymmfl.archive import partition

    archive = _catalogue(source, layout) if source else _packed(settings.archive.path)
    found = partition.divide(archive, settings.clients, settings.seed)
    dealt = found.clients
    sizes = [len(client.rows) for client in dealt]
    places = {name: len(partition.scenes(archive, settings.clients, name)) for name in SPLITS}
    print(
        f"{archive.path}: {len(dealt)} clients hold {sum(sizes)} training images of "
        f"{len(partition.pooled(dealt).rows)} scenes; {places['val']} scenes to validate on, "
        f"{places['test']} to test on"
    )
    for name, count in places.items():
        if not count:
            print(
                f"warning: no {name} scene is left; a run would be refused: choose other seasons"
            )
    tables = {"class": (list(archive.labels), partition.class_counts(archive, dealt).tolist())}
    for name in _attributes(archive, settings.clients.partition):
        values, counts = partition.attribute_counts(archive, dealt, name)
        tables[name] = (values, counts.tolist())
    ids = [client.client_id for client in dealt]
    for name, (columns, counts) in tables.items():
        names = ["all", *columns]
        rows = [[size, *row] for size, row in zip(sizes, counts, strict=True)]
        print(f"\ntraining scenes per client and {name}\n{partition_table(ids, names, rows)}")
        if out is not None:
            from raymmfl import heatmaps

            title = f"{settings.name}: {settings.clients.partition}"
            file = out / f"clients_by_{name}.png"
            heatmaps.partition(ids, names, rows, file, title, by=name)
            print(f"(figure: {file}, and its numbers beside it as CSV)")
    for warning in found.warnings:
        print(f"warning: {warning}")


def _packed(path: str) -> "Scenes":
    from raymmfl.archive.store import Archive

    return Archive.open(path).catalogue


def _catalogue(source: Path, layout: str) -> "Scenes":
    """The scenes of an archive that is not packed, by its own table.

    Raises:
        ConfigError: for a layout without such a table.
    """
    from raymmfl.archive.readers.reben import catalogue

    tables = {"reben": catalogue}
    if layout not in tables:
        raise ConfigError(
            f"--layout {layout!r} has no table of its scenes, only {', '.join(tables)} has; pack "
            f"the archive and leave --source out"
        )
    return tables[layout](source)


def _attributes(archive: "Scenes", partition: str) -> list[str]:
    """What to count by beside classes: region, season where dates are known, the partition's."""
    asked = [name for name in partition.split("+") if name in archive.attributes]
    dated = ["season"] if (archive.attributes["season"] != "").all() else []
    return list(dict.fromkeys(["region", *dated, *asked]))
