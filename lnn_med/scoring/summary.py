"""`summary.html` of a run: counts, quality, distributions, the slowest scans and the failures, on one page.

One file without scripts and without anything from elsewhere; all text that comes from data is escaped.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from lnn_med.console import RESEARCH_USE
from lnn_med.errors import Code
from lnn_med.io.files import write_whole
from lnn_med.scoring.charts import histogram
from lnn_med.scoring.ledger import Entry
from lnn_med.scoring.manifest import Scan

SUMMARY_FILE = "summary.html"
TEMPLATE = Path(__file__).with_name("templates") / "summary.html"
SLOWEST = 10
MAX_FAILURES = 1000  # rows on the page; failures.csv has all
UNITS = {"_mm3": "mm³", "_pct": "%", "seconds": "s"}
NO_MEASURE = ("_low_mm3", "_high_mm3")

Row = Mapping[str, Any]


def write_summary(
    run: Path,
    total: int,
    rows: Sequence[Row],
    measured: Sequence[str],
    failed: Sequence[tuple[Scan, Entry, int]],
    seconds: Mapping[str, float],
) -> None:
    """Write the page.

    Args:
        run: folder of the run.
        total: scans of the manifest.
        rows: those of scores.csv.
        measured: columns of the rows that hold numbers to show.
        failed: scans that failed for good, their last attempt, and the number of attempts.
        seconds: time of each finished scan by case, reading and writing included.
    """
    page = Template(TEMPLATE.read_text(encoding="utf-8")).substitute(
        research_use=escape(RESEARCH_USE),
        counts=_counts(total, rows, failed),
        quality=_quality(rows),
        charts=_charts(rows, measured, seconds),
        slowest=_slowest(seconds),
        codes=_codes(failed),
        failures=_failures(failed),
        models=_table(("networks", "scans"), Counter(str(row["models"]) for row in rows).most_common()),
    )
    with write_whole(run / SUMMARY_FILE) as file:
        file.write(page.encode("utf-8", errors="backslashreplace"))


def _counts(total: int, rows: Sequence[Row], failed: Sequence[tuple[Scan, Entry, int]]) -> str:
    quarantined = sum(entry.quarantined for _, entry, _ in failed)
    numbers = {
        "scans": total,
        "done": len(rows),
        "failed": len(failed),
        "of these in quarantine": quarantined,
        "waiting": total - len(rows) - len(failed),
    }
    return "".join(f"<div><b>{value:,}</b><span>{name}</span></div>" for name, value in numbers.items())


def _quality(rows: Sequence[Row]) -> str:
    found = Counter(str(row["qc"]) for row in rows)
    reasons = Counter(text for row in rows for text in str(row["qc_reasons"]).split("; ") if text)
    warnings = Counter(code for row in rows for code in str(row["warnings"]).split())
    shares = [(name, found[name], f"{100 * found[name] / len(rows):.1f} %") for name in found]
    return (
        _table(("quality", "scans", "share"), sorted(shares))
        + _table(("reason", "scans"), reasons.most_common(SLOWEST))
        + _table(("warning", "scans"), warnings.most_common())
    )


def _charts(rows: Sequence[Row], measured: Sequence[str], seconds: Mapping[str, float]) -> str:
    figures = [histogram("time of a scan, all included", list(seconds.values()), "s")]
    for name in measured:
        if name.endswith(NO_MEASURE):
            continue
        values = [row[name] for row in rows if isinstance(row.get(name), (int, float))]
        unit = next((unit for ending, unit in UNITS.items() if name.endswith(ending)), "")
        figures.append(histogram(name, values, unit))
    return "".join(figures)


def _slowest(seconds: Mapping[str, float]) -> str:
    ordered = sorted(seconds.items(), key=lambda pair: (-pair[1], pair[0]))[:SLOWEST]
    return _table(("case", "seconds"), [(case, f"{value:.1f}") for case, value in ordered])


def _codes(failed: Sequence[tuple[Scan, Entry, int]]) -> str:
    found = Counter(str(entry.code) for _, entry, _ in failed)
    rows = [(code, count, Code(code).remedy) for code, count in found.most_common()]
    return _table(("code", "scans", "what to do"), rows)


def _failures(failed: Sequence[tuple[Scan, Entry, int]]) -> str:
    rows = [
        (scan.case, scan.path, entry.code, entry.message, attempts, "yes" if entry.quarantined else "")
        for scan, entry, attempts in failed[:MAX_FAILURES]
    ]
    return _table(("case", "path", "code", "what was found", "attempts", "quarantine"), rows)


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """A table; a dash says that there is nothing."""
    body = "".join("<tr>" + "".join(_cell(value) for value in row) + "</tr>" for row in rows)
    if not body:
        return f'<p class="none">{escape(columns[0])}: none</p>'
    head = "".join(f'<th scope="col">{escape(column)}</th>' for column in columns)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _cell(value: Any) -> str:
    kind = ' class="number"' if isinstance(value, (int, float)) else ""
    return f"<td{kind}>{escape('' if value is None else str(value))}</td>"
