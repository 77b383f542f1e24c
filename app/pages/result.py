"""One result, in the fixed order: who, banner, quality, numbers, images, depth, verdict, limits, hashes."""

from __future__ import annotations

import json
from typing import Any

import streamlit as st

from app.bundles import calibration_of
from app.hub import hub
from app.images import META
from app.parts import html, reader, sections, volumes
from app.parts.change import change_tables
from app.parts.change_page import change_page
from app.parts.downloads import downloads
from app.parts.reliability import calibration_panel
from app.parts.risk import risk_panel, risk_reasons
from app.parts.session import current_case, look_at, owner, person
from app.readings import is_edited
from app.render_component import render
from app.store import Case
from app.viewer_component import viewer
from lnn_med.io.result_files import RESULT

server, me, user = hub(), owner(), person()
EDITED_BY_READER = (
    "<b>Edited by reader:</b> the volumes after the edit stand under “Reader”; those here are the model's."
)


def main() -> None:
    """The page."""
    case = current_case()
    if case is None or not case.result:
        st.header("No result yet", anchor=False)
        st.write("Measure a scan first, or open one of a cohort.")
        if st.button("Measure a scan", type="primary"):
            st.switch_page("pages/scan.py")
        return
    _switcher(case)
    record = json.loads((case.out / RESULT).read_bytes())
    meta = json.loads((case.view / META).read_bytes())
    failed = record["qc"]["status"] == "fail"
    html.show(
        sections.identity(case.name, case.facts, record) + sections.banner(record) + sections.quality(record)
    )
    second = _second(case)
    numbers, images = (st.container(), st.container()) if second else st.columns([5, 7], gap="medium")
    with numbers:
        _numbers(case, record, second)
    with images:
        _images(case, second, {} if failed else volumes.in_few_words(record))
    _below(case, record, meta, failed, second)


def _switcher(case: Case) -> None:
    """Other results of this session, when there are several."""
    others = [one for one in server.store.of(me) if one.result]
    if len(others) < 2:
        return
    left, right = st.columns(2)
    names = {one.token: f"{at}. {one.name}" for at, one in enumerate(others, start=1)}
    tokens = list(names)
    chosen = left.selectbox("Result", tokens, index=tokens.index(case.token), format_func=names.__getitem__)
    if chosen != case.token:
        look_at(next(one for one in others if one.token == chosen))
        st.rerun()
    rest = ["", *(token for token in tokens if token != case.token)]
    right.selectbox(
        "Earlier scan, shown beside it at the same place",
        rest,
        key="second",
        format_func=lambda token: names.get(token, "nothing"),
    )


def _second(case: Case) -> Case | None:
    token = st.session_state.get("second")
    other = server.store.find(token, me) if token and token != case.token else None
    return other if other is not None and other.result else None


def _images(case: Case, second: Case | None, structures: dict[str, str]) -> None:
    planes, space = st.tabs(["Slices", "3D"])
    with planes:
        _planes(case, second, structures)
    with space:
        render(case.token, f"render-{case.token}")


def _planes(case: Case, second: Case | None, structures: dict[str, str]) -> None:
    key = f"viewer-{case.token}"
    if second is None:
        viewer(case.token, key, structures, editable=True)
    else:
        titles = (f"Now: {case.name}", f"Earlier: {second.name}")
        viewer(case.token, key, structures, second.token, titles, editable=True)


def _numbers(case: Case, record: dict[str, Any], earlier: Case | None) -> None:
    if record["qc"]["status"] == "fail":
        html.show("<p>The quality check failed, so no volume, interval or probability is shown.</p>")
        return
    if is_edited(case):
        html.show(f"<p>{EDITED_BY_READER}</p>")
    html.show(
        volumes.first_table(record)
        + volumes.measures_table(record)
        + volumes.reference_plot(record)
        + volumes.other_facts(record)
        + risk_panel(record)
    )
    reasons = risk_reasons(record)
    if reasons:
        with st.expander("What moved the number, and where", icon=":material/list:"):
            html.show(reasons)
    if earlier is None:
        html.show(volumes.no_change())
    else:
        before = json.loads((earlier.out / RESULT).read_bytes())
        shown, others = change_tables(record, before, is_edited(case) or is_edited(earlier))
        html.show(shown)
        if others:
            with st.expander("Change of the other structures", icon=":material/list:"):
                html.show(others)


def _below(
    case: Case, record: dict[str, Any], meta: dict[str, Any], failed: bool, second: Case | None
) -> None:
    if not failed:
        with st.expander("All structures", icon=":material/list:"):
            html.show(volumes.every_table(record))
        depth = next((layer for layer in meta["layers"] if layer["kind"] == "depth"), None)
        left, right = st.columns(2, gap="large")
        with left:
            st.subheader("Gate depth", anchor=False)
            html.show(sections.depth_panel(record, depth))
            with st.expander("Mean depth of each structure"):
                html.show(sections.depth_table(record))
    else:
        left, right = st.columns(2, gap="large")
    with right:
        st.subheader("Reader", anchor=False)
        reader.section(server, case, user, record)
    st.subheader("Calibration", anchor=False)
    _calibration(record, meta)
    st.subheader("Downloads", anchor=False)
    downloads(case, is_edited(case), change_page(server, case, second))
    one, two = st.columns(2, gap="large")
    with one:
        st.subheader("Limits", anchor=False)
        html.show(sections.limits())
        st.page_link("pages/about.py", label="Model cards", icon=":material/article:")
    with two:
        st.subheader("Identifiers", anchor=False)
        html.show(sections.identifiers(record))


def _calibration(record: dict[str, Any], meta: dict[str, Any]) -> None:
    """One panel for each network that labels; the maps hold the confidence of the one that sees all."""
    judges = {entry.get("bundle") for entry in record["classification"]}
    models = [model for model in record["model"] if model["bundle"] not in judges]
    depth: dict[str, Any] = next((layer for layer in meta["layers"] if layer["kind"] == "depth"), {})
    for at, (place, model) in enumerate(zip(st.columns(2, gap="large"), models, strict=False)):
        case, last = (meta["confidence"], depth.get("last_exit")) if at == 0 else ({}, None)
        with place:
            html.show(calibration_panel(model, calibration_of(model), case, last))


main()
