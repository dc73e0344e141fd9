"""Where a study can be looked at in MLflow: its own page, and pages that show its trials."""

import contextlib
import json
from pathlib import Path

from raymmfl.tracking import NullMirror
from raymmfl.tuning.record import Recorded

CURVES = 10  # trials in one picture
_THERE = {"mb": "total/mb", "flops": "total/gflops"}  # objectives that have other names in MLflow


def look(parent: NullMirror, recorded: Recorded) -> str:
    """The command and links for a person; without MLflow nothing.

    Args:
        parent: the study's own run in MLflow.
        recorded: the study.
    """
    if not parent.where():
        return ""
    lines = [f"the study in MLflow, with a link to each trial:\n{parent.where()}"]
    site = parent.site()
    scored = [trial for trial in recorded.trials if trial.round]
    ids = {trial.number: run_id(recorded.path(trial)) for trial in scored}
    known = [each for each in ids.values() if each]
    if site is None or not known:
        return lines[0]
    first, aim = next(iter(recorded.objectives.items()))
    curves = [name for name in recorded.objectives if name.startswith("val/")]
    best = [ids[trial.number] for trial in recorded.ranked()]
    order = [each for each in dict.fromkeys([*best, *known]) if each][:CURVES]
    lines.append(f"its trials side by side (parallel coordinates):\n{site.comparison(known)}")
    if curves:
        lines.append(f"their learning curves:\n{site.curves(order, curves)}")
    table = site.table(recorded.folder.name, _THERE.get(first, first), aim == "max")
    lines.append(f"the table of them, best first:\n{table}")
    return "\n".join(lines)


def run_id(folder: Path) -> str:
    """MLflow's id of a run or study by its folder; empty if it has none yet."""
    with contextlib.suppress(OSError, ValueError, AttributeError):
        note = json.loads((folder / "mlflow.json").read_text(encoding="utf-8"))
        return str(note.get("run_id") or "")
    return ""
