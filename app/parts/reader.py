"""The reader's verdict: accept, accept with edited labels, or reject; stored with time and user."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import streamlit as st

from app.auth import Person
from app.edit_task import RESULT_EDITED, StoreEdit
from app.edits import pending
from app.hub import Hub
from app.jobs import HEAVY, BusyError
from app.parts import html
from app.parts.ticker import run_again_soon
from app.parts.volumes import edit_table
from app.routes import READER_FILE
from app.store import Case
from lnn_med.io.result_files import RESULT
from lnn_med.io.tabular import write_json

ACCEPT, EDIT, REJECT = "accept", "edit", "reject"
WORDS = {ACCEPT: "Accept the result", EDIT: "Accept with my edit", REJECT: "Reject the result"}
DONE = {ACCEPT: "Accepted", EDIT: "Accepted with edited labels", REJECT: "Rejected"}
MAX_REASON = 1000


def verdict_of(case: Case) -> dict[str, Any] | None:
    """The last stored verdict, or None."""
    path = case.folder / READER_FILE
    return json.loads(path.read_bytes()) if path.is_file() else None


def section(server: Hub, case: Case, user: Person) -> None:
    """Show the verdict and let the reader give one."""
    before = verdict_of(case)
    if before:
        st.success(f"{DONE[before['decision']]} by {before['user']} at {before['ts_utc']}.")
    if before and before["decision"] == EDIT:
        original, edited = (
            json.loads(path.read_bytes()) for path in (case.out / RESULT, case.folder / RESULT_EDITED)
        )
        html.show(edit_table(original, edited))
    if "storing" in st.session_state:
        _wait(server, case)
    edits = pending(case.folder)
    with st.form(f"reader-{case.token}"):
        options = [word for word in WORDS if word != EDIT or edits]
        at = options.index(EDIT) if edits else 0
        decision = st.radio("Verdict", options, index=at, format_func=WORDS.__getitem__, horizontal=True)
        html.show(f'<p class="quiet">{_hint(edits)}</p>')
        reason = st.text_input("Reason (needed to reject; no names of patients)", max_chars=MAX_REASON)
        if st.form_submit_button("Store the verdict"):
            if decision == REJECT and not reason.strip():
                st.error("Say why the result is rejected.")
            else:
                _store(server, case, user, decision, reason.strip())
                st.rerun()


def _hint(edits: Mapping[str, int]) -> str:
    if not edits:
        return "To edit labels: “Edit” above the images, paint, hand over."
    return "Handed over: " + ", ".join(f"{count} voxels of {name}" for name, count in edits.items())


def _store(server: Hub, case: Case, user: Person, decision: str, reason: str) -> None:
    entry = {
        "decision": decision,
        "reason": reason,
        "user": user.name,
        "ts_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "result_sha256": _sha256(case.out / RESULT),
    }
    if decision != EDIT:
        _keep(server, case, entry)
        return
    task = StoreEdit(str(case.out), str(case.folder), entry)
    try:
        job = server.jobs.submit(case.owner, HEAVY, task, lambda answer: _keep(server, case, answer))
    except BusyError as error:
        st.warning(str(error))
        return
    st.session_state["storing"] = job.token


def _keep(server: Hub, case: Case, entry: Mapping[str, Any]) -> None:
    """Write the verdict and its line in the audit log."""
    path = case.folder / READER_FILE
    before = _sha256(path)
    write_json(path, entry)
    action = f"verdict: {entry['decision']}"
    server.audit.write(entry["user"], action, str(entry["result_sha256"]), before=before, after=_sha256(path))


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


def _sha256(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
