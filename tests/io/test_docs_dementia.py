"""docs/dementia.md tells what the shipped bundle's card tells."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CARD = ROOT / "lnn_med" / "bundles" / "dementia-t1" / "model_card.md"
ESTIMATE = re.compile(r"\d\.\d{3} \(\d\.\d{3}(?: to \d\.\d{3})?\)")


def test_every_estimate_of_the_page_stands_in_the_card() -> None:
    card, page = (path.read_text() for path in (CARD, ROOT / "docs" / "dementia.md"))
    tested = page.partition("## What it was tested on")[2].partition("\n## ")[0]
    found = ESTIMATE.findall(tested)
    assert len(found) > 10
    assert [one for one in found if one not in card] == []
    for value in re.findall(r"(\d+) people, (\d+) with CDR > 0, aged (\d+) to (\d+)", page)[0]:
        assert value in card
