"""Fills the reference columns of the truth tables by running the published code, each column under its version.

    python -m venv refs && refs/bin/pip install --no-deps lmms-eval==0.7.3 numpy latex2sympy2==1.9.1 \
        antlr4-python3-runtime==4.7.2 sympy==1.13.3 mpmath==1.3.0
    refs/bin/python tests/official_scores/references.py lmms-eval

math-verify needs another antlr4, so its column is filled from an environment of its own:

    refs2/bin/pip install math-verify==0.9.0
    refs2/bin/python tests/official_scores/references.py math-verify

Only the functions of the rules are taken from lmms-eval's files, not its imports: neither torch nor a model is needed.
"""

from __future__ import annotations

import ast
import contextlib
import csv
import importlib.util
import io
import multiprocessing
import random
import re
import statistics
import string
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
SECONDS = 5
SKIPPED = "not run"  # hostile strings, which the published code evaluates, or does not return from
LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
Row = dict[str, str]
Rule = Callable[[Row], str]


def taken(file: str, *names: str, **known: Any) -> dict[str, Any]:
    """Functions and classes of a file of lmms-eval, run without what else the file imports."""
    package = importlib.util.find_spec("lmms_eval")
    assert package is not None
    assert package.submodule_search_locations
    path = Path(next(iter(package.submodule_search_locations))) / file
    tree = ast.parse(path.read_text(encoding="utf-8"))
    # Functions, and the constants that they read.
    wanted = [
        n
        for n in tree.body
        if getattr(n, "name", None) in names
        or (isinstance(n, ast.Assign) and isinstance(n.value, (ast.List, ast.Dict)))
    ]
    names_of: dict[str, Any] = {"re": re, "random": random, "statistics": statistics, "string": string, **known}
    future = ast.parse("from __future__ import annotations\nfrom typing import *").body
    exec(compile(ast.Module([*future, *wanted], []), str(path), "exec"), names_of)
    return names_of


def lmms_eval() -> dict[str, dict[str, Rule]]:
    """Table and column to a rule."""
    import numpy as np

    harness = f"lmms-eval {version('lmms-eval')}"
    extract = taken("tasks/_task_utils/mcq_extract.py", "extract_mcq_answer")["extract_mcq_answer"]
    shared = taken("tasks/_task_utils/mmmu_mcq_utils.py", "parse_mmmu_multi_choice_response", np=np)
    openly = taken(
        "tasks/mmmu/utils.py",
        *("eval_open", "parse_open_response", "normalize_str", "check_is_number", "extract_numbers"),
    )
    evalai = taken("tasks/_task_utils/vqa_eval_metric.py", "EvalAIAnswerProcessor")["EvalAIAnswerProcessor"]()
    ocr = taken("tasks/ocrbench/utils.py", "_fold_fullwidth_ascii", "ocrbench_process_results")
    math = mathvision()

    def letter(row: Row) -> str:
        labels = list(LETTERS[: len(row["options"].split("|"))])
        return str(extract(row["text"], choices=labels))

    def mmstar(row: Row) -> str:
        """The rule of MMStar's authors, for each letter that could be the right one."""
        text = row["text"].lower().strip().replace("\n", " ")
        places = [text[:1], text[1:2] if text[:1] == "(" else ""]
        places += [text[7:8] if text[:7] == "option " else "", text[14:15] if text[:14] == "the answer is " else ""]
        labels = LETTERS[: len(row["options"].split("|"))]
        return next((place.upper() for place in places if place and place.upper() in labels), "")

    def choice(row: Row, *, authors: bool) -> str:
        options = row["options"].split("|")
        labels = list(LETTERS[: len(options)])
        drawn = random.choice
        answers = set()
        for pick in (0, -1):
            random.choice = lambda items, pick=pick: items[pick]  # type: ignore[assignment]
            rule = _mmmu_of_the_authors if authors else shared["parse_mmmu_multi_choice_response"]
            answers.add(str(rule(row["text"], labels, dict(zip(labels, options, strict=True)))))
        random.choice = drawn
        return answers.pop() if len(answers) == 1 else "random"

    def mmmu_open(row: Row) -> str:
        gold = row["answers"].split("|")
        return str(
            int(openly["eval_open"](gold if len(gold) > 1 else gold[0], openly["parse_open_response"](row["text"])))
        )

    def exact(row: Row) -> str:
        """`exact_match_hf_evaluate` with case and punctuation ignored, as GQA asks for."""
        table = str.maketrans("", "", string.punctuation)
        plain = [
            str(np.char.translate(np.char.lower(np.asarray(text)), table))
            for text in (row["text"].strip(), *row["answers"].split("|"))
        ]
        return str(int(plain[0] in plain[1:]))

    def realworld(row: Row) -> str:
        gold = row["answers"].strip()
        if gold.upper() in ("A", "B", "C", "D"):
            return str(int(extract(row["text"], choices=list("ABCD")) == gold.upper()))
        return str(int(row["text"].lower().strip().rstrip(".") == gold.lower()))

    def ocrbench(row: Row) -> str:
        doc = {"answer": row["answers"].split("|"), "dataset": row["subset"], "question_type": ""}
        return str(ocr["ocrbench_process_results"](doc, [row["text"]])["ocrbench_accuracy"]["score"])

    def ocr_of_the_authors(row: Row) -> str:
        if row["subset"] == "HME100k":
            pairs = [
                (a.strip().replace("\n", " ").replace(" ", ""), row["text"].strip().replace("\n", " ").replace(" ", ""))
                for a in row["answers"].split("|")
            ]
        else:
            pairs = [
                (a.lower().strip().replace("\n", " "), row["text"].lower().strip().replace("\n", " "))
                for a in row["answers"].split("|")
            ]
        return str(int(any(a in b for a, b in pairs)))

    return {
        "letter": {harness: letter, "MMStar 2024": mmstar},
        "exact": {harness: exact},
        "vqa": {harness: lambda row: str(evalai(row["text"]))},
        "realworldqa": {harness: realworld},
        "ocrbench": {harness: ocrbench, "OCRBench 2024": ocr_of_the_authors},
        "mmmu_open": {harness: mmmu_open},
        "mmmu_choice": {
            harness: lambda row: choice(row, authors=False),
            "MMMU 51ce7f3": lambda row: choice(row, authors=True),
        },
        "mathvision": {harness: math},
        "maths": {f"latex2sympy2 {version('latex2sympy2')}": value},
    }


def value(row: Row) -> str:
    """The value of an expression by latex2sympy2 and sympy; "" where they read none."""
    import numpy as np
    from latex2sympy2 import latex2sympy

    try:
        number = float(latex2sympy(row["text"]).evalf())
        return f"{round(number, 6):.10g}" if np.isfinite(number) else ""
    except Exception:  # a parser's own errors, or a result that is no number
        return ""


def _mmmu_of_the_authors(response: str, labels: list[str], texts: dict[str, str]) -> str:
    """`parse_multi_choice_response` of MMMU's eval_utils.py at 51ce7f3."""
    for mark in [",", ".", "!", "?", ";", ":", "'"]:
        response = response.strip(mark)
    response = f" {response} "
    found = [label for label in labels if f"({label})" in response]
    if found:
        return max(found, key=lambda label: response.rfind(f"({label})"))
    found = [label for label in labels if f" {label} " in response]
    if found:
        return max(found, key=lambda label: response.rfind(f" {label} "))
    if len(response.split()) > 5:
        found = [label for label in labels if texts[label].lower() in response.lower()]
        if found:
            return max(found, key=lambda label: response.lower().rfind(texts[label].lower()))
    return random.choice(labels)


def mathvision() -> Rule:
    from latex2sympy2 import latex2sympy

    names = (
        *("is_number", "eval_tuple", "is_equal", "find_math_answer", "_strip_string", "_fix_fracs", "_fix_sqrt"),
        *("_fix_a_slash_b", "_remove_right_units"),
    )
    known = taken("tasks/mathvision/eval_utils.py", *names, latex2sympy=latex2sympy)
    process = taken("tasks/mathvision/utils.py", "mathvision_process_results", **{n: known[n] for n in names})

    def rule(row: Row) -> str:
        options = row["options"].split("|") if row["options"] else []
        doc = {"answer": row["answers"].split("|")[0], "options": options}
        return str(
            int(process["mathvision_process_results"](doc, [row["text"]])["mathvision_standard_eval"]["scores"][0])
        )

    return rule


def math_verify() -> dict[str, dict[str, Rule]]:
    from math_verify import parse, verify

    def rule(row: Row) -> str:
        if row["options"]:
            return SKIPPED  # it knows no options
        gold = parse(f"${row['answers'].split('|')[0]}$", parsing_timeout=None)
        text = row["text"] if "boxed" in row["text"] or "$" in row["text"] else f"${row['text']}$"
        return str(int(verify(gold, parse(text, parsing_timeout=None), timeout_seconds=None)))

    return {"mathvision": {f"math-verify {version('math-verify')}": rule}}


def _run(rule: Rule, row: Row, answers: Any) -> None:
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        try:
            answers.put(rule(row))
        except Exception as error:
            answers.put(f"error {type(error).__name__}")


def limited(rule: Rule, row: Row) -> str:
    """What a rule says within the time limit, in a process of its own."""
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    process = context.Process(target=_run, args=(rule, row, answers))
    process.start()
    process.join(SECONDS)
    if process.is_alive():
        process.kill()
        return "timeout"
    return str(answers.get()) if not answers.empty() else "error"


def main(which: str) -> None:
    sys.setrecursionlimit(3000)
    for table, columns in {"lmms-eval": lmms_eval, "math-verify": math_verify}[which]().items():
        path = HERE / f"{table}.csv"
        with path.open(newline="", encoding="utf-8") as file:
            rows = list(csv.DictReader(file))
        for column, rule in columns.items():
            kept = [name for name in rows[0] if name not in ("ours", "why", column)]
            for row in rows:
                whole = {**row, "text": row["text"] * int(row["repeat"])}
                row[column] = SKIPPED if int(row["repeat"]) > 1 else limited(rule, whole)
            rows = [{name: row[name] for name in (*kept, column, "ours", "why")} for row in rows]
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
        print(table, len(rows), list(columns))


if __name__ == "__main__":
    main(sys.argv[1])
