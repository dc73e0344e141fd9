"""The figures of a run, each written as a picture (PNG) and as the numbers behind it (CSV).

Every function takes plain data, as it stands in ``history.jsonl`` and ``result.json``, and the
path of the picture; the CSV stands beside it.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes

from raymmfl.plotting import (
    COLOURS,
    FUSED,
    GREY,
    LIGHT,
    MANY_ROUNDS,
    MARKERS,
    STYLE,
    as_number,
    draw_line,
    finish_rounds,
    new_figure,
    save,
    sensor_colour,
    shorten,
)
from raymmfl.tasks import TASKS, task_of

EXPLAINED = {
    "fedavg": "fedavg: all but the stems averaged",
    "mf": "mf: encoders averaged per sensor",
    "local": "local: each client's own model",
    "centralised": "centralised: all data in one place (bound)",
    "guess": "no-image guess: what is frequent in the region",
}
VIEWS = {"home": ", at home", "away": ", away from home"}

History = Sequence[Mapping[str, Any]]


def describe(result: Mapping[str, Any]) -> str:
    """One line for titles: algorithm, archive, rounds, and whether the data are synthetic."""
    archive = result.get("archive", "")
    if isinstance(archive, Mapping):
        archive = archive.get("name") or archive.get("path") or ""
    parts = [
        str(result.get("algorithm", "")),
        Path(str(archive)).name,
        f"{result['rounds']} rounds" if "rounds" in result else "",
        "synthetic data" if result.get("synthetic") else "",
    ]
    return " · ".join(part for part in parts if part)


def learning_curves(history: History, out: Path, title: str = "", task: str = "scenes") -> Path:
    """The task's two headline scores on validation, for all sensors and each, and training loss.

    The bands behind the training loss span the clients of the round: all of them, and the middle
    half. Rounds without a metric are gaps in the CSV and are bridged in the picture.

    Args:
        history: lines of ``history.jsonl``.
        out: path of the PNG.
        title: such as :func:`describe` gives.
        task: whose scores.

    Returns:
        The path of the picture.
    """
    rounds = [int(line["round"]) for line in history]
    columns: dict[str, list[float]] = {}
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(11.5, 3.6, 1, 3, title)
        for axis, metric in zip(axes, TASKS[task].headline, strict=False):
            for sensors in _sensors(history):
                key = f"val/{_curve_view(history)}/{sensors}/{metric.key}"
                values = columns[key] = [as_number(line["metrics"].get(key)) for line in history]
                draw_line(
                    axis, rounds, values, label=sensors_title(sensors), **_look(history, sensors)
                )
            view = {"home": " at home", "away": " away"}.get(_curve_view(history), "")
            finish_rounds(axis, f"{metric.long}, validation{view}", rounds)
            if axis.lines:
                axis.set_ylim(0, 1)
        _training_loss(axes[2], history, rounds, columns)
        finish_rounds(axes[2], "training loss over clients (log)", rounds)
        if axes[2].has_data():
            axes[2].set_yscale("log")  # MIM's own loss is many times the task's
        handles, labels = axes[0].get_legend_handles_labels()
        if handles:
            figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 5))
        rows = zip(rounds, *columns.values(), strict=True)
        return save(figure, out, ["round", *columns], rows)


def class_f1(result: Mapping[str, Any], out: Path) -> Path:
    """F1 of each class on the test split for all sensors together and each alone.

    That of labels of scenes is at the threshold 0.5.

    Classes are ordered by the score of all sensors; those absent from the split stand below.

    Args:
        result: content of ``result.json``.
        out: path of the PNG.
    """
    found: dict[str, dict[str, float]] = {}
    for key, value in result["metrics"].items():
        parts = key.split("/", 4)  # a class name may hold a slash
        if len(parts) == 5 and parts[:2] == ["test", shown_view(result)] and parts[3] == "f1":
            found.setdefault(parts[2], {})[parts[4]] = as_number(value)
    groups = sorted(found, key=lambda name: (name != "all", name))
    absent = [str(name) for name in result.get("absent_classes", {}).get("test", ())]
    names = {name: None for scores in found.values() for name in scores if name not in absent}

    def score(name: str) -> float:
        value = found.get("all", {}).get(name, math.nan)
        return -1.0 if math.isnan(value) else value

    labels = sorted(names, key=score, reverse=True)
    with mpl.rc_context(STYLE):
        height = 1.6 + (0.12 + 0.13 * len(groups)) * max(len(labels), 2) + 0.2 * len(absent)
        figure, axes = new_figure(8.0, height, 1, 1, _with("F1 per class, test", result))
        axis = axes[0]
        thickness = 0.8 / max(len(groups), 1)
        for number, group in enumerate(groups):
            values = [found[group].get(label, math.nan) for label in labels]
            places = np.arange(len(labels)) - 0.4 + thickness * (number + 0.5)
            colour = sensor_colour(groups, group)
            axis.barh(places, values, 0.9 * thickness, color=colour, label=sensors_title(group))
        ticks = [*labels, *(f"{name} (absent)" for name in absent)]
        axis.set_yticks(range(len(ticks)), [shorten(name, 48) for name in ticks])
        for text in axis.get_yticklabels()[len(labels) :]:
            text.set_color(GREY)
        axis.set_ylim(len(ticks) - 0.4, -0.6)
        axis.set_xlim(0, 1)
        axis.set_xlabel(task_of(result).class_score)
        axis.grid(visible=False, axis="y")
        if groups:
            figure.legend(loc="outside lower center", ncols=min(len(groups), 5))
        rows = ([label, *(found[group].get(label) for group in groups)] for label in labels)
        return save(figure, out, ["class", *map(sensors_title, groups)], rows)


class _Bar(NamedTuple):
    label: str
    colour: str
    scores: tuple[float, float]  # of the task's compared metrics


def comparison(result: Mapping[str, Any], out: Path) -> Path:
    """The algorithm with all sensors and each alone, beside the baselines, on the test split.

    Args:
        result: content of ``result.json``; baselines that are missing are left out.
        out: path of the PNG.
    """
    bars = _bars(result)
    task = task_of(result)
    with mpl.rc_context(STYLE):
        heading = _with(f"{task.target}, test split", result)
        figure, axes = new_figure(10.5, 1.3 + 0.36 * max(len(bars), 2), 1, 2, heading)
        for number, (axis, metric) in enumerate(zip(axes, task.compared, strict=True)):
            values = [bar.scores[number] for bar in bars]
            colours = [bar.colour for bar in bars]
            axis.barh(range(len(bars)), np.nan_to_num(values), 0.72, color=colours)
            for place, value in enumerate(values):
                text = "no value" if math.isnan(value) else f"{value:.3f}"
                axis.annotate(
                    text,
                    (np.nan_to_num(value), place),
                    (4, 0),
                    textcoords="offset points",
                    va="center",
                )
            axis.set_ylim(len(bars) - 0.4, -0.6)
            axis.set_xlim(0, 1)
            axis.set_xlabel(f"{metric.long}: higher is better")
            axis.grid(visible=False, axis="y")
            axis.set_yticks(range(len(bars)), [bar.label for bar in bars] if number == 0 else [])
            axis.tick_params(axis="y", length=0)
        rows = ([bar.label, *bar.scores] for bar in bars)
        return save(figure, out, ["model", *(metric.key for metric in task.compared)], rows)


def bytes_exchanged(history: History, out: Path, title: str = "") -> Path:
    """Megabytes (10^6 bytes) per round, from clients to the server and back, by purpose.

    Args:
        history: lines of ``history.jsonl``.
        out: path of the PNG.
        title: such as :func:`describe` gives.
    """
    rounds = [int(line["round"]) for line in history]
    columns: dict[str, list[float]] = {}
    directions = {"up": "clients to server", "down": "server to clients"}
    purposes = list(
        {
            purpose: None
            for line in history
            for amounts in line.get("bytes", {}).values()
            for purpose in amounts
        }
    )
    with mpl.rc_context(STYLE):
        figure, axes = new_figure(9.0, 3.4, 1, len(directions), title)
        for axis, direction in zip(axes, directions, strict=True):
            bottom = np.zeros(len(rounds))
            for number, purpose in enumerate(purposes):
                amounts = [line.get("bytes", {}).get(direction, {}) for line in history]
                values = np.array([amount.get(purpose, 0) / 1e6 for amount in amounts])
                columns[f"{direction}/{purpose}"] = values.tolist()
                look: dict[str, Any] = {"color": COLOURS[number % len(COLOURS)], "label": purpose}
                if len(rounds) > MANY_ROUNDS:  # bars narrower than a dot make false stripes
                    axis.fill_between(rounds, bottom, bottom + values, step="mid", lw=0, **look)
                else:
                    axis.bar(rounds, values, 0.8, bottom, **look)
                bottom += values
            finish_rounds(axis, f"{direction}: {directions[direction]}", rounds)
            axis.set_ylabel("MB per round")
            axis.set_ylim(bottom=0)
        handles, labels = axes[0].get_legend_handles_labels()
        if handles:
            figure.legend(handles, labels, loc="outside lower center", ncols=min(len(labels), 5))
        rows = zip(rounds, *columns.values(), strict=True)
        return save(figure, out, ["round", *(f"{name} (MB)" for name in columns)], rows)


def _bars(result: Mapping[str, Any]) -> list[_Bar]:
    """What the comparison shows, top to bottom: the algorithm, its sensors alone, the others."""
    algorithm = str(result.get("algorithm", "this run"))
    first, second = (metric.key for metric in task_of(result).compared)
    own = _scores(result["metrics"], first, second)
    views = {view for view, _ in own}
    shown = ["global"] if "global" in views else sorted(views, reverse=True)
    bars = []
    for sensors in sorted({name for _, name in own}, key=lambda name: (name != "all", name)):
        colour = COLOURS[0] if sensors == "all" else COLOURS[5]
        bars += [
            _Bar(
                f"{algorithm}: {sensors_title(sensors)}{VIEWS.get(view, '')}",
                colour,
                own[view, sensors],
            )
            for view in shown
            if (view, sensors) in own
        ]
    if shown == ["global"] and ("home", "all") in own:
        label = f"{algorithm}: all sensors, each region's own statistics"
        bars.append(_Bar(label, COLOURS[5], own["home", "all"]))
    baselines = result.get("baselines", {})
    for name in sorted(baselines, key=lambda name: (name == "guess", name == "centralised")):
        found = _scores(baselines[name], first, second)
        views = {view for view, _ in found}
        shown = ["global"] if "global" in views else sorted(views, reverse=True)
        label = EXPLAINED.get(name, name)
        colour = LIGHT if name == "guess" else GREY
        bars += [
            _Bar(f"{label}{VIEWS.get(view, '')}", colour, found[view, "all"])
            for view in shown
            if (view, "all") in found
        ]
    return bars


def _scores(
    metrics: Mapping[str, Any], first: str, second: str
) -> dict[tuple[str, str], tuple[float, float]]:
    """(view, sensors) -> two metrics on test; the guess has no view, so ``""``."""
    found: dict[tuple[str, str], tuple[float, float]] = {}
    for key in metrics:
        parts = key.split("/")
        if parts[0] == "test" and len(parts) in (3, 4) and parts[-1] in (first, second):
            stem = key.rpartition("/")[0]
            view = parts[1] if len(parts) == 4 else ""
            found[view, parts[-2]] = (
                as_number(metrics.get(f"{stem}/{first}")),
                as_number(metrics.get(f"{stem}/{second}")),
            )
    return found


def shown_view(result: Mapping[str, Any]) -> str:
    """The published setting, one model for every scene, where the run has it."""
    views = {key.split("/")[1] for key in result["metrics"] if key.startswith("test/")}
    return "global" if "global" in views or not views else sorted(views, reverse=True)[0]


def _training_loss(
    axis: Axes, history: History, rounds: Sequence[int], columns: dict[str, list[float]]
) -> None:
    spread = [line.get("clients", {}).get("spread", {}).get("loss") for line in history]
    bands = [[as_number(value) for value in entry or [None] * 5] for entry in spread]
    if any(spread):
        low, q25, _, q75, high = map(list, zip(*bands, strict=True))
        single = {"marker": "_", "markersize": 8} if len(rounds) == 1 else {}
        for lower, upper, alpha, label in (
            (low, high, 0.15, "all clients"),
            (q25, q75, 0.3, "middle half"),
        ):
            axis.fill_between(
                rounds, lower, upper, color=COLOURS[0], alpha=alpha, lw=0, label=label
            )
        if single:
            axis.vlines(rounds, low, high, color=COLOURS[0], alpha=0.4, lw=6)
        columns |= {"clients/loss/min": low, "clients/loss/q25": q25}
        columns |= {"clients/loss/q75": q75, "clients/loss/max": high}
    for number, (key, label) in enumerate(
        (("train/loss", "mean"), ("train/task_loss", "task"), ("train/mim_loss", "MIM"))
    ):
        values = [as_number(line["metrics"].get(key)) for line in history]
        if any(not math.isnan(value) for value in values):
            columns[key] = values
            colour = (FUSED, COLOURS[1], COLOURS[2])[number]
            style = ("-", "--", ":")[number]
            draw_line(axis, rounds, values, color=colour, linestyle=style, label=label, marker=".")
    if axis.get_legend_handles_labels()[1]:
        axis.legend(fontsize=8)


def _curve_view(history: History) -> str:
    """The view whose curves are drawn: models that are not shared have no global one."""
    views = {key.split("/")[1] for line in history for key in line["metrics"] if "val/" in key}
    return next((view for view in ("global", "home", "away") if view in views), "global")


def _sensors(history: History) -> list[str]:
    view = _curve_view(history)
    found = {
        key.split("/")[2]: None
        for line in history
        for key in line["metrics"]
        if key.startswith(f"val/{view}/") and key.count("/") == 3
    }
    return sorted(found, key=lambda name: (name != "all", name))


def _look(history: History, sensors: str) -> dict[str, Any]:
    groups = _sensors(history)
    if sensors == "all":
        return {"color": FUSED, "marker": "o", "linewidth": 2.2, "markersize": 4}
    marker = MARKERS[(groups.index(sensors) - ("all" in groups)) % len(MARKERS)]
    return {
        "color": sensor_colour(groups, sensors),
        "marker": marker,
        "markersize": 4,
        "linewidth": 1.3,
    }


def sensors_title(sensors: str) -> str:
    """What a group of scores was made from, for titles."""
    return "all sensors" if sensors == "all" else f"{sensors} alone"


def _with(heading: str, result: Mapping[str, Any]) -> str:
    return f"{heading}\n{describe(result)}"
