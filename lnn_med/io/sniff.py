"""What a file is, judged by its first bytes; the name only helps where the bytes say nothing."""

from __future__ import annotations

import zlib
from enum import Enum
from pathlib import Path

from lnn_med.io.archive import looks_like_zip
from lnn_med.io.files import open_regular
from lnn_med.io.nifti import GZIP_MAGIC
from lnn_med.io.nifti_header import NIFTI_ENDINGS, looks_like_nifti

SNIFF_BYTES = 4096
DICOM_ENDINGS = (".dcm", ".dicom", ".ima", ".dic")
DICOM_MAGIC_AT, DICOM_MAGIC = 128, b"DICM"
TAR_MAGIC_AT, TAR_MAGIC = 257, b"ustar"
_FIRST_DICOM_GROUPS = (b"\x02\x00", b"\x08\x00")  # of files without preamble, little endian


class Kind(Enum):
    """What to try to read a file as."""

    NIFTI = "nifti"
    DICOM = "dicom"
    ZIP = "zip"
    TAR = "tar"
    OTHER = "other"


def sniff(path: Path) -> Kind:
    """Decide what a file is.

    Raises:
        InputError: E_NOTFOUND, E_FORMAT, E_EMPTY or E_SIZE where it cannot be opened.
    """
    with open_regular(path) as file:
        prefix = file.read(SNIFF_BYTES)
    return kind_of(prefix, path.name)


def kind_of(prefix: bytes, name: str) -> Kind:
    """Decide by the first SNIFF_BYTES of a file and by its name."""
    name = name.lower()
    if name.endswith(NIFTI_ENDINGS):
        return Kind.NIFTI  # whatever else is in it: the reader says what is wrong
    if looks_like_zip(prefix):
        return Kind.ZIP
    if prefix.startswith(GZIP_MAGIC):
        prefix = _inflated(prefix)
    if prefix.startswith(DICOM_MAGIC, DICOM_MAGIC_AT):
        return Kind.DICOM
    if looks_like_nifti(prefix):
        return Kind.NIFTI
    if prefix.startswith(TAR_MAGIC, TAR_MAGIC_AT):
        return Kind.TAR
    if name.endswith(DICOM_ENDINGS) or prefix.startswith(_FIRST_DICOM_GROUPS):
        return Kind.DICOM
    return Kind.OTHER


def _inflated(prefix: bytes) -> bytes:
    """The beginning of what a gzip stream holds, empty where it is broken."""
    try:
        return zlib.decompressobj(wbits=31).decompress(prefix, SNIFF_BYTES)
    except zlib.error:
        return b""
