"""Tests of the colours of classes: known, all different, apart for colour-blind readers."""

from itertools import combinations

import numpy as np
import pytest

from raymmfl.archive.readers.nomenclature import LABELS as CORINE_19
from raymmfl.archive.synthetic.signatures import COVERS
from raymmfl.prediction.colours import Colour, colours

DYNAMIC_WORLD = (
    "water", "trees", "grass", "flooded vegetation", "crops", "shrub & scrub", "built area",
    "bare ground", "snow & ice",
)  # fmt: skip
TERRAMESH = (
    "water", "trees", "flooded vegetation", "crops", "built", "bare", "snow/ice", "rangeland",
)  # fmt: skip
# Machado, Oliveira and Fernandes, IEEE TVCG 2009, severity 1, on linear RGB
EYES = {
    "all colours": np.eye(3),
    "no red": np.array(
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ]
    ),
    "no green": np.array(
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ]
    ),
}
TO_XYZ = np.array([[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]])


def lab(colour: Colour, eye: np.ndarray) -> np.ndarray:
    """CIE L*a*b* (D65) of an sRGB colour as an eye sees it."""
    part = np.array(colour) / 255
    linear = np.where(part <= 0.04045, part / 12.92, ((part + 0.055) / 1.055) ** 2.4)
    xyz = TO_XYZ @ np.clip(eye @ linear, 0, 1) / TO_XYZ.sum(axis=1)
    x, y, z = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * y - 16, 500 * (x - y), 200 * (y - z)])


@pytest.mark.parametrize("eye", EYES)
@pytest.mark.parametrize(
    ("labels", "apart"),
    [(DYNAMIC_WORLD, 20), (TERRAMESH, 20), (tuple(COVERS), 20), (CORINE_19, 12)],
    ids=["dynamicworld", "terramesh", "synthetic", "corine"],
)
def test_classes_of_the_known_nomenclatures_stay_apart(
    labels: tuple[str, ...], apart: float, eye: str
) -> None:
    """A difference of 2.3 is just noticeable; these leave room for thin lines and small spots."""
    seen = [lab(colour, EYES[eye]) for colour in colours(labels)]
    nearest = min(float(np.linalg.norm(a - b)) for a, b in combinations(seen, 2))
    assert nearest > apart


def test_names_keep_their_colours_on_every_map() -> None:
    one = dict(zip(DYNAMIC_WORLD, colours(DYNAMIC_WORLD), strict=True))
    two = dict(zip(TERRAMESH, colours(TERRAMESH), strict=True))
    assert {name: one[name] for name in set(one) & set(two)} == {
        name: two[name] for name in set(one) & set(two)
    }
    water, trees, built = one["water"], one["trees"], one["built area"]
    assert max(water) == water[2]
    assert max(trees) == trees[1]
    assert max(built) == built[0]


def test_unknown_and_repeated_names_get_colours_of_their_own() -> None:
    labels = ["water", "class 1", "deep water", *(f"class {number}" for number in range(2, 254))]
    found = colours(labels)
    assert len(set(found)) == len(labels) == 255
    assert found[0] == colours(["water"])[0]
    assert colours(labels) == found
