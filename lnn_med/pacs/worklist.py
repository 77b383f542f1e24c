"""A modality worklist: which studies a hospital has scheduled (PS3.4 annex K)."""

from __future__ import annotations

from dataclasses import replace

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence

from lnn_med.errors import require
from lnn_med.pacs.archive import silence
from lnn_med.pacs.settings import PacsConfig
from lnn_med.pacs.uids import is_uid

FIND = "1.2.840.10008.5.1.4.31"


def scheduled(config: PacsConfig, dates: str, modality: str) -> tuple[list[str], int]:
    """StudyInstanceUIDs of the steps that are scheduled at `dates` (20260101-20260102), each once.

    Nothing of the patient is asked for. An entry whose UID is none is left out and counted: one wrong entry
    of a scheduler must not stop a watch.

    Raises:
        InputError: E_NETWORK; E_SIZE for more entries than `limits.matches`.
        LnnMedError: the extra `pacs` is not installed.
    """
    require("pynetdicom", extra="pacs")
    silence()
    from lnn_med.pacs.dimse import DimseArchive, single_value

    peer = config.worklist
    assert peer is not None
    where = replace(config, url=None, host=peer.host, port=peer.port, ae_title=peer.ae_title)
    server = DimseArchive(replace(where, tls=peer.tls, retrieve="get"))
    entries = server.find(_identifier(dates, modality, peer.station_ae_title), FIND)
    listed = [str(single_value(entry, "StudyInstanceUID")) for entry in entries]
    uids = [uid for uid in listed if is_uid(uid)]
    return list(dict.fromkeys(uids)), len(listed) - len(uids)


def _identifier(dates: str, modality: str, station: str | None) -> Dataset:
    """The keys of the query: those with a value select (PS3.4 table K.6-1)."""
    step = Dataset()
    step.ScheduledStationAETitle = station or ""
    step.ScheduledProcedureStepStartDate = dates
    step.Modality = modality
    identifier = Dataset()
    identifier.StudyInstanceUID = ""
    identifier.ScheduledProcedureStepSequence = Sequence([step])
    return identifier
