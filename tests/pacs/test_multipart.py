"""Multipart bodies: however the stream is cut, the same parts; whatever is broken, an error."""

from __future__ import annotations

from pathlib import Path

import pytest

from lnn_med.errors import InputError
from lnn_med.pacs.multipart import FilePart, boundary_of, parts

BODIES = [b"one", b"", b"x--B inside\r\n-", b"two\r\n\r\nthree\r\n", bytes(range(256))]
WHOLE = (
    b"".join(b"--B\r\nContent-Type: application/dicom\r\n\r\n" + body + b"\r\n" for body in BODIES)
    + b"--B--\r\n"
)


@pytest.mark.parametrize("step", [1, 2, 3, 7, 64, len(WHOLE)])
def test_the_cuts_of_the_stream_do_not_matter(step: int) -> None:
    pieces = [WHOLE[at : at + step] for at in range(0, len(WHOLE), step)]
    assert list(parts(pieces, b"B", 1000)) == BODIES


def test_preamble_and_epilogue_are_no_parts() -> None:
    assert list(parts([b"hello\r\n" + WHOLE + b"\r\n--B\r\n\r\nmore\r\n--B--"], b"B", 1000)) == BODIES


def test_a_stream_that_ends_in_the_middle_is_an_error() -> None:
    for end in range(1, WHOLE.index(b"--B--")):
        with pytest.raises(InputError, match="E_NETWORK"):
            list(parts([WHOLE[:end]], b"B", 1000))


def test_a_part_beyond_its_limit_is_refused_before_it_is_whole() -> None:
    read = 0

    def endless() -> object:
        nonlocal read
        yield b"--B\r\n\r\n"
        while True:
            read += 1000
            yield b"x" * 1000

    with pytest.raises(InputError, match="E_SIZE"):
        list(parts(endless(), b"B", 50_000))  # type: ignore[arg-type]
    assert read < 80_000
    with pytest.raises(InputError, match="E_SIZE"):
        list(parts([WHOLE], b"B", 255))


def test_a_part_without_the_end_of_its_header_is_an_error() -> None:
    with pytest.raises(InputError, match="E_NETWORK"):
        list(parts([b"--B\r\nContent-Type: x\r\n--B--"], b"B", 100))


@pytest.mark.parametrize(
    ("kind", "boundary"),
    [
        ('multipart/related; type="application/dicom"; boundary="a b"', b"a b"),
        ("multipart/related; boundary=abc; type=x", b"abc"),
        ("multipart/related; BOUNDARY=abc", b"abc"),
    ],
)
def test_the_boundary_is_read_with_and_without_quotes(kind: str, boundary: bytes) -> None:
    assert boundary_of(kind) == boundary


def test_no_boundary_is_an_error() -> None:
    with pytest.raises(InputError, match="no boundary"):
        boundary_of("multipart/related; type=x")


def test_a_file_is_written_as_one_part_of_known_length(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(bytes(range(256)) * 1000)
    body = FilePart(path, "B")
    content = b"".join(body)
    assert len(content) == len(body)
    assert list(parts([content], b"B", 1 << 20)) == [path.read_bytes()]
