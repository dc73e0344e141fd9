"""The pictures of a comparison, each beside the numbers it was drawn from (CSV)."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.colors import Normalize

from raymmfl.comparison.entries import Comparison, Entry
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

MAP = "viridis_r"  # even steps, also for colour-blind readers and in grey print; dark is best
NAMED = 7  # curves and points with a colour and a name of their own
LOG_RATIO = 20.0  # a positive setting that spans more is drawn on a logarithmic axis
EDGE = 0.06


def learning_curves(comparison: Comparison, out: Path) -> Path:
    """The metric round by round; on validation, as the test split is read once at the end."""
    metric = validation(comparison)
    best = comparison.ranked[:NAMED]
    rounds: dict[int, dict[str, float]] = {}
    with mpl.rc_context(STYLE):
        figure, (axis,) = new_figure(8, 4.2, 1, 1, comparison.title)
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
        figure, (axis,) = new_figure(8, 4.2, 1, 1, comparison.title)
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
        if _spread([row[2] for row in rows if row[2] > 0]) > LOG_RATIO:
            axis.set_xscale("log")
        _legend(axis, comparison, best)
        return save(figure, out, ["training", "round", "megabytes", metric], rows)


def parallel_coordinates(comparison: Comparison, out: Path) -> Path | None:
    """Every training as a line through its settings to its score; None if no setting differs."""
    scored = [entry for entry in comparison.entries if entry.last(comparison.metric) is not None]
    keys = [key for key in comparison.keys if _column(scored, key).names is not None]
    if len(scored) < 2 or not keys:
        return None
    columns = [_column(scored, key) for key in keys]
    scores = [entry.last(comparison.metric) or 0.0 for entry in scored]
    columns.append(_scale(scores))
    ended = [s for s, e in zip(scores, scored, strict=True) if e.status == "finished"] or scores
    low, high = min(ended), max(ended)
    norm = Normalize(low, high) if comparison.more_is_better else Normalize(high, low)
    order = sorted(
        range(len(scored)),
        key=lambda i: (scored[i].status == "finished", norm(scores[i])),
    )  # the best on top
    with mpl.rc_context({**STYLE, "axes.grid": False}):
        figure, (axis,) = new_figure(max(6, 1.7 * len(columns)), 4.6, 1, 1, comparison.title)
        colours = mpl.colormaps[MAP]
        for i in order:
            whole = scored[i].status == "finished"
            axis.plot(
                range(len(columns)),
                [column.places[i] for column in columns],
                color=colours(norm(scores[i])) if whole else LIGHT,
                linewidth=1.8 if whole else 0.9,
                linestyle="-" if whole else ":",
                alpha=0.9,
            )
        for place, (name, column) in enumerate(
            zip([*keys, comparison.metric], columns, strict=True)
        ):
            _axis(axis, place, name, column)
        axis.set_xlim(-0.3, len(columns) - 0.45)
        axis.set_ylim(-0.02, 1.14)
        axis.axis("off")
        if any(entry.status == "pruned" for entry in scored):
            axis.text(-0.3, -0.08, "dotted: stopped early", color=GREY, fontsize=8)
        header = ["training", "status", *keys, comparison.metric]
        rows = [[e.name, e.status, *(e.settings.get(k) for k in keys), s]
                for e, s in zip(scored, scores, strict=True)]  # fmt: skip
        return save(figure, out, header, rows)


def importance(shares: Sequence[Importance], title: str, out: Path) -> Path:
    """Optuna's parameter importance, the largest on top, each with the trials it rests on."""
    with mpl.rc_context(STYLE):
        figure, (axis,) = new_figure(7, 1.1 + 0.42 * len(shares), 1, 1, title)
        shown = list(reversed(shares))
        names = [each.setting for each in shown]
        bars = axis.barh(names, [each.share for each in shown], color=COLOURS[0], height=0.6)
        labels = [f"{each.share:.2f}  of {each.trials} trials" for each in shown]
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
    """Finished trials of a study by its first two objectives; those that none beats are joined."""
    assert comparison.study is not None
    study = comparison.study
    first, second = list(study.objectives)[:2]
    front = sorted(study.front(), key=lambda trial: trial.values[1])
    numbers = {trial.number for trial in front}
    with mpl.rc_context(STYLE):
        figure, (axis,) = new_figure(7, 4.4, 1, 1, comparison.title)
        for trial in study.finished():
            best = trial.number in numbers
            axis.plot(trial.values[1], trial.values[0], "o" if best else "x",
                      color=COLOURS[0] if best else GREY, markersize=6 if best else 4)  # fmt: skip
        axis.plot([t.values[1] for t in front], [t.values[0] for t in front],
                  color=COLOURS[0], linewidth=1.0, drawstyle="steps-post")  # fmt: skip
        for trial in front:
            axis.annotate(str(trial.number), (trial.values[1], trial.values[0]), fontsize=8,
                          xytext=(4, -10), textcoords="offset points")  # fmt: skip
        positive = [trial.values[1] for trial in study.finished() if trial.values[1] > 0]
        if _spread(positive) > LOG_RATIO:
            axis.set_xscale("log")
        axis.set_xlabel(_objective(second, study.objectives[second]))
        axis.set_ylabel(_objective(first, study.objectives[first]))
        axis.set_title("● no other trial is better in both; numbers are trials", fontsize=9)
        header = ["trial", *study.objectives, "on_front"]
        rows = [[t.number, *t.values, t.number in numbers] for t in study.finished()]
        return save(figure, out, header, rows)


def validation(comparison: Comparison) -> str:
    """The comparison's metric on the validation split, which is scored every round."""
    return "val/" + comparison.metric.split("/", 1)[1]


class _Scale:
    """Where the values of a setting stand on its axis: heights in 0..1 and the names of ticks."""

    def __init__(self, places: list[float], ticks: list[float], names: list[str] | None) -> None:
        self.places, self.ticks, self.names = places, ticks, names


def _column(entries: Sequence[Entry], key: str) -> _Scale:
    values = [entry.settings.get(key) for entry in entries]
    numbers = [v for v in values if isinstance(v, (int, float)) and not isinstance(v, bool)]
    if len(numbers) == len(values):
        return _scale([float(v) for v in numbers])
    words = sorted({_word(value) for value in values})
    if len(words) < 2:
        return _Scale([0.5] * len(values), [0.5], words)
    step = (1 - 2 * EDGE) / (len(words) - 1)
    height = {word: EDGE + step * index for index, word in enumerate(words)}
    return _Scale([height[_word(v)] for v in values], list(height.values()), words)


def _scale(values: Sequence[float]) -> _Scale:
    """A numeric axis; logarithmic where positive values span a wide range."""
    log = min(values) > 0 and _spread(values) > LOG_RATIO
    shown = [math.log10(value) for value in values] if log else list(values)
    low, high = min(shown), max(shown)
    width = (high - low) or 1.0
    ticks = [low + width * part / 4 for part in range(5)] if high > low else [low]
    return _Scale(
        [EDGE + (1 - 2 * EDGE) * (each - low) / width for each in shown],
        [EDGE + (1 - 2 * EDGE) * (each - low) / width for each in ticks],
        [f"{10**each if log else each:.3g}" for each in ticks],
    )


def _axis(axis: Axes, place: int, name: str, column: _Scale) -> None:
    axis.plot([place, place], [0, 1], color="#404040", linewidth=1.0)
    last = "/" in name
    title = name.replace("/", "/\n", 1) if last else name.replace(".", ".\n", 1)
    axis.text(place, 1.03, title, ha="center", va="bottom", fontsize=8.5,
              fontweight="bold" if last else "normal")  # fmt: skip
    for height, text in zip(column.ticks, column.names or [], strict=True):
        axis.plot([place - 0.015, place + 0.015], [height, height], color="#404040", linewidth=1)
        axis.text(place + 0.03, height, shorten(text, 18), fontsize=7.5, va="center",
                  bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.6})  # fmt: skip


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
    axis.set_title(f"in the legend: {comparison.metric}, last", loc="right", fontsize=7.5)
    if len(comparison.entries) > len(best):
        rest = "other" if all(e.status == "finished" for e in comparison.entries) else (
            "other (dotted: stopped early or failed)"
        )  # fmt: skip
        handles.append(axis.plot([], [], color=LIGHT, label=rest)[0])
    axis.legend(handles=handles, loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)


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


def _spread(values: Sequence[float]) -> float:
    return max(values) / min(values) if values and min(values) > 0 else 1.0


def _word(value: object) -> str:
    if isinstance(value, (list, tuple)):
        return "+".join(map(str, value)) or "none"
    return "none" if value is None or value == {} else str(value)
