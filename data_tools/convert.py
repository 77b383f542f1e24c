"""Converts a scan to NIfTI, and shows which DICOM series a folder holds."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lnn_med.errors import Code, ConfigError, InputError
from lnn_med.io import read
from lnn_med.io.archive import unpack
from lnn_med.io.dicom_series import SeriesInfo, format_table, list_series
from lnn_med.io.files import regular_files
from lnn_med.io.nifti_write import write_nifti
from lnn_med.io.sniff import Kind, sniff
from lnn_med.volume import Volume

NIFTI_NAMES = (".nii.gz", ".nii")


def convert(scan: Path, out: Path, series: str | None = None) -> Volume:
    """Write a scan as NIfTI; `out` is there whole or not at all.

    Conversion does not judge what a series shows: of several that can be volumes, one must be named.

    Raises:
        ConfigError: `out` is not named .nii or .nii.gz.
        InputError: E_SERIES with the table when several series fit, else what is wrong with the scan.
    """
    scan, out = Path(scan), Path(out)
    if not out.name.lower().endswith(NIFTI_NAMES):
        raise ConfigError(f"The output is called *{out.suffix}; convert writes .nii or .nii.gz.")
    with _loose(scan) as place:
        if series is None and _holds_dicom(place):
            series = _only_series(list_series(place))
        volume = read(place, series=series)
    out.parent.mkdir(parents=True, exist_ok=True)
    write_nifti(volume, out)
    return volume


def series_table(folder: Path) -> list[dict[str, Any]]:
    """The DICOM series of a folder, zip or file as rows for a screen or JSON.

    Raises:
        InputError: when there is no DICOM image.
    """
    with _loose(Path(folder)) as place:
        return [_row(info) for info in list_series(place)]


def _row(info: SeriesInfo) -> dict[str, Any]:
    return {
        "series_uid": info.series_uid,
        "modality": info.modality,
        "description": info.description,
        "images": info.images,
        "shape": "x".join(str(count) for count in info.shape or ()),
        "spacing_mm": "x".join(f"{step:.4g}" for step in info.spacing_mm or ()),
        "orientation": info.orientation,
        "usable": info.usable,
        "chosen": info.chosen,
        "reason": info.reason,
    }


def _only_series(rows: list[SeriesInfo]) -> str | None:
    """The UID of the only series that can be a volume; None when there is none, and `read` says why."""
    fitting = [row for row in rows if row.usable]
    if len(fitting) > 1:
        raise InputError(Code.SERIES, f"{len(fitting)} series fit and none is named.\n{format_table(rows)}\n")
    return fitting[0].series_uid if fitting else None


def _holds_dicom(place: Path) -> bool:
    if not os.path.isdir(place):
        return sniff(place) is Kind.DICOM
    files, _ = regular_files(place)
    return not any(_kind(path) is Kind.NIFTI for path in files)


def _kind(path: Path) -> Kind:
    try:
        return sniff(path)
    except InputError:
        return Kind.OTHER


@contextmanager
def _loose(scan: Path) -> Iterator[Path]:
    """The scan itself, or the folder that a zip was unpacked into for the time being."""
    if os.path.isdir(scan) or sniff(scan) is not Kind.ZIP:
        yield scan
        return
    with tempfile.TemporaryDirectory(prefix="lnn-data-") as folder:
        unpack(scan, Path(folder))
        yield Path(folder)
