"""What pages say of the classifiers' answers: rows of texts and notes from a `result.json` record.

The default number comes first, the network's is named a second opinion, and none of it is a finding.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lnn_med.io.volumetry import NO_VALUE, in_words, percentile_text

TITLE = "Dementia rating: what the models say"
HEAD = ("Measure", "Value", "Note")
TITLE_DRIVERS, HEAD_DRIVERS = "What moved the number", ("Term", "Log-odds", "Percentile")
TITLE_EVIDENCE = "Where the network saw evidence"
HEAD_EVIDENCE = ("Structure, both sides", "Log-odds", "Percentile")
TITLE_LIMITS = "Limits of this number"
BRAIN_AGE = "brain_age_years"
RISK, NETWORK = "dementia", "dementia_network"
TITLES = {
    RISK: "Probability of a dementia rating (CDR > 0)",
    NETWORK: "Second opinion: network that adds the image",
}
EVIDENCE_DIGITS = 3  # one structure moves the network by hundredths
KNOWN = {"age": "age", "sex": "sex", "education": "education", "mmse": "MMSE"}
TERMS = {"age": "Age", "sex": "Sex", "education": "Education", "mmse": "MMSE"}
SIDES = {"L": "left", "R": "right"}
SQUARED, LOG = " squared", "log "  # how terms of the risk model are named
MODELS_OWN = "These answers are from the model's own labels, before a reader's edit."
NOTE_DRIVERS = (
    "Log-odds beyond those of the mean person of the data; plus speaks for a dementia rating. Percentile: "
    "the volume of both sides, or of each, among healthy people of the same age, sex and head size."
)
NOTE_EVIDENCE = (
    "How much the network's log-odds fall when the structure looks as usual; plus speaks for a dementia "
    "rating. The map is the layer “Evidence”."
)
LIMITS = (
    "Research only; not for diagnosis, not for screening, no ground for any decision about a person.",
    "CDR > 0 is a clinician's rating of at least very mild impairment; it is not a disease and names none.",
    "Everyone with dementia in the data was at least 60 years old: below that age the answer rests on age.",
    "In the data 4 of 10 people have the rating: in a group where fewer have it, the number is too high.",
    "The people it was tested on are few and of one site; the intervals say how much that leaves open.",
)


@dataclass(frozen=True)
class RiskWords:
    """Rows of (measure, value, note) and, where the models answered, what moved them; empty without any."""

    rows: tuple[tuple[str, str, str], ...] = ()
    drivers: tuple[tuple[str, str, str], ...] = ()
    evidence: tuple[tuple[str, str, str], ...] = ()
    limits: tuple[str, ...] = ()


def risk_words(record: Mapping[str, Any]) -> RiskWords:
    """What a page says; nothing after a FAIL or where no classifier was asked."""
    entries = record["classification"]
    if record["qc"]["status"] == "fail" or not entries:
        return RiskWords()
    rows = [row for entry in entries for row in _rows(entry)]
    age = record["derived"].get(BRAIN_AGE)
    if age is not None:
        rows.append(("Age that the brain looks like", f"{age:.0f} years", _age_note(entries)))
    percentiles = _percentile_texts(record)
    drivers = (driver_rows(entry, percentiles) for entry in entries)
    evidence = (_evidence_rows(entry, percentiles) for entry in entries)
    return RiskWords(
        tuple(rows),
        tuple(row for found in drivers for row in found),
        tuple(row for found in evidence for row in found),
        LIMITS,
    )


def title_of(entry: Mapping[str, Any]) -> str:
    """What an entry's probability is one of."""
    return TITLES.get(entry["target"], f"Probability of {entry['target']}")


def set_words(entry: Mapping[str, Any]) -> str:
    """The prediction set in words, with its coverage."""
    chosen = [str(name) for name in entry.get("prediction_set") or ()]
    if not chosen:
        return "no prediction set"
    words = " or ".join(chosen) + (": cannot be told apart" if len(chosen) > 1 else "")
    coverage = entry.get("coverage")
    return f"prediction set{f' ({100 * coverage:.0f} %)' if coverage else ''}: {words}"


def known_words(entry: Mapping[str, Any]) -> str:
    """Which values of the record the model used; empty where the entry does not say."""
    if entry.get("known") is None:
        return ""
    names = ", ".join(KNOWN.get(name, name) for name in entry["known"])
    return f"known of the person: {names}" if names else "nothing was known of the person"


def reliability_words(entry: Mapping[str, Any]) -> str:
    """How such answers turned out for people held back; empty where the entry does not say."""
    found = entry.get("reliability")
    if not found:
        return ""
    counted = found.get("known")
    other = counted is not None and counted != entry.get("known")
    names = ", ".join(KNOWN.get(name, name) for name in counted or ()) or "nothing"
    setting = f" ({names} known, which is not what is known here)" if other else ""
    return (
        f"{found['people']} people held back, {found['with_dementia']} with dementia{setting}: "
        f"AUC {_interval(found['auc'])}, from 60 years on {_interval(found['auc_from_60'])}; "
        f"calibration error (ECE) {found['ece']:.3f}, a perfect model of so few people has up to "
        f"{found['ece_null']:.3f}"
    )


def driver_rows(entry: Mapping[str, Any], percentiles: Mapping[str, str]) -> list[tuple[str, str, str]]:
    """What moved an entry's number, the largest first; a value and its square count together."""
    sums: dict[str, float] = {}
    for term, change in (entry.get("drivers") or {}).items():
        name = term.removesuffix(SQUARED)
        sums[name] = sums.get(name, 0.0) + change
    rows = []
    for name, change in sorted(sums.items(), key=lambda item: -abs(item[1])):
        structure = name.removeprefix(LOG)
        words = TERMS.get(name) or f"{in_words(structure)}, volume"
        rows.append((words, log_odds_text(change), percentiles.get(structure, NO_VALUE)))
    return rows


def log_odds_text(value: float, digits: int = 2) -> str:
    """With its sign, true minus."""
    return f"{value + 0.0:+.{digits}f}".replace("-", "\u2212")


def _rows(entry: Mapping[str, Any]) -> list[tuple[str, str, str]]:
    title = title_of(entry)
    if entry.get("abstained"):
        return [(title, "no answer", entry["abstained"])]
    if entry["probability"] is None:
        return [(title, NO_VALUE, "")]
    notes = [set_words(entry), known_words(entry)]
    rows = [(title, f"{entry['probability']:.2f}", "; ".join(filter(None, notes)))]
    tested = reliability_words(entry)
    if tested:
        rows.append(("How it was tested", "", tested))
    return rows


def _age_note(entries: Sequence[Mapping[str, Any]]) -> str:
    errors = [entry["brain_age_mae_years"] for entry in entries if entry.get("brain_age_mae_years")]
    if not errors:
        return "estimated by the network"
    return f"mean error {errors[0]:.1f} years in healthy people held back"


def _percentile_texts(record: Mapping[str, Any]) -> dict[str, str]:
    """By name without side: of both sides together where the record holds that, else of each side."""
    sides: dict[str, list[str]] = {}
    for entry in record["structures"]:
        if entry["percentile"] is not None:
            name, side = entry["name"].removesuffix("_L").removesuffix("_R"), entry["side"]
            text = percentile_text(entry["percentile"])
            sides.setdefault(name, []).append(f"{SIDES[side]} {text}" if side else text)
    curves = (record.get("reference") or {}).get("curves", ())
    both = {each["structure"]: each["percentile"] for each in curves if each["percentile"] is not None}
    return {name: ", ".join(texts) for name, texts in sides.items()} | {
        name: percentile_text(value) for name, value in both.items()
    }


def _evidence_rows(entry: Mapping[str, Any], percentiles: Mapping[str, str]) -> list[tuple[str, str, str]]:
    changes = (entry.get("evidence") or {}).items()
    return [
        (in_words(name), log_odds_text(change, EVIDENCE_DIGITS), percentiles.get(name, NO_VALUE))
        for name, change in sorted(changes, key=lambda item: -abs(item[1]))
    ]


def _interval(found: Sequence[float]) -> str:
    middle, low, high = found
    return f"{middle:.2f} ({low:.2f} to {high:.2f})"
