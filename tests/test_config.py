"""Tests of the configuration: every mistake is a sentence with key, value and a way out."""

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from raymmfl import configfile as configuration
from raymmfl.algorithms import ALGORITHMS
from raymmfl.config import AlgorithmName, BackboneName, Config
from raymmfl.configfile import dump, fields, load, parse
from raymmfl.errors import ConfigError
from raymmfl.models.backbones import BACKBONES

CONFIGS = Path(__file__).parents[1] / "configs"


@dataclass(frozen=True)
class Broken:
    """A mistake and what its message must hold."""

    says: tuple[str, ...]
    yaml: str = ""
    overrides: tuple[str, ...] = ()


def broken(*says: str, yaml: str = "", overrides: tuple[str, ...] = ()) -> Broken:
    return Broken(says, yaml, overrides)


BROKEN = {
    # unknown keys
    "unknown top key": broken("ronds", "unknown key", "'rounds'", yaml="ronds: 3"),
    "unknown nested key": broken("train.lrr", "did you mean 'lr'", yaml="train: {lrr: 0.1}"),
    "key of a section at the top": broken("lr", "did you mean 'train.lr'", yaml="lr: 0.1"),
    "unknown section": broken("trian", "did you mean 'train'", yaml="trian: {lr: 0.1}"),
    "unknown by override": broken(
        "mim.wieght", "did you mean 'weight'", "temperature", overrides=("mim.wieght=0.2",)
    ),
    "nothing near": broken("qqqqqqq", "known here", "rounds", overrides=("qqqqqqq=1",)),
    "key that is a number": broken("5", "unknown key", yaml="5: 3"),
    # types
    "word for a number": broken("rounds", '"many"', "whole number", yaml="rounds: many"),
    "text for a number": broken("rounds", '"3"', "whole number", yaml="rounds: '3'"),
    "fraction for a whole": broken("rounds", "2.5", "whole number", yaml="rounds: 2.5"),
    "truth for a number": broken("seed", "true", "whole number", yaml="seed: true"),
    "number for a truth": broken(
        "train.augment", "1", "true or false", yaml="train: {augment: 1}"
    ),
    "word for a truth": broken("tracking.mlflow", '"maybe"', overrides=("tracking.mlflow=maybe",)),
    "nothing for a number": broken("train.lr", "null", "number", overrides=("train.lr=",)),
    "list for a number": broken("train.lr", "[0.1]", overrides=("train.lr=[0.1]",)),
    "number for a section": broken("train", "3", overrides=("train=3",)),
    "list for a section": broken("mim", "[1]", yaml="mim: [1]"),
    "word for a list": broken(
        "clients.regions", '"Austria"', overrides=("clients.regions=Austria",)
    ),
    "number in a list": broken("clients.sensors.1", "2", yaml="clients: {sensors: [S1, 2]}"),
    "flat holdings": broken(
        "clients.holdings.Austria.0", '"S1"', yaml="clients: {holdings: {Austria: [S1, S2]}}"
    ),
    "number for a name": broken("name", "7", yaml="name: 7"),
    # ranges
    "no rounds": broken("rounds", "0", "greater than or equal to 1", overrides=("rounds=0",)),
    "negative seed": broken("seed", "-1", "greater than or equal to 0", overrides=("seed=-1",)),
    "no learning": broken("train.lr", "greater than 0", overrides=("train.lr=0",)),
    "batch of one": broken("train.batch_size", "1", overrides=("train.batch_size=1",)),
    "momentum of one": broken("train.momentum", "1", overrides=("train.momentum=1.0",)),
    "fraction of none": broken("clients.fraction", "0", overrides=("clients.fraction=0",)),
    "fraction beyond all": broken("clients.fraction", "1.5", overrides=("clients.fraction=1.5",)),
    "mim in round one": broken("mim.first_round", "1", overrides=("mim.first_round=1",)),
    "NaN": broken("train.lr", "NaN", "finite", overrides=("train.lr=.nan",)),
    "infinity": broken("mim.weight", "Infinity", "finite", overrides=("mim.weight=.inf",)),
    "no actors": broken("resources.actors", "0", "at least 1", overrides=("resources.actors=0",)),
    "half an actor": broken("resources.actors", "1.5", overrides=("resources.actors=1.5",)),
    "a GPU and a half": broken(
        "resources.gpus", "1.5", "fraction", overrides=("resources.gpus=1.5",)
    ),
    "negative cpus": broken("resources.cpus", "-1", overrides=("resources.cpus=-1",)),
    "name with a slash": broken("name", "a/b", overrides=("name=a/b",)),
    "another version": broken("version", "2", overrides=("version=2",)),
    # choices
    "algorithm": broken(
        "algorithm", '"mf+wf"', "'fedavg'", "did you mean 'mf+fw'", overrides=("algorithm=mf+wf",)
    ),
    "baseline": broken(
        "baselines.1", '"locl"', "did you mean 'local'", yaml="baselines: [mf, locl]"
    ),
    "backbone": broken(
        "model.backbone", "resnet81", "'resnet18'", overrides=("model.backbone=resnet81",)
    ),
    "norm": broken("model.norm", "layer", "'group'", overrides=("model.norm=layer",)),
    "wire": broken("wire.weights", "float8", "'float16'", overrides=("wire.weights=float8",)),
    "inexact moments": broken(
        "wire.moments", "int8", "'float32'", overrides=("wire.moments=int8",)
    ),
    "actors": broken("resources.actors", "some", overrides=("resources.actors=some",)),
    "partition": broken(
        "clients.partition",
        '"random+region"',
        "random, dirichlet, or different attributes",
        overrides=("clients.partition=random+region",),
    ),
    "an attribute twice": broken(
        "clients.partition", overrides=("clients.partition=region+region",)
    ),
    "no attribute": broken("clients.partition", '"region+"', yaml="clients: {partition: region+}"),
    "season": broken(
        "clients.seasons.0", "did you mean 'summer'", overrides=("clients.seasons=[sumer]",)
    ),
    "a mix without seasons": broken(
        "clients.season_mix", "0 without clients.seasons", overrides=("clients.season_mix=.2",)
    ),
    "disjoint owners of all": broken(
        "clients.geography",
        "paired where clients.holding is all",
        overrides=("clients.holding=all", "clients.geography=disjoint"),
    ),
    # files
    "repeated key": broken(
        "'rounds' stands twice", "line 3", yaml="rounds: 1\nseed: 2\nrounds: 3"
    ),
    "repeated nested key": broken("'lr' stands twice", yaml="train:\n  lr: 0.1\n  lr: 0.2"),
    "python object": broken(
        "python/object", yaml="name: !!python/object/apply:os.system ['echo broken']"
    ),
    "python name": broken("python/name", overrides=("name=!!python/name:os.system",)),
    "a list": broken("expected keys and values, found list", yaml="- rounds\n- 3"),
    "a word": broken("expected keys and values, found str", yaml="rounds"),
    "no YAML": broken("not readable as YAML", yaml="train: {lr: 0.1"),
    "a tab": broken("not readable as YAML", yaml="train:\n\tlr: 0.1"),
    "two documents": broken("not readable as YAML", yaml="rounds: 1\n---\nrounds: 2"),
    "a list as key": broken("a key must be a word", yaml="? [a, b]\n: 1"),
    "a control character": broken("not readable as YAML", yaml="name: a\x00b"),
    "an endless alias": broken("recursive", yaml="a: &a [*a]"),
    "very deep": broken("not readable as YAML", yaml="a: " + "[" * 5000),
    # overrides
    "no value": broken("'rounds'", "key=value", overrides=("rounds",)),
    "no key": broken("'=3'", "key=value", overrides=("=3",)),
    "broken value": broken("train.lr=[", "not readable as YAML", overrides=("train.lr=[",)),
    "below a value": broken(
        "'lr' holds a value", yaml="train: {lr: 0.1}", overrides=("train.lr.x=1",)
    ),
    "an empty part": broken("train.", "unknown key", overrides=("train.=1",)),
}


@pytest.mark.parametrize("case", BROKEN.values(), ids=BROKEN.keys())
def test_a_mistake_is_named_with_key_and_value(case: Broken, tmp_path: Path) -> None:
    path = tmp_path / "broken.yaml"
    path.write_text(case.yaml, encoding="utf-8")
    with pytest.raises(ConfigError) as error:
        load(path, case.overrides)
    message = str(error.value)
    for part in case.says:
        assert part in message
    assert "pydantic" not in message
    assert error.value.exit_code == 2
    if not case.overrides:
        assert str(path) in message


def test_all_mistakes_are_named_at_once() -> None:
    with pytest.raises(ConfigError) as error:
        parse({"rounds": 0, "train": {"lr": -1, "epoch": 2}})
    message = str(error.value)
    assert all(key in message for key in ("rounds: 0", "train.lr: -1", "train.epoch: unknown"))


def test_unreadable_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.yaml: no such file"):
        load(tmp_path / "nowhere.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load(tmp_path)
    (tmp_path / "latin.yaml").write_bytes("name: Büyük".encode("latin-1"))
    with pytest.raises(ConfigError, match=r"latin\.yaml: cannot be read"):
        load(tmp_path / "latin.yaml")


def test_the_file_of_a_python_object_runs_nothing(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    path = tmp_path / "evil.yaml"
    path.write_text(f"name: !!python/object/apply:os.mkdir ['{mark}']")
    with pytest.raises(ConfigError):
        load(path)
    assert not mark.exists()


def test_files_and_overrides_are_read(tmp_path: Path) -> None:
    path = tmp_path / "good.yaml"
    path.write_text("rounds: 3\ntrain: {lr: 1e-2}\nclients: {regions: [Austria]}\n")
    config = load(
        path, ["train.lr=3e-4", "mim.weight=0", "clients.holdings={Austria: [[S1, S2]]}"]
    )
    assert (config.rounds, config.train.lr, config.mim.weight) == (3, 3e-4, 0.0)
    assert config.clients.regions == ("Austria",)
    assert config.clients.holdings == {"Austria": (("S1", "S2"),)}
    assert load(path, ["resources.actors=4"]).resources.actors == 4
    assert load(path, ["name=1e3x"]).name == "1e3x"
    assert load(None) == Config()
    empty = tmp_path / "empty.yaml"
    empty.write_text("# nothing\n")
    assert load(empty) == Config()
    with pytest.raises(ValidationError, match="frozen"):
        config.rounds = 4  # type: ignore[misc]


@settings(deadline=None)
@example(rounds=1, lr=1.0, region="\x85", actors=1, algorithm="mf")  # a line end to YAML
@example(rounds=1, lr=1.0, region="0e0", actors=1, algorithm="mf")  # looks like a number
@given(
    rounds=st.integers(1, 10**9),
    lr=st.floats(1e-300, 1e300),
    region=st.text(st.characters(exclude_categories=["Cs"]), max_size=8),
    actors=st.sampled_from(["auto", "per-client", 1, 7]),
    algorithm=st.sampled_from(list(ALGORITHMS)),
)
def test_what_is_dumped_loads_to_an_equal_configuration(
    tmp_path_factory: pytest.TempPathFactory,
    rounds: int,
    lr: float,
    region: str,
    actors: str | int,
    algorithm: str,
) -> None:
    config = parse(
        {
            "rounds": rounds,
            "algorithm": algorithm,
            "baselines": [algorithm, "local"],
            "train": {"lr": lr},
            "clients": {"regions": [region], "holdings": {region: [["S1", "S2"], ["S1"]]}},
            "resources": {"actors": actors},
        }
    )
    path = tmp_path_factory.mktemp("dump") / "config.yaml"
    path.write_text(dump(config), encoding="utf-8")
    assert load(path) == config


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.name)
def test_every_configuration_that_we_give_is_valid(path: Path) -> None:
    assert load(path).name == path.stem


def test_names_in_the_configuration_are_those_of_the_tables() -> None:
    assert set(get_args(AlgorithmName)) == set(ALGORITHMS)
    assert set(get_args(BackboneName)) == set(BACKBONES)
    assert all(name == each.name for name, each in ALGORITHMS.items())


def test_every_field_has_a_sentence() -> None:
    rows = list(fields())
    assert len(rows) > 45
    for key, kind, _, sentence in rows:
        assert len(sentence.split()) > 1, key
        assert sentence[-1] == ".", key
        assert "typing" not in kind, key
    assert len({key for key, *_ in rows}) == len(rows)


def test_defaults_obey_their_own_bounds() -> None:
    assert parse(json.loads(Config().model_dump_json())) == Config()


_DOOR = """
import sys
from raymmfl import cli
code = cli._main(sys.argv[1:], False)
heavy = {"torch", "ray", "mlflow", "rasterio", "pyarrow", "matplotlib"} & set(sys.modules)
print("heavy:", *sorted(heavy))
sys.exit(code)
"""


@pytest.mark.parametrize("arguments", [["mim.wieght=1"], ["rounds=0"]])
def test_a_broken_configuration_ends_before_anything_heavy_is_imported(
    tmp_path: Path, arguments: list[str]
) -> None:
    path = tmp_path / "run.yaml"
    path.write_text("rounds: 1\n")
    ended = subprocess.run(
        [sys.executable, "-c", _DOOR, "run", str(path), *arguments],
        capture_output=True,
        text=True,
        cwd=tmp_path,
        timeout=60,
    )
    assert ended.returncode == 2, ended.stderr
    assert ended.stdout.split() == ["heavy:"]
    key, _, value = arguments[0].partition("=")
    assert key in ended.stderr
    assert value in ended.stderr or "unknown key" in ended.stderr
    assert "Traceback" not in ended.stderr
    assert list(tmp_path.iterdir()) == [path]


def test_nearest_says_nothing_when_nothing_is_near() -> None:
    assert configuration.nearest("rnds", ["rounds", "seed"]) == "; did you mean 'rounds'?"
    assert configuration.nearest("zzz", ["rounds", "seed"]) == ""
