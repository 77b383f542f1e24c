"""What a worker process does with a reader's edit: maps, volumes and record beside the model's own files."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.work import Predict, Report

WRITING = "Writing the edited labels"
VOLUMES_EDITED, RESULT_EDITED = "volumes_edited.csv", "result_edited.json"


@dataclass(frozen=True)
class StoreEdit:
    """Write the edited maps in the scan's own grid, and the numbers that follow from them."""

    out: str  # folder of the result, which is not touched
    folder: str  # of the case
    fields: Mapping[str, Any]  # user, time, reason: what the answer carries on

    def run(self, predict: Predict | None, report: Report) -> dict[str, Any]:
        """`fields`, changed voxels of each map, and the hashes of the maps before and after."""
        from app.edits import EDITABLE, edited_name, edited_record, pending
        from lnn_med.io.nifti import write_nifti
        from lnn_med.io.result_files import LABELS, RESULT
        from lnn_med.io.result_record import VOLUME_COLUMNS, volume_rows
        from lnn_med.io.tabular import write_csv, write_json
        from lnn_med.prediction import DEPTH

        report(WRITING)
        out, folder = Path(self.out), Path(self.folder)
        tables = json.loads((out / LABELS).read_bytes())
        maps, voxels, hashes, voxel_mm3 = {}, {}, {}, 0.0
        for name in pending(folder):
            file = EDITABLE[name]
            before = _map(out / file)
            after = before.with_data(_edited(before, folder, name, tables[file]))
            write_nifti(after, folder / edited_name(file), intent="label")
            maps[file], voxel_mm3 = (before.data, after.data), before.voxel_mm3
            voxels[file] = int((before.data != after.data).sum())
            hashes[file] = _sha256(out / file)
            hashes[edited_name(file)] = _sha256(folder / edited_name(file))
        record = json.loads((out / RESULT).read_bytes())
        edited = edited_record(record, tables, maps, _map(out / DEPTH).data, voxel_mm3)
        write_json(folder / RESULT_EDITED, edited)
        write_csv(folder / VOLUMES_EDITED, volume_rows(edited), VOLUME_COLUMNS)
        return {**self.fields, "edit": {"changed_voxels": voxels, "sha256": hashes}}


def _map(path: Path) -> Any:
    """A map of a result as it lies on the disk, its place in the world unchanged."""
    import nibabel as nib

    from lnn_med.volume import Source, Volume

    image = nib.load(path)  # type: ignore[attr-defined]
    kind = "dicom" if int(image.header["sform_code"]) == 1 else "nifti"  # write_nifti's code follows it
    data = np.asanyarray(image.dataobj).astype(np.uint8)
    return Volume(data, np.asarray(image.affine, dtype=np.float64), Source(path.name, kind, ""))


def _edited(before: Any, folder: Path, name: str, table: Mapping[str, str]) -> Any:
    from app.edits import FOLDER, applied, parsed

    message = (folder / FOLDER / name).read_bytes()
    changes = parsed(message, before.data.size, [int(index) for index in table])
    return applied(before.data, before.affine, changes)


def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
