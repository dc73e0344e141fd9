import numpy as np
import pytest

from raymmfl.archive.readers.nomenclature import (
    BY_CODE,
    BY_NAME,
    LABELS,
    LEVEL_3,
    classes_of,
    labels_of,
)

AGRICULTURE = (
    "Land principally occupied by agriculture, with significant areas of natural vegetation"
)
# As published with BigEarthNet's models (label_indices.json): class -> level-3 names.
PUBLISHED = [
    ("Urban fabric", ["Continuous urban fabric", "Discontinuous urban fabric"]),
    ("Industrial or commercial units", ["Industrial or commercial units"]),
    (
        "Arable land",
        ["Non-irrigated arable land", "Permanently irrigated land", "Rice fields"],
    ),
    (
        "Permanent crops",
        [
            "Vineyards",
            "Fruit trees and berry plantations",
            "Olive groves",
            "Annual crops associated with permanent crops",
        ],
    ),
    ("Pastures", ["Pastures"]),
    ("Complex cultivation patterns", ["Complex cultivation patterns"]),
    (AGRICULTURE, [AGRICULTURE]),
    ("Agro-forestry areas", ["Agro-forestry areas"]),
    ("Broad-leaved forest", ["Broad-leaved forest"]),
    ("Coniferous forest", ["Coniferous forest"]),
    ("Mixed forest", ["Mixed forest"]),
    (
        "Natural grassland and sparsely vegetated areas",
        ["Natural grassland", "Sparsely vegetated areas"],
    ),
    (
        "Moors, heathland and sclerophyllous vegetation",
        ["Moors and heathland", "Sclerophyllous vegetation"],
    ),
    ("Transitional woodland, shrub", ["Transitional woodland/shrub"]),
    ("Beaches, dunes, sands", ["Beaches, dunes, sands"]),
    ("Inland wetlands", ["Inland marshes", "Peatbogs"]),
    ("Coastal wetlands", ["Salt marshes", "Salines"]),
    ("Inland waters", ["Water courses", "Water bodies"]),
    ("Marine waters", ["Coastal lagoons", "Estuaries", "Sea and ocean"]),
]
LEFT_OUT = [
    "Road and rail networks and associated land", "Port areas", "Airports",
    "Mineral extraction sites", "Dump sites", "Construction sites", "Green urban areas",
    "Sport and leisure facilities", "Bare rock", "Burnt areas", "Intertidal flats",
]  # fmt: skip
CODES = {
    0: [111, 112], 1: [121], 2: [211, 212, 213], 3: [221, 222, 223, 241], 4: [231], 5: [242],
    6: [243], 7: [244], 8: [311], 9: [312], 10: [313], 11: [321, 333], 12: [322, 323], 13: [324],
    14: [331], 15: [411, 412], 16: [421, 422], 17: [511, 512], 18: [521, 522, 523],
}  # fmt: skip


def test_the_43_names_are_those_published_and_become_the_19_classes_published() -> None:
    assert tuple(label for label, _ in PUBLISHED) == LABELS
    named = {name: label for label, names in PUBLISHED for name in names}
    assert set(BY_NAME) == set(named) | set(LEFT_OUT)
    assert len(LEVEL_3) == len(BY_NAME) == len(BY_CODE) == 43
    for name in BY_NAME:
        assert labels_of([name]) == ((named[name],) if name in named else ())


def test_the_order_is_not_the_alphabet() -> None:
    assert list(LABELS) != sorted(LABELS)
    assert labels_of(["Sea and ocean", "Airports", "Rice fields", "Vineyards", "Rice fields"]) == (
        "Arable land", "Permanent crops", "Marine waters",
    )  # fmt: skip
    assert labels_of(["Non-irrigated arable land", "Rice fields"]) == ("Arable land",)


def test_an_unknown_name_is_no_label() -> None:
    with pytest.raises(KeyError, match="Glaciers"):
        labels_of(["Pastures", "Glaciers and perpetual snow"])


def test_every_code_of_a_class_and_no_other_is_that_class() -> None:
    every = np.arange(2**16, dtype=np.uint16).reshape(256, 256)
    classes = classes_of(every).ravel()
    assert classes.dtype == np.uint8
    for label, codes in CODES.items():
        assert np.flatnonzero(classes == label).tolist() == codes
    assert (classes == 255).sum() == 2**16 - 32
    assert classes[[0, 122, 332, 335, 423, 999]].tolist() == [255] * 6
