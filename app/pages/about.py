"""What the networks are, what the keys do, what is kept."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

import lnn_med
from app.hub import hub
from app.parts import html
from app.parts.session import owner, person
from lnn_med.console import RESEARCH_USE
from lnn_med.scoring.models import package_version

CARD = "model_card.md"
BUNDLES = Path(lnn_med.__file__).parent / "bundles"

server = hub()
owner()
person()
st.header("About", anchor=False)
html.show(
    f"<p>LNN-Med {html.text(package_version())}. {html.text(RESEARCH_USE)}</p>"
    f"<p>Uploads, results and images of a session lie in a private folder of this machine and are "
    f"deleted after {server.settings.keep_seconds / 60:.0f} minutes without use and when the server stops. "
    "Nothing is sent anywhere.</p>"
)
st.subheader("Model cards", anchor=False)
for path in sorted(BUNDLES.glob(f"*/{CARD}")):
    with st.expander(path.parent.name):
        st.markdown(path.read_text(encoding="utf-8"))
st.subheader("Keys in the images", anchor=False)
html.show(
    "<p>Click a plane, or reach it with Tab; the button “Keys” above the images lists what each key does.</p>"
)
