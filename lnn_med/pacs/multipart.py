"""MIME multipart (RFC 2046) as DICOMweb uses it: parts read with a limit each, a file written as one part."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from lnn_med.errors import Code, InputError

HEADER_BYTES = 16_384  # of the lines before a part
_BOUNDARY = re.compile(r'boundary=(?:"([^"\r\n]{1,70})"|([^\s;"]{1,70}))', re.IGNORECASE)
_BLANK = b"\r\n\r\n"


def boundary_of(content_type: str) -> bytes:
    """The boundary that a Content-Type names.

    Raises:
        InputError: E_NETWORK when there is none.
    """
    found = _BOUNDARY.search(content_type)
    if found is None:
        raise InputError(Code.NETWORK, "A multipart answer names no boundary.")
    return (found[1] or found[2]).encode("latin-1", "replace")


def parts(pieces: Iterable[bytes], boundary: bytes, part_bytes: int) -> Iterator[bytes]:
    """The bodies of a multipart stream, one after the other.

    Args:
        pieces: the stream in pieces of any size.
        boundary: without its leading dashes.
        part_bytes: the longest body.

    Raises:
        InputError: E_SIZE for a part that is longer, E_NETWORK for a stream without its last boundary.
    """
    mark = b"\r\n--" + boundary
    held, searched = bytearray(b"\r\n"), 0  # the first boundary has no line before it
    inside = False  # what precedes the first boundary is no part
    for piece in pieces:
        held += piece
        if inside and held.startswith(b"--"):  # a closing boundary that was cut in the middle
            return
        while (at := held.find(mark, searched)) >= 0:
            if inside:
                yield _body(bytes(held[:at]), part_bytes)
            del held[: at + len(mark)]
            inside, searched = True, 0
            if held.startswith(b"--"):
                return
        searched = max(0, len(held) - len(mark) + 1)
        if len(held) > part_bytes + HEADER_BYTES:
            raise InputError(Code.SIZE, f"A part of an answer has more than {part_bytes:,} bytes.")
    if not held.startswith(b"--"):
        raise InputError(Code.NETWORK, "An answer ends in the middle.")


def _body(part: bytes, part_bytes: int) -> bytes:
    header, blank, body = part.partition(_BLANK)
    if not blank or len(header) > HEADER_BYTES:
        raise InputError(Code.NETWORK, "A part of an answer has no end of its header.")
    if len(body) > part_bytes:
        raise InputError(Code.SIZE, f"A part of an answer has more than {part_bytes:,} bytes.")
    return body


class FilePart:
    """A request body of one file, read piece by piece; its length is known before."""

    def __init__(self, path: Path, boundary: str) -> None:
        head = f"--{boundary}\r\nContent-Type: application/dicom\r\n\r\n".encode()
        tail = f"\r\n--{boundary}--\r\n".encode()
        self.path, self.head, self.tail = path, head, tail

    def __len__(self) -> int:
        return len(self.head) + self.path.stat().st_size + len(self.tail)

    def __iter__(self) -> Iterator[bytes]:
        yield self.head
        with self.path.open("rb") as file:
            while piece := file.read(1 << 16):
                yield piece
        yield self.tail
