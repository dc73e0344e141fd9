"""The verb that compares runs, or the trials of a study."""

from pathlib import Path
from typing import Annotated

import tyro

Flag = tyro.conf.arg
Folders = tyro.conf.Positional[tuple[Path, ...]]


def compare(
    folders: Annotated[Folders, Flag(metavar="RUN ... | STUDY")],
    /,
    out: Annotated[Path | None, Flag(metavar="DIR")] = None,
    metric: Annotated[str | None, Flag(metavar="NAME")] = None,
) -> None:
    """Compare RUNs, or the trials of one STUDY, on a page with tables and figures.

    Example: raymmfl compare runs/mim_whitening

    Args:
        folders: run folders, or one study's folder.
        out: where the page goes (default: comparison/ in the study, or runs/comparison).
        metric: what orders them, such as test/global/all/f1_macro (default: the study's first
            objective, or the leading score of the task).
    """
    from raymmfl.comparison.write import compare as write
    from raymmfl.tuning.record import is_study

    if out is None:
        single = len(folders) == 1 and is_study(folders[0])
        out = folders[0] / "comparison" if single else Path("runs/comparison")
    answer, page = write(folders, out, metric)
    print(answer)
    print(f"page: {page}  (figures and tables beside it)")
