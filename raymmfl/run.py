"""A whole run: open, train the algorithm and its baselines, write the result.

This is the one place where the floors meet; the rounds themselves are in `rounds.py`.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from raymmfl import configfile as configuration
from raymmfl import environment, history, results
from raymmfl.algorithms import ALGORITHMS, Algorithm
from raymmfl.archive.partition import divide
from raymmfl.archive.store import Archive
from raymmfl.checkpoint import Checkpoints
from raymmfl.config import Config, ResourcesConfig, TrackingConfig
from raymmfl.errors import CheckpointError
from raymmfl.files import sha256, sole_owner, write_whole
from raymmfl.mirroring import FILES, open_mirror
from raymmfl.opening import opened, setting_of, splits_of
from raymmfl.report import partition_table
from raymmfl.rounds import Say, Steer, say_nothing, train
from raymmfl.scoring import Metrics, Runtime
from raymmfl.tasks import TASKS
from raymmfl.tracking import NullMirror


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
        opened(config, [chosen, *_baselines(config)], address, say, steer) as (archive, runtime),
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
        opened(config, [chosen, *_baselines(config)], address, say, steer) as (archive, runtime),
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
    setting = setting_of(config, algorithm, archive)
    counts = results.count_classes(config, archive, setting.clients)
    warnings = [
        *divide(archive, config.clients, config.seed).warnings,
        *results.empty_classes(archive, config, counts, splits_of(steer)),
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
            history.write_json(
                out / "result.json", results.trial_result(setting, archive, training)
            )
            tracker.finish("FINISHED")
            return out
        baselines = _train_baselines(config, archive, runtime, out, tracker, say)
        result = results.result_of(setting, archive, training, baselines)
        history.write_json(out / "result.json", result)
    except BaseException as error:
        tracker.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
        say(f"stopped; `raymmfl resume {out}` continues after the last whole round")
        raise
    try:
        results.draw(setting, archive, result, counts, out)
    except Exception as error:  # a picture that cannot be drawn must not cost the result
        say(f"warning: the figures were not drawn: {type(error).__name__}: {error}")
    files = [out / name for name in FILES]
    tracker.finish("FINISHED", result, files, results.final_model(setting, archive, training))
    results.ending(tracker, result, out, say)
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
        setting = setting_of(config, baseline, archive)
        try:
            training = train(setting, archive, runtime, folder, child, say, [])
        except BaseException as error:
            child.finish("KILLED" if isinstance(error, KeyboardInterrupt) else "FAILED")
            raise
        result = results.result_of(setting, archive, training, {})
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
