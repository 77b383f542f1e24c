"""Everything that a page shows, ready for a template: figures are joined, those without data are dropped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from lnn_med.evaluation.report.sections.blocks import Block, Section
from lnn_med.evaluation.report.sections.wording import RESEARCH_USE, Record


@dataclass(frozen=True)
class Page:
    """A report before it becomes HTML or PDF; figures are SVG texts, pictures PNG bytes."""

    title: str
    status: str
    protocol: str
    sha256: str
    sections: tuple[Section, ...]
    figures: Mapping[str, str]
    pictures: Mapping[str, bytes]
    scored_utc: str | None
    use: str = RESEARCH_USE


def page_of(
    record: Record, sections: Sequence[Section], figures: Mapping[str, str], pictures: Mapping[str, bytes]
) -> Page:
    """Join the parts; a figure or picture that could not be drawn leaves no empty place."""

    def kept(block: Block) -> bool:
        if block["kind"] == "figure":
            return block["key"] in figures
        return block["kind"] != "pictures" or any(name in pictures for name in block["names"])

    return Page(
        title=record["protocol"]["title"],
        status=record["status"],
        protocol=record["protocol"]["id"],
        sha256=record["sha256"],
        sections=tuple(replace(one, blocks=tuple(filter(kept, one.blocks))) for one in sections),
        figures=figures,
        pictures=pictures,
        scored_utc=record["device"]["scored_utc"],
    )
