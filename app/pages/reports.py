"""Reports of `validate`: a table of what there is, and the report itself to save."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import streamlit as st

from app.hub import hub
from app.parts import html
from app.parts.session import owner, person

server, me, user = hub(), owner(), person()
REPORT, FORMATS = "report.json", {"report.html": "text/html", "report.pdf": "application/pdf"}
LARGEST_BYTES = 64 << 20


def main() -> None:
    """The page."""
    st.header("Validation reports", anchor=False)
    found = _reports()
    if not found:
        st.write("No report can be opened. `lnn-med validate RUN REFERENCE -o REPORT` writes one; put REPORT "
                 "into the folder that `lnn-med view --runs` names.")  # fmt: skip
        return
    folder = found[st.selectbox("Report", list(found))]
    content = json.loads((folder / REPORT).read_bytes())
    html.show(html.facts([(name, value) for name, value in _plain_entries(content)][:12]))
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


def _plain_entries(content: dict[str, Any]) -> list[tuple[str, Any]]:
    return [
        (name.replace("_", " "), value)
        for name, value in content.items()
        if isinstance(value, (str, int, float))
    ]


main()
