"""Plain-text tables for the terminal; nothing heavy is imported."""

from collections.abc import Mapping, Sequence
from typing import Any

from raymmfl.tasks import task_of


def partition_table(
    clients: Sequence[str],
    labels: Sequence[str],
    counts: Sequence[Sequence[int]],
    unit: str = "scene",
) -> str:
    """The training scenes, or their pixels, of each class that each client holds, as text.

    Class names are shortened in the heading (to eight letters, to four when there are many) and
    spelled out below.

    Args:
        clients: client names, one per row.
        labels: class names, one per column.
        counts: (clients, classes) scenes or pixels; a scene with two labels counts in both
            columns.
        unit: what is counted.
    """
    short = abbreviate(labels, 8 if len(labels) <= 8 else 4)
    rows = [[number_text(number) if number else "." for number in row] for row in counts]
    corner = "client" if unit == "scene" else f"client ({unit}s)"
    first = max([len(corner), *map(len, clients)])
    widths = [
        max(len(name), *(len(row[column]) for row in rows)) if rows else len(name)
        for column, name in enumerate(short.values())
    ]
    lines = [[corner, *short.values()]]
    lines += [[client, *row] for client, row in zip(clients, rows, strict=True)]
    text = [
        " ".join([line[0].ljust(first), *map(str.rjust, line[1:], widths)]).rstrip()
        for line in lines
    ]
    text += [f"{name} = {label}" for label, name in short.items() if name != label]
    return "\n".join(text)


def number_text(number: int) -> str:
    """A count in at most five characters below ten million: thousands from 100,000 on."""
    return str(int(number)) if number < 100_000 else f"{number / 1000:.0f}k"


def abbreviate(labels: Sequence[str], length: int) -> Mapping[str, str]:
    """Short, distinct names for long class names, in order.

    A name of one word keeps its beginning, one of several words the beginnings of its words
    (at eight, ``Mixed forest`` becomes ``MixeFore``); a name already taken ends in a number.
    """
    taken: dict[str, str] = {}
    for label in labels:
        name = label
        if len(label) > length:
            words = "".join(sign if sign.isalnum() else " " for sign in label).split()
            words = [word for word in words if len(word) > 2][:4] or [label]
            share = max(length // len(words), 1)
            name = "".join(word[:share].capitalize() for word in words)[:length]
        stem, number = name, 2
        while name in taken.values():
            name = f"{stem[: length - len(str(number))]}{number}"
            number += 1
        taken[label] = name
    return taken


def comparison_table(result: Mapping[str, Any]) -> str:
    """Test scores of the algorithm, its baselines and the no-image guess, as text.

    Args:
        result: the content of ``result.json``.
    """
    task = task_of(result)
    leading = task.headline[0]
    sensors = ["all", *result["sensors"]]
    heading = ["on the test split", "scored", *(f"{leading.short} {s}" for s in sensors)]
    heading += [metric.short for metric in task.columns]
    rows = [heading]
    named = {result["algorithm"]: result["metrics"], **result["baselines"]}
    for name, metrics in named.items():
        views = list(dict.fromkeys(key.split("/")[1] for key in metrics))
        for view in ["all"] if name == "guess" else views:
            prefix = "test/" if name == "guess" else f"test/{view}/"
            scores = [metrics.get(f"{prefix}{sensor}/{leading.key}") for sensor in sensors]
            scores += [metrics.get(f"{prefix}all/{metric.key}") for metric in task.columns]
            title = "no-image guess" if name == "guess" else name
            shown = ["-" if score is None else f"{score:.3f}" for score in scores]
            rows.append([title, "" if name == "guess" else view, *shown])
    widths = [max(len(row[column]) for row in rows) for column in range(len(heading))]
    lines = [
        "  ".join(
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    data = "synthetic data" if result["synthetic"] else "real data"
    scenes = result["scenes"]["test"]
    lines.append(f"({data}, {scenes} test scenes, one seed: {result['seed']})")
    return "\n".join(lines)
