"""The configuration of a run: one frozen tree.

Every field carries a sentence; ``raymmfl run --help`` prints them. ``configfile.py`` reads and
writes it.
"""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, field_validator

AlgorithmName = Literal["fedavg", "mf", "mf+fw", "mf+mim", "mf+fw+mim", "local", "centralised"]
BackboneName = Literal["cnn", "resnet_small", "resnet18", "resnet50"]
Season = Literal["winter", "spring", "summer", "autumn"]
TaskName = Literal["scenes", "pixels"]
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
    coarsest_m: float | None = Field(
        None, gt=0, description="Leave out bands with pixels larger than this, in metres."
    )


class ClientsConfig(Section):
    """How the archive's training scenes are dealt out to clients."""

    partition: str = Field(
        "region",
        description=(
            "Sites: an attribute of the scenes or several joined by + (region, region+season, "
            "hemisphere+biome), random groups, or dirichlet label skew."
        ),
    )
    sites: int = Field(6, ge=1, description="Number of sites (random with even sizes, dirichlet).")
    sizes: Literal["even", "region"] = Field(
        "even",
        description="Random sites: equally large, or as many and as large as the regions (DS1).",
    )
    alpha: float = Field(
        0.5, gt=0, description="Dirichlet concentration: small is skewed, large is even."
    )
    regions: tuple[str, ...] = Field((), description="Regions to use; empty means all.")
    seasons: tuple[Season, ...] = Field(
        (), description="Seasons to use, in every split; empty means all."
    )
    season_mix: float = Field(
        0.0,
        ge=0,
        le=1,
        description=(
            "Share of each site's training scenes that scenes of the same region from the seasons "
            "left out replace; needs seasons."
        ),
    )
    sensors: tuple[str, ...] = Field((), description="Sensors to use; empty means all.")
    holding: Literal["single", "all"] = Field(
        "single",
        description="single: each site has one client per sensor; all: one client holds them all.",
    )
    holdings: dict[str, tuple[tuple[str, ...], ...]] = Field(
        {},
        description="Exceptions per site, a list of sensors per client: {Austria: [[S1, S2]]}.",
    )
    geography: Literal["paired", "disjoint"] = Field(
        "paired",
        description=(
            "paired: the clients of a site share its scenes; disjoint: a site's scenes go to one "
            "sensor only, and sites (of one region together) take turns between the sensors."
        ),
    )
    fraction: float = Field(
        1.0, gt=0, le=1, description="Share of the clients drawn for each round's cohort."
    )

    @field_validator("partition")
    @classmethod
    def _attributes(cls, value: str) -> str:
        names = value.split("+")
        alone = {"random", "dirichlet"} & set(names) and len(names) > 1
        if not all(names) or len(set(names)) < len(names) or alone:
            raise ValueError(
                "must be random, dirichlet, or different attributes of the scenes joined by +, "
                "such as region+season"
            )
        return value

    @field_validator("season_mix")
    @classmethod
    def _other_seasons(cls, value: float, info: ValidationInfo) -> float:
        if value and not info.data.get("seasons"):
            raise ValueError("must be 0 without clients.seasons: it mixes in those left out")
        return value

    @field_validator("geography")
    @classmethod
    def _one_sensor(cls, value: str, info: ValidationInfo) -> str:
        if value == "disjoint" and info.data.get("holding") == "all":
            raise ValueError("must be paired where clients.holding is all")
        return value


class ModelConfig(Section):
    """An encoder per sensor, a shared head (linear, or a U-Net decoder), a projection for MIM."""

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
    gpus: float = Field(
        0.0, ge=0, description="GPUs per client actor; may be a fraction. With 0 the CPU computes."
    )
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

    batch_size: int = Field(64, ge=1, description="Scenes per forward pass.")
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
    task: TaskName = Field(
        "scenes", description="Predict the labels of scenes, or a class for every pixel."
    )
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
