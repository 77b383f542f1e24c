"""The scans of this browser: what runs, waits, is done or failed."""

from __future__ import annotations

import streamlit as st

from app.hub import Hub
from app.jobs import RUNNING, WAITING, Job
from app.parts import html
from app.parts.session import look_at
from app.store import Case


def section(server: Hub, me: str) -> bool:
    """List them with their buttons; whether one is still to be waited for."""
    mine = [case for case in server.store.of(me) if case.job or case.result]
    mine = [case for case in mine if case.token != st.session_state.get("filling")]
    if not mine:
        st.write("None yet.")
    waiting = False
    for case in reversed(mine):
        server.store.find(case.token, me)  # it was looked at
        job = server.jobs.find(case.job, me)
        with st.container(border=True):
            waiting |= _one(server, case, job)
    return waiting


def _one(server: Hub, case: Case, job: Job | None) -> bool:
    """One scan; whether it was shown as not done yet."""
    name, action = st.columns([3, 2], vertical_alignment="center")
    name.markdown(f"**{html.markdown(case.name)}**")
    if case.result:
        if action.button("Show result", key=f"show-{case.token}", width="stretch"):
            look_at(case)
            st.switch_page("pages/result.py")
        if action.button("Delete", key=f"drop-{case.token}", width="stretch"):
            server.store.drop(case)
            st.rerun()
    elif job is not None and job.open:
        _progress(server, job)
        if action.button("Cancel", key=f"cancel-{case.token}", width="stretch"):
            server.jobs.cancel(job)
            st.session_state.pop("watching", None)
            st.rerun()
        return True
    else:
        if job is not None and job.error is not None:
            html.problem(job.error)
        else:
            name.caption("Cancelled")
        if action.button("Remove", key=f"drop-{case.token}", width="stretch"):
            server.store.drop(case)
            st.rerun()
    return False


def _progress(server: Hub, job: Job) -> None:
    if job.state == WAITING:
        ahead = server.jobs.ahead_of(job)
        st.progress(0.0, text="Waiting: next in line" if not ahead else f"Waiting: {ahead} before it")
        return
    left, expected = job.seconds_left, job.expected_seconds
    share = 0.05 if left is None or not expected else min(0.97, 1 - left / expected)
    more = "" if left is None else f", about {max(1, round(left))} s left"
    if job.state == RUNNING:
        st.progress(share, text=f"{job.stage}{more}")
