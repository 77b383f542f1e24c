"""Turns the stored pixels of a series into intensities, slice by slice into one block of float32."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lnn_med.errors import Code, InputError
from lnn_med.io.dicom_files import COMPRESSED, EXPLICIT_BE, PixelPlace
from lnn_med.io.dicom_frames import Frame, PixelFormat

DECODER = Path(__file__).with_name("dicom_decoder.py")
DECODER_MEMORY_BYTES = 4 << 30
DECODER_BASE_S = 60  # processor time
DECODER_FRAME_S = 0.5  # processor time for each frame more; JPEG 2000 of 512 x 512 takes 0.1 s
DECODER_WAIT = 3  # wall time is this many times the processor time, for machines with much else to do

StoredPixels = NDArray[Any]  # (frames, rows, columns), integers


@dataclass(frozen=True)
class ImageFile:
    """The pixels of one file, and where each of its slices goes."""

    place: PixelPlace
    pixels: PixelFormat
    slices: tuple[tuple[Frame, int], ...]  # frame, index of the slice in the block


def read_block(files: Sequence[ImageFile], shape: tuple[int, int, int]) -> tuple[NDArray[np.float32], bool]:
    """Intensities of a series as (columns, rows, slices), and whether stored bits had to be cut off.

    Photometric interpretation is for displays and leaves the values alone; so does dcm2niix.

    Raises:
        InputError: E_DECODE, E_CHANGED, or E_RESOURCE when decoding takes longer than it may.
    """
    columns, rows, count = shape
    block = np.empty((count, rows, columns), np.float32)  # in the order of the files
    padded = np.zeros(block.shape, bool) if any(file.pixels.padding for file in files) else None
    any_cut = False
    for file, raw in zip(files, _read_stored(files), strict=True):
        stored, cut = _meant_bits(raw, file.pixels)
        any_cut |= cut
        for frame, k in file.slices:
            tile = _tile(stored, frame)
            block[k] = (
                tile if (frame.slope, frame.intercept) == (1, 0) else tile * frame.slope + frame.intercept
            )
            if padded is not None and file.pixels.padding:
                low, high = file.pixels.padding
                padded[k] = (tile >= low) & (tile <= high)
    if padded is not None and padded.any() and not padded.all():
        _flatten_padding(block, padded)
    return block.transpose(2, 1, 0), any_cut


def _flatten_padding(block: NDArray[np.float32], padded: NDArray[np.bool_]) -> None:
    """Give padding the lowest value of the image, where its own would stretch the range of intensities."""
    image, padding = block[~padded], block[padded]
    low, high = image.min(), image.max()
    if padding.max() > high or padding.min() < min(0, low):
        block[padded] = low


def _meant_bits(raw: StoredPixels, pixels: PixelFormat) -> tuple[StoredPixels, bool]:
    """The BitsStored lowest bits with their sign; the others may hold an overlay (retired, PS3.3 C.9.2)."""
    spare = pixels.bits_allocated - pixels.bits_stored
    if not spare:
        return raw, False
    meant = np.right_shift(np.left_shift(raw.astype(pixels.dtype), spare), spare)
    return meant, bool((meant != raw).any())


def _tile(stored: StoredPixels, frame: Frame) -> NDArray[Any]:
    """(rows, columns) of one slice; in a mosaic a part of the picture."""
    (top, left), (rows, columns) = frame.corner, frame.shape
    return stored[frame.index, top : top + rows, left : left + columns]


def _read_stored(files: Sequence[ImageFile]) -> Iterator[StoredPixels]:
    compressed = [file for file in files if file.place.syntax in COMPRESSED]
    decoded = iter(_decode(compressed))
    for file in files:
        yield next(decoded) if file.place.syntax in COMPRESSED else _native(file.place, file.pixels)


def _native(place: PixelPlace, pixels: PixelFormat) -> StoredPixels:
    dtype = pixels.dtype.newbyteorder(">") if place.syntax == EXPLICIT_BE else pixels.dtype
    value = place.read()
    if len(value) < pixels.native_bytes:
        raise InputError(Code.CHANGED, "A file of the series became shorter while it was being read.")
    count = pixels.frames * pixels.rows * pixels.columns
    return np.frombuffer(value, dtype, count).reshape(pixels.frames, pixels.rows, pixels.columns)


def _decode(files: Sequence[ImageFile]) -> list[StoredPixels]:
    """Decode all compressed files of a series in one child process."""
    if not files:
        return []
    values = [file.place.read() for file in files]
    seconds = int(DECODER_BASE_S + DECODER_FRAME_S * sum(file.pixels.frames for file in files))
    job = {
        "limits": {"memory_bytes": DECODER_MEMORY_BYTES, "cpu_s": seconds},
        "files": [
            {"bytes": len(value), "syntax": file.place.syntax, "options": _options(file.pixels)}
            for value, file in zip(values, files, strict=True)
        ],
    }
    output = _run_decoder(json.dumps(job).encode() + b"\n" + b"".join(values), seconds, len(files))
    if len(output) != sum(file.pixels.native_bytes for file in files):
        raise InputError(Code.DECODE, "The pixel data does not have the size that the header declares.")
    arrays, start = [], 0
    for pixels in (file.pixels for file in files):
        shape = (pixels.frames, pixels.rows, pixels.columns)
        arrays.append(np.frombuffer(output, pixels.dtype, math.prod(shape), start).reshape(shape))
        start += pixels.native_bytes
    return arrays


def _run_decoder(job: bytes, seconds: int, files: int) -> bytes:
    # -P: the folder of the program, which holds our modules, stays off the path of the child
    command = [sys.executable, "-P", str(DECODER)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    wait_s = DECODER_WAIT * seconds
    try:
        done = subprocess.run(command, input=job, capture_output=True, timeout=wait_s, env=environment)
    except subprocess.TimeoutExpired:
        raise InputError(Code.RESOURCE, f"Decoding the pixel data took more than {wait_s} s.") from None
    if done.returncode:
        where = done.stderr.decode("ascii", "replace").strip()
        image = f"image {int(where) + 1} of {files}" if where.isdigit() else "an image"
        raise InputError(Code.DECODE, f"The pixel data of {image} cannot be decoded.")
    return done.stdout


def _options(pixels: PixelFormat) -> dict[str, Any]:
    """Keyword arguments of pydicom's decoders."""
    return {
        "rows": pixels.rows,
        "columns": pixels.columns,
        "number_of_frames": pixels.frames,
        "samples_per_pixel": 1,
        "bits_allocated": pixels.bits_allocated,
        "bits_stored": pixels.bits_stored,
        "pixel_representation": int(pixels.signed),
        "photometric_interpretation": "MONOCHROME1" if pixels.inverted else "MONOCHROME2",
        "pixel_keyword": "PixelData",
    }
