"""The report as PDF/A by typst: fonts of the package alone, so that equal records give equal bytes."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from lnn_med.evaluation.report.sections.pages import Page

TEMPLATE = Path(__file__).parent / "templates" / "report.typ"
STANDARD: Final = "a-2a"  # archival, with tags for screen readers
NO_DATE = (
    0  # PDF/A wants a date; without a scoring run it is that of the epoch, and the page says "not known"
)


def render_pdf(page: Page) -> bytes:
    """Typeset the page in a folder of its own; typst reads nothing outside it."""
    import typst

    with tempfile.TemporaryDirectory(prefix="lnn-med-") as name:
        folder = Path(name)
        (folder / "report.typ").write_bytes(TEMPLATE.read_bytes())
        content = asdict(page)
        content["figures"] = {
            key: _file(folder, f"{key}.svg", svg.encode()) for key, svg in page.figures.items()
        }
        content["pictures"] = {
            case: _file(folder, f"picture-{index}.png", png)
            for index, (case, png) in enumerate(page.pictures.items())
        }
        (folder / "page.json").write_text(json.dumps(content), encoding="utf-8")
        found = typst.compile(
            folder / "report.typ",
            root=folder,
            ignore_system_fonts=True,
            pdf_standards=[STANDARD],
            timestamp=_timestamp(page),
        )
    assert isinstance(found, bytes)
    return found


def _file(folder: Path, name: str, content: bytes) -> str:
    """Write a picture under our own name: names of cases are no file names."""
    (folder / name).write_bytes(content)
    return name


def _timestamp(page: Page) -> int:
    """Seconds of the scoring run, never of now."""
    if page.scored_utc is None:
        return NO_DATE
    moment = datetime.fromisoformat(page.scored_utc)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp())
