r"""Mathematics and equation numbers of the Markdown pages.

The pages are written for a code host: ``$`...`$`` for formulas within a line, fences marked ``math`` for displayed
ones. Here both become what MyST reads. Every equation number that a page of `docs/explanation/theory` defines, as
``\tag{3.3}`` or as **(3.3)**, becomes an anchor, every numbered heading too; and where any page or docstring says
"(3.3)" or "section 9.1", the words become a link.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from docutils import nodes
from sphinx.application import Sphinx

THEORY = "explanation/theory/"
NUMBER = r"(?:\d{1,2}\.\d{1,2}(?:\.\d)?[a-d]?'*|F\d)"
DEFINED = re.compile(rf"\\tag\{{({NUMBER})\}}|\*\*\(({NUMBER})\)\*\*|&&\(\\mathrm\{{(F\d)\}}\)")
HEADING = re.compile(r"(?m)^#{1,4} (\d{1,2}(?:\.\d{1,2}){0,2}) ")
MENTIONED = re.compile(rf"\(({NUMBER})\)|\b[Ss]ections? (\d{{1,2}}(?:\.\d{{1,2}}){{0,2}})(?!\d)")
FENCE = re.compile(r"(?ms)^([ \t]*)```math\n(.*?)^[ \t]*```[ \t]*$")


def equation_id(number: str) -> str:
    """Anchor of an equation: (4.2') -> eq-4-2p."""
    return "eq-" + number.lower().replace(".", "-").replace("'", "p")


def section_id(number: str) -> str:
    """Anchor of a numbered heading: 9.1 -> section-9-1."""
    return "section-" + number.replace(".", "-")


def defined_numbers(text: str) -> list[str]:
    """Equation numbers that a page defines, in order, repetitions included."""
    return [next(group for group in match.groups() if group) for match in DEFINED.finditer(text)]


def defined_sections(text: str) -> list[str]:
    """Numbers of the headings of a page, in order."""
    return HEADING.findall(text)


def _mathematics(text: str, anchors: bool) -> str:
    """The page as MyST reads it."""

    def block(match: re.Match[str]) -> str:
        indent, body = match[1], match[2].rstrip()
        labels = [f"({equation_id(n)})=" for n in defined_numbers(body)] if anchors else []
        lines = [*labels, "```{math}", ":no-wrap:", "", r"\[", *body.splitlines(), r"\]", "```"]
        return "\n".join(indent + line.removeprefix(indent) for line in lines)

    def inline(match: re.Match[str]) -> str:
        return f'<span id="{equation_id(match[1])}"></span>{match[0]}'

    pieces = FENCE.split(text)
    # split gives text, indent, body, text, indent, body, ...
    result = []
    for position in range(0, len(pieces), 3):
        piece = pieces[position]
        if anchors:
            piece = re.sub(rf"\*\*\(({NUMBER})\)\*\*", inline, piece)
            piece = HEADING.sub(lambda m: f"({section_id(m[1])})=\n{m[0]}", piece)
        result.append(re.sub(r"\$`([^`]+)`\$", r"$\1$", piece))
        if position + 2 < len(pieces):
            fence = f"{pieces[position + 1]}```math\n{pieces[position + 2]}{pieces[position + 1]}```"
            result.append(FENCE.sub(block, fence))
    return "".join(result)


def read_source(app: Sphinx, docname: str, source: list[str]) -> None:
    """Rewrite one page before MyST parses it."""
    if app.env.doc2path(docname).suffix != ".md":
        return
    theory = docname.startswith(THEORY) and not docname.endswith("statements")
    source[0] = _mathematics(source[0], anchors=theory)


def anchors(folder: Path) -> dict[str, tuple[str, str]]:
    """Page and anchor of every equation ("(3.3)") and every section ("3.7") of the theory pages."""
    places: dict[str, tuple[str, str]] = {}
    for path in sorted(folder.glob("*.md")):
        if path.stem == "statements":
            continue
        text = path.read_text(encoding="utf-8")
        for number in defined_numbers(text):
            places[f"({number})"] = (THEORY + path.stem, equation_id(number))
        for number in defined_sections(text):
            places[number] = (THEORY + path.stem, section_id(number))
    return places


def link_mentions(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """Turn mentions of equations and of sections into links."""
    if not (docname.startswith((THEORY, "reference/api"))):
        return
    places = anchors(Path(app.srcdir) / "explanation" / "theory")
    closed = (nodes.literal, nodes.literal_block, nodes.reference, nodes.math, nodes.math_block, nodes.title, nodes.raw)
    for text in list(doctree.findall(nodes.Text)):
        if _inside(text, closed) or isinstance(text.parent, nodes.strong):
            continue
        parts: list[nodes.Node] = []
        end = 0
        for match in MENTIONED.finditer(text):
            # Items of section 9.3 are cited like equations: (9.3.1).
            place = (places.get(match[0]) or places.get(match[1])) if match[1] else places.get(match[2])
            if place is None:
                continue
            parts.append(nodes.Text(text[end : match.start()]))
            uri = app.builder.get_relative_uri(docname, place[0]) + "#" + place[1]
            parts.append(nodes.reference("", match[0], internal=True, refuri=uri))
            end = match.end()
        if parts:
            parts.append(nodes.Text(text[end:]))
            text.parent.replace(text, parts)


def _inside(node: nodes.Node, kinds: tuple[type[nodes.Node], ...]) -> bool:
    parent = node.parent
    while parent is not None:
        if isinstance(parent, kinds):
            return True
        parent = parent.parent
    return False


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.connect("source-read", read_source)
    app.connect("doctree-resolved", link_mentions)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
