"""The drop area: files go to the server's own upload address one by one, counted there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.component import component
from app.routes import BASE

HERE = Path(__file__).parent


def upload(token: str, key: str, limits: dict[str, int]) -> dict[str, Any] | None:
    """Let the user give files for an empty case; {"token", "files", "name"} once all have arrived.

    `limits` (files, file_bytes, total_bytes) spare the user the sending; the server counts for itself.
    """
    data = {"address": f"{BASE}/upload/{token}", "token": token, "limits": limits}
    answer = component(HERE, "upload.css")(key=key, data=data, on_uploaded_change=lambda: None)
    return answer.get("uploaded")
