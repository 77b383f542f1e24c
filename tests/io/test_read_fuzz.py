"""Randomly broken files: each is read or refused with a code; nothing else may ever come out."""

from __future__ import annotations

import gzip
import io
import random
import warnings
import zipfile
from pathlib import Path

import pytest

from lnn_med.errors import InputError
from lnn_med.io import read
from tests.io.nifti_factory import nifti_bytes, qform_only

ROUNDS = 150  # for each kind; 40,000 rounds of other seeds were run once by hand
HEADER_BYTES = 560  # plain files are broken here: broken voxels are only other voxels
LOUD_WORDS = [b"\xff\xff\xff\x7f", b"\0\0\xc0\x7f", b"\0\0\x80\x7f", b"\1\0\x80\x7f", b"\xff" * 4, bytes(4)]


def _zip() -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as packed:
        packed.writestr("folder/scan.nii", nifti_bytes())
        packed.writestr("notes.txt", "seen " * 100)
    return buffer.getvalue()


def _broken(content: bytes, draw: random.Random) -> bytes:
    """One to four injuries: a byte, a word that means NaN or a huge number, a cut, a gap."""
    changed = bytearray(content)
    for _ in range(draw.randint(1, 4)):
        at = draw.randrange(min(len(changed), HEADER_BYTES) or 1)
        injury = draw.random()
        if injury < 0.6:
            changed[at : at + 1] = bytes([draw.choice((0, 1, 0x7F, 0x80, 0xFF, draw.randrange(256)))])
        elif injury < 0.85:
            changed[at : at + 4] = draw.choice(LOUD_WORDS)
        elif injury < 0.95:
            del changed[draw.randrange(len(changed) or 1) :]
        else:
            del changed[at : at + draw.randrange(8)]
    return bytes(changed)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        pytest.param("scan.nii", nifti_bytes(), id="sform"),
        pytest.param("scan.nii", nifti_bytes(**qform_only()), id="qform"),
        pytest.param("scan.nii", nifti_bytes(version=2), id="NIfTI-2"),
        pytest.param("scan.nii.gz", gzip.compress(nifti_bytes(), mtime=0), id="gzip"),
        pytest.param("scan.zip", _zip(), id="zip"),
    ],
)
def test_broken_file_is_read_or_refused_with_a_code(tmp_path: Path, name: str, content: bytes) -> None:
    draw = random.Random(20240601)
    outcomes = {"read": 0, "refused": 0}
    for _ in range(ROUNDS):
        (tmp_path / name).write_bytes(_broken(content, draw))
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a warning of numpy would reach the user without a code
            try:
                read(tmp_path / name)
                outcomes["read"] += 1
            except InputError:
                outcomes["refused"] += 1
    assert outcomes["refused"] > 0.2 * ROUNDS  # the injuries do reach the checks
    assert [child.name for child in tmp_path.iterdir()] == [name]
