"""The report's files: all sections in order, none empty, the same bytes twice, nothing fetched."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from unittest.mock import patch

import pytest

from lnn_med.evaluation.report.checklists import filled_checklists
from lnn_med.evaluation.results import origin
from lnn_med.evaluation.validation import REPORT_FILES, validate
from lnn_med.scoring.runner import score
from tests.cli_runner import run
from tests.evaluation.label_maps import NAMES, references, shifted, truth, write
from tests.scoring.fakes import AFFINE, FakeModels, head, write_head

PROTOCOL = """
id: T-1
title: Boxes <b>moved</b>
status: FINAL
labels: {A: 1, B: 2}
primary: {metric: dsc, threshold: 0.5}
classification: {reference: dx, positive: ['yes']}
"""
TABLE = (
    "case,patient,sex,age,dx\na,P1,F,60,yes\nb,P1,M,NaN,no\nc,P2,<img src=x onerror=1>,70,yes\nd,P3,F,80,no\n"
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Inputs of a small study: one case missing, a patient with two scans; and its report."""
    place = tmp_path_factory.mktemp("study")
    references(place / "ref")
    write(place / "pred", {name: shifted(truth(seed)) for seed, name in enumerate(NAMES[:4])})
    write(place / "other", {name: shifted(truth(seed), 2) for seed, name in enumerate(NAMES)})
    (place / "ref" / "participants.csv").write_text(TABLE)
    (place / "pred" / "scores.csv").write_text("case,dementia_probability\na,0.8\nb,0.3\nc,0.4\n")
    (place / "protocol.yaml").write_text(PROTOCOL)
    make(place, "report")
    return place


def make(place: Path, name: str) -> None:
    """The commit of a checkout is part of the record; here it must not change between two runs."""
    with patch.object(origin, "REPOSITORY", place):
        _make(place, name)


def _make(place: Path, name: str) -> None:
    validate(place / "pred", place / "ref", place / name, place / "protocol.yaml", against=place / "other")


class Sections(HTMLParser):
    """Numbers of the sections with their words, tags and addresses of the page."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.words: dict[str, str] = {}
        self.tags: set[str] = set()
        self.addresses: list[str] = []
        self.at: str | None = None
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        values = dict(attrs)
        self.addresses += [str(values[name]) for name in ("src", "href", "action", "data") if name in values]
        if tag == "section":
            self.at = str(values["id"])
            self.words[self.at] = ""

    def handle_endtag(self, tag: str) -> None:
        self.at = None if tag == "section" else self.at

    def handle_data(self, data: str) -> None:
        if self.at:
            self.words[self.at] += data


def test_all_sixteen_sections_are_there_in_order_and_none_is_empty(folder: Path) -> None:
    page = Sections((folder / "report" / "report.html").read_text())
    assert list(page.words) == [f"s{number}" for number in range(16)]
    assert min(len(words.split()) for words in page.words.values()) > 15


def test_the_page_runs_nothing_and_fetches_nothing(folder: Path) -> None:
    text = (folder / "report" / "report.html").read_text()
    page = Sections(text)
    assert not page.tags & {"script", "iframe", "object", "embed", "link", "form"}
    assert all(address.startswith(("#", "data:image/")) for address in page.addresses)
    assert "default-src 'none'" in text
    assert not re.search(r"@import|url\(", text)


def test_text_of_the_inputs_is_shown_literally(folder: Path) -> None:
    text = (folder / "report" / "report.html").read_text()
    assert "Boxes &lt;b&gt;moved&lt;/b&gt;" in text
    assert "<img src=x" not in text


def test_patient_ids_of_the_table_are_in_no_file(folder: Path, tmp_path: Path) -> None:
    text = TABLE.replace("P1", "MRN99887766")
    references(tmp_path / "ref")
    (tmp_path / "ref" / "participants.csv").write_text(text)
    write(tmp_path / "pred", {name: truth(seed) for seed, name in enumerate(NAMES)})
    validate(tmp_path / "pred", tmp_path / "ref", tmp_path / "out", labels={"A": 1})
    assert not any(b"99887766" in (tmp_path / "out" / name).read_bytes() for name in REPORT_FILES)


def test_two_runs_give_the_same_bytes(folder: Path) -> None:
    make(folder, "again")
    for name in REPORT_FILES:
        assert (folder / "report" / name).read_bytes() == (folder / "again" / name).read_bytes(), name


def test_the_pdf_is_pdf_a_and_carries_no_time_of_now(folder: Path) -> None:
    content = (folder / "report" / "report.pdf").read_bytes()
    assert content.startswith(b"%PDF-")
    assert b"pdfaid:part>2<" in content
    assert b"D:1970" in content  # no scoring run, so no date


def test_the_command_tells_of_missing_cases_by_its_exit_code(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = (
        "validate",
        folder / "pred",
        folder / "ref",
        "-o",
        folder / "cli",
        "--labels",
        "A=1,B=2",
        "--json",
    )
    assert run(*arguments) == 2  # case e has no prediction
    told = json.loads(capsys.readouterr().out)
    assert [row["case"] for row in told["failures"]] == ["e"]
    assert run("validate", folder / "other", folder / "ref", "-o", folder / "cli", "--labels", "A=1,B=2") == 0
    assert run("validate", folder / "other", folder / "ref", "-o", folder / "cli", "--labels", "A=x") == 3
    assert run("validate", folder / "nowhere", folder / "ref", "-o", folder / "no") == 3
    assert not (folder / "no").exists()


def test_the_better_predictions_win_the_comparison(folder: Path) -> None:
    record = json.loads((folder / "report" / "report.json").read_bytes())
    structures = record["comparison"]["structures"]
    assert record["comparison"]["missing_new"] == 1
    dsc = {case["case"]: case["structures"]["A"]["dsc"] for case in record["cases"]}
    gain = next(one for one in structures if one["name"] == "A")["gain"]["estimate"]
    assert dsc["e"] == 0
    assert gain < sum(dsc.values()) / 5  # the missing case counts with 0 against the other's value


def test_checklist_rows_without_data_are_not_done(folder: Path) -> None:
    record = json.loads((folder / "report" / "report.json").read_bytes())
    by_name = {one.name: {item.item: item.section for item in one.items} for one in filled_checklists(record)}
    assert set(by_name) == {"CLAIM 2024", "STARD-AI", "TRIPOD+AI", "DECIDE-AI"}
    assert len(by_name["CLAIM 2024"]) == 44
    assert by_name["CLAIM 2024"]["30"] is None  # robustness was not measured
    assert by_name["CLAIM 2024"]["38"] == 8  # there is a classification
    assert by_name["CLAIM 2024"]["22"] is None  # another tool's model is not known


def test_a_scored_run_is_validated_with_its_own_names_dates_and_intervals(tmp_path: Path) -> None:
    for seed in range(4):
        write_head(tmp_path / "scans" / f"case{seed}.nii.gz", seed)
    write_head(tmp_path / "scans" / "fov.nii.gz", 5)  # refused by the model
    models = FakeModels(tmp_path / "log")
    score(tmp_path / "scans", tmp_path / "run", models, workers=0)
    maps = {}
    for name, seed in [*((f"case{seed}", seed) for seed in range(4)), ("fov", 5)]:
        volume = head(seed)
        maps[name] = volume.with_data((volume.data > 50).astype("uint8"))
    write(tmp_path / "ref", maps)
    done = validate(tmp_path / "run", tmp_path / "ref", tmp_path / "out")
    record = done.record
    assert record["labels"]["reference"] == {"Hippocampus_L": 1}
    assert "labels.json" in record["labels"]["source"]
    assert [(row["case"], row["code"]) for row in record["failures"]] == [("fov", "E_FOV")]
    assert record["device"]["scored_utc"]
    (found,) = record["intervals"]
    assert found["coverage"]["observed"]["estimate"] == 1  # the fake's volume ± 10 mm³
    year = record["device"]["scored_utc"][:4].encode()
    assert b"D:" + year in (tmp_path / "out" / "report.pdf").read_bytes()
    assert AFFINE.shape == (4, 4)


def test_a_result_that_quality_control_rejected_counts_as_missing(tmp_path: Path) -> None:
    for seed in range(3):
        write_head(tmp_path / "scans" / f"case{seed}.nii.gz", seed)
    score(tmp_path / "scans", tmp_path / "run", FakeModels(tmp_path / "log"), workers=0)
    result = tmp_path / "run" / "cases" / "case1" / "result.json"
    content = json.loads(result.read_bytes())
    content["qc"] = {"status": "fail", "reasons": ["No head."]}
    result.write_text(json.dumps(content))
    maps = {f"case{s}": head(s).with_data((head(s).data > 50).astype("uint8")) for s in range(3)}
    write(tmp_path / "ref", maps)
    record = validate(tmp_path / "run", tmp_path / "ref", tmp_path / "out").record
    assert [(row["case"], row["code"]) for row in record["failures"]] == [("case1", "QC_FAIL")]
    assert record["segmentation"]["mean"]["all"]["dsc"]["estimate"] == pytest.approx(2 / 3)
