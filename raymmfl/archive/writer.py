"""Writing a packed archive: Arrow files row by row, in a folder that is whole or absent."""

import hashlib
import io
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
from raymmfl.files import write_whole


@contextmanager
def whole_folder(out: Path) -> Iterator[Path]:
    """A temporary sibling of ``out`` that becomes ``out`` if the block succeeds, else vanishes.

    Raises:
        ArchiveError: ``out`` exists already, or its parent cannot be written.
    """
    refuse_existing(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        temporary = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    except OSError as error:
        raise ArchiveError(f"{out}: cannot be made ({error}); choose another place") from error
    try:
        temporary.chmod(0o755)  # mkdtemp makes folders that only their owner reads
        yield temporary
        for path in sorted(temporary.rglob("*")):
            flush(path)
        flush(temporary)
        try:
            temporary.rename(out)
        except OSError as error:
            raise ArchiveError(f"{out}: appeared while it was made ({error})") from error
        flush(out.parent)
    except OSError as error:
        shutil.rmtree(temporary, ignore_errors=True)
        raise ArchiveError(
            f"{out}: could not be written ({error}); free the disk or choose another place"
        ) from error
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise


def refuse_existing(out: Path) -> None:
    """Raise an ArchiveError if there is anything at ``out``."""
    if out.exists() or out.is_symlink():
        raise ArchiveError(f"{out}: exists already and is not overwritten; choose another folder")


class TensorFile:
    """An uncompressed Arrow IPC file of fixed-shape tensors, one column per native pixel size.

    Its sha256 is taken while it is written.
    """

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
        self._file = _DigestedFile(path)
        self._writer = pa.ipc.new_file(self._file, self._schema)

    def append(self, arrays: Sequence[np.ndarray]) -> tuple[int, str]:
        """Add one row of (B, size, size) arrays; returns its number and the sha256 of its data."""
        row = self.rows
        self._pending.append(tuple(arrays))
        self.rows += 1
        if len(self._pending) == BATCH_ROWS:
            self._write()
        return row, row_digest(arrays)

    def close(self) -> dict[str, Any]:
        """Write the last, shorter batch and the footer; returns the file's bytes and sha256."""
        if self._pending:
            self._write()
        self._writer.close()
        self._file.close()
        return {"bytes": self._file.bytes, "sha256": self._file.digest.hexdigest()}

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


class _DigestedFile(io.RawIOBase):
    """A file that is written from its start to its end, and its sha256 so far."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb", buffering=0)
        self.digest = hashlib.sha256()
        self.bytes = 0

    def writable(self) -> bool:
        return True

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        written = 0
        while written < len(view):
            written += self._file.write(view[written:])
        self.digest.update(view)
        self.bytes += written
        return written

    def tell(self) -> int:
        return self.bytes

    def close(self) -> None:
        self._file.close()
        super().close()


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


def write_index(
    folder: Path, content: Mapping[str, Any], known: Mapping[str, Mapping[str, Any]] | None = None
) -> None:
    """Write ``archive.json`` over the files now in ``folder``, with sizes and digests.

    Args:
        folder: of the archive.
        content: of the index.
        known: bytes and sha256 of files that need not be read again.
    """
    known = known or {}
    files = {
        path.name: known.get(path.name)
        or {"bytes": path.stat().st_size, "sha256": file_digest(path)}
        for path in sorted(folder.iterdir())
    }
    text = json.dumps(
        {**content, "files": files, "checksum": NO_CHECKSUM}, indent=1, ensure_ascii=False
    )
    checksum = hashlib.sha256(text.encode()).hexdigest()
    write_whole(folder / INDEX_FILE, text.replace(NO_CHECKSUM, checksum).encode())


def flush(path: Path) -> None:
    """Have a file or folder written to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
