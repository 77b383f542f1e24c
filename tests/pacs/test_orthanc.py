"""The whole way against a real Orthanc: store, find, fetch, score by a stand-in, send back, find the SEG."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import requests

from lnn_med.cli import run_command
from lnn_med.errors import ConfigError, InputError
from lnn_med.io import read
from lnn_med.pacs.archive import find, open_archive, outgoing
from lnn_med.pacs.settings import Limits, Listen, PacsConfig, Watching
from lnn_med.pacs.watch import Watch, fetch_to
from tests import dicom_factory as factory
from tests.pacs.orthanc import AE_TITLE, OUR_AE_TITLE, Orthanc
from tests.pacs.stand_ins import Scorer

WAYS = ("get", "move", "web")
SMALL = Limits(free_bytes=1)  # the machine of the tests may have little room


def config_of(server: Orthanc, way: str) -> PacsConfig:
    watch = Watching(quiet_s=0.3, poll_s=0.1, days=100_000)  # the phantom is of 2020
    if way == "web":
        return PacsConfig(url=server.url, limits=SMALL, watch=watch)
    listen = Listen((AE_TITLE,), port=server.our_port, idle_s=5)
    return PacsConfig(
        host="127.0.0.1",
        port=server.dicom_port,
        ae_title=AE_TITLE,
        retrieve="move" if way == "move" else "get",
        limits=SMALL,
        listen=listen,
        watch=watch,
    )


def store(server: Orthanc, folder: Path) -> None:
    for path in sorted(folder.iterdir()):
        requests.post(f"{server.rest}/instances", data=path.read_bytes(), timeout=10).raise_for_status()


@pytest.mark.parametrize("way", WAYS)
def test_what_was_sent_is_found_and_fetched_as_the_same_volume(
    way: str, server: Orthanc, scan: Path, tmp_path: Path
) -> None:
    config = config_of(server, way)
    archive = open_archive(config)
    archive.send([outgoing(path) for path in sorted(scan.iterdir())])
    (series,), _ = find(archive, {"Modality": "MR", "StudyInstanceUID": factory.STUDY_UID}, 10)
    assert (series.uid, series.study_uid, series.images) == (factory.SERIES_UID, factory.STUDY_UID, 12)
    assert fetch_to(archive, [series], tmp_path / "out", config) == 12
    there, back = read(scan), read(tmp_path / "out")
    np.testing.assert_array_equal(there.data, back.data)
    np.testing.assert_array_equal(there.affine, back.affine)


@pytest.mark.parametrize("way", ["get", "web"])
def test_what_is_not_there_is_not_found(way: str, server: Orthanc) -> None:
    archive = open_archive(config_of(server, way))
    assert find(archive, {"StudyInstanceUID": "1.2.3.9"}, 10) == ([], 0)


@pytest.mark.parametrize("way", ["get", "web"])
def test_too_many_answers_are_refused(way: str, server: Orthanc, tmp_path: Path) -> None:
    for number in range(3):
        uids = {"StudyInstanceUID": f"1.2.3.{number}", "SeriesInstanceUID": f"1.2.3.{number}.1"}
        store(
            server,
            factory.save_all(factory.slices(factory.small_phantom(), **uids)[:1], tmp_path / str(number)),
        )
    config = config_of(server, way)
    assert len(open_archive(config).studies({})[0]) == 3
    with pytest.raises(InputError, match="E_SIZE"):
        open_archive(replace(config, limits=replace(SMALL, matches=2))).studies({})


def test_keys_of_the_patient_go_over_dimse_but_never_into_a_url(server: Orthanc, scan: Path) -> None:
    store(server, scan)
    by_patient = {"PatientID": factory.PATIENT_ID}
    assert len(find(open_archive(config_of(server, "get")), by_patient, 10)[0]) == 1
    assert find(open_archive(config_of(server, "get")), {"PatientID": "other"}, 10) == ([], 0)
    with pytest.raises(ConfigError, match="URL"):
        find(open_archive(config_of(server, "web")), by_patient, 10)


def test_an_archive_that_refuses_us_is_an_error_of_the_network(server: Orthanc) -> None:
    config = replace(config_of(server, "get"), ae_title="WRONG")
    with pytest.raises(InputError, match=r"E_NETWORK.*refused the association"):
        open_archive(config).studies({})


@contextmanager
def watching(run: Callable[[Callable[[float], None]], None]) -> Iterator[None]:
    """Run a watch in a thread; at the end it is interrupted as Ctrl-C would."""
    ended = threading.Event()

    def sleep(seconds: float) -> None:
        if ended.wait(min(seconds, 0.05)):
            raise KeyboardInterrupt

    def body() -> None:
        with suppress(KeyboardInterrupt):
            run(sleep)

    thread = threading.Thread(target=body)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(20)
    assert not thread.is_alive()


def wait_for(what: Callable[[], bool], seconds: float = 20) -> None:
    ends = time.monotonic() + seconds
    while not what():
        assert time.monotonic() < ends, "it did not happen in time"
        time.sleep(0.05)


def states(folder: Path) -> list[str]:
    path = folder / "ledger.jsonl"
    return [json.loads(line)["state"] for line in path.read_text().splitlines()] if path.exists() else []


def found_back(server: Orthanc) -> list[str]:
    archive = open_archive(config_of(server, "web"))
    found, _ = find(archive, {"StudyInstanceUID": factory.STUDY_UID}, 10)
    return sorted(one.modality for one in found)


def test_a_study_that_is_sent_to_us_is_scored_and_its_seg_and_sr_are_found_over_dicomweb(
    server: Orthanc, scan: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    store(server, scan)
    folder, score = tmp_path / "watch", Scorer(tmp_path / "watch" / "results")
    (series,) = server.get("/series")
    caplog.set_level("DEBUG")
    for start in range(2):  # the second start finds the same study sent again, and does nothing twice
        with watching(Watch(config_of(server, "get"), folder, score).listen):
            wait_for(lambda: requests.post(f"{server.rest}/modalities/us/store", data=series, timeout=20).ok)
            wait_for(lambda: "done" in states(folder))
            time.sleep(0.6 * start)  # longer than the quiet time
        assert len(score.asked) == 1
        assert states(folder) == ["started", "scored", "sent", "sent", "done"]
        assert found_back(server) == ["MR", "SEG", "SR"]
    told = caplog.text + (folder / "ledger.jsonl").read_text() + " ".join(map(str, folder.rglob("*")))
    for secret in (factory.PATIENT, factory.PATIENT_ID, factory.STUDY_UID, factory.SERIES_UID):
        assert secret not in told


@pytest.mark.parametrize("way", ["get", "web"])
def test_a_new_study_in_the_archive_is_fetched_once_it_is_quiet_scored_and_answered_once(
    way: str, server: Orthanc, scan: Path, tmp_path: Path
) -> None:
    store(server, scan)
    folder, score = tmp_path / "watch", Scorer(tmp_path / "watch" / "results")
    for _ in range(2):
        Watch(config_of(server, way), folder, score).poll(once=True)
        assert len(score.asked) == 1
        assert states(folder) == ["fetched", "started", "scored", "sent", "sent", "done"]
        assert found_back(server) == ["MR", "SEG", "SR"]


def test_a_study_that_still_grows_is_left_alone(server: Orthanc, scan: Path, tmp_path: Path) -> None:
    paths = sorted(scan.iterdir())
    for path in paths[:6]:
        requests.post(f"{server.rest}/instances", data=path.read_bytes(), timeout=10).raise_for_status()
    score = Scorer(tmp_path / "results")
    watch = Watch(config_of(server, "web"), tmp_path, score)
    watch.fetch_complete()
    store(server, scan)  # the rest arrives while we wait
    time.sleep(0.4)
    watch.fetch_complete()
    watch.work_on_complete(0)
    assert not score.asked
    time.sleep(0.4)
    watch.fetch_complete()
    watch.work_on_complete(0)
    (folder,) = score.asked
    assert len(list(folder.glob("*/*.dcm"))) == 12


def test_the_commands_find_fetch_and_send(
    server: Orthanc, scan: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    url, files = server.url, [str(path) for path in sorted(scan.iterdir())]
    assert run_command(["pacs", "send", url, *files, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == {"sent": 12}
    assert run_command(["pacs", "find", url, "--match", "Modality=MR", "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)
    settings = tmp_path / "pacs.yaml"
    settings.write_text(f"url: {url}\nlimits: {{free_bytes: 1}}\n")
    arguments = [str(settings), found["study_uid"], "--series", found["uid"], "-o", str(tmp_path / "out")]
    assert run_command(["pacs", "fetch", *arguments, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["images"] == 12
    assert read(tmp_path / "out").shape == read(scan).shape
    assert run_command(["pacs", "fetch", *arguments]) == 3  # never into a folder that holds something
    assert "not an empty folder" in capsys.readouterr().err
    assert run_command(["pacs", "find", f"dicom://{OUR_AE_TITLE}@127.0.0.1:1"]) == 2  # nobody is there
    assert "E_NETWORK" in capsys.readouterr().err
