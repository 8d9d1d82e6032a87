"""A viewer of many questions, of whose files only the first and the last are there: what a browser holds of it."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

from vlm.experiments.run_directory import StoredRun
from vlm.experiments.spec import DataChoice, Spec
from vlm.plans.plan import SkipPlan
from vlm.reports.question_viewer import _Index, _page

PLANS = (SkipPlan(), *(SkipPlan.late_entry(k) for k in range(1, 10)))
_TOGETHER = 50


def write_viewer(folder: Path, count: int) -> Path:
    """The viewer of `count` questions under ten plans, each seventh of which loses under every plan; its page."""
    folder.mkdir(parents=True)
    index = _Index([str(plan) for plan in PLANS])
    index.count, index.sets = count, [["gqa", 0, count]]
    index.starts = list(range(0, count, _TOGETHER))
    index.scores = [bytearray(b"wrr" * (count // 3 + 1))[:count] for _ in PLANS]
    lost = bytearray(b"lssssss" * (count // 7 + 1))[:count]
    index.changes = [bytearray(b"-" * count), *(lost for _ in PLANS[1:])]
    (folder / "index.js").write_text(f"const INDEX = {json.dumps(index.content())};\n")
    (folder / "viewer.js").write_text((files("vlm.reports") / "templates" / "viewer.js").read_text(encoding="utf-8"))
    run = StoredRun(Spec(data=(DataChoice("gqa"),), plans=tuple(map(str, PLANS))), folder)
    (folder / "index.html").write_text(_page(run, index), encoding="utf-8")
    last = (count - 1) // _TOGETHER
    for number in {*range(min(8, last + 1)), *range(max(0, last - 3), last + 1)}:
        questions = [_question(i) for i in range(number * _TOGETHER, min(count, (number + 1) * _TOGETHER))]
        text = ",\n".join(map(json.dumps, questions))
        (folder / f"questions-{number:06}.js").write_text(f"shown({number}, [\n{text}\n]);\n")
    return folder / "index.html"


def _question(number: int) -> dict[str, object]:
    answers = [[place, "red", 1, "read as 'red'"] for place in range(len(PLANS))]
    asked = {"set": "gqa", "item": f"q{number}", "question": f"What is {number}?", "references": ["red"]}
    return {**asked, "options": [], "pictures": [], "note": "", "answers": answers}
