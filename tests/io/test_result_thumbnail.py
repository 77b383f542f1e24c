"""The picture: both hippocampi, the right way round, readable without colour."""

from __future__ import annotations

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from lnn_med import geometry
from lnn_med.io import thumbnail as module
from lnn_med.io.panel import PANEL, STYLES, VIEWS, panel_plane
from lnn_med.io.thumbnail import find_targets, thumbnail
from lnn_med.prediction import SEGMENTATION
from lnn_med.volume import Volume
from tests.predictions import make_crop_prediction, make_prediction


def picture(prediction) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(thumbnail(prediction))))


def outline(prediction, number: int) -> np.ndarray:
    """Pixels (row, column) of the axial panel of a target that a line has coloured."""
    target = find_targets(prediction)[number]
    plane = panel_plane(prediction.scan, target, VIEWS[0])
    black = Image.new("RGB", (PANEL, PANEL))
    return np.argwhere(np.asarray(module._outlined(black, target, plane)).any(axis=-1))


def coarse_only(prediction):
    return replace(prediction, maps={SEGMENTATION: prediction.maps[SEGMENTATION]})


def test_head_shows_right_then_left_with_fine_labels():
    right, left = find_targets(make_prediction())
    assert (right.title, left.title) == ("Right hippocampus", "Left hippocampus")
    assert right.indices == {3: "Anterior", 4: "Posterior"}
    assert right.centre_mm[0] > 15
    assert left.centre_mm[0] < -15


def test_coarse_labels_serve_where_there_are_no_fine_ones():
    right, left = find_targets(coarse_only(make_prediction()))
    assert right.indices == {2: ""}
    assert left.indices == {1: ""}


def test_a_side_that_is_missing_is_said_so():
    made = coarse_only(make_prediction())
    coarse = made.maps[SEGMENTATION]
    left = coarse.with_data(np.where(coarse.data == 2, 0, coarse.data).astype(np.uint8))
    (target,) = find_targets(replace(made, maps={SEGMENTATION: left}))
    assert target.title == "Left hippocampus (the other side was not found)"


def test_crop_is_shown_once():
    (target,) = find_targets(make_crop_prediction())
    assert target.title == "Hippocampus"
    assert list(target.indices.values()) == ["Anterior", "Posterior"]


@pytest.mark.parametrize("maps", ["empty label map", "no label map"])
def test_head_without_hippocampus_shows_its_middle(maps):
    made = make_prediction()
    empty = made.maps[SEGMENTATION].with_data(np.zeros(made.scan.shape, np.uint8))
    bare = replace(made, maps={SEGMENTATION: empty} if maps == "empty label map" else {})
    (target,) = find_targets(bare)
    assert "not found" in target.title
    np.testing.assert_allclose(target.centre_mm, geometry.centre_mm(made.scan.affine, made.scan.shape))
    assert picture(bare).shape[2] == 3


@pytest.mark.parametrize("codes", ["RAS", "LPS", "SAR", "PIL", "IRP"])
def test_picture_does_not_depend_on_the_order_of_the_array(codes):
    """The same head stored along other axes: the same planes, the same picture."""
    import nibabel

    made = make_prediction()

    def turned(volume: Volume) -> Volume:
        image = nibabel.Nifti1Image(volume.data, volume.affine)
        transform = nibabel.orientations.ornt_transform(
            geometry.orientation_of(volume.affine), geometry.orientation_from_codes(codes)
        )
        image = image.as_reoriented(transform)
        return Volume(np.asarray(image.dataobj), image.affine)

    stored = replace(
        made, scan=turned(made.scan), maps={name: turned(volume) for name, volume in made.maps.items()}
    )
    assert turned(made.scan).orientation == codes
    difference = np.abs(picture(made).astype(int) - picture(stored).astype(int))
    assert (difference > 8).mean() < 0.001


def test_letters_name_the_sides_that_are_there():
    """A mark moved by some mm along a patient axis moves to the border with that axis' letter."""
    steps = {
        "R": (1, 0, 0),
        "L": (-1, 0, 0),
        "A": (0, 1, 0),
        "P": (0, -1, 0),
        "S": (0, 0, 1),
        "I": (0, 0, -1),
    }
    borders = np.array(((0, -1), (0, 1), (-1, 0), (1, 0)))  # (row, column): left, right, top, bottom
    made = make_prediction()
    target = find_targets(made)[0]
    for view in VIEWS:
        plane = panel_plane(made.scan, target, view)
        for letter, border in zip(view.letters, borders, strict=True):
            mark_mm = target.centre_mm + 20 * np.array(steps[letter])
            mark = geometry.mm_to_voxel(made.scan.affine, mark_mm).reshape(3, 1, 1)
            nearest = np.unravel_index(((plane - mark) ** 2).sum(axis=0).argmin(), (PANEL, PANEL))
            assert (np.array(nearest) - PANEL // 2) @ border > PANEL // 10, (view.name, letter)


def test_mirrored_head_gives_a_mirrored_outline():
    made = coarse_only(make_prediction())
    flip = np.diag((-1.0, 1, 1, 1))
    coarse = made.maps[SEGMENTATION]
    swapped = np.array([0, 2, 1, 3], np.uint8)[coarse.data]
    mirrored = replace(
        made,
        scan=Volume(made.scan.data, flip @ made.scan.affine),
        maps={SEGMENTATION: Volume(swapped, flip @ coarse.affine)},
    )
    right, left = outline(made, 0), outline(mirrored, 1)
    np.testing.assert_array_equal(sorted(map(tuple, right)), sorted((r, PANEL - 1 - c) for r, c in left))
    assert len(right) != len(outline(made, 1))


def test_outline_has_the_size_of_the_structure():
    """The left ellipsoid measures 18 x 32 mm axially; the line follows it."""
    made = make_prediction()
    marks = outline(made, 1)
    extent_mm = (marks.max(axis=0) - marks.min(axis=0)) * find_targets(made)[1].field_mm / PANEL
    np.testing.assert_allclose(extent_mm, (32, 18), atol=3)


def test_lines_differ_without_colour():
    greys = [np.dot(colour, (0.299, 0.587, 0.114)) for colour, _ in STYLES[:2]]
    assert abs(greys[0] - greys[1]) > 40
    assert STYLES[0][1] != STYLES[1][1]


def test_constant_scan_can_be_drawn():
    made = make_prediction()
    assert picture(replace(made, scan=made.scan.with_data(np.zeros(made.scan.shape, np.float32)))).size
