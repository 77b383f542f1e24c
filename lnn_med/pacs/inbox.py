"""Images that arrive from a network: checked, stored under our own names, or set aside.

A folder per study and series, a file per image: `<study>/<series>/<image>.dcm`. The names are hashes of UIDs,
so nothing that a peer says becomes a path, and the same image comes to the same place.
"""

from __future__ import annotations

import os
import secrets
import shutil
import threading
from collections.abc import Collection
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lnn_med.errors import Code, InputError
from lnn_med.io.dicom_files import (
    COMPRESSED,
    EXPLICIT_LE,
    IMPLICIT_LE,
    BrokenFileError,
    OpenedFile,
    open_dicom,
)
from lnn_med.io.dicom_values import silent_pydicom, values
from lnn_med.io.files import sha256_of
from lnn_med.pacs.settings import Limits
from lnn_med.pacs.uids import WRONG_UID, check_uid, shown

MR_CLASSES = {
    "1.2.840.10008.5.1.4.1.1.4": "MR Image Storage",
    "1.2.840.10008.5.1.4.1.1.4.1": "Enhanced MR Image Storage",
    "1.2.840.10008.5.1.4.1.1.4.4": "Legacy Converted Enhanced MR Image Storage",
}
# What the reader decodes, but not deflated data, which can inflate, nor big endian, which is retired.
SYNTAXES = (EXPLICIT_LE, IMPLICIT_LE, *COMPRESSED)
ENDING = ".dcm"
KEPT_REFUSED = 100  # refused objects that are kept for a look; more would fill the disk for a sender

_TAGS = {
    "SOPClassUID": 0x00080016,
    "SOPInstanceUID": 0x00080018,
    "StudyInstanceUID": 0x0020000D,
    "SeriesInstanceUID": 0x0020000E,
}


@dataclass(frozen=True)
class Arrived:
    """One image that lies in its place; `new` is false when the very same was there before."""

    study_uid: str
    series_uid: str
    path: Path
    new: bool


@dataclass(frozen=True)
class Claim:
    """What an image must be: nothing is asked where a field is None."""

    sop_class: str | None = None
    sop_instance: str | None = None
    study: str | None = None
    series: str | None = None


class Inbox:
    """Takes images into `folder` within the limits; several threads may use it."""

    def __init__(
        self,
        folder: Path,
        limits: Limits,
        quarantine: Path | None = None,
        classes: Collection[str] = MR_CLASSES,
    ) -> None:
        self.folder, self.limits, self.quarantine, self.classes = folder, limits, quarantine, classes
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock = threading.Lock()
        self._drop_unfinished()
        self.used_bytes = _bytes_below(folder)
        self._counts: dict[str, int] = {}  # images of each study folder that was written to

    def keep(self, content: bytes, claim: Claim | None = None) -> Arrived:
        """Check one DICOM file and put it in its place, whole or not at all.

        Raises:
            InputError: E_STORAGE (disk or study is full), a code of the reader for what cannot be trusted,
                E_FORMAT for a class that is not accepted, and for UIDs that are malformed or not the claimed.
        """
        self._take_room(len(content))
        temporary = self.folder / f".{secrets.token_hex(8)}.part"  # hidden: readers of the folder skip it
        arrived = None
        try:
            _write(temporary, content)
            study, series, path = self._place(self._opened(temporary), claim or Claim())
            arrived = Arrived(study, series, path, new=self._settle(temporary, path))
            return arrived
        except InputError:
            self._set_aside(temporary)
            raise
        finally:
            with suppress(OSError):
                temporary.unlink()
            if arrived is None or not arrived.new:
                self._give_room(len(content))

    def recount(self) -> None:
        """Measure again how much is kept, after files were removed."""
        with self._lock:
            self.used_bytes = _bytes_below(self.folder)
            self._counts.clear()

    def _drop_unfinished(self) -> None:
        """Remove what a stopped process left half written."""
        for path in self.folder.glob(".*.part"):
            with suppress(OSError):
                path.unlink()

    def _take_room(self, count: int) -> None:
        limits = self.limits
        if count > limits.instance_bytes:
            raise InputError(
                Code.SIZE, f"An image has {count:,} bytes; {limits.instance_bytes:,} are allowed."
            )
        with self._lock:
            if self.used_bytes + count > limits.disk_bytes:
                raise InputError(
                    Code.STORAGE, f"The limit of {limits.disk_bytes:,} bytes on disk is reached."
                )
            if shutil.disk_usage(self.folder).free - count < limits.free_bytes:
                raise InputError(
                    Code.STORAGE, f"Less than {limits.free_bytes:,} bytes would stay free on disk."
                )
            self.used_bytes += count

    def _give_room(self, count: int) -> None:
        with self._lock:
            self.used_bytes -= count

    def _opened(self, path: Path) -> OpenedFile:
        try:
            with silent_pydicom():
                opened = open_dicom(path, list(_TAGS.values()))
        except BrokenFileError as error:
            raise error.error from None
        if opened.syntax not in SYNTAXES:
            raise InputError(Code.SYNTAX, "The transfer syntax is none of those that are accepted.")
        return opened

    def _place(self, opened: OpenedFile, claim: Claim) -> tuple[str, str, Path]:
        """Study and series UID, and the path that follows from the UIDs."""
        found = {name: _uid(opened, name) for name in _TAGS}
        if found["SOPClassUID"] not in self.classes:
            raise InputError(Code.FORMAT, "The object is none of the accepted kinds of MR image.")
        asked = (claim.sop_class, claim.sop_instance, claim.study, claim.series)
        for (name, value), wanted in zip(found.items(), asked, strict=True):
            if wanted is not None and value != wanted:
                raise InputError(WRONG_UID, f"{name} is not the one that was announced or asked for.")
        instance, study, series = (found[name] for name in list(found)[1:])
        return study, series, self.folder / shown(study) / shown(series) / (shown(instance) + ENDING)

    def _settle(self, temporary: Path, path: Path) -> bool:
        """Move an image to its place; False when the very same lies there."""
        with self._lock:
            if path.exists():
                if sha256_of([path]) != sha256_of([temporary]):
                    raise InputError(Code.UID_CONFLICT, "Another image came under the same SOPInstanceUID.")
                return False
            study = path.parent.parent
            present = self._counts.get(study.name)
            if present is None:
                present = sum(len(names) for _, _, names in os.walk(study))
            if present >= self.limits.instances:
                raise InputError(Code.STORAGE, f"A study has more than {self.limits.instances:,} images.")
            try:
                path.parent.mkdir(parents=True, exist_ok=True)
                os.replace(temporary, path)
            except OSError as error:
                raise _storage(error) from error
            self._counts[study.name] = present + 1
        return True

    def _set_aside(self, temporary: Path) -> None:
        """Keep a refused object under a random name, a few of them at most."""
        if self.quarantine is None:
            return
        with suppress(OSError):
            self.quarantine.mkdir(parents=True, exist_ok=True)
            if len(os.listdir(self.quarantine)) < KEPT_REFUSED:
                os.replace(temporary, self.quarantine / f"{secrets.token_hex(8)}.refused")


def _uid(opened: OpenedFile, name: str) -> str:
    """A UID of the header, whole: one that is too long must not be shortened into another."""
    with silent_pydicom():
        found = values(opened.header, name)
    return check_uid(found[0] if len(found) == 1 else None, name)


def _write(path: Path, content: bytes) -> None:
    try:
        with open(path, "xb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise _storage(error) from error


def _storage(error: OSError) -> InputError:
    return InputError(Code.STORAGE, f"An image cannot be stored ({error.strerror}).")


def _bytes_below(folder: Path) -> int:
    total = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(parent, name)).st_size
    return total
