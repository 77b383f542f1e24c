"""Pictures and figures of the report show what their captions say."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from lnn_med.evaluation.report.figures import overview
from lnn_med.evaluation.report.pictures import _middle, worst_structure
from lnn_med.evaluation.report.sections.document import document
from lnn_med.evaluation.validation import read_study, record_of
from tests.evaluation.label_maps import NAMES, references, shifted, truth, write


def test_every_plane_of_a_picture_meets_the_structure_although_its_middle_is_empty() -> None:
    """A structure in two parts: between them there is nothing to see."""
    first = np.stack(np.meshgrid(range(3), range(4), range(5), indexing="ij"), axis=-1).reshape(-1, 3)
    places = np.concatenate([first, first + np.array((20, 0, 30))]).astype(float)
    centre, reach = _middle(places)
    assert (places == centre).all(axis=1).any()
    assert reach == np.abs(places - centre).max() > 20
    whole, half = _middle(np.array([[0.0, 0, 0], [1, 1, 1], [2, 2, 2]]))
    assert (whole == 1).all()
    assert half == 1


def test_the_caption_names_the_structure_that_is_outlined(tmp_path: Path) -> None:
    references(tmp_path / "ref")
    write(tmp_path / "pred", {name: shifted(truth(seed), 1 + seed) for seed, name in enumerate(NAMES)})
    study = read_study(tmp_path / "pred", tmp_path / "ref", None, {"A": 1, "B": 2}, None, lambda *_: None)
    record = record_of(study, "")
    blocks = document({**record, "sha256": ""})[6].blocks
    (pictures,) = [block for block in blocks if block["kind"] == "pictures"]
    assert set(pictures["captions"]) == set(pictures["names"]) == set(NAMES)
    for case in study.comparison.cases:
        assert f"{case.name}, {worst_structure(case)} (DSC 0." in pictures["captions"][case.name]


def test_the_figure_of_subgroups_draws_the_mean_of_all_cases(tmp_path: Path) -> None:
    references(tmp_path / "ref")
    (tmp_path / "ref" / "participants.csv").write_text("case,sex\na,F\nb,M\nc,F\nd,M\ne,M\n")
    write(tmp_path / "pred", {name: shifted(truth(seed)) for seed, name in enumerate(NAMES)})
    study = read_study(tmp_path / "pred", tmp_path / "ref", None, {"A": 1, "B": 2}, None, lambda *_: None)
    record = json.loads(json.dumps(record_of(study, "")))
    mean = record["segmentation"]["mean"]["all"]["dsc"]["estimate"]
    figure = overview.subgroups(record)
    assert figure is not None
    upright = [line for line in figure.axes[0].lines if line.get_label() == "all cases"]
    assert [list(line.get_xdata()) for line in upright] == [[pytest.approx(mean)] * 2]
