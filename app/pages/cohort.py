"""A finished run: its table with filters, distribution and outliers; a click opens the case."""

from __future__ import annotations

from typing import Any

import pandas as pd
import streamlit as st

from app.hub import hub
from app.parts import html
from app.parts.numbers import as_shown, column_text, count_text
from app.parts.runs import Run, files_of, numeric_columns, plain, runs_of
from app.parts.session import look_at, owner, person, start
from app.parts.ticker import run_again_soon
from app.work import Open
from lnn_med.evaluation.outliers import histogram, outliers

server, me, user = hub(), owner(), person()
SHOWN = 200  # rows; narrower filters show the others


def main() -> None:
    """The page."""
    st.header("Cohort", anchor=False)
    runs = {run.name: run for run in runs_of(server.settings.runs, user)}
    if not runs:
        st.write("No run can be opened. Start the viewer with `lnn-med view --runs FOLDER`; FOLDER holds the "
                 "runs of `lnn-med score`.")  # fmt: skip
        return
    if "opening" in st.session_state:
        _opening()
    run = runs[st.selectbox("Run", list(runs))]
    scores = run.scores()
    _counts(run, scores)
    chosen = _filtered(scores)
    left, right = st.columns([3, 2], gap="large")
    with right:
        column = _distribution(chosen)
    with left:
        _table(run, chosen, column)


def _counts(run: Run, scores: pd.DataFrame) -> None:
    failures = run.failures()
    counts = scores["qc"].value_counts().to_dict() if "qc" in scores else {}
    entries: list[tuple[str, Any]] = [
        ("Measured", count_text(len(scores))),
        ("Failed to read", count_text(len(failures))),
    ]
    entries += [
        (f"QC {status.upper()}", count_text(counts.get(status, 0))) for status in ("pass", "review", "fail")
    ]
    html.show(html.facts(entries))
    if len(failures):
        with st.expander(f"Not measured: {count_text(len(failures))}"):
            columns = ("case", "code", "message", "remedy")
            cells = [
                tuple(html.text(as_shown(plain(row[name]))) for name in columns)
                for _, row in failures.iterrows()
            ]
            html.show(html.table("", ("Case", "Code", "Found", "What to do"), cells, words=(1, 2, 3)))


def _filtered(scores: pd.DataFrame) -> pd.DataFrame:
    one, two = st.columns(2)
    known = sorted(scores["qc"].dropna().unique()) if "qc" in scores else []
    status = one.multiselect("QC", known, default=known)
    words = two.text_input("Case contains")
    chosen = scores[scores["qc"].isin(status)] if known else scores
    return chosen[chosen["case"].str.contains(words, case=False, regex=False)] if words else chosen


def _distribution(scores: pd.DataFrame) -> str | None:
    columns = numeric_columns(scores)
    if not columns:
        return None
    first = next((at for at, name in enumerate(columns) if name.startswith("Hippocampus_L")), 0)
    column = st.selectbox("Value", columns, index=first)
    bins = histogram(scores[column].dropna().to_numpy(dtype=float))
    largest = max((count for _, _, count in bins), default=1) or 1
    rows = []
    for low, high, count in bins:
        edges = f"{column_text(column, low)} to {column_text(column, high)}"
        rows.append((edges, count / largest, count_text(count)))
    html.show(html.bars(rows))
    return str(column)


def _table(run: Run, scores: pd.DataFrame, column: str | None) -> None:
    far = outliers(scores[column].to_numpy(dtype=float)) if column else [False] * len(scores)
    cut = f", the first {SHOWN} shown" if len(scores) > SHOWN else ""
    html.show(
        f'<p class="quiet">{count_text(len(scores))} cases{cut}; “far out” lies more than 1.5 interquartile '
        "ranges outside the middle half.</p>"
    )
    rows = list(zip(scores.iterrows(), far, strict=True))
    if st.checkbox(f"Only those far out ({count_text(sum(far))})", disabled=not any(far)):
        rows = [one for one in rows if one[1]]
    for (_, row), is_far in rows[:SHOWN]:
        name, value, flag, action = st.columns([4, 3, 3, 2], vertical_alignment="center")
        name.text(row["case"])
        value.text(column_text(column, row[column]) if column else "")
        flag.text(f"{str(row.get('qc', '')).upper()}{', far out' if is_far else ''}")
        if action.button("Show", key=f"open-{run.name}-{row['case']}"):
            _open(run, str(row["case"]))


def _open(run: Run, name: str) -> None:
    found = run.scan(name)
    if found is None:
        st.error("This case has no result.")
        return
    scan, folder = found
    case = server.store.new(me)
    case.name, case.out, case.study = f"{run.name}: {name}", run.result(name), run.name
    task = Open(
        str(folder / scan.path), files_of(scan, folder), scan.series_uid, str(case.out), str(case.view)
    )
    if start(server, case, task, (user, "opened")):
        st.session_state["opening"] = case.token
        st.rerun()


def _opening() -> None:
    """Wait for the images of a case, then show it."""
    case = server.store.find(st.session_state.get("opening", ""), me)
    job = server.jobs.find(case.job, me) if case else None
    if case is not None and case.result:
        del st.session_state["opening"]
        look_at(case)
        st.switch_page("pages/result.py")
    elif job is None or not job.open:
        st.session_state.pop("opening", None)
        if job is not None and job.error is not None:
            html.problem(job.error)
    else:
        st.info("Opening the case …", icon=":material/hourglass:")
        run_again_soon("cohort")


main()
