"""The scale of the depth map: the same for every case, named by the exits of the installed networks."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import combinations_with_replacement, product

from lnn_med.errors import LnnMedError


@dataclass(frozen=True)
class Exits:
    """Residual blocks executed at a voxel that leaves a bundle's network at exit 1, 2, ..."""

    bundle: str
    depths: tuple[int, ...]


@dataclass(frozen=True)
class DepthScale:
    """`maximum` blocks that the whole chain can execute at a voxel; `exits` of each of its networks."""

    maximum: int
    exits: tuple[Exits, ...]

    def words(self, blocks: int, ran: Sequence[str]) -> str:
        """How a voxel with this many executed blocks was computed by the bundles that `ran`.

        The first of them covers the scan and the others add to it in places, twice where the crops of both
        sides overlap. Where several ways give the same sum, all are named; 0 is outside every network.
        """
        if blocks == 0:
            return "not computed"
        found = self._ways(blocks, ran, twice=False) or self._ways(blocks, ran, twice=True)
        return " or ".join(dict.fromkeys(found)) or "other"

    def _ways(self, blocks: int, ran: Sequence[str], twice: bool) -> list[str]:
        depths = {one.bundle: one.depths for one in self.exits}
        choices = []
        for number, name in enumerate(ran):
            exits = list(enumerate(depths.get(name, ()), start=1))
            once = [(depth, f"{name} exit {at}") for at, depth in exits]
            pairs = [
                (one + other, f"{name} exits {first} and {second}")
                for (first, one), (second, other) in combinations_with_replacement(exits, 2)
            ]
            choices.append([(0, ""), *(pairs if twice else once)] if number else once)
        return [
            " + ".join(words for _, words in chosen if words)
            for chosen in product(*choices)
            if sum(depth for depth, _ in chosen) == blocks
        ]


@cache
def depth_scale(names: tuple[str, ...] = ()) -> DepthScale:
    """The scale of these bundles, all that ship when none is named; one that cannot be read is left out."""
    from lnn_med.inference.bundle import load_bundle  # torch takes its time to import
    from lnn_med.inference.bundle_files import list_bundles
    from lnn_med.inference.classifier_bundle import is_classifier

    exits = []
    for name in names or list_bundles():
        try:
            if not is_classifier(name):  # those run no blocks of voxels
                exits.append(Exits(name, load_bundle(name).info.network.depths))
        except LnnMedError:
            continue
    return DepthScale(sum(one.depths[-1] for one in exits), tuple(exits))
