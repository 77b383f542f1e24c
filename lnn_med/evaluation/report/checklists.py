"""Reporting checklists (CLAIM, STARD-AI, TRIPOD+AI, DECIDE-AI) filled in from what a report really holds."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lnn_med.config import load_yaml

ITEMS_FILE = Path(__file__).with_suffix(".yaml")
TEXTS = (
    "intended_use",
    "input_limits",
    "purpose",
    "registered",
    "eligibility",
    "data_source",
    "reference_standard",
    "readers",
)


@dataclass(frozen=True)
class Item:
    """One row; `section` is None when the report does not answer it."""

    item: str
    asks: str
    section: int | None


@dataclass(frozen=True)
class Checklist:
    """A guideline with its rows and where they come from."""

    name: str
    source: str
    items: tuple[Item, ...]

    @property
    def done(self) -> int:
        """Rows that a section of the report answers."""
        return sum(item.section is not None for item in self.items)


def filled_checklists(record: Mapping[str, Any]) -> list[Checklist]:
    """Every checklist, each row with the section that answers it; not done where its data are not there."""
    flags = flags_of(record)
    return [
        Checklist(name, guideline["source"], tuple(_item(row, flags) for row in guideline["items"]))
        for name, guideline in load_yaml(ITEMS_FILE).items()
    ]


def flags_of(record: Mapping[str, Any]) -> frozenset[str]:
    """What a report holds, by the words that the checklists use."""
    protocol, people, counts = record["protocol"], record["people"], record["people"]["counts"]
    tables = [record["subgroups"] or {}, *(record["call_groups"] or ())]
    groups = [group for one in tables for group in one.get("groups", ())]
    held = {
        "always": True,
        "title": protocol["title"] != "Validation report",
        "protocol": protocol["id"] != "none",
        "primary": bool(record["endpoints"]) and protocol["primary"] is not None,
        "demographics": people["age"]["n"] > 0 or "sex" in counts,
        "acquisition": bool({"vendor", "scanner", "field_t"} & set(counts)),
        "sites": len(counts.get("site", ())) > 1,
        "diagnosis": "diagnosis" in counts,
        "leakage": bool(record["leakage"]["sources"]) and not record["leakage"]["unknown"],
        "device": bool(record["device"]["bundles"]),
        "segmentation": record["segmentation"] is not None,
        "classification": record["classification"] is not None,
        "control": record["control"] is not None,
        "subgroups": bool({group["column"] for group in groups} - {"slice_mm"}),
        "stress": record["stress"] is not None,
        "second_reader": record["readers"] is not None,
        **{name: bool(protocol[name]) for name in TEXTS},
    }
    return frozenset(name for name, there in held.items() if there)


def _item(row: list[Any], flags: frozenset[str]) -> Item:
    item, asks = str(row[0]), str(row[1])
    if len(row) < 4:
        return Item(item, asks, None)
    return Item(item, asks, int(row[2]) if row[3] in flags else None)
