"""Networks that came with this package, or whose results say that they did not."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from lnn_med.io.provenance import Execution, check_locked, mark_unlocked, shipped_sums

if TYPE_CHECKING:
    from lnn_med.inference.bundle import Bundle
    from lnn_med.inference.classifier_bundle import ClassifierBundle
    from lnn_med.inference.predict import Predictor
    from lnn_med.prediction import Prediction
    from lnn_med.volume import Volume


class LockedPredictor:
    """A predictor for results that count.

    Args:
        predictor: the loaded networks.
        allow_unlocked: let bundles pass that did not come with this package, and mark what they make.

    Raises:
        InputError: E_MODEL for such a bundle that is not allowed.
    """

    def __init__(self, predictor: Predictor, allow_unlocked: bool = False) -> None:
        self.bundles = predictor.bundles
        self.locked = locked_weights(self.bundles)
        check_bundles(self.bundles, allow_unlocked)
        self.predictor = predictor

    def __call__(self, volume: Volume, clinical: Mapping[str, float | str] | None = None) -> Prediction:
        """Measure one scan, see `Predictor`."""
        return mark_unlocked(self.predictor(volume, clinical), self.locked)

    def execution(self, began: datetime, ended: datetime) -> Execution:
        """How the networks ran between two times, for provenance.json."""
        import torch

        from lnn_med.inference.bundle_files import SUMS, file_sha256

        engine = next(iter(self.predictor.engines.values()))
        cuda = engine.device.type == "cuda"
        device = f"cuda {torch.cuda.get_device_name(engine.device)}" if cuda else engine.device.type
        configuration: dict[str, Any] = asdict(engine.config)
        configuration["bundles"] = {one.info.name: file_sha256(one.path / SUMS) for one in self.bundles}
        return Execution(began, ended, device, torch.version.cuda, None, configuration)


def check_bundles(bundles: Sequence[Bundle | ClassifierBundle], allow_unlocked: bool) -> None:
    """Refuse bundles that did not come with this package, unless they are allowed.

    Raises:
        InputError: E_MODEL.
    """
    models = [(one.info.name, one.weights_sha256) for one in bundles]
    check_locked(models, allow_unlocked, locked_weights(bundles))


def locked_weights(bundles: Sequence[Bundle | ClassifierBundle]) -> frozenset[str]:
    """Hashes of the weights of those bundles that lie in every file as they came with this package.

    Known weights are not enough: another label table or calibration changes every number.
    """
    from lnn_med.inference.bundle_files import SUMS, file_sha256

    known = shipped_sums()
    return frozenset(one.weights_sha256 for one in bundles if file_sha256(one.path / SUMS) in known)


def execution_of(measure: Callable[..., Prediction], began: datetime) -> Execution:
    """How a predictor ran since `began`; of one that is not locked only the times are known."""
    ended = datetime.now(UTC)
    return (
        measure.execution(began, ended) if isinstance(measure, LockedPredictor) else Execution(began, ended)
    )
