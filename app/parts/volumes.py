"""The volume tables: hippocampus first, all structures on request."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from app.parts import html
from lnn_med.io.percentile_plot import percentile_plot
from lnn_med.io.volumetry import (
    NO_VALUE,
    Cell,
    Row,
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
)


def first_table(record: Mapping[str, Any]) -> str:
    """The hippocampus, left, right and total, by each bundle that measured it."""
    rows = rows_of(record)
    chosen = first_rows(rows) or rows[:3]
    versions = {model["bundle"]: model["version"] for model in record["model"]}
    cells = []
    for row in chosen:
        part = "_" in row.name
        name = f'<span class="indent">{row.words.split(" ", 1)[-1]}</span>' if part else html.text(row.words)
        if not part:
            model = f"{row.bundle} {versions.get(row.bundle, '')}"
            name += f'<br><span class="quiet">{html.text(model)}</span>'
        cells.append(
            (name, *(_cell(cell, part) for cell in (row.left, row.right)), _cell(row.total, part, ""))
        )
    note = _interval_note(chosen)
    return html.table("Volumes, mm³", ("Structure", "Left", "Right", "Total"), cells) + note


def every_table(record: Mapping[str, Any]) -> str:
    """All structures with interval, share of ICV and mean depth."""
    cells = []
    for row in rows_of(record):
        for side, cell in (("left", row.left), ("right", row.right), ("total", row.total)):
            if cell is None or (side == "total" and row.left is not None and row.right is None):
                continue
            words = row.words if side == "total" and row.left is None else f"{row.words}, {side}"
            cells.append(
                (
                    html.text(words),
                    mm3_text(cell.volume_mm3),
                    interval_text(cell) or NO_VALUE,
                    percent_text(cell.icv_pct, 2),
                    f"{cell.mean_depth:.2f}" if cell.mean_depth is not None else NO_VALUE,
                    html.text(row.bundle),
                )
            )
    head = ("Structure", "Volume, mm³", "Interval, mm³", "of ICV", "Mean depth, blocks", "Bundle")
    return html.table("All structures", head, cells, words=(5,))


def edit_table(original: Mapping[str, Any], edited: Mapping[str, Any]) -> str:
    """Structures whose volume a reader's edit changed, before and after."""
    cells = []
    for name, before, after, bundle in edited_volumes(original, edited):
        cells.append((html.text(name), mm3_text(before), mm3_text(after), html.text(bundle)))
    head = ("Structure", "Model", "After the edit", "Bundle")
    return html.table("Edited volumes, mm³", head, cells, words=(3,)) if cells else ""


def measures_table(record: Mapping[str, Any]) -> str:
    """Asymmetry with its sign in words, head size and its method."""
    derived = record["derived"]
    rows = []
    for name, value, words in asymmetries(record):
        title = "fine labels" if name.endswith("_fine") else in_words(name).lower()
        rows.append((f"Asymmetry, {title}", percent_text(value), words))
    if derived.get("icv_mm3") is not None:
        rows.append(
            (
                "Intracranial volume (ICV)",
                f"{mm3_text(derived['icv_mm3'])}\u202fmm³",
                "sum of all labels",
            )
        )
    if derived.get("hippocampus_mm3") is not None:
        rows.append(
            (
                "Hippocampus, whole crop",
                f"{mm3_text(derived['hippocampus_mm3'])}\u202fmm³",
                "side not known from a crop",
            )
        )
    return _facts_table(rows) if rows else ""


def other_facts(record: Mapping[str, Any]) -> str:
    """Percentiles of sums and adjusted volumes: what there is, and what there is not."""
    rows = reference_rows(record)
    note = '<p class="quiet">Asymmetry: 100 · (L − R) / ((L + R) / 2).</p>' if asymmetries(record) else ""
    return _facts_table(rows) + note


def no_change() -> str:
    """What stands in the place of the change where there is one scan."""
    return _facts_table([("Change since an earlier scan", NO_VALUE, "no earlier scan was given")])


def _facts_table(rows: Sequence[Sequence[str]]) -> str:
    head = ("Measure", "Value", "Note")
    return html.table("", head, [tuple(map(html.text, row)) for row in rows], words=(2,))


def reference_plot(record: Mapping[str, Any]) -> str:
    """Percentile lines by age with this scan marked; nothing where there are no reference people."""
    plot = percentile_plot(record)
    if plot is None:
        return ""
    reference = record["reference"]
    names = ", ".join(in_words(curve["structure"]) for curve in reference["curves"])
    words = f"Volume by age with percentile lines of {reference['name']}: {names}"
    low, high = reference["ages_years"]
    people = f"{reference['people']} people: {reference['name']}; {low:.0f} to {high:.0f} years"
    note = f'<p class="quiet">Ring: this scan. Lines: percentiles of {html.text(people)}.</p>'
    return html.picture(plot, words, "plot") + note


def in_few_words(record: Mapping[str, Any]) -> dict[str, str]:
    """Volume of each structure for the viewer's readout, by label map and name."""
    found = {}
    for entry in record["structures"]:
        if entry["volume_mm3"] is not None:
            file = "hippocampus" if _is_fine(record, entry) else "segmentation"
            found[f"{file}/{entry['name']}"] = f"{mm3_text(entry['volume_mm3'])} mm³"
    return found


def _is_fine(record: Mapping[str, Any], entry: Mapping[str, Any]) -> bool:
    return len(record["model"]) > 1 and entry["bundle"] != record["model"][0]["bundle"]


def _cell(cell: Cell | None, part: bool, kind: str = "big") -> str:
    """A volume and what is known about it; of a part of a structure, only its interval."""
    if cell is None:
        return NO_VALUE
    shown = mm3_text(cell.volume_mm3)
    lines = [f'<span class="{kind}">{shown}</span>' if kind and not part else shown]
    extras = [interval_text(cell)] if part else [interval_text(cell), _share(cell)]
    lines += [f'<span class="quiet">{extra}</span>' for extra in extras if extra]
    if cell.percentile is not None:
        lines.append(f"<b>percentile {html.text(percentile_text(cell.percentile))}</b>")
    return "<br>".join(lines)


def _share(cell: Cell) -> str:
    return f"{cell.icv_pct:.2f} % of ICV" if cell.icv_pct is not None else ""


def _interval_note(rows: Sequence[Row]) -> str:
    coverages = {cell.coverage for row in rows for cell in (row.left, row.right, row.total)
                 if cell is not None and cell.interval_mm3 is not None}  # fmt: skip
    if not coverages:
        return '<p class="quiet">No intervals: this bundle is not calibrated.</p>'
    words = ", ".join(f"{100 * one:.0f} %" for one in sorted(filter(None, coverages)))
    known = any(cell.percentile is not None for row in rows for cell in (row.left, row.right) if cell)
    more = ", percentile for age, sex and head size" if known else ""
    return f'<p class="quiet">Below: {words} interval, share of ICV{more}.</p>'
