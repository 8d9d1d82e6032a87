"""Prints how often each scorer agrees with the published code, by version: python tests/official_scores/agreement.py"""

from __future__ import annotations

import csv
import re
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


if __name__ == "__main__":
    print(agreement(), end="")
