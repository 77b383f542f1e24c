"""The image viewer: three linked planes on Canvas2D, as a Streamlit component without a build step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from app.routes import BASE

HERE = Path(__file__).parent
# Streamlit starts a component's script from a blob, which cannot import by a relative address.
_LOADER = """
export default async function (component) {
  const address = new URL("%s/script/viewer_component/main.js", window.location.origin)
  const viewer = await import(address.href)
  return viewer.default(component)
}
"""


def viewer(token: str, key: str, structures: dict[str, str] | None = None, **options: Any) -> Any:
    """Show the images of a case.

    Args:
        token: of a case whose images are written.
        key: of the widget.
        structures: for each structure name the volume in words, shown under the cursor.
        options: `second`, the token of a case to show beside it; `title`, a heading for screen readers.
    """
    component = st.components.v2.component(
        "lnn_med_viewer", css=(HERE / "viewer.css").read_text(), js=_LOADER % BASE, isolate_styles=True
    )
    data = {"address": f"{BASE}/case/{token}", "structures": structures or {}, **options}
    return component(key=key, data=data)
