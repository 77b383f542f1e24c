"""The other sections of a result: banner, acquisition, QC, gate depth, limits, identifiers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from app.parts import html
from app.parts.numbers import count_text
from lnn_med.io.volumetry import LIMITS, QC_WORDS, age_text, rows_of, saved_pct

SHORT_HASH = 8


def banner(record: Mapping[str, Any]) -> str:
    """Research use, models with version and hash, and what to do about it."""
    models = "; ".join(
        f"{model['bundle']} {model['version']} ({model['weights_sha256'][:SHORT_HASH]})"
        for model in record["model"]
    )
    return (
        '<div class="banner" role="note"><b>Research use only: not a medical device.</b>'
        f"<span>AI-generated: check the overlay.</span><span>{html.text(models)}</span></div>"
    )


def identity(name: str, facts: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """What the user calls the scan, sex and age; then how it was acquired."""
    tags = facts.get("tags") or {}
    shape, spacing = record["input"]["shape"], record["input"]["spacing_mm"]
    field = tags.get("MagneticFieldStrength")
    who = [
        ("Scan", name),
        ("Sex", facts.get("sex") or "not given"),
        ("Age", age_text(facts.get("age"))),
        ("Voxels", " × ".join(map(str, shape))),
        ("Spacing", " × ".join(f"{step:.3g}" for step in spacing) + " mm"),
        ("Axes", record["input"]["orientation"]),
        (
            "Scanner",
            " ".join(str(tags[key]) for key in ("Manufacturer", "ManufacturerModelName") if tags.get(key)),
        ),
        ("Field", f"{field:g} T" if isinstance(field, (int, float)) else None),
        ("Sequence", tags.get("ScanningSequence")),
    ]
    return html.facts(who)


def quality(record: Mapping[str, Any]) -> str:
    """PASS, REVIEW or FAIL with its reasons and the warnings, in words and in shape, not in colour alone."""
    status = record["qc"]["status"]
    reasons = [html.text(reason) for reason in record["qc"]["reasons"]]
    reasons += [
        f"{html.text(one['message'])} <code>{html.text(one['code'])}</code>" for one in record["warnings"]
    ]
    many = "".join(f"<li>{reason}</li>" for reason in reasons)
    return (
        f'<div class="qc qc-{html.text(status)}"><b>Quality: {html.text(QC_WORDS.get(status, status))}.</b>'
        f"{f'<ul>{many}</ul>' if many else ''}</div>"
    )


def depth_panel(record: Mapping[str, Any], depth: Mapping[str, Any] | None) -> str:
    """How much of the networks ran where: histogram, work, mean depth per structure."""
    compute = record["compute"]
    work = " of ".join(count_text(compute[name]) for name in ("gflops", "gflops_full"))
    words = {one["blocks"]: one["words"] for one in (depth or {}).get("values", ())}
    rows = []
    for blocks, share in compute["depth_histogram"].items():
        name = f"{blocks} blocks"
        if int(blocks) in words:
            name += f": {words[int(blocks)]}"
        rows.append((name, share, f"{100 * share:.2f} %"))
    return (
        "<p>Residual blocks that ran at each voxel, counted; share of the scan's voxels. The map is the "
        "layer “Gate depth” of the images.</p>" + html.bars(rows) + f"<p>Work: {work} GFLOP at full depth; "
        f"<b>{saved_pct(record):.0f} % saved</b>. Networks and gates took {compute['seconds']:.2f} s.</p>"
    )


def depth_table(record: Mapping[str, Any]) -> str:
    """Mean depth per structure."""
    cells = []
    for row in rows_of(record):
        for side, cell in (("left", row.left), ("right", row.right), ("", row.total)):
            if cell is not None and cell.mean_depth is not None:
                words = f"{row.words}, {side}" if side else row.words
                cells.append((html.text(words), f"{cell.mean_depth:.2f}", html.text(row.bundle)))
    return html.table("Mean depth, blocks", ("Structure", "Blocks", "Bundle"), cells, words=(2,))


def limits() -> str:
    """What these numbers cannot do."""
    return "<ul>" + "".join(f"<li>{html.text(limit)}</li>" for limit in LIMITS) + "</ul>"


def identifiers(record: Mapping[str, Any]) -> str:
    """UIDs, hashes and versions."""
    rows = [
        ("Scan, SHA-256", record["input"]["sha256"]),
        ("Series UID", record["input"].get("series_uid") or "–"),
    ]
    rows += [
        (f"{model['bundle']} {model['version']}, weights", model["weights_sha256"])
        for model in record["model"]
    ]
    rows.append(("Software", ", ".join(f"{name} {version}" for name, version in record["software"].items())))
    cells = [(html.text(name), f"<code>{html.text(value)}</code>") for name, value in rows]
    return html.table("", ("What", "Value"), cells, words=(1,))
