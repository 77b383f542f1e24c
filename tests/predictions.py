"""Predictions made by hand on a tilted, anisotropic head phantom, unequal on every axis."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from lnn_med.errors import Finding, WarningCode
from lnn_med.prediction import (
    DEPTH,
    HIPPOCAMPUS,
    SEGMENTATION,
    UNCERTAINTY,
    Attention,
    Compute,
    ModelUsed,
    Prediction,
    Quality,
    Structure,
)
from lnn_med.volume import Source, Volume

CANARY = "ZZCANARY^JOHN"
CANARY_ID = "99887766"
SEG_NAMES = {1: "Hippocampus_L", 2: "Hippocampus_R", 3: "3rdVentricle"}
FINE_NAMES = {
    1: "Hippocampus_L_Anterior",
    2: "Hippocampus_L_Posterior",
    3: "Hippocampus_R_Anterior",
    4: "Hippocampus_R_Posterior",
}


def tilted_affine(spacing_mm: tuple[float, float, float] = (1.5, 2.0, 2.5)) -> np.ndarray:
    """Array axes that run to the left, back and up, turned by 8 degrees around z."""
    angle = np.deg2rad(8)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    affine = np.eye(4)
    affine[:3, :3] = turn @ np.diag((-1, -1, 1)) @ np.diag(spacing_mm)
    affine[:3, 3] = (52, 44, -38)
    return affine


def head_maps() -> tuple[Volume, Volume, Volume]:
    """Scan, coarse and fine label map; the left hippocampus is larger than the right one."""
    affine = tilted_affine()
    i, j, k = np.indices((70, 50, 34))
    points = np.stack([i, j, k], axis=-1) @ affine[:3, :3].T + affine[:3, 3]
    x, y, z = np.moveaxis(points, -1, 0)
    left = ((x + 24) / 9) ** 2 + ((y + 18) / 16) ** 2 + ((z + 6) / 8) ** 2 < 1
    right = ((x - 24) / 7) ** 2 + ((y + 18) / 13) ** 2 + ((z + 6) / 7) ** 2 < 1
    middle = (np.abs(x) < 3) & (np.abs(y) < 10) & (np.abs(z) < 8)
    rng = np.random.default_rng(0)
    image = (100 + 200 * left + 150 * right - 60 * middle + rng.normal(0, 5, i.shape)).astype(np.float32)
    coarse = (left * 1 + right * 2 + middle * 3).astype(np.uint8)
    fine = (left * (1 + (y < -18)) + right * (3 + (y < -18))).astype(np.uint8)
    return Volume(image, affine), Volume(coarse, affine), Volume(fine, affine)


def make_prediction(status: str = "pass", findings: tuple[Finding, ...] = ()) -> Prediction:
    """A head with both label maps; its source carries canary patient data."""
    scan, coarse, fine = head_maps()
    source = Source(
        name="head.nii.gz",
        kind="dicom",
        sha256="0123456789abcdef" * 4,
        series_uid="1.2.826.0.1.3680043.8.498.1",
        tags={"Modality": "MR", "SeriesDescription": f"{CANARY} ../../x"},
        patient={"PatientName": CANARY, "PatientID": CANARY_ID, "PatientAge": "071Y"},
    )
    voxel = scan.voxel_mm3
    structures = tuple(
        _structure(name, int((volume.data == index).sum()) * voxel, bundle)
        for volume, names, bundle in ((coarse, SEG_NAMES, "brain-t1"), (fine, FINE_NAMES, "hippocampus-t1"))
        for index, name in names.items()
    )
    depth = coarse.with_data((coarse.data > 0).astype(np.uint8) * 6 + 2)
    return Prediction(
        scan=replace(scan, source=source),
        source=source,
        models=(
            ModelUsed("brain-t1", "1.0.0", "ab12cd34" * 8),
            ModelUsed("hippocampus-t1", "1.0.0", "ef567890" * 8),
        ),
        maps={
            SEGMENTATION: coarse,
            HIPPOCAMPUS: fine,
            DEPTH: depth,
            UNCERTAINTY: scan.with_data(np.full(scan.shape, 0.25, np.float32)),
        },
        label_names={SEGMENTATION: SEG_NAMES, HIPPOCAMPUS: FINE_NAMES},
        structures=structures,
        derived={
            "icv_mm3": 1_412_345.678,
            "hippocampus_asymmetry_pct": 38.24999,
            "intracranial_fraction": None,
        },
        quality=Quality(status, () if status == "pass" else ("Field of view is cut.",)),
        compute=Compute(
            seconds=1.23456,
            gflops=40.0,
            gflops_full=120.0,
            depth_histogram={8: 0.25, 2: 0.75},
            attention=(Attention("trunk", 4096, "block"),),
        ),
        software={"torch": "2.13.0", "lnn-med": "0.1.0"},
        classification=(
            {"target": "dementia", "probability": 0.123456, "prediction_set": ("no",), "coverage": 0.9},
        ),
        findings=findings or (Finding(WarningCode.RESOLUTION, "Slices are 2.5 mm thick."),),
    )


def make_crop_prediction() -> Prediction:
    """A lone crop: fine labels without a side, no second label map, no calibration."""
    _, _, fine = head_maps()
    part = fine.data[45:70, 15:45, 2:25]
    affine = fine.affine.copy()
    affine[:3, 3] = fine.affine[:3, :3] @ (45, 15, 2) + fine.affine[:3, 3]
    labels = Volume(np.where(part <= 2, part, 0).astype(np.uint8), affine)
    names = {1: "Hippocampus_Anterior", 2: "Hippocampus_Posterior"}
    scan = Volume(part.astype(np.float32) * 100, affine)
    made = make_prediction()
    return replace(
        made,
        scan=scan,
        maps={SEGMENTATION: labels, DEPTH: labels, UNCERTAINTY: scan},
        label_names={SEGMENTATION: names},
        structures=tuple(
            Structure(name, None, "hippocampus-t1", 1200.0, None, None, 4.0) for name in names.values()
        ),
        derived={},
        classification=(),
    )


def threshold_prediction(volume: Volume, clinical: object = None) -> Prediction:
    """A real, simple predictor: "Hippocampus_L" is what is brighter than 3/4 of the maximum."""
    labels = volume.with_data((volume.data > 0.75 * volume.data.max()).astype(np.uint8))
    volume_mm3 = int(labels.data.sum()) * volume.voxel_mm3
    made = make_prediction()
    assert volume.source is not None
    return replace(
        made,
        scan=volume,
        source=volume.source,
        maps={SEGMENTATION: labels, DEPTH: labels, UNCERTAINTY: volume},
        label_names={SEGMENTATION: {1: "Hippocampus_L"}},
        structures=(_structure("Hippocampus_L", volume_mm3, "brain-t1"),),
        findings=volume.findings,
    )


def _structure(name: str, volume_mm3: float, bundle: str) -> Structure:
    parts = name.split("_")
    side = parts[1] if len(parts) > 1 else None
    interval = (volume_mm3 * 0.9, volume_mm3 * 1.1)
    return Structure(name, side, bundle, volume_mm3, interval, 0.9, 7.987)
