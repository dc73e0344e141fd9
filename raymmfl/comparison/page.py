"""The comparison as one HTML page that needs nothing else: pictures inside, no scripts."""

import base64
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from raymmfl.comparison.entries import Comparison, Entry
from raymmfl.comparison.groups import Group, groups
from raymmfl.tasks import TASKS

STYLE = """
:root { color-scheme: light; }
body { font: 15px/1.5 system-ui, "DejaVu Sans", sans-serif; color: #1c1c1c; margin: 2rem auto;
       max-width: 1280px; padding: 0 1rem; }
h1 { font-size: 1.5rem; margin-bottom: .2rem; } h2 { font-size: 1.1rem; margin-top: 2.2rem; }
p.answer { font-size: 1.12rem; background: #eef4fa; border-left: 4px solid #0072B2;
           padding: .8rem 1rem; }
p.note, caption { color: #5a5a5a; font-size: .86rem; text-align: left; }
div.wide { overflow-x: auto; }
table { border-collapse: collapse; font-size: .86rem; font-variant-numeric: tabular-nums; }
th, td { padding: .28rem .6rem; border-bottom: 1px solid #ddd; text-align: right;
         white-space: nowrap; }
th:first-child, td:first-child, td.text { text-align: left; }
thead th { border-bottom: 2px solid #888; vertical-align: bottom; }
tr.best td { font-weight: 600; background: #f4f8ec; } tr.ended td { color: #777; }
figure { margin: 1rem 0; } img { max-width: 100%; height: auto; }
"""

CAPTIONS = {
    "learning_curves": "Learning curves on the validation split.",
    "parallel_coordinates": "Parallel coordinates: each line is a training; dark is better.",
    "importance": "Which settings explain the score, each among the trials that have it. "
    "Few trials make unsure shares.",
    "pareto_front": "Pareto front of the study's objectives.",
    "score_against_bytes": "Score against the bytes exchanged, round by round.",
}


def page(comparison: Comparison, answer: str, figures: Mapping[str, Path]) -> str:
    """The whole page.

    Args:
        comparison: what is compared.
        answer: the one-line answer, which stands first.
        figures: name -> PNG, in order.
    """
    kinds = {each.synthetic for each in comparison.entries}
    data = {True: "synthetic data (no satellite took these pixels)", False: "real data"}
    about = " and ".join(data[each] for each in data if each in kinds) or "data unknown as yet"
    parts = [
        "<!doctype html>",
        '<html lang="en"><head><meta charset="utf-8">',
        f"<title>{escape(comparison.title)}</title><style>{STYLE}</style></head><body>",
        f"<h1>{escape(comparison.title)}</h1>",
        f'<p class="note">{len(comparison.entries)} trainings on {about}, ordered by '
        f"<code>{escape(comparison.metric)}</code> "
        f"({'more' if comparison.more_is_better else 'less'} is better)</p>",
        *_story(comparison),
        f'<p class="answer">{escape(answer)}</p>',
        *_confirmation(comparison),
        "<h2>Settings, with mean and spread over seeds</h2>",
        _table(*group_rows(comparison)),
    ]
    for name, path in figures.items():
        image = base64.b64encode(path.read_bytes()).decode("ascii")
        caption = escape(CAPTIONS.get(name, name))
        parts.append(
            f'<figure><img alt="{caption}" src="data:image/png;base64,{image}">'
            f'<figcaption class="note">{caption} Numbers: {escape(path.stem)}.csv</figcaption>'
            "</figure>"
        )
    parts += ["<h2>Every training</h2>", _table(*entry_rows(comparison))]
    failed = [each for each in comparison.entries if each.reason]
    if failed:
        reasons = "".join(f"<li>{escape(e.name)}: {escape(e.reason)}</li>" for e in failed)
        parts.append(f"<h2>What failed</h2><ul>{reasons}</ul>")
    return "\n".join([*parts, "</body></html>\n"])


def group_rows(comparison: Comparison) -> tuple[list[str], list[list[str]], list[str]]:
    """Heading, rows and row classes of the settings' table; best first.

    In all tables the results stand before the settings: these may be many, and then scroll.
    """
    head = ["setting", "mean", "spread", "seeds", "MB", *comparison.keys]
    rows = [_group_row(group, comparison) for group in groups(comparison)]
    return head, rows, ["best", *[""] * (len(rows) - 1)] if rows else []


def entry_rows(comparison: Comparison) -> tuple[list[str], list[list[str]], list[str]]:
    """Heading, rows and row classes of the table of all trainings; the ended ones first."""
    info = TASKS[comparison.entries[0].task]
    scores = list(dict.fromkeys([comparison.metric, *_columns(comparison, info.headline[1].key)]))
    head = ["training", "status", "round", *scores, "MB", "seed", *comparison.keys]
    order = [*comparison.ranked, *(e for e in comparison.entries if e not in comparison.ranked)]
    rows = [
        [
            entry.name,
            entry.status,
            str(entry.round),
            *(number(entry.last(score)) for score in scores),
            f"{entry.megabytes:.1f}",
            str(entry.seed),
            *(text(entry.settings.get(key)) for key in comparison.keys),
        ]
        for entry in order
    ]
    classes = ["" if entry in comparison.ranked else "ended" for entry in order]
    if comparison.ranked:
        classes[0] = "best"
    return head, rows, classes


def confirmed_rows(found: Mapping[str, Any]) -> tuple[list[str], list[list[str]], list[str]]:
    """Heading, rows and row classes of a study's confirmation: the best and what it must beat."""
    keys = list(dict.fromkeys(key for row in found["settings"] for key in row["settings"]))
    head = ["setting", "trial", "mean", "spread", "lead of rank 1", "interval", *keys]
    lead = {each["against"]: each for each in found["differences"]}
    rows = []
    for row in found["settings"]:
        cells = [row["role"], str(row["trial"]), number(row["mean"]), number(row["sd"])]
        other = lead.get(row["trial"])
        if other is None:
            cells += ["", ""]
        else:
            ends = f"{other['low']:+.4f} to {other['high']:+.4f}"
            cells += [f"{other['mean']:+.4f}", ends]
        cells += [text(row["settings"].get(key)) for key in keys]
        rows.append(cells)
    return head, rows, ["best", *[""] * (len(rows) - 1)]


def number(value: float | None) -> str:
    """A score with four decimals; a dash where there is none."""
    return "–" if value is None else f"{value:.4f}"


def text(value: object) -> str:
    """A setting for people."""
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, (list, tuple)):
        return "+".join(map(str, value)) or "none"
    return "–" if value is None or value == {} else str(value)


def _story(comparison: Comparison) -> list[str]:
    """What a study did."""
    if comparison.study is None:
        return []
    return [f'<p class="note">{escape(comparison.study.story())}</p>']


def _confirmation(comparison: Comparison) -> list[str]:
    """The section on the study's confirmation, if there was one."""
    found = comparison.confirmed
    if found is None:
        return []
    seeds = ", ".join(map(str, found["seeds"]))
    return [
        f"<h2>Confirmed on the test split: {escape(found['metric'])}</h2>",
        f'<p class="note">Seeds {seeds}; differences in pairs of equal seeds, '
        f"{found['level']:.0%} t interval.</p>",
        _table(*confirmed_rows(found)),
    ]


def _columns(comparison: Comparison, key: str) -> list[str]:
    """The other headline score beside the metric, in the same view and on the same split."""
    parts = comparison.metric.split("/")  # four, five for the score of a class
    name = "/".join([*parts[:3], key])
    return [name] if any(entry.last(name) is not None for entry in comparison.entries) else []


def _group_row(group: Group, comparison: Comparison) -> list[str]:
    first: Entry = group.entries[0]
    return [
        group.name,
        number(group.mean),
        "one seed" if group.spread is None else f"{group.spread:.4f}",
        ", ".join(str(entry.seed) for entry in group.entries),
        f"{sum(e.megabytes for e in group.entries) / len(group.entries):.1f}",
        *(text(first.settings.get(key)) for key in comparison.keys),
    ]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]], classes: Sequence[str]) -> str:
    top = "".join(f"<th>{escape(each)}</th>" for each in head)
    body = "".join(
        f'<tr class="{name}">' + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>"
        for row, name in zip(rows, classes, strict=True)
    )
    table = f"<table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="wide">{table}</div>'
