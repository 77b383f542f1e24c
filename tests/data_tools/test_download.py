"""Downloads against a server on loopback: cut lines, wrong bytes, servers that cannot resume."""

from __future__ import annotations

import hashlib
import random
from pathlib import Path

import pytest

from data_tools.catalogue import RemoteFile
from data_tools.download import Settings, download
from lnn_med.errors import Code, ConfigError, InputError
from tests.data_tools.local_server import Site, serve

CONTENT = random.Random(0).randbytes(300_000)
SHA256 = hashlib.sha256(CONTENT).hexdigest()
MD5 = hashlib.md5(CONTENT, usedforsecurity=False).hexdigest()
QUICK = Settings(attempts=2, backoff_s=0.01, timeout_s=5, chunk_bytes=10_000, reserve_bytes=0)


def remote(site: Site, path: str = "/set.tar", **facts: object) -> RemoteFile:
    return RemoteFile(**{"url": site.url + path, "size_bytes": None, "sha256": SHA256, "md5": None, **facts})


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_whole_file_arrives_with_both_hashes(tmp_path: Path) -> None:
    seen = []
    with serve(Site({"/set.tar": CONTENT})) as site:
        got = download(remote(site, md5=MD5), tmp_path, QUICK, lambda done, total: seen.append((done, total)))
    assert got.path.read_bytes() == CONTENT
    assert (got.size_bytes, got.sha256, got.md5, got.checked) == (len(CONTENT), SHA256, MD5, "sha256")
    assert seen[-1] == (len(CONTENT), len(CONTENT))
    assert names(tmp_path) == ["set.tar"]


def test_cut_connection_is_resumed_where_it_stopped(tmp_path: Path) -> None:
    with serve(Site({"/set.tar": CONTENT}, cut_after=[100_000, 50_000])) as site:
        got = download(remote(site), tmp_path, QUICK)
    assert got.path.read_bytes() == CONTENT
    assert site.requests == [("/set.tar", None), ("/set.tar", "bytes=100000-"), ("/set.tar", "bytes=150000-")]


def test_later_run_goes_on_with_the_part_of_an_earlier_one(tmp_path: Path) -> None:
    with serve(Site({"/set.tar": CONTENT}, cut_after=[100_000, 0, 0])) as site:
        with pytest.raises(InputError) as refusal:
            download(remote(site), tmp_path, QUICK)
        assert refusal.value.code is Code.NETWORK
        assert (tmp_path / "set.tar.part").read_bytes() == CONTENT[:100_000]
        assert not (tmp_path / "set.tar").exists()
        download(remote(site), tmp_path, QUICK)
    assert site.requests[-1] == ("/set.tar", "bytes=100000-")
    assert (tmp_path / "set.tar").read_bytes() == CONTENT


def test_server_without_ranges_starts_over(tmp_path: Path) -> None:
    with serve(Site({"/set.tar": CONTENT}, ranges=False, cut_after=[100_000])) as site:
        got = download(remote(site), tmp_path, QUICK)
    assert got.path.read_bytes() == CONTENT
    assert len(site.requests) == 2


def test_file_that_changed_on_the_server_is_not_mixed_with_the_old_part(tmp_path: Path) -> None:
    site = Site({"/set.tar": b"old" * 100_000}, cut_after=[100_000, 0, 0])
    with serve(site):
        with pytest.raises(InputError):
            download(remote(site, sha256=None), tmp_path, QUICK)
        site.files["/set.tar"], site.validator = CONTENT, '"v2"'
        got = download(remote(site, sha256=None), tmp_path, QUICK)
    assert got.path.read_bytes() == CONTENT
    assert got.checked == "not published"


def test_without_validator_and_hash_a_part_is_not_trusted(tmp_path: Path) -> None:
    with serve(Site({"/set.tar": CONTENT}, validator=None, cut_after=[100_000])) as site:
        download(remote(site, sha256=None), tmp_path, QUICK)
    assert site.requests == [("/set.tar", None), ("/set.tar", None)]


@pytest.mark.parametrize("wrong", [{"sha256": "0" * 64}, {"sha256": None, "md5": "0" * 32}])
def test_wrong_hash_is_refused_and_nothing_is_left(tmp_path: Path, wrong: dict[str, object]) -> None:
    with serve(Site({"/set.tar": CONTENT})) as site, pytest.raises(InputError) as refusal:
        download(remote(site, **wrong), tmp_path, QUICK)
    assert refusal.value.code is Code.HASH
    assert names(tmp_path) == []


def test_wrong_size_is_refused_before_a_byte_is_written(tmp_path: Path) -> None:
    with (
        serve(Site({"/set.tar": CONTENT})) as site,
        pytest.raises(InputError, match="300,000 bytes") as refusal,
    ):
        download(remote(site, size_bytes=7), tmp_path, QUICK)
    assert refusal.value.code is Code.NETWORK
    assert names(tmp_path) == []


def test_passing_fault_of_the_server_is_tried_again(tmp_path: Path) -> None:
    with serve(Site({"/set.tar": CONTENT}, statuses=[503])) as site:
        assert download(remote(site), tmp_path, QUICK).sha256 == SHA256


def test_missing_file_is_not_tried_again_and_the_mirror_serves(tmp_path: Path) -> None:
    with serve(Site({"/mirror/set.tar": CONTENT})) as site:
        got = download(remote(site, mirrors=(f"{site.url}/mirror/set.tar",)), tmp_path, QUICK)
    assert [path for path, _ in site.requests] == ["/set.tar", "/mirror/set.tar"]
    assert got.url.endswith("/mirror/set.tar")


def test_part_longer_than_the_file_is_thrown_away(tmp_path: Path) -> None:
    (tmp_path / "set.tar.part").write_bytes(CONTENT + b"more")
    with serve(Site({"/set.tar": CONTENT})) as site:
        assert download(remote(site), tmp_path, QUICK).path.read_bytes() == CONTENT


def test_file_of_an_interrupted_run_is_used_if_it_is_the_published_one(tmp_path: Path) -> None:
    with serve(Site({"/set.tar": CONTENT})) as site:
        download(remote(site), tmp_path, QUICK)
        download(remote(site), tmp_path, QUICK)
        assert len(site.requests) == 1
        (tmp_path / "set.tar").write_bytes(b"damaged")
        assert download(remote(site), tmp_path, QUICK).path.read_bytes() == CONTENT


def test_full_disk_is_refused_before_a_byte_is_written(tmp_path: Path) -> None:
    with serve(Site({"/set.tar": CONTENT})) as site, pytest.raises(InputError) as refusal:
        download(remote(site), tmp_path, Settings(reserve_bytes=1 << 60))
    assert refusal.value.code is Code.STORAGE
    assert names(tmp_path) == []


def test_nobody_answers(tmp_path: Path) -> None:
    with serve(Site({})) as site:
        pass  # the port is free again
    with pytest.raises(InputError) as refusal:
        download(remote(site), tmp_path, QUICK)
    assert refusal.value.code is Code.NETWORK


def test_local_files_cannot_be_fetched(tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("local")
    with pytest.raises(ConfigError, match="http"):
        download(RemoteFile(secret.as_uri(), None, None, None), tmp_path / "out", QUICK)
    with (
        serve(Site({}, redirects={"/set.tar": secret.as_uri()})) as site,
        pytest.raises(InputError) as refusal,
    ):
        download(remote(site), tmp_path / "out", QUICK)
    assert refusal.value.code is Code.NETWORK
    assert not (tmp_path / "out" / "set.tar").exists()
