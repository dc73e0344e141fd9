"""Sends to MLflow what it missed of a run or a study, from what is on disk. Trains nothing."""

import json
from pathlib import Path

from raymmfl import configfile
from raymmfl.archive.store import Archive
from raymmfl.config import Config
from raymmfl.errors import CheckpointError, ConfigError, RunError
from raymmfl.files import sole_owner
from raymmfl.mirroring import FILES, open_mirror
from raymmfl.rounds import Say
from raymmfl.tracking import NullMirror, Status
from raymmfl.tracking_uri import check_store
from raymmfl.tuning import record
from raymmfl.tuning.links import look, run_id
from raymmfl.tuning.mirror import StudyMirror, missing


def sync(folder: Path, say: Say) -> None:
    """Bring the copy of a run or a study in MLflow up to date.

    Args:
        folder: of the run or the study.
        say: receives each line for a person.

    Raises:
        CheckpointError: the folder is neither, or another process is at work in it.
        ConfigError: it was run without MLflow.
        RunError: the store did not take everything.
    """
    if record.is_study(folder):
        whole = _sync_study
    elif (folder / "config.yaml").is_file():
        whole = _sync_run
    else:
        raise CheckpointError(f"{folder} is neither a run nor a study")
    try:
        with sole_owner(folder):
            whole(folder, say)
    except BlockingIOError:
        raise CheckpointError(f"{folder} is in use by another process; let it end first") from None


def _sync_study(folder: Path, say: Say) -> None:
    recorded = record.read(folder)
    record.check_folders(recorded)
    base = _tracked(configfile.parse(recorded.facts["base"], str(folder / record.STUDY_FILE)))
    archive = Archive.open(base.archive.path)
    known = run_id(folder)
    mirror = StudyMirror(recorded, base, archive)
    mirror.parent.settle()
    if mirror.parent.run_id not in (None, known):  # a new store: it has nothing of the study
        for note in folder.glob("**/mlflow.json"):
            if note.parent != folder:
                note.unlink()
    before = len(missing(folder, base))
    ended = all(trial.status != "running" for trial in recorded.trials)
    whole = ended and len(recorded.trials) >= recorded.facts["trials"]
    status: Status = "FINISHED" if whole else "KILLED"
    if whole and all(trial.status == "failed" for trial in recorded.trials):
        status = "FAILED"
    warning = mirror.close(status, lambda: missing(folder, base))
    if warning:
        raise RunError(warning)
    say(f"{before} runs of {folder} were brought up to date in MLflow")
    say(look(mirror.parent, record.read(folder)))


def _sync_run(folder: Path, say: Say) -> None:
    config = _tracked(configfile.load(folder / "config.yaml"))
    archive = Archive.open(config.archive.path)
    parent = _send(config, folder, archive, None)
    for name in config.baselines:
        inside = folder / "baselines" / name
        if inside.is_dir():
            _send(config.model_copy(update={"algorithm": name}), inside, archive, parent)
    say(f"{folder} is whole in MLflow\n{parent.where()}")


def _send(config: Config, folder: Path, archive: Archive, parent: NullMirror | None) -> NullMirror:
    """One run folder, with all it has."""
    result = None
    if (folder / "result.json").is_file():
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
    mirror = open_mirror(
        config,
        config.algorithm if result is None else result["algorithm"],
        archive,
        folder,
        place=folder.name if parent is None else folder.parents[1].name,
        role="run" if parent is None else "baseline",
        parent=None if parent is None else parent.run_id,
    )
    mirror.finish("FINISHED" if result else "KILLED", result, [folder / name for name in FILES])
    if mirror.warning:
        raise RunError(mirror.warning)
    return mirror


def _tracked(config: Config) -> Config:
    if not config.tracking.mlflow:
        raise ConfigError("it was run with tracking.mlflow=false; there is nothing to send it to")
    check_store(config.tracking.uri)
    return config
