"""A data set from catalogue to folder: whole or not at all, and checkable for ever after."""

from __future__ import annotations

import io
import json
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
import yaml

from data_tools.catalogue import CATALOGUE, Dataset, find, load_catalogue
from data_tools.download import Settings
from data_tools.fetch import fetch
from data_tools.hashes import check_sums, write_sums
from lnn_med.errors import Code, ConfigError, InputError
from tests.data_tools.conftest import Run
from tests.data_tools.local_server import Site, serve

QUICK = Settings(attempts=1, backoff_s=0.01, timeout_s=5, reserve_bytes=0)


def packed(**members: bytes) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, content in members.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


GOOD = packed(**{"Task/imagesTr/a.nii": b"image", "Task/labelsTr/a.nii": b"label", "notes": b"x"})


def catalogue(tmp_path: Path, site: Site, **facts: object) -> Path:
    """A catalogue with one data set of two files on the local server."""
    published = {"size_bytes": None, "sha256": None, "md5": None}
    first = {"url": f"{site.url}/set.tar", **published, "unpack": "Task", **facts}
    second = {"url": f"{site.url}/table.csv", **published}
    entry = dict.fromkeys(("title", "licence", "page", "citation", "notes"), "words")
    path = tmp_path / "catalogue.yaml"
    path.write_text(yaml.safe_dump({"tiny": {**entry, "files": [first, second]}}))
    return path


def dataset(tmp_path: Path, site: Site, **facts: object) -> Dataset:
    return find("tiny", catalogue(tmp_path, site, **facts))


def test_fetched_folder_holds_the_files_their_hashes_and_their_origin(tmp_path: Path) -> None:
    with serve(Site({"/set.tar": GOOD, "/table.csv": b"a,b"})) as site:
        outcome = fetch(dataset(tmp_path, site), tmp_path / "out", QUICK)
    assert outcome.files == 4
    assert (tmp_path / "out/imagesTr/a.nii").read_bytes() == b"image"
    assert (tmp_path / "out/table.csv").read_bytes() == b"a,b"
    record = json.loads((tmp_path / "out/DATASET.json").read_text())
    assert record["licence"] == "words"
    assert [file["checked"] for file in record["files"]] == ["not published"] * 2
    assert check_sums(tmp_path / "out").is_intact
    assert not (tmp_path / "out.partial").exists()


def test_second_fetch_checks_the_folder_and_downloads_nothing(tmp_path: Path) -> None:
    with serve(Site({"/set.tar": GOOD, "/table.csv": b"a,b"})) as site:
        one = dataset(tmp_path, site)
        fetch(one, tmp_path / "out", QUICK)
        asked = len(site.requests)
        assert fetch(one, tmp_path / "out", QUICK).fetched == ()
        assert len(site.requests) == asked
        (tmp_path / "out/imagesTr/a.nii").write_bytes(b"tampered")
        with pytest.raises(InputError, match="1 changed") as refusal:
            fetch(one, tmp_path / "out", QUICK)
    assert refusal.value.code is Code.HASH


def test_interrupted_fetch_leaves_no_folder_and_goes_on(tmp_path: Path) -> None:
    with serve(Site({"/set.tar": GOOD})) as site:  # the table is missing
        one = dataset(tmp_path, site)
        with pytest.raises(InputError) as refusal:
            fetch(one, tmp_path / "out", QUICK)
        assert refusal.value.code is Code.NETWORK
        assert not (tmp_path / "out").exists()
        site.files["/table.csv"] = b"a,b"
        fetch(one, tmp_path / "out", QUICK)
    assert [path for path, _ in site.requests].count("/set.tar") == 1
    assert check_sums(tmp_path / "out").is_intact


def test_archive_that_leads_outside_leaves_nothing_under_a_final_name(tmp_path: Path) -> None:
    evil = packed(**{"Task/good": b"x", "../../escaped": b"bad"})
    with serve(Site({"/set.tar": evil, "/table.csv": b"a,b"})) as site, pytest.raises(InputError) as refusal:
        fetch(dataset(tmp_path, site), tmp_path / "deep" / "out", QUICK)
    assert refusal.value.code is Code.ARCHIVE
    left = [path.name for path in tmp_path.rglob("*") if path.is_file()]
    assert left == ["catalogue.yaml"]


def test_wrong_hash_leaves_nothing_under_a_final_name(tmp_path: Path) -> None:
    with serve(Site({"/set.tar": GOOD, "/table.csv": b"a,b"})) as site, pytest.raises(InputError) as refusal:
        fetch(dataset(tmp_path, site, sha256="0" * 64), tmp_path / "out", QUICK)
    assert refusal.value.code is Code.HASH
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["catalogue.yaml"]


def test_folder_with_other_files_is_not_touched(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out/mine").write_text("keep")
    with serve(Site({})) as site, pytest.raises(InputError) as refusal:
        fetch(dataset(tmp_path, site), tmp_path / "out", QUICK)
    assert refusal.value.code is Code.STORAGE
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_hash_list_names_what_is_missing_changed_and_extra(tmp_path: Path) -> None:
    for name in ("a", "b", "c"):
        (tmp_path / name).write_text(name)
    assert write_sums(tmp_path) == 3
    (tmp_path / "a").unlink()
    (tmp_path / "b").write_text("other")
    (tmp_path / "new").write_text("new")
    found = check_sums(tmp_path)
    assert (found.missing, found.changed, found.extra, found.is_intact) == (("a",), ("b",), ("new",), False)


@pytest.mark.skipif(shutil.which("sha256sum") is None, reason="needs sha256sum")
def test_hash_list_is_read_by_sha256sum(tmp_path: Path) -> None:
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub/ä b").write_text("x")
    write_sums(tmp_path)
    subprocess.run(
        ["sha256sum", "--strict", "-c", "SHA256SUMS"], cwd=tmp_path, check=True, capture_output=True
    )


@pytest.mark.parametrize(
    "line", ["abc  name", "0" * 64 + "  ../name", "0" * 64 + "  /name", "0" * 64 + " name"]
)
def test_hash_list_that_leads_outside_or_is_none_is_refused(tmp_path: Path, line: str) -> None:
    (tmp_path / "SHA256SUMS").write_text(line + "\n")
    with pytest.raises(InputError) as refusal:
        check_sums(tmp_path)
    assert refusal.value.code is Code.FORMAT


def test_shipped_catalogue_is_complete() -> None:
    datasets = load_catalogue()
    assert {"msd-hippocampus", "ixi-t1", "ixi-dlmuse", "oasis-1"} <= set(datasets)
    for one in datasets.values():
        assert one.licence
        assert one.citation
        assert bool(one.files) != bool(one.registration), "either files or a page to register at"
        for file in one.files:
            assert all(url.startswith("https://") for url in file.urls)
            assert file.sha256 is None or len(file.sha256) == 64
            assert file.md5 is None or len(file.md5) == 32
        assert len({file.name for file in one.files}) == len(one.files)


def test_unknown_key_in_the_catalogue_names_the_nearest(tmp_path: Path) -> None:
    path = tmp_path / "catalogue.yaml"
    path.write_text(CATALOGUE.read_text().replace("size_bytes: 28425216", "size_byte: 28425216"))
    with pytest.raises(ConfigError, match="size_bytes"):
        load_catalogue(path)


def test_unknown_data_set_names_the_nearest() -> None:
    with pytest.raises(ConfigError, match="Did you mean msd-hippocampus"):
        find("msd-hipocampus")


def test_command_line_fetches_and_verifies(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with serve(Site({"/set.tar": GOOD, "/table.csv": b"a,b"})) as site:
        monkeypatch.setattr("data_tools.catalogue.find.__defaults__", (catalogue(tmp_path, site),))
        assert run("fetch", "tiny", "-o", tmp_path / "out", "--json") == 0
    fetched = json.loads(capsys.readouterr().out)
    assert fetched["files"] == 4
    assert run("verify", tmp_path / "out") == 0
    (tmp_path / "out/table.csv").write_text("other")
    assert run("verify", tmp_path / "out", "--json") == 2
    assert '"changed": [\n    "table.csv"' in capsys.readouterr().out


def test_command_line_stops_with_the_right_exit_code(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run("list") == 0
    assert "msd-hippocampus" in capsys.readouterr().out
    assert run("fetch", "nothing") == 3
    assert run("fetch", "oasis-1", "-o", tmp_path / "oasis") == 3
    assert "https://sites.wustl.edu/oasisbrains/request-access/" in capsys.readouterr().err
    assert run("fetch") == 3
    assert run("unknown") == 3
    assert run("verify", tmp_path / "absent") == 3
    with serve(Site({})) as site:
        monkeypatch.setattr("data_tools.catalogue.find.__defaults__", (catalogue(tmp_path, site),))
        assert run("fetch", "tiny", "-o", tmp_path / "out") == 2

    def interrupt(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("data_tools.fetch.fetch", interrupt)
    assert run("fetch", "tiny", "-o", tmp_path / "out") == 130


def test_folder_from_elsewhere_is_recorded_once(run: Run, tmp_path: Path) -> None:
    (tmp_path / "scan.nii").write_text("x")
    assert run("verify", tmp_path) == 3
    assert run("verify", tmp_path, "--record") == 0
    assert run("verify", tmp_path) == 0
    assert run("verify", tmp_path, "--record") == 3
