"""Predictions and references of the same cases brought together, with their label tables."""

from __future__ import annotations

import difflib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from lnn_med.errors import ConfigError
from lnn_med.evaluation.predicted import MASKS, RUN, PredictedCase, PredictionSet
from lnn_med.evaluation.protocol import MEAN, Protocol
from lnn_med.evaluation.references import ReferenceCase, ReferenceSet

NNUNET_CHANNEL = "_0000"  # nnU-Net's ending of an image, which its label map has not
BY_NAME = "equal names"
BY_FILE = "equal file names"
BY_CHANNEL = "equal names without _0000"


@dataclass(frozen=True)
class Pair:
    """A reference with its prediction, None when there is none."""

    reference: ReferenceCase
    prediction: PredictedCase | None


@dataclass(frozen=True)
class Matched:
    """All pairs in the order of the references' names, predictions left over, and how they were joined."""

    pairs: tuple[Pair, ...]
    extra: tuple[PredictedCase, ...]
    rules: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class LabelTable:
    """What is compared: `reference` and `predicted` map structure to integer.

    `predicted` is None for a run, whose cases carry their own tables. `source` says in words where the
    meaning of the integers comes from; `left_out` are names of one side only.
    """

    reference: Mapping[str, int]
    predicted: Mapping[str, int] | None
    source: str
    left_out: tuple[str, ...] = ()

    @property
    def structures(self) -> tuple[str, ...]:
        """Names, in the order of the reference's integers."""
        return tuple(sorted(self.reference, key=lambda name: self.reference[name]))


def match(references: ReferenceSet, predictions: PredictionSet) -> Matched:
    """Join by case name; then, for what is left, by file name, then without nnU-Net's `_0000`.

    A name that two cases share joins nothing.

    Raises:
        ConfigError: no pair at all.
    """
    rules: tuple[
        tuple[str, Callable[[ReferenceCase], Iterable[str]], Callable[[PredictedCase], Iterable[str]]], ...
    ]
    rules = (
        (BY_NAME, lambda one: (one.case,), lambda one: (one.case,)),
        (BY_FILE, lambda one: (one.case, *one.aliases), lambda one: (one.case, *one.aliases)),
        (
            BY_CHANNEL,
            lambda one: (one.case, *one.aliases),
            lambda one: tuple(name.removesuffix(NNUNET_CHANNEL) for name in (one.case, *one.aliases)),
        ),
    )
    found: dict[str, PredictedCase] = {}
    left = list(predictions.cases)
    used: Counter[str] = Counter()
    for rule, names_of_reference, names_of_prediction in rules:
        waiting = [one for one in references.cases if one.case not in found]
        by_name = _unique(left, names_of_prediction)
        claimed = _unique(waiting, names_of_reference)
        for name, reference in claimed.items():
            prediction = by_name.get(name)
            if prediction is None or prediction not in left or reference.case in found:
                continue
            found[reference.case] = prediction
            left.remove(prediction)
            used[rule] += 1
    if not found:
        raise ConfigError(
            f"None of the {len(references.cases)} references has the name of one of the "
            f"{len(predictions.cases)} predictions. A reference is named like its scan: the path below the "
            "scored folder without ending, `/` as `_`."
        )
    pairs = tuple(Pair(one, found.get(one.case)) for one in references.cases)
    return Matched(pairs, tuple(left), dict(used))


def label_table(
    protocol: Protocol, given: Mapping[str, int], predictions: PredictionSet, present: Callable[[], set[int]]
) -> LabelTable:
    """Decide which integer of the reference is which structure, and which structures are compared.

    Args:
        protocol: its `labels`, `prediction_labels` and `structures`.
        given: of the option --labels; stronger than the protocol.
        predictions: whose own table holds when neither names anything.
        present: called for the integers above 0 that occur in the references, only where they are needed.

    Raises:
        ConfigError: no common structure, an unknown one was asked for, or the references hold integers that
            nothing explains.
    """
    own = {name: integer for integer, name in predictions.names.items()}
    reference, source = _reference_table(protocol, given, predictions, own, present)
    offered, source = _offered(protocol, predictions, own, reference, source)
    wanted = set(protocol.structures) | set(given)
    for name in sorted(wanted):
        for side, names in (("reference", reference), ("prediction", offered)):
            if name not in names:
                raise ConfigError(f"No {side} names the structure {name}.{_nearest(name, names)}")
    chosen = protocol.structures or tuple(name for name in reference if name in offered)
    if not chosen:
        raise ConfigError(
            f"The references name {_few(reference)}; the predictions name {_few(offered)}. They must share "
            "structures: map both with `labels` and `prediction_labels` in the protocol."
        )
    for endpoint in protocol.endpoints:
        if endpoint.structure not in (MEAN, *chosen):
            raise ConfigError(
                f"An endpoint names {endpoint.structure}, which is not compared."
                f"{_nearest(endpoint.structure, chosen)}"
            )
    left_out = tuple(sorted((set(reference) ^ set(offered)) if not protocol.structures else ()))
    predicted = None if predictions.kind in (RUN, MASKS) else {name: offered[name] for name in chosen}
    return LabelTable({name: reference[name] for name in chosen}, predicted, source, left_out)


def _reference_table(
    protocol: Protocol,
    given: Mapping[str, int],
    predictions: PredictionSet,
    own: Mapping[str, int],
    present: Callable[[], set[int]],
) -> tuple[dict[str, int], str]:
    if given:
        return dict(given), "the option --labels"
    if protocol.labels:
        return dict(protocol.labels), "the protocol"
    integers = present()
    if own:
        unknown = sorted(integers - set(own.values()))
        if unknown:
            raise ConfigError(
                f"The references hold the integers {_few(map(str, unknown))}, which {predictions.table_from} "
                "beside the predictions does not name. Say what the reference's integers mean with "
                "--labels NAME=INTEGER,... or `labels` in the protocol."
            )
        return dict(own), f"{predictions.table_from} of the predictions, for references and predictions alike"
    if predictions.kind == MASKS or predictions.kind == RUN:
        raise ConfigError("Nothing says what the reference's integers mean; give --labels NAME=INTEGER,...")
    numbered = {f"label {integer}": integer for integer in sorted(integers)}
    return numbered, "none given: equal integers are taken for equal structures"


def _offered(
    protocol: Protocol,
    predictions: PredictionSet,
    own: Mapping[str, int],
    reference: Mapping[str, int],
    source: str,
) -> tuple[dict[str, int], str]:
    """Structures that the predictions hold; for maps of another tool with their integers."""
    if predictions.kind in (RUN, MASKS):
        maps = [one for case in predictions.cases for one in case.maps]
        names = {name for one in maps for name in one.names.values()} | {
            one.mask_of for one in maps if one.mask_of
        }
        return dict.fromkeys(sorted(names), 0), source
    if protocol.prediction_labels:
        return dict(protocol.prediction_labels), f"{source}; predictions: `prediction_labels` of the protocol"
    if not own:
        return dict(reference), f"{source}; the predictions carry no table: the same integers"
    if set(own) & set(reference):
        return dict(own), f"{source}; predictions: {predictions.table_from}"
    if set(reference.values()) <= set(own.values()):
        theirs = predictions.names
        said = ", ".join(f"{integer} is {theirs[integer]}" for integer in sorted(reference.values()))
        said = f"CHECK: {predictions.table_from} has other names ({said}), same integers"
        return dict(reference), f"{source}; {said}"
    return dict(own), source


def _unique(cases: Sequence, names_of: Callable) -> dict:  # type: ignore[type-arg]
    """Cases by those names that only one of them has."""
    named: dict[str, list] = {}  # type: ignore[type-arg]
    for one in cases:
        for name in dict.fromkeys(names_of(one)):
            named.setdefault(name, []).append(one)
    return {name: owners[0] for name, owners in named.items() if len(owners) == 1}


def _nearest(name: str, known: Iterable[str]) -> str:
    names = list(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    return f" Did you mean {near[0]}?" if near else f" Known: {_few(names)}."


def _few(names: Iterable[str], limit: int = 8) -> str:
    listed = list(names)
    more = f" and {len(listed) - limit} more" if len(listed) > limit else ""
    return (", ".join(listed[:limit]) or "nothing") + more
