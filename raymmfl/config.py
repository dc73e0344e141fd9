"""One frozen configuration tree, read from YAML and ``key=value`` overrides.

This module imports neither torch nor Ray nor MLflow: a wrong key or value ends a command before
any of them is loaded. Every field carries a sentence; ``raymmfl run --help`` prints them.
"""

import difflib
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import UnionType
from typing import Any, Literal, NamedTuple, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator
from pydantic_core import ErrorDetails

from raymmfl.errors import ConfigError

AlgorithmName = Literal["fedavg", "mf", "mf+fw", "mf+mim", "mf+fw+mim", "local", "centralised"]
BackboneName = Literal["cnn", "resnet_small", "resnet18"]
PartitionName = Literal["region", "random", "dirichlet"]
WireFormat = Literal["float32", "float16", "int8"]


class Section(BaseModel):
    """A frozen part of the tree in which unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class ArchiveConfig(Section):
    """The packed archive the run reads."""

    path: str = Field("data/synthetic", description="Folder written by `raymmfl archive pack`.")
    resample: Literal["nearest", "bilinear"] = Field(
        "bilinear", description="How coarser bands are brought to the sensor's finest grid."
    )


class ClientsConfig(Section):
    """How the archive's training scenes are dealt out to clients."""

    partition: PartitionName = Field(
        "region",
        description="Sites: the archive's regions, random groups, or Dirichlet label skew.",
    )
    sites: int = Field(
        6, ge=1, description="Number of sites (random and dirichlet only; region has its own)."
    )
    alpha: float = Field(
        0.5, gt=0, description="Dirichlet concentration: small is skewed, large is even."
    )
    regions: tuple[str, ...] = Field((), description="Regions to use; empty means all.")
    sensors: tuple[str, ...] = Field((), description="Sensors to use; empty means all.")
    holding: Literal["single", "all"] = Field(
        "single",
        description="single: each site has one client per sensor; all: one client holds them all.",
    )
    holdings: dict[str, tuple[tuple[str, ...], ...]] = Field(
        {},
        description="Exceptions per site, a list of sensors per client: {Austria: [[S1, S2]]}.",
    )
    fraction: float = Field(
        1.0, gt=0, le=1, description="Share of the clients drawn for each round's cohort."
    )


class ModelConfig(Section):
    """An encoder per sensor, a shared linear head, a projection head for MIM."""

    backbone: BackboneName = Field("resnet_small", description="Encoder; see `raymmfl list`.")
    norm: Literal["batch", "group"] = Field(
        "batch", description="Normalisation wherever whitening is not."
    )
    projection: int = Field(
        64, ge=1, le=4096, description="Length of the embeddings that MIM exchanges."
    )


class WhiteningConfig(Section):
    """FW: Cholesky whitening of channel groups (Roy et al., CVPR 2019); used by `+fw`."""

    positions: Literal["stem", "stem+stage1", "all"] = Field(
        "stem+stage1", description="Which normalisations become whitening."
    )
    group_size: int = Field(4, ge=1, le=64, description="Channels whitened together.")
    eps: float = Field(1e-3, gt=0, lt=1, description="Shrinkage of the covariance to identity.")
    momentum: float = Field(
        0.1, gt=0, le=1, description="Weight of a batch in running statistics."
    )
    affine: bool = Field(True, description="Learn a scale and a shift per channel afterwards.")


class MimConfig(Section):
    """MIM: NT-Xent between a client's embeddings and its partners'; used by `+mim`."""

    weight: float = Field(0.1, ge=0, description="Weight of the MIM term beside the task loss.")
    temperature: float = Field(0.5, gt=0, description="NT-Xent temperature.")
    first_round: int = Field(2, ge=2, description="First round with the term (1 has no partners).")
    max_age: int = Field(
        5, ge=1, description="Oldest partner embedding used, in rounds (partial cohorts)."
    )
    embeddings: Literal["last_epoch", "extra_pass"] = Field(
        "last_epoch",
        description="Upload what the last local epoch computed, or run a clean extra pass.",
    )


class TrainConfig(Section):
    """Local training of one client in one round; the optimiser is made anew each round."""

    epochs: int = Field(1, ge=1, description="Local epochs per round.")
    batch_size: int = Field(32, ge=2, description="Scenes per batch.")
    optimizer: Literal["adam", "sgd"] = Field("adam", description="Local optimiser.")
    lr: float = Field(1e-3, gt=0, description="Learning rate.")
    momentum: float = Field(0.0, ge=0, lt=1, description="Momentum (sgd only).")
    weight_decay: float = Field(0.0, ge=0, description="Weight decay.")
    augment: bool = Field(True, description="Random flips and quarter turns of each scene.")


class SharingConfig(Section):
    """MF: how the server merges what clients return."""

    weighting: Literal["size", "uniform"] = Field(
        "size", description="Weigh clients by their training scenes, or all alike."
    )
    statistics: Literal["moments", "mean"] = Field(
        "moments",
        description="Normalisation statistics: pooled with the between-client term, or averaged.",
    )


class WireConfig(Section):
    """The number format of each purpose on its way between client and server."""

    weights: WireFormat = Field("float32", description="Model weights, both ways.")
    moments: Literal["float32"] = Field(
        "float32", description="Normalisation statistics, both ways; always exact."
    )
    embeddings: WireFormat = Field("float32", description="MIM embeddings, both ways.")


class ResourcesConfig(Section):
    """Where the clients run."""

    runtime: Literal["ray", "serial"] = Field(
        "ray", description="Ray actors, or one process without Ray (same bits)."
    )
    actors: Literal["auto", "per-client"] | int = Field(
        "auto", description="Client actors: what fits (auto), a number, or one per client."
    )
    cpus: float = Field(1.0, ge=0, description="Processors per client actor; may be a fraction.")
    gpus: float = Field(0.0, ge=0, description="GPUs per client actor; may be a fraction.")
    threads: int = Field(1, ge=1, description="Compute threads per client; part of the result.")

    @field_validator("actors")
    @classmethod
    def _positive(cls, value: str | int) -> str | int:
        if isinstance(value, int) and value < 1:
            raise ValueError("must be auto, per-client or a number of at least 1")
        return value

    @field_validator("cpus", "gpus")
    @classmethod
    def _fraction_or_whole(cls, value: float) -> float:
        if value > 1 and value != int(value):
            raise ValueError("must be a fraction below 1 or a whole number")
        return value


class EvaluateConfig(Section):
    """Scoring on the validation split after each round, on the test split at the end."""

    batch_size: int = Field(256, ge=1, description="Scenes per forward pass.")
    every: int = Field(1, ge=1, description="Score every this many rounds, and the last.")


class TrackingConfig(Section):
    """The mirror of the run in MLflow; the run folder is complete without it."""

    mlflow: bool = Field(True, description="Mirror the run in MLflow.")
    uri: str = Field("sqlite:///mlflow.db", description="MLflow tracking store or server.")
    experiment: str = Field("raymmfl", description="MLflow experiment.")


class Config(Section):
    """A whole run."""

    version: Literal[1] = Field(1, description="Version of this file's layout.")
    name: str = Field(
        "run", pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$", description="Name of the run."
    )
    seed: int = Field(0, ge=0, description="Every random number of the run follows from it.")
    rounds: int = Field(10, ge=1, description="Federated rounds.")
    algorithm: AlgorithmName = Field("mf+fw+mim", description="See `raymmfl list`.")
    baselines: tuple[AlgorithmName, ...] = Field(
        (), description="Algorithms trained in the same command, for the final comparison."
    )
    archive: ArchiveConfig = ArchiveConfig()
    clients: ClientsConfig = ClientsConfig()
    model: ModelConfig = ModelConfig()
    whitening: WhiteningConfig = WhiteningConfig()
    mim: MimConfig = MimConfig()
    train: TrainConfig = TrainConfig()
    sharing: SharingConfig = SharingConfig()
    wire: WireConfig = WireConfig()
    resources: ResourcesConfig = ResourcesConfig()
    evaluate: EvaluateConfig = EvaluateConfig()
    tracking: TrackingConfig = TrackingConfig()


class _Loader(yaml.SafeLoader):
    """YAML without repeated keys, and with ``1e-3`` read as the number it is."""


def _mapping(loader: _Loader, node: yaml.MappingNode) -> dict[Any, Any]:
    seen: set[Any] = set()
    for key_node, _ in node.value:
        key = loader.construct_object(key_node, deep=True)
        if not isinstance(key, (str, int, float, bool)):
            raise yaml.constructor.ConstructorError(
                None, None, f"a key must be a word, not {key!r}", key_node.start_mark
            )
        if key in seen:
            raise yaml.constructor.ConstructorError(
                None, None, f"the key {key!r} stands twice", key_node.start_mark
            )
        seen.add(key)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("tag:yaml.org,2002:map", _mapping)


class _Dumper(yaml.SafeDumper):
    """Quotes the words that :class:`_Loader` would read as numbers."""


for _yaml in (_Loader, _Dumper):
    _yaml.add_implicit_resolver(
        "tag:yaml.org,2002:float",
        re.compile(r"^[-+]?(?:\d+\.?\d*|\.\d+)[eE][-+]?\d+$"),
        list("-+.0123456789"),
    )


def load(path: str | Path | None = None, overrides: Sequence[str] = ()) -> Config:
    """Read a configuration file and apply ``key.path=value`` overrides.

    Args:
        path: a YAML file; None starts from the defaults.
        overrides: strings such as ``train.lr=1e-3``; the value is read as YAML.

    Raises:
        ConfigError: naming the key path, the value, what is allowed and the nearest known name.
    """
    tree: dict[str, Any] = {}
    if path is not None:
        tree = _read(Path(path))
    where = " with ".join(filter(None, [str(path or ""), " ".join(overrides)]))
    for override in overrides:
        key, sign, text = override.partition("=")
        if not sign or not key:
            raise ConfigError(f"override {override!r}: expected key=value, such as train.lr=1e-3")
        _set(tree, key.split("."), _parse(text, f"override {override!r}"), override)
    return parse(tree, where)


def parse(tree: Mapping[str, Any], where: str = "the configuration") -> Config:
    """Validate a tree of plain values, such as ``{"train": {"lr": 0.01}}``.

    Raises:
        ConfigError: as :func:`load`.
    """
    try:
        # JSON mode is strict about types and still takes lists for tuples.
        return Config.model_validate_json(json.dumps(tree, default=str), strict=True)
    except ValidationError as error:
        lines = dict.fromkeys(_explain(detail) for detail in error.errors())
        raise ConfigError(f"{where}:\n" + "\n".join(f"  {line}" for line in lines)) from None
    except (TypeError, ValueError) as error:
        raise ConfigError(f"{where}: {error}") from None


def dump(config: Config) -> str:
    """The configuration as YAML that :func:`load` reads back to an equal one."""
    tree = config.model_dump(mode="json")
    return yaml.dump(
        tree, Dumper=_Dumper, sort_keys=False
    )  # ASCII: YAML folds some Unicode line ends


class KeyHelp(NamedTuple):
    """What a person needs to know of one key of the tree."""

    key: str
    kind: str
    default: Any
    sentence: str


def fields(model: type[BaseModel] = Config, prefix: str = "") -> Iterator[KeyHelp]:
    """Every key of the tree, in order."""
    for name, field in model.model_fields.items():
        kind = field.annotation
        if isinstance(kind, type) and issubclass(kind, BaseModel):
            yield from fields(kind, f"{prefix}{name}.")
        else:
            limits = ", ".join(_limit(each) for each in field.metadata if _limit(each))
            text = _kind(kind) + (f" {limits}" if limits else "")
            yield KeyHelp(f"{prefix}{name}", text, field.default, field.description or "")


def _limit(constraint: Any) -> str:
    """`>= 1` for pydantic's Ge(1), and so on; empty for what is no bound."""
    signs = {"ge": ">=", "gt": ">", "le": "<=", "lt": "<"}
    found = [
        f"{sign} {getattr(constraint, name)}"
        for name, sign in signs.items()
        if hasattr(constraint, name)
    ]
    return found[0] if found else ""


def _kind(annotation: Any) -> str:
    """A type in a person's words: `batch | group`, `list of str`, `int`."""
    origin, parts = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " | ".join(map(str, parts))
    if origin is tuple:
        return f"list of {_kind(parts[0])}"
    if origin is dict:
        return f"{_kind(parts[0])}: {_kind(parts[1])}"
    if origin in (Union, UnionType):
        return " | ".join(_kind(part) for part in parts)
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _read(path: Path) -> dict[str, Any]:
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise ConfigError(f"{path}: no such file; give the path of a YAML configuration") from None
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: cannot be read: {error}") from None
    tree = _parse(text, str(path))
    if tree is None:
        return {}
    if not isinstance(tree, dict):
        raise ConfigError(f"{path}: expected keys and values, found {type(tree).__name__}")
    return tree


def _parse(text: str, where: str) -> Any:
    try:
        loader = _Loader(text)
        try:
            return loader.get_single_data()
        finally:
            loader.dispose()
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        raise ConfigError(f"{where}: not readable as YAML: {error}") from None


def _set(tree: dict[str, Any], keys: Sequence[str], value: Any, override: str) -> None:
    for key in keys[:-1]:
        branch = tree.setdefault(key, {})
        if not isinstance(branch, dict):
            raise ConfigError(f"override {override!r}: {key!r} holds a value, not further keys")
        tree = branch
    tree[keys[-1]] = value


_PLAIN = {
    "a valid array": "a list, such as [a, b]",
    "a valid integer": "a whole number",
    "a valid string": "a word or text",
    "an object": "keys and values",
    "a valid boolean": "true or false",
}


def _explain(detail: ErrorDetails) -> str:
    """One sentence for one pydantic error: key path, value, what is allowed, nearest name."""
    location = [part for part in detail["loc"] if not _is_union_tag(part)]
    path = ".".join(map(str, location)) or "(top)"
    if detail["type"] == "extra_forbidden":
        known = _known(location[:-1])
        name = str(location[-1])
        hint = nearest(name, known) or nearest(name, [each.key for each in fields()], tail=True)
        allowed = ", ".join(known)
        return f"{path}: unknown key{hint}; known here: {allowed}"
    value = json.dumps(detail["input"], default=str)
    message = detail["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
    message = _PLAIN.get(message, message)
    hint = ""
    if detail["type"] == "literal_error" and isinstance(detail["input"], str):
        hint = nearest(detail["input"], re.findall(r"'([^']+)'", message))
    return f"{path}: {value} is not allowed; it must be {message.removeprefix('must be ')}{hint}"


def _is_union_tag(part: str | int) -> bool:
    return isinstance(part, str) and (part.startswith("literal[") or part in ("int", "str"))


def _known(location: Sequence[str | int]) -> list[str]:
    model: type[BaseModel] = Config
    for part in location:
        kind = model.model_fields[str(part)].annotation
        if not (isinstance(kind, type) and issubclass(kind, BaseModel)):
            return []
        model = kind
    return list(model.model_fields)


def nearest(name: str, known: Sequence[str], tail: bool = False) -> str:
    """`; did you mean ...?` for the known name closest to a mistyped one, or nothing."""
    names = {key.rsplit(".", 1)[-1]: key for key in known} if tail else {key: key for key in known}
    found = difflib.get_close_matches(name, names, n=1)
    return f"; did you mean {names[found[0]]!r}?" if found else ""
