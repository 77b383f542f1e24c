"""Bad NIfTI files: each gets its code (N01 to N22 of the list of bad inputs), none gets memory."""

from __future__ import annotations

import gzip
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from lnn_med.errors import Code, InputError
from lnn_med.io.nifti import read_labels, read_nifti
from tests.io.nifti_factory import SHAPE, nifti_bytes, qform_only, voxels, zeros_gzip

NAN, INF = float("nan"), float("inf")


def _gz(content: bytes) -> bytes:
    return gzip.compress(content, mtime=0)


def _flip(content: bytes, position: int) -> bytes:
    changed = bytearray(content)
    changed[position] ^= 0xFF
    return bytes(changed)


def _wide(**dims: int) -> dict[str, object]:
    """A header that declares other axes than the 5 x 6 x 7 voxels that follow."""
    dim = [3, *SHAPE, 1, 1, 1, 1]
    for name, value in dims.items():
        dim[int(name[1:])] = value
    return {"dim": dim}


def _analyze() -> bytes:
    return nifti_bytes(magic=b"")


def _unset_geometry(**fields: object) -> bytes:
    return nifti_bytes(sform_code=0, qform_code=0, **fields)


LARGEST = _wide(d1=32767, d2=32767, d3=32767)
SHEARED = {"srow_x": (1, 0.3, 0, 0), "srow_y": (0, 1, 0, 0), "srow_z": (0, 0, 1, 0)}
FLAT = {"srow_x": (1, 1, 0, 0), "srow_y": (0, 0, 0, 0), "srow_z": (0, 0, 1, 0)}
TINY = {"srow_x": (1e-9, 0, 0, 0), "srow_y": (0, 1e-9, 0, 0), "srow_z": (0, 0, 1e-9, 0)}
HUGE = {"srow_x": (1e6, 0, 0, 0), "srow_y": (0, 1e6, 0, 0), "srow_z": (0, 0, 1e6, 0)}
FINE = {"srow_x": (0.21, 0, 0, 0), "srow_y": (0, 0.21, 0, 0), "srow_z": (0, 0, 0.21, 0)}

# (remark, file ending, content, code)
CASES: list[tuple[str, str, bytes | Callable[[], bytes], Code]] = [
    ("N01 no bytes", "nii", b"", Code.EMPTY),
    ("N01 no bytes, named gz", "nii.gz", b"", Code.EMPTY),
    ("N01 gzip of no bytes", "nii.gz", _gz(b""), Code.EMPTY),
    ("N02 32767 voxels along each axis", "nii", nifti_bytes(**LARGEST), Code.SIZE),
    ("N02 same, compressed", "nii.gz", _gz(nifti_bytes(**LARGEST)), Code.SIZE),
    ("N02 NIfTI-2, 2^62 voxels", "nii", nifti_bytes(version=2, **_wide(d1=2**62)), Code.SIZE),
    ("N02 NIfTI-2, product wraps in 64 bits", "nii", nifti_bytes(version=2, **_wide(d1=2**32, d2=2**32)),
     Code.SIZE),
    ("N03 eight axes", "nii", nifti_bytes(**_wide(d0=8)), Code.HEADER),
    ("N03 minus one axes", "nii", nifti_bytes(**_wide(d0=-1)), Code.HEADER),
    ("N03 no axes", "nii", nifti_bytes(**_wide(d0=0)), Code.HEADER),
    ("N03 axis of -6 voxels", "nii", nifti_bytes(**_wide(d2=-6)), Code.HEADER),
    ("N03 axis of 0 voxels", "nii", nifti_bytes(**_wide(d3=0)), Code.HEADER),
    ("N04 NaN in the sform", "nii", nifti_bytes(srow_y=(0, NAN, 0, 0)), Code.GEOMETRY),
    ("N04 NaN in the offset", "nii", nifti_bytes(srow_y=(0, 1, 0, NAN)), Code.GEOMETRY),
    ("N04 same, beside a good qform", "nii", nifti_bytes(srow_y=(0, NAN, 0, 0), qform_code=1), Code.GEOMETRY),
    ("N05 sform all zero", "nii",
     nifti_bytes(sform_code=2, srow_x=(0,) * 4, srow_y=(0,) * 4, srow_z=(0,) * 4), Code.GEOMETRY),
    ("N06 pixdim 0, no codes", "nii", _unset_geometry(pixdim=(0,) * 8), Code.GEOMETRY),
    ("N06 pixdim fine, no codes: left or right?", "nii", _unset_geometry(), Code.GEOMETRY),
    ("N06 negative codes", "nii", nifti_bytes(sform_code=-1, qform_code=-1), Code.GEOMETRY),
    ("N07 pixdim NaN", "nii", nifti_bytes(pixdim=(1, NAN, 1, 1, 0, 0, 0, 0)), Code.GEOMETRY),
    ("N07 pixdim infinite", "nii", nifti_bytes(pixdim=(1, 1, INF, 1, 0, 0, 0, 0)), Code.GEOMETRY),
    ("N07 pixdim negative", "nii", nifti_bytes(pixdim=(1, 1, 1, -1, 0, 0, 0, 0)), Code.GEOMETRY),
    ("N07 pixdim 0, qform needs it", "nii", nifti_bytes(**qform_only(pixdim=(1, 1, 0, 1, 0, 0, 0, 0))),
     Code.GEOMETRY),
    ("N07 qfac NaN", "nii", nifti_bytes(**qform_only(pixdim=(NAN, 1, 1, 1, 0, 0, 0, 0))), Code.GEOMETRY),
    ("N08 quaternion longer than 1", "nii", nifti_bytes(**qform_only(quatern_b=0.9, quatern_c=0.9)),
     Code.GEOMETRY),
    ("N08 same, beside a good sform", "nii", nifti_bytes(qform_code=1, quatern_d=1.5), Code.GEOMETRY),
    ("N08 quaternion NaN", "nii", nifti_bytes(**qform_only(quatern_b=NAN)), Code.GEOMETRY),
    ("N08 offset infinite", "nii", nifti_bytes(**qform_only(qoffset_x=INF)), Code.GEOMETRY),
    ("N09 data type 0", "nii", nifti_bytes(datatype=0), Code.HEADER),
    ("N09 data type 777", "nii", nifti_bytes(datatype=777), Code.HEADER),
    ("N09 16-bit type with bitpix 32", "nii", nifti_bytes(bitpix=32), Code.HEADER),
    ("N09 bitpix 0", "nii", nifti_bytes(bitpix=0), Code.HEADER),
    ("N10 vox_offset negative", "nii", nifti_bytes(vox_offset=-352), Code.HEADER),
    ("N10 vox_offset inside the header", "nii", nifti_bytes(vox_offset=100), Code.HEADER),
    ("N10 vox_offset 1e20", "nii", nifti_bytes(vox_offset=1e20), Code.HEADER),
    ("N10 vox_offset past the end", "nii", nifti_bytes(vox_offset=100_000), Code.HEADER),
    ("N10 same, compressed", "nii.gz", _gz(nifti_bytes(vox_offset=100_000)), Code.HEADER),
    ("N10 vox_offset NaN", "nii", nifti_bytes(vox_offset=NAN), Code.HEADER),
    ("N10 vox_offset infinite", "nii", nifti_bytes(vox_offset=INF), Code.HEADER),
    ("N10 NIfTI-2, 2^63 - 1", "nii", nifti_bytes(version=2, vox_offset=2**63 - 1), Code.HEADER),
    ("N11 scl_slope infinite", "nii", nifti_bytes(scl_slope=INF), Code.HEADER),
    ("N11 scl_inter NaN", "nii", nifti_bytes(scl_slope=2, scl_inter=NAN), Code.HEADER),
    ("N12 half of the voxels", "nii", nifti_bytes(cut_bytes=200), Code.TRUNCATED),
    ("N12 one byte short", "nii", nifti_bytes(cut_bytes=1), Code.TRUNCATED),
    ("N12 header only", "nii", nifti_bytes()[:348], Code.TRUNCATED),
    ("N12 half a header", "nii", nifti_bytes()[:200], Code.TRUNCATED),
    ("N12 two bytes", "nii", b"\x5c\x01", Code.TRUNCATED),
    ("N12 short inside a whole gzip stream", "nii.gz", _gz(nifti_bytes(cut_bytes=1)), Code.TRUNCATED),
    ("N12 declares 512 MiB, holds little, compressed", "nii.gz",
     _gz(nifti_bytes(np.zeros((1, 1, 1)), **_wide(d1=512, d2=512, d3=256))), Code.TRUNCATED),
    ("N13 plain file named gz", "nii.gz", nifti_bytes(), Code.GZIP),
    ("N13 zip named gz", "nii.gz", b"PK\x03\x04" + bytes(500), Code.GZIP),
    ("N14 gzip cut in the middle", "nii.gz", _gz(nifti_bytes())[:150], Code.GZIP),
    ("N14 gzip cut before its checksum", "nii.gz", _gz(nifti_bytes())[:-8], Code.GZIP),
    ("N14 checksum wrong", "nii.gz", _flip(_gz(nifti_bytes()), -6), Code.GZIP),
    ("N14 deflate data wrong", "nii.gz", _flip(_gz(nifti_bytes()), 12), Code.GZIP),
    ("N14 rubbish after the stream", "nii.gz", _gz(nifti_bytes()) + b"rubbish", Code.GZIP),
    ("N16 all zero", "nii", nifti_bytes(np.zeros(SHAPE, np.float32)), Code.NODATA),
    ("N16 all the same", "nii", nifti_bytes(np.full(SHAPE, 42, np.int16)), Code.NODATA),
    ("N16 all NaN", "nii", nifti_bytes(np.full(SHAPE, NAN, np.float32)), Code.NODATA),
    ("N16 all infinite", "nii", nifti_bytes(np.full(SHAPE, INF, np.float64)), Code.NODATA),
    ("N16 overflows by its slope", "nii", nifti_bytes(voxels() + np.int16(1), scl_slope=3e38, scl_inter=3e38),
     Code.NODATA),
    ("N17 4D", "nii", nifti_bytes(voxels((5, 6, 7, 2))), Code.SHAPE),
    ("N17 4D on its fifth axis", "nii", nifti_bytes(voxels((5, 6, 7, 1, 3))), Code.SHAPE),
    ("N17 2D", "nii", nifti_bytes(voxels((5, 6))), Code.SHAPE),
    ("N17 one slice", "nii", nifti_bytes(voxels((5, 6, 1))), Code.SHAPE),
    ("N17 one voxel", "nii", nifti_bytes(voxels((1, 1, 1))), Code.SHAPE),
    ("N18 RGB", "nii", nifti_bytes(datatype=128, bitpix=24), Code.DTYPE),
    ("N18 RGBA", "nii", nifti_bytes(datatype=2304, bitpix=32), Code.DTYPE),
    ("N18 complex", "nii", nifti_bytes(voxels().astype(np.complex64)), Code.DTYPE),
    ("N18 bits", "nii", nifti_bytes(datatype=1, bitpix=1), Code.DTYPE),
    ("N19 magic wrong", "nii", nifti_bytes(magic=b"abc"), Code.HEADER),
    ("N19 magic of a pair", "nii", nifti_bytes(magic=b"ni1"), Code.HEADER),
    ("N19 Analyze", "nii", _analyze, Code.HEADER),
    ("N19 header size 347", "nii", nifti_bytes(sizeof_hdr=347), Code.HEADER),
    ("N19 text", "nii", b"this is not an image\n" * 40, Code.HEADER),
    ("N19 NIfTI-2 spoilt by newline conversion", "nii", nifti_bytes(version=2, eol_check=(10, 10, 26, 10)),
     Code.HEADER),
    ("N20 singular sform", "nii", nifti_bytes(**FLAT), Code.GEOMETRY),
    ("N20 sheared sform", "nii", nifti_bytes(**SHEARED), Code.GEOMETRY),
    ("N21 spacing 1e-9 mm", "nii", nifti_bytes(**TINY), Code.GEOMETRY),
    ("N21 spacing 1e6 mm", "nii", nifti_bytes(**HUGE), Code.GEOMETRY),
    ("N21 voxel of 0.009 mm³", "nii", nifti_bytes(**FINE), Code.GEOMETRY),
    ("N22 says metres, writes millimetres", "nii", nifti_bytes(xyzt_units=1), Code.UNITS),
    ("N22 unknown unit", "nii", nifti_bytes(xyzt_units=6), Code.UNITS),
]  # fmt: skip


@pytest.mark.parametrize(
    ("ending", "content", "code"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_bad_file_is_refused_with_its_code(
    tmp_path: Path, ending: str, content: bytes | Callable[[], bytes], code: Code
) -> None:
    path = tmp_path / f"ZZCANARY_99887766.{ending}"
    path.write_bytes(content() if callable(content) else content)

    with pytest.raises(InputError) as refusal:
        read_nifti(path)

    assert refusal.value.code is code
    assert "ZZCANARY" not in str(refusal.value)  # file names often hold the patient's name or number
    assert [child.name for child in tmp_path.iterdir()] == [path.name]


SMALL_IMAGE_THEN_ZEROS = nifti_bytes()
ONE_GIB_IMAGE = nifti_bytes(np.zeros((1, 1, 1)), **_wide(d1=512, d2=512, d3=512))


@pytest.mark.parametrize(
    "prefix",
    [
        pytest.param(SMALL_IMAGE_THEN_ZEROS, id="N15 small image, zeros follow"),
        pytest.param(ONE_GIB_IMAGE, id="N15 header declares 1 GiB, the zeros are its voxels"),
    ],
)
def test_gzip_bomb_is_refused_in_little_memory(tmp_path: Path, prefix: bytes) -> None:
    path = tmp_path / "bomb.nii.gz"
    path.write_bytes(zeros_gzip(prefix, megabytes=1024))
    assert path.stat().st_size < 2 << 20

    tracemalloc.start()
    start = time.process_time()
    with pytest.raises(InputError) as refusal:
        read_nifti(path)
    seconds = time.process_time() - start
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert refusal.value.code is Code.BOMB
    assert peak_bytes < 16 << 20  # numpy's arrays count in full here, even where they are never touched
    assert seconds < 20


def test_zeros_that_only_look_like_a_bomb_are_judged_by_their_content(tmp_path: Path) -> None:
    """A sparse label map compresses 1000:1 and is honest; as a scan it merely holds nothing."""
    path = tmp_path / "empty.nii.gz"
    path.write_bytes(_gz(nifti_bytes(np.zeros((64, 64, 64), np.uint8))))

    assert not read_labels(path).data.any()
    with pytest.raises(InputError) as refusal:
        read_nifti(path)
    assert refusal.value.code is Code.NODATA


def test_missing_file_and_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "folder.nii").mkdir()
    for path, code in [
        (tmp_path / "none.nii", Code.NOTFOUND),
        (tmp_path / "folder.nii", Code.FORMAT),
        (Path("zero\0byte.nii"), Code.NOTFOUND),
    ]:
        with pytest.raises(InputError) as refusal:
            read_nifti(path)
        assert refusal.value.code is code
