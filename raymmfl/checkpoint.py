"""Checkpoints: everything round t+1 reads, whole or absent, each file with its sha256.

```
checkpoints/00003/state.safetensors      global arrays and the embedding bank
checkpoints/00003/checkpoint.json        digests, files of memory, the round's report
checkpoints/memory/<client>-00003.safetensors   what a client kept; immutable
```
A checkpoint that is damaged is passed over for the one before it, with a warning naming the file.
"""

import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import quote

import numpy as np
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.numpy import load, save

from raymmfl.errors import RunError
from raymmfl.federation.aggregate import Flat
from raymmfl.federation.exchange import Bank
from raymmfl.federation.server import State
from raymmfl.federation.update import Memory
from raymmfl.files import sha256, write_whole

KEEP = 2  # the newest, and the one before it should the newest turn out damaged
_FORMAT = 1


@dataclass
class Checkpoint:
    """A checkpoint read back.

    Attributes:
        state: of the run.
        report: what was stored beside it (the round's history line without its scores).
    """

    state: State
    report: dict[str, Any]


class Checkpoints:
    """The checkpoints of one training."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._memory: dict[str, dict[str, str]] = {}  # client -> its newest file and digest

    def save(self, state: State, report: Mapping[str, Any], changed: list[str]) -> None:
        """Write the state after a round; older checkpoints but one are removed.

        Args:
            state: after the round.
            report: JSON values stored beside it.
            changed: clients whose memory changed since the last save.

        Raises:
            RunError: if the disk refuses; the last checkpoint is untouched.
        """
        try:
            self._save(state, report, changed)
        except OSError as error:
            free = shutil.disk_usage(self.folder.parent).free / 2**20
            raise RunError(
                f"the checkpoint of round {state.round} could not be written to {self.folder}: "
                f"{error.strerror or error} ({free:.0f} MiB free); earlier ones are whole. Make "
                f"room, then `raymmfl resume`"
            ) from error

    def _save(self, state: State, report: Mapping[str, Any], changed: list[str]) -> None:
        (self.folder / "memory").mkdir(parents=True, exist_ok=True)
        for client_id in changed:
            memory = state.memory[client_id]
            if memory:
                name = f"memory/{_file_name(client_id)}-{state.round:05d}.safetensors"
                content = save({key: np.asarray(v, order="C") for key, v in memory.items()})
                write_whole(self.folder / name, content)
                self._memory[client_id] = {"file": name, "sha256": sha256(content)}
        beside = self.folder / f".{state.round:05d}.tmp"
        shutil.rmtree(beside, ignore_errors=True)
        beside.mkdir()
        content = save(_arrays(state))
        write_whole(beside / "state.safetensors", content)
        body = {
            "format": _FORMAT,
            "round": state.round,
            "state": sha256(content),
            "scenes": state.bank.scenes,
            "memory": self._memory,
            "report": report,
        }
        text = json.dumps(body, sort_keys=True)
        whole = json.dumps({"sha256": sha256(text.encode()), "body": body}, sort_keys=True)
        write_whole(beside / "checkpoint.json", whole.encode())
        final = self.folder / f"{state.round:05d}"
        shutil.rmtree(final, ignore_errors=True)
        beside.rename(final)
        self._prune()

    def load(self) -> tuple[Checkpoint | None, list[str]]:
        """The newest whole checkpoint (None if there is none) and a warning per damaged one."""
        warnings: list[str] = []
        for folder in reversed(self._rounds()):
            try:
                return self._load(folder), warnings
            except (OSError, ValueError, KeyError, SafetensorError) as error:
                warnings.append(f"checkpoint passed over: {error}")
        return None, warnings

    def clean(self, last_round: int) -> None:
        """Remove what a crash left: half-written files and checkpoints after ``last_round``."""
        if not self.folder.exists():
            return
        for path in self.folder.glob("**/.*.tmp"):
            shutil.rmtree(path) if path.is_dir() else path.unlink()
        for folder in self._rounds():
            if int(folder.name) > last_round:
                shutil.rmtree(folder)
        self._prune()

    def _load(self, folder: Path) -> Checkpoint:
        body = _verified(folder / "checkpoint.json")
        arrays = _read(folder / "state.safetensors", body["state"])
        memory: dict[str, Memory] = {
            client_id: _read(self.folder / entry["file"], entry["sha256"])
            for client_id, entry in body["memory"].items()
        }
        self._memory = dict(body["memory"])
        bank = Bank(body["scenes"])
        for name, array in arrays.items():
            part, _, sensor = name.partition("/")
            if part == "bank.vectors":
                bank.vectors[sensor] = array.astype(np.float32, copy=False)
            elif part == "bank.rounds":
                bank.rounds[sensor] = array.astype(np.int32, copy=False)
        flat = Flat(
            arrays["weights"].astype(np.float32, copy=False),
            arrays["moments"].astype(np.float32, copy=False),
            arrays["counters"].astype(np.int64, copy=False),
        )
        return Checkpoint(State(body["round"], flat, bank, memory), body["report"])

    def _rounds(self) -> list[Path]:
        if not self.folder.exists():
            return []
        return sorted(
            path for path in self.folder.iterdir() if path.is_dir() and path.name.isdecimal()
        )

    def _prune(self) -> None:
        rounds = self._rounds()
        for folder in rounds[:-KEEP]:
            shutil.rmtree(folder)
        needed = {entry["file"] for entry in self._memory.values()}
        for folder in rounds[-KEEP:]:
            try:
                body = _verified(folder / "checkpoint.json")
            except (OSError, ValueError):
                continue
            needed |= {entry["file"] for entry in body["memory"].values()}
        for path in (self.folder / "memory").glob("*.safetensors"):
            if f"memory/{path.name}" not in needed:
                path.unlink()


def _file_name(client_id: str) -> str:
    """A file name for a client, unlike any other's; long names end in a digest."""
    name = quote(client_id, safe="")
    return name if len(name) <= 100 else f"{name[:80]}-{sha256(client_id.encode())[:16]}"


def _arrays(state: State) -> dict[str, NDArray[np.generic]]:
    arrays: dict[str, NDArray[np.generic]] = {
        "weights": state.flat.weights,
        "moments": state.flat.moments,
        "counters": state.flat.counters,
    }
    for sensor, vectors in state.bank.vectors.items():
        arrays[f"bank.vectors/{sensor}"] = vectors
        arrays[f"bank.rounds/{sensor}"] = state.bank.rounds[sensor]
    return arrays


def _read(path: Path, digest: str) -> dict[str, NDArray[np.generic]]:
    content = path.read_bytes()
    if sha256(content) != digest:
        raise ValueError(f"{path} does not have the sha256 written beside it")
    return load(content)


def _verified(path: Path) -> dict[str, Any]:
    try:
        whole = json.loads(path.read_bytes())
        body = whole["body"]
        if sha256(json.dumps(body, sort_keys=True).encode()) != whole["sha256"]:
            raise ValueError
        if body["format"] != _FORMAT:
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{path} is damaged or of another format") from None
    found: dict[str, Any] = body
    return found
