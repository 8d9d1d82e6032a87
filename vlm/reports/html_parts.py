"""The parts of a self-contained HTML page, which fetches nothing; text from data is escaped."""

from __future__ import annotations

import base64
from collections.abc import Iterable
from html import escape
from pathlib import Path
from typing import NamedTuple

_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 84rem; margin: 2rem auto; padding: 0 1rem; color: #222 }
h1, h2, h3 { line-height: 1.2; overflow-wrap: anywhere } p, li { max-width: 50rem; overflow-wrap: anywhere }
table { border-collapse: collapse; font-size: 0.85rem; margin: 1rem 0 }
th, td { padding: 0.25rem 0.6rem; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap }
th { background: #f4f4f4 } .text { text-align: left }
td.long { white-space: normal; min-width: 16rem; overflow-wrap: anywhere }
.figures { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 28rem), 1fr)); gap: 1rem }
figure { margin: 1rem 0; max-width: 50rem } figcaption { font-size: 0.9rem; overflow-wrap: anywhere }
img { max-width: 100% } .scroll { overflow-x: auto } .lead { font-size: 1.1rem }
"""


class Figure(NamedTuple):
    """A PNG file and its caption."""

    path: Path
    caption: str


def document(title: str, body: Iterable[str]) -> str:
    """A whole page from a title (text) and a body (HTML)."""
    return (
        "<!doctype html><html lang='en'><head><meta charset='utf-8'>"
        "<meta name='viewport' content='width=device-width'>"
        f"<title>{escape(title)}</title><style>{_STYLE}</style></head><body>{''.join(body)}</body></html>\n"
    )


def figures(images: Iterable[Figure]) -> str:
    """Figures with their captions, side by side where there is room."""
    return f"<div class='figures'>{''.join(figure(path, caption) for path, caption in images)}</div>"


def figure(path: Path, caption: str) -> str:
    """A PNG file embedded in the page; the caption is also its alternative text."""
    data = base64.b64encode(path.read_bytes()).decode()
    return (
        f"<figure><img alt='{escape(caption)}' src='data:image/png;base64,{data}'>"
        f"<figcaption>{escape(caption)}</figcaption></figure>"
    )


def paragraph(text: str) -> str:
    """Text as a paragraph."""
    return f"<p>{escape(text)}</p>"


def bullets(items: Iterable[str]) -> str:
    """Texts as a bulleted list."""
    return "<ul>" + "".join(f"<li>{escape(item)}</li>" for item in items) + "</ul>"
