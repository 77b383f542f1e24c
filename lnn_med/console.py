"""What the command line says: errors, tables and progress. Nothing here names a patient or a scan."""

from __future__ import annotations

import json
import logging
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from lnn_med.errors import Code, InputError

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

EVALUATION_COLUMNS = ("structure", "Dice", "95 % interval", "NSD", "HD95, mm", "volume error, %")
RESEARCH_USE = "Research use only: not a medical device."
QUIET_LOGGERS = ("nibabel.global", "pydicom", "py.warnings", "pynetdicom", "dicomweb_client", "urllib3")


def set_up_logging(verbose: bool) -> None:
    """Show this package's log on stderr; other libraries stay silent.

    Their messages quote header values, and those may be patient data.
    """
    warnings.simplefilter("ignore")
    logging.getLogger().addHandler(logging.NullHandler())
    for name in QUIET_LOGGERS:
        logging.getLogger(name).setLevel(logging.CRITICAL + 1)
    own = logging.getLogger("lnn_med")
    if not own.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%H:%M:%S"))
        own.addHandler(handler)
    own.setLevel(logging.DEBUG if verbose else logging.WARNING)


def describe_error(error: BaseException) -> dict[str, str]:
    """Code, message (what was found, what is needed) and remedy of an error."""
    if isinstance(error, MemoryError):
        code, message = Code.RESOURCE, "The memory is full."
    elif isinstance(error, InputError):
        code, message = error.code, error.detail
    else:
        head, colon, rest = str(error).partition(": ")
        stated = colon and head in {entry.value for entry in Code}
        code, message = (Code(head), rest) if stated else (Code.CONFIG, str(error))
    return {"code": code.value, "message": " ".join(message.split()), "remedy": code.remedy}


def show_error(error: BaseException, as_json: bool) -> None:
    """One line on stderr; with `as_json` the same as an object on stdout."""
    described = describe_error(error)
    print("{code}: {message} {remedy}".format(**described), file=sys.stderr)
    if as_json:
        show_json({"error": described})


def show_json(content: Any) -> None:
    """Strict JSON on stdout."""
    print(json.dumps(content, indent=2, allow_nan=False))


def console(as_json: bool = False) -> Console:
    """Where text for people goes: stdout, or nowhere when stdout is for a machine."""
    from rich.console import Console

    return Console(quiet=as_json, highlight=False, soft_wrap=True)


def show_table(target: Console, title: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    """A table; a column of numbers is right-aligned, None is a dash."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title or None, title_justify="left", title_style="bold")
    for number, column in enumerate(columns):
        values = [row[number] for row in rows]
        right = any(isinstance(value, (int, float)) for value in values)
        table.add_column(column, justify="right" if right else "left")
    for row in rows:
        table.add_row(*("-" if value is None else escape(str(value)) for value in row))
    target.print(table, soft_wrap=False)


def show_result(target: Console, record: Mapping[str, Any]) -> None:
    """The numbers of one `result_record`, with quality, cost and warnings."""
    columns = ["structure", "mm³", "interval, mm³", "percentile", "depth", "bundle"]
    rows = []
    for entry in record["structures"]:
        low, high = entry["interval_mm3"] or (None, None)
        interval = None if low is None else f"{low:.0f} to {high:.0f}"
        volume = None if entry["volume_mm3"] is None else f"{entry['volume_mm3']:.0f}"
        percentile = entry.get("percentile")
        rows.append([entry["name"], volume, interval, percentile, entry["mean_depth"], entry["bundle"]])
    if all(row[3] is None for row in rows):  # without age and sex there is none
        for row in (columns, *rows):
            del row[3]
    show_table(target, "", columns, rows)
    derived = {name: value for name, value in record["derived"].items() if value is not None}
    if derived:
        shown = (
            f"{key} {value:.0f}" if key.endswith("_mm3") else f"{key} {value}"
            for key, value in derived.items()
        )
        target.print("  ".join(shown))
    for entry in record["classification"]:
        for line in _class_lines(entry):
            target.print(line, markup=False)
    reasons = " ".join(record["qc"]["reasons"])
    target.print(f"QC {record['qc']['status'].upper()}" + (f": {reasons}" if reasons else ""), markup=False)
    cost = record["compute"]
    target.print(f"networks {cost['seconds']:.2f} s, {100 * cost['fraction']:.0f} % of full depth's work")
    for warning in record["warnings"]:
        target.print(f"{warning['code']}: {warning['message']}", markup=False)


def _class_lines(entry: Mapping[str, Any]) -> list[str]:
    """What a classifier says of the whole scan: its answer or why there is none, then its evidence."""
    name = entry["target"].replace("_", " ")
    if entry.get("abstained"):
        return [f"{name}: no answer. {entry['abstained']}"]
    if entry.get("probability") is None:
        return []
    parts = [f"{name} probability {entry['probability']}"]
    if entry.get("prediction_set"):
        coverage = f" ({100 * entry['coverage']:.0f} %)" if entry.get("coverage") else ""
        parts.append(f"set{coverage} {' or '.join(entry['prediction_set'])}")
    if entry.get("known") is not None:
        parts.append(f"known {', '.join(entry['known']) or 'nothing'}")
    tested = entry.get("reliability")
    if tested:
        middle, low, high = tested["auc"]
        parts.append(
            f"tested on {tested['people']} people: AUC {middle:.2f} ({low:.2f} to {high:.2f}), "
            f"ECE {tested['ece']:.3f} (null {tested['ece_null']:.3f})"
        )
    lines = ["; ".join(parts)]
    if entry.get("evidence"):
        found = (f"{structure} {change:+.3f}" for structure, change in entry["evidence"].items())
        lines.append(f"  evidence, log-odds: {', '.join(found)}")
    return lines


def evaluation_row(entry: Any) -> tuple[str, ...]:
    """A structure or group of structures of an evaluation, under EVALUATION_COLUMNS."""

    def mean(name: str, digits: int) -> str:
        interval = getattr(entry, name, None)
        return "-" if interval is None or interval.estimate is None else f"{interval.estimate:.{digits}f}"

    low, high = entry.dsc.low, entry.dsc.high
    spread = "-" if low is None or high is None else f"{low:.3f} to {high:.3f}"
    return entry.name, mean("dsc", 3), spread, mean("nsd", 3), mean("hd95_mm", 2), mean("error_pct", 1)


@contextmanager
def working(as_json: bool, words: str) -> Iterator[Progress]:
    """A spinner on stderr with the time passed; its one task shows the words."""
    with _progress(as_json, counted=False) as progress:
        progress.add_task(words, total=None)
        yield progress


@contextmanager
def counting(as_json: bool, words: str, total: int | None) -> Iterator[Progress]:
    """A bar on stderr with the time left."""
    with _progress(as_json, counted=True) as progress:
        progress.add_task(words, total=total)
        yield progress


def _progress(as_json: bool, counted: bool) -> Progress:
    from rich import progress
    from rich.console import Console

    parts: list[Any] = [progress.SpinnerColumn(), progress.TextColumn("{task.description}")]
    if counted:
        parts += [progress.BarColumn(), progress.MofNCompleteColumn(), progress.TimeRemainingColumn()]
    parts.append(progress.TimeElapsedColumn())
    screen = Console(stderr=True)
    return progress.Progress(
        *parts, console=screen, transient=True, disable=as_json or not screen.is_terminal
    )
