"""Choose the reader for a scan: NIfTI or DICOM, from a file, a folder or a zip."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lnn_med.errors import Code, Finding, InputError, WarningCode
from lnn_med.io.archive import unpack
from lnn_med.io.files import regular_files
from lnn_med.io.nifti import read_nifti
from lnn_med.io.nifti_header import NIFTI_ENDINGS
from lnn_med.io.sniff import Kind, sniff
from lnn_med.volume import Volume

THICK_MM = 3.0  # of thicker slices only a few cross the hippocampus


def read_scan(path: str | os.PathLike[str], series: str | None, lenient: bool) -> Volume:
    """See `lnn_med.io.read`, which is this function behind a lazy import."""
    path = Path(path)
    volume = _read_any(path, series, lenient)
    if volume.source is not None and volume.source.name != path.name:
        volume = replace(volume, source=replace(volume.source, name=path.name))
    return _with_findings(volume, _thickness_finding(volume))


def _read_any(path: Path, series: str | None, lenient: bool) -> Volume:
    if os.path.isdir(path):  # unlike Path.is_dir it never raises
        return _read_folder(path, series, lenient)
    kind = sniff(path)
    if kind is Kind.NIFTI:
        return read_nifti(path)
    if kind is Kind.ZIP:
        return _read_zip(path, series, lenient)
    if kind is Kind.DICOM or lenient:
        return _read_dicom(path, series, lenient)
    if kind is Kind.TAR:
        raise InputError(Code.ARCHIVE, "This is a tar; of the archives only zip is read.")
    raise InputError(Code.FORMAT, "The content is neither NIfTI nor DICOM.")


def _read_zip(path: Path, series: str | None, lenient: bool) -> Volume:
    with tempfile.TemporaryDirectory(prefix="lnn-med-") as folder:
        unpack(path, Path(folder))
        return _read_folder(Path(folder), series, lenient)


def _read_folder(folder: Path, series: str | None, lenient: bool) -> Volume:
    """A folder holds either exactly one NIfTI image or DICOM files; what else lies there is left alone."""
    files, findings = regular_files(folder)
    kinds = [_kind_or_other(path) for path in files]
    nifti = [path for path, kind in zip(files, kinds, strict=True) if kind is Kind.NIFTI]
    if not files:
        raise InputError(Code.FORMAT, "The folder holds no files that can be read.")
    if series is not None or not nifti:
        return _with_findings(_read_dicom(folder, series, lenient), findings)
    if len(nifti) > 1 or Kind.DICOM in kinds:
        dicom = kinds.count(Kind.DICOM)
        raise InputError(
            Code.MIXED,
            f"The folder holds {len(nifti)} NIfTI and {dicom} DICOM files; which is meant is unclear.",
        )
    return _with_findings(read_nifti(nifti[0]), findings)


def _kind_or_other(path: Path) -> Kind:
    try:
        return sniff(path)
    except InputError:  # empty or vanished: no reason to refuse the others
        return Kind.NIFTI if path.name.lower().endswith(NIFTI_ENDINGS) else Kind.OTHER


def _read_dicom(path: Path, series: str | None, lenient: bool) -> Volume:
    from lnn_med.io.dicom_series import read_series  # pydicom takes its time to import

    return read_series(path, series=series, lenient=lenient)


def _thickness_finding(volume: Volume) -> tuple[Finding, ...]:
    thickest = max(volume.spacing_mm)
    if thickest <= THICK_MM or any(finding.code is WarningCode.RESOLUTION for finding in volume.findings):
        return ()
    text = f"Slices are {thickest:.3g} mm apart; above {THICK_MM:g} mm small structures are measured badly."
    return (Finding(WarningCode.RESOLUTION, text),)


def _with_findings(volume: Volume, findings: Sequence[Finding]) -> Volume:
    """The volume with further findings, each once."""
    new = tuple(finding for finding in findings if finding not in volume.findings)
    return replace(volume, findings=volume.findings + new) if new else volume
