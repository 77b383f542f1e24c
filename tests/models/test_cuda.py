"""On a CUDA device everything gives what it gives on the CPU; skipped where there is none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lnn_med.inference import runtime
from lnn_med.inference.bundle import load_bundle, save_bundle
from lnn_med.inference.runtime import Engine, RuntimeConfig
from lnn_med.models.lnn import LNN
from lnn_med.models.sparse_attention import block_top_k_attention
from tests.inference.heads import TINY, info
from tests.models.test_reversible import gradients, plainly, stage, volume
from tests.models.test_sparse_attention import blocks_of_tokens

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
SHAPE = (48, 32, 32)


@pytest.fixture(autouse=True)
def _exact() -> Iterator[None]:
    """Convolutions in float32, not in TF32."""
    with torch.backends.cudnn.flags(allow_tf32=False):
        yield


@pytest.mark.parametrize(("depth", "budget"), [("full", None), ("auto", None), ("auto", 0.6), (1, None)])
@torch.inference_mode()
def test_the_network(depth: str | int, budget: float | None) -> None:
    torch.manual_seed(0)
    network = LNN(TINY).eval()
    for value in network.parameters():
        torch.nn.init.normal_(value, std=0.15)
    image = torch.randn(1, 1, *SHAPE)
    here = network(image, depth, budget)
    there = network.cuda()(image.cuda(), depth, budget)
    assert torch.equal(there.stages.cpu(), here.stages)
    torch.testing.assert_close(there.logits.cpu(), here.logits, atol=1e-3, rtol=1e-3)


def test_block_sparse_attention() -> None:
    tokens = blocks_of_tokens()
    there = block_top_k_attention(*(x.cuda() for x in tokens), 3).cpu()
    torch.testing.assert_close(there, block_top_k_attention(*tokens, 3))


def test_reversible_stages_draw_the_same_dropout_again() -> None:
    blocks, x = stage(3, dropout=0.5).double().train().cuda(), volume().double().cuda()
    torch.manual_seed(11)
    found = gradients(blocks, blocks, x)
    torch.manual_seed(11)
    expected = gradients(blocks, lambda t: plainly(blocks, t), x)
    for a, b in zip(found, expected, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-9, atol=1e-9 * max(1e-3, float(b.abs().max())))


@pytest.mark.parametrize("depth", ["auto", "full"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_an_engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, depth: str, dtype: torch.dtype) -> None:
    monkeypatch.setattr(
        runtime, "number_type", lambda device: dtype if device.type == "cuda" else torch.float32
    )
    torch.manual_seed(0)
    save_bundle(tmp_path / "tiny", info(), LNN(TINY), "")
    image = torch.randn(*SHAPE).numpy()
    runs = [
        Engine(load_bundle(tmp_path / "tiny"), RuntimeConfig(depth=depth, device=device))(image, (1, 1, 1))
        for device in ("cpu", "cuda")
    ]
    labels = [run.probabilities.float().argmax(dim=-1) for run in runs]
    assert runs[1].probabilities.dtype == dtype
    assert float((labels[0] == labels[1]).double().mean()) > 0.98
    assert (runs[0].depth == runs[1].depth).mean() > 0.98
