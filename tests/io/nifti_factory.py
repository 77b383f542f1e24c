"""NIfTI files as bytes, right in everything or wrong in one place, made without the code under test."""

from __future__ import annotations

import gzip
import struct
import zlib
from typing import Any

import numpy as np
from nibabel.nifti1 import header_dtype as nifti1_dtype
from nibabel.nifti2 import header_dtype as nifti2_dtype

SHAPE = (5, 6, 7)
SPACING_MM = (1.0, 1.25, 1.5)


def voxels(shape: tuple[int, ...] = SHAPE) -> np.ndarray[Any, Any]:
    """int16 values that differ everywhere."""
    return np.arange(np.prod(shape), dtype=np.int16).reshape(shape, order="F")


def nifti_bytes(
    data: np.ndarray[Any, Any] | None = None,
    *,
    version: int = 1,
    order: str = "<",
    extension: bytes = b"\0\0\0\0",
    cut_bytes: int = 0,
    **fields: object,
) -> bytes:
    """A single-file NIfTI with sform code 1; `fields` overwrites header fields by their standard name."""
    data = voxels() if data is None else data
    layout = {1: nifti1_dtype, 2: nifti2_dtype}[version].newbyteorder(order)
    header = np.zeros((), layout)
    header["sizeof_hdr"] = layout.itemsize
    header["magic"] = b"n+%d" % version
    if version == 2:
        header["eol_check"] = (13, 10, 26, 10)
    header["dim"] = (data.ndim, *data.shape, *[1] * (7 - data.ndim))
    header["datatype"], header["bitpix"] = _TYPES[data.dtype.name], data.dtype.itemsize * 8
    header["pixdim"] = (1, *SPACING_MM, 0, 0, 0, 0)
    header["vox_offset"] = layout.itemsize + len(extension)
    header["scl_slope"] = 1
    header["xyzt_units"] = 2
    header["sform_code"] = 1
    header["srow_x"] = (SPACING_MM[0], 0, 0, -2)
    header["srow_y"] = (0, SPACING_MM[1], 0, -3)
    header["srow_z"] = (0, 0, SPACING_MM[2], -4)
    for name, value in fields.items():
        header[name] = value
    payload = data.astype(data.dtype.newbyteorder(order)).tobytes("F")
    content = header.tobytes() + extension + payload
    return content[: len(content) - cut_bytes]


def qform_only(**fields: object) -> dict[str, object]:
    """Header fields for a geometry that stands in the qform alone: identity rotation."""
    return {"sform_code": 0, "qform_code": 1, **fields}


def zeros_gzip(prefix: bytes, megabytes: int) -> bytes:
    """A gzip stream of `prefix` and then that many MiB of zeros, made without inflating it anywhere.

    A fully flushed deflate block stands on its own, so one block of zeros can be repeated. The checksum at
    the end is wrong; a reader that sees it has already inflated everything.
    """
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    head = packer.compress(prefix) + packer.flush(zlib.Z_FULL_FLUSH)
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    block = packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)
    end = zlib.compressobj(9, zlib.DEFLATED, -15).flush()
    return gzip.compress(b"", mtime=0)[:10] + head + block * megabytes + end + struct.pack("<II", 0, 0)


_TYPES = {
    "uint8": 2, "int16": 4, "int32": 8, "float32": 16, "complex64": 32, "float64": 64, "int8": 256,
    "uint16": 512, "uint32": 768, "int64": 1024, "uint64": 1280,
}  # fmt: skip
