"""Reports of `validate`: make one of a run and a reference, see what there is, save it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import streamlit as st

from app.hub import hub
from app.jobs import HEAVY, BusyError
from app.parts import html
from app.parts.estimates import estimate_tables, report_facts
from app.parts.runs import Run, protocols_of, references_of, runs_of
from app.parts.session import owner, person
from app.parts.ticker import run_again_soon
from app.report_task import REPORT, MakeReport, next_folder

server, me, user = hub(), owner(), person()
FORMATS = {"report.html": "text/html", "report.pdf": "application/pdf", REPORT: "application/json"}
LARGEST_BYTES = 64 << 20
NO_PROTOCOL = "none: no endpoints, all estimates"


def main() -> None:
    """The page."""
    st.header("Validation reports", anchor=False)
    made, new = st.columns([3, 2], gap="large")
    with new:
        st.subheader("Make a report", anchor=False)
        if "reporting" in st.session_state:
            _wait()
        else:
            _choose(runs_of(server.settings.runs, user))
    with made:
        _show(_reports())


def _choose(runs: list[Run]) -> None:
    """Run, reference and protocol, as `lnn-med validate` takes them."""
    references = references_of(server.settings.runs)
    if not runs or not references:
        st.write(
            "This needs a run of `lnn-med score` and reference labels or diagnoses. Start the viewer with "
            "`lnn-med view --runs FOLDER`; put each reference into a folder below FOLDER/references, and "
            "protocols (YAML) beside them."
        )
        return
    with st.form("validate"):
        names = {run.name: run for run in runs}
        run = names[st.selectbox("Run", list(names))]
        reference = references[st.selectbox("Reference", list(references))]
        protocols = protocols_of(server.settings.runs)
        protocol = protocols.get(st.selectbox("Protocol", [NO_PROTOCOL, *protocols]))
        if st.form_submit_button("Compare and write the report", type="primary"):
            _start(run, reference, protocol)


def _start(run: Run, reference: Path, protocol: Path | None) -> None:
    out = next_folder(run.path)
    task = MakeReport(str(run.path), str(reference), str(out), str(protocol) if protocol else None)

    def keep(answer: dict[str, Any]) -> None:
        server.audit.write(user.name, "validated", f"{run.name}/{out.name}", answer["status"])

    try:
        st.session_state["reporting"] = server.jobs.submit(me, HEAVY, task, keep).token
    except BusyError as error:
        st.warning(str(error))
        return
    st.session_state["report"] = f"{run.name}/{out.name}"
    st.rerun()


def _wait() -> None:
    job = server.jobs.find(st.session_state["reporting"], me)
    if job is not None and job.open:
        st.info(f"{job.stage} …", icon=":material/hourglass:")
        if st.button("Cancel"):
            server.jobs.cancel(job)
        run_again_soon("report")
        return
    del st.session_state["reporting"]
    if job is not None and job.error is not None:
        html.problem(job.error)
        _choose(runs_of(server.settings.runs, user))
    else:
        st.rerun()


def _show(found: dict[str, Path]) -> None:
    if not found:
        st.write("No report can be opened. `lnn-med validate RUN REFERENCE -o REPORT` writes one; put REPORT "
                 "into the folder that `lnn-med view --runs` names.")  # fmt: skip
        return
    names = list(found)
    newest = st.session_state.get("report")
    chosen = st.selectbox("Report", names, index=names.index(newest) if newest in names else 0)
    folder = found[chosen]
    content = json.loads((folder / REPORT).read_bytes())
    top, below = estimate_tables(content)
    html.show(report_facts(content) + top)
    if below:
        with st.expander("Other structures", icon=":material/list:"):
            html.show(below)
    for name, kind in FORMATS.items():
        path = folder / name
        if path.is_file() and path.stat().st_size < LARGEST_BYTES:
            st.download_button(f"Save {name}", path.read_bytes(), name, kind, icon=":material/download:")


def _reports() -> dict[str, Path]:
    root = server.settings.runs
    if root is None:
        return {}
    places = sorted({path.parent for pattern in ("*", "*/*") for path in root.glob(f"{pattern}/{REPORT}")})
    named = {place.relative_to(root).as_posix(): place for place in places}
    return {name: place for name, place in named.items() if user.may_open(name.split("/")[0])}


main()
