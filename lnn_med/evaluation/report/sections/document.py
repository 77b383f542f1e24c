"""All sixteen sections in their order."""

from __future__ import annotations

from lnn_med.evaluation.report.sections import (
    calibration,
    classification,
    data,
    front,
    measured,
    primary,
    rest,
)
from lnn_med.evaluation.report.sections.blocks import Section
from lnn_med.evaluation.report.sections.wording import Record

WRITERS = (
    *(front.cover, front.device, front.design, data.data, data.standard, primary.primary),
    *(measured.segmentation, measured.volumetry, classification.classification, calibration.calibration),
    *(rest.subgroups, rest.robustness, rest.failures, rest.reproducibility, rest.checklists, rest.limits),
)


def document(record: Record) -> list[Section]:
    """Sections 0 to 15; a section without data says so, none is empty."""
    return [write(record) for write in WRITERS]
