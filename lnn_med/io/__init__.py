"""Files in and out. `read` takes a NIfTI file, a DICOM file, a folder or a zip and gives a `Volume`."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lnn_med.volume import Volume

__all__ = ["read"]


def read(path: str | os.PathLike[str], series: str | None = None, lenient: bool = False) -> Volume:
    """Read one scan: a NIfTI file, a DICOM file, or a folder or zip that holds one of the two.

    `series` is the SeriesInstanceUID to take from DICOM; `lenient` also takes DICOM files without preamble.
    Content decides what a file is, not its name alone. The hash in the volume's source covers the files
    that were read, so that a scan has the same hash loose and in a zip.

    Raises:
        InputError: with the code that says what is wrong; the message holds no names of files or patients.

    Example:
        >>> volume = read("head.nii.gz")  # doctest: +SKIP
    """
    # Imported here: `import lnn_med.io` must not pay for readers that nobody calls.
    from lnn_med.io.scan import read_scan

    return read_scan(path, series, lenient)
