"""What a worker process does when an earlier scan is chosen: the page as PDF, with the change since then."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from app.work import Predict, Report

PAGE_CHANGE = re.compile(r"volumetry_change_[0-9a-f]{16}\.pdf")


@dataclass(frozen=True)
class WriteChangePage:
    """Write the page of a result with the change since an earlier one."""

    out: str  # folder of the result
    earlier: str  # folder of the earlier result
    edited: bool  # a reader edited labels of one of them
    facts: Mapping[str, Any]  # age and sex, for the page
    path: str

    def run(self, predict: Predict | None, report: Report) -> dict[str, Any]:
        """Nothing; the page lies at `path` then."""
        from lnn_med.io.result_files import RESULT
        from lnn_med.io.volumetry_pdf import Earlier, write_page

        report("Preparing the page")
        record = json.loads((Path(self.earlier) / RESULT).read_bytes())
        write_page(Path(self.out), self.facts, Path(self.path), earlier=Earlier(record, self.edited))
        return {}


def change_page_name(out: Path, earlier: Path, edited: bool) -> str:
    """Name of the page of two results: others, or the same ones after an edit, have another."""
    from lnn_med.io.result_files import RESULT

    content = b"".join(hashlib.sha256((folder / RESULT).read_bytes()).digest() for folder in (out, earlier))
    return f"volumetry_change_{hashlib.sha256(content + bytes([edited])).hexdigest()[:16]}.pdf"
