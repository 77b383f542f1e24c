"""The manifest: which scans a folder holds, found by content, each with a hash of its files."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path, PurePath

from lnn_med.errors import Code, InputError, WarningCode
from lnn_med.io.files import regular_files, sha256_of, write_whole
from lnn_med.io.nifti_header import NIFTI_ENDINGS
from lnn_med.io.sniff import DICOM_ENDINGS, Kind, sniff
from lnn_med.scoring.naming import name_of_path, unique_names

MANIFEST_FILE = "manifest.jsonl"
NIFTI, DICOM, ZIP = "nifti", "dicom", "zip"
REFERENCE_FOLDERS = frozenset({"labelsTr", "labelsTs"})  # Medical Segmentation Decathlon: labels, not scans
DERIVED_FOLDER = "derivatives"  # of BIDS: images made from scans that are in the folder, too
BIDS_MARK = "dataset_description.json"
OUTPUT_MARKS = frozenset({"run.json", "result.json"})  # a folder with one is an output of this program
BIDS_T1 = frozenset({"T1w", "MPRAGE"})

_BIDS_SUFFIX = re.compile(r"sub-[A-Za-z0-9]+(?:_[a-z]+-[A-Za-z0-9]+)*_([A-Za-z0-9]+)\.nii(?:\.gz)?")

Report = Callable[[int], None]  # files or scans looked at so far


@dataclass(frozen=True)
class Scan:
    """One line of the manifest.

    `path` is that of the file, or of the folder that holds the series; it and `files` lie below the folder
    that is scored. `sha256` covers the bytes of all files; None where they cannot be read: scoring says why.
    `clinical`: age, sex, education, mmse, as far as a table of participants tells.
    """

    case: str
    path: str
    kind: str  # "nifti", "dicom" or "zip"
    series_uid: str | None
    files: tuple[str, ...]
    bytes: int = 0
    sha256: str | None = None
    clinical: Mapping[str, float | str] = field(default_factory=dict, hash=False)


@dataclass(frozen=True)
class Skipped:
    """What was found and is not scored: a W_ code and the reason."""

    path: str
    code: str
    message: str


@dataclass(frozen=True)
class Manifest:
    """All scans of a folder in a fixed order, and what was left out."""

    scans: tuple[Scan, ...]
    skipped: tuple[Skipped, ...]


def build_manifest(folder: Path, report: Report = lambda count: None) -> Manifest:
    """Find the scans below a folder: NIfTI files, DICOM series, zips.

    Raises:
        InputError: E_NOTFOUND when there is no such folder, E_FORMAT when it holds no scan.
    """
    if not folder.is_dir():
        raise InputError(Code.NOTFOUND, "There is no such folder.")
    paths, odd = regular_files(folder)
    skipped = [Skipped(".", finding.code.value, finding.message) for finding in odd]
    left_out = _left_out(folder, paths)
    scans: list[Scan] = []
    dicom: list[Path] = []
    empty: list[Path] = []
    for count, path in enumerate(paths, start=1):
        report(count)
        place = _below(folder, path)
        if path in left_out:
            continue
        kind = _kind(path, empty)
        if kind is Kind.NIFTI:
            scan, reason = _nifti(place)
            scans += [scan] if scan else []
            skipped += [reason] if reason else []
        elif kind is Kind.ZIP:
            scans.append(Scan(name_of_path(place), place, ZIP, None, (place,)))
        elif kind is Kind.DICOM and path.name.upper() != "DICOMDIR":  # series are found without their index
            dicom.append(path)
    skipped += _summary_of(left_out, folder)
    if dicom or empty:
        from lnn_med.scoring.dicom_scans import dicom_scans  # pydicom takes its time to import

        found, not_scans = dicom_scans(folder, dicom, empty)
        scans += found
        skipped += not_scans
    if not scans:
        raise InputError(Code.FORMAT, f"Among {len(paths)} files of the folder there is no scan.")
    names = unique_names([scan.case for scan in scans], [scan.path for scan in scans])
    named = [replace(scan, case=name) for scan, name in zip(scans, names, strict=True)]
    hashed = []
    for count, scan in enumerate(sorted(named, key=lambda scan: scan.case), start=1):
        report(count)
        hashed.append(_hashed(folder, scan))
    return Manifest(tuple(hashed), tuple(skipped))


def write_manifest(run: Path, scans: Iterable[Scan]) -> None:
    """One JSON line a scan, whole or not at all."""
    with write_whole(run / MANIFEST_FILE) as file:
        for scan in scans:
            file.write((json.dumps(asdict(scan)) + "\n").encode())


def read_manifest(run: Path) -> list[Scan]:
    """The scans of a run.

    Raises:
        InputError: E_NOTFOUND when the folder holds no run.
    """
    path = run / MANIFEST_FILE
    if not path.is_file():
        raise InputError(Code.NOTFOUND, "The folder holds no run: there is no manifest in it.")
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    return [Scan(**{**line, "files": tuple(line["files"])}) for line in lines]


def _kind(path: Path, empty: list[Path]) -> Kind:
    """What a file is. One that cannot be looked at, but is named like a scan, will fail with its code."""
    try:
        return sniff(path)
    except InputError:
        if path.name.lower().endswith(NIFTI_ENDINGS):
            return Kind.NIFTI
        if path.suffix.lower() in DICOM_ENDINGS:
            empty.append(path)
        return Kind.OTHER


def _nifti(place: str) -> tuple[Scan | None, Skipped | None]:
    """A NIfTI file as a scan, unless its BIDS name says that it shows something else than T1."""
    bids = _BIDS_SUFFIX.fullmatch(PurePath(place).name)
    if bids and bids.group(1) not in BIDS_T1:
        reason = f"By its name it is `{bids.group(1)}`, not T1-weighted."
        return None, Skipped(place, WarningCode.MODALITY.value, reason)
    return Scan(name_of_path(place), place, NIFTI, None, (place,)), None


def _left_out(folder: Path, paths: Sequence[Path]) -> dict[Path, str]:
    """Files that are no input by the folder they lie in, with the reason."""
    outputs = {path.parent for path in paths if path.name in OUTPUT_MARKS} - {folder}
    is_bids = (folder / BIDS_MARK).is_file()
    reasons = {}
    for path in paths:
        parents = [parent for parent in path.parents if folder in parent.parents or parent == folder]
        names = {parent.name for parent in parents if parent != folder}
        if any(parent in outputs for parent in parents):
            reasons[path] = "results of this program"
        elif names & REFERENCE_FOLDERS:
            reasons[path] = "reference labels"
        elif is_bids and DERIVED_FOLDER in names:
            reasons[path] = "BIDS derivatives"
        elif any(name.lower().endswith(NIFTI_ENDINGS) for name in names):
            reasons[path] = "files in a folder that is named like an image"
    return reasons


def _summary_of(left_out: dict[Path, str], folder: Path) -> list[Skipped]:
    """One line for each folder and reason instead of one for each file."""
    counts: dict[tuple[str, str], int] = {}
    for path, reason in left_out.items():
        place = _below(folder, path.parent), reason
        counts[place] = counts.get(place, 0) + 1
    code = WarningCode.FILETYPE.value
    return [Skipped(place, code, f"{count} files: {reason}.") for (place, reason), count in counts.items()]


def _hashed(folder: Path, scan: Scan) -> Scan:
    """The scan with size and hash of its files, as far as they can be read."""
    paths = [folder / file for file in scan.files]
    try:
        size = sum(path.stat().st_size for path in paths)
        return replace(scan, bytes=size, sha256=sha256_of(paths))
    except (InputError, OSError):
        return scan


def _below(folder: Path, path: Path) -> str:
    return path.relative_to(folder).as_posix()
