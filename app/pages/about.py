"""What the networks are, what the keys do, what is kept."""

from __future__ import annotations

import streamlit as st

from app.bundles import cards
from app.hub import hub
from app.parts import html
from app.parts.session import owner, person
from lnn_med.console import RESEARCH_USE
from lnn_med.scoring.models import package_version

KEPT = "Verdicts and edited labels stay in the folder that this server was given, under the scan's hash."
GONE = "So are verdicts and edited labels."

server = hub()
owner()
person()
st.header("About", anchor=False)
html.show(
    f"<p>LNN-Med {html.text(package_version())}. {html.text(RESEARCH_USE)}</p>"
    f"<p>Uploads, results and images of a session lie in a private folder of this machine and are "
    f"deleted after {server.settings.keep_seconds / 60:.0f} minutes without use and when the server stops. "
    f"{KEPT if server.readings else GONE} Nothing is sent anywhere.</p>"
)
st.subheader("Model cards", anchor=False)
for name, card in cards().items():
    with st.expander(name):
        st.markdown(card)
st.subheader("Keys in the images", anchor=False)
html.show(
    "<p>Click a plane, or reach it with Tab; the button “Keys” above the images lists what each key does.</p>"
)
