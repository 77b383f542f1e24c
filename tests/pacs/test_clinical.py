"""Age and sex of the images that arrive at a watch: to the networks and the page, never into a log."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from lnn_med import cli
from lnn_med.cli.pacs import scorer
from lnn_med.io.result_files import PDF
from lnn_med.io.volumetry_pdf import page_content, write_page
from lnn_med.pacs.inbox import Inbox
from lnn_med.pacs.settings import Limits, PacsConfig, Watching
from lnn_med.pacs.uids import shown
from lnn_med.pacs.watch import Watch
from lnn_med.prediction import Prediction
from lnn_med.volume import Volume
from tests import dicom_factory as factory
from tests.cli_runner import run
from tests.dicom_results import predicted, tiny_phantom
from tests.pacs.stand_ins import MemoryArchive

CONFIG = PacsConfig(host="127.0.0.1", limits=Limits(free_bytes=1), watch=Watching(quiet_s=0.0))
TOLD = {"age": "PatientAge", "sex": "PatientSex"}


class Measure:
    """Networks that note what they are told of the patient."""

    def __init__(self) -> None:
        self.asked = list[dict[str, Any]]()

    def __call__(self, volume: Volume, clinical: Mapping[str, Any]) -> Prediction:
        self.asked.append(dict(clinical))
        return predicted(volume)


def arrive(watch: Path, made: Path, study: str = factory.STUDY_UID, **attributes: Any) -> None:
    """One study comes into the inbox of a watch."""
    inbox = Inbox(watch / "incoming", CONFIG.limits)
    for header in factory.slices(tiny_phantom(), StudyInstanceUID=study, **attributes):
        inbox.keep(factory.save(header, made / "one.dcm").read_bytes())


def result_of(watch: Path, study: str = factory.STUDY_UID) -> Path:
    return watch / "results" / shown(study)


def test_age_and_sex_reach_networks_page_and_provenance_of_their_study(tmp_path: Path) -> None:
    pytest.importorskip("typst")
    watch, measure, archive = tmp_path / "watch", Measure(), MemoryArchive()
    arrive(watch, tmp_path, PatientAge="083Y", PatientBirthDate="", PatientSex="M")
    arrive(watch, tmp_path, "1.2.77", PatientBirthDate="", PatientSex="")
    Watch(CONFIG, watch, scorer(watch, measure, pdf=True), archive).work_on_complete(0)
    assert sorted(measure.asked, key=len) == [{}, {"age": 83.0, "sex": "M"}]
    known, unknown = result_of(watch), result_of(watch, "1.2.77")
    assert json.loads((known / "provenance.json").read_bytes())["input"]["clinical_from"] == TOLD
    assert "clinical_from" not in json.loads((unknown / "provenance.json").read_bytes())["input"]
    write_page(known, {"age": 83.0, "sex": "M", "from": TOLD}, tmp_path / PDF)
    assert (known / PDF).read_bytes() == (tmp_path / PDF).read_bytes()
    write_page(unknown, {}, tmp_path / PDF)
    assert (unknown / PDF).read_bytes() == (tmp_path / PDF).read_bytes()
    assert archive.sent.count("segmentation.dcm") == archive.sent.count("measurements.dcm") == 2


def test_the_page_says_where_age_and_sex_stood(tmp_path: Path) -> None:
    arrive(tmp_path / "watch", tmp_path, PatientAge="083Y", PatientBirthDate="", PatientSex="M")
    Watch(
        CONFIG, tmp_path / "watch", scorer(tmp_path / "watch", Measure()), MemoryArchive()
    ).work_on_complete(0)
    record = json.loads((result_of(tmp_path / "watch") / "result.json").read_bytes())

    def who(**facts: Any) -> str:
        return page_content(record, facts, picture=False)["who"].split(";")[0]

    named = "Sex M, age 83 years (DICOM header: sex from PatientSex, age from PatientAge)"
    assert who(age=83.0, sex="M", **{"from": TOLD}) == named
    assert who(age=83.99, sex="M") == "Sex M, age 83 years"  # completed years; given by hand
    assert who() == "Sex not given, age not given"


def test_age_and_sex_are_in_no_log_ledger_or_name(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    watch = tmp_path / "watch"
    arrive(watch, tmp_path, PatientAge="083Y", PatientBirthDate="19361231", PatientSex="M")
    Watch(CONFIG, watch, scorer(watch, Measure()), MemoryArchive()).work_on_complete(0)
    files = [
        path for path in watch.rglob("*.json*") if path.parent == watch or path.name == "provenance.json"
    ]
    assert {"ledger.jsonl", "audit.jsonl", "provenance.json"} <= {path.name for path in files}
    told = caplog.text + "".join(path.read_text() for path in files) + " ".join(map(str, watch.rglob("*")))
    told = told.replace(str(tmp_path), "")  # its number may be 83
    assert not re.search(r"083Y|(?<![\w.])83(\.0)?(?![\w.])|19361231|\"[MF]\"|\bage\b.{0,5}83", told)
    assert factory.PATIENT not in told


def test_the_command_passes_age_sex_and_the_wish_for_a_page(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pytest.importorskip("typst")
    watch, measure, archive = tmp_path / "watch", Measure(), MemoryArchive()
    arrive(watch, tmp_path, PatientAge="072Y", PatientBirthDate="")
    monkeypatch.setattr(cli.pacs, "predictor", lambda *options: measure)
    monkeypatch.setattr("lnn_med.pacs.watch.open_archive", lambda config: archive)
    settings = tmp_path / "pacs.yaml"
    settings.write_text("host: archive\nlimits: {free_bytes: 1}\nwatch: {quiet_s: 0}\n")
    assert run("pacs", "watch", settings, "-o", watch, "--once", "--pdf") == 0
    assert measure.asked == [{"age": 72.0, "sex": "F"}]
    assert (result_of(watch) / PDF).is_file()
