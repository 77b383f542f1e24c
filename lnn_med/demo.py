"""The whole main job on the MNI152 template, as NIfTI and as DICOM: both must give the same volumes."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from lnn_med.io import read
from lnn_med.io.dicom_writer import write_t1_series
from lnn_med.io.mni_template import mni152_template
from lnn_med.io.nifti import write_nifti
from lnn_med.io.result_files import check_out, storage_errors, write_prediction
from lnn_med.prediction import Prediction
from lnn_med.volume import Volume

TOLERANCE = 0.001  # relative; both inputs hold the same integers, only headers round differently
INPUTS = "input"
NIFTI_INPUT = "mni152_t1.nii.gz"
DICOM_INPUT = "mni152_t1_dicom"


@dataclass(frozen=True)
class Difference:
    """One structure measured from both files, mm³; `relative` is |difference| over the larger."""

    bundle: str
    name: str
    nifti_mm3: float | None
    dicom_mm3: float | None

    @property
    def relative(self) -> float:
        """0 when equal; infinite when a volume is missing, because then nothing was compared."""
        if self.nifti_mm3 is None or self.dicom_mm3 is None:
            return float("inf")
        larger = max(abs(self.nifti_mm3), abs(self.dicom_mm3))
        return abs(self.nifti_mm3 - self.dicom_mm3) / larger if larger else 0.0

    @property
    def agrees(self) -> bool:
        """Whether both volumes are there and within TOLERANCE."""
        return self.relative <= TOLERANCE


@dataclass(frozen=True)
class DemoResult:
    """Both predictions, what was compared, and the files written (paths below the demo's folder)."""

    nifti: Prediction
    dicom: Prediction
    differences: tuple[Difference, ...]
    files: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether something was compared and all of it agrees."""
        return bool(self.differences) and all(difference.agrees for difference in self.differences)


def run_demo(
    out: Path,
    predict: Callable[[Volume], Prediction],
    template: Callable[[], Volume] = mni152_template,
    report: Callable[[str], None] = lambda step: None,
) -> DemoResult:
    """Write the template in both formats, predict from both files, write and compare the results.

    Args:
        out: Folder for `input/`, `nifti/` and `dicom/`.
        predict: Measures a scan.
        template: Makes the scan.
        report: Told what is being done, in words.

    Raises:
        InputError: E_STORAGE, when a folder cannot be written.
    """
    for name in ("nifti", "dicom"):
        check_out(out / name)
    report("Writing the MNI152 template as NIfTI and as a DICOM series")
    inputs = write_inputs(template(), out / INPUTS)
    predictions, files = {}, [f"{INPUTS}/{path.name}" for path in inputs.values()]
    for name, path in inputs.items():
        report(f"Measuring the {name.upper()} input")
        predictions[name] = predict(read(path))
        files += [f"{name}/{file}" for file in write_prediction(predictions[name], out / name)]
    nifti, dicom = predictions["nifti"], predictions["dicom"]
    return DemoResult(nifti, dicom, compare(nifti, dicom), tuple(files))


def write_inputs(volume: Volume, folder: Path) -> dict[str, Path]:
    """Write `volume` as one NIfTI file and as one DICOM series; an earlier demo's inputs are replaced."""
    paths = {"nifti": folder / NIFTI_INPUT, "dicom": folder / DICOM_INPUT}
    with storage_errors():
        folder.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(paths["dicom"], ignore_errors=True)
        write_nifti(volume, paths["nifti"])
        write_t1_series(volume, paths["dicom"])
    return paths


def compare(nifti: Prediction, dicom: Prediction) -> tuple[Difference, ...]:
    """The volumes of both predictions by bundle and structure; one that only one of them has is None."""
    one = {(entry.bundle, entry.name): entry.volume_mm3 for entry in nifti.structures}
    other = {(entry.bundle, entry.name): entry.volume_mm3 for entry in dicom.structures}
    keys = dict.fromkeys([*one, *other])
    return tuple(Difference(*key, one.get(key), other.get(key)) for key in keys)
