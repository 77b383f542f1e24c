"""What a bundle's calibration cannot say: found before a scan is measured with it."""

from __future__ import annotations

import math
from collections.abc import Iterator

from lnn_med.inference.calibration import Calibration, UsualInput
from lnn_med.models.expected_gain import BOUND, ExpectedGain

HOTTEST = 100.0  # temperature
LARGEST_QUANTILE = 1e4  # in units of the relative spread


def problem_of(calibration: Calibration, exits: int) -> str | None:
    """What is wrong with it for a network of that many exits, in words; None when nothing is."""
    return next(_problems(calibration, exits), None)


def _problems(calibration: Calibration, exits: int) -> Iterator[str]:
    temperature = calibration.temperature
    if temperature and len(temperature) != exits:
        yield f"{len(temperature)} temperatures for {exits} exits"
    if not all(0 < value < HOTTEST for value in temperature):
        yield f"a temperature that is not between 0 and {HOTTEST:g}"
    if calibration.gain is not None:
        yield from _of_gain(calibration.gain, exits - 1)
    if not 0 < calibration.coverage < 1:
        yield "a coverage that is not between 0 and 1"
    for name, found in calibration.volumes.items():
        if found.quantile is not None and not 0 <= found.quantile <= LARGEST_QUANTILE:
            yield f"{name}: a quantile that is not between 0 and {LARGEST_QUANTILE:g}"
    for usual in (calibration.usual, calibration.usual_stripped):
        if usual is not None:
            yield from _of_usual(usual)
    changes = calibration.static_bf16
    if changes and len(changes) != exits:
        yield f"{len(changes)} changes of Dice for {exits} exits"
    if not all(-1 <= change <= 1 for change in changes):
        yield "a change of Dice that is not between -1 and 1"
    doubt = calibration.usual_doubt
    if doubt is not None and not 0 <= doubt < math.inf:
        yield "a usual doubt that is not finite or below 0"


def _of_gain(gain: ExpectedGain, stages: int) -> Iterator[str]:
    for numbers in (gain.level, gain.power, gain.resolution):
        if len(numbers) != stages:
            yield f"gains of {len(numbers)} stages for {stages}"
        if not all(-BOUND <= number <= BOUND for number in numbers):
            yield f"a gain that is not between {-BOUND:g} and {BOUND:g}"
    if not all(power >= 0 for power in gain.power):
        yield "a power of entropy below 0"
    if not 0 <= gain.price <= 1:
        yield "a price that is not between 0 and 1"


def _of_usual(usual: UsualInput) -> Iterator[str]:
    size = len(usual.mean)
    if size == 0 or {len(usual.precision), *map(len, usual.precision)} != {size}:
        yield "usual input whose mean and precision differ in size"
    values = [*usual.mean, *(value for row in usual.precision for value in row)]
    if not all(map(math.isfinite, values)) or not 0 < usual.limit < math.inf:
        yield "usual input with numbers that are not finite, or a limit that is not above 0"
