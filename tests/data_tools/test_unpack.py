"""Archives that cannot be trusted: what leads outside is refused, junk is left out."""

from __future__ import annotations

import io
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from data_tools.unpack import unpack
from lnn_med.errors import Code, InputError
from lnn_med.io.files import Limits


def tar_with(
    path: Path, *members: tuple[str, bytes | str], kind: bytes = tarfile.SYMTYPE, mode: str = "w"
) -> Path:
    """A tar of files (bytes) and of links or devices (str: where they point)."""
    with tarfile.open(path, mode) as tar:
        for name, content in members:
            member = tarfile.TarInfo(name)
            if isinstance(content, bytes):
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))
            else:
                member.type, member.linkname = kind, content
                tar.addfile(member)
    return path


def files(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_only_the_wanted_folder_is_kept_without_junk(tmp_path: Path, mode: str) -> None:
    archive = tar_with(
        tmp_path / "a.tar",
        ("Task/imagesTr/a.nii.gz", b"image"),
        ("Task/._dataset.json", b"resource fork"),
        ("Task/imagesTr/._a.nii.gz", b"resource fork"),
        ("Task/dataset.json", b"{}"),
        ("Tasks/other", b"x"),
        ("readme", b"x"),
        mode=mode,
    )
    assert unpack(archive, tmp_path / "out", "Task") == 2
    assert files(tmp_path / "out") == {"dataset.json": b"{}", "imagesTr/a.nii.gz": b"image"}


def test_zip_gives_the_same(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        archive.writestr("Task/imagesTr/a.nii.gz", b"image")
        archive.writestr("Task/dataset.json", b"{}")
        archive.writestr("readme", b"x")
    assert unpack(tmp_path / "a.zip", tmp_path / "out", "Task") == 2
    assert files(tmp_path / "out") == {"dataset.json": b"{}", "imagesTr/a.nii.gz": b"image"}
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.zip", "out"]


@pytest.mark.parametrize(
    "name", ["../out.txt", "Task/../../out.txt", "/tmp/out.txt", "..\\out.txt", "C:/out.txt"]
)
@pytest.mark.parametrize("inside", [".", "Task"])
def test_path_that_leads_outside_is_refused(tmp_path: Path, name: str, inside: str) -> None:
    archive = tar_with(tmp_path / "a.tar", ("Task/good", b"x"), (name, b"bad"))
    with pytest.raises(InputError) as refusal:
        unpack(archive, tmp_path / "deep" / "out", inside)
    assert refusal.value.code is Code.ARCHIVE
    assert b"bad" not in files(tmp_path / "deep").values()


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE])
def test_link_or_device_is_refused(tmp_path: Path, kind: bytes) -> None:
    archive = tar_with(tmp_path / "a.tar", ("Task/link", "/etc/passwd"), kind=kind)
    with pytest.raises(InputError, match="link or device") as refusal:
        unpack(archive, tmp_path / "out")
    assert refusal.value.code is Code.ARCHIVE


def test_link_outside_the_wanted_folder_does_not_matter(tmp_path: Path) -> None:
    archive = tar_with(tmp_path / "a.tar", ("other/link", "/etc/passwd"), ("Task/good", b"x"))
    assert unpack(archive, tmp_path / "out", "Task") == 1


@pytest.mark.parametrize("second", ["Task/a", "Task/A"])
def test_same_name_twice_is_refused(tmp_path: Path, second: str) -> None:
    archive = tar_with(tmp_path / "a.tar", ("Task/a", b"1"), (second, b"2"))
    with pytest.raises(InputError, match="twice"):
        unpack(archive, tmp_path / "out")


@pytest.mark.parametrize(
    ("limits", "what"),
    [
        (Limits(archive_entries=3), "entries"),
        (Limits(archive_total_bytes=30_000), "bytes"),
        (Limits(zip_free_bytes=0, inflate_ratio=10), "inflates"),
    ],
)
def test_bomb_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limits: Limits, what: str) -> None:
    monkeypatch.setattr("data_tools.unpack.LIMITS", limits)
    members = [(f"Task/{number}", bytes(10_000)) for number in range(5)]
    archive = tar_with(tmp_path / "a.tar.gz", *members, mode="w:gz")
    with pytest.raises(InputError, match=what) as refusal:
        unpack(archive, tmp_path / "out")
    assert refusal.value.code is Code.BOMB


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-600])


def no_archive(path: Path) -> None:
    path.write_bytes(b"<html>not found</html>" * 100)


@pytest.mark.parametrize("damage", [cut, no_archive])
def test_broken_archive_is_refused(tmp_path: Path, damage: Callable[[Path], None]) -> None:
    archive = tar_with(tmp_path / "a.tar.gz", ("Task/a", bytes(range(256)) * 40), mode="w:gz")
    damage(archive)
    with pytest.raises(InputError) as refusal:
        unpack(archive, tmp_path / "out")
    assert refusal.value.code is Code.ARCHIVE


def test_archive_without_the_wanted_folder_is_refused(tmp_path: Path) -> None:
    archive = tar_with(tmp_path / "a.tar", ("other/a", b"x"))
    with pytest.raises(InputError, match="no file in the folder 'Task'"):
        unpack(archive, tmp_path / "out", "Task")
