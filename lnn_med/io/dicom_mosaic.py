"""Slices of a Siemens mosaic: one picture whose tiles are the slices of a volume.

Place of the tiles: Siemens CSA header, as described at https://nipy.org/nibabel/dicom/dicom_mosaic.html
"""

from __future__ import annotations

import math
import warnings
from dataclasses import replace
from typing import Any

import numpy as np
from pydicom.dataset import Dataset

from lnn_med.errors import Code, InputError
from lnn_med.io.dicom_frames import Frame, PixelFormat, classic_frame
from lnn_med.io.dicom_values import number, values

CSA_GROUP = 0x0029
CSA_CREATOR = "SIEMENS CSA HEADER"
CSA_TAGS = [CSA_GROUP << 16 | number for block in range(0x10, 0x14) for number in (block, block << 8 | 0x10)]


def is_mosaic(header: Dataset) -> bool:
    """Whether ImageType calls the picture a mosaic."""
    return "MOSAIC" in (str(value).upper() for value in values(header, "ImageType"))


def mosaic_frames(header: Dataset, pixels: PixelFormat) -> tuple[Frame, ...]:
    """The tiles in the order of the slices.

    Raises:
        InputError: E_GEOMETRY when the CSA header is missing or contradicts the picture.
    """
    csa = _csa(header)
    count = _csa_numbers(csa, "NumberOfImagesInMosaic", 1)
    normal = _csa_numbers(csa, "SliceNormalVector", 3)
    spacing_mm = number(header, "SpacingBetweenSlices") or number(header, "SliceThickness")
    if not count or not normal or not spacing_mm or spacing_mm <= 0:
        raise InputError(Code.GEOMETRY, "The mosaic does not say how many slices it has, or where they are.")
    slices = int(count[0])
    tiles = math.ceil(math.sqrt(max(slices, 1)))  # along each edge of the square
    if slices < 1 or pixels.rows % tiles or pixels.columns % tiles:
        raise InputError(
            Code.GEOMETRY, f"{pixels.columns} x {pixels.rows} pixels cannot be a mosaic of {slices} slices."
        )
    whole = classic_frame(header, pixels)
    rows, columns = pixels.rows // tiles, pixels.columns // tiles
    direction = np.copysign(1.0, whole.normal @ np.array(normal)) * whole.normal
    first = _first_tile_corner(whole, (rows, columns))
    return tuple(
        replace(
            whole,
            corner=(index // tiles * rows, index % tiles * columns),
            shape=(rows, columns),
            position_mm=tuple((first + index * spacing_mm * direction).tolist()),
        )
        for index in range(slices)
    )


def _first_tile_corner(whole: Frame, tile_shape: tuple[int, int]) -> Any:
    """ImagePositionPatient places the mosaic as if it were one large slice around the same centre."""
    row_mm, column_mm = whole.spacing_mm
    down = (whole.shape[0] - tile_shape[0]) / 2 * row_mm
    along = (whole.shape[1] - tile_shape[1]) / 2 * column_mm
    return (
        np.array(whole.position_mm)
        + along * np.array(whole.row_direction)
        + down * np.array(whole.column_direction)
    )


def _csa(header: Dataset) -> dict[str, Any]:
    """The tags of the CSA image header; empty when it is absent or damaged."""
    for block in range(0x10, 0x14):
        creator = header.get((CSA_GROUP, block))
        element = header.get((CSA_GROUP, block << 8 | 0x10))
        if creator is None or element is None or str(creator.value).strip() != CSA_CREATOR:
            continue
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # nibabel calls its DICOM parts experimental; the CSA parser is checked here
            from nibabel.nicom import csareader
        try:
            return dict(csareader.read(bytes(element.value))["tags"])
        except Exception:  # nibabel asserts and unpacks; a damaged header ends anyhow
            return {}
    return {}


def _csa_numbers(csa: dict[str, Any], name: str, count: int) -> tuple[float, ...]:
    """`count` finite numbers of a CSA tag; empty when they are not there."""
    try:
        found = tuple(float(item) for item in csa[name]["items"][:count])
    except (KeyError, TypeError, ValueError):
        return ()
    return found if len(found) == count and all(math.isfinite(value) for value in found) else ()
