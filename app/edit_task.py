"""What a worker process does with a reader's edit: maps, volumes, record and page beside the model's own."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from app.work import Predict, Report, can_write_pages

WRITING = "Writing the edited labels"
VOLUMES_EDITED, RESULT_EDITED, PAGE_EDITED = (
    "volumes_edited.csv",
    "result_edited.json",
    "volumetry_edited.pdf",
)


@dataclass(frozen=True)
class StoreEdit:
    """Write the edited maps in the scan's own grid, and the numbers and the page that follow from them."""

    out: str  # folder of the result, which is not touched
    folder: str  # of the case
    view: str  # folder of the case's images
    facts: Mapping[str, Any]  # age and sex, for the page
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
        maps = {file: _map(out / file) for file in EDITABLE.values() if (out / file).is_file()}
        edits, voxels, hashes = {}, {}, {}
        waiting = pending(folder)
        for name, file in EDITABLE.items():
            if name not in waiting:
                (folder / edited_name(file)).unlink(missing_ok=True)  # of an edit that was taken back
                continue
            before = maps[file]
            maps[file] = after = before.with_data(_edited(before, folder, name, tables[file]))
            write_nifti(after, folder / edited_name(file), intent="label")
            edits[file] = (before.data, after.data)
            voxels[file] = int((before.data != after.data).sum())
            hashes[file] = _sha256(out / file)
            hashes[edited_name(file)] = _sha256(folder / edited_name(file))
        record = json.loads((out / RESULT).read_bytes())
        depth = _map(out / DEPTH)
        edited = edited_record(record, tables, edits, depth.data, depth.voxel_mm3)
        write_json(folder / RESULT_EDITED, edited)
        write_csv(folder / VOLUMES_EDITED, volume_rows(edited), VOLUME_COLUMNS)
        if can_write_pages():
            self._write_page(edited, maps, tables)
        return {**self.fields, "edit": {"changed_voxels": voxels, "sha256": hashes}}

    def _write_page(
        self, edited: Mapping[str, Any], maps: Mapping[str, Any], tables: Mapping[str, Mapping[str, str]]
    ) -> None:
        from app.edit_picture import edit_picture
        from lnn_med.io.volumetry_pdf import Edited, write_page

        picture = edit_picture(edited, Path(self.view), maps, tables)
        edit = Edited(self.fields["user"], self.fields["ts_utc"], edited, picture)
        write_page(Path(self.out), self.facts, Path(self.folder) / PAGE_EDITED, edit)


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
