"""Layer attention: a layer of a stage asks the earlier ones; redundant questions are skipped.

After MRLA (arXiv 2302.03985, base form) with values pooled, for in three dimensions the values of all layers
would not fit; what is skipped, and when, follows ELA (arXiv 2503.06473). ELA's mapping could be read only in
its abstract: the rule in `RetrievalSkipper` is our own derivation.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from scipy import special
from torch import Tensor, nn
from torch.nn import functional as F

from lnn_med.models.blocks import ChannelNorm

POOL = 2  # voxels along a side that share one value
SMALLEST = 1e-6  # weight; the logarithm of one that underflows would be infinite
RULES = ("mapped", "raw", "random")


class Retrieval(nn.Module):
    """One layer's question to the layers before it, and its key and value for those after it."""

    def __init__(self, channels: int, heads: int) -> None:
        super().__init__()
        if channels % heads:
            raise ValueError(f"{channels} channels do not divide into {heads} heads.")
        self.heads = heads
        kernel = _odd(abs((math.log2(channels) + 1) / 2))
        self.query, self.key = (nn.Conv1d(1, 1, kernel, padding=kernel // 2, bias=False) for _ in range(2))
        self.value = nn.Conv3d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.norm = ChannelNorm(channels)
        nn.init.constant_(self.norm.weight, 0.1)  # a stage begins near the one without layer attention

    def ask(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Query and key (B, heads, C / heads), and the pooled value, of x (B, C, X, Y, Z)."""
        means = x.mean(dim=(2, 3, 4), dtype=torch.float32)
        # Means grow from layer to layer; as they are, each layer soon looks at a single one.
        channels = F.layer_norm(means, means.shape[1:]).to(x.dtype)[:, None]  # (B, 1, C)
        query, key = (part(channels).reshape(len(x), self.heads, -1) for part in (self.query, self.key))
        pooled = F.avg_pool3d(x.float(), POOL)  # the CPU pools no bf16
        # In the weight's own type, float32 in training: a bf16 convolution of two planes, as deep levels have
        # them once pooled, gives gradients with uninitialised memory in them (oneDNN, channels-last).
        with torch.autocast(x.device.type, enabled=False):
            value = self.value(pooled.to(self.value.weight.dtype))
        return query, key, value.to(x.dtype)

    def answer(self, weights: Tensor, values: list[Tensor], shape: torch.Size) -> Tensor:
        """Weighted sum of values at full size; weights (B, heads, layers), values each (B, C, x, y, z)."""
        per_channel = weights.repeat_interleave(values[0].shape[1] // self.heads, dim=1)  # (B, C, layers)
        total = values[0].new_zeros(())
        for number, value in enumerate(values):
            total = total + per_channel[:, :, number, None, None, None].to(value.dtype) * value
        return F.interpolate(self.norm(total), size=shape, mode="nearest")


class LayerAttentionStage(nn.Module):
    """Blocks in a row; after each, what the layers before it (and itself) answer is added.

    A layer whose retrieval is skipped asks nothing and offers no key or value. `skipped` is stored with the
    weights, so the graph is static after training.
    """

    skipped: Tensor  # (layers,) bool

    def __init__(self, blocks: Sequence[nn.Module], channels: int, heads: int) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(blocks)
        self.retrievals = nn.ModuleList(Retrieval(channels, heads) for _ in blocks)
        self.register_buffer("skipped", torch.zeros(len(blocks), dtype=torch.bool))
        self.probing = False  # run every retrieval once and keep `weights`
        self.weights: list[Tensor] = []

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, X, Y, Z) -> same shape; X, Y, Z even."""
        keys: list[Tensor] = []
        values: list[Tensor] = []
        self.weights = []
        skipped = [False] * len(self.blocks) if self.probing else self.skipped.tolist()
        for block, retrieval, skip in zip(self.blocks, self.retrievals, skipped, strict=True):
            x = block(x)
            if skip:
                continue
            assert isinstance(retrieval, Retrieval)
            query, key, value = retrieval.ask(x)
            keys.append(key)
            values.append(value)
            weights = layer_weights(query, torch.stack(keys, dim=2))
            if self.probing:
                self.weights.append(weights.detach())
            x = x + retrieval.answer(weights, values, x.shape[2:])
        return x


def layer_weights(query: Tensor, keys: Tensor) -> Tensor:
    """Softmax over layers of q·K / √d.

    Args:
        query: (B, heads, d).
        keys: (B, heads, layers, d).

    Returns:
        (B, heads, layers).
    """
    scores = torch.einsum("bhd,bhld->bhl", query, keys) / query.shape[-1] ** 0.5
    return scores.softmax(dim=-1)


def divergences(weights: Sequence[Tensor]) -> Tensor:
    """How far each layer's weights are from those of the layer before, (layers,); infinite for the first two.

    Symmetric Kullback-Leibler divergence on the layers both can see, mean over batch and heads. The first
    layer sees itself alone, so what it and the second have in common says nothing.

    Args:
        weights: of each layer (B, heads, 1), (B, heads, 2), ...
    """
    found = [torch.tensor(math.inf)] * 2
    for number in range(2, len(weights)):
        before = weights[number - 1].double().clamp(min=SMALLEST)
        now = weights[number][..., : before.shape[-1]].double().clamp(min=SMALLEST)
        before = before / before.sum(dim=-1, keepdim=True)
        now = now / now.sum(dim=-1, keepdim=True)
        divergence = 0.5 * ((now - before) * (now.log() - before.log())).sum(dim=-1)
        found.append(divergence.mean().float().cpu())
    return torch.stack(found[: len(weights)])


def redundancy(divergence: Tensor) -> Tensor:
    """Divergences as scores 1 - exp(-d) from 0 to 1: 0 means that the question was asked before."""
    return 1 - torch.exp(-divergence)


@dataclass(frozen=True)
class SkipConfig:
    """When a retrieval counts as redundant."""

    rule: str = "mapped"  # scores are mapped first; for comparison "raw": they are not, "random": drawn ranks
    share: float = 0.0  # of the retrievals of a stage that may be skipped at most; 0: none is
    threshold: float = 0.5  # of the mapped score; with a uniform target, the share of layers below it
    target: tuple[float, float] = (1.0, 1.0)  # Beta distribution that scores are mapped to; (1, 1): uniform
    patience: int = 3  # checks in a row
    slack: float = 0.1  # a skipped layer asks again only above threshold + slack
    warmup: int = 200  # steps before the first check
    every: int = 20  # steps from check to check
    freeze: float = 0.5  # share of the steps after which the mask stays
    decay: float = 0.8  # of the moving average of scores

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"skip.rule is {self.rule!r}; {', '.join(RULES[:-1])} or {RULES[-1]} is needed")


class RetrievalSkipper:
    """Decides, stage by stage, which retrievals are skipped: Beta quantile mapping of redundancy scores.

    Scores s are averaged over checks; a Beta distribution is fitted to them by moments, and
    q = F*⁻¹(F(s)) maps them to the target distribution, so that one threshold means the same share of layers
    whatever the scale of s is.
    """

    def __init__(self, layers: int, config: SkipConfig, seed: int = 0) -> None:
        self.config = config
        self.average = torch.full((layers,), torch.nan)
        self.below = torch.zeros(layers, dtype=torch.long)
        self.skipped = torch.zeros(layers, dtype=torch.bool)
        generator = torch.Generator().manual_seed(seed)
        drawn = torch.randperm(max(layers - 3, 0), generator=generator)
        self.drawn = (drawn + 0.5) / max(layers - 3, 1)  # of the inner layers, for the rule "random"

    def update(self, scores: Tensor) -> Tensor:
        """Take the scores of one check (layers,) in; the mask of skipped layers (layers,)."""
        decay = self.config.decay
        fresh = self.average.isnan()
        self.average = torch.where(fresh, scores, decay * self.average + (1 - decay) * scores)
        inner = slice(2, -1)  # never the first two, which cannot be compared, or the last
        if len(scores) < 4:
            return self.skipped
        mapped = torch.ones_like(self.average)
        mapped[inner] = self._comparable(self.average[inner])
        limit = self.config.threshold + self.config.slack * self.skipped
        self.below = torch.where(mapped < limit, self.below + 1, 0)
        wanted = self.below >= self.config.patience
        allowed = int(self.config.share * len(scores))
        order = torch.where(wanted, mapped, torch.inf).argsort()[:allowed]
        self.skipped = torch.zeros_like(wanted)
        self.skipped[order] = wanted[order]
        return self.skipped

    def _comparable(self, scores: Tensor) -> Tensor:
        """What is compared with the threshold, for the inner layers (layers - 3,)."""
        if self.config.rule == "mapped":
            return map_to_target(scores, self.config.target)
        return scores if self.config.rule == "raw" else self.drawn


def map_to_target(scores: Tensor, target: tuple[float, float]) -> Tensor:
    """Quantile mapping of scores in [0, 1] from the Beta distribution that fits them to another."""
    values = scores.double().clamp(1e-6, 1 - 1e-6)
    mean, variance = values.mean(), values.var(unbiased=False)
    if variance < 1e-12:  # all alike: none is more redundant than the others
        return torch.full_like(scores, float(special.betaincinv(*target, 0.5)))
    concentration = max(float(mean * (1 - mean) / variance) - 1, 1e-3)
    alpha, beta = float(mean) * concentration, float(1 - mean) * concentration
    cumulative = special.betainc(alpha, beta, values.numpy())
    return torch.from_numpy(special.betaincinv(*target, cumulative)).to(scores.dtype)


class SkipSchedule:
    """Checks the layer-attention stages of a network during training and sets their masks."""

    def __init__(self, network: nn.Module, config: SkipConfig, steps: int, seed: int = 0) -> None:
        self.config, self.last = config, int(config.freeze * steps)
        stages = [part for part in network.modules() if isinstance(part, LayerAttentionStage)]
        self.stages = stages if config.share > 0 else []
        self.skippers = [
            RetrievalSkipper(len(stage.blocks), config, 1000 * seed + n)
            for n, stage in enumerate(self.stages)
        ]

    def before(self, step: int) -> None:
        """Switch probing on for the steps that are checked."""
        due = self.config.warmup <= step <= self.last and step % self.config.every == 0
        for stage in self.stages:
            stage.probing = due

    def after(self, mean_over_processes: Callable[[Tensor], Tensor] = lambda x: x) -> None:
        """Use what the probed step saw; averaged over processes, so that all end with the same mask."""
        for stage, skipper in zip(self.stages, self.skippers, strict=True):
            if not stage.probing:
                continue
            mask = skipper.update(redundancy(mean_over_processes(divergences(stage.weights))))
            stage.skipped.copy_(mask)
            stage.probing, stage.weights = False, []

    def state(self) -> dict[str, Tensor]:
        """What a resumed run needs."""
        numbered = list(enumerate(self.skippers))
        return {f"{n}.average": each.average for n, each in numbered} | {
            f"{n}.below": each.below for n, each in numbered
        }

    def load(self, state: dict[str, Tensor]) -> None:
        """Continue from a stored state; the masks come with the network."""
        for n, (stage, skipper) in enumerate(zip(self.stages, self.skippers, strict=True)):
            skipper.average, skipper.below = state[f"{n}.average"], state[f"{n}.below"]
            skipper.skipped = stage.skipped.clone().cpu()


def _odd(size: float) -> int:
    whole = max(1, int(size))
    return whole if whole % 2 else whole + 1
