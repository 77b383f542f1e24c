"""Time and peak memory of one whole 1 mm head through the command line, on this machine.

The scan is the MNI152 template at 1 mm. Each run is a new process, so "cold" counts imports and loading;
"networks" is what `result.json` states.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from lnn_med.demo import mni152_template
from lnn_med.io.nifti import write_nifti

COLUMNS = ("cold_s", "networks_s", "fraction", "peak_rss_gb")


def measure(scan: Path, depth: str, folder: Path) -> dict[str, float]:
    """One `lnn-med predict` in a process of its own."""
    out = folder / f"result_{depth}"
    program = "from lnn_med.cli import main; main()"
    command = [
        sys.executable,
        "-c",
        program,
        "predict",
        str(scan),
        "-o",
        str(out),
        "--depth",
        depth,
        "--json",
    ]
    start = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"lnn-med predict --depth {depth} ended with exit code {process.returncode}.")
    compute = json.loads((out / "result.json").read_text(encoding="utf-8"))["compute"]
    return {
        "cold_s": seconds,
        "networks_s": compute["seconds"],
        "fraction": compute["fraction"],
        "peak_rss_gb": usage.ru_maxrss * 1024 / 1e9,  # Linux counts in KiB
    }


def main() -> None:
    """Print the medians as a Markdown table, or everything as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=3, help="runs of each depth, in turn (default 3)")
    parser.add_argument("--depths", nargs="+", default=["auto", "full"])
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    volume = mni152_template()
    runs: dict[str, list[dict[str, float]]] = {depth: [] for depth in options.depths}
    with tempfile.TemporaryDirectory() as name:
        scan = Path(name) / "mni152.nii.gz"
        write_nifti(volume, scan)
        for _ in range(options.runs):  # in turn, so that a slow minute of the machine hits all of them
            for depth in options.depths:
                runs[depth].append(measure(scan, depth, Path(name)))
    medians = {
        depth: {key: statistics.median(run[key] for run in found) for key in COLUMNS}
        for depth, found in runs.items()
    }
    report: dict[str, Any] = {
        "scan": {"shape": volume.shape, "spacing_mm": volume.spacing_mm},
        "cores": len(os.sched_getaffinity(0)),
        "runs": options.runs,
        "medians": medians,
        "all": runs,
    }
    if options.json:
        print(json.dumps(report, indent=2))
        return
    shape = " x ".join(str(size) for size in volume.shape)
    print(
        f"MNI152 template, {shape} voxels of 1 mm, {report['cores']} cores, median of {options.runs} runs\n"
    )
    print("| depth | " + " | ".join(COLUMNS) + " |\n|" + "---|" * (1 + len(COLUMNS)))
    for depth, found in medians.items():
        print(f"| {depth} | " + " | ".join(f"{found[key]:.2f}" for key in COLUMNS) + " |")


if __name__ == "__main__":
    main()
