"""One run in an MLflow store, by plain calls that wait and may fail: the thread's hands.

Only ``MlflowClient`` is used: no global active run, and no global tracking URI, which MLflow
would copy, password and all, into the environment of every child process. ``mlflow`` is imported
on connecting and not above: the import takes seconds, which a run spends in its first round, and
MLflow reads its environment variables while it is imported.
"""

import contextlib
import fcntl
import importlib
import importlib.metadata
import logging
import math
import os
import re
import socket
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from raymmfl.tracking_uri import hide, kind, secrets, server, sqlite_file

Model = Callable[[], tuple[Any, np.ndarray]]

TOKEN = "raymmfl.mirror"  # noqa: S105 - the tag by which a run is found again, no secret
MARKER = "round"  # logged last with every round: where it stands, the round is whole
QUANTILES = ("q0", "q25", "q50", "q75", "q100")
METRICS_PER_BATCH = 1000  # this and the next two: limits of MLflow's REST interface
PARAMS_PER_BATCH = 100
VALUE_LENGTH = 6000

_ENVIRONMENT = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "1",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "5",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",  # a locked store would fill the terminal with SQL
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",  # the links are ours
}
_TEXT = {".csv", ".json", ".jsonl", ".txt", ".yaml"}


def set_environment() -> None:
    """Telemetry and chatter off, short retries; what the user has set stays."""
    for key, value in _ENVIRONMENT.items():
        os.environ.setdefault(key, value)


class Store:
    """The MLflow client, bound to one run once :meth:`open_run` has found or made it."""

    def __init__(self, uri: str) -> None:
        """Import MLflow; nothing is asked of the store yet."""
        self.uri = uri
        self.experiment_id = ""
        self.run_id = ""
        self._mlflow = _import("mlflow")
        self._entities = _import("mlflow.entities")
        self._client: Any = None

    def open_experiment(self, name: str) -> None:
        """Find the experiment, or make it, with the store's tables where they are missing."""
        _knock(self.uri)
        with _sole_creator(self.uri):
            self._client = self._mlflow.MlflowClient(self.uri, registry_uri=self.uri)
            found = self._client.get_experiment_by_name(name)
            if found is not None:
                self.experiment_id = str(found.experiment_id)
                return
            try:
                made = self._client.create_experiment(name, _artifact_root(self.uri, name))
            except Exception:  # MLflow's error depends on the store: was another process faster?
                found = self._client.get_experiment_by_name(name)
                if found is None:
                    raise
                made = found.experiment_id
            self.experiment_id = str(made)

    def open_run(
        self,
        token: str,
        name: str,
        tags: Mapping[str, str],
        params: Mapping[str, str],
        begun_s: float,
    ) -> set[int]:
        """Find the run by its token, or make it, and add the tags and params it lacks.

        Args:
            token: its own, for ever.
            name: for people.
            tags: of the run.
            params: of the run.
            begun_s: when it began, in seconds since 1970.

        Returns:
            The rounds that the store holds whole.
        """
        found = self._client.search_runs([self.experiment_id], f"tags.`{TOKEN}` = '{token}'")
        if found:
            run = found[0]
            if run.info.status != "RUNNING":
                self._client.update_run(run.info.run_id, status="RUNNING")
        else:
            run = self._client.create_run(
                self.experiment_id, int(begun_s * 1000), tags={TOKEN: token}, run_name=name
            )
        self.run_id = run.info.run_id
        short = {key: hide(str(value), self.uri)[:VALUE_LENGTH] for key, value in tags.items()}
        new_tags = {key: value for key, value in short.items() if run.data.tags.get(key) != value}
        new_params = [
            self._entities.Param(metric_key(key), hide(str(value), self.uri)[:VALUE_LENGTH])
            for key, value in params.items()
            if metric_key(key) not in run.data.params
        ]
        for part in _parts(new_params, PARAMS_PER_BATCH):
            self._client.log_batch(self.run_id, params=part)
        self.set_tags(new_tags)
        points = self._client.get_metric_history(self.run_id, MARKER)
        return {int(point.step) for point in points}

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Add tags to the run."""
        made = [
            self._entities.RunTag(key, hide(value, self.uri)[:VALUE_LENGTH])
            for key, value in tags.items()
        ]
        for part in _parts(made, PARAMS_PER_BATCH):
            self._client.log_batch(self.run_id, tags=part)

    def log_round(self, line: Mapping[str, Any], leading: Sequence[str] = ()) -> None:
        """Log one history line, in one batch up to a thousand numbers.

        Args:
            line: the round.
            leading: metrics that come first; MLflow's page that compares runs opens with the
                first of all.
        """
        number = int(line["round"])
        values = flat_metrics(line)
        first = {name: values[name] for name in leading if name in values}
        self._log_metrics({**first, **values, MARKER: float(number)}, number)

    def log_result(self, result: Mapping[str, Any]) -> None:
        """Log the final numbers that the run lacks or that have changed, at its last round."""
        known = self._client.get_run(self.run_id).data.metrics
        values = final_metrics(result)
        left = {key: value for key, value in values.items() if known.get(metric_key(key)) != value}
        self._log_metrics(left, int(result.get("rounds", 0)))
        for key in ("model_sha256", "synthetic"):
            if key in result:
                self._client.set_tag(self.run_id, f"raymmfl.{key}", str(result[key]).lower())

    def upload(self, path: Path, run_dir: Path) -> None:
        """Copy a file to the run's artifacts, text without the address's secrets."""
        folder = None
        with contextlib.suppress(ValueError):
            inside = path.resolve().relative_to(run_dir.resolve()).parent
            folder = None if inside == Path() else inside.as_posix()
        if path.suffix in _TEXT and secrets(self.uri):
            with tempfile.TemporaryDirectory() as scratch:
                copy = Path(scratch) / path.name
                copy.write_text(hide(path.read_text("utf-8"), self.uri), "utf-8")
                self._client.log_artifact(self.run_id, str(copy), folder)
        else:
            self._client.log_artifact(self.run_id, str(path), folder)

    def has_model(self) -> bool:
        """Whether a model is tied to the run already."""
        outputs = self._client.get_run(self.run_id).outputs
        return bool(outputs and outputs.model_outputs)

    def new_model(self) -> Any:
        """Announce a model of this run; the store answers with its id and its place."""
        return self._client.create_logged_model(
            self.experiment_id, name="model", source_run_id=self.run_id
        )

    def trace_model(self, entry: Any, model: Model, folder: Path) -> None:
        """Write an announced model in MLflow's layout, without asking the store.

        As a traced graph (pt2), which loads without running any pickle, with the signature that
        MLflow infers.
        """
        module, example = model()
        module.eval()
        # zeros: the example is stored beside the model; two rows, or the batch size becomes fixed
        example = np.zeros((max(2, len(example)), *example.shape[1:]), example.dtype)
        flavour = _import("mlflow.pytorch")
        flavour.save_model(
            module,
            str(folder),
            mlflow_model=_import("mlflow.models").Model(
                artifact_path=entry.artifact_location, model_id=entry.model_id, run_id=self.run_id
            ),
            input_example=example,
            serialization_format="pt2",
            pip_requirements=[_pinned(name) for name in ("torch", "numpy", "mlflow")],
        )

    def log_model(self, entry: Any, folder: Path | None) -> None:
        """Upload a traced model and tie it to the run; None says that it could not be traced."""
        if folder is None:
            self._client.finalize_logged_model(entry.model_id, "FAILED")
            return
        self._client.log_model_artifacts(entry.model_id, str(folder))
        self._client.finalize_logged_model(entry.model_id, "READY")
        output = self._entities.LoggedModelOutput(entry.model_id, step=0)
        self._client.log_outputs(self.run_id, [output])

    def close(self, status: str, ended_s: float) -> None:
        """Set how the run ended, and when, in seconds since 1970."""
        self._client.set_terminated(self.run_id, status, int(ended_s * 1000))

    def _log_metrics(self, values: Mapping[str, float], step: int) -> None:
        now = int(time.time() * 1000)
        metrics = [
            self._entities.Metric(metric_key(key), value, now, step)
            for key, value in values.items()
        ]
        for part in _parts(metrics, METRICS_PER_BATCH):
            self._client.log_batch(self.run_id, metrics=part)


def flat_metrics(line: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of one history line under MLflow's names; NaN and null are left out.

    Metrics and thresholds keep their names; the rest becomes ``gflops`` (of local training),
    ``mb/up/weights`` (10^6 bytes), ``seconds/round``, ``clients/accepted`` and
    ``clients/loss/q50`` (quantiles over clients).
    """
    found: dict[str, Any] = dict(line.get("metrics", {}))
    found |= {f"thresholds/{key}": value for key, value in line.get("thresholds", {}).items()}
    if "flops" in line:
        found["gflops"] = line["flops"] / 1e9
    found |= {f"seconds/{key}": value for key, value in line.get("seconds", {}).items()}
    for direction, purposes in line.get("bytes", {}).items():
        found |= {f"mb/{direction}/{key}": value / 1e6 for key, value in purposes.items()}
    clients = line.get("clients", {})
    for key, value in clients.items():
        if key == "refused":
            found["clients/refused"] = len(value)
        elif key == "spread":
            for name, quantiles in value.items():
                names = (f"clients/{name}/{quantile}" for quantile in QUANTILES)
                found |= dict(zip(names, quantiles, strict=True))
        else:
            found[f"clients/{key}"] = value
    return _finite(found)


def final_metrics(result: Mapping[str, Any]) -> dict[str, float]:
    """The numbers of ``result.json``: test metrics, and those of ``baselines.<name>``."""
    found = dict(result.get("metrics", {}))
    for name, metrics in result.get("baselines", {}).items():
        found |= {f"baselines.{name}/{key}": value for key, value in metrics.items()}
    return _finite(found)


def _finite(values: Mapping[str, Any]) -> dict[str, float]:
    return {
        key: float(value)
        for key, value in values.items()
        if isinstance(value, (int, float)) and math.isfinite(value)
    }


def metric_key(name: str) -> str:
    """A name MLflow takes: class names may hold commas and brackets, MLflow's keys may not."""
    parts = (re.sub(r"(?:\s*[^\w. -]\s*)+", "_", part).strip(" .") for part in name.split("/"))
    return "/".join(part for part in parts if part)[:250]


def _parts(entries: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (entries[begin : begin + size] for begin in range(0, len(entries), size))


def _import(name: str) -> Any:
    """Import a part of MLflow without its chatter on the terminal."""
    for logger in ("urllib3.connectionpool", "alembic", "sqlalchemy.pool"):
        logging.getLogger(logger).setLevel(logging.ERROR)  # retries and migrations, line by line
    return importlib.import_module(name)


def _knock(uri: str) -> None:
    """Fail within seconds where MLflow would try a silent data base server for an hour."""
    if kind(uri) in ("postgresql", "mysql", "mssql"):
        socket.create_connection(server(uri), timeout=5).close()


@contextlib.contextmanager
def _sole_creator(uri: str) -> Iterator[None]:
    """Let one process at a time make the tables of a SQLite file; two at once break it."""
    if kind(uri) != "sqlite":
        yield
        return
    file = sqlite_file(uri)
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.with_name(file.name + ".lock").open("w") as lock:  # freed even by kill -9
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _artifact_root(uri: str, experiment: str) -> str | None:
    """Beside a SQLite file rather than in whatever folder the command was started."""
    if kind(uri) != "sqlite":
        return None
    folder = re.sub(r"[^\w.-]+", "_", experiment)
    return (sqlite_file(uri).parent / "mlartifacts" / folder).as_uri()


def _pinned(name: str) -> str:
    """``torch==2.13.0``, without a local part such as ``+cpu``."""
    return f"{name}=={importlib.metadata.version(name).partition('+')[0]}"
