"""The image that everything else passes around, and the words for it.

*Voxel index* (i, j, k): array position, voxel centres are at integers.
*World*: patient space in RAS (x to the right, y to the front, z up), millimetres.
*Affine*: 4x4 matrix that maps a voxel index to world.
*Spacing*: length of one index step along each array axis, mm; axis order of the array.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lnn_med import geometry
from lnn_med.errors import Finding

Affine = NDArray[np.float64]  # (4, 4), voxel index -> RAS mm
ImageArray = NDArray[Any]  # (I, J, K)


@dataclass(frozen=True)
class SourceImage:
    """One file of a DICOM series, by what it calls itself and by its bytes.

    `slices` pairs the number of a frame, counted from 1, with an index along the third array axis; in a file
    with one frame the number is 1, and a mosaic has it once for each of its tiles.
    """

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax: str
    sha256: str
    frames: int
    slices: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class DicomOrigin:
    """What DICOM files made from a series need in order to join its study.

    `header` is a pydicom data set with the patient's and the study's attributes. It names the patient: only
    DICOM outputs may look into it.
    """

    study_uid: str
    series_uid: str
    frame_of_reference_uid: str
    images: tuple[SourceImage, ...]
    header: Any = field(repr=False, compare=False)


@dataclass(frozen=True)
class Source:
    """Where a volume came from; free of patient data except the fields marked so.

    `name` is the file or folder name as given, `sha256` the hash over the bytes of all files read.
    `tags` holds acquisition facts by DICOM keyword (Modality, Manufacturer, MagneticFieldStrength, ...).
    `patient` holds values that only the result page may show, never logs: PatientAge (years) with
    PatientAgeFrom (the elements that tell it), PatientSex.
    `dicom` is there for a DICOM series whose UIDs can be referenced; it names the patient, too.
    """

    name: str
    kind: str  # "nifti" or "dicom"
    sha256: str
    series_uid: str | None = None
    tags: Mapping[str, Any] = field(default_factory=dict)
    patient: Mapping[str, Any] = field(default_factory=dict)
    dicom: DicomOrigin | None = None


@dataclass(frozen=True)
class Volume:
    """A 3D image with its place in the world.

    `data` has shape (I, J, K); `affine` maps its indices to RAS mm.
    """

    data: ImageArray
    affine: Affine
    source: Source | None = None
    findings: tuple[Finding, ...] = ()

    def __post_init__(self) -> None:
        if self.data.ndim != 3:
            raise ValueError(f"Volume needs a 3D array, got shape {self.data.shape}.")
        geometry.check_affine(self.affine)

    @property
    def shape(self) -> tuple[int, int, int]:
        """Number of voxels along each array axis."""
        i, j, k = self.data.shape
        return i, j, k

    @property
    def spacing_mm(self) -> tuple[float, float, float]:
        """Voxel spacing along each array axis, mm."""
        return geometry.spacing_mm(self.affine)

    @property
    def voxel_mm3(self) -> float:
        """Volume of one voxel, mm³."""
        return float(abs(np.linalg.det(self.affine[:3, :3])))

    @property
    def orientation(self) -> str:
        """Nearest axis codes, for example "RAS" or "LPS": the direction in which each index grows."""
        return geometry.axis_codes(self.affine)

    def with_data(self, data: ImageArray) -> Volume:
        """The same place with other values of the same shape."""
        if data.shape != self.data.shape:
            raise ValueError(f"Data of shape {data.shape} does not fit the volume's {self.data.shape}.")
        return replace(self, data=data)
