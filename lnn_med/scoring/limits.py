"""What one scan may use of a machine, and how much a process holds; measured where the system is Linux."""

from __future__ import annotations

import os
import sys
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from lnn_med.errors import ConfigError


@dataclass(frozen=True)
class Limits:
    """Time and memory after which the process that scores a scan is ended; None sets no limit.

    Raises:
        ConfigError: a limit that is not above 0.
    """

    seconds: float | None = 900.0  # a head takes seconds; the largest volumes and slow disks take minutes
    memory_mb: float | None = 8000.0  # 512 x 512 x 400 voxels stay below 3000

    def __post_init__(self) -> None:
        for name, value in (("time", self.seconds), ("memory", self.memory_mb)):
            if value is not None and value <= 0:
                raise ConfigError(f"The limit of {name} for a scan is {value:g}; it must be above 0.")


def resident_mb(pid: int) -> float | None:
    """Memory that a process holds now, MB; None when it is gone or the system does not tell."""
    try:
        pages = int(Path(f"/proc/{pid}/statm").read_bytes().split()[1])
    except (OSError, IndexError, ValueError):
        return None
    return pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def reset_peak() -> None:
    """Let `peak_rss_mb` begin anew, where the system can."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_bytes(b"5")


def peak_rss_mb() -> float | None:
    """Largest memory that this process has held since `reset_peak`, MB; None where the system is silent."""
    try:
        for line in Path("/proc/self/status").read_bytes().splitlines():
            if line.startswith(b"VmHWM:"):
                return round(int(line.split()[1]) / 2**10, 1)
    except (OSError, IndexError, ValueError):
        pass
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)


def offer_to_oom_killer() -> None:
    """When the machine runs out of memory, have the system end this process and not the runner."""
    with suppress(OSError):
        Path("/proc/self/oom_score_adj").write_bytes(b"500")
