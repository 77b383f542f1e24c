"""The reader of a classifier bundle: entries follow from the models, evidence lies in its place."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from scipy.ndimage import affine_transform

from lnn_med.errors import Code, ConfigError, InputError
from lnn_med.inference.brain_features import FIRST_MM, GRID, SAMPLE_MM, TISSUES
from lnn_med.inference.bundle import Label
from lnn_med.inference.bundle_files import CALIBRATION, WEIGHTS
from lnn_med.inference.calibration import Calibration, UsualInput
from lnn_med.inference.classifier_bundle import (
    ClassifierBundle,
    ClassifierCalibration,
    ClassifierInfo,
    NetworkCalibration,
    is_classifier,
    load_any,
    load_classifier,
    save_classifier,
)
from lnn_med.inference.dementia import (
    DementiaReader,
    Judged,
    calibrated,
    in_scan_grid,
    look,
    misplaced,
    place_of,
    structure_shares,
)
from lnn_med.inference.head import Segmented
from lnn_med.inference.model_space import ModelSpaceConfig, into_model_space
from lnn_med.inference.risk_model import RECORD, Reliability, RiskModel
from lnn_med.inference.runtime import Run, RuntimeConfig
from lnn_med.models.brain_classifier import BrainClassifier, ClassifierConfig
from lnn_med.training.risk_fit import SETS
from lnn_med.transforms.standard_space import StandardSpace, centroids_mm
from lnn_med.volume import Volume

CHANNELS, SHAPE = 3, (80, 96, 80)
LABELS = tuple(
    Label(2 * n + side, f"Part{n}_{'LR'[side - 1]}", (2 * n + side,)) for n in range(12) for side in (1, 2)
)
NETWORK = ClassifierConfig(CHANNELS + len(TISSUES) + 1, len(LABELS), GRID, width=8, attention_top_k=2)
MNI = np.array([[2.0, 0, 0, -79], [0, 2, 0, -112], [0, 0, 2, -74], [0, 0, 0, 1]])
SHA = "a" * 64
HELD = Reliability(
    100, 40, (0.8, 0.7, 0.9), (0.75, 0.6, 0.85), 0.2, 0.05, 0.1, 0.0, 1.0, (0.4, 0.6, 0.8), (0.1, 0.2, 0.3)
)


def brain() -> tuple[Volume, Segmented]:
    """Boxes of labels on an MNI grid, left ones at negative x, and features that are random."""
    rng = np.random.default_rng(0)
    boxes = 1 + 2 * rng.integers(0, 12, tuple(n // 8 for n in SHAPE))
    found = boxes.repeat(8, 0).repeat(8, 1).repeat(8, 2)
    found[SHAPE[0] // 2 :] += 1  # the right half
    away = np.meshgrid(*[(np.arange(n) - n / 2) / (n / 2.2) for n in SHAPE], indexing="ij")
    found[sum(each**2 for each in away) > 1] = 0
    volume = Volume(np.where(found > 0, 500.0 + found, 0).astype(np.float32), MNI)
    seen = into_model_space(volume, ModelSpaceConfig(2.0, crop_to_head=False))
    assert seen.image.shape == SHAPE
    probabilities = torch.nn.functional.one_hot(torch.from_numpy(found), 1 + len(LABELS)).half()
    features = torch.randn(CHANNELS, *(n // 2 for n in SHAPE), generator=torch.Generator().manual_seed(0))
    depth, summary = np.zeros(SHAPE, np.uint8), np.zeros(4, np.float32)
    deep = torch.zeros_like(probabilities)  # what finer stages say is not read
    run = Run(deep, depth, 0.1, 1.0, 2.0, (), summary, features, lambda: probabilities)
    labels = found.astype(np.uint8)
    entropy = np.zeros(SHAPE, np.float32)
    return volume, Segmented(labels, entropy, depth, np.zeros(1 + len(LABELS)), run, seen)


def first_of(segmented: Segmented) -> torch.Tensor:
    assert segmented.run.first_exit is not None
    return segmented.run.first_exit()


def with_first(segmented: Segmented, probabilities: torch.Tensor) -> Segmented:
    """The same head with other probabilities of exit 1."""
    return segmented._replace(run=segmented.run._replace(first_exit=lambda: probabilities))


def engine(**changes: Any) -> Any:
    bundle = SimpleNamespace(
        answers_sha256=SHA,
        info=SimpleNamespace(name="brain-t1", version="1", labels=LABELS),
        label_names={label.index: label.name for label in LABELS},
        calibration=Calibration(),
    )
    return SimpleNamespace(**({"bundle": bundle, "config": RuntimeConfig()} | changes))


def models() -> tuple[RiskModel, ...]:
    found = []
    for known in SETS:
        slopes = {"log Part3": -1.0} | ({"age": 0.4, "age squared": 0.0} if "age" in known else {})
        slopes |= {name: -0.1 for name in known if name != "age"}
        found.append(RiskModel(known, 9.0 + len(known), slopes, dict.fromkeys(slopes, 0.0), HELD))
    return tuple(found)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> ClassifierBundle:
    torch.manual_seed(1)
    networks = [BrainClassifier(NETWORK) for _ in range(2)]
    for network in networks:
        for parameter in network.parameters():
            torch.nn.init.normal_(parameter, std=0.3)
    info = ClassifierInfo(
        "classifier", "toy", "0.0.1", "test", NETWORK, 2, "brain-t1", SHA, ("Part3",), (20.0, 90.0), 4.0
    )
    calibration = ClassifierCalibration(
        0.9,
        None,
        models(),
        NetworkCalibration(0.1, 1.0, 0.5, HELD),
        NetworkCalibration(0.2, 0.9, 0.8, HELD),
    )
    template = centroids_mm(brain()[1].labels, MNI, 1 + len(LABELS))
    return save_classifier(tmp_path_factory.mktemp("toy"), info, networks, template, calibration, "card")


def judged(
    bundle: ClassifierBundle, clinical: dict[str, float | str] | None = None, **changes: Any
) -> Judged:
    volume, segmented = brain()
    return DementiaReader(bundle, engine(**changes))(segmented, volume, clinical or {})


@pytest.mark.parametrize(
    "clinical", [{}, {"age": 75.0}, {"age": 75.0, "sex": "M", "education": 12.0}, {"mmse": 25.0, "sex": "F"}]
)
def test_the_risk_is_that_of_the_model_for_what_is_known(
    bundle: ClassifierBundle, clinical: dict[str, float | str]
) -> None:
    risk, network = judged(bundle, clinical).entries
    labels = brain()[1].labels
    size = 8.0 * ((labels == 7) | (labels == 8)).sum()  # Part3, both sides, in template space
    logit = 9 + len(clinical) - math.log(size) + (0.2 if "age" in clinical else 0)
    logit -= 0.1 * ((clinical.get("sex") == "M") + 2 * ("education" in clinical) + clinical.get("mmse", 0))  # type: ignore[operator]
    assert risk["probability"] == pytest.approx(1 / (1 + math.exp(-logit)), abs=1e-4)
    assert risk["known"] == [name for name in RECORD if name in clinical]
    assert (risk["target"], network["target"]) == ("dementia", "dementia_network")
    assert risk["abstained"] is None
    assert risk["reliability"]["known"] == risk["known"]  # type: ignore[index]
    counted = list(RECORD if "mmse" in clinical else RECORD[:3])
    assert network["reliability"]["known"] == counted  # type: ignore[index]
    assert len(network["evidence"]) == 5  # type: ignore[arg-type]
    assert set(risk["prediction_set"]) <= {"dementia", "no dementia"}  # type: ignore[call-overload]


def test_the_networks_logit_is_the_risk_and_the_evidence_map_calibrated(bundle: ClassifierBundle) -> None:
    volume, segmented = brain()
    found = DementiaReader(bundle, engine())(segmented, volume, {"age": 75.0})
    risk, network = (float(entry["probability"]) for entry in found.entries)  # type: ignore[arg-type]
    reader = DementiaReader(bundle, engine())
    assert found.evidence is not None
    offset = math.log(risk / (1 - risk))
    seen = look(segmented.run, segmented.seen, engine(), reader.template_mm)  # type: ignore[arg-type]
    (_, last) = reader.answers(seen, {"age": 75.0}, offset)
    expected = calibrated(bundle.calibration.without_mmse, offset, last.evidence[:, 0]).item()
    assert network == pytest.approx(1 / (1 + math.exp(-expected)), abs=1e-4)
    assert (found.evidence[segmented.labels == 0] == 0).all()
    assert np.abs(found.evidence).max() > 0
    assert found.brain_age_years is not None


def test_mmse_has_a_calibration_of_its_own_and_a_sure_case_leaves_early(bundle: ClassifierBundle) -> None:
    _, network = judged(bundle, {"mmse": 20.0}).entries
    assert network["exit"] == 2
    early = replace(bundle, calibration=replace(bundle.calibration, sure=0.0))
    assert judged(early).entries[1]["exit"] == 1
    assert judged(early).brain_age_years != judged(bundle).brain_age_years
    never = replace(
        bundle, calibration=replace(bundle.calibration, with_mmse=NetworkCalibration(0, 0, 0, HELD))
    )
    assert judged(never, {"mmse": 20.0}).entries[1]["probability"] == 0.5
    assert judged(never).entries[1]["probability"] != 0.5


def test_a_case_that_leaves_early_runs_no_stage_and_is_told_by_its_exit_alone(
    bundle: ClassifierBundle,
) -> None:
    volume, segmented = brain()
    early = replace(bundle, calibration=replace(bundle.calibration, sure=0.0))
    found = {}
    for name, each in (("early", early), ("late", bundle)):
        reader, ran = DementiaReader(each, engine()), []
        for network in reader.networks:
            for stage in network.stages:
                stage.register_forward_hook(lambda *arguments, ran=ran: ran.append(1))  # type: ignore[misc]
        told = reader(segmented, volume, {"age": 75.0})
        found[name] = len(ran)
        seen = look(segmented.run, segmented.seen, engine(), reader.template_mm)  # type: ignore[arg-type]
        answer = list(reader.answers(seen, {"age": 75.0}, 0.0))[0 if name == "early" else -1]
        network = reader.networks[0]
        years = answer.logits[0, 1] * network.clinical_spread[0] + network.clinical_centre[0]
        assert told.brain_age_years == pytest.approx(years.item(), abs=1e-3)
    assert found == {"early": 0, "late": 2 * len(reader.networks)}  # the scan, and what is hidden of it


def test_what_is_unusual_to_the_segmentation_but_like_the_people_of_the_data_is_answered(
    bundle: ClassifierBundle,
) -> None:
    odd = engine().bundle
    odd.calibration = SimpleNamespace(oddness=lambda summary: 9.0)
    volume, segmented = brain()
    summary = segmented.run.summary.astype(float)

    def answered(mean: np.ndarray, limit: float) -> bool:
        usual = UsualInput(tuple(mean), tuple(map(tuple, np.eye(len(mean)))), limit)
        same = replace(bundle, calibration=replace(bundle.calibration, usual=usual))
        entry = DementiaReader(same, engine(bundle=odd))(segmented, volume, {}).entries[0]
        return entry["probability"] is not None

    assert answered(summary, 1.0)
    away = summary + np.eye(len(summary))[0] * 2
    assert answered(away, 2.1)
    assert not answered(away, 1.9)


def test_out_of_range_it_says_why_and_gives_no_number(bundle: ClassifierBundle) -> None:
    odd = engine().bundle
    odd.calibration = SimpleNamespace(oddness=lambda summary: 9.0)
    volume, segmented = brain()
    static = segmented._replace(run=segmented.run._replace(features=None, first_exit=None))
    for head, changes, clinical, words in (
        (segmented, {}, {"age": 95.0}, "from 20 to 90 years"),
        (static, {}, {}, "static graph"),
        (segmented, {"bundle": odd}, {}, "unlike those"),
    ):
        found = DementiaReader(bundle, engine(**changes))(head, volume, clinical)
        assert found.evidence is None
        assert found.brain_age_years is None
        for entry in found.entries:
            assert words in str(entry["abstained"])
            assert (entry["probability"], entry["prediction_set"]) == (None, None)


def test_a_brain_whose_structures_lie_elsewhere_is_not_judged(bundle: ClassifierBundle) -> None:
    volume, segmented = brain()
    strict = replace(bundle, info=replace(bundle.info, largest_residual_mm=0.5))
    rng = np.random.default_rng(3)
    shuffled = np.r_[0, 1 + rng.permutation(len(LABELS))]
    wrong = with_first(segmented, first_of(segmented)[..., shuffled])
    found = DementiaReader(strict, engine())(wrong, volume, {})
    assert "could not be placed" in str(found.entries[0]["abstained"])
    few = first_of(segmented).clone()
    few[..., 0] += few[..., 6:].sum(-1)
    few[..., 6:] = 0
    nothing = DementiaReader(bundle, engine())(with_first(segmented, few), volume, {})
    assert "could not be placed" in str(nothing.entries[0]["abstained"])


def test_a_brain_whose_sides_are_exchanged_is_not_judged(bundle: ClassifierBundle) -> None:
    volume, segmented = brain()
    wrong = with_first(segmented, first_of(segmented).flip(0))  # left structures now lie on the right
    reader = DementiaReader(bundle, engine())
    seen = look(wrong.run, wrong.seen, engine(), reader.template_mm)  # type: ignore[arg-type]
    assert np.linalg.det(seen.space.affine[:3, :3]) < 0
    assert seen.space.residual_mm < bundle.info.largest_residual_mm  # which alone would accept it
    found = reader(wrong, volume, {})
    assert found.evidence is None
    for entry in found.entries:
        assert "exchanged" in str(entry["abstained"])
        assert entry["probability"] is None


@pytest.mark.parametrize(
    ("axes", "words"),
    [((1.1, 1.2, 1.0), None), ((1.0, 1.9, 1.0), "1.00 to 1.90"), ((0.5, 0.9, 1.0), "0.50 to 1.00")],
)
def test_a_brain_that_would_have_to_be_stretched_beyond_belief_is_not_judged(
    axes: tuple[float, float, float], words: str | None
) -> None:
    space = StandardSpace(np.diag([*axes, 1.0]), 1.0)
    found = misplaced(space, 4.5)
    assert found is None if words is None else words in str(found)
    assert "within 4.5 mm" in str(misplaced(replace(space, residual_mm=4.6), 4.5))


def test_evidence_lies_where_its_place_is_and_left_stays_left() -> None:
    places = np.zeros(GRID, np.float32)
    places[2, 6, 4] = 1.0  # MNI x = FIRST + 4 * (4 * 2 + 1.5)
    middle = [first + SAMPLE_MM * (4 * n + 1.5) for first, n in zip(FIRST_MM, (2, 6, 4), strict=True)]
    assert middle[0] < 0  # left
    flipped = MNI.copy()
    flipped[0] = [-2, 0, 0, 81]  # the same head stored from right to left
    for affine in (MNI, flipped):
        found = in_scan_grid(places, StandardSpace(np.eye(4), 0.0), affine, np.ones(SHAPE, np.uint8))
        peak = np.array(np.unravel_index(found.argmax(), SHAPE))
        assert affine[:3, :3] @ peak + affine[:3, 3] == pytest.approx(np.array(middle), abs=2)


def test_evidence_is_interpolated_linearly_and_lies_on_labels_alone() -> None:
    rng = np.random.default_rng(0)
    places = rng.normal(size=GRID).astype(np.float32)
    oblique = np.array([[1.9, 0.3, 0, -70], [-0.3, 1.9, 0.2, -100], [0.1, -0.2, 2.1, -70], [0, 0, 0, 1.0]])
    space = StandardSpace(np.diag([1.1, 0.9, 1.05, 1.0]), 0.0)
    to_place = place_of(space) @ oblique
    expected = affine_transform(places, to_place, output_shape=SHAPE, order=1, mode="nearest")
    for part in (np.s_[5:60, 3:50, 7:9], np.s_[20:21, 30:31, 4:44]):
        labels = np.zeros(SHAPE, np.uint8)
        labels[part] = rng.integers(0, 2, labels[part].shape)
        labels[part][0, 0, 0] = labels[part][-1, -1, -1] = 9
        found = in_scan_grid(places, space, oblique, labels)
        assert np.abs(found - np.where(labels, expected, 0)).max() < 2e-5
        assert not found[labels == 0].any()


def test_what_is_hidden_looks_as_usual_and_the_rest_stays(bundle: ClassifierBundle) -> None:
    _, segmented = brain()
    reader = DementiaReader(bundle, engine())
    reader.networks[0].feature_centre.fill_(6.0)  # the other network's is 0: usual is 3
    seen = look(segmented.run, segmented.seen, engine(), reader.template_mm)  # type: ignore[arg-type]
    shares = torch.zeros(2, *GRID)
    shares[1, 5, 6, 5], shares[1, 5, 6, 6] = 1.0, 0.5
    none, some = reader.hidden(seen, shares)
    assert torch.equal(none, seen.places.float())
    assert torch.allclose(some[:, 5, 6, 5], torch.tensor(3.0))
    assert torch.allclose(some[:, 5, 6, 6], (seen.places[:, 5, 6, 6].float() + 3) / 2)
    changed = (some != none).any(dim=0)
    assert changed.sum() == 2


def test_shares_of_structures_add_up_where_something_is_labelled() -> None:
    _, segmented = brain()
    shares, names = structure_shares(
        segmented.labels, MNI, engine().bundle.label_names, StandardSpace(np.eye(4), 0.0)
    )
    assert names == sorted({f"Part{n}" for n in range(12)})
    total = shares.sum(axis=0)
    assert set(np.unique(total.round(5))) == {0.0, 1.0}
    assert total[5, 6, 5] == 1


def test_features_of_other_weights_are_refused(bundle: ClassifierBundle) -> None:
    other = engine()
    other.bundle.answers_sha256 = "b" * 64
    with pytest.raises(ConfigError, match="other weights"):
        DementiaReader(bundle, other)


def test_a_bundle_is_what_was_saved_and_a_changed_one_is_refused(
    bundle: ClassifierBundle, tmp_path: Path
) -> None:
    assert is_classifier(bundle.path)
    again = load_any(bundle.path)
    assert again == bundle
    _, template = bundle.load()
    assert template == pytest.approx(centroids_mm(brain()[1].labels, MNI, 1 + len(LABELS)), abs=1e-4)
    for name in (WEIGHTS, CALIBRATION):
        copy = tmp_path / name
        copy.mkdir()
        for file in bundle.path.iterdir():
            (copy / file.name).write_bytes(file.read_bytes())
        (copy / name).write_bytes((copy / name).read_bytes() + b" ")
        with pytest.raises(InputError) as refused:
            load_classifier(copy)
        assert refused.value.code is Code.MODEL
