"""Predictions on made-up DICOM series, and readers of what was written that share no code with the writer."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from numpy.typing import NDArray
from pydicom.dataset import Dataset

from lnn_med.io.dicom_making import Making
from lnn_med.io.dicom_outputs import making
from lnn_med.io.dicom_series import read_series
from lnn_med.io.result_record import result_record
from lnn_med.prediction import DEPTH, HIPPOCAMPUS, SEGMENTATION, UNCERTAINTY, Prediction, Quality
from lnn_med.volume import Volume
from tests.dicom_factory import save_all, slices
from tests.phantoms import BRAIN, MARKER, phantom
from tests.predictions import make_prediction

VALIDATOR_WAIT_S = 60
SHAPE, SPACING_MM = (13, 11, 7), (3.5, 4.1, 6.7)  # coarse: seven files; 143 pixels do not fill whole bytes
NAMES = {1: "Hippocampus_L", 2: "Hippocampus_R", 3: "4thVentricle"}  # the third is nowhere
FINE = {1: "Hippocampus_L_Anterior", 2: "Hippocampus_L_Posterior", 3: "Hippocampus_R_Anterior"}


def tiny_phantom() -> Volume:
    """The tilted phantom with its marker on the left, in a few hundred voxels."""
    return phantom(SHAPE, SPACING_MM)


def read_slices(volume: Volume, folder: Path, **attributes: Any) -> Volume:
    """The volume as it comes back from single-frame files."""
    return read_series(save_all(slices(volume, **attributes), folder))


def labelled(values: NDArray[Any]) -> NDArray[np.uint8]:
    """1 the marker, 2 the brain; the phantom's slope keeps brain and head apart by more than a step."""
    marker = values == MARKER
    return (marker + 2 * (~marker & (values > 0.9 * BRAIN))).astype(np.uint8)


def predicted(scan: Volume, status: str = "pass", names: Mapping[int, str] = NAMES) -> Prediction:
    """A prediction on a scan that was read from DICOM: coarse and fine labels, depth, uncertainty."""
    assert scan.source is not None
    coarse = labelled(scan.data)
    fine = np.where(coarse == 1, 1 + (np.indices(scan.shape)[1] % 2), 0).astype(np.uint8)
    made = make_prediction(status)
    structures = tuple(
        replace(structure, name=name, side="L" if "_L" in name else "R" if "_R" in name else None)
        for structure, name in zip(made.structures, (*names.values(), *FINE.values()), strict=False)
    )
    return replace(
        made,
        scan=scan,
        source=scan.source,
        maps={
            SEGMENTATION: scan.with_data(coarse),
            HIPPOCAMPUS: scan.with_data(fine),
            DEPTH: scan.with_data(coarse * 3),
            UNCERTAINTY: scan.with_data((scan.data / 4096).astype(np.float32)),
        },
        label_names={SEGMENTATION: dict(names), HIPPOCAMPUS: FINE},
        structures=structures,
        quality=Quality(status, () if status == "pass" else ("The field of view is cut.",)),
        findings=scan.findings,
    )


def shared(prediction: Prediction, **options: Any) -> Making:
    """What the DICOM files of a prediction share."""
    return making(prediction, result_record(prediction), **options)


def check(path: Path) -> None:
    """Fail on an error of dciodvfy; skip the test where it is not installed."""
    program = shutil.which("dciodvfy")
    if program is None:
        pytest.skip("dciodvfy (dicom3tools) is not installed")
    done = subprocess.run([program, str(path)], capture_output=True, text=True, timeout=VALIDATOR_WAIT_S)
    said = done.stdout + done.stderr
    errors = [line for line in said.splitlines() if line.startswith("Error")]
    assert not errors, f"{path.name}: {errors}"
    assert done.returncode == 0, f"{path.name}: {said[-400:]}"


def frames(path: Path) -> Iterator[tuple[str, Dataset, NDArray[np.float64], NDArray[np.bool_]]]:
    """Label of the segment, functional groups, affine and pixels of each frame of a segmentation.

    The affine maps (column, row) of the frame to RAS mm, by PS3.3 equation C.7.6.2.1-1; pixels are
    (rows, columns), unpacked bit by bit.
    """
    file = pydicom.dcmread(path)
    labels = {item.SegmentNumber: item.SegmentLabel for item in file.SegmentSequence}
    common = file.SharedFunctionalGroupsSequence[0]
    row, column = np.array(common.PlaneOrientationSequence[0].ImageOrientationPatient, float).reshape(2, 3)
    between_rows, between_columns = map(float, common.PixelMeasuresSequence[0].PixelSpacing)
    count = file.Rows * file.Columns
    bits = np.unpackbits(np.frombuffer(file.PixelData, np.uint8), bitorder="little").astype(bool)
    for number, group in enumerate(file.PerFrameFunctionalGroupsSequence):
        corner = np.array(group.PlanePositionSequence[0].ImagePositionPatient, float)
        affine = np.stack([row * between_columns, column * between_rows, corner], axis=1)
        segment = group.SegmentIdentificationSequence[0].ReferencedSegmentNumber
        pixels = bits[number * count : (number + 1) * count].reshape(file.Rows, file.Columns)
        yield labels[segment], group, np.diag([-1.0, -1.0, 1.0]) @ affine, pixels


def points_mm(path: Path) -> dict[str, NDArray[np.float64]]:
    """World positions (RAS mm) of the voxels of each segment."""
    found: dict[str, list[NDArray[np.float64]]] = {}
    for label, _, affine, pixels in frames(path):
        rows, columns = np.nonzero(pixels)
        at = np.stack([columns, rows, np.ones_like(rows)]).T @ affine.T
        found.setdefault(label, []).append(at)
    return {label: np.concatenate(parts) for label, parts in found.items()}


def on_grid(path: Path, scan: Volume) -> dict[str, NDArray[np.bool_]]:
    """Each segment as a mask on the grid of the scan; every voxel has to lie on a voxel of it."""
    masks = {}
    for label, at in points_mm(path).items():
        indices = (at - scan.affine[:3, 3]) @ np.linalg.inv(scan.affine[:3, :3]).T
        assert np.abs(indices - np.rint(indices)).max(initial=0) < 1e-3
        masks[label] = np.zeros(scan.shape, bool)
        masks[label][tuple(np.rint(indices).astype(int).T)] = True
    return masks


def content(item: Dataset) -> Iterator[Dataset]:
    """All content items of a structured report."""
    for child in item.get("ContentSequence", ()):
        yield child
        yield from content(child)


def sorted_rows(points: NDArray[np.float64]) -> NDArray[np.float64]:
    """Points in an order of their own, so that sets can be compared."""
    rounded = np.round(points, 3) + 0.0
    return rounded[np.lexsort(rounded.T)]
