"""Predictions of any tool and references of any layout are joined by name, or the reason is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from lnn_med.errors import ConfigError, InputError
from lnn_med.evaluation.matching import label_table, match
from lnn_med.evaluation.predictions import read_predictions
from lnn_med.evaluation.protocol import Protocol
from lnn_med.evaluation.references import read_references
from tests.evaluation.label_maps import NAMES, references, truth, write

BOTH = {"A": 1, "B": 2}


def matched_names(reference: Path, predicted: Path) -> dict[str, str | None]:
    found = match(read_references(reference), read_predictions(predicted))
    return {pair.reference.case: pair.prediction.case if pair.prediction else None for pair in found.pairs}


@pytest.mark.parametrize(
    ("reference", "predicted"),
    [
        ("sub-01_T1w", "sub-01_T1w"),  # the rule
        ("sub-01_T1w", "sub-01/T1w"),  # a path below the folder is the same name
        ("case1", "fold0/case1"),  # equal file names
        ("case1", "case1_0000"),  # nnU-Net's name of the image
    ],
)
def test_a_prediction_finds_its_reference(tmp_path: Path, reference: str, predicted: str) -> None:
    write(tmp_path / "ref", {reference: truth()})
    write(tmp_path / "pred", {predicted: truth()})
    assert None not in matched_names(tmp_path / "ref", tmp_path / "pred").values()


def test_a_file_name_that_two_cases_share_joins_nothing(tmp_path: Path) -> None:
    write(tmp_path / "ref", {"T1w": truth(), "other": truth()})
    write(tmp_path / "pred", {"sub-01/T1w": truth(), "sub-02/T1w": truth(), "other": truth()})
    assert matched_names(tmp_path / "ref", tmp_path / "pred") == {"T1w": None, "other": "other"}


def test_no_pair_at_all_is_refused_without_naming_a_case(tmp_path: Path) -> None:
    write(tmp_path / "ref", {"ZZCANARY": truth()})
    write(tmp_path / "pred", {"other": truth()})
    with pytest.raises(ConfigError, match="None of the 1 references") as caught:
        matched_names(tmp_path / "ref", tmp_path / "pred")
    assert "ZZCANARY" not in str(caught.value)


def test_masks_one_a_structure_are_one_case(tmp_path: Path) -> None:
    write(tmp_path, {"s1/segmentations/A": truth(), "s1/segmentations/spleen": truth(), "s2/B": truth()})
    found = read_predictions(tmp_path, ("A", "B"))
    masks = {case.case: [one.mask_of for one in case.maps] for case in found.cases}
    assert masks == {"s1": ["A"], "s2": ["B"]}  # the spleen is not compared


@pytest.mark.parametrize(
    ("table", "expected"),
    [
        ({"labels": {"background": 0, "A": 2, "B": 1}}, {"A": 2, "B": 1}),  # nnU-Net
        ({"labels": {"0": "background", "1": "A", "2": "B"}}, {"A": 1, "B": 2}),  # Decathlon
    ],
)
def test_the_tools_own_table_is_read(tmp_path: Path, table: dict, expected: dict[str, int]) -> None:
    write(tmp_path, {"a": truth()})
    (tmp_path / "dataset.json").write_text(json.dumps(table))
    found = label_table(Protocol(), BOTH, read_predictions(tmp_path), lambda: {1, 2})
    assert found.predicted == expected
    assert found.reference == BOTH


def test_integers_that_the_predictions_table_does_not_name_are_not_guessed(tmp_path: Path) -> None:
    write(tmp_path, {"a": truth()})
    (tmp_path / "labels.json").write_text('{"segmentation.nii.gz": {"1": "A", "2": "B"}}')
    with pytest.raises(ConfigError, match="47"):
        label_table(Protocol(), {}, read_predictions(tmp_path), lambda: {1, 47})


def test_without_any_table_integers_stand_for_themselves_and_the_source_says_so(tmp_path: Path) -> None:
    write(tmp_path, {"a": truth()})
    found = label_table(Protocol(), {}, read_predictions(tmp_path), lambda: {1, 2})
    assert found.reference == {"label 1": 1, "label 2": 2}
    assert "none given" in found.source


def test_an_unknown_structure_is_refused_with_the_nearest(tmp_path: Path) -> None:
    write(tmp_path, {"a": truth()})
    protocol = Protocol(labels={"Hippocampus_L": 1}, structures=("Hipocampus_L",))
    with pytest.raises(ConfigError, match="Did you mean Hippocampus_L"):
        label_table(protocol, {}, read_predictions(tmp_path), lambda: {1})


def table_of(folder: Path, text: str) -> Path:
    references(folder)
    (folder / "participants.csv").write_text(text)
    return folder


def test_cells_that_say_nothing_are_missing_and_unknown_columns_are_named(tmp_path: Path) -> None:
    rows = "case,patient_id,age,sex,colour\na,P1,NaN,F,red\nb,P1,abc,n/a,red\nc,P2,70,M,red\nd,,200,M,red\n"
    found = read_references(table_of(tmp_path, rows))
    cases = {case.case: case for case in found.cases}
    assert "age" not in cases["a"].row
    assert "sex" not in cases["b"].row
    assert cases["a"].patient == cases["b"].patient == "P1"
    assert cases["d"].patient == "d"  # without an id: a patient of its own, and a remark
    assert found.unused == ("colour",)
    remarks = " ".join(found.remarks)
    assert "age: 2 of 3 cells" in remarks  # "abc" and 200 years
    assert "1 rows have no patient id" in remarks
    assert "1 label maps have no row" in remarks  # e


def test_two_rows_for_one_case_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="several rows"):
        read_references(table_of(tmp_path, "case,age\na,60\na,61\n"))


def test_a_table_alone_may_lead_to_its_label_maps_but_not_out_of_its_folder(tmp_path: Path) -> None:
    references(tmp_path / "maps", NAMES[:1])
    (tmp_path / "people.csv").write_text("case,label\na,maps/a.nii.gz\n")
    (case,) = read_references(tmp_path / "people.csv").cases
    assert case.labels is not None
    assert case.labels.is_file()
    (tmp_path / "people.csv").write_text("case,label\na,../elsewhere.nii.gz\n")
    with pytest.raises(InputError, match="E_PATH"):
        read_references(tmp_path / "people.csv")


def test_a_decathlon_folder_is_its_labels(tmp_path: Path) -> None:
    references(tmp_path / "labelsTr", NAMES[:2])
    references(tmp_path / "imagesTr", NAMES[:1])
    found = read_references(tmp_path)
    assert [case.case for case in found.cases] == ["a", "b"]
    assert [case.image is not None for case in found.cases] == [True, False]


def test_a_folder_without_anything_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="E_FORMAT"):
        read_references(tmp_path)
    with pytest.raises(InputError, match="E_FORMAT"):
        read_predictions(tmp_path)
    with pytest.raises(InputError, match="E_NOTFOUND"):
        read_predictions(tmp_path / "nowhere")
