"""Scores of a state on a split: per view, all sensors together and each sensor alone."""

from collections.abc import Mapping

from raymmfl.archive.store import Archive
from raymmfl.federation.server import State
from raymmfl.federation.setting import Setting
from raymmfl.federation.views import groups
from raymmfl.scoring import pixels, scenes
from raymmfl.scoring.split import Metrics, Runtime, Scored, Split

__all__ = ["Metrics", "Runtime", "Scored", "Split", "score_guess", "score_state"]


def score_state(
    runtime: Runtime,
    setting: Setting,
    state: State,
    split: Split,
    thresholds: Mapping[str, float] | None,
    final: bool = False,
) -> Scored:
    """Score a state on a split.

    Args:
        runtime: holds the state.
        setting: the training; its task decides what is scored.
        state: whose clients' memory the home view uses.
        split: the scenes.
        thresholds: chosen on validation, by ``<view>/<sensors>``; None chooses them here, which
            only the validation split may. Scenes only.
        final: also score models away from home.

    Raises:
        RunError: if scores are not finite.
    """
    if not len(split.rows):
        return Scored({}, dict(thresholds or {}), {})
    held = {each for client in setting.clients for each in client.sensors}
    trained = [sensor for sensor in split.sensors if sensor in held]
    parts = groups(setting, split.regions, trained, state.memory, final)
    size = 4 * setting.config.evaluate.batch_size
    if setting.config.task == "pixels":
        return pixels.score_groups(runtime, parts, split, size)
    return scenes.score_groups(runtime, parts, split, size, thresholds)


def score_guess(archive: Archive, setting: Setting, split: Split, val: Split) -> Metrics:
    """Metrics ``<split>/all/<metric>`` of the no-image guess from the region's training scenes.

    Args:
        archive: of the training scenes.
        setting: whose clients' scenes are known.
        split: to be guessed.
        val: on which the guess of labels chooses its threshold.
    """
    if setting.config.task == "pixels":
        found = pixels.guess_split(archive, setting, split)
    else:
        found = scenes.guess_split(archive, setting, split, val)
    return {f"{split.name}/all/{name}": value for name, value in found.items()}
