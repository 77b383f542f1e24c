"""Running a bundle's network on this machine: device, number type, time and work."""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lnn_med.errors import Code, ConfigError, InputError
from lnn_med.inference.bundle import Bundle
from lnn_med.inference.static_exit import OpenVinoExit
from lnn_med.models.lnn import LNN, LNNOutput
from lnn_med.prediction import Attention

logger = logging.getLogger(__name__)
Depth = str | int
TYPICAL_VOXELS = 96  # along each axis of a head at 2 mm


@dataclass(frozen=True)
class RuntimeConfig:
    """How networks run.

    `depth`: "auto" (block by block, where it pays), "full" (all stages everywhere), or 1, 2, ... (that exit
    everywhere).
    `budget`: with "auto", share of the full network's FLOPs to spend at most, 0 to 1, where exit 1 doubts.
    `runtime`: "openvino" runs a fixed exit as a static graph on the CPU; "auto" is torch.
    """

    depth: Depth = "auto"
    budget: float | None = None
    device: str = "auto"
    runtime: str = "auto"

    def __post_init__(self) -> None:
        text = str(self.depth)
        if text not in ("auto", "full") and not (text.isdecimal() and int(text) > 0):
            raise ConfigError(f"depth is {text!r}; it must be auto, full or a number of exits from 1.")
        if self.budget is not None and not 0 < self.budget <= 1:
            raise ConfigError(f"budget is {self.budget:g}; it must lie above 0 and not above 1.")
        if self.budget is not None and text != "auto":
            raise ConfigError(f"budget works with depth auto, not with depth {text}.")
        if self.device not in ("auto", "cpu", "cuda"):
            raise ConfigError(f"device is {self.device!r}; it must be auto, cpu or cuda.")
        if self.runtime not in ("auto", "torch", "openvino"):
            raise ConfigError(f"runtime is {self.runtime!r}; it must be auto, torch or openvino.")
        if self.runtime == "openvino" and (text == "auto" or self.device == "cuda"):
            raise ConfigError(
                "runtime openvino runs a fixed exit on the CPU: use it with --depth full, or 1, 2, ..., "
                "and not with --device cuda."
            )

    @property
    def network_depth(self) -> Depth:
        """`depth` as the network takes it."""
        return int(self.depth) if str(self.depth).isdecimal() else self.depth


class Run(NamedTuple):
    """One pass: `probabilities` (X, Y, Z, classes) on the CPU in the network's number type, `depth` (X, Y, Z)
    uint8 residual blocks executed at each voxel, what it cost, the `summary` (2C,) of trunk features, the
    `features` (C, X/2, Y/2, Z/2) themselves on the CPU, and the probabilities of exit 1 as a function, as few
    ask for them; both None from a static graph."""

    probabilities: Tensor
    depth: NDArray[np.uint8]
    seconds: float
    gflops: float
    gflops_full: float
    attention: tuple[Attention, ...]
    summary: NDArray[np.float32]
    features: Tensor | None = None
    first_exit: Callable[[], Tensor] | None = None


def choose_device(name: str) -> torch.device:
    """The device of a run; "auto" takes CUDA where there is one.

    Raises:
        ConfigError: CUDA asked for and absent.
    """
    if name == "cuda" and not torch.cuda.is_available():
        raise ConfigError("device cuda: no CUDA device can be used here. Use --device cpu.")
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def number_type(device: torch.device) -> torch.dtype:
    """What networks compute in: bfloat16 where it is fast, float16 on older CUDA devices from Volta on (7.0,
    the first with matrix units for it), else float32; on CPUs float16 takes a hundred times as long."""
    if has_bf16(device):
        return torch.bfloat16
    half = device.type == "cuda" and torch.cuda.get_device_capability(device) >= (7, 0)
    return torch.float16 if half else torch.float32


def has_bf16(device: torch.device) -> bool:
    """Whether bf16 arithmetic is fast here: CUDA from Ampere on, CPUs with avx512_bf16 or AMX."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return bool(torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported())


def refuse_impossible(config: RuntimeConfig, name: str, network: LNN) -> None:
    """Refuse what a network of that name cannot keep; its weights do not matter.

    Raises:
        ConfigError: a depth beyond its last exit, or a budget below what its trunk takes, which always runs.
    """
    depth, budget, multiple = config.network_depth, config.budget, network.multiple
    if isinstance(depth, int) and depth > network.config.exits:
        raise ConfigError(f"depth is {depth}; {name} has {network.config.exits} exits.")
    costs = network.costs((multiple * max(1, round(TYPICAL_VOXELS / multiple)),) * 3)
    share = costs.trunk / costs.full
    if budget is not None and budget < share:
        raise ConfigError(
            f"budget is {budget:g}; the trunk of {name}, which always runs, takes {share:.2f} of its full "
            f"work. Give at least {math.ceil(100 * share) / 100:.2f}, or --depth 1."
        )


class Engine:
    """A loaded network, ready for one scan after the other.

    Raises:
        ConfigError: a device or runtime that is not there, a depth that the network has not, or a budget
            below what its trunk takes, which always runs.
    """

    def __init__(self, bundle: Bundle, config: RuntimeConfig) -> None:
        self.bundle, self.config = bundle, config
        static = config.runtime == "openvino"
        self.device = choose_device("cpu" if static else config.device)
        self.dtype = torch.float32 if static else number_type(self.device)
        self.network = self._network()
        refuse_impossible(config, bundle.info.name, self.network)
        self.graph = OpenVinoExit(self.network, self._exit(), self._static_precision()) if static else None

    def _network(self) -> LNN:
        return self.bundle.network().fold().to(self.device).cast(self.dtype)

    def _static_precision(self) -> str:
        """bfloat16 only where it is fast and its Dice was measured."""
        return self.bundle.calibration.static_precision(self._exit()) if has_bf16(self.device) else "f32"

    def _exit(self) -> int:
        """Number of the exit that a fixed depth means."""
        depth = self.config.network_depth
        return depth if isinstance(depth, int) else self.network.config.exits

    @torch.inference_mode()
    def __call__(self, image: NDArray[np.float32], spacing_ratio: tuple[float, float, float]) -> Run:
        """Segment one model-space image (X, Y, Z).

        Raises:
            InputError: E_RESOURCE when the device's memory does not suffice.
            ConfigError: OpenVINO does not give torch's labels.
        """
        tensor = torch.from_numpy(image)[None, None].to(self.device, self.dtype)
        ratio = torch.tensor([spacing_ratio], device=self.device)
        if self.graph:
            self.graph.prepare(tensor)
        try:
            started = time.perf_counter()
            output = self._answer(tensor, ratio)
            if self.dtype == torch.float16 and not output.logits.isfinite().all():
                logger.warning("%s: float16 overflowed; float32 from here on", self.bundle.info.name)
                self.dtype = torch.float32
                self.network = self._network()
                output = self._answer(tensor.float(), ratio)
            probabilities = _probabilities(output.logits)
            if self.device.type == "cuda":
                torch.cuda.synchronize()
            seconds = time.perf_counter() - started
        except torch.OutOfMemoryError as error:
            raise InputError(
                Code.RESOURCE, f"An image of {image.shape} voxels does not fit the device."
            ) from error
        stages = output.stages[0].cpu()
        return Run(
            probabilities.cpu(),
            self._depth_map(stages.numpy()),
            seconds,
            output.flops[0] / 1e9,
            self.network.costs(image.shape).full / 1e9,
            self._attention(image.shape),
            output.summary[0].cpu().numpy(),
            None if output.features is None else output.features[0].cpu(),
            None if output.features is None else partial(self._first_exit, output.features),
        )

    def _answer(self, image: Tensor, ratio: Tensor) -> LNNOutput:
        if self.graph:
            return self.graph(image)
        depth = "auto" if self.config.depth == "auto" else self._exit()
        return self.network(image, depth, self.config.budget, ratio)  # type: ignore[no-any-return]

    @torch.inference_mode()
    def _first_exit(self, features: Tensor) -> Tensor:
        return _probabilities(self.network.first_exit(features)).cpu()

    def _depth_map(self, stages: NDArray[np.int64]) -> NDArray[np.uint8]:
        size = self.network.config.block_size
        blocks = np.array(self.network.config.depths, dtype=np.uint8)[stages]
        return blocks.repeat(size, 0).repeat(size, 1).repeat(size, 2)

    def _attention(self, shape: tuple[int, ...]) -> tuple[Attention, ...]:
        level = self.network.config.attention_level
        if level < 0:
            return ()
        tokens = int(np.prod([size // 2 ** (level + 1) for size in shape]))
        path = self.network.trunk.attention[level].attention.path(tokens)  # type: ignore[union-attr,operator]
        return (Attention(f"{self.bundle.info.name} trunk 1/{2 ** (level + 1)}", tokens, path),)


def _probabilities(logits: Tensor) -> Tensor:
    """(1, classes, X, Y, Z) -> (X, Y, Z, classes)."""
    return logits[0].movedim(0, -1).softmax(dim=-1)
