"""Prints how often each scorer agrees with the published code, by version, and which strings were put to them:

python tests/official_scores/agreement.py
"""

from __future__ import annotations

import csv
import re
import unicodedata
from collections.abc import Callable, Mapping
from pathlib import Path

HERE = Path(__file__).resolve().parent
# What a reference column may hold beside an answer: the string was withheld, or the code did not come to an answer.
NO_ANSWER = ("not run", "timeout", "random")
CROSS_CHECK = "math-verify"


def tables() -> dict[str, list[dict[str, str]]]:
    """The truth tables by name."""
    found = {}
    for path in sorted(HERE.glob("*.csv")):
        if path.stem != "verdicts":
            with path.open(newline="", encoding="utf-8") as file:
                found[path.stem] = list(csv.DictReader(file))
    return found


def references(rows: list[dict[str, str]]) -> list[str]:
    """The columns of published code: those that name a version."""
    return [name for name in rows[0] if re.search(r" \d|[0-9a-f]{7}$", name)]


def agreement() -> str:
    """A Markdown table, one row per truth table and reference."""
    head = "| table | reference | strings | compared | agree | differ | no answer there |"
    lines = [head, "|---|---|--:|--:|--:|--:|--:|"]
    for name, rows in tables().items():
        for reference in references(rows):
            answered = [row for row in rows if row[reference] not in NO_ANSWER]
            agree = sum(row[reference] == row["ours"] for row in answered)
            counts = (len(rows), len(answered), agree, len(answered) - agree, len(rows) - len(answered))
            lines.append(f"| `{name}` | {reference} | {' | '.join(map(str, counts))} |")
    return "\n".join(lines) + "\n"


def _options(row: dict[str, str]) -> list[str]:
    """What an answer is chosen from: options, those that the question lists, else the references."""
    listed = re.findall(r"^[A-Z]\. (.*)$", row.get("question", ""), flags=re.MULTILINE)
    return row["options"].split("|") if row.get("options") else listed or row.get("answers", "").split("|")


# Kinds of string on which rules part, by what a string of the kind has.
KINDS: Mapping[str, Callable[[dict[str, str]], bool]] = {
    "thoughts": lambda row: bool(re.search(r"think|thought|<summary", row["text"], re.IGNORECASE)),
    "boxes": lambda row: bool(re.search(r"boxed|_of_box|<answer>", row["text"])),
    "full-width": lambda row: any("！" <= c <= "～" or "Ⓐ" <= c <= "ⓩ" for c in row["text"]),
    "signs": lambda row: bool(re.search(r"(?<![\w)}])[-−–+<>] ?[\d.$\\]", row["text"])),
    "units": lambda row: bool(
        re.search(r"\d ?(?:\\text\{ ?)?(?:k?m|cm|kg|g|kilo|%|\\%|°|\\degree|\^\{?\\circ|h|p\.m\.)|[$€]\d", row["text"])
    ),
    "sets": lambda row: bool(re.search(r"\{[\w.-]+(?:, ?[\w.-]+)+\\?\}", row["text"])),
    "two equations": lambda row: bool(re.search(r"\w ?= ?\S+(?:,| and|;).*\w ?= ?\S", row["text"])),
    "text in text": lambda row: (
        bool(re.search(r"\\(?:text|math)[a-z]*\s?\{", row["text"]))
        or any(unicodedata.category(c) == "Cf" for c in row["text"])
    ),
    "letters as options": lambda row: any(re.fullmatch(r"[A-Za-z]", option.strip()) for option in _options(row)),
}
# What cannot be asked of a table: single expressions hold no thoughts, and free answers no options.
WITHOUT = {
    "maths": ("thoughts", "boxes", "letters as options", "sets", "two equations"),
    "vqa": ("letters as options",),
}


def kinds() -> str:
    """A Markdown table: strings of each kind in each truth table."""
    lines = ["| table | strings | " + " | ".join(KINDS) + " |", "|---|--:|" + "--:|" * len(KINDS)]
    for name, rows in tables().items():
        counts = ["–" if kind in WITHOUT.get(name, ()) else str(sum(map(KINDS[kind], rows))) for kind in KINDS]
        lines.append(f"| `{name}` | {len(rows)} | {' | '.join(counts)} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    print(agreement())
    print(kinds(), end="")
