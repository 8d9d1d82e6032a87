"""How exact skipping is: every family x attention x property on tiny random models of the real classes.

    python -m tests.vlm.exactness [--family NAME ...] [--markdown FILE]

prints the worst error over the plans, against a slow full-length masked twin without a cache
(tests/oracles/plans_reference.py); 0 stands for bit-identical or token by token equal.
"""

from __future__ import annotations

import argparse
import sys
import textwrap
import warnings
from collections.abc import Callable, Iterable
from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
import transformers

from tests.oracles.plans_reference import planned_logits
from tests.support import flash_kernel
from tests.support import random_models as models
from vlm import SkipPlan, skipping

Batch = dict[str, torch.Tensor]
ATTENTION = ("sdpa", "eager", flash_kernel.NAME)
PLANS = (
    "vision:0-2",
    "vision:3-",
    "vision:2-4/text:3-4",
    "freeze:1-3/text:3-4",
    "attention:1-2/mlp:3-4",
    "keep:1-3=1-3/prune:3=0.5",
)
# For what takes long or must not depend on which call decides a pruning.
JOINED = ("vision:0-1+3-/text:2-3", "freeze:1-3/keep:3-=1-", "attention:0-2/mlp:3-4")
SHAPES = (dict(images=(1,), after=(6,)), dict(images=(2, 0, 1), after=(4, 7, 2)))
NEW_TOKENS = 6


class NotApplicable(Exception):
    """The property has no meaning for this family, or transformers itself does not offer it."""


def relative(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.double() - b.double()).norm() / b.double().norm())


def generate(model: Any, batch: Batch, **settings: Any) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.generate(**batch, max_new_tokens=NEW_TOKENS, return_dict_in_generate=True, **settings)


def teacher(model: Any, batch: Batch, sequences: torch.Tensor, plan: SkipPlan) -> torch.Tensor:
    """The twin's logits (batch, new tokens, vocabulary) from which each generated token is chosen."""
    start = batch["input_ids"].shape[1]
    whole = models.with_positions(models.lengthened(model, batch, sequences))
    return planned_logits(model, whole, str(plan), prompt=start)[:, start - 1 : -1]


def allowed(model: Any, logits: torch.Tensor) -> torch.Tensor:
    logits = logits.clone()
    logits[..., model.generation_config.suppress_tokens] = -torch.inf
    return logits


def unchanged(model: Any, plan: SkipPlan) -> float:
    """Bits: the empty plan inside, and the model after leaving a plan."""
    worst = 0.0
    for shape in SHAPES:
        batch = models.batch_for(model, **shape)
        plain = model(**batch).logits
        with skipping(model, "none"):
            inside = model(**batch).logits
        with skipping(model, plan):
            model(**batch)
        worst = max(worst, *(float((other - plain).abs().max()) for other in (inside, model(**batch).logits)))
    return worst


def prefill(model: Any, plan: SkipPlan) -> float:
    worst = 0.0
    for shape in SHAPES:
        batch = models.with_positions(models.batch_for(model, **shape))
        real = batch["attention_mask"].bool()
        with skipping(model, plan):
            fast = model(**batch).logits
        worst = max(worst, relative(fast[real], planned_logits(model, batch, str(plan))[real]))
    return worst


def batch_as_singles(model: Any, plan: SkipPlan) -> float:
    images = (2, 0, 1)
    batch = models.batch_for(model, images=images, after=(4, 7, 2))
    worst = 0.0
    with skipping(model, plan):
        together = model(**models.with_positions(batch)).logits[:, -1]
        for row in range(len(images)):
            alone = models.with_positions(models.row_of(model, batch, images, row))
            worst = max(worst, relative(together[row], model(**alone).logits[0, -1]))
    return worst


def greedy(model: Any, plan: SkipPlan) -> float:
    """Cached logits of every step, and the tokens chosen, against the twin without a cache."""
    worst = 0.0
    for shape in SHAPES:
        batch = models.batch_for(model, **shape)
        with skipping(model, plan):
            out = generate(model, batch, do_sample=False, output_logits=True)
        slow = teacher(model, batch, out.sequences, plan)
        fast = torch.stack(out.logits, dim=1)
        chosen = out.sequences[:, batch["input_ids"].shape[1] :]
        assert torch.equal(chosen, allowed(model, fast).argmax(-1))
        worst = max(worst, relative(fast, slow))
    return worst


def sampling(model: Any, plan: SkipPlan) -> float:
    """Fraction of tokens that differ from sampling the twin's logits with the same seed."""
    batch = models.batch_for(model, **SHAPES[1])
    with skipping(model, plan):
        torch.manual_seed(1)
        fast = generate(model, batch, do_sample=True).sequences
    torch.manual_seed(1)
    slow = batch["input_ids"]
    for _ in range(NEW_TOKENS):
        whole = models.with_positions(models.lengthened(model, batch, slow))
        logits = planned_logits(model, whole, str(plan), prompt=batch["input_ids"].shape[1])
        logits = allowed(model, logits[:, -1])
        slow = torch.cat([slow, torch.multinomial(logits.softmax(-1), 1)], dim=1)
    return float((fast != slow).double().mean())


def beams(model: Any, plan: SkipPlan) -> float:
    """Relative error of the winners' scores, which the twin reproduces by teacher forcing."""
    batch = models.batch_for(model, images=(1, 1), after=(3, 6))
    settings = dict(num_beams=3, do_sample=False, output_scores=True)
    try:
        with skipping(model, plan):
            out = generate(model, batch, **settings)
    except (RuntimeError, ValueError):
        _not_offered(lambda: generate(model, batch, **settings))
        raise
    logits = teacher(model, batch, out.sequences, plan)
    logs = torch.log_softmax(logits, dim=-1)
    chosen = out.sequences[:, batch["input_ids"].shape[1] :]
    scores = logs.gather(2, chosen.unsqueeze(-1)).squeeze(-1).mean(dim=1)
    return relative(out.sequences_scores, scores)


def _not_offered(without_a_plan: Callable[[], Any]) -> None:
    try:
        without_a_plan()
    except (RuntimeError, ValueError):
        raise NotApplicable(f"fails in transformers {transformers.__version__} without any plan") from None


def prompt_lookup(model: Any, plan: SkipPlan) -> float:
    return _speculative(model, plan, prompt_lookup_num_tokens=3)


def assisted(model: Any, plan: SkipPlan) -> float:
    """With a draft model of the same family that has other weights, its layers not skipped."""
    family = model.config.model_type
    draft = models.random_model(family, model.config.get_text_config()._attn_implementation, layers=2, seed=1)
    return _speculative(model, plan, assistant_model=draft)


def _speculative(model: Any, plan: SkipPlan, **settings: Any) -> float:
    if model.config.model_type == "paligemma":
        raise NotApplicable("transformers takes the first guesses into PaliGemma's prefix, without any plan as well")
    batch = models.batch_for(model, **SHAPES[0])
    with skipping(model, plan):
        fast = generate(model, batch, do_sample=False, **settings).sequences
    slow = teacher(model, batch, fast, plan)
    chosen = allowed(model, slow).argmax(-1)
    return float((fast[:, batch["input_ids"].shape[1] :] != chosen).double().mean())


def chunked(model: Any, plan: SkipPlan) -> float:
    """A prompt in three pieces on one cache, cut within the text."""
    batch = models.batch_for(model, images=(1,), after=(8,))
    length = batch["input_ids"].shape[1]
    return _pieces(model, plan, batch, [(0, length - 5, 1), (length - 5, length - 2, 0), (length - 2, length, 0)])


def second_image(model: Any, plan: SkipPlan) -> float:
    """Another image and question on the cache of the first; not for prunings, which each call decides by its end."""
    plan = replace(plan, pruned=())
    batch = models.batch_for(model, images=(2,), after=(4,))
    cut = 3 + models.image_tokens(model) + 1
    return _pieces(model, plan, batch, [(0, cut, 1), (cut, batch["input_ids"].shape[1], 1)])


def _pieces(model: Any, plan: SkipPlan, batch: Batch, pieces: list[tuple[int, int, int]]) -> float:
    if model.config.model_type == "paligemma":
        raise NotApplicable("all of PaliGemma's prompt sees all of it, so it cannot come in pieces")
    positions = models.with_positions(batch).get("position_ids")
    if positions is None:
        names = ("input_ids", "mm_token_type_ids", "image_grid_thw", "attention_mask")
        positions = model.model.get_rope_index(**{name: batch[name] for name in names})[0]
    cache, logits, shown = None, [], 0
    with skipping(model, plan):
        for start, stop, count in pieces:
            piece = {
                "input_ids": batch["input_ids"][:, start:stop],
                "attention_mask": batch["attention_mask"][:, :stop],
            }
            if "token_type_ids" in batch and count:
                piece["token_type_ids"] = batch["token_type_ids"][:, :stop]
            piece |= models.pictures_of(batch, (shown + count,), 0, shown, count)
            shown += count
            out = model(**piece, position_ids=positions[..., start:stop], past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            logits.append(out.logits)
    slow = planned_logits(model, models.with_positions(batch), str(plan), prompt=pieces[0][1])
    return relative(torch.cat(logits, dim=1), slow)


def gradients(model: Any, plan: SkipPlan) -> float:
    """Gradients of all parameters."""
    batch = models.with_positions(models.batch_for(model, **SHAPES[1]))
    real = batch["attention_mask"].bool()
    with torch.enable_grad(), skipping(model, plan):
        fast = _gradient(model, model(**batch).logits[real])
    with torch.enable_grad():
        slow = _gradient(model, planned_logits(model, batch, str(plan), gradients=True)[real])
    return relative(fast, slow)


def _gradient(model: Any, logits: torch.Tensor) -> torch.Tensor:
    weights = list(model.parameters())
    found = torch.autograd.grad(logits.square().mean(), weights, allow_unused=True)
    return torch.cat(
        [torch.zeros(w.numel()) if g is None else g.flatten() for g, w in zip(found, weights, strict=True)]
    )


def half_precision(model: Any, plan: SkipPlan) -> float:
    """Largest logit difference from the twin in bfloat16, in standard deviations of the logits."""
    batch, model = models.with_positions(models.batch_for(model, **SHAPES[1])), deepcopy(model)
    for weight in model.parameters():
        weight.data = weight.data.to(torch.bfloat16)
    for name in {"pixel_values", "high_res_pixel_values"} & set(batch):
        batch[name] = batch[name].to(torch.bfloat16)
    real = batch["attention_mask"].bool()
    with skipping(model, plan):
        fast = model(**batch).logits[real].double()
    slow = planned_logits(model, batch, str(plan))[real].double()
    return float((fast - slow).abs().max() / slow.std())


@dataclass(frozen=True)
class Property:
    """One column of the table: a check, the largest error that passes, and the plans it is made under."""

    name: str
    check: Callable[[Any, SkipPlan], float]
    limit: float
    plans: tuple[str, ...] = PLANS


PROPERTIES = (
    Property("empty plan, after leaving", unchanged, 0.0, JOINED),
    Property("prefill", prefill, 1e-4),
    Property("batch = singles", batch_as_singles, 1e-4),
    Property("greedy, cached", greedy, 1e-4),
    Property("sampling", sampling, 0.0, JOINED),
    Property("beam search", beams, 1e-4, JOINED),
    Property("prompt lookup", prompt_lookup, 0.0, JOINED),
    Property("assisted", assisted, 0.0, JOINED),
    Property("chunked prefill", chunked, 1e-4),
    Property("second image", second_image, 1e-4),
    Property("gradients", gradients, 1e-4),
    Property("bfloat16", half_precision, 0.5, JOINED),
)
TABLE_FAMILIES = tuple(name for name in models.FAMILY_NAMES if name != "llava-mistral")


@torch.no_grad()
def worst_error(family: str, attention: str, item: Property, plans: Iterable[str] | None = None) -> float:
    """Largest error of a property over its plans or over these; NaN counts as infinite."""
    flash = attention == flash_kernel.NAME
    if flash and (why := models.unsuited(family)) is not None:
        raise NotApplicable(why)
    worst, model = 0.0, models.random_model(family, attention)
    with flash_kernel.installed() if flash else nullcontext():
        for text in item.plans if plans is None else plans:
            error = item.check(model, SkipPlan.parse(text))
            worst = max(worst, error if error == error else float("inf"))
    return worst


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.vlm.exactness", description=__doc__.splitlines()[0])
    parser.add_argument("--family", nargs="+", choices=models.FAMILY_NAMES, default=TABLE_FAMILIES)
    parser.add_argument("--markdown", type=Path, help="also write the table to this file")
    chosen = parser.parse_args(arguments)
    transformers.logging.set_verbosity_error()
    warnings.filterwarnings("ignore", "`past_key_values` is deprecated", FutureWarning)
    # Matrices this small are slower on several threads.
    torch.set_num_threads(1)
    lines = ["| family | attention | " + " | ".join(p.name for p in PROPERTIES) + " |"]
    lines.append("| --- | --- |" + " ---: |" * len(PROPERTIES))
    notes: list[str] = []
    failed = 0
    print("\n".join(lines))
    for family in chosen.family:
        if (why := models.absent(family)) is not None:
            notes.append(why)
            continue
        for attention in ATTENTION:
            if attention == flash_kernel.NAME and (why := models.unsuited(family)) is not None:
                notes.append(why)
                continue
            cells = []
            for item in PROPERTIES:
                try:
                    error = worst_error(family, attention, item)
                except NotApplicable as reason:
                    cells.append("n/a")
                    notes.append(f"{family}, {item.name}: {reason}")
                    continue
                failed += error > item.limit
                cells.append(("**{}**" if error > item.limit else "{}").format(f"{error:.1e}" if error else "0"))
            lines.append(f"| {family} | {attention} | " + " | ".join(cells) + " |")
            print(lines[-1], flush=True)
    notes = list(dict.fromkeys(notes))
    print("\n".join(notes))
    if chosen.markdown:
        chosen.markdown.write_text(_page(lines, notes))
    return 1 if failed else 0


def _page(lines: list[str], notes: list[str]) -> str:
    versions = f"torch {torch.__version__.split('+')[0]} and transformers {transformers.__version__} on the CPU"
    plans, joined = (", ".join(f"`{plan}`" for plan in some) for some in (PLANS, JOINED))
    few = ", ".join(p.name for p in PROPERTIES if p.plans is not PLANS)
    limits = ", ".join(f"{p.name} {p.limit:g}" for p in PROPERTIES)
    what = f"""
        Written by `python -m tests.vlm.exactness --markdown docs/benchmarks/exactness.md` with {versions}. Every cell
        is the worst error over the plans {plans} ({few}: {joined}) on 5-layer random models of the real classes,
        against a slow twin that runs every layer on every token with a closed mask and has no cache. 0 means
        bit-identical logits, or the same tokens. Errors are relative, of all logits in float32; beam search: of the
        winners' scores; gradients: of all parameters; bfloat16: the largest logit difference in standard deviations
        of the logits. Largest errors that pass: {limits}. {flash_kernel.NAME}: transformers' own path around a plain
        softmax in place of the kernel, which needs a GPU (tests/support/flash_kernel.py); that one takes each sequence
        by itself, hence batches that equal singles to the bit.
    """
    text = textwrap.wrap(" ".join(what.split()), 120, break_on_hyphens=False)
    notes = [f"- n/a: {note}." for note in notes]
    return "\n".join(["# How exact skipping is", "", *text, "", *lines, "", *notes, ""])


if __name__ == "__main__":
    sys.exit(main())
