"""The part of a theorem's docstring that follows from its fields: errors, statement, assumptions and source."""

from __future__ import annotations

import inspect
import re
import textwrap
from typing import Protocol

SECTIONS = ("Parameters", "Returns", "Raises", "See Also", "Notes", "References", "Examples")
WIDTH = 108
_TITLE = re.compile(rf"^({'|'.join(SECTIONS)})\n-+\n", re.MULTILINE)
_REFUSED = (
    "ValueError\n"
    "    If an argument is not a number, is NaN or lies outside the range given above, or if the shapes do not\n"
    "    broadcast."
)
_BROADCAST = "Arguments broadcast as NumPy arrays do; vectors lie along the last axis."
_FORMS = {
    "paper": "the paper's (as published, or its likeliest reading)",
    "sharp": "sharp (the best constant or the strongest form known)",
    "consequence": "a consequence of sharper statements",
}


class Statement(Protocol):
    """The fields of a theorem that its docstring repeats."""

    @property
    def label(self) -> str: ...
    @property
    def equation(self) -> str: ...
    @property
    def form(self) -> str: ...
    @property
    def source(self) -> str: ...
    @property
    def latex(self) -> str: ...
    @property
    def hypotheses(self) -> str: ...


def completed(docstring: str, statement: Statement) -> str:
    """The docstring with what every theorem has, in numpydoc's order of sections.

    Parameters
    ----------
    docstring : str
        The function's own docstring. Its own reason to raise and its own notes are kept.
    statement : Theorem
        Where label, equation, form, source, LaTeX and hypotheses come from.

    Returns
    -------
    str
        The whole docstring, without indentation.

    Examples
    --------
    >>> import bounds
    >>> print(bounds.logit_range.__doc__.split("Notes")[1].split("References")[0])
    <BLANKLINE>
    -----
    From hidden error to logits, (9.8a). The form is sharp (the best constant or the strongest form known).
    <BLANKLINE>
    .. math::
    <BLANKLINE>
        \\omega \\le \\mathsf{D}\\,\\lVert\\Delta h\\rVert
    <BLANKLINE>
    Assumes Delta h taken after the final norm, logits linear in it. Arguments broadcast as NumPy arrays do;
    vectors lie along the last axis.
    <BLANKLINE>
    <BLANKLINE>
    """
    head, *pieces = _TITLE.split(inspect.cleandoc(docstring))
    texts = {title: text.strip("\n") for title, text in zip(pieces[::2], pieces[1::2], strict=True)}
    notes = (
        f"{statement.label}, {statement.equation}. The form is {_FORMS[statement.form]}.\n\n"
        f".. math::\n\n    {statement.latex}\n\n"
        f"{textwrap.fill(f'Assumes {statement.hypotheses}. {_BROADCAST}', WIDTH)}"
    )
    source = statement.source.replace(
        "docs/explanation/theory", f"theory, {statement.equation} (docs/explanation/theory)"
    )
    texts["Raises"] = _REFUSED + _particular(texts.get("Raises", ""))
    texts["Notes"] = "\n\n".join(filter(None, (texts.get("Notes"), notes)))
    texts["References"] = textwrap.fill(f"{source[0].upper()}{source[1:]}.", WIDTH)
    bodies = [f"{title}\n{'-' * len(title)}\n{texts[title]}" for title in SECTIONS if title in texts]
    return "\n\n".join([head.strip(), *bodies]) + "\n"


def _particular(raises: str) -> str:
    """A function's own reason to raise ValueError, as a continuation of the common one."""
    _, _, reason = raises.partition("ValueError\n")
    reason = reason.strip()
    return f"\n    Also {reason[0].lower()}{reason[1:]}" if reason else ""
