"""The 3D view: NiiVue (BSD-2-Clause, served from `app/vendor`) in a Streamlit component, where WebGL2 is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from app.routes import BASE

HERE = Path(__file__).parent
LIBRARY = "niivue-0.69.0.js"  # dist/niivue.umd.js of the npm package, unchanged
_LOADER = """
export default async function (component) {
  const address = new URL("%s/script/render_component/main.js", window.location.origin)
  const render = await import(address.href)
  return render.default(component)
}
"""


def render(token: str, key: str) -> Any:
    """Show a case in three dimensions; its images are loaded when the view is first seen."""
    component = st.components.v2.component(
        "lnn_med_render", css=(HERE / "render.css").read_text(), js=_LOADER % BASE, isolate_styles=True
    )
    data = {"address": f"{BASE}/case/{token}", "library": f"{BASE}/script/vendor/{LIBRARY}"}
    return component(key=key, data=data)
