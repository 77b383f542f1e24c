"""The main estimates of a validation report with their intervals, as report.json holds them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from app.parts import html
from app.parts.numbers import count_text
from lnn_med.evaluation.report.sections.primary import endpoint_rule
from lnn_med.evaluation.report.sections.wording import METRIC_DIGITS, METRIC_NAMES
from lnn_med.io.volumetry import NO_VALUE, in_words, mm3_text

SHOWN = 4  # structures beside the mean; the others stand below it, on request
SHORT_HASH = 8
SIDES = {"L": "left", "R": "right"}
OVERLAP = ("dsc", "nsd", "hd95_mm")
NO_ENDPOINT = "The protocol names no endpoint, so nothing is decided; the estimates stand below."

Found = Mapping[str, Any]


def report_facts(record: Found) -> str:
    """What was compared: protocol, device, cases."""
    protocol, flow, people = (record.get(name) or {} for name in ("protocol", "flow", "people"))
    device = "; ".join(
        f"{one['name']} {one['version']} ({one['weights_sha256'][:SHORT_HASH]})"
        for one in (record.get("device") or {}).get("bundles") or ()
    )
    named = protocol.get("id") not in (None, "none")
    return html.facts(
        [
            ("Title", protocol.get("title")),
            ("Status", record.get("status")),
            ("Protocol", protocol.get("id") if named else "none: default settings"),
            ("Device", device),
            ("Cases analysed", _count(flow.get("analysed"))),
            ("Patients", _count(people.get("n_patients"))),
            ("Missing, counted as worst", _count(flow.get("counted_worst"))),
        ]
    )


def estimate_tables(record: Found) -> tuple[str, str]:
    """Two pieces of HTML: the main estimates, and those of the structures that are too many for it."""
    level = f"{100 * (record.get('protocol') or {}).get('level', 0.95):.0f} % interval"
    top = [_endpoints(record.get("endpoints") or (), level)]
    below = []
    for title, head, rows in (_overlap(record, level), _volumes(record, level), _classes(record, level)):
        if rows:
            top.append(html.table(title, head, rows[: 1 + SHOWN]))
        if rows[1 + SHOWN :]:
            below.append(html.table(title, head, rows[1 + SHOWN :]))
    return "".join(top), "".join(below)


def _endpoints(endpoints: Sequence[Found], level: str) -> str:
    """Each endpoint of the protocol with its rule and what was decided."""
    if not endpoints:
        return f"<p>{NO_ENDPOINT}</p>"
    cells = []
    for one in endpoints:
        name, rule = endpoint_rule(one)
        shown = estimate_text(one["number"], _digits(METRIC_DIGITS[one["metric"]]))
        cells.append((html.text(name), shown, html.text(rule), f"<b>{html.text(one['verdict'])}</b>"))
    return html.table("Endpoints", ("What", f"Estimate ({level})", "Rule", "Verdict"), cells, words=(2, 3))


Table = tuple[str, Sequence[str], Sequence[Sequence[str]]]


def _overlap(record: Found, level: str) -> Table:
    found = record.get("segmentation") or {}
    names = [METRIC_NAMES[metric] for metric in OVERLAP]
    if "tolerance_mm" in found:
        names[1] += f" at {found['tolerance_mm']:g} mm"
    rows = [
        (
            "Mean of the structures" if one is found["mean"] else _words(one["name"]),
            *(estimate_text(one["all"].get(metric), _digits(METRIC_DIGITS[metric])) for metric in OVERLAP),
        )
        for one in ([found["mean"], *_first_hippocampi(found["structures"])] if found else ())
    ]
    title = f"Labels: mean over {_count(found.get('n_cases'))} cases ({level})"
    return title, ("Structure", *names), rows


def _volumes(record: Found, level: str) -> Table:
    """Bias and agreement of each structure, and how often its interval held the reference volume."""
    covered = {one["name"]: one["coverage"] for one in record.get("intervals") or () if one.get("coverage")}
    rows = []
    for one in _first_hippocampi((record.get("volumetry") or {}).get("structures") or ()):
        bias, agreement = (one.get("bland_altman") or {}).get("bias"), (one.get("icc") or {}).get("agreement")
        coverage = covered.get(one["name"]) or {}
        held = estimate_text(coverage.get("observed"), _percent)
        promised = f" of {_percent(coverage['nominal'])}" if coverage.get("nominal") else ""
        rows.append(
            (_words(one["name"]), estimate_text(bias, _mm3), estimate_text(agreement, _digits(3)),
             held + promised)
        )  # fmt: skip
    head = ("Structure", "Bias, mm³", "ICC(2,1)", "Interval holds the reference")
    return f"Volumes ({level})", head, rows


def _classes(record: Found, level: str) -> Table:
    found = record.get("classification") or {}
    every = found.get("all") or {}
    at = every.get("performance") or {}
    numbers = {
        "AUC": every.get("auc"),
        f"Sensitivity at {found.get('threshold')}": at.get("sensitivity"),
        f"Specificity at {found.get('threshold')}": at.get("specificity"),
    }
    rows = [
        (html.text(name), estimate_text(one, _digits(3)), _count(one.get("n")) or NO_VALUE)
        for name, one in numbers.items()
        if one
    ]
    title = f"Classification: {found.get('target', '')} against {found.get('reference', '')}"
    return title, ("What", f"Estimate ({level})", "People"), rows


def estimate_text(found: Found | None, write: Callable[[float], str]) -> str:
    """`0.855 (0.835 to 0.877)`; a dash for a number that does not exist."""
    if found is None or found.get("estimate") is None:
        return NO_VALUE
    if found.get("low") is None or found.get("high") is None:
        return f"{write(found['estimate'])} (no interval)"
    return f"{write(found['estimate'])} ({write(found['low'])} to {write(found['high'])})"


def _first_hippocampi(structures: Sequence[Found]) -> list[Found]:
    return sorted(structures, key=lambda one: not one["name"].startswith("Hippocampus"))


def _words(name: str) -> str:
    sides = [SIDES[part] for part in name.split("_") if part in SIDES]
    return html.text(", ".join([in_words(name), *sides]))


def _count(value: Any) -> str | None:
    return count_text(value) if isinstance(value, (int, float)) else None


def _digits(digits: int) -> Callable[[float], str]:
    return lambda value: f"{value:.{digits}f}".replace("-", "\u2212")


def _mm3(value: float) -> str:
    return mm3_text(value).replace("-", "\u2212")


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
