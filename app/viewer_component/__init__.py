"""The image viewer: three linked planes on Canvas2D, as a Streamlit component without a build step."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from app.component import component
from app.routes import BASE

HERE = Path(__file__).parent


def viewer(
    token: str,
    key: str,
    structures: dict[str, str] | None = None,
    second: str | None = None,
    titles: tuple[str, ...] = (),
    editable: bool = False,
    report: bool = False,
) -> Any:
    """Show the images of a case.

    Args:
        token: of a case whose images are written.
        key: of the widget.
        structures: for each structure name the volume in words, shown under the cursor.
        second: token of a case to show beside it, at the same place.
        titles: what stands above each of the two.
        editable: whether labels may be painted; the browser then hands edits over to the server.
        report: whether the answer's `arrived` says how many images arrived whole and are drawn.
    """
    data: dict[str, Any] = {
        "address": f"{BASE}/case/{token}",
        "structures": structures or {},
        "titles": titles,
    }
    if second:
        data["second"] = f"{BASE}/case/{second}"
    if report:
        data["report"] = True
    if editable:
        data["edit"] = f"{BASE}/edit/{token}"
    return component(HERE, "viewer.css")(
        key=key, data=data, on_edited_change=lambda: None, on_arrived_change=lambda: None
    )
