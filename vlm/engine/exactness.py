"""The exactness table: every family, attention implementation and property on random models of the real classes.

`python -m vlm exactness` prints the largest error of each over several plans, against a slow reference that runs
every layer on the full sequence with a mask and without a cache (:mod:`vlm.engine.masked_reference`).
"""

from __future__ import annotations

import textwrap
import warnings
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

import torch
import transformers

from vlm.engine.exactness_checks import JOINED, PLANS, PROPERTIES, NotApplicable, Property
from vlm.models import flash_stand_in
from vlm.models.families import anatomy
from vlm.models.layer_parts import feed_forward_candidates, find_attention
from vlm.models.random_models import FAMILY_NAMES, absent, random_model, unsuited
from vlm.models.types import Model
from vlm.plans.plan import SkipPlan
from vlm.progress_bar import by_count, line

ATTENTION = ("sdpa", "eager", flash_stand_in.NAME)
TABLE_FAMILIES = tuple(name for name in FAMILY_NAMES if name != "llava-mistral")


@torch.no_grad()
def worst_error(family: str, attention: str, item: Property, plans: Iterable[str] | None = None) -> float:
    """Largest error of a property over plans; NaN counts as infinite.

    Parameters
    ----------
    family : str
        One of :data:`vlm.models.random_models.FAMILY_NAMES`.
    attention : str
        One of :data:`ATTENTION`.
    item : Property
        What is checked.
    plans : iterable of str, optional
        Plans in their text form; default: those of the property.

    Raises
    ------
    NotApplicable
        The property has no meaning for this family.
    """
    flash = attention == flash_stand_in.NAME
    if flash and (why := unsuited(family)) is not None:
        raise NotApplicable(why)
    worst, model = 0.0, random_model(family, attention)
    with flash_stand_in.installed() if flash else nullcontext():
        for plan in plans_for(model, item.plans if plans is None else plans):
            error = item.check(model, plan)
            worst = max(worst, error if error == error else float("inf"))
    return worst


def plans_for(model: Model, texts: Iterable[str]) -> list[SkipPlan]:
    """Plans from their text forms, without what a model's layers cannot do.

    Layers with a recurrent state neither freeze nor rank and have no halves; before a feed-forward that is several
    modules no token leaves.
    """
    parts = anatomy(model)
    recurrent = {index for index, layer in enumerate(parts.layers) if find_attention(layer) is None}
    whole = any(len(feed_forward_candidates(layer)[0]) > 1 for layer in parts.layers)
    plans = []
    for text in texts:
        plan = SkipPlan.parse(text)
        if recurrent:
            steps = plan.steps(parts.depth)
            halves = any(not (steps[i].attention and steps[i].mlp) or steps[i].vision == "frozen" for i in recurrent)
            plan = SkipPlan() if halves else replace(plan, pruned=(), ranked=(), leaving=())
        if whole:
            plan = replace(plan, leaving=())
        plans.append(plan)
    return list(dict.fromkeys(plans))


def run(families: Sequence[str] = (), markdown: Path | None = None) -> int:
    """Print the table; the exit status is 1 if an error exceeds its limit.

    Parameters
    ----------
    families : sequence of str
        Names of model families; empty for all of them.
    markdown : Path, optional
        Also write the table to this file, as a Markdown page.

    Raises
    ------
    ValueError
        A family is unknown.
    """
    families = tuple(families or TABLE_FAMILIES)
    unknown = [name for name in families if name not in FAMILY_NAMES]
    if unknown:
        raise ValueError(f"--family: expected one or more of {', '.join(FAMILY_NAMES)}, got {', '.join(unknown)}")
    lines = ["| family | attention | " + " | ".join(p.name for p in PROPERTIES) + " |"]
    lines.append("| --- | --- |" + " ---: |" * len(PROPERTIES))
    print("\n".join(lines))
    notes: dict[str, None] = {}  # in order, without repetition
    failed = False
    with _quiet_on_one_thread():
        pairs = [(family, attention) for family in families for attention in ATTENTION]
        for family, attention in by_count(pairs, len(pairs), "families"):
            flash = attention == flash_stand_in.NAME
            if (why := absent(family) or (unsuited(family) if flash else None)) is not None:
                notes[why] = None
                continue
            cells = [_cell(family, attention, item, notes) for item in PROPERTIES]
            failed |= any(cell.startswith("**") for cell in cells)
            lines.append(f"| {family} | {attention} | " + " | ".join(cells) + " |")
            line(lines[-1])
    print("\n".join(notes))
    if markdown is not None:
        markdown.write_text(_page(lines, list(notes)), encoding="utf-8")
    return int(failed)


def _cell(family: str, attention: str, item: Property, notes: dict[str, None]) -> str:
    """Error of one property, in bold if it exceeds the limit; says in `notes` why there is none."""
    try:
        error = worst_error(family, attention, item)
    except NotApplicable as reason:
        notes[f"{family}, {item.name}: {reason}"] = None
        return "n/a"
    return ("**{}**" if error > item.limit else "{}").format(f"{error:.1e}" if error else "0")


@contextmanager
def _quiet_on_one_thread() -> Iterator[None]:
    """No log lines from transformers, and one thread: matrices this small are slower on several."""
    threads, verbosity = torch.get_num_threads(), transformers.logging.get_verbosity()
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    try:
        with warnings.catch_warnings():
            # Renamed in transformers 5.24.
            warnings.filterwarnings("ignore", "`past_key_values` is deprecated", FutureWarning)
            yield
    finally:
        torch.set_num_threads(threads)
        transformers.logging.set_verbosity(verbosity)


_VERSIONS = """
    Oldest and newest transformers that the package allows, with torch 2.13.0 on 2 cores without a GPU, by
    `python -m pytest tests/vlm/engine/test_exactness.py -k "prefill_and_cached or forward_calls or
    training_and_generation"` (empty plan, prefill, cached decoding, batches, pieces and second images of every family;
    gradients, bfloat16, sampling, beams and both ways of speculating of five): 5.17.0: 137 pass, 9 n/a (it has no
    Molmo 2); 5.24.0: 131 pass, 15 n/a (the forward of its Llama 4 fails without a plan).
"""


def _page(lines: list[str], notes: list[str]) -> str:
    versions = f"torch {torch.__version__.split('+')[0]} and transformers {transformers.__version__} on the CPU"
    plans, joined = (", ".join(f"`{plan}`" for plan in texts) for texts in (PLANS, JOINED))
    few = ", ".join(p.name for p in PROPERTIES if p.plans is not PLANS)
    limits = ", ".join(f"{p.name} {p.limit:g}" for p in PROPERTIES)
    what = f"""
        Written by `python -m vlm exactness --markdown docs/reference/benchmarks/exactness.md` with {versions}.
        Every cell is
        the largest error over the plans {plans} ({few}: {joined}), without the parts that a family's layers refuse
        (those with a recurrent state: `freeze:`, halves and choices by attention; blip-2: `leave:`), on 5-layer
        random models of the real classes,
        against a slow reference that runs every layer on every token with a mask and has no cache. 0 means
        bit-identical logits, or the same tokens. Errors are relative, over all logits in float32; beam search: of the
        best beams' scores; gradients: of all parameters; bfloat16: the largest logit difference in standard
        deviations of the logits. Largest errors that pass: {limits}. {flash_stand_in.NAME}: transformers' own path
        around a plain softmax in place of the kernel, which needs a GPU (`vlm/models/flash_stand_in.py`); the
        stand-in takes each sequence by itself, so batches equal singles bit for bit.
    """
    text = textwrap.wrap(" ".join(what.split()), 120, break_on_hyphens=False)
    others = textwrap.wrap(" ".join(_VERSIONS.split()), 120, break_on_hyphens=False)
    notes = [f"- n/a: {note}." for note in notes]
    return "\n".join(["# How exact skipping is", "", *text, "", *lines, "", *notes, "", *others, ""])
