"""A spec over the embedded set and two JSONL files as a user would write them, with one broken image."""

from __future__ import annotations

import json
from pathlib import Path

from vlm import tiny

PLANS = ("vision:0-2", "vision:6-", "vision:0-1+8-", "vision:3-7", "text:4-5", "vision:2-4/text:8-9")


def write_spec(folder: Path, *, items: int, plans: tuple[str, ...] = PLANS, batch_size: int = 4) -> Path:
    """Write `spec.toml` and the files it names, with `items` questions per data set."""
    folder.mkdir(parents=True, exist_ok=True)
    questions = tiny.questions(limit=2 * items, seed=7, kinds=("choice", "existence", "location"))
    rows = []
    for number, q in enumerate(questions):
        q.image.save(folder / f"{q.image_id}.png")
        text, _, options = q.prompt.removeprefix("<image> ").removesuffix(" answer:").partition("?")
        row = {"id": f"q{number}", "image": f"{q.image_id}.png", "question": text + "?", "answer": q.answer}
        rows.append(row | ({"options": options.split()[1::2]} if q.kind == "choice" else {}))
    broken = folder / "broken.png"
    broken.write_bytes((folder / "0.png").read_bytes()[:60])
    rows[5] |= {"image": broken.name}
    for name, part in (("first", rows[:items]), ("second", rows[items:])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part))
    path = folder / "spec.toml"
    path.write_text(
        f"""model = "tiny"
batch_size = {batch_size}
plans = {json.dumps(plans)}

[[data]]
name = "tiny"
limit = {items}

[[data]]
name = "jsonl"
label = "first"
source = {json.dumps(str(folder / "first.jsonl"))}

[[data]]
name = "jsonl"
label = "second"
source = {json.dumps(str(folder / "second.jsonl"))}
"""
    )
    return path
