"""Time and peak memory of one scan through the command line, on this machine, beside nnU-Net.

    whole_head.py                                  ours: --depth auto and full
    whole_head.py --depths auto full 1 full/openvino --nnunet VENV      VENV: an environment with nnunetv2
    whole_head.py --crop hippocampus_001.nii.gz --nnunet VENV           a hippocampus crop at 1 mm instead

Without a crop the scan is the MNI152 template at 1 mm. Each run is a new process, so "cold" counts imports
and loading; "networks" is what `result.json` states: all of them, dementia-t1 included. "Warm" is a second
scan in a process that has measured one, from its file to written results, as in `score` and the viewer;
"brain_network" brain-t1's network alone. nnU-Net runs its own predictor on its own network (nnunet_model.py)
with steps of half a patch and without mirroring, heads at 1 mm and at 2 mm, the crop by its plan for the
hippocampus: cold as its command, warm as a second scan of its predictor in one process. All take turns;
ratios are to the first row, run by run.
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
from typing import Any, NamedTuple

from lnn_med.allocator import keep_memory
from lnn_med.inference.head import spacing_ratio
from lnn_med.inference.model_space import into_model_space
from lnn_med.inference.predict import HEAD, Predictor
from lnn_med.inference.quality import is_crop
from lnn_med.io import read
from lnn_med.io.mni_template import mni152_template
from lnn_med.io.nifti import write_nifti
from lnn_med.io.result_files import write_prediction

RATIOS = ("cold_s", "warm_s")
COLUMNS = ("cold_s", "warm_s", "brain_network_s", "networks_s", "fraction", "peak_rss_gb")
PROGRAM = "from lnn_med.cli import main; main()"
SECOND = (
    "import sys; sys.path.insert(0, sys.argv.pop(1)); import whole_head; whole_head.second(*sys.argv[1:])"
)
CLASSES = 51  # of brain-t1
HIPPOCAMPUS_PLAN = ("--classes", "3", "--patch", "40", "56", "40", "--stages", "4")
PASSES = 5  # of its network


class Runner(NamedTuple):
    """A command by name; `result` is the JSON that it writes, if any."""

    name: str
    command: list[str]
    result: Path | None = None
    second: tuple[str, ...] = ()  # command that prints the seconds of a second scan, ours also the network's


def ours(scan: Path, depth: str, folder: Path) -> Runner:
    """`lnn-med predict`; depth as `full` or `full/openvino`."""
    number, _, runtime = depth.partition("/")
    out = folder / f"result_{number}_{runtime}"
    options = ["--depth", number, "--runtime", runtime or "auto", "--json"]
    command = [sys.executable, "-c", PROGRAM, "predict", str(scan), "-o", str(out), *options]
    again = (sys.executable, "-c", SECOND, str(Path(__file__).parent), str(scan), number, runtime or "auto")
    return Runner(depth, command, out / "result.json", again)


def second(scan: str, depth: str, runtime: str) -> None:
    """Measure a scan twice; print the seconds of the second time, and of a head also those of brain-t1."""
    keep_memory()
    predictor = Predictor(depth=depth, runtime=runtime)
    for _ in range(2):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            write_prediction(predictor(read(Path(scan))), Path(folder) / "out")
            seconds = time.perf_counter() - began
    volume = read(Path(scan))
    if is_crop(volume):
        print(seconds)
        return
    engine = predictor.engines[HEAD]
    image = into_model_space(volume, engine.bundle.info.space).image
    ratio = spacing_ratio(volume, engine.bundle.info.space.spacing_mm)
    print(seconds, statistics.median(engine(image, ratio).seconds for _ in range(PASSES)))


def nnunet(
    environment: Path,
    scan: Path,
    shape: tuple[int, ...],
    spacing: float,
    plan: tuple[str, ...],
    folder: Path,
) -> Runner:
    """`nnUNetv2_predict_from_modelfolder` on a folder that holds the scan alone."""
    model, images = folder / f"nnunet_{spacing:g}", folder / "images"
    images.mkdir(exist_ok=True)
    if not (images / "scan_0000.nii.gz").exists():
        (images / "scan_0000.nii.gz").symlink_to(scan.resolve())
    sizes = [str(round(size / spacing)) for size in shape]
    maker = Path(__file__).with_name("nnunet_model.py")
    options = ["--spacing", str(spacing), "--shape", *sizes, *plan]
    subprocess.run([environment / "bin/python", maker, model, *options], check=True)
    program = str(environment / "bin/nnUNetv2_predict_from_modelfolder")
    paths = ["-i", str(images), "-o", str(folder / f"nnunet_out_{spacing:g}"), "-m", str(model)]
    how = ["-f", "0", "-step_size", "0.5", "--disable_tta", "-device", "cpu", "-npp", "1", "-nps", "1"]
    again = (str(environment / "bin/python"), str(maker), str(model), "--second", str(scan))
    return Runner(f"nnU-Net {spacing:g} mm", [program, *paths, *how], second=again)


def measure(runner: Runner) -> dict[str, float]:
    """One run in a process of its own; peak memory is the largest process's."""
    start = time.perf_counter()
    process = subprocess.Popen(runner.command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise SystemExit(f"{runner.name} ended with exit code {process.returncode}.")
    found = {"cold_s": seconds, "peak_rss_gb": usage.ru_maxrss * 1024 / 1e9}  # Linux counts in KiB
    if runner.result:
        compute = json.loads(runner.result.read_text(encoding="utf-8"))["compute"]
        found |= {"networks_s": compute["seconds"], "fraction": compute["fraction"]}
    if runner.second:
        told = subprocess.run(runner.second, check=True, capture_output=True, text=True)
        seconds_of = [float(word) for word in told.stdout.splitlines()[-1].split()]
        found |= zip(("warm_s", "brain_network_s"), seconds_of, strict=False)  # nnU-Net tells the first
    return found


def machine() -> str:
    """Cores and processor of this machine, in words."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    names = {line.partition(":")[2].strip() for line in lines if line.startswith("model name")}
    return f"{len(os.sched_getaffinity(0))} cores ({', '.join(sorted(names))})"


def main() -> None:
    """Print the medians as a Markdown table, or everything as JSON."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--runs", type=int, default=3, help="runs of each, in turn (default 3)")
    parser.add_argument("--depths", nargs="+", default=["auto", "full"])
    parser.add_argument("--crop", type=Path, metavar="SCAN", help="a hippocampus crop instead of the head")
    parser.add_argument("--nnunet", type=Path, metavar="VENV", help="environment with nnunetv2")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    volume = read(options.crop) if options.crop else mni152_template()
    what = "hippocampus crop" if options.crop else "MNI152 template"
    plan = HIPPOCAMPUS_PLAN if options.crop else ("--classes", str(CLASSES))
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        scan = folder / "scan.nii.gz"
        write_nifti(volume, scan)
        runners = [ours(scan, depth, folder) for depth in options.depths]
        if options.nnunet:
            spacings = (1.0,) if options.crop else (1.0, 2.0)
            runners += [nnunet(options.nnunet, scan, volume.shape, mm, plan, folder) for mm in spacings]
        runs: dict[str, list[dict[str, float]]] = {runner.name: [] for runner in runners}
        for _ in range(options.runs):  # in turn, so that a slow minute of the machine hits all of them
            for runner in runners:
                runs[runner.name].append(measure(runner))
    medians = {
        name: {key: statistics.median(run[key] for run in found) for key in COLUMNS if key in found[0]}
        for name, found in runs.items()
    }
    report: dict[str, Any] = {
        "machine": machine(),
        "scan": {"shape": volume.shape, "spacing_mm": volume.spacing_mm},
        "runs": options.runs,
        "medians": medians,
        "all": runs,
    }
    if options.json:
        print(json.dumps(report, indent=2))
        return
    shape = " x ".join(str(size) for size in volume.shape)
    print(f"{what}, {shape} voxels, {machine()}, median of {options.runs} runs\n")
    first = next(iter(runs))
    heads = (*COLUMNS, *(f"{key}, of {first}" for key in RATIOS))
    print("| what | " + " | ".join(heads) + " |\n|" + "---|" * (1 + len(heads)))
    for name, found in medians.items():
        cells = [f"{found[key]:.2f}" if key in found else "" for key in COLUMNS]
        for key in RATIOS:
            pairs = zip(runs[name], runs[first], strict=True)
            cells.append(f"{statistics.median(one[key] / other[key] for one, other in pairs):.1f}")
        print(f"| {name} | " + " | ".join(cells) + " |")


if __name__ == "__main__":
    main()
