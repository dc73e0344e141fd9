"""One training: round after round, each whole on disk before the next begins."""

import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import save

from raymmfl import history
from raymmfl.archive.store import Archive
from raymmfl.archive.tables import read_table, write_table
from raymmfl.checkpoint import Checkpoints
from raymmfl.errors import CheckpointError
from raymmfl.federation.ledger import Entry, entries, totals
from raymmfl.federation.server import Outcome, State
from raymmfl.federation.setting import Setting
from raymmfl.files import sha256, write_whole
from raymmfl.models.export import ColumnDescription, Description, SensorDescription
from raymmfl.runtime.flops import client_flops
from raymmfl.runtime.worker import all_sensors
from raymmfl.scoring import Metrics, Runtime, Scored, Split, score_state
from raymmfl.tasks import TASKS, TaskInfo
from raymmfl.tracking import NullMirror

Say = Callable[[str], None]
Line = dict[str, Any]
Steer = Callable[[Line], None]


def say_nothing(line: str) -> None:
    """For callers who do not want to be told."""


@dataclass
class Training:
    """How a training ended.

    Attributes:
        state: after the last round.
        metrics: on the test split; of a search's trial, those of its last round.
        thresholds: chosen on validation after the last round; pixels need none.
        confusion: of the test split's pixels, by ``test/<view>/<sensors>``; nothing for scenes.
        bytes: by direction and purpose, over all rounds.
        flops: of local training, over all rounds.
        model_sha256: of ``model.safetensors``.
    """

    state: State
    metrics: Metrics
    thresholds: dict[str, float]
    confusion: dict[str, NDArray[np.int64]]
    bytes: dict[str, dict[str, int]]
    flops: int
    model_sha256: str


def train(
    setting: Setting,
    archive: Archive,
    runtime: Runtime,
    folder: Path,
    tracker: NullMirror,
    say: Say,
    warnings: list[str],
    steer: Steer | None = None,
) -> Training:
    """Train from the last whole checkpoint, or from the start, to the last round.

    Args:
        setting: what is trained.
        archive: of the images, for its splits.
        runtime: where clients run.
        folder: the run folder.
        tracker: the mirror of the run.
        say: receives one line per round.
        warnings: sentences for the next history line.
        steer: receives each history line, once it is on disk, and may end the training by
            raising; then the test split is not read.
    """
    rounds = setting.config.rounds
    val = Split(archive, setting.config, "val")
    checkpoints = Checkpoints(folder / "checkpoints")
    checkpoint, damaged = checkpoints.load()
    warnings = [*warnings, *damaged]
    for warning in warnings:
        say(f"warning: {warning}")
    if checkpoint is not None:
        _check_fit(setting, checkpoint.state, folder)
    state = runtime.prepare(setting, checkpoint.state if checkpoint else None)
    checkpoints.clean(state.round)
    ledger = _Ledger(folder / "ledger.parquet", state.round)
    diary = _Diary(folder / "history.jsonl", state.round)
    if checkpoint is None:
        checkpoints.save(state, {}, [])
    else:
        say(f"continuing after round {state.round}")
    pending = checkpoint.report if checkpoint and diary.last < state.round else None
    clock = _Clock(rounds - state.round, TASKS[setting.config.task])
    effort = client_flops(setting, archive) if state.round < rounds else {}
    while True:
        if pending is not None:  # scored and written down, be it after a crash in between
            pending["warnings"] += warnings
            warnings = []
            line = _scored(pending, runtime, setting, state, val)
            diary.add(line)
            tracker.round(line)
            if steer is not None:
                steer(line)
            say(clock.line(line, rounds))
        if state.round == rounds:
            break
        started = time.perf_counter()
        state, outcome = runtime.round()
        pending = _report(outcome, ledger.add(outcome), time.perf_counter() - started)
        pending["flops"] = sum(effort[record.client_id] for record in outcome.records)
        for warning in outcome.warnings:
            say(f"warning: {warning}")
        changed = [each.client_id for each in outcome.records if each.refused is None]
        checkpoints.save(state, pending, changed)
    scored = Scored(diary.metrics, diary.thresholds, {})
    if steer is None:
        test = Split(archive, setting.config, "test")
        scored = score_state(runtime, setting, state, test, diary.thresholds, final=True)
    digest = _write_model(setting, archive, state, folder / "model.safetensors")
    return Training(
        state=state,
        metrics=scored.metrics,
        thresholds=diary.thresholds,
        confusion=scored.confusion,
        bytes=totals(ledger.rows),
        flops=diary.flops,
        model_sha256=digest,
    )


def _check_fit(setting: Setting, state: State, folder: Path) -> None:
    """A checkpoint of another model or a longer run cannot be continued."""
    plan = setting.plan
    found = state.flat.weights.size, state.flat.moments.size, state.flat.counters.size
    wanted = plan.length("weights"), plan.length("moments"), plan.length("counters")
    names = {name for memory in state.memory.values() for name in memory}
    if found != wanted or not names <= plan.by_name.keys() or state.round > setting.config.rounds:
        raise CheckpointError(
            f"the checkpoints of {folder} are of another model or a longer run than its "
            f"config.yaml describes; put the configuration back, or start a new run"
        )


def _report(outcome: Outcome, moved: list[Entry], seconds: float) -> Line:
    """The round's history line, but for its scores; JSON values only."""
    records = [record for record in outcome.records if record.refused is None]
    losses: dict[str, list[float]] = {}
    for record in records:
        for name, value in record.losses.items():
            losses.setdefault(name, []).append(value)
    samples = np.array([record.num_samples for record in records], np.float64)
    metrics = {}
    for name, values in losses.items():
        weights = samples if len(values) == len(samples) else None
        metrics[f"train/{name}"] = float(np.average(values, weights=weights))
    return {
        "round": outcome.round,
        "metrics": metrics,
        "thresholds": {},
        "bytes": totals(moved),
        "seconds": {"round": seconds},
        "clients": {
            "cohort": len(outcome.cohort),
            "accepted": len(records),
            "refused": {r.client_id: r.refused for r in outcome.records if r.refused},
            "restarts": outcome.restarts,
            "spread": {
                **{name: _quantiles(values) for name, values in losses.items()},
                "seconds": _quantiles([record.seconds for record in records]),
            },
        },
        "warnings": list(outcome.warnings),
    }


def _quantiles(values: list[float]) -> list[float]:
    return [float(each) for each in np.quantile(values, [0, 0.25, 0.5, 0.75, 1])]


def _scored(line: Line, runtime: Runtime, setting: Setting, state: State, val: Split) -> Line:
    config = setting.config
    if state.round % config.evaluate.every and state.round != config.rounds:
        return line
    started = time.perf_counter()
    scored = score_state(runtime, setting, state, val, None)
    line["metrics"] |= scored.metrics
    line["thresholds"] = scored.thresholds
    line["seconds"]["evaluate"] = time.perf_counter() - started
    return line


class _Diary:
    """history.jsonl: cut back to the checkpoint on resume, then one line per round."""

    def __init__(self, path: Path, last_round: int) -> None:
        self.path = path
        try:
            history.truncate(path, last_round)
            lines = history.read(path)
            rounds = [line["round"] for line in lines]
            self.thresholds: dict[str, float] = lines[-1]["thresholds"] if lines else {}
            self.metrics: Metrics = lines[-1]["metrics"] if lines else {}
            self.flops = sum(line["flops"] for line in lines)
        except (KeyError, TypeError) as error:
            raise CheckpointError(
                f"{path} holds a line that is none of ours ({error}); put the file back, or start "
                f"a new run"
            ) from None
        self.last = len(rounds)
        if rounds != list(range(1, self.last + 1)) or self.last < last_round - 1:
            raise CheckpointError(
                f"{path} lacks rounds: it has {rounds}, the checkpoint is of round {last_round}; "
                f"put the file back, or start a new run"
            )

    def add(self, line: Line) -> None:
        history.append(self.path, line)
        self.last = line["round"]
        self.thresholds, self.metrics = line["thresholds"], line["metrics"]
        self.flops += line["flops"]


class _Ledger:
    """ledger.parquet: cut back to the checkpoint on resume, written whole after each round."""

    def __init__(self, path: Path, last_round: int) -> None:
        self.path = path
        self.rows: list[Entry] = []
        if path.exists():
            table = read_table(path)
            missing = Entry.__dataclass_fields__.keys() - table
            if missing:
                raise CheckpointError(f"{path} lacks the column {min(missing)}; put the file back")
            values = zip(*(table[name] for name in Entry.__dataclass_fields__), strict=True)
            self.rows = [
                row for row in (Entry(*each) for each in values) if row.round <= last_round
            ]
        elif last_round:
            raise CheckpointError(f"{path} is missing; put the file back, or start a new run")

    def add(self, outcome: Outcome) -> list[Entry]:
        moved = []
        for record in outcome.records:
            moved += entries(outcome.round, record.client_id, "down", record.down)
            moved += entries(outcome.round, record.client_id, "up", record.up)
        self.rows += moved
        columns = {
            name: [getattr(row, name) for row in self.rows]
            for name in asdict(Entry(0, "", "up", "", 0))
        }
        write_table(self.path, columns)
        return moved


class _Clock:
    """One progress line per round, with the time left at the pace so far."""

    def __init__(self, left: int, task: TaskInfo) -> None:
        self.left = left
        self.headline = task.headline
        self.started = time.monotonic()
        self.done = 0

    def line(self, line: Line, rounds: int) -> str:
        self.done += 1
        pace = (time.monotonic() - self.started) / self.done
        left = max(0.0, pace * (rounds - line["round"]))
        clients = line["clients"]
        metrics = line["metrics"]
        scores = [
            f"{metric.short} {metrics[f'val/{view}/all/{metric.key}']:.3f}"
            for view in ("global", "home", "away")
            for metric in self.headline
            if f"val/{view}/all/{metric.key}" in metrics
        ]
        shown = f"  val {'  '.join(scores[:2])}" if scores else ""
        up, down = (sum(line["bytes"][way].values()) / 1e6 for way in ("up", "down"))
        return (
            f"round {line['round']:>{len(str(rounds))}}/{rounds}  "
            f"clients {clients['accepted']}/{clients['cohort']}  "
            f"loss {metrics.get('train/task_loss', float('nan')):.3f}{shown}  "
            f"up {up:.1f} MB  down {down:.1f} MB  {line['seconds']['round']:.1f} s  "
            f"left {int(left) // 60}:{int(left) % 60:02d}"
        )


def _write_model(setting: Setting, archive: Archive, state: State, path: Path) -> str:
    """Write the final weights; returns the file's sha256.

    Arrays carry their ``state_dict`` names; those that never left a client carry its id before.
    """
    arrays = final_arrays(setting, state)
    metadata = _described(setting, archive).metadata()
    content = save({name: np.asarray(a, order="C") for name, a in arrays.items()}, metadata)
    write_whole(path, content)
    return sha256(content)


def _described(setting: Setting, archive: Archive) -> Description:
    """What a reader of the model must know to build and to feed it."""
    config, algorithm = setting.config, setting.algorithm
    sensors = {name: archive.sensors[name] for name in all_sensors(archive, setting)}
    return Description(
        task=config.task,
        algorithm=algorithm.name,
        backbone=config.model.backbone,
        norm=config.model.norm,
        whitening=config.whitening.model_dump() if algorithm.whitening else None,
        projection=config.model.projection if algorithm.mim else None,
        tied=algorithm.tied,
        labels=archive.labels,
        resample=config.archive.resample,
        patch=max(sensor.size for sensor in sensors.values()),
        sensors={
            name: SensorDescription(
                sensor.bands,
                sensor.mean,
                sensor.std,
                sensor.unit,
                tuple(
                    ColumnDescription(each.name, each.bands, each.size, each.pixel_m)
                    for each in sensor.columns
                ),
            )
            for name, sensor in sensors.items()
        },
    )


def final_arrays(setting: Setting, state: State) -> Mapping[str, NDArray[np.generic]]:
    """The final model's arrays by name."""
    plan = setting.plan
    arrays = {slot.name: state.flat.read(plan, slot) for slot in plan.shared()}
    for client_id, memory in state.memory.items():
        for name, array in memory.items():
            if plan.by_name[name].scope == "client":
                arrays[f"{client_id}/{name}"] = array
    return arrays
