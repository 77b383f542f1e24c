"""Writes the frames of a segmentation: one bit a voxel, and for each frame its segment, place and source.

A head has thousands of such frames. Their functional groups are put together from bytes, because a data set
for each takes twice as long; everything before them in the file comes from highdicom.
Frames: PS3.3 section C.7.6.16.2; encoding: PS3.5 sections 7.5 and 8.1.1.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.sr.coding import Code

from lnn_med.io.dicom_making import position, quiet
from lnn_med.volume import DicomOrigin, Volume

SEGMENTATION = Code("113076", "DCM", "Segmentation")
SOURCE_IMAGE = Code("121322", "DCM", "Source image for image processing operation")
_ITEM, _PER_FRAME, _PIXEL_DATA = (0xFFFE, 0xE000), (0x5200, 0x9230), (0x7FE0, 0x0010)

Frame = tuple[int, int]  # segment number, index of the slice


def frames_of(labels: Volume, numbers: Mapping[int, int]) -> list[Frame]:
    """The frames that hold something, by segment, then by slice; one blank frame a segment if none does.

    Args:
        labels: the label map, slices along the third array axis.
        numbers: label to segment number.
    """
    size = 1 + max(int(labels.data.max()), *numbers)
    present = np.array([np.bincount(plane.ravel(), minlength=size) > 0 for plane in _planes(labels)])
    frames = [
        (number, int(k))
        for label, number in sorted(numbers.items(), key=lambda pair: pair[1])
        for k in np.flatnonzero(present[:, label])
    ]
    return frames or [(number, 0) for number in sorted(numbers.values())]


def write_frames(
    header: Dataset,
    frames: Sequence[Frame],
    labels: Volume,
    numbers: Mapping[int, int],
    origin: DicomOrigin,
    path: Path,
) -> None:
    """Write a segmentation: `header` (all that comes before the frames in the file), groups and pixels."""
    for keyword in ("PerFrameFunctionalGroupsSequence", "PixelData"):
        del header[keyword]
    header.NumberOfFrames = len(frames)
    buffer = io.BytesIO()
    with quiet():
        header.save_as(buffer, enforce_file_format=True)
        groups = b"".join(_groups(frames, labels, origin))
    rows, columns = labels.shape[1], labels.shape[0]
    pixel_bytes = -(-len(frames) * rows * columns // 8)
    with path.open("wb") as file:
        file.write(buffer.getvalue())
        file.write(_header(_PER_FRAME, b"SQ", len(groups)) + groups)
        file.write(_header(_PIXEL_DATA, b"OB", pixel_bytes + pixel_bytes % 2))
        _write_bits(file, _masks(frames, labels, numbers))
        file.write(bytes(pixel_bytes % 2))


def source_groups(labels: Volume, k: int, origin: DicomOrigin, derivation: Code) -> Dataset:
    """Functional groups of a slice: the images that it comes from, and where it lies."""
    group = Dataset()
    derived = Dataset()
    derived.DerivationCodeSequence = [_code(derivation)]
    derived.SourceImageSequence = [
        _source_image(image.sop_class_uid, image.sop_instance_uid, number if image.frames > 1 else None)
        for image in origin.images
        for number, index in image.slices
        if index == k
    ]
    group.DerivationImageSequence = [derived]
    place = Dataset()
    place.ImagePositionPatient = position(labels, k)
    group.PlanePositionSequence = [place]
    return group


def _groups(frames: Sequence[Frame], labels: Volume, origin: DicomOrigin) -> Iterator[bytes]:
    """Items of the PerFrameFunctionalGroupsSequence; elements in the order of their tags."""
    used = sorted({k for _, k in frames})
    rank = {k: number for number, k in enumerate(used, start=1)}  # dimension indices have no gaps
    parts = {}
    for k in used:
        group = source_groups(labels, k, origin, SEGMENTATION)
        place = Dataset()
        place.PlanePositionSequence = group.PlanePositionSequence
        del group.PlanePositionSequence
        parts[k] = _encoded(group), _encoded(place)
    for number, k in frames:
        derivation, place_bytes = parts[k]
        index = struct.pack("<HH2sHLL", 0x0020, 0x9157, b"UL", 8, number, rank[k])
        segment = struct.pack("<HH2sHH", 0x0062, 0x000B, b"US", 2, number)
        content = _sequence((0x0020, 0x9111), index)
        yield _item(derivation + content + place_bytes + _sequence((0x0062, 0x000A), segment))


def _masks(
    frames: Sequence[Frame], labels: Volume, numbers: Mapping[int, int]
) -> Iterator[NDArray[np.bool_]]:
    planes = _planes(labels)
    label_of = {number: label for label, number in numbers.items()}
    for number, k in frames:
        yield (planes[k] == label_of[number]).ravel()


def _write_bits(file: BinaryIO, masks: Iterator[NDArray[np.bool_]]) -> None:
    """Frames follow each other bit by bit: one may begin in the middle of a byte."""
    rest = np.zeros(0, bool)
    for mask in masks:
        bits = np.concatenate([rest, mask]) if rest.size else mask
        whole = bits.size // 8 * 8
        file.write(np.packbits(bits[:whole], bitorder="little").tobytes())
        rest = bits[whole:]
    file.write(np.packbits(rest, bitorder="little").tobytes())


def _planes(labels: Volume) -> NDArray[np.integer]:
    """(slices, rows, columns) view of a label map."""
    return np.ascontiguousarray(labels.data.transpose(2, 1, 0))


def _source_image(sop_class: str, sop_instance: str, frame: int | None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_instance
    if frame is not None:
        item.ReferencedFrameNumber = frame
    item.SpatialLocationsPreserved = "YES"
    item.PurposeOfReferenceCodeSequence = [_code(SOURCE_IMAGE)]
    return item


def _code(code: Code) -> Dataset:
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = code[:3]
    return item


def _encoded(dataset: Dataset) -> bytes:
    stream = DicomBytesIO()
    stream.is_little_endian, stream.is_implicit_VR = True, False
    write_dataset(stream, dataset)
    return bytes(stream.getvalue())


def _header(tag: tuple[int, int], vr: bytes, length: int) -> bytes:
    return struct.pack("<HH2sHL", *tag, vr, 0, length)


def _item(content: bytes) -> bytes:
    return struct.pack("<HHL", *_ITEM, len(content)) + content


def _sequence(tag: tuple[int, int], content: bytes) -> bytes:
    """A sequence with one item."""
    return _header(tag, b"SQ", len(content) + 8) + _item(content)
