"""The files of one prediction, written into a folder whole or not at all."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

from lnn_med.errors import Code, InputError, WarningCode
from lnn_med.io import dicom_outputs
from lnn_med.io.nifti import write_nifti
from lnn_med.io.provenance import PROVENANCE, Execution, output_hashes, provenance_record
from lnn_med.io.result_record import VOLUME_COLUMNS, result_record, volume_rows
from lnn_med.io.tabular import write_csv, write_json
from lnn_med.io.thumbnail import thumbnail
from lnn_med.prediction import DEPTH, EVIDENCE, HIPPOCAMPUS, SEGMENTATION, UNCERTAINTY, Prediction

LABEL_MAPS = (SEGMENTATION, HIPPOCAMPUS)
MAPS = (*LABEL_MAPS, DEPTH, UNCERTAINTY, EVIDENCE)
LABELS = "labels.json"
VOLUMES = "volumes.csv"
RESULT = "result.json"
THUMBNAIL = "thumbnail.png"
PDF = "report.pdf"
# Those of DICOM are written for DICOM input only; a stale one must not outlive its scan.
OWNED = (
    *MAPS,
    *(LABELS, VOLUMES, RESULT, THUMBNAIL, PDF, *dicom_outputs.OWNED, *dicom_outputs.OPTIONAL, PROVENANCE),
)


@dataclass(frozen=True)
class Extras:
    """Files that are written only when they are asked for."""

    dicom_maps: bool = False  # depth and uncertainty as DICOM: four bytes a voxel
    pdf: bool = False  # the volumetry page; for DICOM input also as a DICOM document
    facts: Mapping[str, Any] = field(default_factory=dict)  # for the page, see write_page


def write_prediction(
    prediction: Prediction,
    out: Path,
    execution: Execution | None = None,
    when: datetime | None = None,
    extras: Extras | None = None,
) -> list[str]:
    """Write every file of `prediction` into the folder `out`, whole or not at all.

    In a folder that exists, files of an earlier prediction are replaced and all others stay.
    The same arguments give the same bytes.

    Args:
        prediction: what to write; made from DICOM, it gets DICOM files, too.
        out: the folder.
        execution: when, where and how the networks ran, for provenance.json.
        when: date and time that DICOM files carry; None takes those of the study.
        extras: files that are written only when they are asked for.

    Returns:
        The names of the files, as they now lie in `out`.

    Raises:
        InputError: E_STORAGE, when `out` cannot be written; nothing has changed then.
        LnnMedError: a page is asked for and typst is not installed.
    """
    check_out(out)
    with storage_errors():
        missing = _missing_folders(out)
        try:
            place = out if out.is_dir() else _made(out.parent)
            with _staging(place) as staging:
                new = _made(staging / "new")
                names = _write_files(prediction, new, execution, when, extras or Extras())
                _settle(new, out, staging)
        except BaseException:
            _drop_empty(missing)
            raise
    return names


def check_out(out: Path) -> None:
    """Refuse an output folder that cannot take results, before any work is done.

    Raises:
        InputError: E_STORAGE, when `out` is a file, is not writable or holds folders under our names.
    """
    if out.is_dir():
        taken = [name for name in OWNED if (out / name).is_dir()]
        if taken:
            raise InputError(Code.STORAGE, f"{taken[0]} in the output folder is a folder; a file goes there.")
    elif out.exists() or out.is_symlink():
        raise InputError(Code.STORAGE, "The output path is a file; a folder is needed.")
    nearest = next(folder for folder in (out, *out.absolute().parents) if folder.exists())
    if not nearest.is_dir():
        raise InputError(Code.STORAGE, "The output path leads through a file; a folder is needed.")
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise InputError(Code.STORAGE, "The output folder is not writable.")


@contextmanager
def storage_errors() -> Iterator[None]:
    """Turn errors of the file system (full, read-only, quota) into E_STORAGE."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(Code.STORAGE, f"The results cannot be written: {reason}.") from error


def _write_files(
    prediction: Prediction,
    folder: Path,
    execution: Execution | None,
    when: datetime | None,
    extras: Extras,
) -> list[str]:
    record = result_record(prediction)
    with ThreadPoolExecutor(2) as pool:  # zlib lets other threads run: the maps are packed beside the rest
        packing = [
            pool.submit(_write_map, prediction, name, folder) for name in MAPS if name in prediction.maps
        ]
        png = _write_records(prediction, record, folder)
        for each in packing:
            each.result()
    pdf = _write_pdf(folder, extras)
    if dicom_outputs.has_origin(prediction):
        making = dicom_outputs.making(prediction, record, when)
        dicom_outputs.write_outputs(making, folder, png)
        if extras.dicom_maps:
            dicom_outputs.write_maps(making, folder)
        if pdf is not None:
            dicom_outputs.write_pdf(making, pdf, folder)
    hashes = output_hashes(folder, [name for name in OWNED if (folder / name).exists()])
    write_json(folder / PROVENANCE, provenance_record(prediction, hashes, execution))
    names = [name for name in OWNED if (folder / name).exists()]
    for name in names:
        _flush(folder / name)
    return names


def _write_map(prediction: Prediction, name: str, folder: Path) -> None:
    write_nifti(prediction.maps[name], folder / name, intent="label" if name in LABEL_MAPS else "")


def _write_records(prediction: Prediction, record: Mapping[str, Any], folder: Path) -> bytes | None:
    """Tables, records and the picture, which is given back."""
    write_json(folder / LABELS, _labels(prediction))
    write_csv(folder / VOLUMES, volume_rows(record), VOLUME_COLUMNS)
    write_json(folder / RESULT, record)
    # Text burned into the scan may name the patient, and a picture would carry it on.
    if any(found.code is WarningCode.PHI_PIXELS for found in prediction.findings):
        return None
    png = thumbnail(prediction)
    (folder / THUMBNAIL).write_bytes(png)
    return png


def _write_pdf(folder: Path, extras: Extras) -> bytes | None:
    """The volumetry page of what lies in the folder, if it is asked for."""
    if not extras.pdf:
        return None
    from lnn_med.io.volumetry_pdf import write_page  # it reads the files that are written here

    write_page(folder, extras.facts, folder / PDF)
    return (folder / PDF).read_bytes()


def _labels(prediction: Prediction) -> dict[str, dict[str, str]]:
    return {
        file: {str(index): name for index, name in sorted(table.items())}
        for file, table in prediction.label_names.items()
        if file in prediction.maps
    }


@contextmanager
def _staging(place: Path) -> Iterator[Path]:
    """A temporary folder inside `place`, so that files are moved within one file system."""
    staging = Path(tempfile.mkdtemp(prefix=".lnn-med-", dir=place))
    try:
        yield staging
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _settle(new: Path, out: Path, staging: Path) -> None:
    """Move the finished files to `out`: one rename, or file by file with a way back."""
    _flush(new)
    if out.is_dir():
        _replace_files(new, out, _made(staging / "old"))
    else:
        os.rename(new, out)
        _flush(out.parent)
    _flush(out)


def _replace_files(new: Path, out: Path, old: Path) -> None:
    moves = [(out / name, old / name) for name in OWNED if (out / name).exists()]
    moves += [(new / name, out / name) for name in OWNED if (new / name).exists()]
    try:
        for origin, target in moves:
            os.rename(origin, target)
    except BaseException:
        for origin, target in reversed(moves):
            if target.exists() and not origin.exists():
                os.rename(target, origin)
        raise


def _missing_folders(out: Path) -> list[Path]:
    return [folder for folder in out.absolute().parents if not folder.exists()]


def _drop_empty(folders: list[Path]) -> None:
    for folder in folders:
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def _made(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def _flush(path: Path) -> None:
    """Have the file system write a file or folder to the disk (folders only where it can)."""
    if path.is_dir() and os.name == "nt":
        return
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
