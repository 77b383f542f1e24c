"""Links to the files of a result, as they lie in its folder."""

from __future__ import annotations

from app.edit_task import PAGE_EDITED, RESULT_EDITED, VOLUMES_EDITED
from app.edits import EDITABLE, edited_name
from app.parts import html
from app.readings import EDITED, READER_FILE
from app.routes import BASE, DOWNLOADS, OF_CASE
from app.store import Case
from lnn_med.io.volumetry_pdf import PAGE

WORDS = {
    "segmentation.nii.gz": "structures (NIfTI)",
    "hippocampus.nii.gz": "hippocampus, fine (NIfTI)",
    "depth.nii.gz": "gate depth (NIfTI)",
    "uncertainty.nii.gz": "uncertainty (NIfTI)",
    "evidence.nii.gz": "evidence of the network (NIfTI)",
    "labels.json": "label names (JSON)",
    "volumes.csv": "volumes (CSV)",
    "result.json": "whole result (JSON)",
    "thumbnail.png": "picture (PNG)",
    "provenance.json": "provenance (JSON)",
    "segmentation.dcm": "DICOM SEG",
    "measurements.dcm": "DICOM SR",
    PAGE: "page (PDF)",
    PAGE_EDITED: "page (PDF), edited by reader",
    READER_FILE: "reader's verdict (JSON)",
    **{edited_name(file): f"edited {name} (NIfTI)" for name, file in EDITABLE.items()},
    VOLUMES_EDITED: "volumes after the edit (CSV)",
    RESULT_EDITED: "result after the edit (JSON)",
}

WORDS_CHANGE = "page (PDF) with the change since the earlier scan"


def downloads(case: Case, edited: bool, change_page: str | None) -> None:
    """One link for each file that there is; with an accepted edit its page stands for the model's.

    `change_page`: name of the page with the change since an earlier scan, where one is shown.
    """
    links = []
    hidden = (PAGE,) if edited and (case.folder / PAGE_EDITED).is_file() else () if edited else EDITED
    for name in (one for one in DOWNLOADS if one not in hidden):
        folder = case.folder if name in OF_CASE else case.out
        if (folder / name).is_file():
            address = f"{BASE}/file/{case.token}/{name}"
            links.append(
                f'<a href="{address}" download="{name}" target="_self">{html.text(WORDS.get(name, name))}</a>'
            )
    if change_page:
        address = f"{BASE}/file/{case.token}/{change_page}"
        links.append(f'<a href="{address}" download="{change_page}" target="_self">{WORDS_CHANGE}</a>')
    html.show('<div class="facts">' + "".join(f"<span>{link}</span>" for link in links) + "</div>")
