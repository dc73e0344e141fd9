"""The colour of each class of a map: the same name has the same colour on every map.

Water is blue, woods are dark green, fields yellow, buildings red. Classes that often stand side by
side also differ in lightness, for readers who cannot tell red from green; a test measures how far
apart the colours of the known nomenclatures stay for them.
"""

import colorsys
from collections.abc import Sequence

Colour = tuple[int, int, int]

# The first word found in a name gives its colour, so that special words come before general ones.
WORDS: tuple[tuple[str, str], ...] = (
    ("snow", "#EBFFFF"),
    ("cloud", "#BDBDBD"),
    ("marine", "#02256C"),
    ("sea", "#02256C"),
    ("flooded crops", "#7FBCFF"),
    ("flooded", "#59BFCD"),
    ("coastal wetland", "#7FBCFF"),
    ("wetland", "#59BFCD"),
    ("water", "#2C7FB8"),
    ("broad-leaved", "#57A340"),
    ("coniferous", "#0B4A2B"),
    ("mixed forest", "#0E745C"),
    ("agro-forestry", "#7B710E"),
    ("woodland", "#A5AE74"),
    ("forest", "#295442"),
    ("tree", "#295442"),
    ("permanent crops", "#CF910F"),
    ("complex cultivation", "#FFF99D"),
    ("agriculture", "#DCBE49"),
    ("crop", "#FFCE3B"),
    ("arable", "#FFCE3B"),
    ("natural grassland", "#F2DFA8"),
    ("pasture", "#ACDC73"),
    ("grass", "#ACDC73"),
    ("rangeland", "#DAB982"),
    ("moor", "#80845F"),
    ("shrub", "#80845F"),
    ("industrial", "#73396B"),
    ("urban", "#E61D15"),
    ("built", "#E61D15"),
    ("beach", "#F4EACE"),
    ("bare", "#CCB2A3"),
)
SPARE = (
    "#CC79A7", "#56B4E9", "#E69F00", "#009E73", "#882255", "#332288", "#DDCC77", "#AA4499",
    "#44AA99", "#999933", "#661100", "#6699CC",
)  # fmt: skip
_GOLDEN = 0.618033988749895  # turns of the colour circle that never come close to repeating


def colours(labels: Sequence[str]) -> list[Colour]:
    """One colour per class, no two alike.

    Args:
        labels: class names in label order, at most 255.
    """
    found: list[Colour | None] = []
    for label in labels:
        name = label.lower()
        known = next((_rgb(code) for word, code in WORDS if word in name), None)
        found.append(None if known in found else known)
    spare = (each for each in _spare() if each not in found)
    return [next(spare) if each is None else each for each in found]


def _spare() -> list[Colour]:
    """Colours for names that nothing is known about: some chosen ones, then any number."""
    made = [_rgb(code) for code in SPARE]
    for turn in range(512):
        share = colorsys.hls_to_rgb(turn * _GOLDEN % 1, (0.35, 0.55, 0.75)[turn % 3], 0.6)
        red, green, blue = (round(255 * part) for part in share)
        if (red, green, blue) not in made:
            made.append((red, green, blue))
    return made


def _rgb(code: str) -> Colour:
    red, green, blue = bytes.fromhex(code[1:])
    return red, green, blue
