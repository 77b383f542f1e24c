"""The drop area: files go to the server's own upload address one by one, counted there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from app.routes import BASE

HERE = Path(__file__).parent
_LOADER = """
export default async function (component) {
  const address = new URL("%s/script/upload_component/main.js", window.location.origin)
  const upload = await import(address.href)
  return upload.default(component)
}
"""


def upload(token: str, key: str, limits: dict[str, int]) -> dict[str, Any] | None:
    """Let the user give files for an empty case; {"token", "files", "name"} once all have arrived.

    `limits` (files, file_bytes, total_bytes) spare the user the sending; the server counts for itself.
    """
    component = st.components.v2.component(
        "lnn_med_upload", css=(HERE / "upload.css").read_text(), js=_LOADER % BASE, isolate_styles=True
    )
    data = {"address": f"{BASE}/upload/{token}", "token": token, "limits": limits}
    answer = component(key=key, data=data, on_uploaded_change=lambda: None)
    return answer.get("uploaded")
