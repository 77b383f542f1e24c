"""Section 5: each endpoint of the protocol with its number and verdict, by both rules for what is missing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from lnn_med.evaluation.comparing import Comparison
from lnn_med.evaluation.protocol import HIGHER_IS_BETTER, Endpoint, Protocol
from lnn_med.evaluation.results.cases import column
from lnn_med.evaluation.results.segmentation import n_missing_of, over_cases
from lnn_med.evaluation.results.values import Number, not_estimable, plain

MET, NOT_MET, UNDECIDED = "met", "not met", "cannot be decided"


def endpoint_results(
    comparison: Comparison, protocol: Protocol, classification: Mapping[str, Any] | None
) -> list[dict[str, Any]]:
    """Each endpoint, the primary one first.

    Args:
        comparison: the cases; label maps where an endpoint compares them.
        protocol: names the endpoints.
        classification: what section 8 holds; None where no endpoint needs it.
    """
    return [
        _of_probabilities(classification or {}, protocol, one)
        if one.of_probabilities
        else _of_maps(comparison, protocol, one)
        for one in protocol.endpoints
    ]


def verdict(number: Number, endpoint: Endpoint) -> str:
    """Whether the bound (or estimate) that the endpoint names passes its threshold."""
    higher = HIGHER_IS_BETTER[endpoint.metric]
    bound = number["estimate"] if endpoint.rule == "estimate" else number["low" if higher else "high"]
    if bound is None:
        return UNDECIDED
    passed = bound >= endpoint.threshold if higher else bound <= endpoint.threshold
    return MET if passed else NOT_MET


def _of_maps(comparison: Comparison, protocol: Protocol, endpoint: Endpoint) -> dict[str, Any]:
    def over(missing: str) -> Number:
        found = column(comparison, endpoint.metric, endpoint.structure, missing)
        return over_cases(found, protocol, endpoint.statistic) | {"without_value": found.without}

    return _judged(endpoint, protocol, over, n_missing_of(comparison, endpoint.structure))


def _of_probabilities(
    classification: Mapping[str, Any], protocol: Protocol, endpoint: Endpoint
) -> dict[str, Any]:
    def over(missing: str) -> Number:
        found = classification["all" if missing == "worst" else "without_missing"]
        number = found["auc"] if endpoint.metric == "auc" else found["performance"].get(endpoint.metric)
        number = number or not_estimable(str(found["performance"].get("note", "")))
        return {**number, "without_value": 0}

    return _judged(endpoint, protocol, over, classification["n_missing"])


def _judged(
    endpoint: Endpoint, protocol: Protocol, over: Callable[[str], Number], n_missing: int
) -> dict[str, Any]:
    number, other = over(protocol.missing), over("leave_out" if protocol.missing == "worst" else "worst")
    return {
        **plain(endpoint),
        "higher_is_better": HIGHER_IS_BETTER[endpoint.metric],
        "number": number,
        "other_rule": other,
        "missing_rule": protocol.missing,
        "n_missing": n_missing,
        "verdict": verdict(number, endpoint),
        "other_verdict": verdict(other, endpoint),
    }
