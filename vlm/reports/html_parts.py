"""Pages that fetch nothing, and their parts, from one template; text from data is escaped there."""

from __future__ import annotations

import base64
import hashlib
import platform
import re
import shlex
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

from redundancy.optional_imports import optional_import

_WIDE = 1100  # pixels of a figure of several panels, which is scrolled on a narrow page instead of shrunk
_HEADING = re.compile(r"<h2>(.*?)</h2>", re.DOTALL)


class Figure(NamedTuple):
    """A PNG file and its caption."""

    path: Path
    caption: str


class Heading(NamedTuple):
    """The heading of a column, and its cells' class: "" for numbers."""

    text: str
    kind: str


class _Section(NamedTuple):
    name: str
    heading: Any
    parts: Any


def document(
    title: str,
    body: Iterable[str],
    *,
    made: Mapping[str, str] | None = None,
    scripts: Sequence[str] = (),
) -> str:
    """A whole page from a title (text) and a body (HTML): what precedes the first ``<h2>`` opens the page.

    The headings ``<h2>`` divide the rest and are its table of contents. The page ends with how it was made: by default
    date, command and device of this process, with `made` in place of or beside them.
    """
    opening, *rest = _HEADING.split("".join(body))
    pairs = zip(rest[::2], rest[1::2], strict=True)
    sections = [_Section(f"section-{n}", _markup(head), _markup(parts)) for n, (head, parts) in enumerate(pairs, 1)]
    facts = {name: value for name, value in {**_made(), **(made or {})}.items() if value}
    return str(_parts().page(title, _markup(opening), sections, list(facts.items()), list(scripts)))


def heading(text: str) -> str:
    """The heading of a section, for :func:`document`."""
    return f"<h2>{_escaped(text)}</h2>"


def subheading(text: str) -> str:
    """The heading of a part of a section."""
    return f"<h3>{_escaped(text)}</h3>"


def title(text: str) -> str:
    """The heading of a page."""
    return f"<h1>{_escaped(text)}</h1>"


def lead(text: str) -> str:
    """The first sentences of a page."""
    return f'<p class="lead">{_escaped(text)}</p>'


def figures(images: Iterable[Figure]) -> str:
    """Figures with their captions, side by side where there is room."""
    parts = [figure(path, caption) for path, caption in images]
    return side_by_side(parts) if parts else ""


def figure(path: Path, caption: str) -> str:
    """A PNG file embedded in the page; the caption is also its alternative text."""
    return pictured([path.read_bytes()], caption, alternative=caption)


def pictured(pictures: Sequence[bytes], caption: str, *, alternative: str) -> str:
    """PNG data over one caption, such as a question's pictures."""
    sources = [f"data:image/png;base64,{base64.b64encode(data).decode()}" for data in pictures]
    wide = any(int.from_bytes(data[16:20], "big") > _WIDE for data in pictures)  # the width in a PNG file's header
    return str(_parts().figure(sources, caption, alternative, wide))


def side_by_side(parts: Iterable[str]) -> str:
    """Figures (HTML) beside each other where there is room."""
    return str(_parts().figures(_markup("".join(parts))))


def paragraph(text: str) -> str:
    """Text as a paragraph."""
    return str(_parts().paragraph(text))


def bullets(items: Iterable[str]) -> str:
    """Texts as a bulleted list."""
    return str(_parts().bullets(list(items)))


def numbered(items: Iterable[str]) -> str:
    """Texts as a list numbered from 0, as layers are."""
    return str(_parts().numbered(list(items)))


def copied(text: str) -> str:
    """Lines to copy, with a button that does it."""
    return str(_parts().copied(text))


def folded(summary: str, parts: Iterable[str]) -> str:
    """Parts (HTML) that are shown when their summary (text) is opened."""
    return str(_parts().folded(summary, _markup("".join(parts))))


def table_markup(
    head: Sequence[Heading],
    groups: Iterable[tuple[str | None, Iterable[Sequence[str]]]],
    *,
    caption: str = "",
    same: str = "",
) -> str:
    """A table from texts: rows in groups, whose first cell is the row's heading."""
    return str(_parts().table(list(head), groups, caption, same))


def link(target: str, text: str) -> str:
    """A link to another file beside the page."""
    return str(_parts().link(target, text))


def viewer(plans: Sequence[str], sets: Sequence[tuple[str, int]], shows: Mapping[str, str]) -> str:
    """The controls of a page of questions, which `viewer.js` runs."""
    return str(_parts().viewer(list(plans), list(sets), dict(shows)))


@cache
def _parts() -> Any:
    """The template's macros."""
    jinja2 = optional_import("jinja2", extra="vlm", purpose="writing HTML pages")
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("vlm.reports", "templates"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["integrity"] = _integrity
    return environment.get_template("page.html.jinja").module


def _integrity(script: str) -> str:
    """The digest by which a page allows its own script and no other."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def _markup(text: str) -> Any:
    return optional_import("markupsafe", extra="vlm", purpose="writing HTML pages").Markup(text)


def _escaped(text: str) -> str:
    return str(optional_import("markupsafe", extra="vlm", purpose="writing HTML pages").escape(text))


def _made() -> dict[str, str]:
    """Date, command and device of this process; a GPU's name where torch is in use."""
    name, *arguments = sys.argv or [""]
    package = Path(name).parent.name if Path(name).name == "__main__.py" else ""
    command = ["python", "-m", package, *arguments] if package else [Path(name).name, *arguments]
    torch = sys.modules.get("torch")
    gpu = torch.cuda.get_device_name() if torch is not None and torch.cuda.is_available() else ""
    return {
        "Written": datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        "Command": shlex.join(command),
        "Device": gpu or f"processor ({platform.machine()})",
        "System": f"{platform.system()} {platform.release()}, Python {platform.python_version()}",
    }
