"""A worklist decides what is fetched: asked of dcmtk's worklist server, and of one that lies."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pytest
from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRLittleEndian
from pynetdicom import AE, evt

from lnn_med.errors import Code, ConfigError, InputError
from lnn_med.pacs.archive import Series
from lnn_med.pacs.settings import Limits, PacsConfig, Watching, Worklist, read_settings
from lnn_med.pacs.watch import MODALITY, Watch
from lnn_med.pacs.worklist import FIND, scheduled
from tests import dicom_factory as factory
from tests.pacs.stand_ins import MemoryArchive, Scorer
from tests.ports import free_port

SERVER = shutil.which("wlmscpfs")
AE_TITLE, STATION = "RIS", "MR1"
START_S = 60
LIMITS = Limits(free_bytes=1, matches=5)
TODAY = date.today()
OTHER = "1.2.77"


def entry(study: str, modality: str = "MR", days: int = 0, station: str = STATION) -> Dataset:
    """One scheduled step, `days` from today."""
    step = Dataset()
    step.Modality, step.ScheduledStationAETitle = modality, station
    step.ScheduledProcedureStepStartDate = f"{TODAY + timedelta(days):%Y%m%d}"
    step.ScheduledProcedureStepStartTime = "0830"
    item = Dataset()
    item.StudyInstanceUID, item.PatientName, item.PatientID = study, factory.PATIENT, "7"
    item.ScheduledProcedureStepSequence = Sequence([step])
    return item


def config_of(port: int, station: str | None = None) -> PacsConfig:
    worklist = Worklist("127.0.0.1", port, AE_TITLE, station)
    return PacsConfig(
        url="http://127.0.0.1:1/web",
        limits=LIMITS,
        watch=Watching(quiet_s=0),
        worklist=worklist,
        timeout_s=5,
    )


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    """A worklist server of dcmtk: its port, and the folder whose files are its entries."""
    if SERVER is None:
        pytest.skip("dcmtk is not installed")
    folder, port = tmp_path / "worklists" / AE_TITLE, free_port()
    folder.mkdir(parents=True)
    (folder / "lockfile").touch()
    command = [SERVER, "--single-process", "--disable-file-reject", "-dfp", str(folder.parent), str(port)]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    probe = AE()
    probe.add_requested_context("1.2.840.10008.1.1")
    ends = time.monotonic() + START_S
    while time.monotonic() < ends:
        association = probe.associate("127.0.0.1", port, ae_title=AE_TITLE)
        if association.is_established:
            association.release()
            break
        time.sleep(0.1)
    yield port, folder
    process.kill()
    process.wait()


def write(folder: Path, *entries: Dataset) -> None:
    for number, item in enumerate(entries):
        item.file_meta = FileMetaDataset()
        item.file_meta.MediaStorageSOPClassUID = FIND
        item.file_meta.MediaStorageSOPInstanceUID = f"1.2.99.{number}"
        item.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        dcmwrite(folder / f"{number}.wl", item, enforce_file_format=True)


def dates(days: int = 1) -> str:
    return f"{TODAY - timedelta(days):%Y%m%d}-{TODAY:%Y%m%d}"


def test_scheduled_studies_are_those_of_the_days_the_modality_and_the_station(
    server: tuple[int, Path],
) -> None:
    port, folder = server
    write(
        folder,
        entry("1.2.1"),
        entry("1.2.1"),  # two steps of one study
        entry("1.2.2", days=-1, station="MR2"),
        entry("1.2.3", days=-2),
        entry("1.2.4", days=1),
        entry("1.2.5", modality="CT"),
    )
    uids, refused = scheduled(config_of(port), dates(), MODALITY)
    assert (sorted(uids), refused) == (["1.2.1", "1.2.2"], 0)
    assert scheduled(config_of(port, STATION), dates(), MODALITY) == (["1.2.1"], 0)
    assert scheduled(config_of(port, "MR3"), dates(), MODALITY) == ([], 0)


def test_a_watch_fetches_and_scores_what_is_scheduled_and_nothing_else(
    server: tuple[int, Path], scan: Path, tmp_path: Path
) -> None:
    port, folder = server
    write(folder, entry(factory.STUDY_UID), entry("1.2.3.404"))  # the other one has not been measured yet
    archive = MemoryArchive()
    for study in (factory.STUDY_UID, OTHER):
        archive.listing[study] = [Series(f"{study}.1", study, "MR", images=12)]
        archive.content[f"{study}.1"] = [path.read_bytes() for path in sorted(scan.iterdir())]
    score = Scorer(tmp_path / "watch" / "results")
    watch = Watch(config_of(port), tmp_path / "watch", score, archive)
    for _ in range(2):
        watch.poll(once=True, sleep=lambda seconds: None)
    assert len(score.asked) == 1
    assert archive.sent == ["segmentation.dcm", "measurements.dcm"]


@pytest.fixture
def liar() -> Iterator[tuple[int, list[Dataset], list[Dataset]]]:
    """A worklist server in this process: its port, what it answers, and what it was asked."""
    answers, asked = list[Dataset](), list[Dataset]()

    def handle(event: Any) -> Iterator[tuple[int, Dataset | None]]:
        asked.append(event.identifier)
        yield from ((0xFF00, answer) for answer in answers)

    ae = AE(ae_title=AE_TITLE)
    ae.add_supported_context(FIND)
    running = ae.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_FIND, handle)])
    yield running.server_address[1], answers, asked
    running.shutdown()


def test_the_query_asks_for_nothing_of_the_patient(liar: tuple[int, list[Dataset], list[Dataset]]) -> None:
    port, answers, asked = liar
    answers.append(entry("1.2.1"))
    assert scheduled(config_of(port), dates(), MODALITY) == (["1.2.1"], 0)
    (query,) = asked
    assert [element.keyword for element in query] == ["StudyInstanceUID", "ScheduledProcedureStepSequence"]


def test_entries_that_lie_are_left_out_and_too_many_are_refused(
    liar: tuple[int, list[Dataset], list[Dataset]],
) -> None:
    port, answers, _ = liar
    without = entry("1.2.1")
    del without.StudyInstanceUID
    answers += [entry("../../etc/passwd"), without, entry("1.2.2")]
    assert scheduled(config_of(port), dates(), MODALITY) == (["1.2.2"], 2)
    answers += [entry(f"1.2.{number}") for number in range(9)]
    with pytest.raises(InputError) as error:
        scheduled(config_of(port), dates(), MODALITY)
    assert error.value.code is Code.SIZE


def test_a_watch_goes_on_with_the_other_entries_and_counts_those_that_lie(
    liar: tuple[int, list[Dataset], list[Dataset]], scan: Path, tmp_path: Path
) -> None:
    port, answers, _ = liar
    answers += [entry("../../etc/passwd"), entry(factory.STUDY_UID), entry("1." + "2" * 70)]
    archive = MemoryArchive()
    archive.listing[factory.STUDY_UID] = [Series(factory.SERIES_UID, factory.STUDY_UID, "MR", images=12)]
    archive.content[factory.SERIES_UID] = [path.read_bytes() for path in sorted(scan.iterdir())]
    score = Scorer(tmp_path / "watch" / "results")
    watch = Watch(config_of(port), tmp_path / "watch", score, archive)
    watch.poll(once=True, sleep=lambda seconds: None)
    assert (len(score.asked), watch.refused) == (1, 2)


def test_a_worklist_that_does_not_answer_is_a_network_error(tmp_path: Path) -> None:
    config = replace(config_of(free_port()), timeout_s=1)
    with pytest.raises(InputError) as error:
        Watch(config, tmp_path, Scorer(tmp_path), MemoryArchive()).poll(once=True, sleep=lambda seconds: None)
    assert error.value.code is Code.NETWORK


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{host: ris, port: 0}", "worklist.port"),
        ("{host: ris, ae_title: 'A\\B'}", "worklist.ae_title"),
        ("{host: ris, station_ae_title: ''}", "worklist.station_ae_title"),
        ("{host: ris, station: MR1}", "station_ae_title"),
        ("{port: 104}", "worklist.host"),
    ],
)
def test_wrong_settings_of_a_worklist_are_refused(text: str, words: str, tmp_path: Path) -> None:
    path = tmp_path / "pacs.yaml"
    path.write_text(f"host: archive\nworklist: {text}\n")
    with pytest.raises(ConfigError, match=words):
        read_settings(str(path))
