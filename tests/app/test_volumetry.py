"""The rows of the page, the points to look at, outliers and the stored answer: numbers that people read."""

from __future__ import annotations

import base64
import json
import re
from pathlib import Path

import numpy as np
import pytest

from app.parts import volumes
from lnn_med.evaluation.outliers import histogram, outliers
from lnn_med.io.landmarks import point_inside, point_of_maximum, points_of_labels
from lnn_med.io.result_record import result_record
from lnn_med.io.volumetry import asymmetry_words, first_rows, in_words, rows_of, saved_pct
from lnn_med.io.volumetry_pdf import page_content
from lnn_med.scoring import stored_answer
from tests.io.test_percentile_plot import record as with_reference
from tests.predictions import make_prediction

RECORD = result_record(make_prediction())


def test_left_right_and_total_stand_in_their_columns() -> None:
    row = next(row for row in rows_of(RECORD) if (row.name, row.bundle) == ("Hippocampus", "brain-t1"))
    by_name = {one["name"]: one for one in RECORD["structures"]}
    left, right = by_name["Hippocampus_L"]["volume_mm3"], by_name["Hippocampus_R"]["volume_mm3"]
    assert row.left is not None
    assert row.right is not None
    assert left > right
    assert (row.left.volume_mm3, row.right.volume_mm3) == (left, right)
    assert row.total.volume_mm3 == pytest.approx(left + right)
    assert row.total.interval_mm3 is None
    assert row.left.icv_pct == pytest.approx(100 * left / 1_412_345.7)


def test_each_side_has_its_percentile_and_the_total_that_of_both_in_one_bundle_only() -> None:
    record = json.loads(json.dumps(RECORD)) | with_reference()
    for one in record["structures"]:
        if one["name"] in ("Hippocampus_L", "Hippocampus_R"):
            one["percentile"] = {"L": 45.9, "R": 0.4}[one["side"]]
    record["derived"] |= {"hippocampus_fine_left_mm3": 10.0, "hippocampus_fine_right_mm3": 9.0}
    found = {
        (row.bundle, row.name): [cell and cell.percentile for cell in (row.left, row.right, row.total)]
        for row in rows_of(record)
    }
    assert found.pop(("brain-t1", "Hippocampus")) == [45.9, 0.4, 12.4]
    assert ("hippocampus-t1", "Hippocampus") in found  # measured by another protocol
    assert not any(value for values in found.values() for value in values)
    (top, *others) = re.findall(r"<tr>(.*?)</tr>", volumes.first_table(record).split("<tbody>")[1])
    assert re.findall(r"percentile ([^<]*)", top) == ["46", "&lt;1", "12"]
    assert "percentile" not in "".join(others)
    page = page_content(record, {}, picture=False)
    assert [cell.split("\n")[-1] for cell in page["first"][0][2:]] == [
        "percentile 46",
        "percentile <1",
        "percentile 12",
    ]
    assert "percentile" not in str(page["first"][1:]) + str(page["all"])
    record["structures"][0]["percentile"] = None  # edited, or nobody of this age: no total either
    assert rows_of(record)[0].total.percentile is None


def test_parts_follow_their_hippocampus_and_protocols_are_not_merged() -> None:
    names = [(row.bundle, row.name) for row in first_rows(rows_of(RECORD))]
    assert names == [
        ("brain-t1", "Hippocampus"),
        ("hippocampus-t1", "Hippocampus_Anterior"),
        ("hippocampus-t1", "Hippocampus_Posterior"),
    ]


def test_a_fail_shows_no_number() -> None:
    record = result_record(make_prediction("fail"))
    for row in rows_of(record):
        for cell in (row.left, row.right, row.total):
            assert cell is None or (cell.volume_mm3, cell.interval_mm3, cell.icv_pct) == (None, None, None)
    for table in (volumes.first_table, volumes.every_table, volumes.measures_table):
        cells = re.findall(r"<td[^>]*>(.*?)</td>", table(record))
        assert not [cell for cell in cells if re.search(r"\d", cell) and "-t1" not in cell]


def test_the_plot_of_reference_people_is_a_picture_that_says_what_it_shows() -> None:
    record = with_reference(name='IXI <people> & "others"')
    shown = volumes.reference_plot(record)
    found = re.match(r'<img class="plot" alt="([^"]*)" src="data:image/svg\+xml;base64,([^"]*)">', shown)
    assert found is not None
    assert "percentiles of 98 people: IXI &lt;people&gt;" in shown[found.end() :]
    assert "IXI &lt;people&gt; &amp; &quot;others&quot;: Hippocampus, Lateral ventricle" in found[1]
    assert base64.b64decode(found[2]).startswith(b"<svg")
    assert volumes.reference_plot(RECORD | {"reference": None}) == ""
    assert "Hippocampus, percentile" in volumes.other_facts(RECORD | record)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("Hippocampus_L_Anterior", "Hippocampus anterior"),
        ("3rdVentricle", "3rd ventricle"),
        ("InfLatVentricle_R", "Inf lat ventricle"),
        ("Frontal_GM_L", "Frontal GM"),
        ("CSF", "CSF"),
    ],
)
def test_names_in_words(name: str, words: str) -> None:
    assert in_words(name) == words


def test_the_sign_of_the_asymmetry_in_words() -> None:
    assert asymmetry_words(4.0) == "the left one is larger"
    assert asymmetry_words(-4.0) == "the right one is larger"
    assert asymmetry_words(0.0) == "left and right are equal"
    assert asymmetry_words(None) == "no value"


def test_work_saved() -> None:
    assert saved_pct(RECORD) == pytest.approx(100 * (1 - 40 / 120), abs=0.01)


def test_a_point_lies_inside_even_of_a_ring() -> None:
    i, j, _ = np.indices((21, 21, 3))
    ring = np.abs(np.hypot(i - 10, j - 10) - 8) < 1.2
    point = point_inside(ring)
    assert point is not None
    assert ring[point]
    assert point_inside(np.zeros((2, 2, 2), bool)) is None


def test_points_of_labels_are_in_the_whole_volume_s_indices() -> None:
    labels = np.zeros((9, 8, 7), np.uint8)
    labels[6:9, 1:4, 3:6] = 2
    assert points_of_labels(labels, (1, 2)) == {2: (7, 2, 4)}
    assert point_of_maximum(labels) == (7, 2, 4)


def test_tukey_s_fences() -> None:
    values = np.array([1.0, 2, 3, 4, 5, 100, np.nan])  # quartiles 2.25 and 4.75: fences -1.5 and 8.5
    assert outliers(values) == [False] * 5 + [True, False]
    assert outliers(np.array([1.0, 99.0])) == [False, False]
    counts = histogram(values)
    assert sum(count for _, _, count in counts) == 6
    assert (counts[0][0], counts[-1][1]) == (1.0, 100.0)
    assert histogram(np.array([np.nan])) == []


def test_the_stored_answer_is_that_of_the_same_weights(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer = stored_answer.volumes_of(RECORD)
    path = tmp_path / "answers.json"
    path.write_text(json.dumps({stored_answer.key_of_weights(RECORD): answer}))
    monkeypatch.setattr(stored_answer, "ANSWERS", path)
    assert stored_answer.stored_answer(RECORD) == answer
    assert stored_answer.differing(RECORD, answer) == []
    name = "Hippocampus_L@brain-t1"
    assert stored_answer.differing(RECORD, answer | {name: answer[name] * 1.005}) == [name]
    assert stored_answer.differing(RECORD, answer | {"Amygdala_L@brain-t1": 1.0}) == ["Amygdala_L@brain-t1"]
    other = RECORD | {"model": [RECORD["model"][0] | {"weights_sha256": "0" * 64}]}
    assert stored_answer.stored_answer(other) is None
