"""Write NIfTI-1 images: whole or not at all, and equal bytes for equal volumes."""

from __future__ import annotations

import gzip
import os
from pathlib import Path
from typing import BinaryIO

import numpy as np
from nibabel.nifti1 import Nifti1Header

from lnn_med.io.files import write_whole
from lnn_med.io.nifti_affine import CONFLICT_MM, largest_distance_mm
from lnn_med.io.nifti_header import NIFTI_ENDINGS
from lnn_med.volume import ImageArray, Volume

GZIP_LEVEL = 4  # against 6: maps of a head 5 % larger, in half the time
SINGLE_FILE_OFFSET = 352
SCANNER, ALIGNED = 1, 2  # NIFTI_XFORM codes
LABEL_INTENT = "label"
INTENT_NAME_BYTES = 15
WRITABLE_TYPES = ("uint8", "int16", "float32")


def write_nifti(volume: Volume, path: str | os.PathLike[str], intent: str = "") -> None:
    """Write a volume as NIfTI-1, whole or not at all; equal volumes give equal bytes.

    `data` must be bool, uint8, int16 or float32; `path` ends in .nii or .nii.gz. `intent` is "label" for a
    label map or a free name of at most 15 bytes. qform and sform say "scanner" for DICOM scans, else
    "aligned"; the qform is left out when it cannot hold an affine that is slightly sheared.

    Raises:
        InputError: E_STORAGE when the folder is missing, read-only or full.
        ValueError: for another type of data or ending of the name.
    """
    path = Path(path)
    if not path.name.endswith(NIFTI_ENDINGS):
        raise ValueError("The name of a NIfTI file ends in .nii or .nii.gz.")
    header, data = _header_for(volume, intent)
    with write_whole(path) as file:
        if path.name.endswith(".gz"):
            # No file name and no time in the stream: equal images have equal hashes.
            with gzip.GzipFile("", "wb", compresslevel=GZIP_LEVEL, fileobj=file, mtime=0) as packed:
                _write_image(packed, header, data)
        else:
            _write_image(file, header, data)


def _header_for(volume: Volume, intent: str) -> tuple[Nifti1Header, ImageArray]:
    """The header and the array as it is stored."""
    data = volume.data.astype(np.uint8) if volume.data.dtype == bool else volume.data
    if len(intent.encode()) > INTENT_NAME_BYTES:
        raise ValueError(f"The intent {intent!r} is longer than {INTENT_NAME_BYTES} bytes.")
    if data.dtype.name not in WRITABLE_TYPES:
        raise ValueError(
            f"Data of type {data.dtype} cannot be written; convert it to {' or '.join(WRITABLE_TYPES)}."
        )
    header = Nifti1Header()
    header.set_data_shape(data.shape)
    header.set_data_dtype(data.dtype)
    header.set_xyzt_units("mm")
    header.set_slope_inter(1, 0)
    header["vox_offset"] = SINGLE_FILE_OFFSET
    code = SCANNER if volume.source is not None and volume.source.kind == "dicom" else ALIGNED
    header.set_qform(volume.affine, code, strip_shears=True)
    if largest_distance_mm(header.get_qform(), volume.affine, volume.shape) > CONFLICT_MM:
        header["qform_code"] = 0
    header.set_sform(volume.affine, code)
    if intent == LABEL_INTENT:
        header.set_intent("label")
    elif intent:
        header.set_intent("none", name=intent, allow_unknown=True)
    return header, data


def _write_image(stream: BinaryIO | gzip.GzipFile, header: Nifti1Header, data: ImageArray) -> None:
    stored = header.get_data_dtype()
    stream.write(header.binaryblock + bytes(SINGLE_FILE_OFFSET - len(header.binaryblock)))
    for k in range(data.shape[2]):
        stream.write(data[:, :, k].astype(stored, copy=False).tobytes("F"))
