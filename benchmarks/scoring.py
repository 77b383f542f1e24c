"""A night in small: real scans in two formats, one in ten broken, scored by one command; scans an hour.

    scoring.py DATA --scans 200                   DATA: a folder with hippocampus/ and ixi_brain/
    scoring.py DATA --scans 200 --nnunet VENV     VENV: an environment with nnunetv2

The folder of scans is made anew: crops and heads as they are and as DICOM series, in folders of sites, and
broken ones of ten kinds. `lnn-med score` runs with each number of workers, into a run of its own; every good
scan must be scored and every broken one listed with its code, or the benchmark ends with exit code 1.
Beside it, `lnn-med predict` as one process for each scan, on a few scans of each kind; what all of them would
take follows from how many there are. nnU-Net's own predictor (step 0.5, no mirroring) does a folder of a few
heads and one of a few crops at a time, with networks as its planner makes them (nnunet_model.py), which give
labels alone: no quality control, no volumes, no DICOM. All in one go, on one machine: compare ratios, not
machines.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import json
import os
import struct
import subprocess
import sys
import tempfile
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from lnn_med.errors import Code
from lnn_med.io import read
from lnn_med.io.dicom_writer import write_t1_series
from lnn_med.scoring import audit

PROGRAM = "from lnn_med.cli import main; main()"
BROKEN_SHARE, HEAD_SHARE, DICOM_SHARE = 0.1, 0.08, 0.2  # of all; of the good ones
DIM, DATATYPE, SFORM_CODE, SROW_Y, DATA = 40, 70, 254, 296, 352  # places in a NIfTI-1 file (nifti1.h)
NAN = float("nan")

# Scans of each kind for nnU-Net, and its network.
NNUNET = {
    "head": (3, ["--spacing", "2", "--shape", "120", "120", "90"]),
    "crop": (
        30,
        [
            *("--spacing", "1", "--shape", "35", "50", "35", "--classes", "3"),
            *("--patch", "40", "56", "40", "--stages", "4"),
        ],
    ),
}

Damage = Callable[[bytes], bytes]


def patched(place: int, kind: str, *values: float) -> Damage:
    """A damage: values of a kind of `struct` put into the header."""

    def damage(whole: bytes) -> bytes:
        content = bytearray(whole)
        struct.pack_into("<h", content, SFORM_CODE, 1)
        struct.pack_into(f"<{kind}", content, place, *values)
        return bytes(content)

    return damage


def outside(whole: bytes) -> bytes:
    """A zip whose entry would lie outside the folder it is unpacked into."""
    with tempfile.TemporaryFile() as file:
        with zipfile.ZipFile(file, "w") as archive:
            archive.writestr("../outside.nii", whole)
        file.seek(0)
        return file.read()


DAMAGES: dict[str, tuple[Damage, Code]] = {
    "empty.nii.gz": (lambda whole: b"", Code.EMPTY),
    "cut.nii": (lambda whole: whole[:-500], Code.TRUNCATED),
    "cut.nii.gz": (lambda whole: gzip.compress(whole)[:-500], Code.GZIP),
    "plain.nii.gz": (lambda whole: whole, Code.GZIP),
    "nan.nii": (patched(SROW_Y, "4f", 0, NAN, 0, 0), Code.GEOMETRY),
    "type.nii": (patched(DATATYPE, "h", 777), Code.HEADER),
    "huge.nii": (patched(DIM, "4h", 3, 32767, 32767, 32767), Code.SIZE),
    "zero.nii": (lambda whole: whole[:DATA] + bytes(len(whole) - DATA), Code.NODATA),
    "outside.zip": (outside, Code.ARCHIVE),
}


@dataclass
class Folder:
    """The scans: good ones by kind, and the codes that the broken ones must get, by path."""

    place: Path
    good: dict[str, list[Path]] = field(default_factory=dict)
    codes: dict[str, str] = field(default_factory=dict)

    @property
    def count(self) -> int:
        """How many good ones there are."""
        return sum(map(len, self.good.values()))


def make_folder(data: Path, place: Path, scans: int) -> Folder:
    """Write the folder of scans; NIfTI files are links."""
    made, broken = Folder(place), max(1, round(BROKEN_SHARE * scans))
    heads = max(1, round(HEAD_SHARE * (scans - broken)))
    counts = {"head": heads, "crop": scans - broken - heads}
    crops = _images(data / "hippocampus")
    sources = {"head": _images(data / "ixi_brain"), "crop": crops}
    for kind, count in counts.items():
        dicom = round(DICOM_SHARE * count)
        for number in range(count):
            path, name = next(sources[kind]), f"{kind} {'DICOM' if number < dicom else 'NIfTI'}"
            site = place / f"site{number % 3}"
            if number < dicom:
                scan = site / "dicom" / path.name.partition(".")[0]
                write_t1_series(read(path), scan)
            else:
                scan = site / path.name
                scan.parent.mkdir(parents=True, exist_ok=True)
                os.symlink(path.resolve(), scan)
            made.good.setdefault(name, []).append(scan)
    for number in range(broken):
        _break(next(crops), made, number)
    return made


def _break(path: Path, made: Folder, number: int) -> None:
    """One broken scan: the kinds take turns, and the last of them is a DICOM series that misses a slice."""
    turn, kind = divmod(number, len(DAMAGES) + 1)
    folder = made.place / "broken"
    folder.mkdir(exist_ok=True)
    if kind == len(DAMAGES):
        place = folder / f"{turn}_gap"
        slices = write_t1_series(read(path), place)
        slices[len(slices) // 2].unlink()
        code = Code.GAP
    else:
        name, (damage, code) = list(DAMAGES.items())[kind]
        place = folder / f"{turn}_{name}"
        place.write_bytes(damage(gzip.decompress(path.read_bytes())))
    made.codes[place.relative_to(made.place).as_posix()] = code.value


def _images(folder: Path) -> Iterator[Path]:
    return iter(sorted((folder / "imagesTr").glob("*.nii.gz")))


def lnn_med(*arguments: object, expect: int) -> tuple[str, float]:
    """What a command of its own process prints, and how long it took, seconds."""
    began = time.perf_counter()
    command = [sys.executable, "-c", PROGRAM, *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != expect:
        raise SystemExit(f"lnn-med {arguments[0]} ended with {done.returncode}: {done.stderr[-500:]}")
    return done.stdout, time.perf_counter() - began


def score(folder: Folder, run: Path, workers: int) -> float:
    """Seconds of a whole run, which must have found what is good and what is broken."""
    _, seconds = lnn_med("score", folder.place, "-o", run, "--workers", workers, "--json", expect=2)
    with (run / "failures.csv").open(newline="") as stream:
        failures = {row["path"]: row["code"] for row in csv.DictReader(stream)}
    if failures != folder.codes:
        wrong = {path: (failures.get(path), code) for path, code in folder.codes.items()}
        raise SystemExit(f"Failures differ from what was broken (found, expected): {wrong}")
    results = len(list((run / "cases").glob("*/result.json")))
    if results != folder.count or not audit.verify(run).intact:
        raise SystemExit(f"{results} of {folder.count} good scans are scored.")
    return seconds


def predict(folder: Folder, out: Path, of_each: int) -> float:
    """Seconds that one process for each good scan would take, from some scans of each kind."""
    total = 0.0
    for kind, paths in folder.good.items():
        times = [
            lnn_med("predict", path, "-o", out / kind.replace(" ", "_") / str(number), "--json", expect=0)[1]
            for number, path in enumerate(paths[:of_each])
        ]
        total += len(paths) * sum(times) / len(times)
    return total


def nnunet(folder: Folder, place: Path, environment: Path) -> float:
    """Seconds that `nnUNetv2_predict_from_modelfolder` would take for all good scans, from a few of each."""
    total = 0.0
    for kind, (some, options) in NNUNET.items():
        paths = [path for name, found in folder.good.items() if name == f"{kind} NIfTI" for path in found][
            :some
        ]
        count = sum(len(found) for name, found in folder.good.items() if name.startswith(kind))
        model, images, out = (place / kind / part for part in ("model", "images", "out"))
        images.mkdir(parents=True)
        for number, path in enumerate(paths):
            (images / f"scan{number}_0000.nii.gz").symlink_to(path.resolve())
        maker = Path(__file__).with_name("nnunet_model.py")
        subprocess.run([environment / "bin/python", maker, model, *options], check=True, capture_output=True)
        program = environment / "bin/nnUNetv2_predict_from_modelfolder"
        how = ["-f", "0", "-step_size", "0.5", "--disable_tta", "-device", "cpu", "-npp", "1", "-nps", "1"]
        began = time.perf_counter()
        subprocess.run([program, "-i", images, "-o", out, "-m", model, *how], check=True, capture_output=True)
        total += count * (time.perf_counter() - began) / len(paths)
    return total


def main() -> None:
    """Print a table, or JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("data", type=Path)
    parser.add_argument("--scans", type=int, default=200)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--predict", type=int, default=3, help="scans of each kind for `lnn-med predict`")
    parser.add_argument("--nnunet", type=Path, metavar="VENV", help="environment with nnunetv2")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        folder = make_folder(options.data, place / "scans", options.scans)
        rows = {}
        for workers in options.workers:
            rows[f"score, {workers} workers"] = score(folder, place / f"run{workers}", workers)
            print(f"{workers} workers: {rows[f'score, {workers} workers']:.0f} s", file=sys.stderr)
        if options.predict:
            rows["predict, a process for each scan"] = predict(folder, place / "predicted", options.predict)
        if options.nnunet:
            rows["nnU-Net's predictor, a folder of each"] = nnunet(folder, place / "nnunet", options.nnunet)
    hourly = {name: 3600 * folder.count / seconds for name, seconds in rows.items()}
    kinds = {kind: len(paths) for kind, paths in folder.good.items()}
    if options.json:
        codes = sorted(folder.codes.values())
        print(
            json.dumps({"good": kinds, "broken": codes, "seconds": rows, "scans_per_hour": hourly}, indent=2)
        )
        return
    told = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    print(f"{told}; {len(folder.codes)} broken, each listed with its code")
    for name, seconds in rows.items():
        print(f"{name:38s} {seconds:8.0f} s {hourly[name]:8.0f} good scans/h")


if __name__ == "__main__":
    main()
