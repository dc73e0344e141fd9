"""A whole run: check, open, train the algorithm and its baselines, write the result.

This is the one place where the floors meet; the rounds themselves are in `rounds.py`.
"""

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, replace
from datetime import UTC, datetime
from math import ceil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from raymmfl import configfile as configuration
from raymmfl import environment, figures, heatmaps, history
from raymmfl.algorithms import ALGORITHMS, Algorithm
from raymmfl.archive.partition import (
    Client,
    chosen_sensors,
    class_counts,
    divide,
    partition,
    pooled,
)
from raymmfl.archive.store import Archive
from raymmfl.checkpoint import Checkpoints
from raymmfl.config import Config, ResourcesConfig, TrackingConfig
from raymmfl.errors import CheckpointError, ConfigError, PartitionError
from raymmfl.evaluate_pixels import class_pixels
from raymmfl.federation.plan import Plan
from raymmfl.federation.setting import Setting
from raymmfl.files import sha256, sole_owner, write_whole
from raymmfl.mirroring import FILES, look, open_mirror
from raymmfl.models.export import SceneClassifier
from raymmfl.report import comparison_table, partition_table
from raymmfl.rounds import Say, Steer, Training, final_arrays, say_nothing, train
from raymmfl.runtime.worker import all_sensors, make_model, make_plan
from raymmfl.scoring import Metrics, Runtime, Split, score_guess
from raymmfl.tasks import TASKS, task_of
from raymmfl.tracking import NullMirror, check_uri


def run(
    config: Config,
    out: Path | None = None,
    *,
    algorithm: Algorithm | None = None,
    address: str | None = None,
    say: Say = say_nothing,
    steer: Steer | None = None,
) -> Path:
    """Train, score and record one configuration and its baselines.

    Args:
        config: the whole run.
        out: the run folder, which must not exist; None makes ``runs/<name>-<UTC time>``.
        algorithm: one that is not in the table; None takes ``config.algorithm``.
        address: of an existing Ray cluster.
        say: receives each line for a person.
        steer: of a search, whose trial this run is: receives each history line and may end the
            run by raising. Such a run sees the validation split alone and draws no figures.

    Returns:
        The run folder.

    Raises:
        RaymmflError: of the kind that fits; what is on disk is whole.
    """
    out = out or Path("runs") / f"{config.name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    if out.exists() and any(out.iterdir() if out.is_dir() else [out]):
        raise CheckpointError(
            f"{out} exists already; give another --out, or continue it: raymmfl resume {out}"
        )
    chosen = algorithm or ALGORITHMS[config.algorithm]
    with (
        _opened(config, [chosen, *_baselines(config)], address, say, steer) as (archive, runtime),
        _owned(out, fresh=True),
    ):
        say(f"run folder: {out}")
        write_whole(out / "config.yaml", (_remark(chosen) + configuration.dump(config)).encode())
        history.write_json(out / "algorithm.json", asdict(chosen))
        history.write_json(
            out / "environment.json",
            {
                **environment.describe(config.resources.threads),
                "archive": archive.digest,
                "config": _digest(config),
            },
        )
        return _all(config, chosen, archive, runtime, out, say, [], steer)


def resume(
    out: Path,
    *,
    address: str | None = None,
    say: Say = say_nothing,
    steer: Steer | None = None,
) -> Path:
    """Continue a run from its last whole checkpoint.

    Args:
        out: the run folder.
        address: of an existing Ray cluster.
        say: receives each line for a person.
        steer: as in :func:`run`; receives the lines of the rounds still to come.

    Raises:
        CheckpointError: if the folder is no run, or has no whole checkpoint.
    """
    if not (out / "config.yaml").is_file():
        raise CheckpointError(f"{out} is no run folder: it has no config.yaml")
    config = configuration.load(out / "config.yaml")
    if (out / "result.json").is_file():
        if not _unmirrored(config, out):
            say(f"{out} is finished; nothing to resume")
            return out
        say(f"{out} is finished, but its copy in MLflow is not")
    checkpoint, damaged = Checkpoints(out / "checkpoints").load()
    if checkpoint is None:
        raise CheckpointError(
            f"{out} has no whole checkpoint to continue from"
            + "".join(f"; {warning}" for warning in damaged)
            + f"; start again: raymmfl run {out / 'config.yaml'} --out <another folder>"
        )
    chosen = Algorithm(**_read_json(out / "algorithm.json"))
    before = _read_json(out / "environment.json")
    warnings = environment.changes(before, environment.describe(config.resources.threads))
    with (
        _owned(out, fresh=False),
        _opened(config, [chosen, *_baselines(config)], address, say, steer) as (archive, runtime),
    ):
        if _digest(config) != before.get("config"):
            raise CheckpointError(
                f"{out / 'config.yaml'} was changed since the run began (only resources and "
                f"tracking may be); put it back, or start a new run with it"
            )
        if archive.digest != before.get("archive"):
            raise CheckpointError(
                f"the archive {archive.path} is not the one that {out} was trained on; put the "
                f"old one back, or start a new run"
            )
        return _all(config, chosen, archive, runtime, out, say, warnings, steer)


@contextmanager
def _owned(out: Path, fresh: bool) -> Iterator[None]:
    """Hold the run folder; two processes in one would mix their rounds.

    Raises:
        CheckpointError: if another process has it, or a fresh one has been filled meanwhile.
    """
    out.mkdir(parents=True, exist_ok=True)
    try:
        with sole_owner(out):
            if fresh and (out / "config.yaml").exists():
                raise CheckpointError(f"{out} has been filled by another run; give another --out")
            yield
    except BlockingIOError:
        raise CheckpointError(f"{out} is in use by another process; let it end first") from None


def _digest(config: Config) -> str:
    """Of all that decides the result; where it runs and is mirrored may change on resume."""
    decisive = config.model_copy(
        update={"resources": ResourcesConfig(threads=config.resources.threads)}
        | {"tracking": TrackingConfig()}
    )
    return sha256(configuration.dump(decisive).encode())


def _remark(algorithm: Algorithm) -> str:
    """A first line for the configuration of an algorithm that no configuration can name."""
    if ALGORITHMS.get(algorithm.name) == algorithm:
        return ""
    return (
        f"# Trained by run(..., algorithm=...) with {algorithm.name!r}, see algorithm.json.\n"
        f"# This file alone trains the algorithm that it names.\n"
    )


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(found, dict):
            raise ValueError("it holds no keys and values")
    except (OSError, ValueError) as error:
        raise CheckpointError(
            f"{path} cannot be read ({error}); put the file back, or start a new run"
        ) from None
    return found


def _unmirrored(config: Config, out: Path) -> bool:
    """Whether something of a finished run did not reach MLflow: it was away, or we were killed."""
    folders = [out, *(out / "baselines" / name for name in config.baselines)]
    notes = [folder / "mlflow.json" for folder in folders if config.tracking.mlflow]
    return any(_read_json(note).get("status") != "FINISHED" for note in notes if note.is_file())


def _baselines(config: Config) -> list[Algorithm]:
    return [ALGORITHMS[name] for name in config.baselines]


@contextmanager
def _opened(
    config: Config,
    algorithms: Sequence[Algorithm],
    address: str | None,
    say: Say,
    steer: Steer | None,
) -> Iterator[tuple[Archive, Runtime]]:
    """The archive and a runtime, with everything checked that can be before work begins."""
    if config.tracking.mlflow:
        check_uri(config.tracking.uri)
    archive = Archive.open(config.archive.path, config.archive.coarsest_m)
    _check_masks(config, archive)
    clients = partition(archive, config.clients, config.seed)
    for algorithm in algorithms:
        _check_pairs(archive, clients, algorithm)
        _setting(config, algorithm, archive)  # builds the model, which may refuse its settings
    unit = TASKS[config.task].unit
    for name in ("train", *_splits(steer)):
        if not Split(archive, config, name).counts.any():
            raise PartitionError(
                f"the {name} split of {archive.path} has no labelled {unit} of the chosen "
                f"regions, seasons and sensors; choose others (clients.regions, clients.seasons), "
                f"or pack more scenes"
            )
    if config.resources.runtime == "ray":
        say("starting Ray and its client actors")
    runtime = _runtime(config, archive, ceil(config.clients.fraction * len(clients)), address)
    try:
        yield archive, runtime
    finally:
        runtime.close()


def _runtime(config: Config, archive: Archive, cohort: int, address: str | None) -> Runtime:
    if config.resources.runtime == "serial":
        from raymmfl.runtime.serial import SerialRuntime

        return SerialRuntime(str(archive.path), config.resources.threads)
    from raymmfl.runtime.actors import RayRuntime  # a serial run does not need Ray at all

    return RayRuntime(str(archive.path), config.resources, cohort, address)


def _check_masks(config: Config, archive: Archive) -> None:
    if config.task != "pixels":
        return
    if archive.mask is None:
        raise ConfigError(
            f"task: pixels needs pixel labels, but the archive {archive.path} has none; choose "
            f"task: scenes, or pack an archive that has them"
        )
    for sensor in chosen_sensors(archive, config.clients):
        size = archive.sensors[sensor].size
        if size != archive.mask.size:
            raise ConfigError(
                f"task: pixels: {sensor} has {size} pixels per side, the pixel labels of "
                f"{archive.path} have {archive.mask.size}; leave the sensor out by clients.sensors"
            )


def _check_pairs(archive: Archive, clients: Sequence[Client], algorithm: Algorithm) -> None:
    if not algorithm.mim:
        return
    sensors_of_scene = np.zeros(len(archive.targets), np.int64)
    for sensor in archive.sensors:
        held = np.zeros(len(archive.targets), bool)
        for client in clients:
            if sensor in client.sensors:
                held[client.rows[archive.present(sensor)[client.rows]]] = True
        sensors_of_scene += held
    if not (sensors_of_scene > 1).any():
        raise PartitionError(
            f"{algorithm.name} links images of one scene from two sensors, but no training scene "
            f"is held with two sensors; choose an algorithm without +mim, or clients that share "
            f"scenes"
        )


def _setting(config: Config, algorithm: Algorithm, archive: Archive) -> Setting:
    clients: Sequence[Client] = partition(archive, config.clients, config.seed)
    if algorithm.pooled:
        clients = [pooled(clients)]
    draft = Setting(config, algorithm, Plan(()), tuple(clients), len(archive.targets))
    return replace(draft, plan=make_plan(archive, draft))


def _all(
    config: Config,
    algorithm: Algorithm,
    archive: Archive,
    runtime: Runtime,
    out: Path,
    say: Say,
    warnings: list[str],
    steer: Steer | None,
) -> Path:
    """Train the algorithm and then its baselines, and write the result of them all."""
    setting = _setting(config, algorithm, archive)
    counts = _class_counts(config, archive, setting.clients)
    warnings = [
        *divide(archive, config.clients, config.seed).warnings,
        *_empty_classes(archive, config, counts, _splits(steer)),
        *warnings,
    ]
    ids = [client.client_id for client in setting.clients]
    unit = TASKS[config.task].unit
    say(partition_table(ids, archive.labels, counts.tolist(), unit))
    say(setting.plan.table())
    tracker = _mirror(config, algorithm, archive, out, None)
    try:
        training = train(setting, archive, runtime, out, tracker, say, warnings, steer)
        if steer is not None:
            history.write_json(out / "result.json", _trial_result(setting, archive, training))
            tracker.finish("FINISHED")
            return out
        baselines = _train_baselines(config, archive, runtime, out, tracker, say)
        result = _result(setting, archive, training, baselines)
        history.write_json(out / "result.json", result)
    except BaseException as error:
        tracker.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        say(f"stopped; `raymmfl resume {out}` continues after the last whole round")
        raise
    try:
        _draw(setting, archive, result, counts, out)
    except Exception as error:  # a picture that cannot be drawn must not cost the result
        say(f"warning: the figures were not drawn: {type(error).__name__}: {error}")
    files = [out / name for name in FILES]
    tracker.finish("FINISHED", result, files, _final_model(setting, archive, training))
    _ending(tracker, result, out, say)
    return out


def _train_baselines(
    config: Config, archive: Archive, runtime: Runtime, out: Path, tracker: NullMirror, say: Say
) -> dict[str, Metrics]:
    found = {}
    for baseline in _baselines(config):
        say(f"baseline {baseline.name}: {baseline.summary}")
        folder = out / "baselines" / baseline.name
        folder.mkdir(parents=True, exist_ok=True)
        child = _mirror(config, baseline, archive, folder, tracker.run_id)
        setting = _setting(config, baseline, archive)
        try:
            training = train(setting, archive, runtime, folder, child, say, [])
        except BaseException as error:
            child.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            raise
        result = _result(setting, archive, training, {})
        history.write_json(folder / "result.json", result)
        child.finish("FINISHED", result, [folder / "result.json"])
        found[baseline.name] = training.metrics
    return found


def _mirror(
    config: Config, algorithm: Algorithm, archive: Archive, folder: Path, parent: str | None
) -> NullMirror:
    place = folder.name if parent is None else folder.parents[1].name
    role = "run" if parent is None else "baseline"
    return open_mirror(
        config, algorithm.name, archive, folder, place=place, role=role, parent=parent
    )


def _splits(steer: Steer | None) -> tuple[str, ...]:
    """The splits a run scores; a search must not see the test split."""
    return ("val", "test") if steer is None else ("val",)


def _class_counts(
    config: Config, archive: Archive, clients: Sequence[Client]
) -> NDArray[np.int64]:
    """Training scenes, or their labelled pixels, per client and class, (clients, K)."""
    if config.task == "scenes":
        return class_counts(archive, clients)
    return np.stack([class_pixels(archive, client.rows).sum(axis=0) for client in clients])


def _empty_classes(
    archive: Archive, config: Config, counts: NDArray[np.int64], splits: Sequence[str]
) -> list[str]:
    empty = [
        name for name, count in zip(archive.labels, counts.sum(axis=0), strict=True) if not count
    ]
    found = {"train": empty}
    found |= {name: Split(archive, config, name).absent for name in splits}
    unit = TASKS[config.task].unit
    return [
        f"no {unit} of the {split} split has the class{'es' if len(names) > 1 else ''} "
        f"{', '.join(names)}"
        for split, names in found.items()
        if names
    ]


def _result(
    setting: Setting, archive: Archive, training: Training, baselines: dict[str, Metrics]
) -> dict[str, Any]:
    config = setting.config
    splits = {name: Split(archive, config, name) for name in ("val", "test")}
    guess = score_guess(archive, setting, splits["test"], splits["val"])
    return {
        "name": config.name,
        "task": config.task,
        "algorithm": setting.algorithm.name,
        "seed": config.seed,
        "rounds": config.rounds,
        "synthetic": archive.synthetic,
        "archive": {"name": archive.path.name, "sha256": archive.digest},
        "clients": [client.client_id for client in setting.clients],
        "sensors": list(splits["test"].sensors),
        "labels": list(archive.labels),
        "scenes": {name: len(split.rows) for name, split in splits.items()},
        "absent_classes": {name: split.absent for name, split in splits.items()},
        "metrics": training.metrics,
        "thresholds": training.thresholds,
        "confusion": {place: found.tolist() for place, found in training.confusion.items()},
        "baselines": {**baselines, "guess": guess},
        "bytes": training.bytes,
        "flops": training.flops,
        "model_sha256": training.model_sha256,
    }


def _trial_result(setting: Setting, archive: Archive, training: Training) -> dict[str, Any]:
    """What a trial of a search leaves: the validation scores of its last round."""
    return {
        "name": setting.config.name,
        "algorithm": setting.algorithm.name,
        "seed": setting.config.seed,
        "rounds": setting.config.rounds,
        "synthetic": archive.synthetic,
        "archive": {"name": archive.path.name, "sha256": archive.digest},
        "metrics": training.metrics,
        "bytes": training.bytes,
        "flops": training.flops,
        "model_sha256": training.model_sha256,
    }


def _draw(
    setting: Setting,
    archive: Archive,
    result: dict[str, Any],
    counts: NDArray[np.int64],
    out: Path,
) -> None:
    config = setting.config
    folder = out / "figures"
    folder.mkdir(exist_ok=True)
    lines = history.read(out / "history.jsonl")
    ids = [client.client_id for client in setting.clients]
    title = figures.describe(result)
    figures.learning_curves(lines, folder / "learning_curves.png", title, config.task)
    figures.class_f1(result, folder / "class_f1.png")
    figures.comparison(result, folder / "comparison.png")
    unit = TASKS[config.task].unit
    heatmaps.partition(ids, archive.labels, counts.tolist(), folder / "clients.png", title, unit)
    if result["confusion"]:
        heatmaps.confusion(result, folder / "confusion.png")
    figures.bytes_exchanged(lines, folder / "bytes.png", title)


def _final_model(
    setting: Setting, archive: Archive, training: Training
) -> Callable[[], tuple[Any, NDArray[np.float32]]] | None:
    """What MLflow stores with a signature; None where there is no one global model."""
    sensors = all_sensors(archive, setting)
    sizes = {archive.sensors[sensor].size for sensor in sensors}
    if not setting.algorithm.shares or len(sizes) > 1:
        return None

    def make() -> tuple[Any, NDArray[np.float32]]:
        described = {sensor: archive.sensors[sensor] for sensor in sensors}
        net = make_model(archive, setting, sensors)
        arrays = final_arrays(setting, training.state)
        net.load_state_dict({n: torch.from_numpy(np.array(a)) for n, a in arrays.items()})
        module = SceneClassifier(
            net,
            {sensor: each.bands for sensor, each in described.items()},
            {sensor: each.mean for sensor, each in described.items()},
            {sensor: each.std for sensor, each in described.items()},
        )
        size = sizes.pop()
        bands = sum(len(each.bands) for each in described.values())
        return module.eval(), np.zeros((2, bands, size, size), np.float32)

    return make


def _ending(tracker: NullMirror, result: dict[str, Any], out: Path, say: Say) -> None:
    say(comparison_table(result))
    leading = task_of(result).headline[0]
    fused = result["metrics"].get(f"test/global/all/{leading.key}")
    guess = result["baselines"]["guess"][f"test/all/{leading.key}"]
    if fused is not None and fused < guess:
        say(
            f"warning: the global {leading.short} of {fused:.3f} lies below the no-image guess of "
            f"{guess:.3f}"
        )
    say(f"run folder: {out}  (figures in {out / 'figures'})")
    if tracker.warning:
        say(f"warning: {tracker.warning}")
    where = look(tracker, result)
    if where:
        say(where)
