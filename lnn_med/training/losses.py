"""Losses of an adaptive-depth network: answers of every exit, agreement with full depth, and the gates' bill.

MONAI's DiceLoss counts classes that are absent from a crop as errors and builds one-hot volumes; with 50
classes on sampled blocks both hurt, so Dice is computed here over the classes that are present.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from lnn_med.models.adaptive_depth import Corner, gather, sample_stages
from lnn_med.models.lnn import LNN, TrunkOutput


@dataclass(frozen=True)
class LossConfig:
    """Weights of the terms and what is sampled."""

    blocks: int = 8  # blocks a case whose fine stages are trained in a step
    box: tuple[int, int, int] | None = (
        None  # instead: one box of even size around the labels, for small crops
    )
    coarse_share: float = 0.3  # first share of the steps that train the trunk alone
    whole_exit: bool = False  # exit 1 is trained on every voxel of the window; cheap where classes are few
    frequency_power: float = 0.5  # cross-entropy weights: class frequency to minus this; 0: equal
    label_smoothing: float = 0.0
    label_noise: float = 0.0  # power of the generalised cross-entropy, which doubtful labels move less
    distill: float = 0.3  # agreement of early exits with full depth
    teach: float = 0.0  # agreement of every exit with the configuration's teachers, beside the labels
    gate_cost: float = 0.02  # loss a block must gain for the whole fine path to be worth it
    gate_budget: float = 0.5  # share of the fine stages' work that gates may spend without extra charge
    gate_temperature: float = 0.7
    gate_share: float = (
        0.25  # last share of the steps, in which gates learn what the trained stages are worth
    )


def cross_entropy_and_dice(
    logits: Tensor, target: Tensor, weights: Tensor, smoothing: float = 0.0, noise: float = 0.0
) -> Tensor:
    """Weighted cross-entropy plus one minus the mean Dice of the classes present; a scalar.

    With `noise` q above 0 the cross-entropy of a voxel is (1 - p^q) / q of its label's probability p, which
    tends to -log p for q to 0 and to 1 - p for q = 1 (generalised cross-entropy for noisy labels, Zhang and
    Sabuncu 2018, arXiv 1805.07836; there q = 0.7).

    Args:
        logits: (n, classes, ...), taken together as one sample.
        target: (n, ...) integers.
        weights: (classes,) cross-entropy weights.
        smoothing: share of the cross-entropy that goes to all classes alike.
        noise: power of the generalised cross-entropy, 0 to 1.
    """
    flat = logits.float().movedim(1, -1).reshape(-1, logits.shape[1])  # (voxels, classes)
    truth = target.reshape(-1)
    log_p = flat.log_softmax(dim=1)
    told = ((noise * log_p).exp() - 1) / noise if noise else log_p
    entropy = F.nll_loss(told, truth, weights)
    if smoothing:
        entropy = (1 - smoothing) * entropy - smoothing * log_p.mean()
    p = log_p.exp()
    right = p.gather(1, truth[:, None])[:, 0]
    hit = torch.zeros_like(p[0]).index_add(0, truth, right)
    count = torch.zeros_like(p[0]).index_add(0, truth, torch.ones_like(right))
    dice = (2 * hit + 1e-5) / (p.sum(dim=0) + count + 1e-5)
    present = (count > 0).to(p.dtype)
    present = torch.cat([torch.zeros_like(present[:1]), present[1:]])  # background: cross-entropy alone
    missed = 1 - (dice * present).sum() / present.sum().clamp(min=1)
    return entropy + missed * present.amax()


def class_weights(frequency: Tensor, power: float) -> Tensor:
    """Cross-entropy weights frequency^-power, scaled to a mean of 1 over voxels; absent classes get 0."""
    weights = torch.where(frequency > 0, frequency.clamp(min=1e-12) ** -power, 0.0)
    return weights / (weights * frequency).sum()


def distillation(student: Tensor, teacher: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the student from a teacher that gets no gradient; mean over voxels."""
    log_student = student.float().log_softmax(dim=1)
    log_teacher = teacher.detach().float().log_softmax(dim=1)
    return (log_teacher.exp() * (log_teacher - log_student)).sum(dim=1).mean()


class Terms(NamedTuple):
    """The two functions whose passes over (voxels, classes) cost as much as a stage."""

    answer: Callable[[Tensor, Tensor, Tensor, float, float], Tensor] = cross_entropy_and_dice
    agreement: Callable[[Tensor, Tensor], Tensor] = distillation

    @classmethod
    def compiled(cls) -> Terms:
        """The same, each fused by `torch.compile`."""
        return cls(torch.compile(cross_entropy_and_dice), torch.compile(distillation))


def gate_loss(
    case: Tensor,
    block: Tensor,
    costs: list[float],
    gains: Tensor,
    sampled: Tensor,
    seeds: Tensor,
    config: LossConfig,
) -> Tensor:
    """Expected loss under sampled gates, plus the bill for the work they order.

    Args:
        case: case logits (B, stages).
        block: block logits (B, stages, I, J, K).
        costs: cost of 1, 2, ... stages over that of all, in a box large enough for its halo not to matter.
        gains: loss of each exit in each sampled block (n, exits), no gradient.
        sampled: the sampled blocks (n, 4): batch index and block position.
        seeds: one integer a case, so that every process draws the same noise.
    """
    noise = [
        torch.rand(case[n].numel() + block[n].numel(), generator=torch.Generator().manual_seed(int(seed)))
        for n, seed in enumerate(seeds)
    ]
    on = sample_stages(case, block, torch.stack(noise).to(block.device), config.gate_temperature)
    steps = torch.tensor(costs, device=block.device).diff(prepend=torch.zeros(1, device=block.device))
    spent = (on * steps[None, :, None, None, None]).sum(dim=1).mean(dim=(1, 2, 3))  # (B,)
    n, i, j, k = sampled.unbind(1)
    chosen = on[n, :, i, j, k]  # (n, stages)
    expected = gains[:, 0] + (chosen * (gains[:, 1:] - gains[:, :-1])).sum(dim=1)
    surplus = F.relu(spent - config.gate_budget)
    # A mean over cases of means over their blocks: cases on several processes give the same as on one.
    per_case = torch.stack([expected[n == case].mean() for case in range(block.shape[0])])
    return per_case.mean() + config.gate_cost * spent.mean() + surplus.mean()


def sample_blocks(labels: Tensor, size: int, count: int, seeds: Tensor) -> list[Corner]:
    """Choose blocks to train: three quarters among those with labels, the rest anywhere.

    Args:
        labels: (B, X, Y, Z).
        size: block side.
        count: blocks a case.
        seeds: one integer a case.
    """
    filled = F.max_pool3d((labels > 0).float()[:, None], size)[:, 0]  # (B, I, J, K)
    chosen: list[Corner] = []
    for n, seed in enumerate(seeds):
        generator = torch.Generator().manual_seed(int(seed) + 1)
        inside = filled[n].nonzero().cpu()
        everywhere = torch.ones_like(filled[n]).nonzero().cpu()
        wanted = min(len(inside), -(-3 * count // 4))
        picked = inside[torch.randperm(len(inside), generator=generator)[:wanted]]
        rest = everywhere[torch.randperm(len(everywhere), generator=generator)[: count - wanted]]
        chosen += [(n, i * size, j * size, k * size) for i, j, k in torch.cat([picked, rest]).tolist()]
    return chosen


def sample_box(labels: Tensor, shape: tuple[int, int, int], seeds: Tensor) -> list[Corner]:
    """One box a case; corners are even.

    Along an axis where the labels are shorter than the box, it is centred on them, moved by up to 4 voxels;
    elsewhere it lies anywhere within their extent.
    """
    corners: list[Corner] = []
    size, side = torch.tensor(labels.shape[1:]), torch.tensor(shape)
    for n, seed in enumerate(seeds):
        generator = torch.Generator().manual_seed(int(seed) + 1)
        filled = (labels[n] > 0).nonzero().cpu()
        low, high = (filled.amin(0), filled.amax(0) + 1) if len(filled) else (size * 0, size)
        room = (high - low - side).clamp(min=8)  # of the middle of the box
        middle = (low + high) / 2 + (torch.rand(3, generator=generator) - 0.5) * room
        first = torch.minimum((middle - side / 2).clamp(min=0).long(), size - side)
        i, j, k = (first // 2 * 2).tolist()
        corners.append((n, i, j, k))
    return corners


def network_loss(
    network: LNN,
    image: Tensor,
    labels: Tensor,
    spacing_ratio: Tensor,
    seeds: Tensor,
    weights: Tensor,
    config: LossConfig,
    coarse: bool,
    gates: bool = True,
    terms: Terms = Terms(),
    taught: Tensor | None = None,
) -> tuple[Tensor, dict[str, float]]:
    """Loss of a batch (mean over its cases) and its parts for the log.

    `coarse` trains the trunk alone; `gates` lets the gates learn as well. `taught` are the teachers' log
    probabilities (B, classes, X, Y, Z), with which every exit is to agree.

    Exit 1 is trained on the whole window at one of the eight voxels below each trunk voxel, drawn anew each
    step: an unbiased eighth of the cost (at all of them with `whole_exit`). Fine stages are trained on
    sampled blocks.
    """
    learn_gates = gates and not coarse
    seen = network.see(image, spacing_ratio) if learn_gates else None
    features = network.features(image) if seen is None else seen.features
    total = image.new_zeros(())
    cases = range(image.shape[0])
    for n in cases:
        seen_voxels: tuple[slice, ...] = (slice(None),) * 3
        if config.whole_exit:
            logits = network.exit(features[n : n + 1])
        else:
            corner = (int(seeds[n]) & 1, int(seeds[n]) >> 1 & 1, int(seeds[n]) >> 2 & 1)
            logits = network.exit_at(features[n : n + 1], corner)
            seen_voxels = tuple(slice(first, None, 2) for first in corner)
        target = labels[(slice(n, n + 1), *seen_voxels)]
        total = total + terms.answer(logits, target, weights, config.label_smoothing, config.label_noise)
        if taught is not None:
            lesson = taught[(slice(n, n + 1), slice(None), *seen_voxels)]
            total = total + config.teach * terms.agreement(logits, lesson)
    parts = {"exit_1": float(total.detach()) / len(cases)}
    if not coarse:
        fine, fine_parts = _fine_loss(
            network, image, labels, features, seeds, weights, config, terms, seen, taught
        )
        total = total + fine
        parts |= fine_parts
    return total / len(cases), parts


def _fine_loss(
    network: LNN,
    image: Tensor,
    labels: Tensor,
    features: Tensor,
    seeds: Tensor,
    weights: Tensor,
    config: LossConfig,
    terms: Terms,
    seen: TrunkOutput | None,
    taught: Tensor | None,
) -> tuple[Tensor, dict[str, float]]:
    """Loss of the fine stages on sampled boxes, summed over cases; with `seen`, of the gates as well."""
    size, stages, cases = network.config.block_size, len(network.config.fine_blocks), image.shape[0]
    shape = config.box or (size, size, size)
    corners = (
        sample_box(labels, shape, seeds) if config.box else sample_blocks(labels, size, config.blocks, seeds)
    )
    exits = network.exits_of_boxes(image, features, corners, shape, stages)
    target = gather(labels[:, None], corners, shape)[:, 0]
    boxes = [sum(corner[0] == n for corner in corners) for n in range(cases)]  # case after case
    lessons = [None] * cases if taught is None else gather(taught, corners, shape).split(boxes)
    parts: dict[str, float] = {}
    total = image.new_zeros(())
    answers = zip(target.split(boxes), lessons, *(logits.split(boxes) for logits in exits), strict=True)
    for truth, lesson, *mine in answers:
        for number in range(1, stages + 1):
            loss = terms.answer(mine[number], truth, weights, config.label_smoothing, config.label_noise)
            name = f"exit_{number + 1}"
            parts[name] = parts.get(name, 0.0) + float(loss.detach()) / cases
            total = total + loss
            if lesson is not None:
                total = total + config.teach * terms.agreement(mine[number], lesson)
        for early in mine[:-1]:
            total = total + config.distill * terms.agreement(early, mine[-1])
    if seen is None:
        return total, parts
    gains, sampled = _block_losses(exits, target, corners, seen.block_gate, size)
    costs = network.costs(tuple(image.shape[2:]))
    shares = [(cost - costs.trunk) / (costs.full - costs.trunk) for cost in costs.dense[1:]]
    gate = gate_loss(seen.case_gate, seen.block_gate, shares, gains, sampled, seeds, config)
    parts["gate"] = float(gate.detach())
    parts["active"] = float(
        ((seen.block_gate > 0) & (seen.case_gate > 0)[:, :, None, None, None]).float().mean()
    )
    return total + gate * cases, parts


@torch.no_grad()
def _block_losses(
    exits: list[Tensor], target: Tensor, corners: list[Corner], block_gate: Tensor, size: int
) -> tuple[Tensor, Tensor]:
    """Mean cross-entropy of each exit (n, exits) in each block that boxes touch; those blocks (n, 4)."""
    cases, _, *grid = block_gate.shape
    first = torch.tensor(corners, device=target.device)  # (boxes, 4)
    along = [
        (first[:, axis + 1, None] + torch.arange(length, device=target.device)) // size
        for axis, length in enumerate(target.shape[1:])
    ]
    i, j, k = along[0][:, :, None, None], along[1][:, None, :, None], along[2][:, None, None, :]
    n = first[:, 0][:, None, None, None]
    block = (((n * grid[0] + i) * grid[1] + j) * grid[2] + k).flatten()
    count = torch.bincount(block, minlength=cases * grid[0] * grid[1] * grid[2])
    touched = count.nonzero().flatten()
    sums = torch.stack(
        [
            torch.zeros(len(count), device=target.device).index_add(
                0, block, F.cross_entropy(logits.float(), target, reduction="none").flatten()
            )
            for logits in exits
        ],
        dim=1,
    )
    place = torch.stack(torch.unravel_index(touched, (cases, *grid)), dim=1)
    return sums[touched] / count[touched, None], place
