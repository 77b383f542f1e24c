"""Memory of a worker over a very large head: `lnn-med score` of the MNI152 template at 512 x 512 x 400.

    large_scan.py                     as NIfTI and as a DICOM series, one after the other
    large_scan.py --shape 256 256 200

The template is enlarged by linear interpolation; its size in mm stays. Printed is what the ledger of the run
says of each scan: seconds, and the most memory that its process held.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
from scipy.ndimage import zoom

from lnn_med.io.dicom_writer import write_t1_series
from lnn_med.io.mni_template import mni152_template
from lnn_med.io.nifti import write_nifti
from lnn_med.scoring.ledger import read_ledger
from lnn_med.volume import Volume

PROGRAM = "from lnn_med.cli import main; main()"


def enlarged(shape: tuple[int, int, int]) -> Volume:
    """The template on a finer grid over the same millimetres."""
    template = mni152_template()
    factor = np.array(shape) / np.array(template.shape)
    data = zoom(template.data.astype(np.float32), factor, order=1, grid_mode=True, mode="nearest")
    affine = template.affine.copy()
    affine[:3, :3] /= factor
    affine[:3, 3] += template.affine[:3, :3] @ ((1 / factor - 1) / 2)  # edges of the grid stay where they are
    return Volume(np.round(data * 1000 / data.max()).astype(np.int16), affine)


def main() -> None:
    """Print a line for each format."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shape", type=int, nargs=3, default=(512, 512, 400), metavar=("I", "J", "K"))
    shape = tuple(parser.parse_args().shape)
    with tempfile.TemporaryDirectory() as temporary:
        place = Path(temporary)
        (place / "nifti").mkdir()
        scan = enlarged(shape)
        write_nifti(scan, place / "nifti" / "head.nii.gz")
        write_t1_series(scan, place / "dicom")
        del scan
        for kind in ("nifti", "dicom"):
            run = place / f"run_{kind}"
            command = [sys.executable, "-c", PROGRAM, "score", str(place / kind), "-o", str(run), "--json"]
            subprocess.run(command, check=True, capture_output=True)
            (entry,) = read_ledger(run)
            memory = "unknown" if entry.peak_rss_mb is None else f"{entry.peak_rss_mb / 1000:.2f} GB"
            size = " x ".join(map(str, shape))
            print(
                f"{kind}: {size} voxels, {entry.state}, {entry.seconds:.0f} s, at most {memory}", flush=True
            )


if __name__ == "__main__":
    main()
