"""What a run can predict, and by which scores it is judged; nothing heavy is imported."""

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Metric:
    """A score as it is called.

    Attributes:
        key: last part of its name in ``history.jsonl`` and ``result.json``.
        short: for tables and progress lines.
        long: for figures.
    """

    key: str
    short: str
    long: str


@dataclass(frozen=True)
class TaskInfo:
    """One kind of prediction.

    Attributes:
        headline: the scores that judge a model, the leading one first.
        compared: the scores that stand beside each other when models are compared on test.
        columns: scores of all sensors in the final table, after the leading one.
        target: what is predicted, for titles.
        unit: what has a class.
        class_score: the score of a single class, for axes.
        scores: keys of all scores of a split.
        class_scores: keys of the scores of single classes, before ``/<class>``.
    """

    headline: tuple[Metric, Metric]
    compared: tuple[Metric, Metric]
    columns: tuple[Metric, ...]
    target: str
    unit: str
    class_score: str
    scores: tuple[str, ...]
    class_scores: tuple[str, ...]


VIEWS = ("global", "home", "away")
"""Which model scores which scene, see :mod:`raymmfl.federation.views`."""

_MAP = Metric("map", "mAP", "mean average precision")
_IOU = Metric("miou", "mIoU", "mean intersection over union")
_MACRO = Metric("f1_macro", "macro-F1", "macro-F1")

TASKS: dict[str, TaskInfo] = {
    "scenes": TaskInfo(
        headline=(_MAP, Metric("f1_macro", "macro-F1", "macro-F1 at 0.5")),
        compared=(
            _MAP,
            Metric("f1_macro_tuned", "macro-F1 tuned", "macro-F1 (threshold from validation)"),
        ),
        columns=(
            Metric("f1_macro", "macro-F1 at .5", "macro-F1 at 0.5"),
            Metric("f1_macro_tuned", "tuned", "macro-F1 (threshold from validation)"),
        ),
        target="Land cover labels",
        unit="scene",
        class_score="F1 at 0.5",
        scores=(
            "map",
            "f1_micro",
            "f1_macro",
            "f1_weighted",
            "loss",
            "f1_micro_tuned",
            "f1_macro_tuned",
            "f1_weighted_tuned",
        ),
        class_scores=("f1",),
    ),
    "pixels": TaskInfo(
        headline=(_IOU, _MACRO),
        compared=(_IOU, _MACRO),
        columns=(_MACRO, Metric("f1_micro", "micro-F1", "micro-F1")),
        target="Land cover of pixels",
        unit="pixel",
        class_score="F1",
        scores=("miou", "f1_micro", "f1_macro", "loss"),
        class_scores=("f1", "iou"),
    ),
}


def task_of(result: Any) -> TaskInfo:
    """The task of a ``result.json``; one without the entry is about scenes."""
    return TASKS[result.get("task", "scenes")]
