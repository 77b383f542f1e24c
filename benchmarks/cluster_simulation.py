"""How long 10,000 scans take on 100 workers: a simulation from service times that a real run measured.

`python benchmarks/cluster_simulation.py RUN` draws from the seconds in RUN/ledger.jsonl, with replacement.
Workers start one after the other, load the networks, take scans in the runner's small batches, and are lost
with their machine now and then; a lost scan comes again. What is simulated: the queue. What is not: a shared
disk that gets slower when many workers read and write at once.
"""

from __future__ import annotations

import argparse
import heapq
import json
import random
from dataclasses import dataclass
from pathlib import Path

from lnn_med.scoring.ledger import DONE, read_ledger
from lnn_med.scoring.waiting import MAX_ATTEMPTS

SEED = 6


@dataclass(frozen=True)
class Setting:
    """What is simulated; the defaults of times are pessimistic for a busy cluster."""

    scans: int = 10_000
    workers: int = 100
    start_s: float = 5.0  # between the starts of two jobs in the queue, on average
    load_s: float = 12.0  # of a worker: Python, libraries, networks
    gap_s: float = 0.05  # of the scheduler, between two scans of a worker
    lost_per_hour: float = 0.05  # of each worker: a machine that goes down, a job beyond its wall time
    again_s: float = 300.0  # until a lost worker is replaced
    poison: float = 0.002  # share of scans that end their process at each attempt
    limit_s: float = 900.0  # what such a scan costs at worst: the limit of time


@dataclass(frozen=True)
class Outcome:
    """How a simulated run ended; `busy` is the share of worker time that scored scans."""

    hours: float
    done: int
    quarantined: int
    lost_workers: int
    repeated: int
    busy: float

    @property
    def scans_an_hour(self) -> float:
        """Scans that ended, by the hour of the whole run."""
        return (self.done + self.quarantined) / self.hours


def simulate(setting: Setting, seconds: list[float], seed: int = SEED) -> Outcome:
    """Work off the scans; events are ordered by time."""
    draw = random.Random(seed)
    waiting = [(draw.random() < setting.poison, 1) for _ in range(setting.scans)]
    free: list[float] = []  # when each worker can take its next scan
    at = 0.0
    for _ in range(setting.workers):
        at += draw.expovariate(1 / setting.start_s) if setting.start_s else 0.0
        heapq.heappush(free, at + setting.load_s)
    done = quarantined = lost = repeated = 0
    scored = last = 0.0
    while waiting:
        now = heapq.heappop(free)
        poison, attempt = waiting.pop()
        service = setting.limit_s if poison else draw.choice(seconds)
        until_loss = draw.expovariate(setting.lost_per_hour / 3600) if setting.lost_per_hour else float("inf")
        if until_loss < service:
            lost, repeated = lost + 1, repeated + 1
            waiting.insert(0, (poison, attempt))
            heapq.heappush(free, now + until_loss + setting.again_s + setting.load_s)
            continue
        ended = now + service
        last = max(last, ended)
        if not poison:
            done, scored = done + 1, scored + service
            heapq.heappush(free, ended + setting.gap_s)
            continue
        if attempt < MAX_ATTEMPTS:
            repeated += 1
            waiting.insert(0, (poison, attempt + 1))
        else:
            quarantined += 1
        heapq.heappush(free, ended + setting.load_s)  # its slot is started anew
    busy = scored / (last * setting.workers)
    return Outcome(last / 3600, done, quarantined, lost, repeated, busy)


def service_times(runs: list[Path]) -> list[float]:
    """Seconds of every finished scan in the ledgers of runs."""
    found = [entry.seconds for run in runs for entry in read_ledger(run) if entry.state == DONE]
    if not found:
        raise SystemExit("The ledgers hold no finished scan.")
    return [value for value in found if value > 0]


def main() -> None:
    """Print one row for each number of workers."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("runs", nargs="+", type=Path, help="folders of runs, for their ledgers")
    parser.add_argument("--scans", type=int, default=Setting.scans)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 10, 50, 100, 200])
    parser.add_argument("--start-seconds", type=float, default=Setting.start_s, help="between two jobs")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    seconds = service_times(options.runs)
    rows = {
        count: simulate(Setting(options.scans, count, options.start_seconds), seconds)
        for count in options.workers
    }
    if options.json:
        print(json.dumps({count: vars(row) for count, row in rows.items()}, indent=2))
        return
    mean = sum(seconds) / len(seconds)
    print(f"{options.scans:,} scans, drawn from {len(seconds)} measured ones (mean {mean:.1f} s)")
    print("workers   hours   scans/h   busy   lost workers   repeated   quarantined")
    for count, row in rows.items():
        print(
            f"{count:7d} {row.hours:7.2f} {row.scans_an_hour:9.0f} {100 * row.busy:5.0f}% "
            f"{row.lost_workers:14d} {row.repeated:10d} {row.quarantined:13d}"
        )


if __name__ == "__main__":
    main()
