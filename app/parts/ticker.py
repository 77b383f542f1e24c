"""A clock for pages that wait for a job: one tick a run, and the next only after that run was shown.

Streamlit's own timed fragments may fire into a change of page and leave it blank; here no tick can be on
its way while a page runs.
"""

from __future__ import annotations

import itertools

import streamlit as st

PAUSE_MS = 900
_JS = """
export default function ({ data, setTriggerValue }) {
  const timer = setTimeout(() => setTriggerValue("tick", data.count), data.pause)
  return () => clearTimeout(timer)
}
"""
_counter = itertools.count()


def run_again_soon(key: str) -> None:
    """Run the whole page once more after a pause."""
    component = st.components.v2.component("lnn_med_ticker", js=_JS)
    component(key=f"ticker-{key}", data={"count": next(_counter), "pause": PAUSE_MS}, on_tick_change=_nothing)


def _nothing() -> None:
    """Streamlit wants a callback for each value that a component sends."""
