"""The report as one HTML file: no script, nothing fetched, readable in light, dark and print."""

from __future__ import annotations

import base64
from pathlib import Path

from lnn_med.evaluation.report.sections.pages import Page

TEMPLATES = Path(__file__).parent / "templates"
TEMPLATE = "report.html.j2"


def render_html(page: Page) -> bytes:
    """The whole page; all text is escaped by the template engine."""
    import jinja2

    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    figures = {key: _data("image/svg+xml", svg.encode()) for key, svg in page.figures.items()}
    pictures = {name: _data("image/png", png) for name, png in page.pictures.items()}
    text = environment.get_template(TEMPLATE).render(page=page, figures=figures, pictures=pictures)
    return text.encode()


def _data(kind: str, content: bytes) -> str:
    """A picture inside the page; as an image, an SVG cannot run or fetch anything."""
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"
