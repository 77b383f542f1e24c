"""Who looks at this page, and their cases."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app.auth import LOCAL, Person
from app.hub import Hub, hub
from app.jobs import HEAVY, BusyError
from app.readings import scan_sha256
from app.store import Case
from app.worker import Task
from lnn_med.scoring.audit import object_of


def owner() -> str:
    """Owner of this browser's cases; stops the page where the browser keeps no cookie."""
    found = hub().owner(st.context.cookies, st.context.headers)
    if found is None:
        st.error(
            "This page needs its session cookie. Allow cookies for this address and load the page again."
        )
        st.stop()
    return found


def person() -> Person:
    """The user of this page; stops it, with what to do, for anybody not known."""
    server = hub()
    if server.settings.auth == "none":
        return LOCAL
    if server.settings.auth == "oidc":
        if not st.user.is_logged_in:
            st.title("LNN-Med")
            st.write("Sign in to measure and read scans. Research use only.")
            if st.button("Sign in", type="primary"):
                st.login()
            st.stop()
        name = str(st.user.get("email") or st.user.get("sub") or "")
    else:
        name = st.context.headers.get(server.settings.user_header) or ""
    found = server.access.person(name)
    if found is None:
        st.error("Your name is not in the list of this server's users. Ask its administrator.")
        st.stop()
    server.store.sign_in(owner(), found.name)
    return found


def current_case() -> Case | None:
    """The case that is looked at: the chosen one, else the newest with a result."""
    server, me = hub(), owner()
    chosen = st.session_state.get("case")
    if chosen and (case := server.store.find(chosen, me)) is not None:
        return case
    finished = [case for case in server.store.of(me) if case.result]
    return server.store.find(finished[-1].token, me) if finished else None


def look_at(case: Case) -> None:
    """Make this the case that pages show."""
    st.session_state["case"] = case.token


def start(server: Hub, case: Case, task: Task, opening: tuple[Person, str] | None = None) -> bool:
    """Queue the task that gives a case its result; False, said on the page, where the queue is full.

    `opening`: who it is for and the action's name in the audit log; None leaves no trace (self-test).
    """

    def keep(answer: dict[str, Any]) -> None:
        if opening is not None:
            opened(server, case, *opening)
        case.facts, case.result = answer, True

    try:
        case.job = server.jobs.submit(case.owner, HEAVY, task, keep).token
    except BusyError as error:
        st.warning(str(error))
        return False
    return True


def opened(server: Hub, case: Case, user: Person, action: str) -> None:
    """Note that a case has got its result, and give it what was said about the scan before."""
    server.audit.write(user.name, action, object_of("scan", scan_sha256(case)))
    if server.readings is not None:
        server.readings.take_up(case, user)
