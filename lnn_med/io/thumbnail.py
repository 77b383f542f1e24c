"""One picture of a prediction: planes through each hippocampus, raw beside outline.

Planes are those of `io.panel`. The field of view ends before the face.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import binary_dilation

from lnn_med import geometry
from lnn_med.io.panel import (
    PANEL,
    SMALL,
    STYLES,
    TEXT,
    VIEWS,
    Target,
    annotate,
    border_of,
    dashes,
    font,
    grey_panel,
    grey_window,
    panel_plane,
    png_bytes,
    sampled,
)
from lnn_med.prediction import HIPPOCAMPUS, SEGMENTATION, Prediction
from lnn_med.volume import Volume

HEAD_FIELD_MM = 80.0  # shows the temporal lobe around a hippocampus and no face
MIDDLE_FIELD_MM = 120.0  # around the middle of the labels: most of the brain and no face
MIN_FIELD_MM = 40.0
MARGIN_MM = 4.0  # around a lone crop
GAP, TITLE = 6, 19  # pixels
COMPUTED = "Outlines are computed: check them."

BACKGROUND = (16, 16, 18)
QUIET = (176, 176, 176)


def thumbnail(prediction: Prediction, origin: str = COMPUTED) -> bytes:
    """Draw `prediction` as PNG; the same prediction gives the same bytes.

    `origin` says below the picture where the outlines come from.
    """
    targets = find_targets(prediction)
    planes = [[panel_plane(prediction.scan, target, view) for view in VIEWS] for target in targets]
    slices = [[sampled(prediction.scan.data, plane) for plane in row] for row in planes]
    low, high = grey_window(slices)
    header, footer = 62, 72
    width = len(targets) * (2 * PANEL + 2 * GAP) + (len(targets) - 1) * 3 * GAP + 2 * GAP
    height = header + len(VIEWS) * (PANEL + GAP) + footer
    picture = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(picture)
    left = 2 * GAP
    for target, row, shown in zip(targets, planes, slices, strict=True):
        draw.text((left, 36), target.title, fill=TEXT, font=font(SMALL + 2))
        for number, (view, plane, values) in enumerate(zip(VIEWS, row, shown, strict=True)):
            top = header + number * (PANEL + GAP)
            grey = grey_panel(values, low, high)
            for step, panel in enumerate((grey, _outlined(grey, target, plane))):
                annotate(panel, target, view, first=step == 0)
                picture.paste(panel, (left + step * (PANEL + GAP), top))
        _legend(draw, target, left, height - footer + 2)
        left += 2 * (PANEL + GAP) + 3 * GAP
    _frame_text(draw, prediction, origin, width, height)
    return png_bytes(picture)


def find_targets(prediction: Prediction) -> list[Target]:
    """The halves of the picture: right and left hippocampus, a lone one, or the middle of the head."""
    found = [target for side in ("R", "L", "") if (target := _hippocampus(prediction, side)) is not None]
    if len(found) == 1 and _has_sides(prediction):
        return [replace(found[0], title=f"{found[0].title} (the other side was not found)")]
    return found or [_middle(prediction)]


def _has_sides(prediction: Prediction) -> bool:
    names = prediction.label_names.get(SEGMENTATION, {}).values()
    return {"Hippocampus_L", "Hippocampus_R"} <= set(names)


def _hippocampus(prediction: Prediction, side: str) -> Target | None:
    """The hippocampus of a side ("" in a lone crop, whose names carry none), or None."""
    for file in (HIPPOCAMPUS, SEGMENTATION):
        table = prediction.label_names.get(file, {})
        named = {index: name for index, name in table.items() if _side_of(name) == side}
        labels = prediction.maps.get(file)
        if labels is None or not named:
            continue
        inside = np.isin(labels.data, list(named))
        if not inside.any():
            continue
        centre = geometry.voxel_to_mm(labels.affine, np.argwhere(inside)).mean(axis=0)
        words = {"R": "Right hippocampus", "L": "Left hippocampus", "": _lone_title(prediction)}
        legend = {index: name.replace(f"Hippocampus_{side}", "").strip("_") for index, name in named.items()}
        return Target(words[side], labels.data, legend, centre, _field_mm(prediction.scan, HEAD_FIELD_MM))
    return None


def _side_of(name: str) -> str | None:
    """Side of a hippocampus label: "L", "R", "" when the name has none; None for other structures."""
    head, _, rest = name.partition("_")
    if head != "Hippocampus":
        return None
    first = rest.partition("_")[0]
    return first if first in ("L", "R") else ""


def _lone_title(prediction: Prediction) -> str:
    sides = {entry.side for entry in prediction.structures if _side_of(entry.name) is not None}
    words = {"L": "Left hippocampus", "R": "Right hippocampus"}
    return words.get(sides.pop() or "", "Hippocampus") if len(sides) == 1 else "Hippocampus"


def _middle(prediction: Prediction) -> Target:
    labels = prediction.maps.get(SEGMENTATION)
    scan = prediction.scan
    field_mm = _field_mm(scan, MIDDLE_FIELD_MM)
    title = "Hippocampus not found: planes through the middle"
    if labels is None or not labels.data.any():
        return Target(title, None, {}, geometry.centre_mm(scan.affine, scan.shape), field_mm)
    corners = np.argwhere(labels.data)
    middle = (corners.min(axis=0) + corners.max(axis=0)) / 2
    return Target(title, labels.data, {}, geometry.voxel_to_mm(labels.affine, middle), field_mm)


def _field_mm(scan: Volume, largest_mm: float) -> float:
    """Side of the square that is shown: the whole of a crop, a part of a head."""
    extent = np.abs(scan.affine[:3, :3]) @ np.array(scan.shape)
    return float(min(max(extent.max() + MARGIN_MM, MIN_FIELD_MM), largest_mm))


def _outlined(grey: Image.Image, target: Target, plane: NDArray[np.float32]) -> Image.Image:
    """The panel with the borders of the target's labels drawn on it."""
    if target.labels is None:
        return grey.copy()
    masks = [target.labels == index for index in target.indices] or [target.labels > 0]
    borders = [border_of(np.nan_to_num(sampled(mask, plane)) >= 0.5) for mask in masks]
    pixels = np.array(grey)
    halo = binary_dilation(np.logical_or.reduce(borders))
    pixels[halo] = (pixels[halo] * 0.35).astype(np.uint8)
    for number, border in enumerate(borders):
        colour, dashed = STYLES[number % len(STYLES)]
        pixels[border & dashes() if dashed else border] = colour
    return Image.fromarray(pixels)


def _legend(draw: ImageDraw.ImageDraw, target: Target, left: int, top: int) -> None:
    names = list(target.indices.values()) or ([] if target.labels is None else ["all labels"])
    for number, name in enumerate(names):
        colour, dashed = STYLES[number % len(STYLES)]
        for start in range(0, 30, 10 if dashed else 1):
            draw.rectangle((left + start, top + 7, left + start + (5 if dashed else 1), top + 9), fill=colour)
        label = name.lower() or "hippocampus"
        draw.text((left + 38, top + 1), label, fill=TEXT, font=font(SMALL))
        left += 60 + int(draw.textlength(label, font=font(SMALL)))


def _frame_text(
    draw: ImageDraw.ImageDraw, prediction: Prediction, origin: str, width: int, height: int
) -> None:
    status = f"QC {prediction.quality.status.upper()}"
    draw.text((2 * GAP, 7), "RESEARCH USE ONLY", fill=TEXT, font=font(TITLE))
    draw.text((width - 2 * GAP, 7), status, fill=TEXT, font=font(TITLE), anchor="ra")
    named = (f"{used.bundle} {used.version} ({used.weights_sha256[:8]})" for used in prediction.models)
    note = f"Radiological view: patient's right on the left. {origin}"
    for line, text in enumerate((note, ", ".join(named))):
        draw.text((2 * GAP, height - 44 + 19 * line), text, fill=QUIET, font=font(SMALL - 2))
