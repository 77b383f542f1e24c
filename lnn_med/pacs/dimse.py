"""An archive over DIMSE: C-FIND, C-GET or C-MOVE, C-STORE (PS3.4 annexes B and C)."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeAlias

from pydicom.dataset import Dataset

from lnn_med.errors import Code, InputError
from lnn_med.io.dicom_files import EXPLICIT_LE, IMPLICIT_LE
from lnn_med.io.dicom_values import silent_pydicom, values
from lnn_med.pacs.archive import Match, Outgoing, Series, Study, check_complete, counted, listed, studies_of
from lnn_med.pacs.guard import Association, Event, Guard, Pool, message_complete
from lnn_med.pacs.inbox import MR_CLASSES, SYNTAXES, Arrived, Claim, Inbox
from lnn_med.pacs.listener import Listener, store
from lnn_med.pacs.server import client_context
from lnn_med.pacs.settings import PacsConfig
from lnn_med.pacs.uids import check_uid

logger = logging.getLogger(__name__)

FIND, MOVE, GET = (f"1.2.840.10008.5.1.4.1.2.2.{number}" for number in (1, 2, 3))  # study root
PENDING = (0xFF00, 0xFF01)
ANSWER_PDU_BYTES = 131_072
MAX_CONTEXTS = 128  # PS3.8 section 9.3.2.2: odd numbers of one byte
STUDY_ANSWERS = ("StudyInstanceUID", "StudyDate")
SERIES_ANSWERS = ("SeriesInstanceUID", "Modality", "SeriesDescription", "NumberOfSeriesRelatedInstances")

# Of pynetdicom, which comes with an extra and is imported where it is used.
Context: TypeAlias = Any
Role: TypeAlias = Any


class DimseArchive:
    """See `Archive`; one association for each call."""

    def __init__(self, config: PacsConfig) -> None:
        from pynetdicom import _config

        # Files are sent as they are: never decoded, never converted, read piece by piece.
        _config.STORE_SEND_CHUNKED_DATASET = True
        _config.LOG_HANDLER_LEVEL = "none"
        # Even unlogged they are made into text, at which pydicom warns and quotes what a peer sent.
        _config.LOG_REQUEST_IDENTIFIERS = _config.LOG_RESPONSE_IDENTIFIERS = False
        self.config = config

    def studies(self, match: Match) -> tuple[list[Study], int]:
        """See `Archive.studies`."""
        asked = _identifier("STUDY", STUDY_ANSWERS, match)
        return studies_of(
            (single_value(answer, "StudyInstanceUID"), single_value(answer, "StudyDate"))
            for answer in self.find(asked)
        )

    def series(self, study: Study, match: Match) -> list[Series]:
        """See `Archive.series`."""
        asked = _identifier("SERIES", SERIES_ANSWERS, {**match, "StudyInstanceUID": study.uid})
        return [
            Series(
                uid=check_uid(single_value(answer, "SeriesInstanceUID"), "SeriesInstanceUID"),
                study_uid=study.uid,
                modality=_text(answer, "Modality"),
                description=_text(answer, "SeriesDescription"),
                date=study.date,
                images=counted(single_value(answer, "NumberOfSeriesRelatedInstances")),
            )
            for answer in self.find(asked)
        ]

    def fetch(self, series: Series, inbox: Inbox) -> int:
        """See `Archive.fetch`."""
        received = _Received(series, inbox, self.config.limits.transfer_s)
        asked = _identifier(
            "SERIES", (), {"StudyInstanceUID": series.study_uid, "SeriesInstanceUID": series.uid}
        )
        if self.config.retrieve == "get":
            self._get(asked, received)
        else:
            self._move(asked, received)
        if received.error is not None:
            raise received.error
        return check_complete(series, len(received.paths))

    def send(self, files: Sequence[Outgoing]) -> None:
        """See `Archive.send`."""
        kinds = sorted({(file.sop_class, file.syntax) for file in files})
        if len(kinds) > MAX_CONTEXTS:
            raise InputError(Code.SIZE, f"{len(kinds)} kinds of file; {MAX_CONTEXTS} fit one association.")
        contexts = [_context(sop_class, [syntax]) for sop_class, syntax in kinds]
        with self._association(contexts) as association:
            for file in files:
                with silent_pydicom():
                    status = _code(association.send_c_store(file.path))
                if status is None or not (status == 0 or status & 0xF000 == 0xB000):  # B000: a warning
                    raise _refused("store a file", status)

    def find(self, identifier: Dataset, model: str = FIND) -> list[Dataset]:
        """The answers to a query, of an archive or of a worklist.

        Raises:
            InputError: E_NETWORK; E_SIZE for more than `limits.matches`.
        """
        answers: list[Dataset] = []
        with self._association([_context(model)]) as association:
            for status, answer in association.send_c_find(identifier, model):
                code = _code(status)
                if code in PENDING and answer is not None:
                    answers.append(answer)
                    if len(answers) > self.config.limits.matches:
                        limit = self.config.limits.matches
                        raise InputError(Code.SIZE, f"More than {limit:,} answers to a query; ask for less.")
                elif code != 0:
                    raise _refused("answer a query", code)
        return answers

    def _get(self, identifier: Dataset, received: _Received) -> None:
        from pynetdicom.presentation import build_role

        contexts = [_context(GET)]
        # One context for each syntax, so that the archive sends what it has and nothing is converted.
        contexts += [_context(name, [syntax]) for name in MR_CLASSES for syntax in SYNTAXES]
        roles = [build_role(name, scp_role=True) for name in MR_CLASSES]
        with self._association(contexts, roles, received.handle) as association:
            _follow(association.send_c_get(identifier, GET), received)

    def _move(self, identifier: Dataset, received: _Received) -> None:
        assert self.config.listen is not None
        listener = Listener(self.config.listen, self.config.our_ae_title, self.config.limits, received.keep)
        contexts = [_context(MOVE)]
        with listener.running(), self._association(contexts) as association:
            _follow(association.send_c_move(identifier, self.config.our_ae_title, MOVE), received)

    @contextmanager
    def _association(
        self,
        contexts: list[Context],
        roles: Sequence[Role] = (),
        on_store: Callable[[Event], int] | None = None,
    ) -> Iterator[Association]:
        """An association with the archive; whatever goes wrong in it is E_NETWORK."""
        association = self._associate(contexts, roles, on_store)
        try:
            yield association
            association.release()
        except InputError:
            raise
        except Exception as error:  # pynetdicom raises what its parts raise, about what a peer sent
            raise InputError(
                Code.NETWORK, f"The archive could not be understood ({type(error).__name__})."
            ) from None
        finally:
            if association.is_established or association.is_alive():
                association.abort()

    def _associate(
        self,
        contexts: list[Context],
        roles: Sequence[Role],
        on_store: Callable[[Event], int] | None,
    ) -> Association:
        from pynetdicom import AE, evt

        config = self.config
        ae = AE(ae_title=config.our_ae_title)
        ae.acse_timeout = ae.dimse_timeout = ae.network_timeout = ae.connection_timeout = config.timeout_s
        pool = Pool(config.limits.memory_bytes)

        def opened(event: Event) -> None:
            Guard.attach(event, pool, ANSWER_PDU_BYTES, config.limits.instance_bytes, config.timeout_s)

        handlers: list[Any] = [(evt.EVT_CONN_OPEN, opened), (evt.EVT_DIMSE_RECV, message_complete)]
        if on_store is not None:
            handlers.append((evt.EVT_C_STORE, on_store))
        assert config.host is not None
        try:
            association = ae.associate(
                config.host,
                config.port,
                contexts=contexts,
                ae_title=config.ae_title,
                max_pdu=ANSWER_PDU_BYTES,
                ext_neg=list(roles) or None,
                tls_args=(client_context(config.tls), config.host) if config.tls else None,
                evt_handlers=handlers,
            )
        except (OSError, RuntimeError) as error:
            raise InputError(
                Code.NETWORK, f"The archive cannot be reached ({type(error).__name__})."
            ) from None
        if not association.is_established:
            reason = "it refused the association" if association.is_rejected else "no association was made"
            raise InputError(Code.NETWORK, f"The archive cannot be used: {reason}.")
        return association


class _Received:
    """The images of one series as they come in, over C-GET or to our listener."""

    def __init__(self, series: Series, inbox: Inbox, transfer_s: float) -> None:
        self.inbox, self.claim = inbox, Claim(study=series.study_uid, series=series.uid)
        self.ends = time.monotonic() + transfer_s
        self.paths: set[Any] = set()
        self.error: InputError | None = None

    def handle(self, event: Event) -> int:
        """Handler of EVT_C_STORE on an association of ours."""
        status = store(event, self.keep, self.claim)
        if self.error is not None:
            event.assoc.abort()
        return status

    def keep(self, content: bytes, claim: Claim) -> Arrived:
        """Store one image of the series that was asked for, and no other."""
        try:
            if time.monotonic() > self.ends:
                raise InputError(Code.NETWORK, "The transfer takes too long.")
            wanted = Claim(claim.sop_class, claim.sop_instance, self.claim.study, self.claim.series)
            arrived = self.inbox.keep(content, wanted)
        except InputError as error:
            self.error = self.error or error
            raise
        self.paths.add(arrived.path)
        return arrived


def _follow(responses: Iterator[tuple[Dataset, Dataset | None]], received: _Received) -> None:
    """Wait until a retrieve is over; what failed in the inbox tells more than the archive's own answer."""
    code = None
    for status, _ in responses:
        code = _code(status)
        if received.error is not None:
            raise received.error
        if code not in PENDING:
            if code != 0 and single_value(status, "NumberOfFailedSuboperations") and not received.paths:
                raise InputError(Code.FORMAT, "The archive has no image of an accepted kind in a series.")
            break
    if code != 0:
        raise _refused("send a series", code)


def _context(abstract: str, syntaxes: Sequence[str] = (IMPLICIT_LE, EXPLICIT_LE)) -> Context:
    from pynetdicom.presentation import build_context

    return build_context(abstract, list(syntaxes))


def _identifier(level: str, answers: Sequence[str], match: Match) -> Dataset:
    """The keys of a query: those with a value select, the empty ones ask for one (PS3.4 section C.2.2)."""
    identifier = Dataset()
    identifier.QueryRetrieveLevel = level
    for name in answers:
        setattr(identifier, name, "")
    for name, value in match.items():
        setattr(identifier, name, value)
    return identifier


def single_value(answer: Dataset, name: str) -> Any:
    """The one value of an element that a peer sent; None when it is absent, empty or has several."""
    with silent_pydicom():
        found = values(answer, name)
    return found[0] if len(found) == 1 else None


def _text(answer: Dataset, name: str) -> str:
    return listed(single_value(answer, name))


def _code(status: Dataset) -> int | None:
    """The status of a response; None when none came in time."""
    found = single_value(status, "Status")
    return found if isinstance(found, int) else None


def _refused(what: str, status: int | None) -> InputError:
    reason = "no answer came in time" if status is None else f"status {status:04X}"
    return InputError(Code.NETWORK, f"The archive did not {what}: {reason}.")
