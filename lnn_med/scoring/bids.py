"""Label maps and volumes of a run once more, laid out as BIDS derivatives (BIDS 1.9).

`derivatives/lnn-med/sub-01/[ses-1/]anat/sub-01_desc-lnnmed_dseg.nii.gz`, and the meaning of the integers in a
.tsv of that name. Label maps are hard links where the file system has them, so they take no space.
"""

from __future__ import annotations

import json
import os
import re
import shutil
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

from lnn_med.io.result_files import LABELS, RESULT, storage_errors
from lnn_med.io.result_record import VOLUME_COLUMNS, volume_rows
from lnn_med.io.tabular import case_of, write_json
from lnn_med.prediction import HIPPOCAMPUS, SEGMENTATION
from lnn_med.scoring.case import CASES_FOLDER, WORK_FOLDER
from lnn_med.scoring.manifest import Scan
from lnn_med.scoring.models import package_version

FOLDER = PurePosixPath("derivatives", "lnn-med")
BIDS_VERSION = "1.9.0"
DESCRIPTIONS = {SEGMENTATION: "lnnmed", HIPPOCAMPUS: "lnnmedHippocampus"}
NOT_IN_BIDS = "*_volumes.tsv\n"  # no suffix of BIDS fits a table of volumes

_ENTITIES = re.compile(
    r"(?P<all>(?P<sub>sub-[A-Za-z0-9]+)(?:_(?P<ses>ses-[A-Za-z0-9]+))?(?:_[a-z]+-[A-Za-z0-9]+)*)_[A-Za-z0-9]+"
)


def write_derivatives(run: Path, done: Sequence[Scan]) -> None:
    """Write the layout anew, whole or not at all.

    Raises:
        InputError: E_STORAGE.
    """
    work, target = run / WORK_FOLDER / "derivatives", run / FOLDER
    with storage_errors():
        shutil.rmtree(work, ignore_errors=True)
        work.mkdir(parents=True)
        write_json(work / "dataset_description.json", _description())
        (work / ".bidsignore").write_text(NOT_IN_BIDS)
        for scan, (folder, prefix) in zip(done, places(done), strict=True):
            (work / folder).mkdir(parents=True, exist_ok=True)
            _write_case(run / CASES_FOLDER / scan.case, work / folder, prefix)
        shutil.rmtree(target, ignore_errors=True)
        target.parent.mkdir(exist_ok=True)
        os.rename(work, target)


def places(scans: Sequence[Scan]) -> list[tuple[str, str]]:
    """Folder and beginning of the file names of each scan.

    They follow the scan's own BIDS name; without one, or where two scans would share it, the case is the
    subject.
    """
    found = [_ENTITIES.fullmatch(case_of(PurePosixPath(scan.path).name)) for scan in scans]
    seen = Counter(match["all"] for match in found if match)
    answer = []
    for scan, match in zip(scans, found, strict=True):
        if match and seen[match["all"]] == 1:
            folder = "/".join(part for part in (match["sub"], match["ses"], "anat") if part)
            answer.append((folder, match["all"]))
        else:
            subject = "sub-" + _subject(scan.case)
            answer.append((f"{subject}/anat", subject))
    return answer


def _subject(case: str) -> str:
    """Letters and digits only, as BIDS has it; what else is in a name is written as its number."""
    return re.sub(r"[^A-Za-z0-9]", lambda found: f"x{ord(found[0]):02x}", case)


def _write_case(case: Path, folder: Path, prefix: str) -> None:
    tables = json.loads((case / LABELS).read_bytes())
    for name, table in tables.items():
        stem = f"{prefix}_desc-{DESCRIPTIONS[name]}_dseg"
        _link(case / name, folder / f"{stem}.nii.gz")
        rows = [{"index": index, "name": structure} for index, structure in table.items()]
        _write_tsv(folder / f"{stem}.tsv", ("index", "name"), rows)
    record = json.loads((case / RESULT).read_bytes())
    _write_tsv(folder / f"{prefix}_desc-lnnmed_volumes.tsv", VOLUME_COLUMNS, volume_rows(record))


def _description() -> dict[str, Any]:
    made_by = {"Name": "LNN-Med", "Version": package_version(), "Description": "Research use only."}
    return {
        "Name": "LNN-Med: regional brain volumes",
        "BIDSVersion": BIDS_VERSION,
        "DatasetType": "derivative",
        "GeneratedBy": [made_by],
    }


def _write_tsv(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    lines = [columns, *([_cell(row.get(column)) for column in columns] for row in rows)]
    path.write_text("".join("\t".join(line) + "\n" for line in lines), encoding="utf-8")


def _cell(value: Any) -> str:
    return "n/a" if value is None else str(value)


def _link(origin: Path, target: Path) -> None:
    try:
        os.link(origin, target)
    except OSError:  # a file system without hard links
        shutil.copyfile(origin, target)
