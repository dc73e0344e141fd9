"""A study's objectives, looked up before anything starts."""

from raymmfl.archive.store import Archive
from raymmfl.config import Config
from raymmfl.configfile import nearest
from raymmfl.errors import ConfigError
from raymmfl.tasks import TASKS, VIEWS
from raymmfl.tuning.study import TOTALS, Study


def check_objectives(study: Study, base: Config, archive: Archive) -> None:
    """See that a run of this task on this archive has each objective.

    Raises:
        ConfigError: an objective that no run has, with the nearest that there is. One that only
            some algorithms have (``local`` has no global view) shows up in their trials.
    """
    task, parts = TASKS[base.task], ("all", *archive.sensors)
    scores = list(task.scores)
    scores += [f"{kind}/{label}" for kind in task.class_scores for label in archive.labels]
    known = [
        f"val/{view}/{sensors}/{score}" for view in VIEWS for sensors in parts for score in scores
    ]
    for name in study.objectives:
        if name not in TOTALS and name not in known:
            raise ConfigError(
                f"objective {name!r} of {study.name}: no run has it{nearest(name, known)}; it is "
                f"val/VIEW/SENSORS/SCORE of {' | '.join(VIEWS)}, {' | '.join(parts)} and "
                f"{' | '.join(task.scores)}, or one of {', '.join(TOTALS)}"
            )
