"""The audit log: every change to it is found, and named by its place."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
from pathlib import Path

import pytest

from lnn_med.errors import Code, InputError
from lnn_med.scoring import audit
from lnn_med.scoring.audit import AUDIT_FILE, HEAD_FILE, Event, object_of, record, verify
from lnn_med.scoring.audit_chain import GENESIS, RECOVERED, Line
from lnn_med.scoring.runner import score
from tests.scoring.fakes import FakeModels, write_head


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """Five lines."""
    for number in range(5):
        record(tmp_path, Event("scored", f"scan {number}", before_hash=str(number), after_hash="b"))
    return tmp_path


def lines(folder: Path) -> list[bytes]:
    return (folder / AUDIT_FILE).read_bytes().splitlines(keepends=True)


def rehashed(line: bytes, **changes: object) -> bytes:
    """A line that was changed by somebody who knows how the hash is made."""
    values = json.loads(line) | changes
    return (json.dumps(values | {"hash": Line(**values).digest()}) + "\n").encode()


def test_lines_form_a_chain(log: Path) -> None:
    entries = [json.loads(line) for line in lines(log)]
    assert [entry["seq"] for entry in entries] == [1, 2, 3, 4, 5]
    assert [entry["prev_hash"] for entry in entries] == [GENESIS, *(entry["hash"] for entry in entries[:-1])]
    fields = "seq ts_utc actor action object before_hash after_hash reason software_version prev_hash hash"
    assert list(entries[0]) == fields.split()
    verdict = verify(log)
    assert (verdict.intact, verdict.lines, verdict.head) == (True, 5, entries[-1]["hash"])


TAMPERING = (
    ("edited", lambda x: [x[0], x[1].replace(b"scan 1", b"scan 9"), *x[2:]], 2, "edited"),
    ("edited, hash made anew", lambda x: [x[0], rehashed(x[1], reason="x"), *x[2:]], 3, "replaced"),
    ("first line removed", lambda x: x[1:], 1, "removed"),
    ("removed from the middle", lambda x: [*x[:2], *x[3:]], 3, "removed"),
    ("last line removed", lambda x: x[:-1], 5, "removed at the end"),
    ("all lines removed", lambda x: [], 1, "removed at the end"),
    ("repeated", lambda x: [*x[:3], x[2], *x[3:]], 4, "inserted"),
    ("inserted, hash made", lambda x: [*x[:2], rehashed(x[1], seq=3, prev_hash="c"), *x[2:]], 3, "replaced"),
    ("two exchanged", lambda x: [x[0], x[2], x[1], *x[3:]], 2, "removed"),
    ("no line at all", lambda x: [*x[:3], b"hello\n", *x[3:]], 4, "no line"),
    ("last line cut short", lambda x: [*x[:4], x[4][:-20]], 5, "truncated"),
    ("number is no number", lambda x: [x[0].replace(b'"seq": 1', b'"seq": "1"'), *x[1:]], 1, "no line"),
)


@pytest.mark.parametrize(("what", "change", "line", "word"), TAMPERING, ids=[row[0] for row in TAMPERING])
def test_tampering_is_found_at_its_line(what, change, line, word, log: Path) -> None:
    (log / AUDIT_FILE).write_bytes(b"".join(change(lines(log))))
    verdict = verify(log)
    assert (verdict.intact, verdict.broken_line) == (False, line), what
    assert word in str(verdict.problem)
    assert verdict.head is None


def test_missing_head_is_a_broken_log(log: Path) -> None:
    (log / HEAD_FILE).unlink()
    assert not verify(log).intact


def test_chain_of_another_run_is_not_this_one(log: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    for _ in range(5):
        record(other, Event("scored", "scan"))
    (log / AUDIT_FILE).write_bytes((other / AUDIT_FILE).read_bytes())
    assert not verify(log).intact


def test_torn_line_of_a_stopped_machine_is_vouched_for(log: Path) -> None:
    whole = (log / AUDIT_FILE).read_bytes()
    (log / AUDIT_FILE).write_bytes(whole + b'{"seq": 6, "ts_u')
    assert not verify(log).intact
    record(log, Event("scored", "scan 6"))
    entries = lines(log)
    assert json.loads(entries[6])["action"] == RECOVERED
    assert json.loads(entries[7])["seq"] == 7
    assert verify(log).intact
    entries[5] = b'{"seq": 6, "other\n'  # what was torn cannot be exchanged either
    (log / AUDIT_FILE).write_bytes(b"".join(entries))
    assert verify(log).broken_line == 6


def test_line_without_its_end_is_continued(log: Path) -> None:
    (log / AUDIT_FILE).write_bytes((log / AUDIT_FILE).read_bytes()[:-1])
    record(log, Event("scored", "scan 6"))
    assert [json.loads(line)["seq"] for line in lines(log)] == [1, 2, 3, 4, 5, 6]
    assert verify(log).intact


def test_stop_between_log_and_head_is_no_tampering(log: Path) -> None:
    head = (log / HEAD_FILE).read_bytes()
    record(log, Event("scored", "scan 6"))
    (log / HEAD_FILE).write_bytes(head)
    assert verify(log).intact


def write_many(folder: Path, count: int) -> None:
    for number in range(count):
        record(folder, Event("scored", f"scan {number} of {os.getpid()}"))


def test_several_writers_make_one_chain(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=write_many, args=(tmp_path, 15)) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(120)
    assert [writer.exitcode for writer in writers] == [0, 0, 0, 0]
    verdict = verify(tmp_path)
    assert (verdict.intact, verdict.lines) == (True, 60)


def test_actor_can_be_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(audit.ACTOR_VARIABLE, "reader 3")
    assert record(tmp_path, Event("accepted", "scan")).actor == "reader 3"


def test_scan_is_named_by_hash_and_never_by_file() -> None:
    assert object_of("scan", "ab", "DOE^JOHN") == "scan sha256:ab"
    assert "DOE" not in object_of("scan", None, "DOE^JOHN")


def test_folder_without_a_log_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError) as error:
        verify(tmp_path)
    assert error.value.code is Code.NOTFOUND


def test_run_leaves_a_whole_chain_without_names(tmp_path: Path) -> None:
    for number, name in enumerate(["DOE_JOHN.nii", "fov.nii"]):
        write_head(tmp_path / "scans" / name, number)
    for _ in range(2):  # the second start has nothing to do and says so
        score(tmp_path / "scans", tmp_path / "run", FakeModels(tmp_path / "log.txt"), workers=0)
    entries = [json.loads(line) for line in lines(tmp_path / "run")]
    actions = [entry["action"] for entry in entries]
    assert actions == ["score begins", "scored", "failed", "score ends", "score begins", "score ends"]
    assert entries[2]["reason"] == "E_FOV"
    assert len(entries[1]["before_hash"]) == len(entries[1]["after_hash"]) == 64
    assert b"DOE" not in (tmp_path / "run" / AUDIT_FILE).read_bytes()
    assert verify(tmp_path / "run").intact


def test_command_verifies_and_names_the_broken_line(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from lnn_med.cli import audit as command  # imports register commands
    from lnn_med.cli.app import app
    from lnn_med.cli.run import run_app

    assert command.audit in [group.typer_instance for group in app.registered_groups]
    stop = signal.getsignal(signal.SIGTERM)
    try:
        assert run_app(app, "lnn-med", ["audit", "verify", str(log)]) == 0
        assert str(verify(log).head) in capsys.readouterr().out.replace("\n", "")
        (log / AUDIT_FILE).write_bytes(b"".join(lines(log)[1:]))
        assert run_app(app, "lnn-med", ["audit", "verify", str(log), "--json"]) == 2
        told = json.loads(capsys.readouterr().out)
        assert (told["intact"], told["broken_line"]) == (False, 1)
        assert run_app(app, "lnn-med", ["audit", "verify", str(log / "nothing")]) == 3
    finally:
        signal.signal(signal.SIGTERM, stop)
