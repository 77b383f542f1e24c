"""The volumetry page as PDF, made by typst from a result folder; its text is data and never markup."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from lnn_med.errors import require
from lnn_med.io.files import write_whole
from lnn_med.io.result_files import RESULT, THUMBNAIL
from lnn_med.io.volumetry import (
    LIMITS,
    NO_REFERENCE,
    NO_VALUE,
    QC_WORDS,
    Cell,
    Row,
    asymmetries,
    first_rows,
    in_words,
    interval_text,
    mm3_text,
    percent_text,
    rows_of,
    saved_pct,
)

PAGE = "volumetry.pdf"
TEMPLATE = Path(__file__).with_name("templates") / "volumetry.typ"
RESEARCH_USE = "Research use only: not a medical device. AI-generated: check the overlay."


def write_page(result: Path, facts: Mapping[str, Any], path: Path) -> None:
    """Write the page of the result folder `result`; the same content gives the same bytes.

    Args:
        facts: age in years and sex, where they are known. Names and dates do not reach the page.

    Raises:
        LnnMedError: typst is not installed.
        InputError: E_STORAGE when `path` cannot be written.
    """
    typst = require("typst", "report")
    record = json.loads((result / RESULT).read_bytes())
    with tempfile.TemporaryDirectory(prefix="lnn-med-") as name:
        folder = Path(name)
        content = page_content(record, facts, (result / THUMBNAIL).is_file())
        (folder / "page.json").write_text(json.dumps(content), encoding="utf-8")
        shutil.copyfile(TEMPLATE, folder / TEMPLATE.name)
        if content["picture"]:
            shutil.copyfile(result / THUMBNAIL, folder / THUMBNAIL)
        pdf = typst.compile(str(folder / TEMPLATE.name), root=str(folder), ignore_system_fonts=True)
    with write_whole(path) as file:
        file.write(pdf)


def page_content(record: Mapping[str, Any], facts: Mapping[str, Any], picture: bool) -> dict[str, Any]:
    """What the template prints, as texts in the order of the page; a FAIL has no numbers."""
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
        "first": [] if failed else [_line(row) for row in first_rows(rows)],
        "facts": [] if failed else _measures(record),
        "all": [] if failed else [_line(row) for row in rows],
        "picture": "thumbnail.png" if picture else "",
        "limits": list(LIMITS),
        "identifiers": _identifiers(record),
    }


def _who(record: Mapping[str, Any], facts: Mapping[str, Any]) -> str:
    age, source = facts.get("age"), record["input"]
    spacing = " × ".join(f"{step:.3g}" for step in source["spacing_mm"])
    shape = " × ".join(map(str, source["shape"]))
    years = f"{age:.0f} years" if age is not None else "age not given"
    return f"Sex {facts.get('sex') or 'not given'}, {years}; {shape} voxels of {spacing} mm"


def _line(row: Row) -> list[str]:
    return [row.words, row.bundle, *(_cell(cell) for cell in (row.left, row.right, row.total))]


def _cell(cell: Cell | None) -> str:
    if cell is None:
        return NO_VALUE
    extra = interval_text(cell)
    return mm3_text(cell.volume_mm3) + (f" ({extra})" if extra else "")


def _measures(record: Mapping[str, Any]) -> list[list[str]]:
    found = [
        [f"Asymmetry, {in_words(name)}", percent_text(value), words]
        for name, value, words in asymmetries(record)
    ]
    icv = record["derived"].get("icv_mm3")
    if icv is not None:
        found.append(["Intracranial volume", f"{mm3_text(icv)} mm³", "sum of all labelled structures"])
    found.append(["Percentile for age and sex", NO_VALUE, NO_REFERENCE])
    for entry in record["classification"]:
        probability = entry.get("probability")
        text = NO_VALUE if probability is None else f"{probability:.2f}"
        chosen = ", ".join(map(str, entry.get("prediction_set") or ())) or "none"
        found.append([f"Probability of {entry['target']}", text, f"prediction set: {chosen}"])
    work = f"of the full networks' work was saved; {record['compute']['seconds']:.2f} s"
    found.append(["Gate depth", percent_text(saved_pct(record), 0), work])
    return found


def _identifiers(record: Mapping[str, Any]) -> list[list[str]]:
    rows = [["Scan, SHA-256", record["input"]["sha256"]]]
    if record["input"].get("series_uid"):
        rows.append(["Series UID", record["input"]["series_uid"]])
    rows += [[f"{one['bundle']}, weights", one["weights_sha256"]] for one in record["model"]]
    software = ", ".join(f"{name} {version}" for name, version in record["software"].items())
    return [*rows, ["Software", software]]
