"""The training loop: resumable, averaged, validated, on one process or under torchrun."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import Any

import torch
import yaml
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from torch.utils.data import DataLoader, Subset

from lnn_med import config as configuration
from lnn_med.errors import ConfigError
from lnn_med.inference.bundle import Bundle, BundleInfo, load_bundle, save_bundle
from lnn_med.models.layer_attention import SkipSchedule
from lnn_med.models.lnn import LNN
from lnn_med.training.card import model_card
from lnn_med.training.datasets import (
    Item,
    Variants,
    case_names,
    collate,
    load_cases,
    pixels_of,
    split_cases,
)
from lnn_med.training.losses import class_weights
from lnn_med.training.network_and_loss import NetworkAndLoss
from lnn_med.training.run_config import RunConfig, read_run_config, shipped_config
from lnn_med.training.schedule import Average, learning_rate, make_optimizers, set_rate
from lnn_med.training.start import find_start
from lnn_med.training.teachers import find_teachers
from lnn_med.training.validate import validate

logger = logging.getLogger(__name__)
Progress = Callable[[int, int, dict[str, float]], None]

CHECKPOINT, STATE, LOG = "checkpoint.safetensors", "state.json", "log.jsonl"
CURVE, CONFIG, BUNDLE = "curve.png", "config.yaml", "bundle"
LOG_EVERY = 20  # steps


@dataclass(frozen=True)
class Team:
    """The processes that train together; `rank` 0 writes."""

    rank: int
    size: int
    device: torch.device

    @property
    def leads(self) -> bool:
        """Whether this process writes files."""
        return self.rank == 0


def train(
    path: Path, run: Path | None = None, overrides: Sequence[str] = (), progress: Progress | None = None
) -> Bundle | None:
    """Train from a YAML file; the same call resumes a run that exists.

    Args:
        path: configuration file, or the name of one that ships (brain-t1, hippocampus-t1).
        run: folder of the run; `runs/<name>` when None.
        overrides: `key=value` assignments.
        progress: called with step, steps and the last losses.

    Returns:
        The bundle written to `run/bundle` after the last validation; None in processes that do not write.

    Raises:
        ConfigError: wrong configuration, or the run folder belongs to another one.
    """
    config = read_run_config(find_config(path), overrides)
    folder = run or Path("runs") / config.name
    team = _join()
    try:
        return _Run(config, folder, team).go(progress)
    finally:
        if team.size > 1:
            torch.distributed.destroy_process_group()


def find_config(path: Path) -> Path:
    """A configuration file by path, or a shipped one by name."""
    shipped = shipped_config(path.name)
    return shipped if not path.is_file() and shipped.is_file() else path


def _join() -> Team:
    """Join the process group that torchrun describes; alone otherwise."""
    size = int(os.environ.get("WORLD_SIZE", "1"))
    rank = int(os.environ.get("RANK", "0"))
    cuda = torch.cuda.is_available()
    device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0"))) if cuda else torch.device("cpu")
    if size > 1:
        torch.distributed.init_process_group("nccl" if cuda else "gloo")
    return Team(rank, size, device)


class _Run:
    """One run: its data, network, optimiser and files."""

    def __init__(self, config: RunConfig, folder: Path, team: Team) -> None:
        self.config, self.folder, self.team = config, folder, team
        if config.schedule.batch % team.size:
            raise ConfigError(
                f"schedule.batch {config.schedule.batch} does not divide among {team.size} processes."
            )
        if team.size > 1 and config.network.norm == "batch":
            raise ConfigError("network.norm batch: every process would have its own statistics; use one.")
        torch.manual_seed(config.seed)
        self._claim_folder()
        self.split = split_cases(case_names(config.data), config.data)
        self.train_cases = load_cases(config.data, self.split.train, config.space, config.labels)
        self.val_cases = (
            load_cases(config.data, self.split.val, config.space, config.labels) if team.leads else []
        )
        self.network = self._new_network().to(team.device)
        self.optimizers = make_optimizers(
            self.network, config.schedule, {config.network.in_channels, config.network.classes}
        )
        self.average = Average(self.network, config.schedule.ema)
        self.skips = SkipSchedule(self.network, config.skip, config.schedule.steps, config.seed)
        self.weights = class_weights(self._frequency(), config.loss.frequency_power).to(team.device)
        self.teachers = find_teachers(config, self.split, team.device)
        self.step, self.best = 0, -1.0
        self._resume()

    def go(self, progress: Progress | None) -> Bundle | None:
        """Train to the last step or the time limit; returns the bundle."""
        schedule, started, saved = self.config.schedule, time.monotonic(), time.monotonic()
        bundle = None
        wrapped = NetworkAndLoss(self.network, self.weights, self.config, self.teachers)
        model = (
            DistributedDataParallel(wrapped, find_unused_parameters=True) if self.team.size > 1 else wrapped
        )
        for items in self._batches():
            parts = self._advance(model, items)
            if progress and self.team.leads:
                progress(self.step, schedule.steps, parts)
            minutes = (time.monotonic() - started) / 60
            stop = self.step >= schedule.steps or self._time_is_up(minutes)
            if self.team.leads:
                if self.step % LOG_EVERY == 0 or stop:
                    self._log({"step": self.step, "minutes": round(minutes, 2), **parts})
                if self.step % self.config.validate_every == 0 or stop:
                    bundle = self._validate()
                # After validation: the checkpoint must know the best Dice that the bundle stands for.
                if stop or (time.monotonic() - saved) / 60 > self.config.checkpoint_minutes:
                    self._save()
                    saved = time.monotonic()
            if stop:
                break
        if bundle is None and self.team.leads:
            if (self.folder / BUNDLE).is_dir():  # the run was complete
                return load_bundle(self.folder / BUNDLE)
            bundle = self._validate()  # no step is asked for: the start as it is
        return bundle

    def _time_is_up(self, minutes: float) -> bool:
        """Whether the time limit is reached; the leader decides, or the others would wait for it for ever."""
        if self.config.minutes <= 0:
            return False
        flag = torch.tensor([float(minutes >= self.config.minutes)], device=self.team.device)
        if self.team.size > 1:
            torch.distributed.broadcast(flag, 0)
        return bool(flag.item())

    def _advance(self, model: nn.Module, items: Item) -> dict[str, float]:
        set_rate(self.optimizers, learning_rate(self.step, self.config.schedule))
        coarse, gates = self._coarse(self.step), self._gates(self.step)
        image, labels, ratio, seeds = (torch.as_tensor(value).to(self.team.device) for value in items)
        self.skips.before(self.step)
        loss, parts = model(image, labels, ratio, seeds, coarse, gates)
        self.skips.after(self._mean_over_team)
        for optimizer in self.optimizers:
            optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = nn.utils.clip_grad_norm_(self.network.parameters(), self.config.schedule.clip)
        if norm.isfinite():
            for optimizer in self.optimizers:
                optimizer.step()
        else:
            logger.warning("step %d: gradient is not finite, skipped", self.step)
        self.step += 1
        self.average.update(self.network, self.step)
        return parts

    def _mean_over_team(self, values: Tensor) -> Tensor:
        if self.team.size > 1:
            shared = values.to(self.team.device)
            torch.distributed.all_reduce(shared)
            values = (shared / self.team.size).cpu()
        return values

    def _coarse(self, step: int) -> bool:
        """Whether a step trains the trunk alone."""
        return step < self.config.loss.coarse_share * self.config.schedule.steps

    def _gates(self, step: int) -> bool:
        """Whether a step trains the gates as well."""
        return step >= (1 - self.config.loss.gate_share) * self.config.schedule.steps

    def _batches(self) -> DataLoader[Item]:
        """Batches from the present step on; each process takes its share of every batch."""
        config, schedule = self.config, self.config.schedule
        variants = Variants(
            self.train_cases, config.labels, config.augment, config.window, config.space.spacing_mm,
            config.seed, schedule.steps * schedule.batch,
        )  # fmt: skip
        share = schedule.batch // self.team.size
        numbers = [
            step * schedule.batch + self.team.rank * share + n
            for step in range(self.step, schedule.steps)
            for n in range(share)
        ]
        return DataLoader(
            Subset(variants, numbers),
            batch_size=share,
            num_workers=config.workers,
            collate_fn=collate,
            worker_init_fn=_one_thread,
        )

    def _new_network(self) -> LNN:
        network = LNN(self.config.network)
        self.earlier: list[dict[str, Any]] = []  # pieces of training behind the weights it starts from
        self.started: list[str] = []  # bundles it starts from
        if self.config.init:
            start = find_start(self.config.init)
            self.earlier, self.started = start.pieces, start.bundles
            try:
                network.load_state_dict(start.weights)
            except RuntimeError as error:
                raise ConfigError(
                    f"init: the weights of `{self.config.init}` do not fit this network."
                ) from error
            network.temperature.fill_(1.0)  # calibration belongs to the weights it was made for
        if self.config.only == "gates":
            network.gates.load_state_dict(LNN(self.config.network).gates.state_dict())
            network.requires_grad_(False).eval()  # batch statistics stay as they are, too
            network.gates.requires_grad_(True)
        return network

    def _frequency(self) -> Tensor:
        counts = torch.zeros(len(self.config.labels) + 1, dtype=torch.float64)
        for case in self.train_cases:
            counts += torch.bincount(case.labels.flatten().long(), minlength=len(counts))
        return (counts / counts.sum()).float()

    def _claim_folder(self) -> None:
        written = self.folder / CONFIG
        plain = yaml.safe_dump(configuration.as_dict(self.config), sort_keys=False)
        if written.is_file():
            before = configuration.build(RunConfig, configuration.load_yaml(written))
            if _without_pace(configuration.as_dict(before)) != _without_pace(
                configuration.as_dict(self.config)
            ):
                raise ConfigError(
                    f"{self.folder.name}: the run was started with another configuration; name a new folder."
                )
        elif self.team.leads:
            self.folder.mkdir(parents=True, exist_ok=True)
            _write_whole(written, plain)

    def _resume(self) -> None:
        state = self.folder / STATE
        if not state.is_file():
            return
        facts = json.loads(state.read_text())
        tensors = load_file(self.folder / facts["checkpoint"])
        self.network.load_state_dict(_strip(tensors, "network."))
        self.average.load(_strip(tensors, "average."))
        self.skips.load(_strip(tensors, "skips."))
        for place, optimizer in enumerate(self.optimizers):
            saved: dict[int, dict[str, Tensor]] = {}
            for key, value in _strip(tensors, f"optimizer.{place}.").items():
                number, _, name = key.partition(".")
                saved.setdefault(int(number), {})[name] = value
            groups = optimizer.state_dict()["param_groups"]
            optimizer.load_state_dict({"state": saved, "param_groups": groups})
        self.step, self.best = facts["step"], facts["best"]
        if self.team.leads:
            self._forget_after(self.step)

    def _forget_after(self, step: int) -> None:
        """Drop log rows of steps that will be done again: the curve is that of a run without interruption."""
        log = self.folder / LOG
        rows = log.read_text(encoding="utf-8").splitlines(keepends=True) if log.is_file() else []
        _write_whole(
            log, "".join(row for row in rows if row.endswith("\n") and json.loads(row)["step"] <= step)
        )

    def _save(self) -> None:
        """Checkpoint under a new name, then the small file that points at it: whole or not at all."""
        tensors = {f"network.{k}": v for k, v in self.network.state_dict().items()}
        tensors |= {f"average.{k}": v for k, v in self.average.state.items()}
        tensors |= {f"skips.{k}": v for k, v in self.skips.state().items()}
        for place, optimizer in enumerate(self.optimizers):
            for number, moments in optimizer.state_dict()["state"].items():
                found = {k: v for k, v in moments.items() if isinstance(v, Tensor)}
                tensors |= {f"optimizer.{place}.{number}.{k}": v for k, v in found.items()}
        name = f"{self.step}-{CHECKPOINT}"
        save_file({k: v.detach().cpu().contiguous() for k, v in tensors.items()}, self.folder / name)
        facts = {"step": self.step, "best": self.best, "checkpoint": name}
        _write_whole(self.folder / STATE, json.dumps(facts))
        for old in self.folder.glob(f"*-{CHECKPOINT}"):
            if old.name != name:
                old.unlink()

    def _log(self, row: dict[str, Any]) -> None:
        with (self.folder / LOG).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps(row) + "\n")

    def _validate(self) -> Bundle:
        """Dice of the averaged weights at every exit on the validation fold; writes the bundle if it rose."""
        network = LNN(self.config.network).to(self.team.device)
        network.load_state_dict(self.average.state)
        exits = 1 if self._coarse(max(self.step - 1, 0)) else network.config.exits
        result = validate(network, self.val_cases, self.config, exits)
        self._log({"step": self.step, "validation": result})
        from lnn_med.training.curve import draw_curve  # matplotlib takes a second

        draw_curve(self.folder / LOG, self.folder / CURVE)
        target = self.folder / BUNDLE
        if result["dice_full"] <= self.best and target.is_dir():
            return load_bundle(target)
        self.best = result["dice_full"]
        info = BundleInfo(
            name=self.config.name,
            version=self.config.version,
            job=self.config.job,
            network=self.config.network,
            space=self.config.space,
            labels=self.config.labels,
            data=self.config.about,
            split=asdict_split(self.split),
            pixels=self._pixels(),
            metrics=result,
            training={"pieces": [*self.earlier, self._piece()]},
        )
        return save_bundle(target, info, network.cpu(), model_card(info))

    @cache  # noqa: B019  a process makes one run
    def _pixels(self) -> dict[str, str]:
        """Hashes of all cases of the split, by which validation knows them under another name."""
        return pixels_of(self.config.data, sorted(name for part in self.split for name in part))

    def _piece(self) -> dict[str, Any]:
        """What this run did, for the bundle's record."""
        parts = {name: asdict(getattr(self.config, name)) for name in ("schedule", "loss")}
        return {
            "init": self.started,
            "version": self.config.version,
            "seed": self.config.seed,
            "only": self.config.only,
            "steps": self.step,
            "teachers": self.teachers.named() if self.teachers else [],
            **parts,
            "note": self.config.note,
        }


def asdict_split(split: Any) -> dict[str, list[str]]:
    """Case names of each part."""
    return dict(split._asdict())


def _one_thread(_: int) -> None:
    torch.set_num_threads(1)


def _write_whole(path: Path, text: str) -> None:
    temporary = path.with_name(f".{path.name}")
    temporary.write_text(text, encoding="utf-8")
    os.replace(temporary, path)


def _strip(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {key.removeprefix(prefix): value for key, value in tensors.items() if key.startswith(prefix)}


def _without_pace(values: dict[str, Any]) -> dict[str, Any]:
    """Configuration without what may change when a run goes on: pace, note, path of the data."""
    pace = ("minutes", "workers", "compile", "checkpoint_minutes", "validate_every", "note")
    kept = {k: v for k, v in values.items() if k not in pace}
    return {**kept, "data": {k: v for k, v in kept["data"].items() if k != "root"}}
