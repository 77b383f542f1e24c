"""What a worker process does for the viewer: look into an upload, measure a scan, open a finished case."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from lnn_med.errors import Code, InputError, described
from lnn_med.io.sniff import Kind, sniff
from lnn_med.prediction import Prediction
from lnn_med.volume import Volume

Predict = Callable[..., Prediction]
Report = Callable[[str], None]

READING, MEASURING = "Reading the scan", "Measuring"
WRITING, DRAWING = "Writing the results", "Preparing the images"
ENDINGS = {Kind.NIFTI: ".nii", Kind.ZIP: ".zip", Kind.DICOM: ".dcm"}


@dataclass(frozen=True)
class Inspect:
    """Look into an upload: which series there are, which would be read, age and sex."""

    folder: str  # of uploaded files, under names of our own

    def run(self, predict: Predict | None, report: Report) -> dict[str, Any]:
        """`scan`: the path to measure; `series`: rows of the table; `facts` where the header tells them."""
        report(READING)
        scan = _scan_path(Path(self.folder))
        if scan.is_file() and sniff(scan) is Kind.NIFTI:
            return {"scan": str(scan), "series": [_nifti_row(scan)], "facts": {}}
        return _dicom_answer(scan)


@dataclass(frozen=True)
class Measure:
    """Measure one scan and prepare its images."""

    scan: str
    out: str
    view: str
    series: str | None
    clinical: Mapping[str, float | str]

    def run(self, predict: Predict | None, report: Report) -> dict[str, Any]:
        """Facts of the scan: age, sex, acquisition."""
        from app.images import write_images
        from lnn_med.io import read
        from lnn_med.io.result_files import write_prediction

        assert predict is not None
        report(READING)
        volume = read(self.scan, series=self.series)
        report(MEASURING)
        prediction = predict(volume, self.clinical)
        report(WRITING)
        write_prediction(prediction, Path(self.out))
        report(DRAWING)
        write_images(prediction.scan, Path(self.out), Path(self.view))
        facts = _facts(volume) | dict(self.clinical)
        _write_page(self.out, self.view, facts)
        return facts


@dataclass(frozen=True)
class Open:
    """Prepare the images of a case that a run of `score` has finished."""

    scan: str
    files: tuple[str, ...]
    series: str | None
    out: str
    view: str

    def run(self, predict: Predict | None, report: Report) -> dict[str, Any]:
        """Facts of the scan; the run itself is not touched."""
        from app.images import write_images
        from lnn_med.io import read
        from lnn_med.io.result_files import RESULT

        report(READING)
        if self.files and self.series:
            from lnn_med.io.dicom_series import read_series

            volume = read_series(list(self.files), self.series)
        else:
            volume = read(self.scan)
        record = json.loads((Path(self.out) / RESULT).read_bytes())
        if volume.source is None or volume.source.sha256 != record["input"]["sha256"]:
            raise InputError(Code.CHANGED, "The scan is no longer the one that was measured.")
        report(DRAWING)
        write_images(volume, Path(self.out), Path(self.view))
        facts = _facts(volume)
        _write_page(self.out, self.view, facts)
        return facts


@dataclass(frozen=True)
class SelfTest:
    """Measure the built-in case, the MNI152 template, on the way that every upload takes."""

    folder: str
    out: str
    view: str

    def run(self, predict: Predict | None, report: Report) -> dict[str, Any]:
        """As `Measure`."""
        from lnn_med.demo import NIFTI_INPUT
        from lnn_med.io.mni_template import mni152_template
        from lnn_med.io.nifti import write_nifti

        report("Writing the built-in scan")
        scan = Path(self.folder) / NIFTI_INPUT
        write_nifti(mni152_template(), scan)
        return Measure(str(scan), self.out, self.view, None, {}).run(predict, report)


def prepare() -> None:
    """Import what tasks need, so that the first one does not wait for it."""
    import app.images  # noqa: F401
    import lnn_med.io.dicom_folder
    import lnn_med.io.result_files
    import lnn_med.io.scan  # noqa: F401


def describe(error: BaseException) -> dict[str, str]:
    """Code, what was found and what to do; words of foreign errors stay out, they may quote a patient."""
    code, message = described(error)
    return {"code": code.value, "message": message, "remedy": code.remedy}


def _scan_path(folder: Path) -> Path:
    """What to read: the only file, with the ending that its content calls for, or the folder."""
    files = sorted(folder.iterdir())
    if len(files) != 1:
        return folder
    kind = sniff(files[0])
    ending = ENDINGS.get(kind, "")
    if kind is Kind.NIFTI and files[0].read_bytes()[:2] == b"\x1f\x8b":
        ending = ".nii.gz"
    target = folder / f"scan{ending}"
    files[0].rename(target)
    return target


def _nifti_row(scan: Path) -> dict[str, Any]:
    from lnn_med.io import read

    volume = read(scan)
    return {
        "series_uid": None,
        "description": "NIfTI image",
        "images": 1,
        "shape": volume.shape,
        "spacing_mm": volume.spacing_mm,
        "orientation": volume.orientation,
        "usable": True,
        "chosen": True,
        "reason": "the only image",
        "age": None,
        "sex": None,
    }


def _dicom_answer(scan: Path) -> dict[str, Any]:
    from lnn_med.io.dicom_folder import open_folder
    from lnn_med.io.dicom_pick import series_table

    if scan.is_file() and sniff(scan) is Kind.ZIP:
        scan = _unpacked(scan)
        images = [path for path in scan.rglob("*") if path.is_file() and sniff(path) is Kind.NIFTI]
        if len(images) == 1:
            return {"scan": str(scan), "series": [_nifti_row(scan)], "facts": {}}
    elif scan.is_file() and sniff(scan) is not Kind.DICOM:
        raise InputError(Code.FORMAT, "The content is neither NIfTI nor DICOM.")
    folder = open_folder(scan)
    people = {one.uid: one.facts for one in folder.series}
    rows = []
    for row in series_table(folder):
        facts = people.get(row.series_uid)
        age, sex = (facts.person.age_years, facts.person.sex or None) if facts else (None, None)
        rows.append(asdict(row) | {"age": age, "sex": sex})
    return {"scan": str(scan), "series": rows, "facts": {}}


def _unpacked(archive: Path) -> Path:
    from lnn_med.io.archive import unpack

    folder = archive.parent.parent / "unpacked"
    unpack(archive, folder)
    archive.unlink()
    return folder


def _write_page(out: str, view: str, facts: Mapping[str, Any]) -> None:
    """The page as PDF beside the images, where typst is installed."""
    if can_write_pages():
        from lnn_med.io.volumetry_pdf import PAGE, write_page

        write_page(Path(out), facts, Path(view).parent / PAGE)


def can_write_pages() -> bool:
    """Whether typst, which makes the PDF, is installed."""
    return find_spec("typst") is not None


def _facts(volume: Volume) -> dict[str, Any]:
    source = volume.source
    if source is None:
        return {}
    patient = {"age": source.patient.get("PatientAge"), "sex": source.patient.get("PatientSex")}
    known = {name: value for name, value in patient.items() if value is not None}
    return {**known, "kind": source.kind, "tags": dict(source.tags)}
