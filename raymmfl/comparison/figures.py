"""The pictures of a comparison, each beside the numbers it was drawn from (CSV)."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes

from raymmfl.comparison.entries import Comparison, Entry
from raymmfl.comparison.scales import LOG_RATIO, spread
from raymmfl.plotting import (
    COLOURS,
    FUSED,
    GREY,
    LIGHT,
    MARKERS,
    STYLE,
    draw_line,
    finish_rounds,
    new_figure,
    save,
    shorten,
)
from raymmfl.tuning.importance import Importance

NAMED = 7  # curves and points with a colour and a name of their own


def learning_curves(comparison: Comparison, out: Path) -> Path:
    """The metric round by round; on validation, as the test split is read once at the end."""
    metric = validation(comparison)
    best = comparison.ranked[:NAMED]
    rounds: dict[int, dict[str, float]] = {}
    with mpl.rc_context(STYLE):
        figure, (axis,) = new_figure(8, 4.2, 1, 1, comparison.heading)
        for entry in reversed(comparison.entries):
            curve = entry.curve(metric)
            for number, value in curve.items():
                rounds.setdefault(number, {})[entry.name] = value
            _curve(axis, entry, list(curve), list(curve.values()), best)
        finish_rounds(axis, metric, sorted(rounds))
        axis.set_ylabel(_label(comparison))
        _legend(axis, comparison, best)
        header = ["round", *(entry.name for entry in comparison.entries)]
        rows = [[number, *(row.get(name) for name in header[1:])]
                for number, row in sorted(rounds.items())]  # fmt: skip
        return save(figure, out, header, rows)


def score_against_bytes(comparison: Comparison, out: Path) -> Path:
    """The metric on validation against the bytes exchanged until then; a line per training."""
    metric = validation(comparison)
    best = comparison.ranked[:NAMED]
    rows: list[list[Any]] = []
    with mpl.rc_context(STYLE):
        figure, (axis,) = new_figure(8, 4.2, 1, 1, comparison.heading)
        for entry in reversed(comparison.entries):
            moved, curve = _running(entry), entry.curve(metric)
            points = [(moved[number], value) for number, value in curve.items()]
            rows += [[entry.name, number, moved[number], curve[number]] for number in curve]
            if points:
                x, y = map(list, zip(*points, strict=True))
                _curve(axis, entry, x, y, best)
        axis.set_title(metric)
        axis.set_xlabel("exchanged so far, both ways (MB)")
        axis.set_ylabel(_label(comparison))
        if spread([row[2] for row in rows if row[2] > 0]) > LOG_RATIO:
            axis.set_xscale("log")
        _legend(axis, comparison, best)
        return save(figure, out, ["training", "round", "megabytes", metric], rows)


def importance(shares: Sequence[Importance], title: str, out: Path) -> Path:
    """Optuna's parameter importance, the largest on top, each with the trials it rests on."""
    with mpl.rc_context(STYLE):
        figure, (axis,) = new_figure(7, 1.1 + 0.42 * len(shares), 1, 1, title)
        shown = list(reversed(shares))
        names = [each.setting for each in shown]
        bars = axis.barh(names, [each.share for each in shown], color=COLOURS[0], height=0.6)
        labels = [f"{each.share:.2f}  (from {each.trials} trials)" for each in shown]
        axis.bar_label(bars, labels, padding=3)
        axis.set_xlim(0, 1.32)
        axis.set_xticks([0, 0.25, 0.5, 0.75, 1])
        axis.set_xlabel(
            "share of the score's variance (fANOVA), of the finished trials that have it"
        )
        axis.grid(axis="y", visible=False)
        rows = [[each.setting, each.share, each.trials] for each in shares]
        return save(figure, out, ["setting", "importance", "trials"], rows)


def pareto_front(comparison: Comparison, out: Path) -> Path:
    """Finished trials by their first objective against each of the others.

    Filled are those that no other trial beats in all objectives together; the steps join those
    that none beats in the two of the panel.
    """
    assert comparison.study is not None
    study = comparison.study
    first, *others = study.objectives
    front = {trial.number for trial in study.front()}
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(1 + 5.2 * len(others), 4.4, 1, len(others), comparison.heading)
        for place, (axis, name) in enumerate(zip(axes, others, strict=True), 1):
            for trial in study.finished():
                best = trial.number in front
                x, y = trial.values[place], trial.values[0]
                axis.plot(x, y, "o" if best else "x", color=COLOURS[0] if best else GREY,
                          markersize=6 if best else 4)  # fmt: skip
                if best:
                    axis.annotate(str(trial.number), (x, y), fontsize=8, xytext=(4, -10),
                                  textcoords="offset points")  # fmt: skip
            joined = sorted(study.front((0, place)), key=lambda trial: trial.values[place])
            axis.plot([t.values[place] for t in joined], [t.values[0] for t in joined],
                      color=COLOURS[0], linewidth=1.0, drawstyle="steps-post")  # fmt: skip
            positive = [t.values[place] for t in study.finished() if t.values[place] > 0]
            if spread(positive) > LOG_RATIO:
                axis.set_xscale("log")
            axis.set_xlabel(_objective(name, study.objectives[name]))
        axes[0].set_ylabel(_objective(first, study.objectives[first]))
        axes[0].set_title(
            "filled: no other trial is as good in all and better in one; numbers are trials"
        )
        header = ["trial", *study.objectives, "on_front"]
        rows = [[t.number, *t.values, t.number in front] for t in study.finished()]
        return save(figure, out, header, rows)


def validation(comparison: Comparison) -> str:
    """The comparison's metric on the validation split, which is scored every round."""
    return "val/" + comparison.metric.split("/", 1)[1]


def _curve(
    axis: Axes, entry: Entry, x: Sequence[float], y: Sequence[float], best: Sequence[Entry]
) -> None:
    if entry in best:
        place = best.index(entry)
        look: dict[str, Any] = {
            "color": FUSED if place == 0 else COLOURS[(place - 1) % len(COLOURS)],
            "marker": "o" if place == 0 else MARKERS[(place - 1) % len(MARKERS)],
            "linewidth": 2.0 if place == 0 else 1.2,
            "markersize": 3.5,
            "zorder": 20 - place,
        }
    else:
        dotted = ":" if entry.status in ("pruned", "failed") else "-"
        look = {"color": LIGHT, "linewidth": 0.9, "linestyle": dotted}
    draw_line(axis, list(x), list(y), **look)  # type: ignore[arg-type]


def _legend(axis: Axes, comparison: Comparison, best: Sequence[Entry]) -> None:
    handles = []
    for place, entry in enumerate(best):
        colour = FUSED if place == 0 else COLOURS[(place - 1) % len(COLOURS)]
        marker = "o" if place == 0 else MARKERS[(place - 1) % len(MARKERS)]
        label = f"{shorten(entry.name, 34)}  {entry.last(comparison.metric):.3f}"
        handles.append(axis.plot([], [], color=colour, marker=marker, label=label)[0])
    if len(comparison.entries) > len(best):
        rest = "other" if all(e.status == "finished" for e in comparison.entries) else (
            "other (dotted: stopped early or failed)"
        )  # fmt: skip
        handles.append(axis.plot([], [], color=LIGHT, label=rest)[0])
    axis.legend(
        handles=handles,
        loc="center left",
        bbox_to_anchor=(1.0, 0.5),
        fontsize=8,
        title=f"last {comparison.metric}",
        title_fontsize=8,
        alignment="left",
    )


def _label(comparison: Comparison) -> str:
    named = comparison.headline
    return f"{named.long if named else comparison.metric} (validation)"


def _objective(name: str, aim: str) -> str:
    words = {"mb": "exchanged over all rounds (MB)", "flops": "FLOPs of local training"}
    return f"{words.get(name, name)}: {'more' if aim == 'max' else 'less'} is better"


def _running(entry: Entry) -> dict[int, float]:
    total, found = 0.0, {}
    for line, moved in zip(entry.lines, entry.moved, strict=True):
        total += moved
        found[int(line["round"])] = total
    return found
