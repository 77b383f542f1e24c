"""Stand-ins: a result folder as scoring leaves it, and an archive in memory."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from pydicom import dcmread
from pydicom.uid import generate_uid

from lnn_med.errors import Code, InputError
from lnn_med.pacs.archive import Outgoing, Series, Study
from lnn_med.pacs.inbox import Inbox
from tests import dicom_factory as factory

SEG_CLASS, SR_CLASS = "1.2.840.10008.5.1.4.1.1.66.4", "1.2.840.10008.5.1.4.1.1.88.33"
RESULTS = {"segmentation.dcm": (SEG_CLASS, "SEG"), "measurements.dcm": (SR_CLASS, "SR")}


def write_result(folder: Path, study_uid: str = factory.STUDY_UID) -> Path:
    """A SEG and an SR that say to which study they belong, beside a file that must stay here."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, (sop_class, modality) in RESULTS.items():
        header = factory.base_header(SOPClassUID=sop_class, Modality=modality)
        header.StudyInstanceUID, header.SeriesInstanceUID = study_uid, generate_uid()
        factory.save(header, folder / name)
    (folder / "thumbnail.png").write_bytes(b"picture")
    return folder


class Scorer:
    """Counts how often it was asked, and writes a result for the study it was given."""

    def __init__(self, results: Path) -> None:
        self.results, self.asked = results, list[Path]()

    def __call__(self, folder: Path) -> Path:
        self.asked.append(folder)
        image = next(iter(sorted(folder.glob("*/*.dcm"))))
        study = dcmread(image, stop_before_pixels=True).StudyInstanceUID
        return write_result(self.results / folder.name, study)


class MemoryArchive:
    """An archive that remembers what it was sent, and can be down."""

    def __init__(self) -> None:
        self.sent, self.down = list[str](), False
        self.listing: dict[str, list[Series]] = {}
        self.content: dict[str, list[bytes]] = {}

    def studies(self, match: Mapping[str, str]) -> tuple[list[Study], int]:
        return [Study(uid) for uid in self.listing], 0

    def series(self, study: Study, match: Mapping[str, str]) -> list[Series]:
        return self.listing[study.uid]

    def fetch(self, series: Series, inbox: Inbox) -> int:
        for content in self.content[series.uid]:
            inbox.keep(content)
        return len(self.content[series.uid])

    def send(self, files: Sequence[Outgoing]) -> None:
        if self.down:
            raise InputError(Code.NETWORK, "The archive is down.")
        self.sent += [file.path.name for file in files]
