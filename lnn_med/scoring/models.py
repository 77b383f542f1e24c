"""The models of a run: what to load, how to load it in a worker, and the hash that stands for it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any, Protocol

from lnn_med.scoring.case import Predict

if TYPE_CHECKING:
    from lnn_med.inference.bundle import Bundle
    from lnn_med.inference.classifier_bundle import ClassifierBundle

PACKAGE = "lnn-med"


class Models(Protocol):
    """What a run asks of its models; an instance is sent to the workers."""

    def load(self) -> Predict:
        """Load everything once; the answer scores one scan after the other."""
        ...

    def describe(self) -> Mapping[str, Any]:
        """What decides the outcome, as plain values: bundles with their hashes, options, version."""
        ...


@dataclass(frozen=True)
class BundledModels:
    """Bundles and predict's options; no bundle named means all that fit.

    `allow_unlocked` lets bundles pass that did not come with this package, and marks what they make.
    """

    bundle: tuple[str, ...] = ()
    depth: str | int = "auto"
    budget: float | None = None
    device: str = "auto"
    runtime: str = "auto"
    allow_unlocked: bool = False

    def load(self) -> Predict:
        """See `Models.load`."""
        from lnn_med.allocator import keep_memory

        keep_memory()
        from lnn_med.inference.predict import Predictor
        from lnn_med.scoring.locked import LockedPredictor

        predictor = Predictor(self.bundle, self.depth, self.budget, self.device, self.runtime)
        return LockedPredictor(predictor, self.allow_unlocked)

    def _check(self, bundles: Sequence[Bundle | ClassifierBundle]) -> None:
        """Before a run's folder is made; workers would find out later."""
        if self.depth in ("auto", "full") and self.budget is None:
            return
        import torch

        from lnn_med.inference.bundle import Bundle
        from lnn_med.inference.runtime import RuntimeConfig, refuse_impossible
        from lnn_med.models.lnn import LNN

        config = RuntimeConfig(self.depth, self.budget, self.device, self.runtime)
        for bundle in bundles:
            if isinstance(bundle, Bundle):
                with torch.device("meta"):
                    network = LNN(bundle.info.network)
                refuse_impossible(config, bundle.info.name, network)

    def describe(self) -> Mapping[str, Any]:
        """See `Models.describe`.

        Raises:
            InputError: E_MODEL for a bundle that did not come with this package and is not allowed.
            ConfigError: a depth or a budget that one of them cannot keep.
        """
        from lnn_med.inference.bundle_files import SUMS, file_sha256, list_bundles
        from lnn_med.inference.classifier_bundle import load_any
        from lnn_med.scoring.locked import check_bundles

        bundles = [load_any(name) for name in self.bundle or list_bundles()]
        check_bundles(bundles, self.allow_unlocked)
        self._check(bundles)
        options = asdict(self)
        del options["allow_unlocked"]  # changes no number: what is locked stays so, and what is not is marked
        return {
            "bundles": [
                {
                    "name": one.info.name,
                    "version": one.info.version,
                    "weights_sha256": one.weights_sha256,
                    "files_sha256": file_sha256(one.path / SUMS),
                }
                for one in bundles
            ],
            "options": options,
            "software": {PACKAGE: package_version()},
        }


def key_of(description: Mapping[str, Any]) -> str:
    """Hash that changes when anything in the description does."""
    return hashlib.sha256(json.dumps(description, sort_keys=True).encode()).hexdigest()


def package_version() -> str:
    """Version of this package, "unknown" when it runs without being installed."""
    try:
        return version(PACKAGE)
    except PackageNotFoundError:
        return "unknown"
