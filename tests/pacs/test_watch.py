"""A watch that is stopped, killed, refused or fooled: nothing is done twice, nothing is lost."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lnn_med.errors import Code, ConfigError, InputError
from lnn_med.pacs.archive import Series
from lnn_med.pacs.inbox import Inbox
from lnn_med.pacs.journal import Journal, Line
from lnn_med.pacs.settings import Limits, PacsConfig, Watching
from lnn_med.pacs.task import CRASHES
from lnn_med.pacs.uids import shown
from lnn_med.pacs.watch import Watch, fetch_to, locked
from tests import dicom_factory as factory
from tests.pacs.stand_ins import MemoryArchive, Scorer, write_result

LIMITS = Limits(free_bytes=1)
STUDY = shown(factory.STUDY_UID)


def config_of(**watch: Any) -> PacsConfig:
    return PacsConfig(host="127.0.0.1", limits=LIMITS, watch=Watching(**{"quiet_s": 0.0, **watch}))


def contents(scan: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(scan.iterdir())]


@pytest.fixture
def archive() -> MemoryArchive:
    return MemoryArchive()


@pytest.fixture
def arrived(scan: Path, tmp_path: Path) -> Path:
    """The folder of a watch in which one study has arrived."""
    inbox = Inbox(tmp_path / "watch" / "incoming", LIMITS)
    for content in contents(scan):
        inbox.keep(content)
    return tmp_path / "watch"


def states(folder: Path) -> list[str]:
    return [json.loads(line)["state"] for line in (folder / "ledger.jsonl").read_text().splitlines()]


ORDER = ["started", "scored", "sent", "sent", "done"]


def test_each_step_happens_once_over_any_number_of_starts(arrived: Path, archive: MemoryArchive) -> None:
    score = Scorer(arrived / "results")
    for _ in range(3):
        Watch(config_of(), arrived, score, archive).work_on_complete(0)
    assert len(score.asked) == 1
    assert archive.sent == ["segmentation.dcm", "measurements.dcm"]  # and not the picture
    assert states(arrived) == ORDER


@pytest.mark.parametrize("kept", range(len(ORDER)))
def test_a_watch_that_was_killed_goes_on_after_its_last_line(
    kept: int, arrived: Path, archive: MemoryArchive
) -> None:
    """The ledger is cut after each line, with a torn rest: what a power failure leaves."""
    Watch(config_of(), arrived, Scorer(arrived / "results"), archive).work_on_complete(0)
    lines = (arrived / "ledger.jsonl").read_text().splitlines(keepends=True)
    (arrived / "ledger.jsonl").write_text("".join(lines[:kept]) + lines[kept][:20])
    archive.sent.clear()
    score = Scorer(arrived / "results")
    Watch(config_of(), arrived, score, archive).work_on_complete(0)
    assert len(score.asked) == (kept < 2)
    assert archive.sent == ["segmentation.dcm", "measurements.dcm"][max(0, kept - 2) :]
    assert Journal(arrived).lines(STUDY, json.loads(lines[0])["key"])[-1].state == "done"


def test_one_more_image_makes_it_another_study_to_score(
    arrived: Path, archive: MemoryArchive, tmp_path: Path
) -> None:
    score = Scorer(arrived / "results")
    watch = Watch(config_of(), arrived, score, archive)
    watch.work_on_complete(0)
    header = factory.slices(factory.small_phantom(), InstanceNumber=99)[0]
    Inbox(arrived / "incoming", LIMITS).keep(factory.save(header, tmp_path / "late.dcm").read_bytes())
    watch.work_on_complete(0)
    watch.work_on_complete(0)
    assert len(score.asked) == 2


def test_a_study_is_left_alone_until_it_is_quiet(arrived: Path, archive: MemoryArchive) -> None:
    score = Scorer(arrived / "results")
    watch = Watch(config_of(), arrived, score, archive)
    watch.work_on_complete(quiet_s=60)
    watch.work_on_complete(0, growing={STUDY})  # its sender is still connected
    assert not score.asked
    for path in arrived.glob("incoming/*/*/*.dcm"):
        os.utime(path, (time.time() - 61, time.time() - 61))
    watch.work_on_complete(quiet_s=60)
    assert len(score.asked) == 1


def test_a_study_that_cannot_be_scored_is_listed_once_and_the_others_go_on(
    arrived: Path, archive: MemoryArchive, scan: Path, tmp_path: Path
) -> None:
    inbox = Inbox(arrived / "incoming", LIMITS)
    for header in factory.slices(factory.small_phantom(), StudyInstanceUID="1.2.77"):
        inbox.keep(factory.save(header, tmp_path / "other.dcm").read_bytes())
    good = Scorer(arrived / "results")

    def score(folder: Path) -> Path:
        if folder.name == STUDY:
            raise InputError(Code.SERIES, "Two series fit.")
        return good(folder)

    for _ in range(2):
        Watch(config_of(), arrived, score, archive).work_on_complete(0)
    failed = [json.loads(line) for line in (arrived / "ledger.jsonl").read_text().splitlines()]
    failed = [line for line in failed if line["state"] == "failed"]
    assert [(line["study"], line["code"], line["message"]) for line in failed] == [
        (STUDY, "E_SERIES", "Two series fit.")
    ]
    assert [folder.name for folder in good.asked] == [shown("1.2.77")]


def test_a_defect_leaves_its_kind_and_no_words_that_may_name_a_patient(
    arrived: Path, archive: MemoryArchive, caplog: pytest.LogCaptureFixture
) -> None:
    def score(folder: Path) -> Path:
        raise KeyError(factory.PATIENT)

    caplog.set_level("DEBUG")
    Watch(config_of(), arrived, score, archive).work_on_complete(0)
    text = (arrived / "ledger.jsonl").read_text()
    assert "E_INTERNAL" in text
    assert "KeyError" in text
    assert factory.PATIENT not in text + caplog.text


def test_an_archive_that_is_down_is_tried_again_later_without_scoring_again(
    arrived: Path, archive: MemoryArchive
) -> None:
    score, now = Scorer(arrived / "results"), [0.0]
    watch = Watch(config_of(attempts=1), arrived, score, archive)
    watch.tasks.clock = lambda: now[0]
    archive.down = True
    tried = []
    for minute in range(200):
        now[0] = 60.0 * minute
        before = len(states(arrived)) if (arrived / "ledger.jsonl").exists() else 0
        watch.work_on_complete(0)
        if len(states(arrived)) > before:
            tried.append(minute)
    assert tried[:4] == [0, 1, 2, 4]  # it waits twice as long each time, an hour at most
    assert len(tried) < 12
    archive.down, now[0] = False, 1e6
    watch.work_on_complete(0)
    assert len(score.asked) == 1
    assert states(arrived)[-3:] == ["sent", "sent", "done"]


def test_a_study_that_ends_the_process_again_and_again_is_given_up(
    arrived: Path, archive: MemoryArchive
) -> None:
    class PowerFailure(BaseException):
        pass

    asked = []

    def score(folder: Path) -> Path:
        asked.append(folder)
        raise PowerFailure

    for _ in range(CRASHES):
        with pytest.raises(PowerFailure):
            Watch(config_of(), arrived, score, archive).work_on_complete(0)
    for _ in range(2):
        Watch(config_of(), arrived, score, archive).work_on_complete(0)
    assert len(asked) == CRASHES
    assert states(arrived)[-1] == "failed"


def test_an_interruption_is_no_crash(arrived: Path, archive: MemoryArchive) -> None:
    def interrupted(folder: Path) -> Path:
        raise KeyboardInterrupt

    for _ in range(CRASHES + 2):
        with pytest.raises(KeyboardInterrupt):
            Watch(config_of(), arrived, interrupted, archive).work_on_complete(0)
    Watch(config_of(), arrived, Scorer(arrived / "results"), archive).work_on_complete(0)
    assert states(arrived)[-1] == "done"


def _of_another_study(folder: Path, results: Path) -> Path:
    return write_result(results, "1.2.666")


def _a_picture_as_segmentation(folder: Path, results: Path) -> Path:
    write_result(results)
    header = factory.base_header(SOPClassUID=factory.MR_IMAGE)
    factory.save(header, results / "segmentation.dcm")
    return results


def _no_dicom(folder: Path, results: Path) -> Path:
    results.mkdir()
    return results


def _a_broken_file(folder: Path, results: Path) -> Path:
    write_result(results)
    (results / "segmentation.dcm").write_bytes(b"\0" * 128 + b"DICM")
    return results


NEVER = [_of_another_study, _a_picture_as_segmentation, _no_dicom, _a_broken_file]


@pytest.mark.parametrize("make", NEVER, ids=[make.__name__.strip("_") for make in NEVER])
def test_what_is_not_the_seg_or_sr_of_that_study_is_never_sent(
    make: Callable[[Path, Path], Path], arrived: Path, archive: MemoryArchive
) -> None:
    results = arrived / "results"
    Watch(config_of(), arrived, lambda folder: make(folder, results), archive).work_on_complete(0)
    assert archive.sent == []
    assert states(arrived)[-1] == "failed"


def test_finished_studies_leave_the_disk_after_their_time_and_stay_done(
    arrived: Path, archive: MemoryArchive, scan: Path
) -> None:
    score = Scorer(arrived / "results")
    watch = Watch(config_of(keep_hours=1.0), arrived, score, archive)
    old = time.time() - 3601

    def age() -> None:
        for path in arrived.glob("incoming/*/*/*.dcm"):
            os.utime(path, (old, old))

    age()
    assert not watch.remove_old()  # not finished: it stays, however old
    watch.work_on_complete(0)
    assert watch.remove_old()
    assert not list((arrived / "incoming").iterdir())
    inbox = Inbox(arrived / "incoming", LIMITS)
    for content in contents(scan):  # the whole study is sent again
        inbox.keep(content)
    watch.work_on_complete(0)
    assert not watch.remove_old()  # young
    assert len(score.asked) == 1
    assert len(list((arrived / "results").iterdir())) == 1


def test_a_fetch_that_breaks_off_leaves_nothing_to_score(
    scan: Path, tmp_path: Path, archive: MemoryArchive
) -> None:
    series = Series(factory.SERIES_UID, factory.STUDY_UID, "MR", images=12)
    archive.listing, archive.content = {factory.STUDY_UID: [series]}, {factory.SERIES_UID: contents(scan)}
    whole = archive.fetch

    def broken(series: Series, inbox: Inbox) -> int:
        inbox.keep(contents(scan)[0])
        raise InputError(Code.NETWORK, "The line is cut.")

    archive.fetch = broken  # type: ignore[method-assign]
    score = Scorer(tmp_path / "results")
    watch = Watch(config_of(), tmp_path, score, archive)
    with pytest.raises(InputError, match="line is cut"):
        watch.poll(once=True, sleep=lambda seconds: None)
    watch.work_on_complete(0)
    assert not score.asked
    with pytest.raises(InputError, match="line is cut"):
        fetch_to(archive, [series], tmp_path / "out", config_of())
    assert not (tmp_path / "out").exists()
    assert not list(tmp_path.glob(".*fetching"))
    archive.fetch = whole  # type: ignore[method-assign]
    watch.poll(once=True, sleep=lambda seconds: None)
    assert len(score.asked) == 1


def test_two_watches_in_one_folder_are_refused(tmp_path: Path) -> None:
    with locked(tmp_path), pytest.raises(ConfigError, match="Another process"), locked(tmp_path):
        pass
    with locked(tmp_path):
        pass


def test_a_torn_line_is_ended_and_counts_for_nothing(tmp_path: Path) -> None:
    Journal(tmp_path).append(Line("a", "b", "started"))
    path = tmp_path / "ledger.jsonl"
    path.write_bytes(path.read_bytes() + b'{"study": "a", "key": "b", "sta')
    Journal(tmp_path).append(Line("a", "b", "done"))
    assert [line.state for line in Journal(tmp_path).lines("a", "b")] == ["started", "done"]
