"""The API reference: one page per room and per chapter of theorems, written before Sphinx reads the sources.

The names come from the `__all__` of the packages and public rooms, so a new public name is in the reference as soon
as it is exported. Theorem objects are instances, which autodoc does not document; the directive ``theorem`` here does.
"""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

from docutils import nodes
from numpydoc.numpydoc import mangle_docstrings
from sphinx.application import Sphinx
from sphinx.config import Config
from sphinx.util.docutils import SphinxDirective

PACKAGES = ("redundancy", "bounds", "vlm")
PUBLIC_ROOMS = ("datasets", "judges", "published", "reports", "scoring", "selectors", "tiny")
ROOMS = (*PACKAGES, "bounds.confidence", *(f"vlm.{room}" for room in PUBLIC_ROOMS))

# A constant has no docstring: what each holds is said here.
CONSTANTS = {
    "bounds.confidence.METHODS": "The methods, by name.",
    "bounds.confidence.Method": "The name of a method, as a type.",
    "bounds.THEOREMS": "All theorem objects, in the order of the theory pages.",
    "vlm.FAMILIES": "The model families that are declared, by `config.model_type`.",
    "vlm.datasets.DATASETS": "The declared benchmarks, by name.",
    "vlm.datasets.GROUPS": "The task groups in which tables report the benchmarks.",
    "vlm.judges.Judge": "A judge, as a type: a function from requests to verdicts.",
    "vlm.published.MODELS": "The models whose tables were published.",
    "vlm.scoring.SCORERS": "The scorers, by name.",
    "vlm.tiny.ANSWERS": "The answers that each kind of question allows.",
    "vlm.tiny.IMAGE_KINDS": "The kinds of question that cannot be answered without the image.",
    "vlm.tiny.KINDS": "All kinds of question.",
}


def public_names(package: str) -> list[str]:
    """The public names of a package or public room that are not modules."""
    module = importlib.import_module(package)
    if not hasattr(module, "__all__"):  # a module of functions
        functions = inspect.getmembers(module, inspect.isfunction)
        return [name for name, value in functions if value.__module__ == package and not name.startswith("_")]
    return [name for name in module.__all__ if not isinstance(getattr(module, name), ModuleType)]


def _is_theorem(value: object) -> bool:
    return type(value).__name__ == "Theorem"


def is_constant(name: str) -> bool:
    """Whether a public name has no docstring of its own: neither a function, nor a class, nor a theorem."""
    value = _value(name)
    return not (inspect.isroutine(value) or inspect.isclass(value) or _is_theorem(value))


def _home(package: str, value: object) -> str:
    """The room in which an object is defined; the package itself for its own files and for constants."""
    module = getattr(value, "__module__", None) or package
    if not module.startswith(package + ".") or not (callable(value) or _is_theorem(value)):
        return package
    parts = module.split(".")
    depth = len(package.split("."))
    room = ".".join(parts[: depth + 1])
    if _is_theorem(value):
        return module
    return room if hasattr(importlib.import_module(room), "__path__") else package


def pages() -> dict[str, list[str]]:
    """Names on each page of the reference: page -> full names, every public name once."""
    table: dict[str, list[str]] = {}
    for package in ROOMS:
        module = importlib.import_module(package)
        for name in public_names(package):
            value = getattr(module, name)
            page = package if "." in package else _home(package, value)
            # The page of a public room holds what that room exports, not what the package takes from it.
            if page in ROOMS and page != package:
                page = package
            # Functions beside the theorems of a chapter stand with the chapter.
            if page == "bounds.theorems":
                page = value.__module__
            table.setdefault(page, []).append(f"{package}.{name}")
    return table


def _value(name: str) -> Any:
    module, _, attribute = name.rpartition(".")
    return getattr(importlib.import_module(module), attribute)


def _order(page: str) -> tuple[int, bool, int, str]:
    """Packages in their order, then rooms by name, then the theorems as the theory pages have them."""
    package = page.split(".")[0]
    chapters = [theorem.__module__ for theorem in importlib.import_module("bounds").THEOREMS]
    chapter = chapters.index(page) if page in chapters else -1
    return PACKAGES.index(package), chapter >= 0, chapter, "" if page == package else page


def _title(page: str) -> str:
    last = page.rsplit(".", 1)[-1].replace("_", " ")
    return f"``{page}``" if not page.startswith("bounds.theorems.") else last[0].upper() + last[1:]


def _plain(doc: str) -> list[str]:
    lines = re.sub(r"(?<!`)`(?!`)", "``", doc).splitlines()
    escape_bars(lines)
    return lines


def page_text(page: str, names: list[str]) -> str:
    """One page in reStructuredText."""
    package = page if page in ROOMS else page.split(".")[0]
    title = _title(page)
    doc = inspect.cleandoc(importlib.import_module(page).__doc__ or "")
    lines = [title, "=" * len(title), "", f".. currentmodule:: {package}", "", *_plain(doc), ""]
    theorems = [name for name in names if _is_theorem(_value(name))]
    constants = [name for name in names if name in CONSTANTS]
    rest = [name for name in names if name not in theorems and name not in constants]
    if rest:
        lines += [".. autosummary::", "   :toctree: generated/", "   :nosignatures:", ""]
        lines += [f"   ~{name}" for name in rest] + [""]
    for name in constants:
        lines += [
            f".. py:data:: {name.removeprefix(package + '.')}",
            "",
            "   " + CONSTANTS[name].replace("`", "``"),
            "",
        ]
    for name in theorems:
        value = _value(name)
        short = name.rsplit(".", 1)[-1]
        lines += [f"{value.label}: {short}", "-" * (len(value.label) + len(short) + 2), "", f".. theorem:: {name}", ""]
    return "\n".join(lines)


def escape_bars(lines: list[str]) -> None:
    """Write |V| as \\|V\\| outside of code and formulas: docstrings use bars for sizes, not for substitutions."""
    fenced: int | None = None
    for position, line in enumerate(lines):
        indent = len(line) - len(line.lstrip())
        if fenced is not None and line.strip() and indent <= fenced:
            fenced = None
        if fenced is None and not line.lstrip().startswith((">>>", "...")):
            pieces = re.split(r"(``.*?``|:math:`[^`]*`)", line)
            lines[position] = "".join(
                piece if odd % 2 else piece.replace("|", r"\|") for odd, piece in enumerate(pieces)
            )
        if line.rstrip().endswith("::") or line.lstrip().startswith((".. math::", ".. code")):
            fenced = indent


def process_docstring(app: Sphinx, what: str, name: str, obj: Any, options: Any, lines: list[str]) -> None:
    """After numpydoc."""
    escape_bars(lines)


class TheoremDirective(SphinxDirective):
    """``.. theorem:: bounds.name``: signature, statement, hypotheses and docstring of a theorem object."""

    required_arguments = 1

    def run(self) -> list[nodes.Node]:
        """The nodes of one theorem."""
        name = self.arguments[0]
        theorem = _value(name)
        named = inspect.signature(theorem.function).parameters.values()
        parameters = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in named]
        signature = str(inspect.Signature(parameters))
        doc = inspect.cleandoc(theorem.__doc__ or "").splitlines()
        mangle_docstrings(self.env.app, "function", name, theorem.function, {}, doc)
        escape_bars(doc)
        assumes = "; ".join(a.words for a in theorem.assumes) or "nothing beyond the setting"
        body = [
            f"**{theorem.label}**, {theorem.equation}. Form: {theorem.form}. Source: {theorem.source}.",
            "",
            ".. math::",
            "",
            f"   {theorem.latex}",
            "",
            f"Assumes: {assumes.replace('|', chr(92) + '|')}.",
            "",
            *doc,
        ]
        text = [f".. py:function:: {name.rpartition('.')[2]}{signature}", ""] + ["   " + line for line in body]
        return self.parse_text_to_nodes("\n".join(text))


def write_pages(app: Sphinx, config: Config) -> None:
    """Write the pages that changed, remove those of rooms that are gone."""
    folder = Path(app.srcdir) / "reference" / "api"
    table = pages()
    texts = {f"{page}.rst": page_text(page, names) for page, names in table.items()}
    listed = sorted(table, key=_order)
    texts["contents.rst"] = _contents(listed)
    for old in folder.glob("*.rst"):
        if old.name not in texts:
            old.unlink()
    for file, text in texts.items():
        path = folder / file
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    full = [name for names in table.values() for name in names]
    for stub in (folder / "generated").glob("*.rst"):
        if stub.stem.removesuffix("-class") not in full:
            stub.unlink()
    # Two names that differ in case only would share a file on some systems.
    lower = [name.lower() for name in full]
    config.autosummary_filename_map = {
        name: f"{name}-class" for name in full if lower.count(name.lower()) > 1 and inspect.isclass(_value(name))
    }


def _contents(listed: list[str]) -> str:
    lines = ["All rooms", "=========", ""]
    for package in PACKAGES:
        lines += [".. toctree::", f"   :caption: {package}", "   :maxdepth: 1", ""]
        lines += [f"   {page}" for page in listed if page.split(".")[0] == package] + [""]
    return "\n".join(lines)


def setup(app: Sphinx) -> dict[str, Any]:
    """Register with Sphinx."""
    app.add_directive("theorem", TheoremDirective)
    connect: Callable[..., int] = app.connect
    connect("config-inited", write_pages)
    connect("autodoc-process-docstring", process_docstring, 900)
    return {"version": "1", "parallel_read_safe": True, "parallel_write_safe": True}
