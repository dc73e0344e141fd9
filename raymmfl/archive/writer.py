"""Writing a packed archive: Arrow files row by row, in a folder that is whole or absent."""

import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from raymmfl.archive.store import BATCH_ROWS, INDEX_FILE, NO_CHECKSUM, Column
from raymmfl.errors import ArchiveError


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A temporary sibling of ``out`` that becomes ``out`` if the block succeeds, else vanishes.

    Raises:
        ArchiveError: ``out`` exists already, or its parent cannot be written.
    """
    if out.exists() or out.is_symlink():
        raise ArchiveError(f"{out}: exists already and is not overwritten; choose another folder")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise ArchiveError(f"{out}: cannot be made ({error}); choose another place") from error
    try:
        temporary.chmod(0o755)  # mkdtemp makes folders that only their owner reads
        yield temporary
        for path in sorted(temporary.rglob("*")):
            _flush(path)
        _flush(temporary)
        try:
            temporary.rename(out)
        except OSError as error:
            raise ArchiveError(f"{out}: appeared while it was made ({error})") from error
        _flush(out.parent)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise ArchiveError(
            f"{out}: could not be written ({error}); free the disk or choose another place"
        ) from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


class TensorFile:
    """An uncompressed Arrow IPC file of fixed-shape tensors, one column per native pixel size."""

    def __init__(self, path: Path, columns: Sequence[Column]) -> None:
        self.rows = 0
        self._pending: list[tuple[np.ndarray, ...]] = []
        self._schema = pa.schema(
            [
                (
                    column.name,
                    pa.fixed_shape_tensor(
                        pa.from_numpy_dtype(np.dtype(column.dtype)),
                        (len(column.bands), column.size, column.size),
                    ),
                )
                for column in columns
            ]
        )
        self._file = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._file, self._schema)

    def append(self, arrays: Sequence[np.ndarray]) -> tuple[int, str]:
        """Add one row of (B, size, size) arrays; returns its number and the sha256 of its data."""
        row = self.rows
        self._pending.append(tuple(arrays))
        self.rows += 1
        if len(self._pending) == BATCH_ROWS:
            self._write()
        return row, row_digest(arrays)

    def close(self) -> None:
        """Write the last, shorter batch and the footer."""
        if self._pending:
            self._write()
        self._writer.close()
        self._file.close()

    def _write(self) -> None:
        columns = [
            pa.FixedShapeTensorArray.from_numpy_ndarray(np.stack(arrays))
            for arrays in zip(*self._pending, strict=True)
        ]
        # from_numpy_ndarray may write the axis order into the type; the schema's plain type rules.
        plain = [
            pa.ExtensionArray.from_storage(field.type, column.storage)
            for field, column in zip(self._schema, columns, strict=True)
        ]
        self._writer.write_batch(pa.record_batch(plain, schema=self._schema))
        self._pending.clear()


def row_digest(arrays: Sequence[np.ndarray]) -> str:
    """Sha256 of a row's bytes in column order."""
    digest = hashlib.sha256()
    for array in arrays:
        digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()


def file_digest(path: Path) -> str:
    """Sha256 of a file's bytes."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_index(folder: Path, content: Mapping[str, Any]) -> None:
    """Write ``archive.json`` over the files now in ``folder``, with sizes and digests."""
    files = {
        path.name: {"bytes": path.stat().st_size, "sha256": file_digest(path)}
        for path in sorted(folder.iterdir())
    }
    text = json.dumps(
        {**content, "files": files, "checksum": NO_CHECKSUM}, indent=1, ensure_ascii=False
    )
    checksum = hashlib.sha256(text.encode()).hexdigest()
    (folder / INDEX_FILE).write_bytes(text.replace(NO_CHECKSUM, checksum).encode())


def _flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
