"""The diary of a run: one JSON object per round, appended durably.

Standard library only. A line counts once its newline is on disk; what a killed process left behind
it is a torn tail, which readers pass over and the next append cuts off.
"""

import contextlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from raymmfl.errors import RunError
from raymmfl.files import write_whole


def append(path: Path, line: Mapping[str, Any]) -> None:
    """Append one object as one line; when this returns, the line survives a power cut.

    NaN and infinities, which JSON does not have, become null; numpy numbers and arrays become
    plain ones. A torn tail is cut off first.

    Args:
        path: the diary; made when absent, its folder must exist.
        line: e.g. ``{"round": 3, "metrics": {...}}``.
    """
    data = _encode(line) + b"\n"
    fresh = not path.exists()
    with path.open("ab+") as file:
        file.truncate(_whole_bytes(file.seek(0, os.SEEK_END), path))
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    if fresh:
        _sync_folder(path.parent)


def read(path: Path) -> list[dict[str, Any]]:
    """All whole lines, oldest first; an absent diary is an empty one.

    A last line without its newline, or unreadable lines at the very end (blocks that never reached
    the disk), are passed over.

    Raises:
        RunError: a line before the last readable one is damaged.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    decoded = [_decode(part) for part in data.split(b"\n")[:-1]]
    while decoded and decoded[-1] is None:
        decoded.pop()
    lines = [line for line in decoded if line is not None]
    if len(lines) != len(decoded):
        number = decoded.index(None) + 1
        raise RunError(
            f"{path}: line {number} is not a JSON object although later lines are; the file was"
            " changed by something else: restore it, or delete that line"
        )
    return lines


def truncate(path: Path, last_round: int) -> None:
    """Remove the lines of rounds after ``last_round`` and the torn tail, all at once.

    Called before a resumed run does those rounds again; an absent diary stays absent.
    """
    if path.exists():
        kept = [line for line in read(path) if line["round"] <= last_round]
        write_whole(path, b"".join(_encode(line) + b"\n" for line in kept))


def write_json(path: Path, value: object) -> None:
    """Write an indented JSON file whole or not at all; NaN and infinities become null."""
    text = json.dumps(_plain(value), indent=2, ensure_ascii=False, allow_nan=False)
    write_whole(path, (text + "\n").encode("utf-8", "backslashreplace"))


def _whole_bytes(size: int, path: Path) -> int:
    """Bytes of the file up to and with its last newline."""
    if size == 0:
        return 0
    with path.open("rb") as file:
        file.seek(size - 1)
        if file.read(1) == b"\n":
            return size
    return path.read_bytes().rfind(b"\n") + 1


def _encode(line: Mapping[str, Any]) -> bytes:
    text = json.dumps(_plain(line), ensure_ascii=False, allow_nan=False, separators=(", ", ": "))
    return text.encode("utf-8", "backslashreplace")  # a lone surrogate as its JSON escape


def _decode(part: bytes) -> dict[str, Any] | None:
    try:
        line = json.loads(part)
    except ValueError:
        return None
    return line if isinstance(line, dict) else None


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # numpy scalars and arrays, without importing numpy
        value = value.tolist()
    if isinstance(value, Mapping):
        return {str(key): _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(entry) for entry in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return str(value) if isinstance(value, Path) else value


def _sync_folder(folder: Path) -> None:
    """Make a new name durable too, where the system lets a folder be synced."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
