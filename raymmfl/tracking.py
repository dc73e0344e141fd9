"""The mirror of a run folder in MLflow, kept by a background thread that can never stop the run.

The run folder is the record; MLflow is a copy of it. Rounds are handed over without waiting, a
store that is slow, locked or away is asked again later, and what is missing at the end is read
back from ``history.jsonl``, so that ``raymmfl sync RUN`` can add it another day. Importing this
module does not import ``mlflow``; the thread does (see :mod:`raymmfl.tracking_store`).
"""

import contextlib
import json
import logging
import shlex
import tempfile
import threading
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from raymmfl import history
from raymmfl.config import Config
from raymmfl.errors import RaymmflError
from raymmfl.tracking_links import Site
from raymmfl.tracking_store import Model, Store, set_environment
from raymmfl.tracking_uri import absolute_uri, check_uri, hide, kind, redact

Status = Literal["FINISHED", "FAILED", "KILLED"]

PATIENCE_S = 30.0  # how long finish() waits without any progress
HOPELESS_S = 6.0  # how long for a server that never answered
LIMIT_S = 120.0  # how long in all

log = logging.getLogger(__name__)


class NullMirror:
    """What a run without MLflow mirrors to."""

    run_id: str | None = None
    warning: str | None = None

    def round(self, line: Mapping[str, Any]) -> None:
        """Nothing is mirrored."""

    def settle(self) -> None:
        """Nothing to wait for."""

    def finish(
        self,
        status: Status,
        result: Mapping[str, Any] | None = None,
        artifacts: Sequence[Path] = (),
        model: Model | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Nothing is mirrored."""

    def where(self) -> str:
        """Nothing to look at."""
        return ""

    def site(self) -> Site | None:
        """No experiment to look at."""
        return None


class Mirror(NullMirror):
    """One run folder's copy in MLflow; made by :meth:`start`, ended by :meth:`finish`."""

    def __init__(
        self,
        config: Config,
        run_dir: Path,
        run_name: str,
        tags: Mapping[str, str],
        params: Mapping[str, str],
        leading: Sequence[str],
    ) -> None:
        self.run_id = None
        self.warning = None
        self._uri = absolute_uri(config.tracking.uri)
        self._run_dir = run_dir
        self._name = run_name
        self._tags = dict(tags)
        self._params = dict(params)
        self._leading = tuple(leading)
        self._note = _note(run_dir, redact(self._uri), config.tracking.experiment)
        self._store: Store | None = None
        self._connected = False
        self._reached = False  # the store answered at least once in this process
        self._failures = 0
        self._mirrored: set[int] = set()
        self._pending: dict[int, Mapping[str, Any]] = {}
        self._ending: _Ending | None = None
        self._lock = threading.Lock()
        self._wake = threading.Event()
        self._hurry = threading.Event()
        self._known = threading.Event()  # the run has its id
        self._over = threading.Event()
        self._abandoned = False
        self._progress = time.monotonic()
        self._thread = threading.Thread(target=self._work, name="mlflow-mirror", daemon=True)

    @classmethod
    def start(
        cls,
        config: Config,
        run_dir: Path,
        *,
        run_name: str,
        tags: Mapping[str, str],
        params: Mapping[str, str],
        parent: str | None = None,
        leading: Sequence[str] = (),
    ) -> NullMirror:
        """Begin to mirror a run folder; returns at once.

        A folder that has an ``mlflow.json`` for the same store and experiment continues that run:
        rounds it has are not logged again, rounds it lacks are read from ``history.jsonl``.

        Args:
            config: its ``tracking`` section says where; with ``mlflow: false`` nothing is done.
            run_dir: the run folder, which exists.
            run_name: the run's name in MLflow.
            tags: such as algorithm, archive and seed.
            params: the configuration, flat; MLflow keeps a param as it was first logged.
            parent: run id of the search this run is a trial of.
            leading: metrics that come first.

        Raises:
            ConfigError: the URI cannot be one of a store.
        """
        if not config.tracking.mlflow:
            return NullMirror()
        check_uri(config.tracking.uri)
        set_environment()
        if parent is not None:
            tags = {**tags, "mlflow.parentRunId": parent}
        mirror = cls(config, run_dir, run_name, tags, params, leading)
        mirror._save_note()  # before the run exists there: a killed start finds its run again
        mirror._thread.start()
        mirror._wake.set()
        return mirror

    def round(self, line: Mapping[str, Any]) -> None:
        """Hand over one history line; never waits."""
        with self._lock:
            self._pending[int(line["round"])] = line
        self._wake.set()

    def finish(
        self,
        status: Status,
        result: Mapping[str, Any] | None = None,
        artifacts: Sequence[Path] = (),
        model: Model | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Mirror what is missing and close the run; waits for a bounded time, never raises.

        Waits as long as there is progress, at most 30 s without any (6 s if the store never
        answered) and 120 s in all. Afterwards :attr:`warning` says what is not in the store.

        Args:
            status: how the run ended.
            result: the content of ``result.json``; its metrics are logged at the last round.
            artifacts: files and folders of the run folder; text files are freed of the password.
            model: gives the final model (a ``torch.nn.Module``) and an example input
                (B, C, H, W); only the example's shape and type are used, no pixel is stored.
            tags: what is known only now.
        """
        self._ending = _Ending(status, result, artifacts, model, dict(tags or {}))
        self._hurry.set()
        if not self._wait(self._over):
            self._abandoned = True
            self._warn_missing()

    def settle(self) -> None:
        """Wait until the run has its id, or as long as :meth:`finish` would."""
        self._wait(self._known)

    def _wait(self, event: threading.Event) -> bool:
        """Whether the thread got there in a bounded time."""
        begin = self._progress = time.monotonic()
        self._wake.set()
        while not event.wait(0.05):
            now = time.monotonic()
            # a file that is locked comes back, a server that never answered hardly does
            hopeless = self._failures > 0 and not self._reached and kind(self._uri) != "sqlite"
            limit = HOPELESS_S if hopeless else LIMIT_S
            if now - begin > limit or now - self._progress > PATIENCE_S:
                return False
        return True

    def where(self) -> str:
        """The commands and links with which to look at the run, without any password."""
        uri = redact(self._uri)
        if uri == "databricks":
            return f"databricks, run {self.run_id}"
        site = self.site()
        page = _root(uri) if site is None or self.run_id is None else site.run(self.run_id)
        if kind(uri) in ("http", "https"):
            return page
        # one worker for one reader: four take several times as long to start
        return f"mlflow ui --backend-store-uri {shlex.quote(uri)} --workers 1\n{page}"

    def site(self) -> Site | None:
        """The experiment in MLflow's web interface; None before it is known, and on databricks."""
        experiment = self._note["experiment_id"]
        if experiment is None or self._uri == "databricks":
            return None
        return Site(_root(redact(self._uri)), experiment)

    # ---- the thread ------------------------------------------------------------------------

    def _work(self) -> None:
        pause_s = 0.5
        while not self._abandoned:
            self._wake.wait()
            self._wake.clear()
            try:
                self._advance()
                pause_s = 0.5
            except Exception as error:  # any failure of the store, known or not, is survived
                self._failed(error)
                self._hurry.wait(pause_s)
                if self._hurry.is_set():
                    time.sleep(min(pause_s, 1.0))
                pause_s = min(pause_s * 2, 8.0)
                self._wake.set()
            if self._over.is_set():
                return

    def _advance(self) -> None:
        store = self._connect()
        while self._pending and not self._abandoned:
            with self._lock:
                number = min(self._pending)
                line = self._pending[number]
            if number not in self._mirrored:
                store.log_round(line, self._leading)
                self._mirrored.add(number)
                self._save_note()
            with self._lock:
                del self._pending[number]
            self._step_done()
        if self._ending is not None and not self._abandoned:
            self._close(store, self._ending)
            self.warning = self._ending.warning  # a store that came back is no longer news
            self._note["status"] = self._ending.status
            self._save_note()
            self._over.set()

    def _connect(self) -> Store:
        """Find or make experiment and run, and learn from the store which rounds it has."""
        if self._store is None:
            self._store = Store(self._uri)
            self._step_done()
        store = self._store
        if self._connected:
            return store
        store.open_experiment(self._note["experiment"])
        self._reached = True
        self._step_done()
        begun_s = _written(self._run_dir, ("environment.json",))
        self._mirrored = store.open_run(
            self._note["mirror"], self._name, self._tags, self._params, begun_s
        )
        self.run_id = store.run_id
        self._known.set()
        self._note |= {"experiment_id": store.experiment_id, "run_id": store.run_id}
        lines = history.read(self._run_dir / "history.jsonl")
        with self._lock:
            for line in lines:
                self._pending.setdefault(int(line["round"]), line)
        self._save_note()
        self._connected = True
        self._step_done()
        return store

    def _close(self, store: Store, ending: "_Ending") -> None:
        store.set_tags(ending.tags)
        if ending.result is not None:
            store.log_result(ending.result)
            self._step_done()
        for path in _files(ending.artifacts):
            if path not in ending.uploaded:
                store.upload(path, self._run_dir)
                ending.uploaded.add(path)
                self._step_done()
        if ending.model is not None and not store.has_model():
            self._log_model(store, ending, ending.model)
            self._step_done()
        store.close(ending.status, _written(self._run_dir, ("history.jsonl", "result.json")))
        self._step_done()

    def _log_model(self, store: Store, ending: "_Ending", model: Model) -> None:
        if ending.entry is None:  # kept for a second try: one run, one model
            ending.entry = store.new_model()
        with tempfile.TemporaryDirectory(prefix="raymmfl-model-") as scratch:
            folder = Path(scratch) / "model"
            try:
                store.trace_model(ending.entry, model, folder)
            except Exception as error:  # a model that cannot be traced must not cost the rest
                ending.model = None
                ending.warning = (
                    f"the final model was not logged in MLflow ({self._reason(error)}); it is"
                    " whole in the run folder"
                )
                store.log_model(ending.entry, None)
            else:
                self._step_done()
                store.log_model(ending.entry, folder)

    # ---- bookkeeping -----------------------------------------------------------------------

    def _step_done(self) -> None:
        self._progress = time.monotonic()

    def _failed(self, error: Exception) -> None:
        self._connected = False  # ask the store again what it has: the failed call may have landed
        self._failures += 1
        reason = self._reason(error)
        log.info("MLflow store %s, failure %d: %s", redact(self._uri), self._failures, reason)
        if self.warning is None:
            self.warning = (
                f"the MLflow store {redact(self._uri)} does not answer ({reason}); the run goes"
                " on, its folder keeps everything"
            )

    def _reason(self, error: Exception) -> str:
        text = " ".join(hide(str(error), self._uri).split())
        return f"{type(error).__name__}: {text[:200]}"

    def _warn_missing(self) -> None:
        with self._lock:
            rounds = set(self._pending) | self._mirrored
        with contextlib.suppress(RaymmflError, OSError):
            lines = history.read(self._run_dir / "history.jsonl")
            rounds |= {int(line["round"]) for line in lines}
        missing = len(rounds - self._mirrored)
        what = f"{missing} of {len(rounds)} rounds are" if missing else "the end of the run is"
        self.warning = (
            f"{what} not in MLflow, whose store {redact(self._uri)} did not answer in time;"
            f" the run folder is complete: `raymmfl sync {self._run_dir}` adds them later"
        )

    def _save_note(self) -> None:
        note = {**self._note, "rounds": max(self._mirrored, default=0)}
        history.write_json(self._run_dir / "mlflow.json", note)


@dataclass
class _Ending:
    """What :meth:`Mirror.finish` was asked to do, and how far that is."""

    status: Status
    result: Mapping[str, Any] | None
    artifacts: Sequence[Path]
    model: Model | None
    tags: Mapping[str, str]
    uploaded: set[Path] = field(default_factory=set)
    entry: Any = None  # the model as announced to the store
    warning: str | None = None


def _root(uri: str) -> str:
    """Where the web interface is: the server itself, or one that the reader starts."""
    return uri.rstrip("/") if kind(uri) in ("http", "https") else "http://127.0.0.1:5000"


def _files(paths: Sequence[Path]) -> list[Path]:
    """The files named, and those in the folders named; what is absent is passed over."""
    found: list[Path] = []
    for path in paths:
        inside = sorted(path.rglob("*")) if path.is_dir() else [path]
        found += [file for file in inside if file.is_file() and not file.name.startswith(".")]
    return found


def _written(run_dir: Path, names: Sequence[str]) -> float:
    """When the last of some files of a run was written; now, where there is none.

    MLflow's own clock would tell when the copy was made, perhaps days after the run.
    """
    times = [(run_dir / name).stat().st_mtime for name in names if (run_dir / name).is_file()]
    return max(times, default=time.time())


def _note(run_dir: Path, uri: str, experiment: str) -> dict[str, Any]:
    """What ``mlflow.json`` says if it is about this store and experiment, else a new note."""
    with contextlib.suppress(FileNotFoundError, ValueError):
        note = json.loads((run_dir / "mlflow.json").read_text(encoding="utf-8"))
        if isinstance(note, dict) and (note.get("uri"), note.get("experiment")) == (
            uri,
            experiment,
        ):
            return {**note, "status": "RUNNING"}
    empty = {"experiment_id": None, "run_id": None, "rounds": 0, "status": "RUNNING"}
    return {"uri": uri, "experiment": experiment, "mirror": uuid.uuid4().hex, **empty}
