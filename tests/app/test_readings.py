"""Verdicts that stay: kept by scan, taken up again, shown to those who may, in a chain that is checked."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from app.audit import AuditLog
from app.auth import ALL_STUDIES, LOCAL, Person
from app.edit_task import RESULT_EDITED, StoreEdit
from app.edits import FOLDER, edited_name, keep, pending
from app.parts.session import opened
from app.readings import ACCEPT, EDIT, READER_FILE, REJECT, Readings, judged, scan_sha256, verdict_of
from app.store import Case, Store
from lnn_med.errors import InputError
from lnn_med.inference import depth_scale
from lnn_med.io.result_files import RESULT
from lnn_med.prediction import SEGMENTATION
from lnn_med.scoring.audit import AUDIT_FILE, verify
from tests.app.test_edits import LEFT, SCALE, measured, message_of

ANN, BOB = Person("ann", studies=("one",)), Person("bob", studies=("two",))
ADMIN = Person("root", "admin", (ALL_STUDIES,))


@pytest.fixture(autouse=True)
def _no_torch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(depth_scale, "depth_scale", lambda: SCALE)


@pytest.fixture(scope="module")
def result(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Files of one measured scan."""
    folder = tmp_path_factory.mktemp("measured")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(depth_scale, "depth_scale", lambda: SCALE)
        measured(folder)
    return folder


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path, 600)


def case_of(store: Store, result: Path, study: str = "") -> Case:
    """A case of its own with this result, as after an upload of the same scan."""
    case = store.new("owner")
    shutil.copytree(result / "out", case.out)
    shutil.copytree(result / "view", case.view)
    case.study, case.result = study, True
    return case


def edit(case: Case, count: int = 10) -> np.ndarray:
    """Erase some voxels of the left hippocampus, as the brush hands it over."""
    shown = np.fromfile(case.view / "segmentation.bin", np.uint8)
    painted = np.flatnonzero(shown == LEFT)[:count]
    keep(message_of(painted, np.zeros(count)), "segmentation", case.folder)
    return painted


def test_a_verdict_outlives_its_case_and_is_listed_for_the_same_scan(
    store: Store, result: Path, tmp_path: Path
) -> None:
    readings, first = Readings(tmp_path / "kept"), case_of(store, result)
    for decision, reason in ((ACCEPT, ""), (REJECT, "left outline leaks")):
        readings.keep(first, judged(first, LOCAL, decision, reason))
    store.drop(first)
    again = case_of(store, result)
    found = Readings(tmp_path / "kept").of(scan_sha256(again), LOCAL)
    assert [one.entry["decision"] for one in found] == [REJECT, ACCEPT]
    assert {one.entry["user"] for one in found} == {LOCAL.name}
    assert all(one.entry["ts_utc"].startswith("20") for one in found)
    assert readings.of("0" * 64, LOCAL) == []
    assert (tmp_path / "kept" / scan_sha256(again)).stat().st_mode & 0o077 == 0


def test_an_edit_is_taken_up_again_with_its_numbers_and_its_strokes(
    store: Store, result: Path, tmp_path: Path
) -> None:
    readings, first = Readings(tmp_path / "kept"), case_of(store, result)
    edit(first)
    entry = judged(first, LOCAL, EDIT, "")
    task = StoreEdit(str(first.out), str(first.folder), str(first.view), {}, entry)
    readings.keep(first, task.run(None, lambda stage: None))
    files = {name: (first.folder / name).read_bytes() for name in (edited_name(SEGMENTATION), RESULT_EDITED)}
    strokes = (first.folder / FOLDER / "segmentation").read_bytes()
    store.drop(first)
    again = case_of(store, result)
    readings.take_up(again, LOCAL)
    assert {name: (again.folder / name).read_bytes() for name in files} == files
    assert (again.folder / FOLDER / "segmentation").read_bytes() == strokes
    assert pending(again.folder) == {"segmentation": 10}
    verdict = verdict_of(again)
    assert verdict is not None
    assert verdict["edit"]["changed_voxels"] == {SEGMENTATION: 10}


def test_a_verdict_on_other_labels_is_listed_and_not_taken_up(
    store: Store, result: Path, tmp_path: Path
) -> None:
    readings, first = Readings(tmp_path / "kept"), case_of(store, result)
    entry = judged(first, LOCAL, ACCEPT, "") | {"labels_sha256": {SEGMENTATION: "0" * 64}}
    readings.keep(first, entry)
    again = case_of(store, result)
    readings.take_up(again, LOCAL)
    assert verdict_of(again) is None
    assert len(readings.of(scan_sha256(again), LOCAL)) == 1


def test_readers_see_their_own_and_those_of_their_studies(store: Store, result: Path, tmp_path: Path) -> None:
    readings = Readings(tmp_path / "kept")
    for user, study in ((ANN, "one"), (ANN, ""), (BOB, "two")):
        case = case_of(store, result, study)
        readings.keep(case, judged(case, user, ACCEPT, study))
    scan = scan_sha256(case)
    seen = {user.name: [one.entry["reason"] for one in readings.of(scan, user)] for user in (ANN, BOB, ADMIN)}
    assert seen == {"ann": ["", "one"], "bob": ["two"], "root": ["two", "", "one"]}
    fresh = case_of(store, result)
    readings.take_up(fresh, Person("eve", studies=("three",)))
    assert verdict_of(fresh) is None


def test_a_folder_that_cannot_be_written_is_told_and_holds_no_half(
    store: Store, result: Path, tmp_path: Path
) -> None:
    case = case_of(store, result)
    (tmp_path / "kept").write_text("a file, no folder")
    with pytest.raises(InputError) as caught:
        Readings(tmp_path / "kept").keep(case, judged(case, LOCAL, ACCEPT, ""))
    assert caught.value.code.value == "E_STORAGE"


def test_a_copy_that_breaks_off_leaves_nothing_behind(
    store: Store, result: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    case, readings = case_of(store, result), Readings(tmp_path / "kept")

    def full(*arguments: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "rename", full)
    with pytest.raises(InputError, match="No space left"):
        readings.keep(case, judged(case, LOCAL, ACCEPT, ""))
    assert not list((tmp_path / "kept" / scan_sha256(case)).iterdir())


def test_the_audit_log_names_user_and_scan_and_its_chain_is_checked(
    store: Store, result: Path, tmp_path: Path
) -> None:
    from types import SimpleNamespace

    log, case = AuditLog(tmp_path), case_of(store, result)
    server = SimpleNamespace(audit=log, readings=None)
    opened(server, case, Person("änn@x.org"), "measured")  # type: ignore[arg-type]
    log.write("bob", "verdict: accept", "scan sha256:abc", before=None, after="f" * 64)
    lines = [json.loads(line) for line in (tmp_path / AUDIT_FILE).read_text().splitlines()]
    assert [(line["actor"], line["action"]) for line in lines] == [
        ("änn@x.org", "measured"),
        ("bob", "verdict: accept"),
    ]
    assert (
        lines[0]["object"] == f"scan sha256:{json.loads((case.out / RESULT).read_bytes())['input']['sha256']}"
    )
    assert lines[1]["after_hash"] == "f" * 64
    assert verify(tmp_path).intact
    text = (tmp_path / AUDIT_FILE).read_text()
    (tmp_path / AUDIT_FILE).write_text(text.replace("bob", "eve"))
    assert verify(tmp_path).broken_line == 2


def test_only_the_readers_file_and_the_edit_are_kept(store: Store, result: Path, tmp_path: Path) -> None:
    readings, case = Readings(tmp_path / "kept"), case_of(store, result)
    edit(case)
    readings.keep(case, judged(case, LOCAL, ACCEPT, ""))  # accepted as the model has it: no edit
    (place,) = (tmp_path / "kept" / scan_sha256(case)).iterdir()
    assert [path.name for path in place.iterdir()] == [READER_FILE]
