"""CORINE land cover as BigEarthNet uses it: 43 names and codes of level 3, and its 19 classes.

The order of :data:`LABELS` is the one in which BigEarthNet numbers its 19 classes
(``label_indices.json`` of its published models). It is not the alphabetical order, which some
tools use: a model's outputs mean nothing without the order they were trained in.

Sources: Sumbul et al., "BigEarthNet-MM", IEEE Geoscience and Remote Sensing Magazine 2021 (the 19
classes); CORINE Land Cover nomenclature guidelines (the codes).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from raymmfl.archive.store import IGNORED

_SPELT = "Land principally occupied by agriculture, with significant areas of natural vegetation"

LABELS = (
    "Urban fabric",
    "Industrial or commercial units",
    "Arable land",
    "Permanent crops",
    "Pastures",
    "Complex cultivation patterns",
    _SPELT,
    "Agro-forestry areas",
    "Broad-leaved forest",
    "Coniferous forest",
    "Mixed forest",
    "Natural grassland and sparsely vegetated areas",
    "Moors, heathland and sclerophyllous vegetation",
    "Transitional woodland, shrub",
    "Beaches, dunes, sands",
    "Inland wetlands",
    "Coastal wetlands",
    "Inland waters",
    "Marine waters",
)


@dataclass(frozen=True)
class LandCover:
    """A class of CORINE level 3.

    Attributes:
        code: three digits, as in reference maps.
        name: as BigEarthNet v1 writes it.
        label: index into :data:`LABELS`; None where the 19 classes leave it out.
    """

    code: int
    name: str
    label: int | None


LEVEL_3 = (
    LandCover(111, "Continuous urban fabric", 0),
    LandCover(112, "Discontinuous urban fabric", 0),
    LandCover(121, "Industrial or commercial units", 1),
    LandCover(122, "Road and rail networks and associated land", None),
    LandCover(123, "Port areas", None),
    LandCover(124, "Airports", None),
    LandCover(131, "Mineral extraction sites", None),
    LandCover(132, "Dump sites", None),
    LandCover(133, "Construction sites", None),
    LandCover(141, "Green urban areas", None),
    LandCover(142, "Sport and leisure facilities", None),
    LandCover(211, "Non-irrigated arable land", 2),
    LandCover(212, "Permanently irrigated land", 2),
    LandCover(213, "Rice fields", 2),
    LandCover(221, "Vineyards", 3),
    LandCover(222, "Fruit trees and berry plantations", 3),
    LandCover(223, "Olive groves", 3),
    LandCover(231, "Pastures", 4),
    LandCover(241, "Annual crops associated with permanent crops", 3),
    LandCover(242, "Complex cultivation patterns", 5),
    LandCover(243, _SPELT, 6),
    LandCover(244, "Agro-forestry areas", 7),
    LandCover(311, "Broad-leaved forest", 8),
    LandCover(312, "Coniferous forest", 9),
    LandCover(313, "Mixed forest", 10),
    LandCover(321, "Natural grassland", 11),
    LandCover(322, "Moors and heathland", 12),
    LandCover(323, "Sclerophyllous vegetation", 12),
    LandCover(324, "Transitional woodland/shrub", 13),
    LandCover(331, "Beaches, dunes, sands", 14),
    LandCover(332, "Bare rock", None),
    LandCover(333, "Sparsely vegetated areas", 11),
    LandCover(334, "Burnt areas", None),
    LandCover(411, "Inland marshes", 15),
    LandCover(412, "Peatbogs", 15),
    LandCover(421, "Salt marshes", 16),
    LandCover(422, "Salines", 16),
    LandCover(423, "Intertidal flats", None),
    LandCover(511, "Water courses", 17),
    LandCover(512, "Water bodies", 17),
    LandCover(521, "Coastal lagoons", 18),
    LandCover(522, "Estuaries", 18),
    LandCover(523, "Sea and ocean", 18),
)

BY_NAME: Mapping[str, LandCover] = {cover.name: cover for cover in LEVEL_3}
BY_CODE: Mapping[int, LandCover] = {cover.code: cover for cover in LEVEL_3}


def labels_of(names: Sequence[str]) -> tuple[str, ...]:
    """The 19-class labels of level-3 names, each once, in label order.

    Empty where the 19 classes leave out every name.

    Raises:
        KeyError: a name that is not in :data:`LEVEL_3`.
    """
    indices = {BY_NAME[name].label for name in names}
    return tuple(
        LABELS[index] for index in sorted(index for index in indices if index is not None)
    )


def classes_of(codes_HW: np.ndarray) -> np.ndarray:
    """Level-3 codes (uint16) as label indices, uint8 of the same shape; others ignored."""
    classes: np.ndarray = _INDEX_OF_CODE[codes_HW]
    return classes


def _index_of_code() -> np.ndarray:
    table = np.full(2**16, IGNORED, dtype=np.uint8)
    for cover in LEVEL_3:
        if cover.label is not None:
            table[cover.code] = cover.label
    return table


_INDEX_OF_CODE = _index_of_code()
