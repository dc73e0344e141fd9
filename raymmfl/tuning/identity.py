"""What makes a study the same study: refuses to continue one that has changed."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import optuna
import ray

from raymmfl.archive.store import Archive
from raymmfl.config import Config
from raymmfl.errors import CheckpointError
from raymmfl.tuning import record
from raymmfl.tuning.record import Recorded
from raymmfl.tuning.space import Checked
from raymmfl.tuning.study import Study

_WHERE = tuple(f"base.resources.{name}" for name in ("runtime", "actors", "cpus", "gpus"))
_MAY_CHANGE = ("trials", "versions", "base.tracking", *_WHERE)  # threads are part of the result


def describe(study: Study, base: Config, checked: Checked, archive: Archive) -> dict[str, Any]:
    """The content of ``study.json``.

    Args:
        study: what is searched.
        base: the configuration that its trials start from.
        checked: its space.
        archive: what all trials are trained on.
    """
    return {
        "name": study.name,
        "objectives": dict(study.objectives),
        "trials": study.trials,
        "stopping": asdict(study.stopping) if study.stopping else None,
        "seed": study.seed,
        "startup": study.startup,
        "space": checked.distributions,
        "points": checked.points,
        "archive": archive.digest,
        "synthetic": archive.synthetic,
        "base": base.model_dump(mode="json"),
        "versions": {"optuna": optuna.__version__, "ray": ray.__version__},
    }


def earlier(out: Path, facts: dict[str, Any], resume: bool) -> Recorded | None:
    """The study in a folder that is to be continued; None where a new one begins.

    Raises:
        CheckpointError: the folder is taken, or holds another study, or none to resume.
    """
    if not record.is_study(out):
        if resume:
            raise CheckpointError(f"{out} holds no study to resume; leave --resume out")
        if out.exists() and (
            not out.is_dir() or {each.name for each in out.iterdir()} - {".lock"}
        ):
            raise CheckpointError(f"{out} exists already and is no study; give another --out")
        return None
    before = record.read(out)
    record.check_folders(before)
    parts = [_differences(key, before.facts.get(key), new) for key, new in facts.items()]
    changed = [what for part in parts for what in part]
    if changed:
        raise CheckpointError(
            f"{out} holds a study with another {'; '.join(changed)}. Give the study file and the "
            f"KEY=VALUE words that it began with, or another name or --out"
        )
    if not resume:
        raise CheckpointError(
            f"{out} exists already; continue it with --resume, or give another --out"
        )
    return before


def _differences(key: str, old: Any, new: Any) -> list[str]:
    """Where two values of a study's facts differ, each in a few words."""
    if key in _MAY_CHANGE or old == new:
        return []
    if isinstance(old, dict) and isinstance(new, dict) and "attributes" not in old:
        names = sorted({*old, *new})
        parts = [_differences(f"{key}.{name}", old.get(name), new.get(name)) for name in names]
        return [what for part in parts for what in part]
    return [f"{key} ({record.in_words(old)} then, {record.in_words(new)} now)"]
