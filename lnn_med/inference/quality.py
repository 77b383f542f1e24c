"""Whether the numbers of a prediction may be used: rules on acquisition, coverage and plausible size."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

from lnn_med.errors import Code, Finding, InputError, WarningCode
from lnn_med.prediction import Quality
from lnn_med.volume import Volume

EXPECTED_VOXELS = 100  # in the model's grid; a structure of that size is in every head
CROP_LARGEST_MM = 90.0  # training crops are at most 59 mm long
HEAD_SMALLEST_MM = (60.0, 110.0, 110.0)  # sorted; the smallest adult brain is about 120 x 150 x 100 mm
FINE_LABELS_MM = 1.5  # voxels above this do not show the border between anterior and posterior part
THICK_MM = 3.0  # slices above this blur small structures away
ICV_MM3 = (900_000.0, 2_100_000.0)  # adults
BRAIN_MISSING_MM3 = 400_000.0  # below, the image is no head or a small part of one
BRAIN_TOO_LARGE_MM3 = 3_000_000.0  # above, what was found cannot be a brain
HIPPOCAMPUS_MM3 = (1_200.0, 6_500.0)  # each side, healthy to severe atrophy (HarP manual: 2,300 to 3,120)
VALIDATED_DICE = 0.80  # weights below it are too weak for their numbers to pass without a look
# Feature distance over the limit that 97.5 % of unseen good scans keep, with brain-t1 0.3.0: OASIS (another
# scanner, without skull, in MNI space) 1.8 to 2.7; contrast agent and 6.5 mm slices 3.5; turned by 45° 8.4,
# by 90° 19. hippocampus-t1 0.2.0: cut by 40 % 4.2; no hippocampus 4.4 to 14.7.
UNUSUAL = 3.0  # above: look at it
ALIEN = 12.0  # above: no T1 scan of a head
# Mean entropy within the labels over what good unseen scans stay within: OASIS up to 1.05; a hippocampus crop
# turned by 45° 1.25 at DSC 0.66, which no other rule saw.
UNSURE = 1.2  # above: look at it
# Of labelled brain on the borders of what the image shows; 0 in 100 heads of IXI, less than 1 in OASIS, 55 or
# more where the lower 40 % of a head are cut.
CUT_CM2 = 40.0
# Between a hippocampus and the border of its crop: 3 mm or more in 155 outlined crops. hippocampus-t1 learnt
# to keep off the border: 4 mm or more in good crops, 1 to 3 mm where the hippocampus is cut.
CROP_MARGIN_MM = 3.0


def is_crop(volume: Volume) -> bool:
    """Whether a scan is a hippocampus crop (True) or a head (False), by its physical size.

    Raises:
        InputError: E_FOV when it is neither.
    """
    extents = sorted(n * mm for n, mm in zip(volume.shape, volume.spacing_mm, strict=True))
    if extents[2] <= CROP_LARGEST_MM:
        if extents[0] < 16:
            raise InputError(
                Code.FOV, f"The image is {extents[0]:.0f} mm thin; a hippocampus crop has 25 mm or more."
            )
        return True
    if all(found >= needed for found, needed in zip(extents, HEAD_SMALLEST_MM, strict=True)):
        return False
    found = " x ".join(f"{extent:.0f}" for extent in extents)
    raise InputError(
        Code.FOV,
        f"The image covers {found} mm; a head needs 60 x 110 x 110 mm, a hippocampus crop at most "
        f"{CROP_LARGEST_MM:.0f} mm.",
    )


def resolution_findings(volume: Volume) -> tuple[Finding, ...]:
    """Warnings about voxels too large for small structures."""
    largest = max(volume.spacing_mm)
    if largest <= FINE_LABELS_MM:
        return ()
    text = f"The largest voxel spacing is {largest:.2g} mm; "
    text += f"fine hippocampus labels need {FINE_LABELS_MM:g} mm or less"
    if largest > THICK_MM:
        text += f", and small structures are unreliable above {THICK_MM:g} mm"
    return (Finding(WarningCode.RESOLUTION, text + "."),)


def contrast_reasons(volume: Volume) -> tuple[str, ...]:
    """What a DICOM header says against a T1 scan without contrast agent; a NIfTI file says nothing."""
    reasons = [
        f"{finding.message} The networks learned from T1 scans."
        for finding in volume.findings
        if finding.code == WarningCode.MODALITY
    ]
    if volume.source is not None and volume.source.tags.get("ContrastBolusAgent"):
        reasons.append("The header names a contrast agent; the networks learned from scans without one.")
    return tuple(reasons)


def judge_head(volume: Volume, labels: NDArray[np.uint8], volumes_mm3: Mapping[str, float]) -> Quality:
    """PASS, REVIEW or FAIL of a head from its label map and brain-t1 volumes."""
    icv = sum(volumes_mm3.values())
    if icv < BRAIN_MISSING_MM3:
        return Quality(
            "fail", (f"Only {icv / 1000:.0f} cm³ look like brain; this is no T1 scan of a whole head.",)
        )
    if icv > BRAIN_TOO_LARGE_MM3:
        return Quality("fail", (f"{icv / 1000:.0f} cm³ look like brain, more than any head holds.",))
    reasons = list(contrast_reasons(volume))
    if max(volume.spacing_mm) > THICK_MM:
        reasons.append(
            f"Slices of {max(volume.spacing_mm):.2g} mm; above {THICK_MM:g} mm look at small structures."
        )
    if not ICV_MM3[0] <= icv <= ICV_MM3[1]:
        reasons.append(f"Intracranial volume {icv / 1000:.0f} cm³ is outside 900 to 2,100 cm³.")
    for side in ("L", "R"):
        found = volumes_mm3.get(f"Hippocampus_{side}", 0.0)
        if not HIPPOCAMPUS_MM3[0] <= found <= HIPPOCAMPUS_MM3[1]:
            reasons.append(f"Hippocampus_{side} has {found:.0f} mm³; 1,200 to 6,500 mm³ are plausible.")
    area = cut_cm2(volume, labels)
    if area > CUT_CM2:
        reasons.append(f"{area:.0f} cm² of brain on the border of what the image shows; it may be cut off.")
    return Quality("review" if reasons else "pass", tuple(reasons))


def with_validation(quality: Quality, bundle: str, structures: Mapping[str, float]) -> Quality:
    """REVIEW instead of PASS when the bundle itself did not reach VALIDATED_DICE for the hippocampus.

    Args:
        quality: the judgement of this scan.
        bundle: name of the bundle.
        structures: its Dice on the validation fold, by structure; empty when unknown.
    """
    weak = min((d for name, d in structures.items() if name.startswith("Hippocampus")), default=1.0)
    if quality.status == "fail" or weak >= VALIDATED_DICE:
        return quality
    reason = (
        f"{bundle} reached Dice {weak:.2f} for the hippocampus in validation; {VALIDATED_DICE:g} is needed."
    )
    return with_reasons(quality, (reason,))


def with_oddness(quality: Quality, oddness: float | None) -> Quality:
    """REVIEW instead of PASS for a scan that looks unlike the training scans, FAIL when it does not at all.

    Args:
        quality: the judgement so far.
        oddness: see `Calibration.oddness`; None when the bundle is not calibrated.
    """
    if oddness is None or oddness <= UNUSUAL or quality.status == "fail":
        return quality
    reason = (
        f"To the network this scan looks unlike those it learned from ({oddness:.1f} times the usual limit)."
    )
    return Quality("fail" if oddness > ALIEN else "review", (*quality.reasons, reason))


def doubt(labels: NDArray[np.uint8], entropy: NDArray[np.float32]) -> float:
    """Mean entropy (0 to 1) of the voxels that got a label; 1 when none did."""
    found = labels > 0
    return float(entropy[found].mean()) if found.any() else 1.0


def with_doubt(quality: Quality, found: float, usual: float | None) -> Quality:
    """REVIEW instead of PASS when the network doubts its answer more than it does for good scans.

    Args:
        quality: the judgement so far.
        found: see `doubt`.
        usual: what good unseen scans stay within; None when the bundle is not calibrated.
    """
    if usual is None or found <= UNSURE * usual:
        return quality
    return with_reasons(
        quality, (f"The network doubts its labels ({found / usual:.1f} times the usual limit).",)
    )


def with_reasons(quality: Quality, reasons: tuple[str, ...]) -> Quality:
    """REVIEW instead of PASS, for reasons; a FAIL stays what it is."""
    if not reasons or quality.status == "fail":
        return quality
    return Quality("review", (*quality.reasons, *reasons))


def judge_crop(volume: Volume, labels: NDArray[np.uint8], certainty: float, other: float) -> Quality:
    """PASS, REVIEW or FAIL of a lone hippocampus crop.

    Args:
        volume: the scan.
        labels: its label map (I, J, K).
        certainty: of the reading that counts, 0 to 1.
        other: of the reading as the other side.
    """
    total_mm3 = float((labels > 0).sum()) * volume.voxel_mm3
    if total_mm3 < HIPPOCAMPUS_MM3[0] / 4:
        return Quality(
            "fail", (f"Only {total_mm3:.0f} mm³ look like hippocampus; this is no hippocampus crop.",)
        )
    reasons = list(contrast_reasons(volume))
    if not HIPPOCAMPUS_MM3[0] <= total_mm3 <= HIPPOCAMPUS_MM3[1]:
        reasons.append(f"The hippocampus has {total_mm3:.0f} mm³; 1,200 to 6,500 mm³ are plausible.")
    if certainty - other < 0.01:
        reasons.append("Both readings, as a left and as a right hippocampus, are equally certain.")
    margin_mm = _margin_mm(labels, volume.spacing_mm)
    if margin_mm < CROP_MARGIN_MM:
        reasons.append(
            f"The hippocampus lies {margin_mm:.1f} mm from the border of the image; it may be cut off."
        )
    return Quality("review" if reasons else "pass", tuple(reasons))


def _margin_mm(labels: NDArray[np.uint8], spacing_mm: tuple[float, float, float]) -> float:
    """Distance of the labels, of which there are some, from the nearest border of the image."""
    where = np.argwhere(labels > 0)
    free = np.minimum(where.min(axis=0), np.array(labels.shape) - 1 - where.max(axis=0))
    return float((free * spacing_mm).min())


def cut_cm2(volume: Volume, labels: NDArray[np.uint8]) -> float:
    """Area of labelled brain on the six borders of what the image shows, cm².

    Planes of one value beside the border of the array show nothing: the border lies where they end.

    Args:
        volume: the scan.
        labels: its label map (I, J, K).
    """
    found = 0.0
    for axis, mm in enumerate(volume.spacing_mm):
        rest = tuple(other for other in range(3) if other != axis)
        shown = np.flatnonzero(volume.data.min(axis=rest) < volume.data.max(axis=rest))
        if len(shown):
            voxels = sum(int((labels.take(plane, axis=axis) > 0).sum()) for plane in shown[[0, -1]])
            found += voxels * volume.voxel_mm3 / mm / 100
    return found
