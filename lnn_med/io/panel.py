"""One panel of a picture: a plane through a scan in grey, with letters and a scale bar.

Planes lie along the patient's axes, whatever the scan's own grid. They are shown as radiologists look: the
patient's right on the left of the picture, from below (axial), from the front (coronal) and with the nose to
the left (sagittal).
"""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont
from scipy.ndimage import binary_dilation, binary_erosion, map_coordinates

from lnn_med import geometry
from lnn_med.volume import ImageArray, Volume

PANEL = 320  # pixels of a panel's side
WINDOW_PERCENTILES = (4.0, 99.9)
LETTER, SMALL = 15, 14  # pixels

OUTSIDE = 38  # grey of places that the scan does not cover
TEXT = (236, 236, 236)
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


def panel_plane(scan: Volume, target: Target, view: View) -> NDArray[np.float32]:
    """Voxel indices of a panel's pixels, (3, PANEL, PANEL)."""
    pixel_mm = target.field_mm / PANEL
    to_voxel = np.linalg.inv(scan.affine)[:3, :3]
    centre = geometry.mm_to_voxel(scan.affine, target.centre_mm)
    steps = np.arange(PANEL) - (PANEL - 1) / 2
    across = (to_voxel @ np.array(view.right) * pixel_mm)[:, None, None] * steps[None, None, :]
    down = (to_voxel @ np.array(view.down) * pixel_mm)[:, None, None] * steps[None, :, None]
    return (centre[:, None, None] + across + down).astype(np.float32)


def sampled(data: ImageArray, plane: NDArray[np.float32]) -> NDArray[np.float32]:
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


def grey_window(slices: list[list[NDArray[np.float32]]]) -> tuple[float, float]:
    """Darkest and brightest intensity shown, one for all panels, taken around the structures."""
    inner = slice(PANEL // 5, -PANEL // 5)
    values = np.concatenate([plane[inner, inner].ravel() for row in slices for plane in row])
    values = values[np.isfinite(values)]
    if values.size == 0:
        return 0.0, 1.0
    low, high = np.percentile(values, WINDOW_PERCENTILES)
    return float(low), float(max(high, low + 1e-6))


def grey_panel(values: NDArray[np.float32], low: float, high: float) -> Image.Image:
    """A panel of values in grey, dark at `low`, bright at `high`; NaN is a grey of its own."""
    shown = np.clip((np.nan_to_num(values, nan=low) - low) / (high - low), 0, 1) * 255
    shown[np.isnan(values)] = OUTSIDE
    return Image.fromarray(shown.astype(np.uint8)).convert("RGB")


def border_of(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """A line of two pixels along the edge of an area."""
    return binary_dilation(inside) & ~binary_erosion(inside, border_value=1)


def dashes() -> NDArray[np.bool_]:
    """A pattern that turns any border line into dashes."""
    rows, columns = np.indices((PANEL, PANEL))
    return ((rows // 4 + columns // 4) % 2) == 0


def annotate(panel: Image.Image, target: Target, view: View, first: bool) -> None:
    """Write the letters of the sides on a panel; on the first one also its name and a scale bar."""
    draw = ImageDraw.Draw(panel)
    middle, far = PANEL / 2, PANEL - 6
    places = (((6, middle), "lm"), ((far, middle), "rm"), ((middle, 5), "mt"), ((middle, far), "mb"))
    for letter, (place, anchor) in zip(view.letters, places, strict=True):
        _write(draw, place, letter, LETTER, anchor)
    if first:
        _write(draw, (6, 5), view.name, SMALL - 1, "lt")
        _scale_bar(draw, target.field_mm)


def png_bytes(picture: Image.Image) -> bytes:
    """The picture as PNG; equal pictures give equal bytes."""
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", optimize=False, compress_level=4)
    return buffer.getvalue()


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font that comes with Pillow, in pixels."""
    return ImageFont.load_default(size=size)


def _scale_bar(draw: ImageDraw.ImageDraw, field_mm: float) -> None:
    length_mm = 20 if field_mm > 60 else 10
    length = round(length_mm / field_mm * PANEL)
    right, bottom = PANEL - 8, PANEL - 10
    draw.rectangle((right - length - 1, bottom - 1, right + 1, bottom + 3), fill=HALO)
    draw.rectangle((right - length, bottom, right, bottom + 2), fill=TEXT)
    _write(draw, (right - length / 2, bottom - 4), f"{length_mm} mm", SMALL - 2, "mb")


def _write(draw: ImageDraw.ImageDraw, place: tuple[float, float], text: str, size: int, anchor: str) -> None:
    draw.text(place, text, fill=TEXT, font=font(size), anchor=anchor, stroke_width=2, stroke_fill=HALO)
