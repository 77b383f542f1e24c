"""One exit of a network as a static OpenVINO graph, checked against torch before it may answer.

The graph is made with OpenVINO's PyTorch frontend itself: `openvino.convert_model` would report its use to
the vendor where it has not been told otherwise.
"""

from __future__ import annotations

import warnings

import torch
from torch import Tensor, nn

from lnn_med.allocator import give_back_memory
from lnn_med.errors import ConfigError
from lnn_med.models.lnn import LNN, LNNOutput, foreground_summary

AGREEMENT = {"f32": 0.999, "bf16": 0.99}  # share of voxels whose label must be that of torch in float32


class StaticExit(nn.Module):
    """A fixed exit without gates: image (1, in, X, Y, Z) -> logits and summary as in `LNNOutput`."""

    def __init__(self, network: LNN, exit_number: int) -> None:
        super().__init__()
        self.network, self.stages = network, exit_number - 1

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """Logits (1, classes, X, Y, Z) at the exit's temperature, and summary (1, 2C)."""
        features = self.network.trunk(image)
        coarse = self.network.exit_at(features, (0, 0, 0))
        summary = foreground_summary(features, coarse.argmax(dim=1, keepdim=True) > 0)
        logits = self.network.dense(image, features, self.stages)
        return logits / self.network.temperature[self.stages], summary


class OpenVinoExit:
    """`StaticExit` compiled by OpenVINO for the shapes it meets.

    Args:
        network: float32, in evaluation mode.
        exit_number: which exit.
        precision: "f32" or "bf16", in which OpenVINO computes.

    Raises:
        ConfigError: openvino is not installed.
    """

    def __init__(self, network: LNN, exit_number: int, precision: str) -> None:
        try:
            import openvino
        except ImportError as error:
            raise ConfigError("runtime openvino needs the extra `cpu`: pip install lnn-med[cpu].") from error
        self.openvino, self.precision = openvino, precision
        self.module = StaticExit(network, exit_number).eval()
        self.compiled: dict[tuple[int, ...], object] = {}

    def prepare(self, image: Tensor) -> None:
        """Make the graph for images of this shape, unless it is the one at hand.

        Raises:
            ConfigError: the graph's labels differ from those of torch.
        """
        shape = tuple(image.shape)
        if shape not in self.compiled:
            self.compiled.clear()  # a graph holds as much memory as the network: one shape at a time
            with torch.inference_mode():  # before the graph is made: two networks would fill the memory
                expected = self.module(image)[0].argmax(dim=1).to(torch.uint8)
            self.compiled[shape] = self._compile(image)
            self._check(image, expected)

    def __call__(self, image: Tensor) -> LNNOutput:
        """Answer one float32 image (1, in, X, Y, Z) of the shape that was prepared."""
        logits, summary = self._run(image)
        network, stages = self.module.network, self.module.stages
        blocks = [size // network.config.block_size for size in image.shape[2:]]
        flops = network.costs(tuple(image.shape[2:])).dense[stages]
        return LNNOutput(logits, torch.full((1, *blocks), stages), summary, [flops])

    def _run(self, image: Tensor) -> tuple[Tensor, Tensor]:
        answer = self.compiled[tuple(image.shape)]([image.numpy()])  # type: ignore[operator]
        return torch.from_numpy(answer[0]), torch.from_numpy(answer[1])

    def _compile(self, image: Tensor) -> object:
        give_back_memory()  # of the pass before: tracing needs as much again
        from openvino.frontend import FrontEndManager
        from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore", torch.jit.TracerWarning)  # sizes are constants: that is meant
            warnings.simplefilter("ignore", DeprecationWarning)  # the frontend reads traced modules only
            traced = torch.jit.trace(self.module, image, check_trace=False)
        decoder = TorchScriptPythonDecoder(traced)  # must live until the conversion is done
        frontend = FrontEndManager().load_by_framework("pytorch")
        model = frontend.convert(frontend.load(decoder))
        model.reshape(list(image.shape))
        del traced, decoder
        give_back_memory()
        hints = {"INFERENCE_PRECISION_HINT": self.precision, "PERFORMANCE_HINT": "LATENCY"}
        return self.openvino.Core().compile_model(model, "CPU", hints)

    def _check(self, image: Tensor, expected: Tensor) -> None:
        agreement = float((self._run(image)[0].argmax(dim=1) == expected).double().mean())
        if agreement < AGREEMENT[self.precision]:
            self.compiled.clear()
            raise ConfigError(
                f"runtime openvino ({self.precision}) gives {100 * agreement:.2f} % of voxels the label that "
                f"torch gives; {100 * AGREEMENT[self.precision]:g} % are needed. Use --runtime torch."
            )
