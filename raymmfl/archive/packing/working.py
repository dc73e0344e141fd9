"""The working folder of a pack: kept when a pack is cut short, so that the next one goes on.

``.<name>.packing`` beside the archive holds the shards that are whole, and ``archive``, where they
are merged. One process owns it at a time; ``plan.json`` says what it was begun with.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, is_dataclass
from pathlib import Path
from typing import Any

from raymmfl.archive.packing.shards import SHARD_FILE
from raymmfl.archive.store import INDEX_FILE
from raymmfl.archive.writer import refuse_existing
from raymmfl.errors import ArchiveError, RaymmflError
from raymmfl.files import sha256, sole_owner, write_whole

PLAN_FILE = "plan.json"
PROBLEMS_FILE = "problems.csv"
MERGED = "archive"


class Hopeless(ArchiveError):
    """A fault of the source as a whole: going on cannot mend it, so nothing is kept."""


def plan(parts: Mapping[str, Any]) -> dict[str, str]:
    """The inputs of a pack, each as the sha256 of all it consists of.

    Args:
        parts: name -> plain values, containers, paths and dataclasses, nested at will.
    """
    return {
        name: sha256(json.dumps(part, sort_keys=True, default=_plain).encode())
        for name, part in parts.items()
    }


@contextmanager
def working_folder(out: Path, inputs: Mapping[str, str]) -> Iterator[Path]:
    """The folder to work in, new or left by a pack of the same inputs; afterwards it is gone.

    On an error it stays if a shard in it is whole, or if it holds a list of problems.

    Args:
        out: the archive that is made; must not exist.
        inputs: of the pack, by :func:`plan`.

    Raises:
        ArchiveError: ``out`` exists, another process packs to it, the folder is of other inputs
            or cannot be written. What the block raises says where the folder is, if it stays.
    """
    folder = place(out)
    _make(folder, out)
    try:
        with sole_owner(folder):
            refuse_existing(out)
            _check_plan(folder, inputs)
            for left in folder.glob(".shard-*"):  # half-written when its process was killed
                shutil.rmtree(left, ignore_errors=True)
            (folder / PROBLEMS_FILE).unlink(missing_ok=True)
            with _kept_if_worth(folder, out):
                yield folder
    except BlockingIOError:
        raise ArchiveError(
            f"{out}: another process is packing it; wait for it or choose another folder"
        ) from None


def place(out: Path) -> Path:
    """Where an archive is worked on."""
    return out.with_name(f".{out.name}.packing")


def _make(folder: Path, out: Path) -> None:
    if out.exists() and folder.exists() and not _worth(folder):
        shutil.rmtree(folder, ignore_errors=True)  # a pack that was killed as it had ended
    refuse_existing(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ArchiveError(f"{out}: cannot be made ({error}); choose another place") from error


def _check_plan(folder: Path, inputs: Mapping[str, str]) -> None:
    file = folder / PLAN_FILE
    begun = json.loads(file.read_text()) if file.exists() else None
    if begun != inputs:
        if begun is not None and _worth(folder):
            other = [name for name in inputs if begun.get(name) != inputs[name]]
            raise ArchiveError(
                f"{folder}: holds a pack that was cut short, begun with another "
                f"{', another '.join(other)}; finish it with what it was begun with, or delete "
                "this folder"
            )
        write_whole(file, json.dumps(dict(inputs), indent=1).encode())


@contextmanager
def _kept_if_worth(folder: Path, out: Path) -> Iterator[None]:
    try:
        yield
    except Hopeless:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    except RaymmflError as error:
        if not _worth(folder):
            raise
        raise type(error)(
            f"{error}\nWhat was read so far is kept in {folder}: the same command goes on from "
            "there (or delete this folder)"
        ) from error
    except OSError as error:
        raise ArchiveError(
            f"{out}: could not be written ({error}); free the disk or choose another place"
        ) from error
    finally:
        if not _worth(folder):
            shutil.rmtree(folder, ignore_errors=True)


def _worth(folder: Path) -> bool:
    """Whether the folder holds what would cost time to make again, or what a person should see."""
    return (
        any(folder.glob(f"*/{SHARD_FILE}"))
        or (folder / MERGED / INDEX_FILE).exists()
        or (folder / PROBLEMS_FILE).exists()
    )


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, (set, frozenset)):
        return sorted(value, key=repr)
    return os.fspath(value)
