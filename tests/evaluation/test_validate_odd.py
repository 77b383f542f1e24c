"""Odd studies end in right words: five patients, one scan, nothing to find, NaN, another tool."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lnn_med.evaluation.report.sections.document import document
from lnn_med.evaluation.validation import REPORT_FILES, read_study, record_of, validate
from lnn_med.volume import Volume
from tests.cli_runner import run
from tests.evaluation.label_maps import NAMES, on_larger_grid, references, shifted, truth, write

LABELS = {"A": 1, "B": 2}
PROTOCOL = """
primary: {metric: dsc, threshold: 0.5}
classification: {reference: dx, positive: ['yes']}
"""


def record_in(folder: Path, protocol: str = "", labels: Mapping[str, int] | None = None) -> dict[str, Any]:
    (folder / "protocol.yaml").write_text(protocol or "id: odd\n")
    study = read_study(
        folder / "pred", folder / "ref", folder / "protocol.yaml", labels or LABELS, None, lambda *_: None
    )
    return record_of(study, "")


def words(record: Mapping[str, Any], number: int) -> str:
    """Everything that one section says."""
    section = document({**record, "sha256": ""})[number]
    return json.dumps([dict(block) for block in section.blocks], ensure_ascii=False)


def every(change: Any = lambda volume: volume) -> dict[str, Volume]:
    return {name: change(truth(seed)) for seed, name in enumerate(NAMES)}


def test_five_patients_get_a_percentile_interval_and_a_warning(tmp_path: Path) -> None:
    references(tmp_path / "ref")
    write(tmp_path / "pred", every(shifted))
    record = record_in(tmp_path, PROTOCOL.split("classification")[0])
    number = record["endpoints"][0]["number"]
    assert (number["method"], number["n_patients"]) == ("percentile", 5)
    assert "percentile bootstrap" in words(record, 5)
    assert "Only 5 patients" in words(record, 15)


def test_one_scan_has_numbers_but_no_interval_and_nothing_is_decided(tmp_path: Path) -> None:
    references(tmp_path / "ref", NAMES[:1])
    write(tmp_path / "pred", {"a": shifted(truth(0))})
    record = record_in(tmp_path, PROTOCOL.split("classification")[0])
    (endpoint,) = record["endpoints"]
    assert 0.5 < endpoint["number"]["estimate"] < 1
    assert endpoint["verdict"] == "cannot be decided"
    assert "it needs two patients or more" in words(record, 5)
    assert "One pair has no spread" in words(record, 7)


def test_references_that_hold_nothing_are_named_and_an_invention_is_the_worst_value(tmp_path: Path) -> None:
    empty = truth().with_data(np.zeros_like(truth().data))
    only_a = truth().with_data((truth().data == 1).astype(np.uint8))
    write(tmp_path / "ref", dict.fromkeys(NAMES, empty))
    write(tmp_path / "pred", dict.fromkeys(NAMES, empty) | {"a": only_a})
    record = record_in(tmp_path)
    assert record["segmentation"]["empty_references"] == list(NAMES)
    assert record["segmentation"]["absent_everywhere"] == ["B"]
    dsc = {case["case"]: case["structures"]["A"]["dsc"] for case in record["cases"]}
    assert dsc == {"a": 0, **dict.fromkeys(NAMES[1:], 1)}
    assert "5 references hold none of the structures" in words(record, 6)
    assert "in no mean" in words(record, 6)


def test_predictions_that_all_lie_on_another_grid_are_all_missing_and_each_is_listed(tmp_path: Path) -> None:
    references(tmp_path / "ref")
    write(tmp_path / "pred", every(on_larger_grid))
    record = record_in(tmp_path)
    assert record["segmentation"]["mean"]["all"]["dsc"]["estimate"] == 0
    assert record["segmentation"]["mean"]["without_missing"]["dsc"]["estimate"] is None
    assert words(record, 12).count("E_GEOMETRY") == 5
    assert "no case has a prediction" in words(record, 6)


def test_nan_and_unknown_columns_are_told(tmp_path: Path) -> None:
    references(tmp_path / "ref")
    table = (
        "case,dx,age,sex,colour\na,yes,NaN,F,red\nb,no,60,,blue\nc,nan,61,M,red\nd,no,x,M,red\ne,yes,70,F,\n"
    )
    (tmp_path / "ref" / "participants.csv").write_text(table)
    write(tmp_path / "pred", every(shifted))
    (tmp_path / "pred" / "scores.csv").write_text("case,dementia_probability\na,NaN\nb,0.2\nd,0.1\ne,0.9\n")
    record = record_in(tmp_path, PROTOCOL)
    found = record["classification"]
    assert (found["n"], found["n_without_reference"], found["n_missing"]) == (4, 1, 1)
    assert "colour" in words(record, 3)
    assert "1 of 4 cells hold no plausible number" in words(record, 3)
    assert record["people"]["age"]["missing"] == 2
    assert "1 without a diagnosis are left out. 1 without a probability" in words(record, 8)


@pytest.mark.parametrize("named", [True, False], ids=["with a table", "without one"])
def test_a_report_on_another_tools_output(tmp_path: Path, named: bool) -> None:
    """As nnU-Net leaves it: names of the images, dataset.json with other integers; or bare maps."""
    references(tmp_path / "ref")
    swapped = {
        f"{name}_0000": volume.with_data(np.choose(volume.data, [0, 2, 1]).astype(np.uint8))
        for name, volume in every().items()
    }
    write(tmp_path / "pred", swapped if named else every())
    if named:
        (tmp_path / "pred" / "dataset.json").write_text('{"labels": {"background": 0, "A": 2, "B": 1}}')
    record = validate(tmp_path / "pred", tmp_path / "ref", tmp_path / "out", labels=LABELS).record
    assert record["segmentation"]["mean"]["all"]["dsc"]["estimate"] == 1
    assert all((tmp_path / "out" / name).stat().st_size > 1000 for name in REPORT_FILES)
    assert "another tool" in words(record, 1)
    assert ("dataset.json" if named else "carry no table") in words(record, 4)


def test_the_command_says_what_is_odd_and_the_main_number(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    references(tmp_path / "ref")
    write(tmp_path / "ref", {"e": truth().with_data(np.zeros_like(truth().data))})
    (tmp_path / "ref" / "participants.csv").write_text("case,age,colour\na,NaN,red\nb,old,blue\n")
    nothing = {"d": truth().with_data(np.zeros_like(truth().data))}
    write(tmp_path / "pred", every() | nothing)
    (tmp_path / "protocol.yaml").write_text("labels: {A: 1, B: 2, C: 9}\nsubgroups: [sexx]\n")
    arguments = (tmp_path / "pred", tmp_path / "ref", "-o", tmp_path / "out")
    assert run("validate", *arguments, "--protocol", tmp_path / "protocol.yaml", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["mean_dsc"]["estimate"] == pytest.approx(3 / 5)  # 0 for an invention in e, 0 for nothing in d
    assert run("validate", *arguments, "--protocol", tmp_path / "protocol.yaml") == 0
    printed = " ".join(capsys.readouterr().out.split())
    assert "mean dsc: 0.600" in printed
    for words in (
        "Column age: 1 of 1 cells hold no plausible number",
        "does not use: colour",
        "3 label maps have no row in the table",
        "C: in no reference and in no prediction",
        "1 reference holds none of the structures: e",
        "1 prediction holds none of the structures that the reference holds: d",
        "Subgroup sexx: no analysed case has a value",
        "Only 5 patients",
    ):
        assert any(words in one for one in told["remarks"]), words
        assert words in printed
