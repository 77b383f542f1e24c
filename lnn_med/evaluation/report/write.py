"""The files of a report: report.json first, then the pages that show it; all of them, or none is changed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lnn_med.errors import Code, InputError
from lnn_med.evaluation.report.figures import figures
from lnn_med.evaluation.report.html import render_html
from lnn_med.evaluation.report.pdf import render_pdf
from lnn_med.evaluation.report.pictures import worst_pictures
from lnn_med.evaluation.report.sections.document import document
from lnn_med.evaluation.report.sections.pages import Page, page_of
from lnn_med.io.files import write_whole

if TYPE_CHECKING:
    from lnn_med.evaluation.validation import Study

JSON_FILE, HTML_FILE, PDF_FILE = "report.json", "report.html", "report.pdf"


def write_report(record: Mapping[str, Any], study: Study, out: Path) -> tuple[str, ...]:
    """Render everything, then write report.json, report.html and report.pdf.

    Raises:
        InputError: E_STORAGE.
    """
    content = json_bytes(record)
    page = report_page(record, study)
    files = {JSON_FILE: content, HTML_FILE: render_html(page), PDF_FILE: render_pdf(page)}
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(Code.STORAGE, f"The output folder cannot be made ({error.strerror}).") from error
    for name, data in files.items():
        with write_whole(out / name) as file:
            file.write(data)
    return tuple(files)


def json_bytes(record: Mapping[str, Any]) -> bytes:
    """Strict JSON; equal records give equal bytes."""
    return (json.dumps(record, indent=2, allow_nan=False, ensure_ascii=False) + "\n").encode()


def report_page(record: Mapping[str, Any], study: Study) -> Page:
    """Sections, figures and pictures of a record."""
    shown = {**record, "sha256": hashlib.sha256(json_bytes(record)).hexdigest()}
    worst = (record["segmentation"] or {}).get("worst", ())
    pictures = worst_pictures(study.comparison, worst, study.table)
    return page_of(shown, document(shown), figures(record), pictures)
