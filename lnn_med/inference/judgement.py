"""The judgement of a whole prediction: every rule of quality control on what one network answered.

Disagreement of the exits is no rule. On hippocampus crops most blocks leave at exit 1: nothing can disagree.
Of 12 broken heads (brain-t1 0.3.0, 2026-11-22) the finer stages changed 12 to 23 % of the labelled voxels in
the three with DSC < 0.7, and at most 9 % in the others and in 32 good ones; but other rules had flagged these
three.
"""

from __future__ import annotations

from collections.abc import Mapping

from lnn_med.errors import Finding, WarningCode
from lnn_med.inference.anatomy import anatomy_reasons
from lnn_med.inference.head import Segmented
from lnn_med.inference.quality import (
    EXPECTED_VOXELS,
    UNUSUAL,
    doubt,
    judge_head,
    with_doubt,
    with_oddness,
    with_reasons,
    with_validation,
)
from lnn_med.inference.runtime import Engine
from lnn_med.prediction import Quality
from lnn_med.volume import Volume


def head_quality(volume: Volume, brain: Segmented, sizes_mm3: Mapping[str, float], engine: Engine) -> Quality:
    """All rules for a head: acquisition and size, anatomy, what the network saw, what the bundle reached.

    Args:
        volume: the scan.
        brain: the answer of the head network.
        sizes_mm3: volume of each structure.
        engine: what answered.
    """
    info, names = engine.bundle.info, engine.bundle.label_names
    usual_voxels = info.metrics.get("median_voxels", {})
    expected = [name for name in names.values() if usual_voxels.get(name, 0) >= EXPECTED_VOXELS]
    reasons = anatomy_reasons(brain.labels, volume.affine, names, expected)
    quality = with_reasons(judge_head(volume, brain.labels, sizes_mm3), reasons)
    return with_validation(
        seen_quality(quality, brain, engine), info.name, info.metrics.get("structures", {})
    )


def seen_quality(quality: Quality, answer: Segmented, engine: Engine) -> Quality:
    """Rules on what the network saw: unusual features, doubtful labels."""
    calibration = engine.bundle.calibration
    seen = with_oddness(quality, calibration.oddness(answer.run.summary))
    return with_doubt(seen, doubt(answer.labels, answer.entropy), calibration.usual_doubt)


def unusual_findings(answer: Segmented, engine: Engine) -> tuple[Finding, ...]:
    """The warning W_OOD where the scan looks unlike those that the network learned from."""
    oddness = engine.bundle.calibration.oddness(answer.run.summary)
    if oddness is None or oddness <= UNUSUAL:
        return ()
    text = (
        f"The scan looks unlike those that {engine.bundle.info.name} learned from "
        f"({oddness:.1f} times the usual limit; {UNUSUAL:g} are allowed)."
    )
    return (Finding(WarningCode.OOD, text),)
