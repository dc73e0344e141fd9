"""Tests of the verb that shows clients: tables, figures with their numbers, errors."""

import csv
from pathlib import Path

import pytest

from raymmfl.archive.partition import class_counts, partition
from raymmfl.archive.readers.nomenclature import LABELS
from raymmfl.archive.store import Archive
from raymmfl.archive.tables import write_table
from raymmfl.cli.clients import clients
from raymmfl.config import ClientsConfig
from raymmfl.errors import ConfigError


@pytest.fixture
def config(archive: Archive, tmp_path: Path) -> Path:
    path = tmp_path / "few.yaml"
    path.write_text(f"name: few\narchive: {{path: {archive.path}}}\n")
    return path


def rows(path: Path) -> list[list[str]]:
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.reader(file))


def test_a_packed_archive_is_counted_and_drawn(
    archive: Archive, config: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    clients(config, ("clients.partition=region+place",), out=tmp_path / "figures")
    names = ["clients_by_class", "clients_by_place", "clients_by_region", "clients_by_season"]
    found = sorted(path.name for path in (tmp_path / "figures").iterdir())
    assert found == [f"{name}.{kind}" for name in names for kind in ("csv", "png")]
    dealt = partition(archive, ClientsConfig(partition="region+place"), 0)
    counts = class_counts(archive, dealt).tolist()
    assert rows(tmp_path / "figures" / "clients_by_class.csv") == [
        ["client", "all", *archive.labels],
        *(
            [client.client_id, str(len(client.rows)), *map(str, row)]
            for client, row in zip(dealt, counts, strict=True)
        ),
    ]
    by_region = rows(tmp_path / "figures" / "clients_by_region.csv")
    size = str(len(dealt[0].rows))
    assert by_region[:2] == [
        ["client", "all", "Austria", "Finland"],
        [dealt[0].client_id, size, size, "0"],
    ]
    text = capsys.readouterr().out
    assert f"4 clients hold {sum(len(c.rows) for c in dealt)} training images of" in text
    for name in ("class", "region", "season", "place"):
        assert f"training scenes per client and {name}\n" in text


def test_a_table_is_enough_and_warnings_are_said(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    days = ["20170717", "20170718", "20171002", "20170717", "20180211"]
    ids = [f"S2A_MSIL2A_{day}T101031_N9999_R022_T33UUP_0{i}_57" for i, day in enumerate(days)]
    write_table(
        tmp_path / "metadata.parquet",
        {
            "patch_id": ids,
            "labels": [[LABELS[0]], [LABELS[1]], [LABELS[0]], [LABELS[2]], [LABELS[0]]],
            "split": ["train", "train", "train", "test", "train"],
            "country": ["Austria", "Finland", "Austria", "Finland", "Austria"],
            "s1_name": [f"S1A_IW_GRDH_1SDV_20170613T165043_33UUP_{i}_57" for i in range(5)],
            "contains_seasonal_snow": [False] * 5,
            "contains_cloud_or_shadow": [False] * 5,
        },
    )
    config = tmp_path / "summer.yaml"
    config.write_text("clients: {seasons: [summer], season_mix: 1.0}\n")
    clients(config, source=tmp_path)
    text = capsys.readouterr().out
    assert "4 clients hold 4 training images of 2 scenes; 0 scenes to validate on, 1 to" in text
    assert "warning: clients.season_mix 1.0: Finland has 0 training scenes of other" in text
    assert "Finland/S1   1      1" in text  # its one scene, of summer
    with pytest.raises(ConfigError, match=r"--layout 'terramesh' has no table .*only reben"):
        clients(config, source=tmp_path, layout="terramesh")
