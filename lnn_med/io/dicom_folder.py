"""Groups the DICOM files of a folder into series and says what is wrong with each."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from lnn_med.errors import Code, Finding, InputError, WarningCode
from lnn_med.io.dicom_facts import Facts, FactsPool, same_patient
from lnn_med.io.dicom_files import is_dicom
from lnn_med.io.dicom_frames import Frame
from lnn_med.io.dicom_instance import Instance, read_instance
from lnn_med.io.dicom_stack import Stack, stack
from lnn_med.io.files import regular_files

DICOM_ENDINGS = (".dcm", ".dicom", ".ima", ".dic")
PathLike = str | os.PathLike[str]


@dataclass
class Series:
    """The images under one SeriesInstanceUID. With a `problem` no volume can be made of them."""

    uid: str
    instances: list[Instance] = field(default_factory=list)
    stack: Stack | None = None
    problem: InputError | None = None

    @property
    def facts(self) -> Facts | None:
        """Facts of the first file that could be read."""
        return next((instance.facts for instance in self.instances if instance.facts), None)

    @property
    def placed(self) -> list[tuple[Instance, Frame]]:
        """Every slice with the file it comes from, in the order that `stack.order` counts in."""
        return [(instance, frame) for instance in self.instances for frame in instance.frames]

    @property
    def is_mr(self) -> bool:
        """Whether it holds MR images with a place in the patient."""
        return self.facts is not None and self.facts.is_mr and (self.problem is not None or bool(self.placed))


@dataclass(frozen=True)
class Folder:
    """What lies in a folder, or in a list of files."""

    series: tuple[Series, ...]  # in the order of their UIDs
    homeless: tuple[InputError, ...]  # broken files that do not say their series: they may belong to any
    findings: tuple[Finding, ...]
    files: int  # DICOM files, the broken ones included

    def named(self, uid: str) -> Series | None:
        """The series with this UID, or None."""
        return next((series for series in self.series if series.uid == uid), None)


def open_folder(path: PathLike | Sequence[PathLike], lenient: bool = False) -> Folder:
    """Read the headers of a file, of all files below a folder, or of a list of files.

    Raises:
        InputError: E_NOTDICOM when there is no DICOM file, E_EMPTY for an empty file that is named like one,
            E_PATH for a DICOMDIR that points outside its folder; for a lone file whatever is wrong with it.
    """
    paths, findings, lone = _paths(path)
    instances: list[Instance] = []
    pool = FactsPool()
    others = 0
    for file in paths:
        try:
            instances.append(read_instance(file, lenient, pool))
        except InputError as error:
            if lone or (error.code is Code.EMPTY and file.suffix.lower() in DICOM_ENDINGS):
                raise  # an empty slice is a failed copy, not a stranger
            others += 1
    if others:
        note = f"Skipped, because they are no DICOM: {others} of {len(paths)} files."
        findings = (*findings, Finding(WarningCode.FILETYPE, note))
    for instance in instances:
        if instance.is_directory and instance.problem:
            raise instance.problem
    images = [instance for instance in instances if not instance.is_directory]
    if not images:
        raise InputError(Code.NOTDICOM, f"There is no DICOM image among {len(paths)} files.")
    homeless = tuple(one.problem for one in images if one.problem and one.series_uid is None)
    return Folder(_group(images), homeless, findings, len(images))


def check_one_patient(series: Iterable[Series]) -> None:
    """Refuse images of different patients.

    Raises:
        InputError: E_MIXED with the UIDs of the series.
    """
    known = [(one.uid, instance.facts) for one in series for instance in one.instances if instance.facts]
    patients: list[Facts] = []
    for _, facts in known:
        if not any(same_patient(facts, other) for other in patients):
            patients.append(facts)
    if len(patients) > 1:
        uids = sorted({uid for uid, _ in known})
        shown = ", ".join(uids[:8]) + (", ..." if len(uids) > 8 else "")
        raise InputError(Code.MIXED, f"There are images of {len(patients)} patients; series: {shown}.")


def _paths(path: PathLike | Sequence[PathLike]) -> tuple[list[Path], tuple[Finding, ...], bool]:
    """Files to read, findings on the way, and whether it is a single file that was named."""
    if not isinstance(path, (str, os.PathLike)):
        return [Path(one) for one in path], (), False
    path = Path(path)
    if os.path.isdir(path):
        return *regular_files(path), False
    if path.name.upper() == "DICOMDIR" and is_dicom(path):
        return *regular_files(path.parent), False
    return [path], (), True


def _group(instances: Sequence[Instance]) -> tuple[Series, ...]:
    groups: dict[str, Series] = {}
    for instance in instances:
        if instance.series_uid is not None:
            groups.setdefault(instance.series_uid, Series(instance.series_uid)).instances.append(instance)
    for series in groups.values():
        try:
            _judge(series)
        except InputError as problem:
            series.problem = problem
    return tuple(groups[uid] for uid in sorted(groups))


def _judge(series: Series) -> None:
    """Fill in `stack`.

    Raises:
        InputError: when no volume can be made of the series.
    """
    for instance in series.instances:
        if instance.problem:
            raise instance.problem
    check_one_patient([series])
    frames = [frame for _, frame in series.placed]
    if frames:
        _check_copies(series)
        series.stack = stack(frames)


def _check_copies(series: Series) -> None:
    """Refuse two files of one SOPInstanceUID with different pixels; `stack` finds equal copies."""
    first: dict[str, Instance] = {}
    for instance in series.instances:
        twin = first.setdefault(instance.sop_uid, instance)
        if twin is instance or not instance.sop_uid or not twin.place or not instance.place:
            continue
        if twin.place.read() != instance.place.read():
            raise InputError(Code.UID_CONFLICT, "Two files have one SOPInstanceUID and different pixels.")
