"""Time and memory of attention against the number of tokens: blocks, dense and the plain reference.

Each point is a process of its own, so that peak memory is its own; times are medians of repeats, the paths
taken in turn. Writes a figure with `--figure FILE.svg`.
"""

from __future__ import annotations

import argparse
import json
import math
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

CHANNELS, HEADS, BLOCK, TOP_K = 64, 2, 4, 4  # as in brain-t1
EDGES = (8, 12, 16, 20, 24, 28, 32)  # tokens along a side: 512 to 32,768
LARGEST = {
    "blocks": 40_000,
    "dense": 40_000,
    "reference": 5_000,
}  # tokens; the reference is quadratic in memory
LOOKS = ("-o", "--s", ":^")  # of the paths, told apart without colour
REPEATS = 7


def one_point(path: str, edge: int) -> dict[str, float]:
    """Median seconds and additional peak memory of one path in this process."""
    import torch
    from torch.nn import functional as F

    from lnn_med.allocator import keep_memory
    from lnn_med.models.sparse_attention import block_top_k_attention, reference_top_k_attention

    keep_memory()
    torch.manual_seed(0)
    tokens, inside = edge**3, BLOCK**3
    width = CHANNELS // HEADS
    if path == "blocks":
        q, k, v = (torch.randn(1, tokens // inside, inside, HEADS, width) for _ in range(3))
        work: Callable[[], object] = lambda: block_top_k_attention(q, k, v, TOP_K)  # noqa: E731
    else:
        q, k, v = (torch.randn(1, HEADS, tokens, width) for _ in range(3))
        if path == "dense":
            work = lambda: F.scaled_dot_product_attention(q, k, v)  # noqa: E731
        else:
            work = lambda: reference_top_k_attention(q, k, v, TOP_K * inside)  # noqa: E731
    before = _peak_mb()
    seconds = []
    with torch.inference_mode():
        work()
        for _ in range(REPEATS):
            start = time.perf_counter()
            work()
            seconds.append(time.perf_counter() - start)
    return {"seconds": statistics.median(seconds), "megabytes": _peak_mb() - before}


def _peak_mb() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024  # Linux counts in KiB


def slope(tokens: list[int], values: list[float], start: int = 2_000) -> float:
    """Exponent of growth: least squares on logarithms, from `start` tokens on."""
    kept = [(n, v) for n, v in zip(tokens, values, strict=True) if n >= start and v > 0]
    if len(kept) < 2:
        return math.nan
    x, y = np.log([n for n, _ in kept]), np.log([v for _, v in kept])
    return float(np.polyfit(x, y, 1)[0])


def measure() -> dict[str, list[dict[str, float]]]:
    """All points, the paths in turn at each size."""
    found: dict[str, list[dict[str, float]]] = {path: [] for path in LARGEST}
    for edge in EDGES:
        for path, largest in LARGEST.items():
            if edge**3 > largest or edge % BLOCK:
                continue
            command = [sys.executable, __file__, "--point", path, str(edge)]
            answer = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            found[path].append({"tokens": edge**3, **json.loads(answer)})
    return found


def draw(found: dict[str, list[dict[str, float]]], target: Path) -> None:
    """Time and memory side by side, on logarithmic axes."""
    import matplotlib

    from lnn_med.evaluation.report.figures.canvas import STYLE, axes_of, svg_of

    matplotlib.use("svg")
    with matplotlib.rc_context(STYLE):
        figure, ((left, right),) = axes_of(2.8, columns=2)
        for axes, key, name in (
            (left, "seconds", "seconds"),
            (right, "megabytes", "additional peak memory, MB"),
        ):
            for (path, points), look in zip(found.items(), LOOKS, strict=True):
                tokens, values = [int(point["tokens"]) for point in points], [point[key] for point in points]
                grows = slope(tokens, values)  # NaN: too few points
                legend = path if math.isnan(grows) else f"{path}, slope {grows:.2f}"
                axes.loglog(tokens, values, look, color="black", markersize=4, linewidth=1, label=legend)
            axes.set_xlabel("tokens")
            axes.set_ylabel(name)
            axes.legend(loc="upper left" if key == "seconds" else "lower right")
        target.write_text(svg_of(figure), encoding="utf-8")


def main() -> None:
    """Print the table; with --figure also draw it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--point", nargs=2, metavar=("PATH", "EDGE"), help="measure one point (used by itself)"
    )
    parser.add_argument("--figure", type=Path)
    parser.add_argument("--json", type=Path)
    chosen = parser.parse_args()
    if chosen.point:
        print(json.dumps(one_point(chosen.point[0], int(chosen.point[1]))))
        return
    found = measure()
    print(
        f"{platform.processor() or platform.machine()}, {CHANNELS} channels, top {TOP_K} of {BLOCK}³ blocks"
    )
    print("| tokens | " + " | ".join(f"{path}, ms / MB" for path in found) + " |")
    print("|---|" + "---|" * len(found))
    for edge in EDGES:
        cells = []
        for points in found.values():
            point = next((p for p in points if p["tokens"] == edge**3), None)
            cells.append(f"{1000 * point['seconds']:.1f} / {point['megabytes']:.0f}" if point else "-")
        if any(cell != "-" for cell in cells):
            print(f"| {edge**3:,} | " + " | ".join(cells) + " |")
    for path, points in found.items():
        tokens = [int(point["tokens"]) for point in points]
        grows = slope(tokens, [p["seconds"] for p in points])
        if not math.isnan(grows):
            print(f"{path}: time grows with exponent {grows:.2f}")
    if chosen.figure:
        draw(found, chosen.figure)
    if chosen.json:
        chosen.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
