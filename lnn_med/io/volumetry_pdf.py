"""The volumetry page as PDF, made by typst from a result folder; its text is data and never markup."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lnn_med.errors import require
from lnn_med.io.change_words import HEAD, TITLE, TITLE_OTHERS, ChangeRow, ChangeWords, change_words
from lnn_med.io.files import write_whole
from lnn_med.io.percentile_plot import percentile_plot
from lnn_med.io.result_files import RESULT, THUMBNAIL
from lnn_med.io.risk_words import (
    HEAD_DRIVERS,
    HEAD_EVIDENCE,
    MODELS_OWN,
    NOTE_DRIVERS,
    NOTE_EVIDENCE,
    TITLE_DRIVERS,
    TITLE_EVIDENCE,
    TITLE_LIMITS,
    risk_words,
)
from lnn_med.io.risk_words import TITLE as TITLE_RISK
from lnn_med.io.volumetry import (
    LIMITS,
    NO_VALUE,
    QC_WORDS,
    W_EDITED,
    Cell,
    Row,
    age_text,
    asymmetries,
    edited_volumes,
    first_rows,
    in_words,
    interval_text,
    mm3_text,
    percent_text,
    percentile_text,
    reference_rows,
    rows_of,
    saved_pct,
)

PAGE = "volumetry.pdf"
PLOT = "percentiles.svg"
TEMPLATE = Path(__file__).with_name("templates") / "volumetry.typ"
RESEARCH_USE = "Research use only: not a medical device. AI-generated: check the overlay."


@dataclass(frozen=True)
class Edited:
    """A reader's edit of a result: who and when, the record after it, the picture (PNG) of the new labels."""

    by: str
    ts_utc: str
    record: Mapping[str, Any]
    picture: bytes


@dataclass(frozen=True)
class Earlier:
    """An earlier scan of the same person: its record, and whether a reader edited labels of either scan."""

    record: Mapping[str, Any]
    edited: bool = False


def write_page(
    result: Path,
    facts: Mapping[str, Any],
    path: Path,
    edited: Edited | None = None,
    earlier: Earlier | None = None,
) -> None:
    """Write the page of the result folder `result`; the same content gives the same bytes.

    Args:
        facts: age in years and sex, where they are known; `from`, the DICOM elements that told them. Names
            and dates do not reach the page.
        edited: shows the numbers and labels after this edit, and says so.
        earlier: adds the change of the model's volumes since this scan, or why none is given.

    Raises:
        LnnMedError: typst is not installed.
        InputError: E_STORAGE when `path` cannot be written.
    """
    typst = require("typst", "report")
    record = json.loads((result / RESULT).read_bytes())
    with tempfile.TemporaryDirectory(prefix="lnn-med-") as name:
        folder = Path(name)
        content = page_content(record, facts, (result / THUMBNAIL).is_file(), edited, earlier)
        plot = percentile_plot(edited.record if edited else record)
        if plot is not None:
            (folder / PLOT).write_text(plot, encoding="utf-8")
        content["plot"] = PLOT if plot is not None else ""
        (folder / "page.json").write_text(json.dumps(content), encoding="utf-8")
        shutil.copyfile(TEMPLATE, folder / TEMPLATE.name)
        if edited:
            (folder / THUMBNAIL).write_bytes(edited.picture)
        elif content["picture"]:
            shutil.copyfile(result / THUMBNAIL, folder / THUMBNAIL)
        pdf = typst.compile(str(folder / TEMPLATE.name), root=str(folder), ignore_system_fonts=True)
    with write_whole(path) as file:
        file.write(pdf)


def page_content(
    record: Mapping[str, Any],
    facts: Mapping[str, Any],
    picture: bool,
    edited: Edited | None = None,
    earlier: Earlier | None = None,
) -> dict[str, Any]:
    """What the template prints, as texts in the order of the page; a FAIL has no numbers."""
    original, record = record, edited.record if edited else record
    failed = record["qc"]["status"] == "fail"
    rows = rows_of(record)
    reasons = [*record["qc"]["reasons"], *(f"{one['message']} ({one['code']})" for one in record["warnings"])]
    return {
        "who": _who(record, facts),
        "banner": RESEARCH_USE,
        "models": [
            f"{one['bundle']} {one['version']} ({one['weights_sha256'][:8]})" for one in record["model"]
        ],
        "quality": QC_WORDS[record["qc"]["status"]],
        "reasons": reasons,
        "edited": f"Edited by reader: {edited.by}, {edited.ts_utc}." if edited else "",
        "changed": [_changed(row) for row in edited_volumes(original, record)],
        "first": [] if failed else [_line(row, percentiles=True) for row in first_rows(rows)],
        "facts": [] if failed else _measures(record),
        "risk": _risk(record),
        "all": [] if failed else [_line(row) for row in rows],
        "change": _change(change_words(original, earlier.record, earlier.edited)) if earlier else None,
        "picture": "thumbnail.png" if picture or edited else "",
        "limits": list(LIMITS),
        "identifiers": _identifiers(record, earlier),
    }


def _who(record: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    source = record["input"]
    spacing = " × ".join(f"{step:.3g}" for step in source["spacing_mm"])
    shape = " × ".join(map(str, source["shape"]))
    person = f"Sex {facts.get('sex') or 'not given'}, age {age_text(facts.get('age'))}"
    origins = facts.get("from") or {}
    told = [f"{name} from {origins[name]}" for name in ("sex", "age") if name in origins]
    person += f" (DICOM header: {', '.join(told)})" if told else ""
    return f"{person}; {shape} voxels of {spacing} mm"


def _line(row: Row, percentiles: bool = False) -> list[str]:
    return [row.words, row.bundle, *(_cell(cell, percentiles) for cell in (row.left, row.right, row.total))]


def _cell(cell: Cell | None, percentiles: bool) -> str:
    if cell is None:
        return NO_VALUE
    extra = interval_text(cell)
    text = mm3_text(cell.volume_mm3) + (f" ({extra})" if extra else "")
    known = percentiles and cell.percentile is not None
    return text + (f"\npercentile {percentile_text(cell.percentile)}" if known else "")


def _risk(record: Mapping[str, Any]) -> dict[str, Any] | None:
    """The section about the classifiers' answers; None where there is none."""
    words = risk_words(record)
    if not words.rows:
        return None
    return {
        "title": TITLE_RISK,
        "edited": MODELS_OWN if any(one["code"] == W_EDITED for one in record["warnings"]) else "",
        "rows": [list(row) for row in words.rows],
        "tables": [
            {"title": title, "head": head, "rows": [list(row) for row in rows], "note": note}
            for title, head, rows, note in (
                (TITLE_DRIVERS, HEAD_DRIVERS, words.drivers, NOTE_DRIVERS),
                (TITLE_EVIDENCE, HEAD_EVIDENCE, words.evidence, NOTE_EVIDENCE),
            )
            if rows
        ],
        "limits_title": TITLE_LIMITS,
        "limits": list(words.limits),
    }


def _change(words: ChangeWords) -> dict[str, Any]:
    """The section about an earlier scan."""
    return {
        "title": TITLE,
        "others_title": TITLE_OTHERS,
        "head": HEAD,
        "refusal": words.refusal,
        "first": list(map(_change_line, words.first)),
        "others": list(map(_change_line, words.others)),
        "notes": words.notes,
    }


def _change_line(row: ChangeRow) -> list[str]:
    change = [
        value + (f" ({interval})" if interval else "")
        for value, interval in ((row.change_mm3, row.interval_mm3), (row.change_pct, row.interval_pct))
    ]
    return [row.structure, row.earlier, row.now, *change, row.band, row.bundle]


def _changed(row: tuple[str, float, float, str]) -> list[str]:
    name, before, after, bundle = row
    return [name, bundle, mm3_text(before), mm3_text(after)]


def _measures(record: Mapping[str, Any]) -> list[list[str]]:
    found = [
        [f"Asymmetry, {in_words(name)}", percent_text(value), words]
        for name, value, words in asymmetries(record)
    ]
    icv = record["derived"].get("icv_mm3")
    if icv is not None:
        found.append(["Intracranial volume", f"{mm3_text(icv)} mm³", "sum of all labelled structures"])
    found += [list(row) for row in reference_rows(record)]
    work = f"of the full networks' work was saved; {record['compute']['seconds']:.2f} s"
    found.append(["Gate depth", percent_text(saved_pct(record), 0), work])
    return found


def _identifiers(record: Mapping[str, Any], earlier: Earlier | None) -> list[list[str]]:
    rows = [["Scan, SHA-256", record["input"]["sha256"]]]
    if earlier:
        rows.append(["Earlier scan, SHA-256", earlier.record["input"]["sha256"]])
    if record["input"].get("series_uid"):
        rows.append(["Series UID", record["input"]["series_uid"]])
    rows += [[f"{one['bundle']}, weights", one["weights_sha256"]] for one in record["model"]]
    software = ", ".join(f"{name} {version}" for name, version in record["software"].items())
    return [*rows, ["Software", software]]
