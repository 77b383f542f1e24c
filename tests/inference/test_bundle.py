"""Bundles: written and read back, and everything that was tampered with is refused before it is used."""

from __future__ import annotations

import json
import pickle
import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from lnn_med.errors import Code, ConfigError, InputError
from lnn_med.inference.bundle import (
    Bundle,
    Label,
    load_bundle,
    mirror_table,
    save_bundle,
    save_calibration,
    save_percentiles,
)
from lnn_med.inference.bundle_files import (
    CALIBRATION,
    DESCRIPTION,
    PERCENTILES,
    SUMS,
    WEIGHTS,
    file_sha256,
    list_bundles,
)
from lnn_med.inference.calibration import Calibration, UsualInput, VolumeCalibration
from lnn_med.inference.percentiles import Curve, Percentiles
from lnn_med.models.expected_gain import ExpectedGain
from lnn_med.models.lnn import LNN
from tests.inference.heads import info


class Canary:
    """Unpickling it would leave a file behind."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Callable[[Path], None], tuple[Path]]:
        return Path.touch, (self.path,)


CALIBRATED = Calibration(
    date="2026-01-31",
    splits=("val", "calibration"),
    cases=20,
    temperature=(1.5, 0.5, 2.0),
    volumes={"Hippocampus_L": VolumeCalibration(2.5, 20, 0.9, 12.0), "CSF": VolumeCalibration(None, 3)},
    usual=UsualInput((0.0, 1.0), ((4.0, 0.0), (0.0, 1.0)), 2.0),
    measured={"exits": []},
)
GAIN = ExpectedGain(level=(-1.5, -3.0), power=(1.1, 1.2), resolution=(-0.6, -0.2), price=0.001)


@pytest.fixture
def bundle(tmp_path: Path) -> Bundle:
    torch.manual_seed(0)
    return save_bundle(tmp_path / "tiny", info(), LNN(info().network), "# A card\n", CALIBRATED)


def signed(path: Path) -> None:
    """Write hashes that fit the present files, as an attacker or a careless author would."""
    names = [file.name for file in sorted(path.iterdir()) if file.name != SUMS]
    (path / SUMS).write_text("".join(f"{file_sha256(path / name)}  {name}\n" for name in names))


def with_weights(path: Path, change: Callable[[dict[str, torch.Tensor]], None]) -> Path:
    weights = load_file(path / WEIGHTS)
    change(weights)
    save_file(weights, path / WEIGHTS)
    signed(path)
    return path


def refused(work: Callable[[], object]) -> str:
    with pytest.raises(InputError) as error:
        work()
    assert error.value.code is Code.MODEL
    return error.value.detail


def test_a_bundle_comes_back_as_it_was_saved(bundle: Bundle, tmp_path: Path) -> None:
    torch.manual_seed(0)
    expected = LNN(info().network).state_dict()
    found = load_bundle(tmp_path / "tiny")
    assert found == bundle
    assert found.info == info()
    assert found.calibration == CALIBRATED
    assert found.network().temperature.tolist() == [1.5, 0.5, 2.0]
    assert found.weights_sha256 == file_sha256(tmp_path / "tiny" / WEIGHTS)
    assert found.label_names == {1: "Hippocampus_L", 2: "Hippocampus_R", 3: "Frontal_GM", 4: "CSF"}
    weights = found.network().state_dict()
    assert weights.keys() == expected.keys()
    assert weights.pop("temperature").tolist() == [1.5, 0.5, 2.0]
    expected.pop("temperature")
    for name, value in expected.items():  # kernels are stored in half precision, the rest as it is
        assert torch.equal(weights[name], value.half().float() if value.ndim > 1 else value)
    assert not found.network().training


def test_only_the_files_of_a_bundle_are_written(bundle: Bundle) -> None:
    names = ["SHA256SUMS", "bundle.yaml", "calibration.json", "model_card.md", "weights.safetensors"]
    assert sorted(file.name for file in bundle.path.iterdir()) == names


def test_saving_again_replaces_the_weights(bundle: Bundle) -> None:
    other = LNN(info().network)
    assert save_bundle(bundle.path, info(), other, "").weights_sha256 != bundle.weights_sha256


def test_the_hash_of_the_answers_changes_with_weights_temperatures_and_gain_alone(bundle: Bundle) -> None:
    before = bundle.answers_sha256
    intervals = replace(CALIBRATED, coverage=0.8)
    assert save_calibration(bundle.path, intervals).answers_sha256 == before
    warmer = replace(CALIBRATED, temperature=(1.5, 0.5, 2.1))
    assert save_calibration(bundle.path, warmer).answers_sha256 != before
    deeper = replace(CALIBRATED, gain=GAIN)
    assert save_calibration(bundle.path, deeper).answers_sha256 != before
    assert load_bundle(bundle.path).network().gain == GAIN
    assert save_bundle(bundle.path, info(), LNN(info().network), "").answers_sha256 != before
    assert save_calibration(bundle.path, CALIBRATED).answers_sha256 != before


@pytest.mark.parametrize(
    ("wrong", "word"),
    [
        ({"level": (0.0,)}, "gains of 1 stages for 2"),
        ({"resolution": (0.0, 1e9)}, "not between"),
        ({"power": (1.0, -1.0)}, "below 0"),
        ({"price": -0.1}, "price"),
    ],
)
def test_gains_that_no_network_has_are_refused(bundle: Bundle, wrong: dict[str, Any], word: str) -> None:
    calibrated = replace(CALIBRATED, gain=replace(GAIN, **wrong))
    assert word in refused(lambda: save_calibration(bundle.path, calibrated))
    assert load_bundle(bundle.path).calibration == CALIBRATED  # nothing was written


def percentiles(answers_sha256: str) -> Percentiles:
    curve = Curve(True, (8.0, -0.05, 0.0, 0.03, 0.8), (-2.0, 0.1), inside=0.88)
    return Percentiles(
        "people", answers_sha256, 50, (20.0, 86.0), 1.5e6, {"Hippocampus": curve}, {"women": 25}
    )


def test_percentiles_come_back_and_go_with_their_weights(bundle: Bundle) -> None:
    made = percentiles(bundle.answers_sha256)
    assert save_percentiles(bundle.path, made).percentiles == made
    assert load_bundle(bundle.path).calibration == CALIBRATED
    assert save_calibration(bundle.path, replace(CALIBRATED, coverage=0.8)).percentiles == made
    again = save_bundle(bundle.path, info(), LNN(info().network), "")
    assert again.percentiles == Percentiles()
    assert not (bundle.path / PERCENTILES).exists()


def test_percentiles_go_with_the_depth_they_were_measured_at(
    bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    save_percentiles(bundle.path, percentiles(bundle.answers_sha256))
    dearer = replace(CALIBRATED, gain=replace(GAIN, price=0.02))
    assert save_calibration(bundle.path, dearer).percentiles == Percentiles()
    assert "measure them anew" in caplog.text


def test_percentiles_of_an_earlier_release_are_left_out(
    bundle: Bundle, caplog: pytest.LogCaptureFixture
) -> None:
    (bundle.path / PERCENTILES).write_text(json.dumps({"weights_sha256": bundle.weights_sha256, "people": 9}))
    signed(bundle.path)
    assert load_bundle(bundle.path).percentiles == Percentiles()
    assert "measure them anew" in caplog.text
    again = save_percentiles(bundle.path, percentiles(bundle.answers_sha256))
    assert again.percentiles.people == 50


def test_percentiles_of_other_weights_are_refused(bundle: Bundle) -> None:
    assert "other weights" in refused(lambda: save_percentiles(bundle.path, percentiles("0" * 64)))


@pytest.mark.parametrize("name", [WEIGHTS, DESCRIPTION, CALIBRATION, "model_card.md"])
def test_a_changed_byte_is_refused(bundle: Bundle, name: str) -> None:
    content = bytearray((bundle.path / name).read_bytes())
    content[len(content) // 2] ^= 1
    (bundle.path / name).write_bytes(content)
    assert f"{name} is missing or does not match" in refused(lambda: load_bundle(bundle.path))


@pytest.mark.parametrize("name", [WEIGHTS, CALIBRATION])
def test_a_missing_file_is_refused(bundle: Bundle, name: str) -> None:
    (bundle.path / name).unlink()
    assert name in refused(lambda: load_bundle(bundle.path))


@pytest.mark.parametrize(
    ("sums", "remark"),
    [
        (None, "no hashes at all"),
        (b"", "an empty list"),
        (b"\xff\xfe\x00garbage", "no text"),
        (b"0123  ../../etc/passwd\n", "a path that leads elsewhere"),
        (b"0123 weights.safetensors extra\n", "three words"),
    ],
)
def test_a_broken_list_of_hashes_is_refused(bundle: Bundle, sums: bytes | None, remark: str) -> None:
    if sums is None:
        (bundle.path / SUMS).unlink()
    else:
        (bundle.path / SUMS).write_bytes(sums)
    refused(lambda: load_bundle(bundle.path))


@pytest.mark.parametrize("name", [WEIGHTS, DESCRIPTION, CALIBRATION])
def test_a_file_that_the_list_leaves_out_is_refused(bundle: Bundle, name: str) -> None:
    lines = [line for line in (bundle.path / SUMS).read_text().splitlines() if not line.endswith(name)]
    (bundle.path / SUMS).write_text("\n".join(lines) + "\n")
    assert f"{name} is not listed" in refused(lambda: load_bundle(bundle.path))


def test_weights_of_another_shape_are_refused(bundle: Bundle) -> None:
    def change(weights: dict[str, torch.Tensor]) -> None:
        weights["exit.bias"] = torch.zeros(99)

    path = with_weights(bundle.path, change)
    assert "do not fit the description" in refused(lambda: load_bundle(path).network())


def test_weights_that_lack_a_tensor_are_refused(bundle: Bundle) -> None:
    def change(weights: dict[str, torch.Tensor]) -> None:
        del weights["exit.bias"]

    path = with_weights(bundle.path, change)
    assert "do not fit the description" in refused(lambda: load_bundle(path).network())


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_weights_that_are_not_finite_are_refused(bundle: Bundle, value: float) -> None:
    def change(weights: dict[str, torch.Tensor]) -> None:
        weights["exit.bias"][0] = value

    path = with_weights(bundle.path, change)
    assert "not finite" in refused(lambda: load_bundle(path).network())


def test_weights_that_are_whole_numbers_are_refused(bundle: Bundle) -> None:
    def change(weights: dict[str, torch.Tensor]) -> None:
        weights["exit.bias"] = weights["exit.bias"].long()

    path = with_weights(bundle.path, change)
    refused(lambda: load_bundle(path).network())


def test_half_precision_weights_are_read(bundle: Bundle) -> None:
    def change(weights: dict[str, torch.Tensor]) -> None:
        weights.update({name: value.half() for name, value in weights.items()})

    assert next(load_bundle(with_weights(bundle.path, change)).network().parameters()).dtype == torch.float32


def _overlapping() -> bytes:
    entry = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]}
    header = json.dumps({"exit.bias": entry, "temperature": entry}).encode()
    return struct.pack("<Q", len(header)) + header + bytes(8)


@pytest.mark.parametrize(
    ("content", "remark"),
    [
        (b"", "empty"),
        (struct.pack("<Q", 2**63) + b"{}", "a header of 2^63 bytes"),
        (struct.pack("<Q", 10**6) + b"{}", "the header is cut"),
        (struct.pack("<Q", 4) + b"\xff\xff\xff\xff", "the header is no JSON"),
        (_overlapping(), "two tensors at one place"),
        (None, "the end is cut"),
    ],
)
def test_broken_safetensors_are_refused(bundle: Bundle, content: bytes | None, remark: str) -> None:
    whole = (bundle.path / WEIGHTS).read_bytes()
    (bundle.path / WEIGHTS).write_bytes(whole[: len(whole) // 2] if content is None else content)
    signed(bundle.path)
    refused(lambda: load_bundle(bundle.path).network())


@pytest.mark.parametrize("kind", ["pickle", "torch"])
def test_a_pickle_in_place_of_the_weights_is_refused_and_never_run(
    bundle: Bundle, tmp_path: Path, kind: str
) -> None:
    canary = tmp_path / "canary"
    pickle.loads(pickle.dumps(Canary(canary)))  # noqa: S301 - the trap works when it is stepped on
    assert canary.exists()
    canary.unlink()
    if kind == "pickle":
        (bundle.path / WEIGHTS).write_bytes(pickle.dumps(Canary(canary)))
    else:
        torch.save({"exit.bias": Canary(canary)}, bundle.path / WEIGHTS)
    signed(bundle.path)
    refused(lambda: load_bundle(bundle.path).network())
    assert not canary.exists()


def test_a_description_with_a_python_tag_is_refused_and_never_run(bundle: Bundle, tmp_path: Path) -> None:
    canary = tmp_path / "canary"
    (bundle.path / DESCRIPTION).write_text(f"name: !!python/object/apply:os.mkdir ['{canary}']\n")
    signed(bundle.path)
    with pytest.raises(ConfigError, match="not valid YAML"):
        load_bundle(bundle.path)
    assert not canary.exists()


def test_an_unknown_name_lists_what_there_is(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No bundle `nowhere`"):
        load_bundle(tmp_path / "nowhere")
    assert list_bundles(tmp_path) == []


def test_bundles_of_a_folder_are_listed(bundle: Bundle, tmp_path: Path) -> None:
    save_bundle(tmp_path / "another", replace(info(), name="another"), LNN(info().network), "")
    (tmp_path / "empty").mkdir()
    assert list_bundles(tmp_path) == ["another", "tiny"]


NAMES = ("Hippocampus_L", "CSF", "Hippocampus_R", "Temporal_GM_R", "Hippocampus_L_Anterior", "Temporal_GM_L")


def test_mirror_table_is_an_involution_that_swaps_sides() -> None:
    table = mirror_table(tuple(Label(n, name, ()) for n, name in enumerate(NAMES, start=1)))
    assert np.array_equal(table[table], np.arange(1 + len(NAMES)))
    assert table.tolist() == [0, 3, 2, 1, 6, 5, 4]  # a side without partner and the midline stay


@pytest.mark.parametrize(
    ("name", "side"),
    [
        ("Hippocampus_L", "L"),
        ("Temporal_GM_R", "R"),
        ("Hippocampus_R_Anterior", "R"),
        ("3rdVentricle", None),
        ("LeftOver", None),
    ],
)
def test_side_is_read_from_the_name(name: str, side: str | None) -> None:
    assert Label(1, name, ()).side == side


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ({"temperature": [1.0]}, "1 temperatures for 3 exits"),
        ({"temperature": [1.0, 0.0, 1.0]}, "between 0 and 100"),
        ({"temperature": [1.0, float("nan"), 1.0]}, "between 0 and 100"),
        ({"volumes": {"CSF": {"quantil": 1.0, "n": 3}}}, "quantile"),
        ({"usual": {"mean": [0.0]}}, "precision"),
        ({"usual": {"mean": [], "precision": [], "limit": 1.0}}, "differ in size"),
        ({"usual": {"mean": [0.0, 0.0], "precision": [[1.0, 0.0]], "limit": 1.0}}, "differ in size"),
        ({"usual": {"mean": [0.0], "precision": [[1.0]], "limit": 0.0}}, "above 0"),
        ({"usual": {"mean": [0.0], "precision": [[1.0]], "limit": float("nan")}}, "above 0"),
        ({"usual": {"mean": [float("inf")], "precision": [[1.0]], "limit": 1.0}}, "not finite"),
        ({"usual_doubt": float("nan")}, "doubt"),
        ({"coverage": 1.0}, "coverage"),
        ({"volumes": {"CSF": {"quantile": -5.0, "n": 3}}}, "CSF: a quantile"),
        ({"volumes": {"CSF": {"quantile": 1e9, "n": 3}}}, "CSF: a quantile"),
        ({"volumes": {"CSF": {"quantile": 10**400, "n": 3}}}, "cannot be used"),
        ({"gain": {"level": [], "power": [], "resolution": [], "price": 0.1}}, "gains of 0 stages for 2"),
        (["a list"], "cannot be used"),
    ],
)
def test_a_calibration_that_does_not_fit_is_refused(bundle: Bundle, content: object, words: str) -> None:
    (bundle.path / "calibration.json").write_text(json.dumps(content))
    signed(bundle.path)
    assert words in refused(lambda: load_bundle(bundle.path))
