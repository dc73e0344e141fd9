"""Writes a comparison: pictures with their numbers, the tables, and the page that holds it all."""

import csv
import io
from collections.abc import Sequence
from pathlib import Path

from raymmfl.comparison import figures
from raymmfl.comparison.answer import answer
from raymmfl.comparison.entries import Comparison, read
from raymmfl.comparison.page import entry_rows, group_rows, page
from raymmfl.comparison.parallel import parallel_coordinates
from raymmfl.files import write_whole
from raymmfl.tuning.importance import importance


def compare(paths: Sequence[Path], out: Path, metric: str | None = None) -> tuple[str, Path]:
    """Compare runs, or the trials of a study.

    Args:
        paths: run folders, or one study's folder.
        out: folder of the page; files of an earlier comparison are replaced.
        metric: what orders the trainings; None for the study's first objective or the task's
            leading score.

    Returns:
        The one-line answer, and the page.

    Raises:
        RaymmflError: nothing to compare, or a folder that cannot be read.
    """
    comparison = read([Path(path) for path in paths], metric)
    out.mkdir(parents=True, exist_ok=True)
    drawn = _draw(comparison, out)
    for name, rows in (("trainings", entry_rows), ("settings", group_rows)):
        head, body, _ = rows(comparison)
        text = io.StringIO()
        csv.writer(text, lineterminator="\n").writerows([head, *body])
        write_whole(out / f"{name}.csv", text.getvalue().encode())
    sentence = answer(comparison)
    file = out / "comparison.html"
    write_whole(file, page(comparison, sentence, drawn).encode())
    return sentence, file


def _draw(comparison: Comparison, out: Path) -> dict[str, Path]:
    """The pictures that have something to show."""
    drawn = {
        "learning_curves": figures.learning_curves(comparison, out / "learning_curves.png"),
        "score_against_bytes": figures.score_against_bytes(
            comparison, out / "score_against_bytes.png"
        ),
    }
    lines = parallel_coordinates(comparison, out / "parallel_coordinates.png")
    if lines is not None:
        drawn["parallel_coordinates"] = lines
    if comparison.study is not None:
        shares = importance(comparison.study)
        if shares:
            drawn["importance"] = figures.importance(
                shares, comparison.heading, out / "importance.png"
            )
        if len(comparison.study.objectives) > 1 and comparison.study.finished():
            drawn["pareto_front"] = figures.pareto_front(comparison, out / "pareto_front.png")
    return drawn
