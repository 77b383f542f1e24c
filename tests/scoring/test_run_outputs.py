"""What a run leaves beside its cases: typed table, page for people, BIDS layout."""

from __future__ import annotations

import json
import os
from html.parser import HTMLParser
from pathlib import Path

import pyarrow
import pytest
from pyarrow import parquet

from lnn_med.io.tabular import write_csv
from lnn_med.scoring.bids import places
from lnn_med.scoring.charts import histogram
from lnn_med.scoring.manifest import Scan
from lnn_med.scoring.runner import score
from lnn_med.scoring.summary import SUMMARY_FILE
from tests.scoring.fakes import FakeModels, write_head
from tests.scoring.test_runner import table

HOSTILE = "<img src=x onerror=alert(1)>&amp;.nii"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four good scans, two of them with BIDS names, one that is refused, one with a hostile name."""
    folder = tmp_path_factory.mktemp("study")
    scans = folder / "scans"
    write_head(scans / "sub-01" / "ses-2" / "anat" / "sub-01_ses-2_run-1_T1w.nii.gz")
    write_head(scans / "sub-02" / "anat" / "sub-02_T1w.nii.gz", 1)
    for number, name in enumerate(["plain name.nii", HOSTILE, os.fsdecode(b"fov\xff<b>.nii")]):
        write_head(scans / name, number)
    people = [{"case": "sub-02_T1w", "age": "71.5"}, {"case": "plain name", "age": "n/a"}]
    write_csv(folder / "people.csv", people, ["case", "age"])
    models = FakeModels(folder / "log.txt")
    score(scans, folder / "run", models, workers=0, table=folder / "people.csv", bids=True)
    return folder / "run"


def test_parquet_holds_the_rows_of_the_csv_with_types(run: Path) -> None:
    found = parquet.read_table(run / "scores.parquet")
    rows = table(run / "scores.csv")
    assert found.column_names == list(rows[0])
    types = {field.name: field.type for field in found.schema}
    assert types["case"] == types["models"] == pyarrow.string()
    assert types["Hippocampus_L_mm3"] == types["age"] == types["seconds"] == pyarrow.float64()
    volumes = found.column("Hippocampus_L_mm3").to_pylist()
    assert [str(value) for value in volumes] == [row["Hippocampus_L_mm3"] for row in rows]
    ages = dict(zip(found.column("case").to_pylist(), found.column("age").to_pylist(), strict=True))
    assert sorted(ages.values(), key=str) == [71.5, None, None, None]


class Page(HTMLParser):
    """Collects what could run or load something, and the texts."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.links: list[str] = []
        self.texts: list[str] = []

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.links += [name for name, _ in attributes if name in ("src", "href") or name.startswith("on")]

    def handle_data(self, data: str) -> None:
        self.texts.append(data)


def test_page_is_self_contained_and_shows_names_literally(run: Path) -> None:
    text = (run / SUMMARY_FILE).read_text(encoding="utf-8")
    page = Page()
    page.feed(text)
    assert not page.tags & {"script", "img", "link", "iframe", "b>"}
    assert not page.links
    assert "prefers-color-scheme: dark" in text
    assert "default-src 'none'" in text
    words = " ".join(page.texts)
    assert "E_FOV" in words
    assert "fov\\udcff<b>.nii" in words or "fov\\xff<b>.nii" in words
    assert "4" in page.texts  # done
    assert "Research use only" in words
    assert "Hippocampus_L@" not in words
    assert text.count("<svg") >= 4


def test_histogram_says_what_it_shows_and_bears_odd_values() -> None:
    drawn = histogram("volume <x>", [1.0, 2.0, 2.0, float("nan"), float("inf")], "mm³")
    assert "3 scans, median 2 mm³" in drawn
    assert "<x>" not in drawn
    assert "nan" not in histogram("same", [5.0, 5.0], "s")
    assert histogram("none", [], "s") == ""


def test_bids_layout_follows_the_names_of_the_scans(run: Path) -> None:
    root = run / "derivatives" / "lnn-med"
    description = json.loads((root / "dataset_description.json").read_text())
    assert description["DatasetType"] == "derivative"
    stem = root / "sub-01" / "ses-2" / "anat" / "sub-01_ses-2_run-1_desc-lnnmed_dseg"
    assert Path(f"{stem}.tsv").read_text() == "index\tname\n1\tHippocampus_L\n"
    original = run / "cases" / "sub-01_ses-2_anat_sub-01_ses-2_run-1_T1w" / "segmentation.nii.gz"
    assert Path(f"{stem}.nii.gz").read_bytes() == original.read_bytes()
    assert len(list(root.glob("sub-*/**/*_dseg.nii.gz"))) == 4
    volumes = (root / "sub-02" / "anat" / "sub-02_desc-lnnmed_volumes.tsv").read_text().splitlines()
    assert volumes[0].startswith("name\tside\tbundle\tvolume_mm3")
    assert volumes[2].split("\t")[3:5] == ["1.2", "n/a"]


def test_scans_that_share_a_bids_name_get_places_of_their_own() -> None:
    scans = [
        Scan(case, path, "nifti", None, (path,))
        for case, path in (
            ("a_sub-01_T1w", "a/sub-01_T1w.nii.gz"),
            ("b_sub-01_T1w", "b/sub-01_T1w.nii.gz"),
            ("x-1", "x-1.nii"),
            ("x_1", "x_1.nii"),
        )
    ]
    found = places(scans)
    assert len({prefix for _, prefix in found}) == 4
    assert all(prefix.removeprefix("sub-").isalnum() for _, prefix in found)
