"""The page as PDF with the change since an earlier scan: made when one is chosen, then offered."""

from __future__ import annotations

import streamlit as st

from app.change_task import WriteChangePage, change_page_name
from app.hub import Hub
from app.jobs import LIGHT, BusyError
from app.parts import html
from app.parts.ticker import run_again_soon
from app.readings import is_edited
from app.store import Case
from app.work import can_write_pages

KEY = "change-page"  # of the session: name and job of the page that is being made


def change_page(server: Hub, case: Case, earlier: Case | None) -> str | None:
    """Name of the file in the case's folder; None without an earlier scan or while it is being made."""
    if earlier is None or not can_write_pages():
        return None
    edited = is_edited(case) or is_edited(earlier)
    name = change_page_name(case.out, earlier.out, edited)
    path = case.folder / name
    if path.is_file():
        return name
    making, token = st.session_state.get(KEY, ("", ""))
    job = server.jobs.find(token, case.owner) if making == name else None
    if job is None:
        task = WriteChangePage(str(case.out), str(earlier.out), edited, case.facts, str(path))
        try:
            job = server.jobs.submit(case.owner, LIGHT, task, lambda answer: None)
        except BusyError as error:
            st.warning(str(error))
            return None
        st.session_state[KEY] = (name, job.token)
    if job.error is not None:
        html.problem(job.error)
    else:
        html.show('<p class="quiet">The page with the change since the earlier scan is being prepared …</p>')
        run_again_soon(KEY)
    return None
