"""Writes a PDF report as a DICOM Encapsulated PDF (PS3.3 section A.45.1)."""

from __future__ import annotations

from pathlib import Path

from lnn_med.errors import Code, InputError
from lnn_med.io.dicom_making import Making, plain_header, save

ENCAPSULATED_PDF = "1.2.840.10008.5.1.4.1.1.104.1"
ROLE = "DOC"
TITLE = "LNN-Med brain volumetry (research use only)"


def write_document(making: Making, pdf: bytes, path: Path) -> None:
    """Write a PDF report on the prediction.

    Raises:
        InputError: E_FORMAT when the bytes are no PDF.
    """
    if not pdf.startswith(b"%PDF-"):
        raise InputError(Code.FORMAT, "The document does not begin like a PDF (%PDF-).")
    header = plain_header(making, ENCAPSULATED_PDF, "DOC", ROLE)
    header.ConversionType = "WSD"
    header.SeriesDescription = header.DocumentTitle = TITLE
    header.AcquisitionDateTime = None
    # It names the patient as every report does, and is no picture of a face.
    header.BurnedInAnnotation = "YES"
    header.RecognizableVisualFeatures = "NO"
    header.ConceptNameCodeSequence = []
    header.MIMETypeOfEncapsulatedDocument = "application/pdf"
    header.EncapsulatedDocument = pdf + bytes(len(pdf) % 2)
    header.EncapsulatedDocumentLength = len(pdf)
    save(header, path)
