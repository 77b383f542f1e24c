"""The 3D view: NiiVue (BSD-2-Clause, served from `app/vendor`) in a Streamlit component, where WebGL2 is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.component import component
from app.routes import BASE

HERE = Path(__file__).parent
LIBRARY = "niivue-0.69.0.js"  # dist/niivue.umd.js of the npm package, unchanged


def render(token: str, key: str) -> Any:
    """Show a case in three dimensions; its images are loaded when the view is first seen."""
    data = {"address": f"{BASE}/case/{token}", "library": f"{BASE}/script/vendor/{LIBRARY}"}
    return component(HERE, "render.css")(key=key, data=data)
