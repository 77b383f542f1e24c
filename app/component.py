"""Components of Streamlit without a build step: each is a folder with `main.js`, served by our own route."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from app.routes import BASE

# Streamlit starts a component's script from a blob, which cannot import by a relative address.
_LOADER = """
export default async function (component) {
  const address = new URL("%s", window.location.origin)
  const main = await import(address.href)
  return main.default(component)
}
"""


def component(folder: Path, style: str) -> Any:
    """The component in `folder`, as `viewer_component`, with its style sheet."""
    return st.components.v2.component(
        f"lnn_med_{folder.name.removesuffix('_component')}",
        css=(folder / style).read_text(),
        js=_LOADER % f"{BASE}/script/{folder.name}/main.js",
        isolate_styles=True,
    )
