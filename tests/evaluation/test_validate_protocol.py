"""The protocol: one dataclass is the YAML file; what cannot be meant is refused with the nearest meaning."""

from __future__ import annotations

from pathlib import Path

import pytest

from lnn_med.errors import ConfigError
from lnn_med.evaluation.protocol import Protocol, load_protocol, parse_labels


def load(folder: Path, text: str) -> Protocol:
    path = folder / "protocol.yaml"
    path.write_text(text)
    return load_protocol(path)


def test_without_a_file_the_defaults_hold_and_nothing_is_decided() -> None:
    assert load_protocol(None) == Protocol()
    assert Protocol().primary is None
    assert Protocol().missing == "worst"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tolerence_mm: 1", "tolerance_mm"),  # the nearest key is named
        ("primary: {metrik: dsc, threshold: 0.8}", "primary.metrik"),
        ("primary: {metric: dice, threshold: 0.8}", "dsc"),
        ("primary: {metric: dsc}", "threshold"),
        ("missing: ignore", "worst, leave_out"),
        ("status: final", "DRAFT, FINAL"),
        ("level: 95", "level"),  # percent instead of a share
        ("tolerance_mm: 0", "tolerance_mm"),
        ("margin_dsc: -0.02", "margin_dsc"),
        ("labels: {A: 0}", "1 or more"),
        ("labels: {A: 1, B: 1}", "share the integer 1"),
        ("labels: {mean: 1}", "mean"),
        ("age_bands: [70, 60]", "grow"),
        ("classification: {reference: dx, prevalence: [20]}", "prevalence"),
        ("structures: [A]\nprimary: {metric: dsc, threshold: 0.5, structure: B}", "B"),
    ],
)
def test_a_protocol_that_cannot_be_meant_is_refused(tmp_path: Path, text: str, words: str) -> None:
    with pytest.raises(ConfigError, match=words):
        load(tmp_path, text)


def test_the_hash_depends_on_the_values_not_on_the_layout(tmp_path: Path) -> None:
    one = load(tmp_path, "id: T1\nlabels: {A: 1, B: 2}\n")
    two = load(tmp_path, "# a remark\nlabels:\n  B: 2\n  A: 1\nid: T1\n")
    other = load(tmp_path, "id: T1\nlabels: {A: 1, B: 2}\nmargin_dsc: 0.01\n")
    assert one.sha256 == two.sha256
    assert one.sha256 != other.sha256


def test_labels_are_read_from_the_option() -> None:
    assert parse_labels("Caudate_L=37, Caudate_R=36") == {"Caudate_L": 37, "Caudate_R": 36}
    assert parse_labels(None) == {}


@pytest.mark.parametrize("text", ["A", "A=x", "=1", "A=-1", "A=0", "A=1,A=2", "A=1,B=1", "A=1.5"])
def test_labels_that_are_no_table_are_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_labels(text)
