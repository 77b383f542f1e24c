"""One picture of a prediction: planes through each hippocampus, raw beside outline.

Planes lie along the patient's axes, whatever the scan's own grid. They are shown as radiologists look:
the patient's right on the left of the picture, from below (axial), from the front (coronal) and with
the nose to the left (sagittal). The field of view ends before the face.
"""

from __future__ import annotations

import io
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_dilation, binary_erosion, map_coordinates

from lnn_med import geometry
from lnn_med.prediction import HIPPOCAMPUS, SEGMENTATION, Prediction
from lnn_med.volume import ImageArray, Volume

PANEL = 320  # pixels of a panel's side
HEAD_FIELD_MM = 80.0  # shows the temporal lobe around a hippocampus and no face
MIDDLE_FIELD_MM = 120.0  # around the middle of the labels: most of the brain and no face
MIN_FIELD_MM = 40.0
MARGIN_MM = 4.0  # around a lone crop
WINDOW_PERCENTILES = (4.0, 99.9)
GAP, LETTER, SMALL, TITLE = 6, 15, 14, 19  # pixels

BACKGROUND = (16, 16, 18)
OUTSIDE = 38  # grey of places that the scan does not cover
TEXT = (236, 236, 236)
QUIET = (176, 176, 176)
HALO = (0, 0, 0)
# Line styles differ in brightness and in dashes, so that they can be told apart without colour.
STYLES = (((255, 214, 64), False), ((96, 176, 255), True), ((255, 255, 255), False))


@dataclass(frozen=True)
class View:
    """A plane by name: world directions to the right of and down the picture, and its border letters."""

    name: str
    right: tuple[int, int, int]
    down: tuple[int, int, int]
    letters: str  # left, right, top, bottom


VIEWS = (
    View("axial", (-1, 0, 0), (0, -1, 0), "RLAP"),
    View("coronal", (-1, 0, 0), (0, 0, -1), "RLSI"),
    View("sagittal", (0, -1, 0), (0, 0, -1), "APSI"),
)


@dataclass(frozen=True)
class Target:
    """What one half of the picture shows: a title, a label map and the labels to outline."""

    title: str
    labels: ImageArray | None  # on the grid of the scan
    indices: dict[int, str]  # label -> name in the legend
    centre_mm: NDArray[np.float64]
    field_mm: float


def thumbnail(prediction: Prediction) -> bytes:
    """Draw `prediction` as PNG; the same prediction gives the same bytes."""
    targets = find_targets(prediction)
    planes = [[_plane(prediction.scan, target, view) for view in VIEWS] for target in targets]
    slices = [[_sample(prediction.scan.data, plane) for plane in row] for row in planes]
    low, high = _window(slices)
    header, footer = 62, 72
    width = len(targets) * (2 * PANEL + 2 * GAP) + (len(targets) - 1) * 3 * GAP + 2 * GAP
    height = header + len(VIEWS) * (PANEL + GAP) + footer
    picture = Image.new("RGB", (width, height), BACKGROUND)
    draw = ImageDraw.Draw(picture)
    left = 2 * GAP
    for target, row, shown in zip(targets, planes, slices, strict=True):
        draw.text((left, 36), target.title, fill=TEXT, font=_font(SMALL + 2))
        for number, (view, plane, values) in enumerate(zip(VIEWS, row, shown, strict=True)):
            top = header + number * (PANEL + GAP)
            grey = _grey(values, low, high)
            for step, panel in enumerate((grey, _outlined(grey, target, plane))):
                _annotate(panel, target, view, first=step == 0)
                picture.paste(panel, (left + step * (PANEL + GAP), top))
        _legend(draw, target, left, height - footer + 2)
        left += 2 * (PANEL + GAP) + 3 * GAP
    _frame_text(draw, prediction, width, height)
    return _png(picture)


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


def _plane(scan: Volume, target: Target, view: View) -> NDArray[np.float32]:
    """Voxel indices of a panel's pixels, (3, PANEL, PANEL)."""
    pixel_mm = target.field_mm / PANEL
    to_voxel = np.linalg.inv(scan.affine)[:3, :3]
    centre = geometry.mm_to_voxel(scan.affine, target.centre_mm)
    steps = np.arange(PANEL) - (PANEL - 1) / 2
    across = (to_voxel @ np.array(view.right) * pixel_mm)[:, None, None] * steps[None, None, :]
    down = (to_voxel @ np.array(view.down) * pixel_mm)[:, None, None] * steps[None, :, None]
    return (centre[:, None, None] + across + down).astype(np.float32)


def _sample(data: ImageArray, plane: NDArray[np.float32]) -> NDArray[np.float32]:
    """Values at the indices of a plane, linear in between, NaN outside the image."""
    shape = np.array(data.shape)
    low = np.clip(np.floor(plane.min(axis=(1, 2))).astype(int), 0, shape - 1)
    high = np.clip(np.ceil(plane.max(axis=(1, 2))).astype(int) + 1, low + 1, shape)
    part = data[tuple(slice(start, stop) for start, stop in zip(low, high, strict=True))]
    values = map_coordinates(
        part.astype(np.float32), plane - low[:, None, None].astype(np.float32), order=1, mode="nearest"
    )
    outside = [(axis < -0.5) | (axis > size - 0.5) for axis, size in zip(plane, data.shape, strict=True)]
    values[outside[0] | outside[1] | outside[2]] = np.nan
    return values


def _window(slices: list[list[NDArray[np.float32]]]) -> tuple[float, float]:
    """Darkest and brightest intensity shown, one for all panels, taken around the structures."""
    inner = slice(PANEL // 5, -PANEL // 5)
    values = np.concatenate([plane[inner, inner].ravel() for row in slices for plane in row])
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(values, WINDOW_PERCENTILES)
    return float(low), float(max(high, low + 1e-6))


def _grey(values: NDArray[np.float32], low: float, high: float) -> Image.Image:
    shown = np.clip((np.nan_to_num(values, nan=low) - low) / (high - low), 0, 1) * 255
    shown[np.isnan(values)] = OUTSIDE
    return Image.fromarray(shown.astype(np.uint8)).convert("RGB")


def _outlined(grey: Image.Image, target: Target, plane: NDArray[np.float32]) -> Image.Image:
    """The panel with the borders of the target's labels drawn on it."""
    if target.labels is None:
        return grey.copy()
    masks = [target.labels == index for index in target.indices] or [target.labels > 0]
    borders = [_border(np.nan_to_num(_sample(mask, plane)) >= 0.5) for mask in masks]
    pixels = np.array(grey)
    halo = binary_dilation(np.logical_or.reduce(borders))
    pixels[halo] = (pixels[halo] * 0.35).astype(np.uint8)
    for number, border in enumerate(borders):
        colour, dashed = STYLES[number % len(STYLES)]
        pixels[border & _dashes() if dashed else border] = colour
    return Image.fromarray(pixels)


def _border(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A line of two pixels along the edge of an area."""
    return binary_dilation(inside) & ~binary_erosion(inside, border_value=1)


def _dashes() -> NDArray[np.bool_]:
    """A pattern that turns any border line into dashes."""
    rows, columns = np.indices((PANEL, PANEL))
    return ((rows // 4 + columns // 4) % 2) == 0


def _annotate(panel: Image.Image, target: Target, view: View, first: bool) -> None:
    draw = ImageDraw.Draw(panel)
    middle, far = PANEL / 2, PANEL - 6
    places = (((6, middle), "lm"), ((far, middle), "rm"), ((middle, 5), "mt"), ((middle, far), "mb"))
    for letter, (place, anchor) in zip(view.letters, places, strict=True):
        _write(draw, place, letter, LETTER, anchor)
    if first:
        _write(draw, (6, 5), view.name, SMALL - 1, "lt")
        _scale_bar(draw, target.field_mm)


def _scale_bar(draw: ImageDraw.ImageDraw, field_mm: float) -> None:
    length_mm = 20 if field_mm > 60 else 10
    length = round(length_mm / field_mm * PANEL)
    right, bottom = PANEL - 8, PANEL - 10
    draw.rectangle((right - length - 1, bottom - 1, right + 1, bottom + 3), fill=HALO)
    draw.rectangle((right - length, bottom, right, bottom + 2), fill=TEXT)
    _write(draw, (right - length / 2, bottom - 4), f"{length_mm} mm", SMALL - 2, "mb")


def _legend(draw: ImageDraw.ImageDraw, target: Target, left: int, top: int) -> None:
    names = list(target.indices.values()) or ([] if target.labels is None else ["all labels"])
    for number, name in enumerate(names):
        colour, dashed = STYLES[number % len(STYLES)]
        for start in range(0, 30, 10 if dashed else 1):
            draw.rectangle((left + start, top + 7, left + start + (5 if dashed else 1), top + 9), fill=colour)
        label = name.lower() or "hippocampus"
        draw.text((left + 38, top + 1), label, fill=TEXT, font=_font(SMALL))
        left += 60 + int(draw.textlength(label, font=_font(SMALL)))


def _frame_text(draw: ImageDraw.ImageDraw, prediction: Prediction, width: int, height: int) -> None:
    status = f"QC {prediction.quality.status.upper()}"
    draw.text((2 * GAP, 7), "RESEARCH USE ONLY", fill=TEXT, font=_font(TITLE))
    draw.text((width - 2 * GAP, 7), status, fill=TEXT, font=_font(TITLE), anchor="ra")
    named = (f"{used.bundle} {used.version} ({used.weights_sha256[:8]})" for used in prediction.models)
    note = "Radiological view: patient's right on the left. Outlines are computed: check them."
    for line, text in enumerate((note, ", ".join(named))):
        draw.text((2 * GAP, height - 44 + 19 * line), text, fill=QUIET, font=_font(SMALL - 2))


def _write(draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, size: int, anchor: str) -> None:
    draw.text(place, text, fill=TEXT, font=_font(size), anchor=anchor, stroke_width=2, stroke_fill=HALO)


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size=size)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=False, compress_level=4)
    return buffer.getvalue()
