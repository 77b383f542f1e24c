"""Errors and warnings that a user meets: one code, what was found, what to do."""

from __future__ import annotations

import errno
import importlib
import traceback
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from types import ModuleType


class Code(str, Enum):
    """Reasons for refusing an input; `remedy` says what the user can do."""

    EMPTY = "E_EMPTY"
    TRUNCATED = "E_TRUNCATED"
    SIZE = "E_SIZE"
    LENGTH = "E_LENGTH"
    NESTING = "E_NESTING"
    POLYGLOT = "E_POLYGLOT"
    NOTDICOM = "E_NOTDICOM"
    VR = "E_VR"
    PIXELFMT = "E_PIXELFMT"
    GEOMETRY = "E_GEOMETRY"
    BOMB = "E_BOMB"
    DECODE = "E_DECODE"
    SYNTAX = "E_SYNTAX"
    GAP = "E_GAP"
    MIXED = "E_MIXED"
    PATH = "E_PATH"
    UID_CONFLICT = "E_UID_CONFLICT"
    UID = "E_UID"
    HEADER = "E_HEADER"
    GZIP = "E_GZIP"
    NODATA = "E_NODATA"
    SHAPE = "E_SHAPE"
    DTYPE = "E_DTYPE"
    UNITS = "E_UNITS"
    FOV = "E_FOV"
    ARCHIVE = "E_ARCHIVE"
    CHANGED = "E_CHANGED"
    STORAGE = "E_STORAGE"
    MODEL = "E_MODEL"
    RESOURCE = "E_RESOURCE"
    SERIES = "E_SERIES"
    NOTFOUND = "E_NOTFOUND"
    FORMAT = "E_FORMAT"
    HASH = "E_HASH"
    NETWORK = "E_NETWORK"
    TERMS = "E_TERMS"
    CONFIG = "E_CONFIG"
    DEPENDENCY = "E_DEPENDENCY"
    INTERNAL = "E_INTERNAL"

    @property
    def remedy(self) -> str:
        """One sentence on what to do next."""
        return _REMEDIES[self]


class WarningCode(str, Enum):
    """Findings that do not stop the work but belong in the result."""

    CHARSET = "W_CHARSET"
    NONCONFORMANT = "W_NONCONFORMANT"
    MODALITY = "W_MODALITY"
    LOSSY = "W_LOSSY"
    PHI_PIXELS = "W_PHI_PIXELS"
    OOD = "W_OOD"
    SCALING = "W_SCALING"
    NONFINITE = "W_NONFINITE"
    HEADER = "W_HEADER"
    UNITS = "W_UNITS"
    AFFINE_CONFLICT = "W_AFFINE_CONFLICT"
    RESOLUTION = "W_RESOLUTION"
    FILETYPE = "W_FILETYPE"
    SIDE_UNKNOWN = "W_SIDE_UNKNOWN"
    FOV = "W_FOV"
    TEMPLATE = "W_TEMPLATE"


_REMEDIES = {
    Code.EMPTY: "Export or copy the file again; it holds no bytes.",
    Code.TRUNCATED: "Copy or export the file again; its end is missing.",
    Code.SIZE: "Check the header; the declared size is beyond the limits in the documentation.",
    Code.LENGTH: "Export the file again; an element declares a length that cannot be right.",
    Code.NESTING: "Export the file without deeply nested sequences (limit 32).",
    Code.POLYGLOT: "Do not open the file; its preamble is that of a program. Ask its sender.",
    Code.NOTDICOM: "Give a DICOM file; for files without preamble use --lenient.",
    Code.VR: "Export the file again; a value is not of the type that DICOM asks for.",
    Code.PIXELFMT: "Export with 8 or 16 bits a pixel, one sample a pixel.",
    Code.GEOMETRY: "Correct the spacing or orientation in the header, or export the series again.",
    Code.BOMB: "Unpack the file yourself and check it; it inflates beyond the limits.",
    Code.DECODE: "Export the series uncompressed; its pixel data cannot be decoded.",
    Code.SYNTAX: "Export the series with a standard transfer syntax, such as Explicit VR Little Endian.",
    Code.GAP: "Export the series again with all its slices.",
    Code.MIXED: "Give one series of one patient, or name it with --series UID.",
    Code.PATH: "Correct the DICOMDIR; it points outside its own folder.",
    Code.UID: "Ask the sender; a UID is malformed or not the one that was asked for.",
    Code.UID_CONFLICT: "Remove the wrong copy; two different images carry the same SOPInstanceUID.",
    Code.HEADER: "Write the NIfTI file again with a current tool; its header contradicts itself.",
    Code.GZIP: "Compress the file again; its gzip stream is broken or not gzip.",
    Code.NODATA: "Check the export; the image holds no usable intensities.",
    Code.SHAPE: "Give one 3D image; pick one volume of a series of volumes first.",
    Code.DTYPE: "Give a grey image with real numbers, not colour or complex values.",
    Code.UNITS: "Write the file again with millimetres as its spatial unit.",
    Code.FOV: "Use a scan that covers the whole structure.",
    Code.ARCHIVE: "Pack the files again as a plain zip without links, passwords or outside paths.",
    Code.CHANGED: "Wait until the file is completely written, then run again.",
    Code.STORAGE: "Free space or choose a writable output folder, then run again.",
    Code.MODEL: "Install the bundle again; its files do not match their hashes or description.",
    Code.RESOURCE: "Run with fewer workers or on a machine with more memory.",
    Code.SERIES: "Choose the series with --series UID; the table shows what was found.",
    Code.NOTFOUND: "Check the path.",
    Code.FORMAT: "Give a NIfTI file, a DICOM file, or a folder or zip of DICOM files.",
    Code.HASH: "Fetch the file again; if it differs again, ask its publisher, for it is not the known one.",
    Code.NETWORK: "Check the connection and run the same command again; it goes on where it stopped.",
    Code.TERMS: "Accept the publisher's terms on the page that is named and download the files there.",
    Code.CONFIG: "Correct the configuration value that is named.",
    Code.DEPENDENCY: "Install the extra that is named.",
    Code.INTERNAL: "Report this defect of the program with what is named; the input may be fine.",
}


class LnnMedError(Exception):
    """Base of the errors that this package raises on purpose."""


class InputError(LnnMedError, ValueError):
    """An input that is refused, with its code; the message never holds patient data."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(f"{code.value}: {message} {code.remedy}")
        self.code = code
        self.detail = message


class ConfigError(LnnMedError, ValueError):
    """A configuration or option that cannot be used."""

    code = Code.CONFIG


@dataclass(frozen=True)
class Finding:
    """A warning that goes into the result: code and one sentence, free of patient data."""

    code: WarningCode
    message: str


def described(error: BaseException) -> tuple[Code, str]:
    """Code and message of any failure of a task, for ledgers and users.

    What foreign errors say is left out, for it may quote a patient's name.
    """
    if isinstance(error, InputError):
        return error.code, error.detail
    out_of_memory = isinstance(error, RuntimeError) and "memory" in str(error)  # torch, on any device
    if out_of_memory or isinstance(error, MemoryError):
        return Code.RESOURCE, "The memory is full."
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES):
        return Code.STORAGE, f"The result cannot be written ({error.strerror})."
    if isinstance(error, LnnMedError):
        return Code.CONFIG, str(error)
    where = traceback.extract_tb(error.__traceback__)[-1]
    return Code.INTERNAL, f"{type(error).__name__} in {Path(where.filename).name}, line {where.lineno}."


def require(module: str, extra: str) -> ModuleType:
    """Import an optional dependency or say which extra brings it."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        message = f"{module} is not installed. Install it with: pip install 'lnn-med[{extra}]'"
        raise LnnMedError(f"{Code.DEPENDENCY.value}: {message}") from error
