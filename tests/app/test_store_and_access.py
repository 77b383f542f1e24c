"""Cases belong to one owner and go away; people may do what the file says; the log keeps its chain."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any
from unittest.mock import MagicMock

import pytest

pytest.importorskip("streamlit")
from app.auth import ADMIN, Access, Person
from app.hub import COOKIE, Hub
from app.parts import session
from app.parts.runs import runs_of
from app.settings import Settings
from app.store import Store, owner_of
from lnn_med.errors import ConfigError
from lnn_med.scoring.runner import RUN_FILE


def test_a_case_is_found_by_its_owner_alone(tmp_path: Path) -> None:
    store = Store(tmp_path, 60)
    ann, bob = owner_of("cookie of ann"), owner_of("cookie of bob")
    case = store.new(ann)
    assert store.find(case.token, ann) is case
    assert store.find(case.token, bob) is None
    assert store.find("0" * 64, ann) is None
    assert store.of(bob) == []
    assert case.token not in (ann, bob)
    assert store.root.stat().st_mode & 0o077 == 0
    store.close()
    assert not list(tmp_path.iterdir())


def test_cases_that_nobody_looks_at_are_deleted_with_their_files(tmp_path: Path) -> None:
    store = Store(tmp_path, 0.4)
    old, seen = store.new("ann"), store.new("ann")
    (old.upload / "000000").write_bytes(b"secret")
    end = time.monotonic() + 10
    while old.folder.exists() and time.monotonic() < end:
        assert store.find(seen.token, "ann") is seen
        time.sleep(0.05)
    assert not old.folder.exists()
    assert seen.folder.exists()
    store.close()


def test_who_signs_in_next_finds_nothing_of_who_was_there_before(tmp_path: Path) -> None:
    store = Store(tmp_path, 60)
    browser, other = owner_of("cookie"), owner_of("another cookie")
    store.sign_in(browser, "ann")
    case, elsewhere = store.new(browser), store.new(other)
    store.sign_in(browser, "ann")
    assert store.find(case.token, browser) is case
    store.sign_in(browser, "bob")
    assert store.of(browser) == []
    assert not case.folder.exists()
    assert store.find(elsewhere.token, other) is elsewhere
    store.close()


class StoppedError(Exception):
    """In the place of Streamlit's own way to end a page."""


@pytest.mark.parametrize(
    ("auth", "user", "header", "role"),
    [
        ("none", {}, "", "admin"),
        (
            "oidc",
            {"is_logged_in": True, "email": "Ann@X.org"},
            "root",
            "reader",
        ),  # a header counts for nothing
        ("oidc", {"is_logged_in": True, "email": "eve@x.org"}, "root", None),
        ("oidc", {"is_logged_in": False}, "root", None),
        ("proxy", {"is_logged_in": True, "email": "eve@x.org"}, "root", "admin"),
        ("proxy", {}, "eve", None),
        ("proxy", {}, "", None),
    ],
)
def test_a_page_is_shown_to_whom_the_login_names_and_the_list_knows(
    auth: str,
    user: dict[str, object],
    header: str,
    role: str | None,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    page = MagicMock()
    page.stop.side_effect = StoppedError
    page.button.return_value = False
    page.context.headers = {"X-Forwarded-User": header}
    page.context.cookies = {COOKIE: "cookie"}
    page.user.is_logged_in = user.get("is_logged_in", False)
    page.user.get = user.get
    file = tmp_path / "access.yaml"
    file.write_text("users:\n  ann@x.org: {role: reader, studies: [one]}\n  root: {role: admin}\n")
    none: Any = None
    store = Store(tmp_path, 60)
    server = Hub(Settings(auth=auth, access=file, secrets={}), store, none, none, Access.read(file))
    monkeypatch.setattr(session, "st", page)
    monkeypatch.setattr(session, "hub", lambda: server)
    if role is None:
        with pytest.raises(StoppedError):
            session.person()
    else:
        assert session.person().role == role
    store.close()


def test_a_reader_s_list_holds_the_runs_of_their_studies_alone(tmp_path: Path) -> None:
    for study in ("one", "two"):
        (tmp_path / study).mkdir()
        (tmp_path / study / RUN_FILE).write_text("{}")
    (tmp_path / "no run").mkdir()
    seen = [
        [run.name for run in runs_of(tmp_path, person)]
        for person in (Person("ann", studies=("one",)), Person("eve"), Person("root", ADMIN))
    ]
    assert seen == [["one"], [], ["one", "two"]]


def test_the_access_file_decides_and_strangers_may_nothing(tmp_path: Path) -> None:
    file = tmp_path / "access.yaml"
    file.write_text("users:\n  Ann@x.org: {role: reader, studies: [one]}\n  root: {role: admin}\n")
    access = Access.read(file)
    ann, root = access.person("ann@X.org"), access.person("root")
    assert ann is not None
    assert root is not None
    assert (ann.may_open("one"), ann.may_open("two"), root.may_open("two")) == (True, False, True)
    assert access.person("eve") is None
    assert access.person(None) is None


@pytest.mark.parametrize(
    "text",
    ["users: [ann]", "people: {}", "users: {ann: {role: king}}", "users: {ann: {studeis: [a]}}", "a: [", ""],
)
def test_an_access_file_with_a_mistake_is_refused(tmp_path: Path, text: str) -> None:
    (tmp_path / "access.yaml").write_text(text)
    with pytest.raises(ConfigError, match="--access"):
        Access.read(tmp_path / "access.yaml")


def test_logins_without_a_list_of_people_are_refused() -> None:
    with pytest.raises(ConfigError, match="--access"):
        Settings(auth="proxy")
    with pytest.raises(ConfigError, match="ldap"):
        Settings(auth="ldap")
