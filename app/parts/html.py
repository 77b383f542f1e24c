"""Small pieces of HTML with everything from outside escaped, and the style that they share."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from html import escape
from typing import Any

import streamlit as st

from app.parts.numbers import as_shown

WIDE = 5  # columns from which a table scrolls in a narrow window, and so must be reached by the keyboard
# Inside a picture, which takes the browser's theme as the page does: ink on the page's own ground.
THEMED = """<style>
svg { color: #1b1b1b; } @media (prefers-color-scheme: dark) { svg { color: #ececec; } }
text { fill: currentColor; } rect[fill="#fff"] { fill: none; }
rect[fill="#d5d5d5"] { fill: currentColor; fill-opacity: 0.16; }
[stroke="#000"], [stroke="#333"] { stroke: currentColor; }
[stroke="#a00000"] { stroke: #e03131; } [fill="#a00000"] { fill: #e03131; }
</style>"""
STYLE = """<style>
.lnn { font-size: 0.95rem; line-height: 1.45; }
.lnn table { border-collapse: collapse; width: 100%; margin: 0.2rem 0 0.6rem;
  font-variant-numeric: tabular-nums; }
.lnn caption { text-align: left; font-weight: 600; padding: 0.2rem 0; }
.lnn th, .lnn td { border: 0; border-bottom: 1px solid color-mix(in srgb, currentColor 22%, transparent);
  padding: 0.2rem 0.5rem; text-align: right; vertical-align: baseline; }
.lnn th:first-child, .lnn td:first-child { text-align: left; }
.lnn tbody th { font-weight: 500; text-align: left; }
.lnn td.words, .lnn th.words { text-align: left; }
.lnn td .big { font-size: 1.15rem; font-weight: 650; white-space: nowrap; }
.lnn .quiet { font-size: 0.84rem; opacity: 0.85; }
.lnn .indent { padding-left: 1.2rem; }
.lnn .banner { border: 2px solid currentColor; border-radius: 8px; padding: 0.35rem 0.8rem;
  margin-bottom: 0.4rem; display: flex; flex-wrap: wrap; gap: 0.2rem 1.4rem; }
.lnn .facts { display: flex; flex-wrap: wrap; gap: 0.15rem 1.5rem; margin: 0.2rem 0; }
.lnn .facts b { font-weight: 600; }
.lnn .qc { border-left: 8px solid; border-radius: 4px; padding: 0.35rem 0.8rem; margin: 0.3rem 0; }
.lnn .qc-pass { border-color: #2e8b57; } .lnn .qc-review { border-color: #c98a00; border-left-style: double; }
.lnn .qc-fail { border-color: #c62828; border-left-style: dotted; }
.lnn .qc ul { margin: 0.1rem 0 0; padding-left: 1.2rem; }
.lnn .qc li { margin: 0; font-size: 0.92rem; }
.lnn .quiet li { margin: 0; font-size: inherit; }
.lnn p { margin: 0 0 0.5rem; }
.lnn .bars { display: grid; grid-template-columns: fit-content(55%) 1fr max-content;
  gap: 0.15rem 0.7rem; align-items: center; }
.lnn .bars .bar { height: 0.9rem; background: currentColor; opacity: 0.75; }
.lnn h3 { font-size: 1.05rem; padding: 0.4rem 0 0.1rem; margin: 0; }
.lnn code { font-size: 0.85em; overflow-wrap: anywhere; color: inherit; background: none; padding: 0; }
.lnn img.diagram { width: min(100%, 21rem); height: auto; }
.lnn img.plot { display: block; width: min(100%, 46rem); height: auto; }
.lnn .scroll { overflow-x: auto; }
.lnn-mark { position: fixed; inset: auto 0 0; z-index: 9; height: 1.5rem; line-height: 1.5rem;
  padding: 0 0.7rem; font-size: 0.8rem; text-align: right; white-space: nowrap; overflow: hidden;
  background: #1b1b1b; color: #fff; }
.stApp { bottom: 1.5rem; } /* the mark lies below the page, never on it */
.stApp [data-testid="stMain"] { height: calc(100dvh - 1.5rem); }
.stTabs [role="tab"][aria-selected="true"] p { color: light-dark(#1b1b1b, #ececec); }
.stMainBlockContainer { padding-top: 3.6rem; padding-bottom: 2rem; }
</style>"""


def show(content: str) -> None:
    """Put HTML on the page; what it holds from outside has to be escaped before."""
    st.html(f'<div class="lnn">{content}</div>')


def text(value: Any) -> str:
    """Anything as escaped text."""
    return escape(str(value))


def markdown(value: str) -> str:
    """Text without anything that markdown would take for itself."""
    return "".join(letter if letter.isalnum() or letter in " .-" else f"\\{letter}" for letter in value)


def table(caption: str, head: Sequence[str], rows: Sequence[Sequence[str]], words: Sequence[int] = ()) -> str:
    """A table; cells are HTML already, the first of a row is its heading. `words`: columns of text."""
    kind = [' class="words"' if column in words else "" for column in range(len(head))]
    top = "".join(f'<th scope="col"{kind[at]}>{escape(cell)}</th>' for at, cell in enumerate(head))
    body = "".join(
        f'<tr><th scope="row">{first}</th>'
        + "".join(f"<td{kind[at]}>{cell}</td>" for at, cell in enumerate(rest, start=1))
        + "</tr>"
        for first, *rest in rows
    )
    title = f"<caption>{escape(caption)}</caption>" if caption else ""
    reach = (
        f' tabindex="0" role="region" aria-label="{escape(caption) or "Table"}"' if len(head) >= WIDE else ""
    )
    inside = f"<table>{title}<thead><tr>{top}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="scroll"{reach}>{inside}</div>'


def facts(entries: Sequence[tuple[str, Any]]) -> str:
    """Name and value pairs in a line; empty values are left out."""
    shown = [(name, value) for name, value in entries if value not in (None, "")]
    return (
        '<div class="facts">'
        + "".join(f"<span>{escape(name)} <b>{text(value)}</b></span>" for name, value in shown)
        + "</div>"
    )


def bars(rows: Sequence[tuple[str, float, str]]) -> str:
    """Horizontal bars: words, share 0 to 1, and the number in words."""
    lines = "".join(
        f'<span>{text(name)}</span><span class="bar" style="width:{100 * share:.2f}%" aria-hidden="true">'
        "</span>"
        f"<span>{text(number)}</span>"
        for name, share, number in rows
    )
    return f'<div class="bars">{lines}</div>'


def picture(svg: str, words: str, kind: str) -> str:
    """An SVG in the theme's colours as `<img>`, which runs no script.

    Args:
        svg: drawn in the inks of THEMED, on white or on nothing.
        words: what it shows, for whoever does not see it.
        kind: its class of style.
    """
    opening, rest = svg.split(">", 1)
    data = base64.b64encode(f"{opening}>{THEMED}{rest}".encode()).decode()
    return f'<img class="{kind}" alt="{text(words)}" src="data:image/svg+xml;base64,{data}">'


def problem(error: dict[str, str]) -> None:
    """A refusal: what was found, what to do, and the code for whoever helps."""
    words = as_shown(f"**{error['message']}**\n\n{error['remedy']}\n\nCode {error['code']}")
    st.error(words.replace("$", "\\$"))
