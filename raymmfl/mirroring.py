"""What MLflow is told of a run beside its rounds, and where a person then looks at it."""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from raymmfl import configfile as configuration
from raymmfl.archive.store import Archive
from raymmfl.config import Config
from raymmfl.tasks import TASKS, task_of
from raymmfl.tracking import Mirror, NullMirror

FILES = (
    "config.yaml",
    "environment.json",
    "history.jsonl",
    "result.json",
    "ledger.parquet",
    "model.safetensors",
    "figures",
)


def open_mirror(
    config: Config,
    algorithm: str,
    archive: Archive,
    folder: Path,
    *,
    place: str,
    role: str,
    parent: str | None = None,
    tags: Mapping[str, str] | None = None,
    leading: Sequence[str] = (),
    without: Collection[str] = (),
) -> NullMirror:
    """Begin or continue to mirror a run folder.

    Args:
        config: of the run; its ``tracking`` says where.
        algorithm: what is trained; may differ from the configuration's (baselines).
        archive: what it is trained on.
        folder: the run folder.
        place: what people know the folder by.
        role: ``run``, ``baseline``, ``trial`` or ``confirm``.
        parent: MLflow's id of the run that this one belongs to.
        tags: further ones.
        leading: metrics that come first in MLflow; none for the task's own.
        without: configuration keys that are no params there, as they say nothing of this run.
    """
    own = [f"val/global/all/{metric.key}" for metric in TASKS[config.task].headline]
    tree = config.model_dump(mode="json")
    params = {
        each.key: str(_leaf(tree, each.key))
        for each in configuration.fields()
        if each.key not in ("tracking.uri", *without)
    }
    return Mirror.start(
        config,
        folder,
        # a study's trials by their own names: MLflow's columns are narrow
        run_name=f"{place.rpartition('/')[2]} {algorithm} seed {config.seed}",
        tags={
            "run_folder": place,
            "algorithm": algorithm,
            "archive": archive.path.name,
            "archive_sha256": archive.digest,
            "seed": str(config.seed),
            "data": "synthetic" if archive.synthetic else "real",
            "role": role,
            **(tags or {}),
        },
        params=params | {"algorithm": algorithm},
        parent=parent,
        leading=leading or own,
    )


def look(mirror: NullMirror, result: Mapping[str, Any]) -> str:
    """The command and links with which a person looks at a run; without MLflow nothing.

    Args:
        mirror: of the run, which has ended.
        result: the content of ``result.json``.
    """
    if not mirror.where():
        return ""
    lines = [f"the run in MLflow:\n{mirror.where()}"]
    site = mirror.site()
    if site is not None and mirror.run_id is not None:
        key = task_of(result).headline[0].key
        view = "global" if f"test/global/all/{key}" in result["metrics"] else "home"
        curves = [f"val/{view}/{sensors}/{key}" for sensors in ("all", *result["sensors"])]
        lines.append(f"its learning curves:\n{site.curves([mirror.run_id], curves)}")
        lines.append(f"its figures:\n{site.file(mirror.run_id, 'figures/comparison.png')}")
        lines.append(f"all runs, best first:\n{site.table(metric=f'test/{view}/all/{key}')}")
    return "\n".join(lines)


def _leaf(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = tree[part]
    return tree
