"""Cases belong to one owner and go away; people may do what the file says; the log keeps its chain."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from app.auth import Access
from app.settings import Settings
from app.store import Store, owner_of
from lnn_med.errors import ConfigError


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
