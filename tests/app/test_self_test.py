"""The self-test: shipped weights have their stored answer, and give it again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from app.bundles import BUNDLES, SUMS, WEIGHTS
from app.work import SelfTest
from lnn_med.scoring.models import BundledModels
from lnn_med.scoring.stored_answer import ANSWERS, differing, key_of_weights, stored_answer

MEASURING = ("brain-t1", "hippocampus-t1")
CHAIN = (*MEASURING, "dementia-t1")  # what a whole head runs through
REPAIR = "Weights changed: run `lnn-med demo`, then `python -m lnn_med.scoring.stored_answer`."


def shipped() -> dict[str, list[dict[str, str]]]:
    models = []
    for name in CHAIN:
        lines = (BUNDLES / name / SUMS).read_text().splitlines()
        weights = next(line.split()[0] for line in lines if line.endswith(WEIGHTS))
        models.append({"bundle": name, "weights_sha256": weights})
    return {"model": models}


def test_the_shipped_weights_have_a_stored_answer() -> None:
    answer = stored_answer(shipped())
    assert answer is not None, REPAIR
    assert {name.split("@")[1] for name in answer} == set(MEASURING)
    assert all(volume is not None and volume >= 0 for volume in answer.values())


def test_no_answer_of_other_weights_is_kept() -> None:
    assert list(json.loads(ANSWERS.read_bytes())) == [key_of_weights(shipped())], REPAIR


@pytest.mark.parametrize(
    ("structure", "change_mm3", "told"),
    [
        ("CSF@brain-t1", 100.0, False),  # another processor rounds differently
        ("CSF@brain-t1", 1000.0, True),
        ("InfLatVentricle_L@brain-t1", 5.0, False),
        ("InfLatVentricle_L@brain-t1", 30.0, True),
    ],
)
def test_a_volume_may_differ_by_three_in_a_thousand_or_six_mm3(
    structure: str, change_mm3: float, told: bool
) -> None:
    answer = stored_answer(shipped())
    assert answer is not None
    record = {
        "structures": [
            {"name": name, "bundle": bundle, "volume_mm3": volume + change_mm3 * (key == structure)}
            for key, volume in answer.items()
            for name, bundle in [key.split("@")]
        ]
    }
    assert differing(record, answer) == ([structure] if told else [])


@pytest.mark.slow
def test_the_self_test_gives_the_stored_answer(tmp_path: Path) -> None:
    (tmp_path / "upload").mkdir()
    task = SelfTest(str(tmp_path / "upload"), str(tmp_path / "out"), str(tmp_path / "view"))
    task.run(BundledModels().load(), lambda stage: None)
    record = json.loads((tmp_path / "out" / "result.json").read_bytes())
    answer = stored_answer(record)
    assert answer is not None
    assert differing(record, answer) == []
