"""The NIfTI-1 and NIfTI-2 header: parsed from bytes and checked before anything is allocated.

Field names and rules follow nifti1.h and nifti2.h (https://nifti.nimh.nih.gov).
"""

from __future__ import annotations

import math
import struct
from dataclasses import dataclass

import numpy as np
from nibabel import nifti1, nifti2
from numpy.typing import NDArray

from lnn_med.errors import Code, Finding, InputError, WarningCode
from lnn_med.io.files import LIMITS

NIFTI_ENDINGS = (".nii", ".nii.gz")
PREFIX_BYTES = 544  # the longer header (540) and the four bytes that announce extensions
EXTENDER_BYTES = 4
MIN_AXIS_VOXELS = 2  # along each of the three axes; one slice is a picture, not a volume

# The two versions hold the same facts under the same names, in another order and width.
_LAYOUTS = {348: nifti1.header_dtype, 540: nifti2.header_dtype}
_MAGIC_AT = {348: 344, 540: 4}
_MAGIC = {348: b"n+1\0", 540: b"n+2\0\r\n\x1a\n"}
_MAGIC_OF_PAIRS = (b"ni1\0", b"ni2\0")

_QUATERNION = ("quatern_b", "quatern_c", "quatern_d", "qoffset_x", "qoffset_y", "qoffset_z")
_SROWS = ("srow_x", "srow_y", "srow_z")

_REAL_TYPES = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
_OTHER_TYPES = {
    1: "bits", 32: "complex numbers", 128: "RGB colours", 1536: "128-bit floats", 1792: "complex numbers",
    2048: "complex numbers", 2304: "RGBA colours",
}  # fmt: skip

_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # 0 = not stated: every writer means millimetres
_UNIT_NAMES = {1: "metres", 3: "micrometres"}


@dataclass(frozen=True)
class NiftiHeader:
    """The facts of a header that reading needs; sizes are checked, the geometry is still as written.

    `pixdim`, `quaternion` (b, c, d, x, y, z) and `srow` (3, 4) are in units of `mm_per_unit` millimetres.
    `slope` is None when values are stored as they are.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[np.generic]
    vox_offset: int
    slope: float | None
    intercept: float
    mm_per_unit: float
    pixdim: NDArray[np.float64]
    qform_code: int
    sform_code: int
    quaternion: NDArray[np.float64]
    srow: NDArray[np.float64]
    header_bytes: int
    findings: tuple[Finding, ...]

    @property
    def data_bytes(self) -> int:
        """Size of the voxels as stored."""
        return math.prod(self.shape) * self.dtype.itemsize


def looks_like_nifti(prefix: bytes) -> bool:
    """Whether a file that starts with these bytes means to be NIfTI (or its ancestor Analyze)."""
    return _find_layout(prefix) is not None


def parse_header(prefix: bytes) -> NiftiHeader:
    """Parse and check the first PREFIX_BYTES of a single-file NIfTI, already inflated.

    Raises:
        InputError: E_EMPTY, E_TRUNCATED, E_HEADER, E_DTYPE, E_SHAPE, E_SIZE or E_UNITS.
    """
    if not prefix:
        raise InputError(Code.EMPTY, "The file inflates to 0 bytes.")
    found = _find_layout(prefix)
    if found is None and len(prefix) >= EXTENDER_BYTES:
        stated = struct.unpack_from("<i", prefix)[0]
        raise InputError(Code.HEADER, f"The header states its own size as {stated}; 348 or 540 are NIfTI.")
    if found is None or len(prefix) < found[0]:
        raise InputError(Code.TRUNCATED, f"The file ends after {len(prefix)} bytes, inside its header.")
    size, order = found
    _check_magic(prefix, size)
    with np.errstate(invalid="ignore"):  # signalling NaNs; what is not finite is judged field by field
        return _checked(np.frombuffer(prefix, _LAYOUTS[size].newbyteorder(order), count=1)[0], size, order)


def _checked(fields: np.void, size: int, order: str) -> NiftiHeader:
    shape = _shape(tuple(int(value) for value in fields["dim"]))
    dtype = _dtype(int(fields["datatype"]), int(fields["bitpix"]), order)
    slope, intercept, scaling_findings = _scaling(float(fields["scl_slope"]), float(fields["scl_inter"]))
    mm_per_unit, unit_findings = _units(int(fields["xyzt_units"]))
    return NiftiHeader(
        shape=shape,
        dtype=dtype,
        vox_offset=_vox_offset(float(fields["vox_offset"]), size),
        slope=slope,
        intercept=intercept,
        mm_per_unit=mm_per_unit,
        pixdim=np.array(fields["pixdim"], dtype=np.float64),
        qform_code=int(fields["qform_code"]),
        sform_code=int(fields["sform_code"]),
        quaternion=np.array([fields[name] for name in _QUATERNION], dtype=np.float64),
        srow=np.array([fields[name] for name in _SROWS], dtype=np.float64),
        header_bytes=size,
        findings=scaling_findings + unit_findings,
    )


def check_extensions(block: bytes) -> tuple[Finding, ...]:
    """Look at the bytes between header and voxels; bogus extensions are reported, for we skip them anyway."""
    if len(block) < EXTENDER_BYTES or block[0] == 0:
        return ()
    position = EXTENDER_BYTES
    while position < len(block):
        # The byte order of the header is not needed: a size that is right in neither order is bogus.
        size_field, room = block[position : position + 4], len(block) - position
        sizes = [int.from_bytes(size_field, "little"), int.from_bytes(size_field, "big")]
        fitting = [size for size in sizes if 16 <= size <= room and size % 16 == 0]
        if not fitting:
            text = "A header extension states an impossible size; it was skipped."
            return (Finding(WarningCode.HEADER, text),)
        position += fitting[0]
    return ()


def _find_layout(prefix: bytes) -> tuple[int, str] | None:
    """(header size, byte order) as the first field states them, None when it states no NIfTI size."""
    if len(prefix) < EXTENDER_BYTES:
        return None
    for order in "<>":
        size = struct.unpack_from(order + "i", prefix)[0]
        if size in _LAYOUTS:
            return size, order
    return None


def _check_magic(prefix: bytes, size: int) -> None:
    start, wanted = _MAGIC_AT[size], _MAGIC[size]
    magic = prefix[start : start + len(wanted)]
    if magic == wanted:
        return
    if magic[:4] in _MAGIC_OF_PAIRS:
        raise InputError(Code.HEADER, "This is half of a pair (.hdr and .img); one file (.nii) is needed.")
    if not magic.strip(b"\0"):
        raise InputError(Code.HEADER, "This is an Analyze header, which has no orientation; NIfTI is needed.")
    raise InputError(Code.HEADER, "The magic bytes are not those of NIfTI.")


def _shape(dim: tuple[int, ...]) -> tuple[int, int, int]:
    """The three axes of a header's dim[8]; axes of length one after the third are dropped."""
    if not 1 <= dim[0] <= 7:
        raise InputError(Code.HEADER, f"The header states {dim[0]} axes; 1 to 7 exist.")
    axes = dim[1 : dim[0] + 1]
    if min(axes) < 1:
        raise InputError(Code.HEADER, f"The header states an axis of {min(axes)} voxels.")
    text = " x ".join(str(axis) for axis in axes)
    if math.prod(axes[:3]) > LIMITS.voxels:
        raise InputError(Code.SIZE, f"The header states {text} voxels; {LIMITS.voxels:,} are allowed.")
    if any(axis > 1 for axis in axes[3:]):
        raise InputError(Code.SHAPE, f"The image has the shape {text}; it is not a single 3D image.")
    if len(axes) < 3 or min(axes[:3]) < MIN_AXIS_VOXELS:
        raise InputError(Code.SHAPE, f"The image has the shape {text}; three axes of 2+ voxels are needed.")
    return axes[0], axes[1], axes[2]


def _dtype(datatype: int, bitpix: int, order: str) -> np.dtype[np.generic]:
    if datatype in _OTHER_TYPES:
        raise InputError(Code.DTYPE, f"The image holds {_OTHER_TYPES[datatype]}.")
    if datatype not in _REAL_TYPES:
        raise InputError(Code.HEADER, f"The header states the unknown data type {datatype}.")
    dtype: np.dtype[np.generic] = np.dtype(order + _REAL_TYPES[datatype])
    if bitpix != 8 * dtype.itemsize:
        raise InputError(
            Code.HEADER,
            f"The header states {bitpix} bits a voxel; its data type has {8 * dtype.itemsize}.",
        )
    return dtype


def _vox_offset(value: float, header_bytes: int) -> int:
    lowest = header_bytes + EXTENDER_BYTES
    if not lowest <= value <= LIMITS.header_bytes or value != int(value):  # also refuses NaN
        raise InputError(
            Code.HEADER,
            f"The voxels cannot start at byte {value:g}; {lowest} to {LIMITS.header_bytes} are allowed.",
        )
    return int(value)


def _scaling(slope: float, intercept: float) -> tuple[float | None, float, tuple[Finding, ...]]:
    """(slope or None, intercept, findings); by the standard, slope 0 means that nothing is scaled."""
    if math.isinf(slope):
        raise InputError(Code.HEADER, "scl_slope is infinite.")
    if slope == 0 or math.isnan(slope):  # nibabel leaves NaN in headers that it was not asked to scale
        text = f"scl_slope is {slope:g}: values are taken as stored."
        return None, 0.0, (Finding(WarningCode.SCALING, text),)
    if not math.isfinite(intercept):
        raise InputError(Code.HEADER, f"scl_inter is {intercept}.")
    return (None if (slope, intercept) == (1.0, 0.0) else slope), intercept, ()


def _units(xyzt_units: int) -> tuple[float, tuple[Finding, ...]]:
    """(millimetres per unit of length, findings)."""
    code = xyzt_units & 0x07
    if code not in _MM_PER_UNIT:
        raise InputError(Code.UNITS, f"The header states the unknown unit of length {code}.")
    if code not in _UNIT_NAMES:
        return _MM_PER_UNIT[code], ()
    text = f"Lengths are written in {_UNIT_NAMES[code]} and were converted to millimetres."
    return _MM_PER_UNIT[code], (Finding(WarningCode.UNITS, text),)
