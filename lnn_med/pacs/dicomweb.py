"""An archive over DICOMweb: QIDO-RS, WADO-RS and STOW-RS (PS3.18 chapter 10).

Queries go through dicomweb-client. Images do not: it parses what it receives before anybody has checked it,
and encodes anew what it sends; here the bytes that come are checked first, and files go as they are.
"""

from __future__ import annotations

import secrets
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from lnn_med.errors import Code, ConfigError, InputError
from lnn_med.pacs.archive import (
    PATIENT_KEYS,
    Match,
    Outgoing,
    Series,
    Study,
    check_complete,
    counted,
    listed,
    studies_of,
)
from lnn_med.pacs.http_guard import JSON_KINDS, Response, kind_of, network_errors, open_session
from lnn_med.pacs.inbox import Claim, Inbox
from lnn_med.pacs.multipart import FilePart, boundary_of, parts
from lnn_med.pacs.settings import PacsConfig
from lnn_med.pacs.uids import check_uid

STUDY_UID, SERIES_UID, STUDY_DATE = "0020000D", "0020000E", "00080020"
MODALITY, DESCRIPTION, IMAGES = "00080060", "0008103E", "00201209"
FAILED, REFERENCED, REFERENCED_UID = "00081198", "00081199", "00081155"
ANY_SYNTAX = 'multipart/related; type="application/dicom"; transfer-syntax=*'
CHUNK_BYTES = 1 << 18


class DicomwebArchive:
    """See `Archive`."""

    def __init__(self, config: PacsConfig) -> None:
        from dicomweb_client.api import DICOMwebClient

        assert config.url is not None
        self.config, self.base = config, config.url.rstrip("/")
        self.session = open_session(config)
        self.client = DICOMwebClient(self.base, session=self.session, timeout=config.timeout_s)
        self.client.set_http_retry_params(retry=False)

    def studies(self, match: Match) -> tuple[list[Study], int]:
        """See `Archive.studies`."""
        for name in match:
            if name in PATIENT_KEYS:
                raise ConfigError(
                    f"{name} cannot be asked for over DICOMweb: it would stand in a URL, which servers log. "
                    "Use StudyInstanceUID or StudyDate, or ask over DIMSE."
                )
        with network_errors(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answers = self.client.search_for_studies(limit=self._asked(), search_filters=dict(match))
            return studies_of(
                (_value(answer, STUDY_UID), _value(answer, STUDY_DATE)) for answer in self._counted(answers)
            )

    def series(self, study: Study, match: Match) -> list[Series]:
        """See `Archive.series`."""
        with network_errors(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            answers = self.client.search_for_series(
                study.uid,
                limit=self._asked(),
                fields=["SeriesDescription", "NumberOfSeriesRelatedInstances"],
                search_filters=dict(match),
            )
            return [
                Series(
                    uid=check_uid(_value(answer, SERIES_UID), "SeriesInstanceUID"),
                    study_uid=study.uid,
                    modality=listed(_value(answer, MODALITY)),
                    description=listed(_value(answer, DESCRIPTION)),
                    date=study.date,
                    images=counted(_value(answer, IMAGES)),
                )
                for answer in self._counted(answers)
            ]

    def fetch(self, series: Series, inbox: Inbox) -> int:
        """See `Archive.fetch`."""
        url = f"{self.base}/studies/{series.study_uid}/series/{series.uid}"
        claim = Claim(study=series.study_uid, series=series.uid)
        paths = set()
        with network_errors(), self.session.get(url, headers={"Accept": ANY_SYNTAX}, stream=True) as response:
            response.raise_for_status()
            for content in self._images(response):
                paths.add(inbox.keep(content, claim).path)
        return check_complete(series, len(paths))

    def send(self, files: Sequence[Outgoing]) -> None:
        """See `Archive.send`; one request for each file, so that an answer is about one."""
        for file in files:
            boundary = secrets.token_hex(16)
            kind = f'multipart/related; type="application/dicom"; boundary="{boundary}"'
            body: Any = FilePart(file.path, boundary)
            with network_errors():
                response = self.session.post(
                    f"{self.base}/studies", data=body, headers={"Content-Type": kind}
                )
                response.raise_for_status()
                _check_stored(response, file)

    def _asked(self) -> int:
        return self.config.limits.matches + 1  # one more, to notice that there are more

    def _counted(self, answers: object) -> list[Any]:
        if not isinstance(answers, list):
            raise InputError(Code.NETWORK, "The server answers with something that is not DICOMweb.")
        limit = self.config.limits.matches
        if len(answers) > limit:
            raise InputError(Code.SIZE, f"More than {limit:,} answers to a query; ask for less.")
        return answers

    def _images(self, response: Response) -> Iterator[bytes]:
        if kind_of(response) != "multipart/related":
            raise InputError(Code.NETWORK, "The server answers with something that is not DICOMweb.")
        boundary = boundary_of(response.headers["Content-Type"])
        return parts(response.iter_content(CHUNK_BYTES), boundary, self.config.limits.instance_bytes)


def _value(answer: Any, tag: str) -> Any:
    """The only value of an element in the DICOM JSON model (PS3.18 annex F), or None."""
    element = answer.get(tag) if isinstance(answer, Mapping) else None
    found = element.get("Value") if isinstance(element, Mapping) else None
    single = isinstance(found, list) and len(found) == 1 and isinstance(found[0], (str, int))
    return found[0] if single else None  # type: ignore[index]


def _check_stored(response: Response, file: Outgoing) -> None:
    """A server may answer 200 and yet say that it did not store (PS3.18 table 10.5.3-1)."""
    if not response.content or kind_of(response) not in JSON_KINDS:
        raise InputError(Code.NETWORK, "The archive did not confirm that it stored a file.")
    answer = response.json()
    failed = answer.get(FAILED, {}).get("Value") or []
    stored = [_value(item, REFERENCED_UID) for item in answer.get(REFERENCED, {}).get("Value") or []]
    if failed or file.sop_instance not in stored:
        raise InputError(Code.NETWORK, "The archive did not store a file.")
