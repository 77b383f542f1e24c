"""Sections 4 and 11: a second reader against the reference, and a robustness result that was given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lnn_med.errors import ConfigError
from lnn_med.evaluation.comparing import compare
from lnn_med.evaluation.matching import match
from lnn_med.evaluation.predicted import LabelFile, PredictedCase, PredictionSet
from lnn_med.evaluation.protocol import Protocol
from lnn_med.evaluation.references import read_references
from lnn_med.evaluation.results.segmentation import segmentation_results
from lnn_med.evaluation.results.volumetry import volumetry_results

if TYPE_CHECKING:
    from lnn_med.evaluation.validation import Study

MAX_STRESS_BYTES = 2**22


def reader_results(study: Study) -> dict[str, Any] | None:
    """Agreement of a second reader with the reference; None when the protocol names none.

    Cases that the second reader did not read are left out, never counted as bad.
    """
    protocol, table = study.protocol, study.table
    if not protocol.second_reader or table is None:
        return None
    names = {integer: name for name, integer in table.reference.items()}
    second = read_references(study.folder / protocol.second_reader)
    cases = tuple(
        PredictedCase(one.case, one.aliases, (LabelFile(one.labels, names),))
        for one in second.cases
        if one.labels is not None
    )
    matched = match(study.references, PredictionSet("folder", cases, names))
    found = compare(matched, _same_integers(table), protocol.tolerance_mm)
    read = type(found)(tuple(case for case in found.cases if not case.missing))
    segmentation, volumes = segmentation_results(read, protocol), volumetry_results(read, protocol)
    if segmentation is None or volumes is None:
        return None
    return {"n": len(read.cases), "segmentation": segmentation, "volumetry": volumes}


def stress_results(protocol: Protocol, folder: Path) -> dict[str, Any] | None:
    """The table of a robustness result: `{"title": ..., "columns": [...], "rows": [[...], ...]}`.

    A `note` is shown below it; `repeatability` may hold a second table of the same form.

    Raises:
        ConfigError: the file is no such table.
    """
    if not protocol.stress_result:
        return None
    path = folder / protocol.stress_result
    trouble = ConfigError(
        "`stress_result` must be a JSON file with `title`, `columns` and `rows` of equal length."
    )
    try:
        if path.stat().st_size > MAX_STRESS_BYTES:
            raise trouble
        content = json.loads(path.read_bytes())
        second = content.get("repeatability")
        return {**_table(content), "repeatability": _table(second) if second else None}
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise trouble from error


def _table(content: dict[str, Any]) -> dict[str, Any]:
    columns = [str(name) for name in content["columns"]]
    rows = [[_cell(value) for value in row] for row in content["rows"]]
    if any(len(row) != len(columns) for row in rows):
        raise ValueError("rows of unequal length")
    title, note = (str(content.get(key, words)) for key, words in (("title", "Robustness"), ("note", "")))
    return {"title": title, "columns": columns, "rows": rows, "note": note}


def _cell(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else "–" if value is None else str(value)


def _same_integers(table: Any) -> Any:
    from dataclasses import replace

    return replace(table, predicted=dict(table.reference))
