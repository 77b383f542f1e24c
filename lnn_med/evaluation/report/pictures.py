"""Thumbnails of the worst cases: three planes through the worst structure, raw above outlined.

Without a scan, and in its place, only the outlines are drawn.

No face can be seen: nothing is shown beyond a few millimetres around the labelled structures.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw
from scipy.ndimage import distance_transform_edt

from lnn_med.errors import InputError
from lnn_med.evaluation.comparing import ComparedCase, Comparison, masks_of
from lnn_med.evaluation.labels import check_same_grid
from lnn_med.evaluation.matching import LabelTable
from lnn_med.geometry import voxel_to_mm
from lnn_med.io.nifti import read_nifti
from lnn_med.io.panel import (
    PANEL,
    STYLES,
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
from lnn_med.io.thumbnail import HEAD_FIELD_MM, MIN_FIELD_MM
from lnn_med.volume import Volume

logger = logging.getLogger(__name__)

SHOWN_MM = 6.0  # around any label; the skin of face and forehead lies 10 mm or more beyond the brain
BORDER_MM = 10.0  # around the structure in the picture
SCALE = 0.5  # of the panels
GREY_STEP = 6  # 44 greys; five pictures take 0.2 MB
OUTLINES = (("reference", STYLES[2][0], False), ("prediction", STYLES[0][0], True))


def worst_pictures(
    comparison: Comparison, names: Sequence[str], table: LabelTable | None
) -> dict[str, bytes]:
    """One PNG for each named case that can be drawn, by case name."""
    by_name: Mapping[str, ComparedCase] = {case.name: case for case in comparison.cases}
    found: dict[str, bytes] = {}
    for name in names if table is not None else ():
        try:
            found[name] = _picture(by_name[name], table)  # type: ignore[arg-type]
        except InputError as error:
            logger.warning("%s: no picture (%s)", name, error.code.value)
    return found


def worst_structure(case: ComparedCase) -> str:
    """The structure of the lowest DSC; of equal ones the first by name."""
    return min(case.structures, key=lambda name: (case.structures[name].metrics.dsc, name))


def _picture(case: ComparedCase, table: LabelTable) -> bytes:
    structure = worst_structure(case)
    truth, reference, predicted = masks_of(case, structure, table)
    image = _image(case, truth)
    scan = _visible(image or truth.with_data(np.zeros(truth.shape, dtype=np.float32)), truth)
    either = reference | predicted
    inside = np.argwhere(either if either.any() else truth.data > 0)
    if len(inside) == 0:
        inside = np.array([[size / 2 for size in truth.shape]])
    centre, reach_mm = _middle(voxel_to_mm(truth.affine, inside))
    field_mm = min(max(2 * (reach_mm + BORDER_MM), MIN_FIELD_MM), HEAD_FIELD_MM)
    target = Target("", None, {}, centre, field_mm)
    planes = [panel_plane(scan, target, view) for view in VIEWS]
    slices = [sampled(scan.data, plane) for plane in planes]
    low, high = grey_window([slices])
    rows = 2 if image else 1
    picture = Image.new("RGB", (3 * PANEL + 16, rows * PANEL + 8 * (rows - 1)), (255, 255, 255))
    for number, (view, plane, values) in enumerate(zip(VIEWS, planes, slices, strict=True)):
        grey = grey_panel(values, low, high)
        outlined = _outlined(grey, [sampled(mask, plane) for mask in (reference, predicted)])
        for row, panel in enumerate((grey, outlined) if image else (outlined,)):
            annotate(panel, target, view, first=row == 0)
            picture.paste(panel, (number * (PANEL + 8), row * (PANEL + 8)))
    _legend(picture)
    width, height = picture.size
    small = picture.resize((round(width * SCALE), round(height * SCALE)), Image.Resampling.LANCZOS)
    return png_bytes(small.quantize(palette=_palette(), dither=Image.Dither.NONE))


def _middle(places_mm: NDArray[np.float64]) -> tuple[NDArray[np.float64], float]:
    """The place nearest to the middle of all, and how far the others reach from it along an axis, mm.

    Every plane through it meets the structure; the middle itself may lie between two parts.
    """
    middle = (places_mm.min(axis=0) + places_mm.max(axis=0)) / 2
    nearest = places_mm[np.argmin(np.linalg.norm(places_mm - middle, axis=1))]
    return nearest, float(np.abs(places_mm - nearest).max())


def _image(case: ComparedCase, truth: Volume) -> Volume | None:
    """The scan, when there is one on the reference's voxels; without it only outlines are drawn."""
    prediction = case.pair.prediction
    path = case.pair.reference.image or (prediction.image if prediction else None)
    if path is not None:
        try:
            scan = read_nifti(path)
            check_same_grid(truth, scan)
        except InputError as error:
            logger.info("%s: drawn without its scan (%s)", case.name, error.code.value)
        else:
            return scan
    return None


def _visible(scan: Volume, truth: Volume) -> Volume:
    """Values further than SHOWN_MM from every label become NaN, which is drawn as plain grey."""
    far = distance_transform_edt(truth.data == 0, sampling=truth.spacing_mm) > SHOWN_MM
    return scan.with_data(np.where(far, np.nan, scan.data).astype(np.float32))


def _outlined(grey: Image.Image, samples: Sequence[NDArray[np.float32]]) -> Image.Image:
    pixels = np.array(grey)
    for (_, colour, dashed), values in zip(OUTLINES, samples, strict=True):
        border = border_of(np.nan_to_num(values) >= 0.5)
        pixels[border] = (0, 0, 0)
        pixels[border & dashes() if dashed else border] = colour
    return Image.fromarray(pixels)


def _palette() -> Image.Image:
    """Greys, and the colours of the outlines fading into greys: palettes made from the picture lose them."""
    greys = [(grey, grey, grey) for grey in (*range(0, 255, GREY_STEP), 255)]
    fades = [
        tuple(round(share * own + (1 - share) * grey) for own in colour)
        for _, colour, _ in OUTLINES
        for share in (0.25, 0.5, 0.75, 1.0)
        for grey in (0, 64, 128, 192, 255)
    ]
    palette = Image.new("P", (1, 1))
    palette.putpalette([value for colour in (*greys, *fades) for value in colour])
    return palette


def _legend(picture: Image.Image) -> None:
    draw = ImageDraw.Draw(picture)
    left, top = 8, picture.height - 24
    for name, colour, dashed in OUTLINES:
        for start in range(0, 30, 10 if dashed else 1):
            draw.rectangle(
                (left + start, top + 7, left + start + (5 if dashed else 1), top + 10), fill=colour
            )
        draw.text(
            (left + 36, top),
            name,
            fill=(255, 255, 255),
            font=font(17),
            stroke_width=2,
            stroke_fill=(0, 0, 0),
        )
        left += PANEL + 8  # one entry a panel, beside the letter in its middle
