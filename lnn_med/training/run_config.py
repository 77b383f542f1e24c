"""The YAML file of a training run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from lnn_med import config as configuration
from lnn_med.errors import ConfigError
from lnn_med.inference.bundle import Label
from lnn_med.inference.model_space import ModelSpaceConfig
from lnn_med.models.layer_attention import SkipConfig
from lnn_med.models.lnn_config import LNNConfig
from lnn_med.training.datasets import DataConfig
from lnn_med.training.losses import LossConfig
from lnn_med.training.schedule import ScheduleConfig
from lnn_med.transforms.augment import AugmentConfig

CONFIGS = Path(__file__).parent / "configs"


@dataclass(frozen=True)
class RunConfig:
    """Everything that defines a run; the same file and seed give the same curve."""

    name: str
    job: str
    labels: tuple[Label, ...]
    data: DataConfig
    space: ModelSpaceConfig
    network: LNNConfig
    schedule: ScheduleConfig
    window: tuple[int, int, int]  # voxels of a training crop
    version: str = "0.1.0"
    augment: AugmentConfig = field(default_factory=AugmentConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    skip: SkipConfig = field(default_factory=SkipConfig)  # of redundant retrievals, with layer attention
    init: str = ""  # "bundle:NAME" starts from its weights, "bundle:A, bundle:B" from the mean of several
    # Networks whose mean answer is learnt beside the labels: bundles by name or path, peers by their file
    # (.safetensors).
    teachers: tuple[str, ...] = ()
    only: str = ""  # "gates": all else stays as it is, gates are learnt anew
    bf16: bool = True  # where the device has it
    compile: bool = False  # `torch.compile`; on CPU it needs a C++ compiler and two minutes to begin
    seed: int = 1
    workers: int = 1  # processes that prepare variants
    validate_every: int = 1000  # steps
    checkpoint_minutes: float = 3.0
    minutes: float = 0.0  # stop after so long, resumable; 0: no limit
    note: str = ""  # for the model card: what was decided by hand during the run
    about: dict[str, Any] = field(default_factory=dict)  # data name, licence, citation for the model card

    def __post_init__(self) -> None:
        if self.only not in ("", "gates"):
            raise ValueError(f"only is {self.only!r}; gates or nothing is needed")
        if sorted(label.index for label in self.labels) != list(range(1, len(self.labels) + 1)):
            raise ValueError("labels must be numbered 1, 2, 3, ... without gaps")
        if self.network.classes != len(self.labels) + 1:
            raise ValueError(
                f"network.classes is {self.network.classes}; labels and background are {len(self.labels) + 1}"
            )
        if self.compile and (self.network.layer_attention or self.network.reversible):
            raise ValueError("compile works without layer attention and without reversible stages")
        if not self.schedule.steps and not self.init:
            raise ValueError("schedule.steps is 0; without init there is nothing to write")
        if bool(self.teachers) != (self.loss.teach > 0):
            raise ValueError("teachers and loss.teach need each other")
        step, box = self.network.multiple, self.loss.box
        if any(size % step for size in self.window):
            raise ValueError(f"window is {self.window}; the network needs multiples of {step} voxels")
        if self.space.multiple % step:
            raise ValueError(f"space.multiple is {self.space.multiple}; the network needs one of {step}")
        if self.bf16 and self.window[0] // 2 ** len(self.network.trunk_channels) == 2:
            # oneDNN: gradients of a channels-last bf16 convolution with uninitialised memory in them
            raise ValueError(
                f"window is {self.window}: its coarsest level has two planes, where gradients in bf16 are "
                "wrong on CPUs; take a larger window, or bf16=false"
            )
        if box and any(side % 2 or side > size for side, size in zip(box, self.window, strict=True)):
            raise ValueError(f"loss.box is {box}; its sides must be even and fit the window {self.window}")


def read_run_config(path: Path, assignments: Sequence[str] = ()) -> RunConfig:
    """Read a YAML file and apply `key=value` assignments.

    `labels: [[name, [sources]], ...]` gets numbers; `base: NAME` stands for all that the shipped
    configuration of that name says and this file does not.

    Raises:
        ConfigError: see `lnn_med.config.build`.
    """
    values = configuration.load_yaml(path)
    if base := values.pop("base", None):
        values = configuration.merge(configuration.load_yaml(shipped_config(str(base))), values)
    values = configuration.override(values, assignments)
    labels = values.get("labels")
    if not isinstance(labels, list):
        raise ConfigError("`labels` is missing; a list of [name, [sources]] is needed.")
    values["labels"] = [_numbered(number, entry) for number, entry in enumerate(labels, start=1)]
    network = values.setdefault("network", {})
    if isinstance(network, dict):
        network.setdefault("classes", len(labels) + 1)
    return configuration.build(RunConfig, values)


def shipped_config(name: str) -> Path:
    """The file of a configuration that ships."""
    return CONFIGS / f"{name}.yaml"


def _numbered(number: int, entry: Any) -> Any:
    if not isinstance(entry, list):
        return entry
    if len(entry) != 2:
        raise ConfigError(f"`labels[{number - 1}]` is {entry!r}; [name, [sources]] is needed.")
    return {"index": number, "name": str(entry[0]), "sources": entry[1]}
