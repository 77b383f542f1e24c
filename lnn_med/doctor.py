"""What this machine can do: versions, processor, memory, what runs fast here and why, and the bundles."""

from __future__ import annotations

import copy
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

from lnn_med.errors import LnnMedError

PACKAGES = ("lnn-med", "torch", "monai", "numpy", "nibabel", "pydicom", "highdicom", "openvino")
FEATURES = ("avx2", "avx512f", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8", "asimd", "bf16")
CHECK_CHANNELS, CHECK_EDGE = 32, 64  # one 3x3x3 convolution of the size that costs the networks most
CHECK_RUNS = 5
MIN_MEMORY_GB = 2.0  # a whole 1 mm head needs less than that


def examine() -> dict[str, Any]:
    """Everything that `lnn-med doctor` shows, as plain values."""
    facts: dict[str, Any] = {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "packages": {name: version_of(name) for name in PACKAGES},
        "cpu": cpu_facts(),
        "memory_gb": memory_gb(),
        "cuda": cuda_facts(),
        "measured_ms": measure(),
    }
    facts["choice"] = choice()
    facts["bundles"] = bundle_facts()
    facts["advice"] = advice(facts)
    return facts


def version_of(package: str) -> str | None:
    """Version of an installed package, None when it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def cpu_facts() -> dict[str, Any]:
    """Model, the cores this process may use, torch's threads and the features that networks profit from."""
    import torch

    fields = _cpuinfo()
    flags = set(fields.get("flags", fields.get("Features", "")).split())
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {
        "model": fields.get("model name", platform.processor() or "unknown"),
        "cores_usable": usable,
        "threads": torch.get_num_threads(),
        "features": [feature for feature in FEATURES if feature in flags],
        "torch_kernels": torch.backends.cpu.get_cpu_capability(),
    }


def memory_gb() -> dict[str, float | None]:
    """Memory of the machine and what is free; a container's limit counts where it is lower."""
    values = {}
    for line in _lines("/proc/meminfo"):
        key, _, rest = line.partition(":")
        if key in ("MemTotal", "MemAvailable"):
            values[key] = int(rest.split()[0]) / 2**20
    limit = next(iter(_lines("/sys/fs/cgroup/memory.max")), "max").strip()
    allowed = float(limit) / 2**30 if limit.isdigit() else float("inf")
    shown = {"total": values.get("MemTotal"), "available": values.get("MemAvailable")}
    return {name: None if value is None else round(min(value, allowed), 1) for name, value in shown.items()}


def cuda_facts() -> dict[str, Any]:
    """The first CUDA device that torch can use, or that there is none."""
    import torch

    if not torch.cuda.is_available():
        return {"available": False}
    properties = torch.cuda.get_device_properties(0)
    return {
        "available": True,
        "name": properties.name,
        "memory_gb": round(properties.total_memory / 2**30, 1),
        "capability": f"{properties.major}.{properties.minor}",
        "torch_built_for": torch.version.cuda,
    }


def measure() -> dict[str, float]:
    """Median time of one 3x3x3 convolution in the layouts that the networks run in, ms."""
    import torch

    layer = torch.nn.Conv3d(CHECK_CHANNELS, CHECK_CHANNELS, 3, padding=1).eval()
    image = torch.zeros(1, CHECK_CHANNELS, CHECK_EDGE, CHECK_EDGE, CHECK_EDGE)
    layout = torch.channels_last_3d
    timed = {}
    with torch.inference_mode():
        for name, dtype in (("conv_fp32", torch.float32), ("conv_bf16", torch.bfloat16)):
            kernel: Any = copy.deepcopy(layer).to(dtype)
            kernel = kernel.to(memory_format=layout)
            timed[name] = _median_ms(kernel, image.to(dtype=dtype, memory_format=layout))
    return timed


def choice() -> dict[str, str]:
    """What `--device auto --runtime auto` runs here, and why."""
    from lnn_med.inference.runtime import choose_device, has_bf16

    device = choose_device("auto")
    bf16 = has_bf16(device)
    where = "torch can use a CUDA device" if device.type == "cuda" else "there is no CUDA device"
    kind = (
        "has bf16 arithmetic" if bf16 else "has no bf16 arithmetic (avx512_bf16, AMX, or CUDA from Ampere on)"
    )
    return {
        "device": device.type,
        "dtype": "bf16" if bf16 else "fp32",
        "runtime": "torch",
        "reason": f"{where}; it {kind}" if device.type == "cuda" else f"{where}; this processor {kind}",
    }


def bundle_facts() -> list[dict[str, Any]]:
    """The installed bundles, each with the outcome of its hash check."""
    from lnn_med.inference.bundle_files import list_bundles
    from lnn_med.inference.classifier_bundle import load_any

    facts = []
    for name in list_bundles():
        entry: dict[str, Any] = {"name": name, "version": None, "job": None, "ok": False, "problem": None}
        try:
            info = load_any(name).info
        except LnnMedError as error:
            entry["problem"] = str(error)
        else:
            entry |= {"version": info.version, "job": info.job, "ok": True}
        facts.append(entry)
    return facts


def as_rows(facts: dict[str, Any]) -> list[tuple[str, str]]:
    """What `examine` found, for a table of two columns."""
    cpu, memory, cuda, timed = facts["cpu"], facts["memory_gb"], facts["cuda"], facts["measured_ms"]
    packages = [f"{name} {version or 'not installed'}" for name, version in facts["packages"].items()]
    bundles = [
        f"{each['name']} {each['version']} ok" if each["ok"] else f"{each['name']} BROKEN"
        for each in facts["bundles"]
    ]
    gpu = f"{cuda['name']}, {cuda['memory_gb']} GB" if cuda["available"] else "none that torch can use"
    return [
        ("python", f"{facts['python']} on {facts['system']}"),
        ("packages", ", ".join(packages)),
        ("processor", f"{cpu['model']}, {cpu['cores_usable']} cores usable, {cpu['threads']} threads"),
        ("features", ", ".join(cpu["features"]) or "none of those asked for"),
        ("memory", f"{memory['available']} GB free of {memory['total']} GB"),
        ("CUDA", gpu),
        ("one convolution", f"{timed['conv_fp32']} ms in fp32, {timed['conv_bf16']} ms in bf16 (CPU)"),
        (
            "chosen",
            f"{facts['choice']['runtime']} on {facts['choice']['device']}, {facts['choice']['dtype']}",
        ),
        ("because", facts["choice"]["reason"]),
        ("bundles", ", ".join(bundles) or "none"),
    ]


def advice(facts: dict[str, Any]) -> list[str]:
    """Sentences on what is slow or broken here, and what to do about it."""
    found = []
    fp32, bf16 = facts["measured_ms"]["conv_fp32"], facts["measured_ms"]["conv_bf16"]
    if facts["choice"]["dtype"] == "bf16" and facts["choice"]["device"] == "cpu" and bf16 > fp32:
        found.append(f"bf16 is slower than fp32 here ({bf16:.1f} against {fp32:.1f} ms) though it is chosen.")
    available = facts["memory_gb"]["available"]
    if available is not None and available < MIN_MEMORY_GB:
        found.append(f"{available:.1f} GB of memory is free; a 1 mm head needs {MIN_MEMORY_GB:g} GB.")
    if facts["packages"]["openvino"] is None:
        found.append("OpenVINO is not installed; it may be faster on a CPU: pip install 'lnn-med[cpu]'")
    if not facts["bundles"]:
        found.append("No bundle is installed; the networks cannot run.")
    found += [f"Bundle {entry['name']}: {entry['problem']}" for entry in facts["bundles"] if not entry["ok"]]
    return found


def _median_ms(kernel: Callable[[Any], Any], image: Any) -> float:
    kernel(image)  # the first run chooses the algorithm
    times = []
    for _ in range(CHECK_RUNS):
        start = time.perf_counter()
        kernel(image)
        times.append((time.perf_counter() - start) * 1000)
    return round(statistics.median(times), 2)


def _cpuinfo() -> dict[str, str]:
    """Fields of the first processor in /proc/cpuinfo; empty where there is no such file."""
    fields: dict[str, str] = {}
    for line in _lines("/proc/cpuinfo"):
        key, _, value = line.partition(":")
        fields.setdefault(key.strip(), value.strip())
    return fields


def _lines(path: str) -> list[str]:
    try:
        return Path(path).read_text().splitlines()
    except OSError:
        return []
