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
        sides overlap. Where several ways give the same sum, their exits follow the names; of crops that
        overlap only the names are told. 0 is outside every network.
        """
        if blocks == 0:
            return "not computed"
        for twice in (False, True):
            found = self._ways(blocks, ran, twice)
            if len(found) == 1:
                return " + ".join(f"{name} {exits}" for name, exits in found[0])
            if found:
                return _of_several(found, twice)
        return "other"

    def _ways(self, blocks: int, ran: Sequence[str], twice: bool) -> list[tuple[tuple[str, str], ...]]:
        """Name and exits, as `exit 1` or `exits 1 and 3`, of the networks that give that sum together."""
        depths = {one.bundle: one.depths for one in self.exits}
        choices: list[list[tuple[int, str]]] = []
        for number, name in enumerate(ran):
            exits = list(enumerate(depths.get(name, ()), start=1))
            once = [(depth, f"exit {at}") for at, depth in exits]
            pairs = [
                (one + other, f"exits {first} and {second}")
                for (first, one), (second, other) in combinations_with_replacement(exits, 2)
            ]
            choices.append([(0, ""), *(pairs if twice else once)] if number else once)
        return [
            tuple((name, words) for name, (_, words) in zip(ran, chosen, strict=True) if words)
            for chosen in product(*choices)
            if sum(depth for depth, _ in chosen) == blocks
        ]


def _of_several(ways: Sequence[tuple[tuple[str, str], ...]], twice: bool) -> str:
    names = list(dict.fromkeys(" + ".join(name for name, _ in way) for way in ways))
    if twice or len(names) > 1:
        return " or ".join(names) + (", twice" if twice else "")
    exits = [" + ".join(words.removeprefix("exit ") for _, words in way) for way in ways]
    return f"{names[0]}, exits {', '.join(exits[:-1])} or {exits[-1]}"


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
