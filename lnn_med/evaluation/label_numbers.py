"""A predicted label map on the reference's voxels, its integers as running numbers of the structures."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import numpy as np
from nibabel.orientations import apply_orientation, inv_ornt_aff, ornt_transform

from lnn_med import geometry
from lnn_med.errors import Code, InputError
from lnn_med.evaluation.labels import MAX_LABEL, Indices, check_same_grid
from lnn_med.evaluation.matching import LabelTable
from lnn_med.evaluation.predicted import LabelFile
from lnn_med.volume import Volume


def on_grid(predicted: Volume, truth: Volume) -> Indices:
    """The predicted labels in the reference's axis order; nothing is resampled.

    Raises:
        InputError: E_GEOMETRY when the voxels are not the same ones.
    """
    if predicted.orientation != truth.orientation:
        change = ornt_transform(
            geometry.orientation_of(predicted.affine), geometry.orientation_of(truth.affine)
        )
        data = np.ascontiguousarray(apply_orientation(predicted.data, change))
        affine = predicted.affine @ inv_ornt_aff(change, predicted.shape)
        predicted = replace(predicted, data=data, affine=affine)
    if predicted.shape != truth.shape:
        raise InputError(
            Code.GEOMETRY,
            f"The prediction has shape {predicted.shape}, the reference {truth.shape}; they must be equal.",
        )
    check_same_grid(truth, predicted)
    return np.asarray(predicted.data, dtype=np.int32)


def names_of(label_file: LabelFile, table: LabelTable) -> dict[int, str]:
    """Integer to structure of one map, only for structures that are compared."""
    if label_file.mask_of:
        return {1: label_file.mask_of} if label_file.mask_of in table.reference else {}
    if table.predicted is not None:
        return {integer: name for name, integer in table.predicted.items()}
    return {integer: name for integer, name in label_file.names.items() if name in table.reference}


def index_of(name: str, table: LabelTable) -> int:
    """Running number of a structure, from 1."""
    return table.structures.index(name) + 1


def indexed(data: Indices, names: Mapping[int, str], table: LabelTable) -> Indices:
    """Integers of a map as running numbers of the structures; all others become background."""
    numbers = np.zeros(MAX_LABEL + 1, dtype=np.int32)
    for integer, name in names.items():
        if integer <= MAX_LABEL:
            numbers[integer] = index_of(name, table)
    return numbers[data]
