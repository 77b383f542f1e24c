"""A built-in case proves that server, networks and browser give the stored answer."""

from __future__ import annotations

import json
from typing import Any

import streamlit as st

from app.hub import hub
from app.parts import html
from app.parts.session import owner, person, start
from app.parts.ticker import run_again_soon
from app.store import Case
from app.viewer_component import viewer
from app.work import SelfTest
from lnn_med.io.result_files import RESULT
from lnn_med.scoring.stored_answer import differing, stored_answer

server, me, user = hub(), owner(), person()


def main() -> None:
    """The page."""
    st.header("Self-test", anchor=False)
    st.write(
        "Measures the MNI152 template, which comes with the program, on the way that every scan takes. "
        "The volumes must be those that the shipped weights gave when they were stored."
    )
    case = server.store.find(st.session_state.get("self_test", ""), me)
    if case is None or st.button("Run it again", disabled=not case.result):
        if case is None and not st.button("Run the self-test", type="primary"):
            return
        case = _start()
    if case is None:
        return
    if case.result:
        _show(case)
    else:
        _wait(case.token)


def _start() -> Case | None:
    case = server.store.new(me)
    case.name = "Self-test: MNI152 template"
    if not start(server, case, SelfTest(str(case.upload), str(case.out), str(case.view))):
        return None
    st.session_state["self_test"] = case.token
    return case


def _wait(token: str) -> None:
    case = server.store.find(token, me)
    job = server.jobs.find(case.job, me) if case else None
    if case is not None and case.result:
        st.rerun()
    elif job is not None and job.open:
        st.info(f"{job.stage} …", icon=":material/hourglass:")
        run_again_soon("self-test")
    elif job is not None and job.error is not None:
        html.problem(job.error)


def _show(case: Case) -> None:
    outcome = st.container()
    answer = viewer(case.token, key=f"self-{case.token}", report=True)
    record = json.loads((case.out / RESULT).read_bytes())
    rows = [_server(case), _networks(record), _browser(answer.get("arrived"))]
    cells = [tuple(map(html.text, row)) for row in rows]
    with outcome:
        html.show(html.table("Outcome", ("Part", "Outcome", "Note"), cells, words=(1, 2)))


def _server(case: Case) -> tuple[str, str, str]:
    job = server.jobs.find(case.job, me)
    seconds = f" in {job.ended - job.began:.1f} s" if job is not None else ""
    return "Server", "passed", f"measured, written and read back{seconds}"


def _networks(record: dict[str, Any]) -> tuple[str, str, str]:
    answer = stored_answer(record)
    if answer is None:
        return "Networks", "not judged", "no answer is stored for these weights"
    if wrong := differing(record, answer):
        return "Networks", "FAILED", f"{len(wrong)} volumes differ, first {wrong[0]}"
    return "Networks", "passed", f"all {len(answer)} volumes are the stored ones"


def _browser(arrived: int | None) -> tuple[str, str, str]:
    if arrived is None:
        return "Browser", "waiting", "the images are on their way"
    if not arrived:
        return "Browser", "FAILED", "the images arrived, but nothing is drawn"
    return "Browser", "passed", f"{arrived} images arrived with the server's sums and are drawn"


main()
