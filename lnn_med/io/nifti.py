"""Read NIfTI images, plain or gzip; nothing that a header states gets memory before it was checked."""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from lnn_med.errors import Code, Finding, InputError, WarningCode
from lnn_med.io.files import LIMITS, open_regular, unchanged
from lnn_med.io.nifti_affine import read_affine
from lnn_med.io.nifti_header import (
    EXTENDER_BYTES,
    PREFIX_BYTES,
    NiftiHeader,
    check_extensions,
    parse_header,
)
from lnn_med.io.nifti_write import write_nifti
from lnn_med.volume import ImageArray, Source, Volume

__all__ = ["read_labels", "read_nifti", "write_nifti"]

GZIP_MAGIC = b"\x1f\x8b"
CHUNK_VOXELS = 1 << 18  # 2 MiB in float64
Stream = BinaryIO | gzip.GzipFile


def read_nifti(path: str | os.PathLike[str]) -> Volume:
    """Read a NIfTI-1 or NIfTI-2 scan as float32 with its scaling applied, in the array order of the file.

    Values that are not finite become 0 and are counted in a W_NONFINITE finding.
    4D files are read when the axes after the third have length one.

    Raises:
        InputError: E_EMPTY, E_TRUNCATED, E_GZIP, E_BOMB, E_HEADER, E_SIZE, E_SHAPE, E_DTYPE, E_UNITS,
            E_GEOMETRY, E_NODATA (all values equal), E_CHANGED, E_NOTFOUND or E_FORMAT.
    """
    volume = _read(Path(path))
    low, high = float(volume.data.min()), float(volume.data.max())
    if low == high:
        raise InputError(Code.NODATA, f"All voxels have the value {low:g}.")
    return volume


def read_labels(path: str | os.PathLike[str]) -> Volume:
    """Read a NIfTI label map as int32; a map that is all background is fine.

    Raises:
        InputError: as `read_nifti`, and E_DTYPE when a value is not a whole number.
    """
    volume = _read(Path(path))
    labels = volume.data.astype(np.int32)
    if not np.array_equal(labels, volume.data):
        raise InputError(Code.DTYPE, "The label map holds values that are not whole numbers.")
    return volume.with_data(labels)


def _read(path: Path) -> Volume:
    with unchanged([path]) as sha256, open_regular(path) as file, _inflated(file, path.name) as stream:
        prefix = stream.read(PREFIX_BYTES)
        header = parse_header(prefix)
        affine, geometry_findings = read_affine(header)
        extensions = _skip_to_voxels(stream, prefix, header)
        _check_sizes(file, stream, header)
        data, nonfinite = _read_voxels(stream, header)
        trailing = _read_to_end(stream)
    findings = (
        header.findings + geometry_findings + extensions + trailing + _nonfinite_finding(nonfinite, data)
    )
    return Volume(data, affine, Source(path.name, "nifti", sha256), findings)


@contextmanager
def _inflated(file: BinaryIO, name: str) -> Iterator[Stream]:
    """The stream of image bytes, whether or not the file is compressed: content decides.

    A name that promises gzip must keep it: else the transfer was broken.
    """
    magic = file.read(len(GZIP_MAGIC))
    file.seek(0)
    if magic != GZIP_MAGIC:
        if name.lower().endswith(".gz"):
            raise InputError(Code.GZIP, "The name ends in .gz, but the content is not gzip.")
        yield file
        return
    try:
        with gzip.GzipFile(fileobj=file) as stream:
            yield stream
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise InputError(Code.GZIP, f"The gzip stream is broken ({type(error).__name__}).") from error


def _skip_to_voxels(stream: Stream, prefix: bytes, header: NiftiHeader) -> tuple[Finding, ...]:
    """Move the stream to the first voxel and look at the extensions on the way."""
    if header.vox_offset < len(prefix):
        stream.seek(header.vox_offset)
        return check_extensions(prefix[header.header_bytes : header.vox_offset])
    block = prefix[header.header_bytes :] + stream.read(header.vox_offset - len(prefix))
    found = header.header_bytes + len(block)
    if found < header.vox_offset == header.header_bytes + EXTENDER_BYTES:
        raise _truncated(header.vox_offset + header.data_bytes, found)
    if found < header.vox_offset:
        raise InputError(
            Code.HEADER,
            f"The voxels are said to start at byte {header.vox_offset}; the file ends at {found}.",
        )
    return check_extensions(block)


def _check_sizes(file: BinaryIO, stream: Stream, header: NiftiHeader) -> None:
    """Refuse what is too short or inflates too far, before memory is taken for the voxels."""
    file_bytes = os.fstat(file.fileno()).st_size
    needed = header.vox_offset + header.data_bytes
    if stream is file:
        if file_bytes < needed:
            raise _truncated(needed, file_bytes)
        return
    allowed = max(LIMITS.gzip_free_bytes + header.vox_offset, LIMITS.inflate_ratio * file_bytes)
    if needed > allowed:
        # Such a file can only be a bomb or cut short: look which, without keeping what comes out.
        found = header.vox_offset + _drain(stream, allowed)
        if found > allowed:
            raise InputError(Code.BOMB, f"The stream inflates to over {LIMITS.inflate_ratio} times its size.")
        raise _truncated(needed, found)


def _read_voxels(stream: Stream, header: NiftiHeader) -> tuple[NDArray[np.float32], int]:
    """(voxels (I, J, K) as float32, how many were not finite and are now 0).

    Converted piece by piece, so that no second copy of the image is held.
    """
    data = np.empty(header.shape, dtype=np.float32, order="F")
    flat = data.reshape(-1, order="F")  # a view: NIfTI stores the first axis fastest
    nonfinite = 0
    for start in range(0, flat.size, CHUNK_VOXELS):
        wanted = min(CHUNK_VOXELS, flat.size - start) * header.dtype.itemsize
        raw = stream.read(wanted)
        if len(raw) < wanted:
            found = header.vox_offset + start * header.dtype.itemsize + len(raw)
            raise _truncated(header.vox_offset + header.data_bytes, found)
        values = _scaled(np.frombuffer(raw, header.dtype), header)
        bad = ~np.isfinite(values)
        values[bad] = 0
        nonfinite += int(np.count_nonzero(bad))
        flat[start : start + values.size] = values
    if nonfinite == flat.size:
        raise InputError(Code.NODATA, "No voxel holds a finite number.")
    return data, nonfinite


def _scaled(stored: ImageArray, header: NiftiHeader) -> NDArray[np.float32]:
    """Values as the header means them; float64 in between, because int32 does not fit float32."""
    with np.errstate(over="ignore", invalid="ignore"):  # what overflows becomes infinite and is counted
        if header.slope is None:
            return stored.astype(np.float32)
        return (stored.astype(np.float64) * header.slope + header.intercept).astype(np.float32)


def _read_to_end(stream: Stream) -> tuple[Finding, ...]:
    """Read what follows the voxels: gzip compares its checksum only at the end of the stream."""
    trailing = _drain(stream, LIMITS.gzip_trailing_bytes)
    if trailing > LIMITS.gzip_trailing_bytes and isinstance(stream, gzip.GzipFile):
        raise InputError(Code.BOMB, f"More than {LIMITS.gzip_trailing_bytes:,} bytes follow the last voxel.")
    return (Finding(WarningCode.HEADER, "Bytes after the last voxel were ignored."),) if trailing else ()


def _drain(stream: Stream, limit: int) -> int:
    """Read and forget until the end or just past `limit` bytes; returns how many were read."""
    total = 0
    while total <= limit and (chunk := stream.read(1 << 20)):
        total += len(chunk)
    return total


def _nonfinite_finding(nonfinite: int, data: ImageArray) -> tuple[Finding, ...]:
    if nonfinite == 0:
        return ()
    text = f"{nonfinite} of {data.size} voxels were not finite numbers and were set to 0."
    return (Finding(WarningCode.NONFINITE, text),)


def _truncated(needed: int, found: int) -> InputError:
    return InputError(Code.TRUNCATED, f"The image needs {needed:,} bytes; there are {found:,}.")
