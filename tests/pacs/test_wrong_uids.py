"""UIDs that are none, listed by an archive or a worklist: left out, counted, and the others go on."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from dataclasses import replace
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Any

import pytest
from pydicom.dataset import Dataset
from pynetdicom import evt

from lnn_med.cli import run_command
from lnn_med.errors import Code, InputError
from lnn_med.pacs.archive import Series, Study, open_archive
from lnn_med.pacs.inbox import Inbox
from lnn_med.pacs.journal import Journal
from lnn_med.pacs.settings import Limits, PacsConfig, Watching
from lnn_med.pacs.uids import shown
from lnn_med.pacs.watch import UNLISTED, Watch
from tests import dicom_factory as factory
from tests.pacs.stand_ins import MemoryArchive, Scorer
from tests.pacs.test_hostile_archives import answering, dimse, web

pytestmark = pytest.mark.filterwarnings("ignore:Invalid value")

GOOD, GOOD_SERIES = factory.STUDY_UID, factory.SERIES_UID
PATH, LONG, LETTERS = "../../etc/passwd", "1." + "1" * 500, "1.2.ZZCANARY"
WRONG = [PATH, LONG, LETTERS, "", "1..2", "01.2"]
SPOILT = "1.2.88"  # a study whose series has a path as UID
CONFIG = PacsConfig(host="127.0.0.1", limits=Limits(free_bytes=1), watch=Watching(quiet_s=0.0))
TAGS = {"StudyInstanceUID": "0020000D", "SeriesInstanceUID": "0020000E", "Modality": "00080060"}


def series_of(study: str) -> dict[str, str]:
    return {"SeriesInstanceUID": PATH if study == SPOILT else GOOD_SERIES, "Modality": "MR"}


def over_web() -> AbstractContextManager[PacsConfig]:
    """A DICOMweb server that lists wrong studies around good ones."""

    def answer(handler: BaseHTTPRequestHandler) -> None:
        path = handler.path.split("?")[0].split("/")
        rows = (
            [series_of(path[-2])] if path[-1] == "series" else [{"StudyInstanceUID": uid} for uid in LISTED]
        )
        made = [{TAGS[name]: {"Value": [value]} for name, value in row.items()} for row in rows]
        answering(json.dumps(made).encode())(handler)

    return web(answer)


def over_dimse() -> AbstractContextManager[PacsConfig]:
    """A DIMSE archive that does."""

    def on_find(event: evt.Event) -> Iterator[tuple[int, Dataset | None]]:
        asked = event.identifier
        one = asked.QueryRetrieveLevel == "SERIES"
        for row in (
            [series_of(asked.StudyInstanceUID)] if one else [{"StudyInstanceUID": uid} for uid in LISTED]
        ):
            answer = Dataset()
            for name, value in row.items():
                answer.add_new(int(TAGS[name], 16), "CS" if name == "Modality" else "UI", value)
            yield 0xFF00, answer
        yield 0, None

    return dimse(on_find)


LISTED = [*WRONG[:3], SPOILT, *WRONG[3:], GOOD]
WAYS: list[Callable[[], AbstractContextManager[PacsConfig]]] = [over_web, over_dimse]


@pytest.fixture(params=WAYS, ids=["web", "dimse"])
def config(request: pytest.FixtureRequest) -> Iterator[PacsConfig]:
    with request.param() as found:
        yield replace(found, limits=replace(CONFIG.limits, matches=50), watch=CONFIG.watch)


def test_good_studies_are_listed_and_wrong_ones_are_counted(config: PacsConfig) -> None:
    studies, refused = open_archive(config).studies({})
    assert [study.uid for study in studies] == [SPOILT, GOOD]
    assert refused == len(WRONG)
    with pytest.raises(InputError) as error:
        open_archive(config).series(Study(SPOILT), {})
    assert error.value.code is Code.UID


def test_polling_goes_on_with_the_others_and_tells_how_many_it_left_out(
    config: PacsConfig, scan: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    archive, rounds = open_archive(config), []

    def fetch(series: Series, inbox: Inbox) -> int:
        for path in sorted(scan.iterdir()):
            inbox.keep(path.read_bytes())
        return 12

    def sleep(seconds: float) -> None:
        rounds.append(seconds)
        if len(rounds) == 3:
            raise KeyboardInterrupt

    archive.fetch = fetch  # type: ignore[method-assign]
    archive.send = lambda files: None  # type: ignore[method-assign]
    score = Scorer(tmp_path / "results")
    watch = Watch(config, tmp_path, score, archive)
    caplog.set_level("DEBUG")
    with pytest.raises(KeyboardInterrupt):
        watch.poll(sleep=sleep)
    assert [folder.name for folder in score.asked] == [shown(GOOD)]
    assert watch.refused == len(WRONG) + 1
    (line,) = Journal(tmp_path).lines(shown(SPOILT), UNLISTED)  # once in three rounds
    assert (line.state, line.code) == ("fetched", "E_UID")
    here = [one for one in caplog.records if one.threadName == "MainThread"]  # the server has its own
    words = [one.getMessage() for one in here if one.levelname == "WARNING"]
    assert len(words) == 2
    assert words[1].startswith(f"{len(WRONG) + 1} studies are left out")
    told = (
        repr([one.getMessage() for one in here])
        + (tmp_path / "ledger.jsonl").read_text()
        + " ".join(map(str, tmp_path.rglob("*")))
    )
    assert not any(secret in told for secret in ("passwd", "11111111", "ZZCANARY", SPOILT, GOOD))


def test_the_commands_list_the_others_and_end_with_some_failed(
    config: PacsConfig, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = (
        f"url: {config.url}" if config.url else f"host: {config.host}\nport: {config.port}\nae_title: EVIL"
    )
    settings = tmp_path / "pacs.yaml"
    settings.write_text(f"{where}\nlimits: {{matches: 50, free_bytes: 1}}\n")
    assert run_command(["pacs", "find", str(settings), "--json"]) == 2
    found = json.loads(capsys.readouterr().out)
    assert [one["study_uid"] for one in found] == [GOOD]
    assert run_command(["pacs", "fetch", str(settings), SPOILT, "-o", str(tmp_path / "out")]) == 3
    assert "E_UID" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


class Stumbling(MemoryArchive):
    """An archive whose every answer about some studies is an error."""

    def __init__(self, scan: Path, **errors: InputError) -> None:
        super().__init__()
        self.errors = dict(zip(("1.2.1", "1.2.3.4.6"), errors.values(), strict=False))
        self.listing = {uid: [Series(f"{uid}.9", uid, "MR", images=12)] for uid in (*self.errors, GOOD)}
        self.content = {f"{GOOD}.9": [path.read_bytes() for path in sorted(scan.iterdir())]}

    def series(self, study: Study, match: Mapping[str, str]) -> list[Series]:
        if study.uid in self.errors:
            raise self.errors[study.uid]
        return super().series(study, match)


def test_a_study_that_the_archive_never_gives_whole_does_not_hold_up_the_others(
    scan: Path, tmp_path: Path
) -> None:
    archive = Stumbling(scan, cut=InputError(Code.NETWORK, "11 images came; the archive lists 12."))
    score = Scorer(tmp_path / "results")
    with pytest.raises(InputError, match="11 images"):  # told at the end: the next time may work
        Watch(CONFIG, tmp_path, score, archive).poll(once=True, sleep=lambda seconds: None)
    assert [folder.name for folder in score.asked] == [shown(GOOD)]


def test_a_full_disk_is_tried_again_a_few_times_and_a_wrong_image_is_not(scan: Path, tmp_path: Path) -> None:
    asked: dict[str, int] = {}

    def fetch_with(code: Code) -> Callable[[Series, Inbox], int]:
        def fetch(series: Series, inbox: Inbox) -> int:
            asked[code] = asked.get(code, 0) + 1
            raise InputError(code, "It cannot be kept.")

        return fetch

    for code, times in ((Code.STORAGE, CONFIG.watch.attempts), (Code.NOTDICOM, 1)):
        archive: Any = Stumbling(scan)
        archive.fetch = fetch_with(code)
        watch = Watch(CONFIG, tmp_path / code, Scorer(tmp_path / "results"), archive)
        for _ in range(CONFIG.watch.attempts + 2):
            watch.fetch_complete()
        assert asked[code] == times > 0
    assert CONFIG.watch.attempts > 1
