"""``skipit list``: what a spec may name, read without torch and without a network."""

from __future__ import annotations

import argparse
import ast
import shutil
import textwrap
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from vlm.commands.arguments import Commands, HelpFormatter

_VLM = Path(__file__).resolve().parents[1]
_KINDS = ("datasets", "protocols", "scorers", "judges", "selectors", "families")


def add(commands: Commands) -> None:
    """Add the command to the parser."""
    parser = commands.add_parser(
        "list",
        help="data sets, protocols, scorers, judges, selectors, model families",
        formatter_class=HelpFormatter,
        epilog="example: python -m vlm list scorers",
    )
    parser.add_argument("what", nargs="?", choices=_KINDS, metavar="WHAT", help=f"one of {', '.join(_KINDS)}")
    parser.set_defaults(run=_list)


def _list(options: argparse.Namespace) -> int:
    listings: dict[str, Callable[[], Iterator[tuple[str, ...]]]] = {
        "datasets": _datasets,
        "protocols": _protocols,
        "scorers": _scorers,
        "judges": _judges,
        "selectors": _selectors,
        "families": _families,
    }
    for kind in (options.what,) if options.what else _KINDS:
        print(f"{kind}:")
        for line in _lines(list(listings[kind]()), shutil.get_terminal_size((160, 24)).columns):
            print(line)
    return 0


def _lines(rows: Sequence[tuple[str, ...]], width: int) -> Iterator[str]:
    """Rows in aligned columns; where these are wider than the terminal, a name and its description in several lines."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    aligned = [
        "  " + "  ".join(cell.ljust(size) for cell, size in zip(row, widths, strict=True)).rstrip() for row in rows
    ]
    if max(map(len, aligned)) <= width:
        yield from aligned
        return
    for name, *rest in rows:
        text = f"{name}: {', '.join(filter(None, rest))}" if rest else name
        yield from textwrap.wrap(
            text, max(width, 20), initial_indent="  ", subsequent_indent="      ", break_on_hyphens=False
        )


def _datasets() -> Iterator[tuple[str, ...]]:
    from vlm.datasets import DATASETS

    for d in DATASETS:
        place = d.ids[0] if d.ids else "needs a source"
        yield d.name, d.task_group, f"{d.size:,} items", d.split, d.questions, place, d.licence
    yield "tiny", "Embedded", "any number", "test", "open, yes/no, choice", "embedded", "as this library"
    yield "jsonl", "Your own", "", "", "choice, yes/no, open, ocr, math", "jsonl=mine.jsonl", "yours"


def _protocols() -> Iterator[tuple[str, ...]]:
    from vlm.evaluation.protocols import PROTOCOLS

    says = {
        "skip-it": "the paper's: choices and yes/no from one forward pass, everything else generated and judged",
        "lmms-eval": "that harness's prompts and token limits, everything generated and scored by rule",
    }
    for name, protocol in PROTOCOLS.items():
        yield name, f"version {protocol.version}", says.get(name, "")


def _scorers() -> Iterator[tuple[str, ...]]:
    from vlm.scoring.scorers import VERSIONS

    says = {
        "letter": "the option that an answer names",
        "exact": "equality without case and punctuation, numbers with sign and point",
        "vqa": "agreement with ten annotators (EvalAI normalisation)",
        "ocrbench": "a reference is contained in the answer",
        "mmmu": "MMMU's candidates, without its random choice",
        "realworldqa": "letter, or exact with number words",
        "mathvision": "the boxed answer: a letter, an option's text, or mathematics",
    }
    for name, version in VERSIONS.items():
        yield name, f"version {version}", says.get(name, "")


def _judges() -> Iterator[tuple[str, ...]]:
    yield "rule", "each benchmark's own rule; needs no network"
    yield "chat:MODEL", "a language model on any OpenAI-compatible server (OPENAI_API_KEY, OPENAI_BASE_URL)"
    yield "composite:MODEL", "the rule where it is certain, the model elsewhere"
    yield "recorded:FILE", "verdicts that were recorded before, such as a chat judge's cache"


def _selectors() -> Iterator[tuple[str, ...]]:
    """Read from the sources: importing the selectors would load torch."""
    room = _VLM / "selectors"
    for node in ast.walk(ast.parse((room / "__init__.py").read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module:
            tree = ast.parse((room / f"{node.module.rsplit('.', 1)[-1]}.py").read_text(encoding="utf-8"))
            found = {n.name: n for n in tree.body if isinstance(n, ast.FunctionDef)}
            for alias in node.names:
                if alias.name in found:
                    yield alias.name, (ast.get_docstring(found[alias.name]) or "").partition("\n")[0]


def _families() -> Iterator[tuple[str, ...]]:
    """As declared in vlm/models/families.py, which imports torch."""
    tree = ast.parse((_VLM / "models" / "families.py").read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == "FAMILIES" for target in node.targets):
            for call in ast.walk(node.value):
                if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Family" and call.args:
                    yield (str(ast.literal_eval(call.args[0])),)
