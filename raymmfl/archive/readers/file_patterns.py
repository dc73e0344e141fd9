"""File names with parts left open, such as ``s2/{id}/{id}_{band}.tif``, and sentences like them.

A part stands for one or more characters of one file or folder name; where two parts meet at the
same separator, the first takes as much as it can. A part that stands twice must be equal twice.
``{band}`` and ``{pixel_m}`` are filled in from the description of a sensor.
"""

import glob
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from raymmfl.errors import ArchiveError

GIVEN = ("band", "pixel_m")
_PART = re.compile(r"\{([^{}]*)\}")


def parts_of(text: str) -> tuple[str, ...]:
    """Names of the parts of a pattern or sentence, each once, in order."""
    return tuple(dict.fromkeys(_PART.findall(text)))


def fill(text: str, values: Mapping[str, str]) -> str:
    """Put values in place of the parts.

    Raises:
        KeyError: a part without a value.
    """
    return _PART.sub(lambda found: values[found[1]], text)


@dataclass(frozen=True)
class FilePattern:
    """A pattern of files below a root folder.

    Attributes:
        text: such as ``s1/{id}.tif``, relative to the root.
    """

    text: str

    @property
    def open_parts(self) -> tuple[str, ...]:
        """The parts that tell one scene from another."""
        return tuple(name for name in parts_of(self.text) if name not in GIVEN)

    def path(self, root: Path, values: Mapping[str, str]) -> Path:
        """The file of a scene."""
        return root / fill(self.text, values)

    def narrowed(self, given: Mapping[str, str]) -> "FilePattern":
        """The pattern with some parts filled in."""
        return FilePattern(_PART.sub(lambda found: given.get(found[1], found[0]), self.text))

    def find(self, root: Path) -> list[dict[str, str]]:
        """Values of the parts of each file there is, sorted by path; hidden files apart.

        Raises:
            ArchiveError: a file that matches by its folders and its ending, but whose equal parts
                differ.
        """
        loose, exact, seen = "", "", set()
        for index, piece in enumerate(_PART.split(self.text)):
            if index % 2 == 0:
                loose, exact = loose + glob.escape(piece), exact + re.escape(piece)
            else:
                loose += "*"
                exact += f"(?P={piece})" if piece in seen else f"(?P<{piece}>[^/]+)"
                seen.add(piece)
        found = []
        for path in sorted(root.glob(loose)):
            name = path.relative_to(root).as_posix()
            if any(part.startswith(".") for part in PurePosixPath(name).parts):
                continue
            match = re.fullmatch(exact, name)
            if match is None:
                raise ArchiveError(
                    f"{path}: is not named as {self.text}; rename it, or correct the description"
                )
            found.append(match.groupdict())
        return found


def problem_of(text: str) -> str:
    """What is wrong with a file pattern, "" if nothing is."""
    path = PurePosixPath(text)
    if not text or path.is_absolute() or ".." in path.parts:
        return "must be a path inside SOURCE, such as s1/{id}.tif"
    if "{" in _PART.sub("", text) or "}" in _PART.sub("", text):
        return "has a brace without its other half"
    wrong = [name for name in parts_of(text) if not name.isidentifier()]
    if wrong:
        return f"has {{{wrong[0]}}}; name parts by letters, digits and _"
    return ""
