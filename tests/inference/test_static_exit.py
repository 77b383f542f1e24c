"""Static graphs: every kind of network in both number types, and how much may differ before it is refused."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from lnn_med.errors import ConfigError
from lnn_med.inference.runtime import choose_device, has_bf16
from lnn_med.inference.static_exit import AGREEMENT, OpenVinoExit, StaticExit
from lnn_med.models.layer_attention import LayerAttentionStage
from lnn_med.models.lnn import LNN
from tests.inference.heads import TINY

pytest.importorskip("openvino", reason="needs the extra cpu")
KINDS: dict[str, dict[str, Any]] = {
    "plain": {},
    "batch norm": {"norm": "batch"},
    "no attention": {"attention_level": -1},
    "layer attention": {"layer_attention": (1,), "trunk_blocks": (1, 5), "layer_attention_heads": 2},
    "reversible": {"reversible": (0,)},
}


def network(changes: dict[str, Any]) -> LNN:
    """Weights that differ from channel to channel; of the layers that attend, one retrieval is skipped."""
    torch.manual_seed(3)
    made = LNN(replace(TINY, **changes)).eval()
    for value in made.parameters():
        torch.nn.init.normal_(value, std=0.15)
    for part in made.modules():
        if isinstance(part, LayerAttentionStage):
            part.skipped[2] = True
    return made.fold()


def image(seed: int = 0) -> Tensor:
    return torch.randn(1, 1, 32, 32, 48, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("precision", ["f32", "bf16"])
@pytest.mark.parametrize("kind", KINDS)
@torch.inference_mode()
def test_a_graph_answers_new_images_as_torch_does(kind: str, precision: str) -> None:
    if precision == "bf16" and not has_bf16(choose_device("cpu")):
        pytest.skip("this CPU has no bfloat16")
    made = network(KINDS[kind])
    graph = OpenVinoExit(made, made.config.exits, precision)
    graph.prepare(image())
    expected, summary = StaticExit(made, made.config.exits)(image(1))
    found = graph(image(1))
    close = {"atol": 1e-4, "rtol": 1e-3} if precision == "f32" else {"atol": 0.05, "rtol": 0.05}
    torch.testing.assert_close(found.logits, expected, **close)
    torch.testing.assert_close(found.summary, summary, **close)
    assert expected.std() > 0.1


@pytest.mark.parametrize("precision", ["f32", "bf16"])
@torch.inference_mode()
def test_a_graph_is_refused_when_a_little_more_differs_than_may(
    precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = network({})
    graph = OpenVinoExit(made, 1, precision)
    logits, summary = StaticExit(made, 1)(image())
    for share, refused in ((0.8, False), (1.2, True)):
        wrong = round(share * (1 - AGREEMENT[precision]) * logits[0, 0].numel())
        other = logits.flatten(2).clone()
        other[..., :wrong] = other[..., :wrong].roll(1, dims=1)
        answer = (other.reshape(logits.shape), summary)
        monkeypatch.setattr(graph, "_run", lambda _, answer=answer: answer)
        graph.compiled.clear()
        if refused:
            with pytest.raises(ConfigError, match=r"Use --runtime torch"):
                graph.prepare(image())
        else:
            graph.prepare(image())
