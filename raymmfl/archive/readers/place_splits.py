"""Random splits of whole places, within each region.

For archives whose files are places far apart: a place belongs to one split, so that neighbouring
pixels, or two dates of one place, never stand on both sides of a score (Roberts et al., Ecography
2017). Places that lie side by side need a split of their own: a list, or the blocks of
``splits.py``.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence

from raymmfl.seeds import derive

HELD_BACK_SHARE = 0.15  # for validation, and as much again for the test


def split_places(
    regions: Mapping[str, str], seed: int, held_back: Sequence[str] = ("val", "test")
) -> dict[str, str]:
    """Draw a split for each place: 70 % train, 15 % validation, 15 % test of every region.

    A region of at least three places has at least one in each split; one of fewer places trains
    only, as one place cannot show how a model does on another.

    Args:
        regions: place -> its region.
        seed: with the names of the region's places it decides everything.
        held_back: splits to draw beside train.

    Returns:
        Place -> split, in the order of ``regions``.
    """
    members = defaultdict(list)
    for place, region in regions.items():
        members[region].append(place)
    chosen = dict.fromkeys(regions, "train")
    for places in members.values():
        drawn = sorted(places, key=lambda place: (derive(seed, "place", place), place))
        count = max(1, round(HELD_BACK_SHARE * len(places)))
        if len(places) > len(held_back):
            for index, split in enumerate(held_back):
                chosen |= dict.fromkeys(drawn[index * count : (index + 1) * count], split)
    return chosen
