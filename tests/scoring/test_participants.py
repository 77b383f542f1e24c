"""A table of participants: age and sex reach the networks and the page of the scan they belong to."""

from __future__ import annotations

import json
import typing
from pathlib import Path

import pytest

from lnn_med import options
from lnn_med.errors import ConfigError
from lnn_med.io.result_files import PDF, Extras
from lnn_med.io.volumetry_pdf import write_page
from lnn_med.scoring.manifest import NIFTI, Scan, read_manifest
from lnn_med.scoring.participants import RANGES, Participants
from lnn_med.scoring.runner import score
from lnn_med.scoring.state import status
from tests.scoring.fakes import FakeModels, write_head
from tests.scoring.test_runner import log_of, scored


def scan_of(path: str) -> Scan:
    return Scan(path.removesuffix(".nii").replace("/", "_"), path, NIFTI, None, (path,))


CELLS = (
    ({"age": "71.5", "sex": "F"}, {"age": 71.5, "sex": "F"}),
    (
        {"age": "71", "sex": "male", "mmse": "29", "education": "16"},
        {"age": 71.0, "sex": "M", "mmse": 29.0, "education": 16.0},
    ),
    ({"age": "n/a", "sex": "", "mmse": "nan"}, {}),
    ({"age": "89+", "sex": "1"}, {}),  # what 1 means differs between tables
    ({"educ": "2"}, {}),  # classes of OASIS, not years
)


@pytest.mark.parametrize(("cells", "expected"), CELLS)
def test_cells_become_values_where_they_say_what_they_mean(
    cells: dict[str, str], expected: dict[str, float | str]
) -> None:
    people = Participants([{"case": "a", **cells}])
    assert people.clinical(scan_of("a.nii")) == expected
    assert people.clinical(scan_of("b.nii")) == {}


def test_rows_of_one_case_that_differ_leave_out_what_differs() -> None:
    visits = [{"case": "sub-01", "age": age, "sex": "F"} for age in ("70", "72", "72")]
    assert Participants(visits).clinical(scan_of("sub-01/anat/x.nii")) == {"sex": "F"}


@pytest.mark.parametrize("cell", [("age", "-1"), ("age", "720"), ("mmse", "99"), ("education", "41")])
def test_a_number_that_cannot_be_stops_the_run_before_it_begins(
    cell: tuple[str, str], tmp_path: Path
) -> None:
    write_head(tmp_path / "scans" / "a.nii")
    table = tmp_path / "people.csv"
    table.write_text(f"case,{cell[0]}\na,{cell[1]}\n")
    with pytest.raises(ConfigError, match=f"Row 1 of the table: {cell[0]} is "):
        score(tmp_path / "scans", tmp_path / "run", FakeModels(tmp_path / "log.txt"), table=table)
    assert not (tmp_path / "run").exists()


def test_ranges_are_those_of_the_options_of_predict() -> None:
    for name, option in (("age", options.Age), ("education", options.Education), ("mmse", options.Mmse)):
        found = typing.get_args(option)[1]
        assert RANGES[name] == (found.min, found.max)


def test_values_reach_networks_and_page_of_their_scan_and_a_new_age_scores_it_anew(tmp_path: Path) -> None:
    pytest.importorskip("typst")
    scans, run, models = tmp_path / "scans", tmp_path / "run", FakeModels(tmp_path / "log.txt")
    for number, name in enumerate(["a.nii", "deep/b.nii", "c.nii"]):
        write_head(scans / name, number)
    table = tmp_path / "participants.csv"
    table.write_text("participant_id,age,sex\na,71.5,F\ndeep,60,M\n")
    extras = Extras(pdf=True)
    score(scans, run, models, workers=1, table=table, extras=extras)
    values = {line[1]: json.loads(" ".join(line[2:-2])) for line in log_of(models, "clinical")}
    assert values == {"a.nii": {"age": 71.5, "sex": "F"}, "b.nii": {"age": 60.0, "sex": "M"}}
    assert [scan.clinical for scan in read_manifest(run)] == [values["a.nii"], {}, values["b.nii"]]
    assert status(run).done == 3
    for case, facts in (("a", values["a.nii"]), ("c", {}), ("deep_b", values["b.nii"])):
        write_page(run / "cases" / case, facts, tmp_path / PDF)
        assert (run / "cases" / case / PDF).read_bytes() == (tmp_path / PDF).read_bytes()
        write_page(run / "cases" / case, {"age": 30.0}, tmp_path / PDF)
        assert (run / "cases" / case / PDF).read_bytes() != (tmp_path / PDF).read_bytes()

    table.write_text("participant_id,age,sex\na,71.5,F\ndeep,61,M\n")
    assert score(scans, run, models, workers=0, table=table, extras=extras).scored == 1
    assert scored(models).count("b.nii") == 2
    assert status(run).done == 3
