"""Reads one DICOM series as a `Volume`, and lists the series of a folder."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from lnn_med.errors import Finding, WarningCode
from lnn_med.io.dicom_facts import Facts
from lnn_med.io.dicom_folder import PathLike, Series, open_folder
from lnn_med.io.dicom_origin import read_origin
from lnn_med.io.dicom_person import SEX, common_person
from lnn_med.io.dicom_pick import SeriesInfo, format_table, pick_named, pick_t1, series_table
from lnn_med.io.dicom_pixels import ImageFile, read_block
from lnn_med.io.files import unchanged
from lnn_med.volume import Source, Volume

_BITS_CUT = "Stored pixels have more bits than BitsStored; the spare ones were cut off."
_INVERTED = "MONOCHROME1: displays show low values bright; the values are given as they are stored."
_DISORDER = "Elements of the header are out of order or of an unexpected type."
_NAMELESS = "UIDs of the study or of its images are missing or malformed: no DICOM results can refer to them."

__all__ = ["SeriesInfo", "format_table", "list_series", "read_series"]


def read_series(
    path: PathLike | Sequence[PathLike], series: str | None = None, lenient: bool = False
) -> Volume:
    """Read a series as float32 intensities, indices (column, row, slice).

    `path` is a folder (with all below it), a list of files, or a multi-frame file. Of several series the one
    is taken that is clearly the T1 head scan by the rules of `dicom_choice`, or the one named by its UID.

    Raises:
        InputError: E_SERIES when the choice is not clear, else the code that says what is wrong.
    """
    folder = open_folder(path, lenient)
    chosen, findings = pick_named(folder, series) if series else pick_t1(folder)
    name = Path(path).name if isinstance(path, (str, os.PathLike)) else "files"
    return _load(chosen, name, folder.findings + findings)


def list_series(path: PathLike | Sequence[PathLike], lenient: bool = False) -> list[SeriesInfo]:
    """All series of a folder, of a list of files or of a file, in the order of their UIDs."""
    return series_table(open_folder(path, lenient))


def _load(series: Series, name: str, findings: tuple[Finding, ...]) -> Volume:
    block, facts = series.stack, series.facts
    assert block is not None
    assert facts is not None
    files = _image_files(series)
    with unchanged([file.place.path for file in files]) as sha256:
        data, bits_cut = read_block(files, block.shape)
        origin = read_origin(series)
    source = Source(
        name=name,
        kind="dicom",
        sha256=sha256,
        series_uid=series.uid,
        tags=_tags(facts, series),
        patient=_patient(series),
        dicom=origin,
    )
    return Volume(data, block.affine, source, findings + _series_findings(series, bits_cut, origin is None))


def _image_files(series: Series) -> list[ImageFile]:
    """The files in the order of their first slice, each with the places of its slices."""
    assert series.stack is not None
    placed = series.placed
    files: dict[int, tuple[Any, list[tuple[Any, int]]]] = {}
    for k, index in enumerate(series.stack.order):
        instance, frame = placed[index]
        files.setdefault(id(instance), (instance, []))[1].append((frame, k))
    return [ImageFile(instance.place, instance.pixels, tuple(slices)) for instance, slices in files.values()]


def _tags(facts: Facts, series: Series) -> dict[str, Any]:
    return {**dict(facts.tags), "PhotometricInterpretation": f"MONOCHROME{1 if _is_inverted(series) else 2}"}


def _is_inverted(series: Series) -> bool:
    return any(instance.pixels is not None and instance.pixels.inverted for instance in series.instances)


def _patient(series: Series) -> dict[str, Any]:
    person = common_person(one.facts.person for one in series.instances if one.facts)
    patient = {"PatientAge": person.age_years, "PatientAgeFrom": person.age_from, SEX: person.sex}
    return {keyword: value for keyword, value in patient.items() if value not in (None, "")}


def _series_findings(series: Series, bits_cut: bool, nameless: bool) -> tuple[Finding, ...]:
    every = [instance.facts for instance in series.instances if instance.facts]
    scaling = [_BITS_CUT] * bits_cut + [_INVERTED] * _is_inverted(series)
    disorder = any(instance.nonconformant for instance in series.instances)
    oddities = [_DISORDER] * disorder + [_NAMELESS] * nameless
    found = {
        WarningCode.CHARSET: (any(one.unknown_charset for one in every), "SpecificCharacterSet is unknown."),
        WarningCode.LOSSY: (any(one.lossy for one in every), "The images were compressed with loss."),
        WarningCode.PHI_PIXELS: (any(one.burned_in for one in every), "BurnedInAnnotation is YES."),
        WarningCode.NONCONFORMANT: (bool(oddities), " ".join(oddities)),
        WarningCode.SCALING: (bool(scaling), " ".join(scaling)),
    }
    return tuple(Finding(code, text) for code, (present, text) in found.items() if present)
