"""The frame of every page: navigation, style, who may come in."""

from __future__ import annotations

from base64 import b64encode
from pathlib import Path

import streamlit as st

from app.hub import hub
from app.parts.html import STYLE
from app.parts.session import owner, person
from lnn_med.console import RESEARCH_USE

HERE = Path(__file__).parent
PAGES = HERE / "pages"
# Written out: a file of Streamlit's own store is gone when the browser asks for it late.
ICON = "data:image/png;base64," + b64encode((HERE / "icon.png").read_bytes()).decode()

st.set_page_config(page_title="LNN-Med", page_icon=ICON, layout="wide")
st.html(STYLE)
st.html(f'<div class="lnn-mark" role="note">{RESEARCH_USE}</div>')
user = person()
owner()
page = st.navigation(
    [
        st.Page(PAGES / "scan.py", title="Scan", icon=":material/upload:", default=True),
        st.Page(PAGES / "result.py", title="Result", icon=":material/radiology:"),
        st.Page(PAGES / "cohort.py", title="Cohort", icon=":material/groups:"),
        st.Page(PAGES / "reports.py", title="Reports", icon=":material/description:"),
        st.Page(PAGES / "self_test.py", title="Self-test", icon=":material/verified:"),
        st.Page(PAGES / "about.py", title="About", icon=":material/info:"),
    ],
    position="top",
)
page.run()
if hub().settings.auth == "oidc" and st.button("Sign out"):
    hub().store.forget(owner())
    st.logout()
