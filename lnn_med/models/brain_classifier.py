"""One answer about a whole brain from a grid of image tokens, structure volumes and clinical values.

The logit of dementia is a sum: what a risk model says of volumes and record + what each place says, weighed
by where the record looks. The second part, place by place, is the evidence map: part of the decision, not a
guess at it. Age and sex are told by volumes and places.
Stages of block-sparse attention relate distant places; before them and after each there is an answer, and an
easy case is answered by the first that is sure enough (the case gate): the stages after it do not run.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from lnn_med.models.blocks import ChannelNorm
from lnn_med.models.sparse_attention import BlockSparseAttention
from lnn_med.models.tabular_fusion import ClinicalTokens, CrossAttention, ScaleAndShift

TASKS = ("dementia", "age", "sex")
FUSIONS = ("cross", "daft", "none")


@dataclass(frozen=True)
class ClassifierConfig:
    """Sizes; `grid` tokens along R, A, S, multiples of `attention_block`."""

    features: int  # channels of an image token
    structures: int  # volumes
    grid: tuple[int, int, int]
    clinical: int = 4  # age, sex, education, MMSE
    width: int = 24
    heads: int = 2
    stages: int = 1  # of attention; one answer before them and one after each
    attention_block: int = 2
    attention_top_k: int = 8
    fusion: str = "cross"
    volume_tokens: bool = False  # structure volumes ask the image, too, whatever the fusion
    dropout: float = 0.3  # of whole image tokens, in training

    def __post_init__(self) -> None:
        if self.fusion not in FUSIONS:
            raise ValueError(f"fusion is {self.fusion!r}; it must be one of {', '.join(FUSIONS)}")
        if any(size % self.attention_block for size in self.grid):
            raise ValueError(f"grid {self.grid} is no multiple of attention_block {self.attention_block}")

    @property
    def exits(self) -> int:
        """Answers: before the first stage and after each."""
        return 1 + self.stages


class Answer(NamedTuple):
    """Of one exit: `logits` (B, tasks), and `evidence` (B, tasks, X, Y, Z), the part that places give."""

    logits: Tensor
    evidence: Tensor


class Stage(nn.Module):
    """Block-sparse attention, then a small network at each place."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        width = config.width
        self.norm = ChannelNorm(width)
        self.attention = BlockSparseAttention(
            width, config.heads, config.attention_block, config.attention_top_k, positional=False
        )  # each place has an embedding of its own
        self.mlp = nn.Sequential(
            ChannelNorm(width), nn.Conv3d(width, 2 * width, 1), nn.GELU(), nn.Conv3d(2 * width, width, 1)
        )
        for last in (self.attention.project, self.mlp[-1]):
            nn.init.normal_(last.weight, std=0.02)  # type: ignore[arg-type]

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, X, Y, Z) -> same shape."""
        x = x + self.attention(self.norm(x))
        return x + self.mlp(x)


class Exit(nn.Module):
    """An answer from tokens: each place has a score for each task, weighed by the record's attention."""

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(config.width)
        self.look = CrossAttention(config.width, config.heads)
        self.score = nn.Linear(config.width, config.heads * len(TASKS))
        nn.init.zeros_(self.score.weight)
        nn.init.zeros_(self.score.bias)

    def forward(self, asking: list[Tensor], tokens: Tensor, inside: Tensor) -> Tensor:
        """Groups of tokens that ask, each (B, K, C) and heard alike; (B, N, C), (B, N) -> (B, tasks, N)."""
        tokens = self.norm(tokens)
        attention = torch.stack([self.look(group, tokens, inside) for group in asking]).mean(dim=0)
        scores = self.score(tokens).unflatten(-1, (-1, len(TASKS)))  # (B, N, heads, tasks)
        return torch.einsum("bhn,bnht->btn", attention, scores)


class BrainClassifier(nn.Module):
    """Dementia, age and sex of a brain, at every exit.

    Inputs are standardised with the buffers, which training fills from its own people: 0 is usual, 1 a
    standard deviation away.
    """

    feature_centre: Tensor  # (features, *grid)
    feature_spread: Tensor
    volume_centre: Tensor  # (structures,)
    volume_spread: Tensor
    clinical_centre: Tensor  # (clinical,)
    clinical_spread: Tensor

    def __init__(self, config: ClassifierConfig) -> None:
        super().__init__()
        self.config = config
        width = config.width
        self.register_buffer("feature_centre", torch.zeros(config.features, *config.grid))
        self.register_buffer("feature_spread", torch.ones(config.features, *config.grid))
        self.register_buffer("volume_centre", torch.zeros(config.structures))
        self.register_buffer("volume_spread", torch.ones(config.structures))
        self.register_buffer("clinical_centre", torch.zeros(config.clinical))
        self.register_buffer("clinical_spread", torch.ones(config.clinical))
        self.embed = nn.Conv3d(config.features, width, 1)
        self.place = nn.Parameter(0.1 * torch.randn(width, *config.grid))
        self.gain = nn.Parameter(0.1 * torch.randn(width, *config.grid))  # what counts differs by place
        self.record = ClinicalTokens(config.clinical, width)
        self.sizes = ClinicalTokens(config.structures, width) if config.volume_tokens else None
        self.daft = ScaleAndShift(config.clinical, width) if config.fusion == "daft" else None
        self.stages = nn.ModuleList(Stage(config) for _ in range(config.stages))
        self.exits = nn.ModuleList(Exit(config) for _ in range(config.exits))
        self.of_volumes = nn.Linear(config.structures, len(TASKS) - 1)  # age and sex
        nn.init.zeros_(self.of_volumes.weight)
        nn.init.zeros_(self.of_volumes.bias)

    def forward(
        self, image: Tensor, inside: Tensor, volumes: Tensor, clinical: Tensor, offset: Tensor
    ) -> list[Answer]:
        """Every exit's answer; see `exit_by_exit`."""
        return list(self.exit_by_exit(image, inside, volumes, clinical, offset))

    def exit_by_exit(
        self, image: Tensor, inside: Tensor, volumes: Tensor, clinical: Tensor, offset: Tensor
    ) -> Iterator[Answer]:
        """One exit's answer after the other; a stage runs when the answer after it is asked for.

        Args:
            image: features of places on the MNI grid (B, F, X, Y, Z).
            inside: places within the brain (B, X, Y, Z), boolean.
            volumes: logarithms of structure volumes in MNI space (B, S).
            clinical: (B, K); NaN where missing.
            offset: logit of dementia from volumes and record (B,).
        """
        record = self.record((clinical - self.clinical_centre) / self.clinical_spread)
        usual_volumes = (volumes - self.volume_centre) / self.volume_spread
        of_volumes = self.of_volumes(usual_volumes)
        sizes = [] if self.sizes is None else [self.sizes(usual_volumes)]
        rest = torch.cat([offset[:, None], of_volumes], dim=1)
        x = self._tokens(image, inside)
        for number, leave in enumerate(self.exits):
            if number:
                x = self.stages[number - 1](x)
            evidence = self._evidence(leave, record, sizes, x, inside)
            yield Answer(rest + evidence.sum(dim=-1), evidence.unflatten(-1, self.config.grid))

    def _tokens(self, image: Tensor, inside: Tensor) -> Tensor:
        """Embedded places (B, C, X, Y, Z), 0 outside the brain; in training some are left out."""
        usual = (image - self.feature_centre) / self.feature_spread
        x = self.embed(usual.clamp(-4, 4)) * (1 + self.gain) + self.place
        kept = inside[:, None].to(x.dtype)
        if self.training and self.config.dropout > 0:
            kept = kept * (torch.rand_like(kept) >= self.config.dropout)
        return x * kept

    def _evidence(
        self, leave: nn.Module, record: Tensor, sizes: list[Tensor], x: Tensor, inside: Tensor
    ) -> Tensor:
        """What places say, (B, tasks, N); the record guides dementia alone, as it holds age and sex."""
        tokens, within = x.flatten(2).transpose(1, 2), inside.flatten(1)
        nothing = [self.record.missing.expand_as(record), *sizes]
        blind = leave(nothing, tokens, within)
        if self.daft is not None:
            guided = leave(nothing, self.daft(record, tokens, within), within)
        else:
            guided = leave([record, *sizes], tokens, within) if self.config.fusion == "cross" else blind
        return torch.cat([guided[:, :1], blind[:, 1:]], dim=1)
