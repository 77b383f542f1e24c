"""The reader's verdict: accept, accept with edited labels, or reject; stored with time and user."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import streamlit as st

from app.auth import Person
from app.edit_task import RESULT_EDITED, StoreEdit
from app.edits import pending
from app.hub import Hub
from app.jobs import HEAVY, BusyError
from app.parts import html
from app.parts.numbers import count_text
from app.parts.ticker import run_again_soon
from app.parts.volumes import edit_table
from app.readings import (
    ACCEPT,
    EDIT,
    READER_FILE,
    REJECT,
    Reading,
    judged,
    label_hashes,
    sha256_of,
    verdict_of,
)
from app.store import Case
from app.work import describe
from lnn_med.errors import InputError
from lnn_med.io.tabular import write_json
from lnn_med.scoring.audit import object_of

WORDS = {ACCEPT: "Accept the result", EDIT: "Accept with my edit", REJECT: "Reject the result"}
DONE = {ACCEPT: "Accepted", EDIT: "Accepted with edited labels", REJECT: "Rejected"}
MAX_REASON = 1000
SESSION_ONLY = (
    "Verdicts go with this session. Started with <code>--readings FOLDER</code>, the viewer keeps them and "
    "lists them when the same scan is opened again."
)


def section(server: Hub, case: Case, user: Person, record: Mapping[str, Any]) -> None:
    """Show what was said about the scan, and let the reader give a verdict; `record` is the model's."""
    before = verdict_of(case)
    if before:
        who = html.markdown(before["user"])
        st.success(f"{DONE[before['decision']]} by {who} at {_time(before)} UTC.")
    if before and before["decision"] == EDIT:
        html.show(edit_table(record, json.loads((case.folder / RESULT_EDITED).read_bytes())))
    if server.readings is None:
        html.show(f'<p class="quiet">{SESSION_ONLY}</p>')
    elif found := server.readings.of(record["input"]["sha256"], user):
        html.show(_history(found, label_hashes(case)))
    if "storing" in st.session_state:
        _wait(server, case)
    edits = pending(case.folder)
    with st.form(f"reader-{case.token}"):
        options = [word for word in WORDS if word != EDIT or edits]
        at = options.index(EDIT) if edits else 0
        decision = st.radio("Verdict", options, index=at, format_func=WORDS.__getitem__, horizontal=True)
        html.show(f'<p class="quiet">{_hint(edits)}</p>')
        fresh = f"reason-{case.token}-{before['ts_utc'] if before else ''}"  # empty after each verdict
        reason = st.text_input("Reason (needed to reject; no names of patients)", "", MAX_REASON, fresh)
        if st.form_submit_button("Store the verdict"):
            if decision == REJECT and not reason.strip():
                st.error("Say why the result is rejected.")
            else:
                _store(server, case, user, decision, reason.strip())


def _history(found: list[Reading], labels: Mapping[str, Any]) -> str:
    """All verdicts on this scan, newest first, each with the labels that it was about."""
    cells = []
    for one in (reading.entry for reading in found):
        models = ", ".join(f"{model['bundle']} {model['version']}" for model in one["model"])
        about = "as shown" if one["labels_sha256"] == labels else f"others ({models})"
        voxels = sum(one.get("edit", {}).get("changed_voxels", {}).values())
        verdict = DONE[one["decision"]] + (f", {count_text(voxels)} voxels" if voxels else "")
        cells.append(tuple(map(html.text, (_time(one), one["user"], verdict, one["reason"], about))))
    head = ("Time (UTC)", "Reader", "Verdict", "Reason", "Labels")
    return html.table("Verdicts on this scan", head, cells, words=(1, 2, 3, 4))


def _time(entry: Mapping[str, Any]) -> str:
    return str(entry["ts_utc"])[: len("2026-01-31 12:00:00")].replace("T", " ")


def _hint(edits: Mapping[str, int]) -> str:
    if not edits:
        return "To edit labels: “Edit” above the images, paint, hand over."
    return "Handed over: " + ", ".join(
        f"{count_text(count)} voxels of {name}" for name, count in edits.items()
    )


def _store(server: Hub, case: Case, user: Person, decision: str, reason: str) -> None:
    entry = judged(case, user, decision, reason)
    if decision != EDIT:
        try:
            _keep(server, case, entry)
        except InputError as error:
            html.problem(describe(error))
        else:
            st.rerun()
        return
    task = StoreEdit(str(case.out), str(case.folder), str(case.view), case.facts, entry)
    try:
        job = server.jobs.submit(case.owner, HEAVY, task, lambda answer: _keep(server, case, answer))
    except BusyError as error:
        st.warning(str(error))
        return
    st.session_state["storing"] = job.token
    st.rerun()


def _keep(server: Hub, case: Case, entry: Mapping[str, Any]) -> None:
    """Write the verdict, where it stays and for this session, and its line in the audit log."""
    path = case.folder / READER_FILE
    before = sha256_of(path)
    if server.readings is not None:
        server.readings.keep(case, entry)
    write_json(path, entry)
    scan = object_of("scan", entry["scan_sha256"])
    server.audit.write(entry["user"], f"verdict: {entry['decision']}", scan, "", before, sha256_of(path))


def _wait(server: Hub, case: Case) -> None:
    """Show that an edit is being written, until it is."""
    job = server.jobs.find(st.session_state["storing"], case.owner)
    if job is not None and job.open:
        st.info(f"{job.stage} …", icon=":material/hourglass:")
        run_again_soon("edit")
        return
    del st.session_state["storing"]
    if job is not None and job.error is not None:
        html.problem(job.error)
    else:
        st.rerun()
