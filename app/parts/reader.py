"""The reader's verdict: accept, or reject with a reason; stored with time and user."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import streamlit as st

from app.auth import Person
from app.hub import Hub
from app.routes import READER_FILE
from app.store import Case
from lnn_med.io.result_files import RESULT
from lnn_med.io.tabular import write_json

ACCEPT, REJECT = "accept", "reject"
WORDS = {ACCEPT: "Accept the result", REJECT: "Reject the result"}
MAX_REASON = 1000


def verdict_of(case: Case) -> dict[str, Any] | None:
    """The last stored verdict, or None."""
    path = case.folder / READER_FILE
    return json.loads(path.read_bytes()) if path.is_file() else None


def section(server: Hub, case: Case, user: Person) -> None:
    """Show the verdict and let the reader give one."""
    before = verdict_of(case)
    if before:
        word = {ACCEPT: "Accepted", REJECT: "Rejected"}[before["decision"]]
        st.success(f"{word} by {before['user']} at {before['ts_utc']}.")
    with st.form(f"reader-{case.token}"):
        decision = st.radio("Verdict", list(WORDS), format_func=WORDS.__getitem__, horizontal=True)
        reason = st.text_input("Reason (needed to reject; no names of patients)", max_chars=MAX_REASON)
        if st.form_submit_button("Store the verdict"):
            if decision == REJECT and not reason.strip():
                st.error("Say why the result is rejected.")
            else:
                _store(server, case, user, decision, reason.strip())
                st.rerun()


def _store(server: Hub, case: Case, user: Person, decision: str, reason: str) -> None:
    result = _sha256(case.out / RESULT)
    before = _sha256(case.folder / READER_FILE)
    entry = {
        "decision": decision,
        "reason": reason,
        "user": user.name,
        "ts_utc": datetime.now(UTC).isoformat(timespec="seconds"),
        "result_sha256": result,
    }
    write_json(case.folder / READER_FILE, entry)
    after = _sha256(case.folder / READER_FILE)
    server.audit.write(user.name, f"verdict: {decision}", str(result), before=before, after=after)


def _sha256(path: Path) -> str | None:
    return hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
