"""Upload and choice of the series; beside them the scans that were given."""

from __future__ import annotations

from typing import Any

import streamlit as st

from app.hub import hub
from app.jobs import LIGHT, BusyError
from app.parts import html, scan_list
from app.parts.session import look_at, owner, person, start
from app.parts.ticker import run_again_soon
from app.store import Case
from app.upload_component import upload
from app.work import Inspect, Measure
from lnn_med.console import RESEARCH_USE

server, me, user = hub(), owner(), person()
LIMITS = {
    "files": server.settings.upload_files,
    "file_bytes": server.settings.upload_file_bytes,
    "total_bytes": server.settings.upload_total_bytes,
}


def main() -> None:
    """The page."""
    st.session_state["waiting"] = False
    watched = server.store.find(st.session_state.get("watching", ""), me)
    if watched is not None and watched.result:
        del st.session_state["watching"]
        look_at(watched)
        st.switch_page("pages/result.py")
    left, right = st.columns([3, 2], gap="large")
    with left:
        st.header("Measure a scan", anchor=False)
        html.show(f"<p>{html.text(RESEARCH_USE)} Files stay on this machine and are deleted after "
                  f"{server.settings.keep_seconds / 60:.0f} minutes without use.</p>")  # fmt: skip
        if "problem" in st.session_state:
            html.problem(st.session_state["problem"])
        case = _empty_case()
        if case.series:
            _choose(case)
        elif case.job:
            _looking(case.token)
        else:
            _drop_area(case)
    with right:
        st.header("Your scans", anchor=False)
        if scan_list.section(server, me):
            st.session_state["waiting"] = True
    if st.session_state["waiting"]:
        run_again_soon("scan")


def _empty_case() -> Case:
    """The case that the drop area fills; a new one once the last was sent off."""
    token = st.session_state.get("filling")
    case = server.store.find(token, me) if token else None
    if case is None:
        case = server.store.new(me)
        st.session_state["filling"] = case.token
    return case


def _start_over(error: dict[str, str] | None = None) -> None:
    case = server.store.find(st.session_state.pop("filling", ""), me)
    if case is not None:
        server.store.drop(case)
    st.session_state.pop("problem", None)
    if error is not None:
        st.session_state["problem"] = error
    st.rerun()


def _drop_area(case: Case) -> None:
    done = upload(case.token, f"upload-{case.token}", LIMITS)
    if not done or done.get("token") != case.token:
        return
    if done.get("error"):
        _start_over({key: str(done["error"].get(key, "")) for key in ("code", "message", "remedy")})
    case.name = str(done.get("name", ""))[:200]

    def keep(answer: dict[str, Any]) -> None:
        case.series = answer["series"]
        case.facts = {"scan": answer["scan"]}

    try:
        case.job = server.jobs.submit(me, LIGHT, Inspect(str(case.upload)), keep).token
    except BusyError as error:
        _start_over({"code": "E_RESOURCE", "message": str(error), "remedy": ""})
    st.session_state.pop("problem", None)
    st.rerun()


def _looking(token: str) -> None:
    """Wait until the upload has been looked into."""
    case = server.store.find(token, me)
    job = server.jobs.find(case.job, me) if case else None
    if job is None or job.error is not None:
        _start_over(job.error if job else None)
    elif not job.open:
        case.job = None  # type: ignore[union-attr]
        st.rerun()
    st.info("Looking into the files …", icon=":material/search:")
    st.session_state["waiting"] = True


def _choose(case: Case) -> None:
    """The table of series, the one to measure, and what is known about the person."""
    usable = [row for row in case.series if row["usable"]]
    if len(case.series) > 1 or not usable:
        _series_table(case.series)
    if not usable:
        html.problem(
            {
                "code": "E_SERIES",
                "message": "None of these series can be measured.",
                "remedy": "Give a T1 scan.",
            }
        )
        if st.button("Give other files"):
            _start_over()
        return
    chosen = next((at for at, row in enumerate(usable) if row["chosen"]), None)
    row = usable[0] if len(usable) == 1 else st.radio(
        "Series to measure", usable, index=chosen, format_func=_in_words
    )  # fmt: skip
    if row is None:
        st.info("Several series can be measured: choose one.")
        if st.button("Give other files"):
            _start_over()
        return
    if len(usable) == 1:
        html.show(f"<p><b>{html.text(case.name)}</b>: {html.text(_in_words(row))}</p>")
    with st.form("measure"):
        clinical = _clinical(row)
        go, cancel = st.columns(2)
        start = go.form_submit_button("Measure", type="primary", width="stretch")
        if cancel.form_submit_button("Give other files", width="stretch"):
            _start_over()
    if start:
        _submit(case, row, clinical)


def _series_table(rows: list[dict[str, Any]]) -> None:
    cells = [
        (
            html.text(row["description"] or "no description"),
            html.text(row.get("modality", "")),
            str(row["images"]),
            html.text(_times(row["shape"])),
            html.text(_times(row["spacing_mm"])),
            ("<b>will be used</b>: " if row["chosen"] else "") + html.text(row["reason"]),
        )
        for row in rows
    ]
    head = ("Series", "Kind", "Images", "Voxels", "Spacing, mm", "Use")
    html.show(html.table("Series found", head, cells, words=(1, 5)))


def _clinical(row: dict[str, Any]) -> dict[str, float | str]:
    """Age, sex and the like, as given; all optional."""
    one, two, three, four = st.columns(4)
    age = one.number_input("Age, years", 0.0, 120.0, value=_number(row.get("age")), step=1.0, placeholder="–")
    options = ["–", "F", "M"]
    sex_now = row.get("sex") if row.get("sex") in options else "–"
    sex = two.selectbox("Sex", options, index=options.index(sex_now or "–"))
    education = three.number_input("Education, years", 0.0, 40.0, value=None, step=1.0, placeholder="–")
    mmse = four.number_input("MMSE", 0.0, 30.0, value=None, step=1.0, placeholder="–")
    given = {"age": age, "sex": None if sex == "–" else sex, "education": education, "mmse": mmse}
    return {name: value for name, value in given.items() if value is not None}


def _submit(case: Case, row: dict[str, Any], clinical: dict[str, float | str]) -> None:
    uid = row["series_uid"] if row["series_uid"] != "unknown" else None
    task = Measure(str(case.facts["scan"]), str(case.out), str(case.view), uid, clinical)
    if not start(server, case, task, (user, "measured")):
        return
    st.session_state.pop("filling", None)
    st.session_state.pop("problem", None)
    st.session_state["watching"] = case.token
    st.rerun()


def _in_words(row: dict[str, Any]) -> str:
    shape, spacing = _times(row["shape"]), _times(row["spacing_mm"])
    return f"{row['description'] or 'no description'}, {shape} voxels of {spacing} mm"


def _times(values: Any) -> str:
    return " × ".join(f"{value:.4g}" for value in values) if values else "–"


def _number(value: Any) -> float | None:
    return float(value) if value is not None else None


main()
