"""Tests that the table of tasks names the scores that there are."""

import numpy as np

from raymmfl import evaluate, evaluate_pixels
from raymmfl.tasks import TASKS

LABELS = ["water", "trees"]


def named(task: str) -> set[str]:
    info = TASKS[task]
    return {*info.scores, *(f"{kind}/{label}" for kind in info.class_scores for label in LABELS)}


def test_scenes_have_the_scores_named() -> None:
    logits = np.array([[1.0, -1.0], [-1.0, 1.0]], np.float32)
    found = evaluate.score(logits, np.eye(2, dtype=np.uint8), LABELS, threshold=0.4)
    assert set(found) == named("scenes")


def test_pixels_have_the_scores_named() -> None:
    found = evaluate_pixels.score(np.array([[3, 1], [0, 2]], np.int64), 1.0, LABELS)
    assert set(found) == named("pixels")


def test_the_scores_that_judge_a_model_are_among_them() -> None:
    for task, info in TASKS.items():
        shown = {each.key for each in (*info.headline, *info.compared, *info.columns)}
        assert shown <= set(info.scores), task
