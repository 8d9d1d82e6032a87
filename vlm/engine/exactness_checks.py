"""The checks of the exactness table: a model under a plan against the masked reference, one function per property.

Every check returns an error; 0 stands for bit-identical logits or for the same tokens.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import Any

import torch
import transformers
from torch import Tensor

from vlm.engine.masked_reference import planned_logits
from vlm.engine.skipping import skipping
from vlm.models.random_batches import Batch, batch_for, image_tokens, images_of, lengthened, single_row, with_positions
from vlm.models.random_models import random_model
from vlm.models.transformers_internals import attention_implementation
from vlm.models.types import Model
from vlm.plans.plan import SkipPlan

PLANS = (
    "vision:0-2",
    "vision:3-",
    "vision:2-4/text:3-4",
    "freeze:1-3/text:3-4",
    "attention:1-2/mlp:3-4",
    "keep:1-3=1-3/prune:3=0.5",
    # Not by halves, after which a router of random weights held two experts for equal to 1e-7.
    "merge:1=0~0x0.6,2x0.4/keep:1-=0-1+3-/rank:2=0.6/leave:3=0.3",
)
# For checks that are slow, or whose result must not depend on which call decides a pruning.
JOINED = ("vision:0-1+3-/text:2-3", "freeze:1-3/keep:3-=1-", "attention:0-2/mlp:3-4")
SINGLE = ((1,), (6,))  # images, and text tokens after them, of each row
RAGGED = ((2, 0, 1), (4, 7, 2))
SHAPES = (SINGLE, RAGGED)
NEW_TOKENS = 6


class NotApplicable(Exception):
    """The property has no meaning for this family, or transformers itself does not offer it."""


def relative(a: Tensor, b: Tensor) -> float:
    """Relative error of a with respect to b, in the Euclidean norm."""
    return float((a.double() - b.double()).norm() / b.double().norm())


def generate(model: Model, batch: Batch, **settings: Any) -> Any:
    """Generate `NEW_TOKENS` tokens."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return model.generate(**batch, max_new_tokens=NEW_TOKENS, return_dict_in_generate=True, **settings)


def teacher(model: Model, batch: Batch, sequences: Tensor, plan: SkipPlan) -> Tensor:
    """Reference logits (batch, new tokens, vocabulary) from which each generated token is chosen."""
    start = batch["input_ids"].shape[1]
    prompt_and_answer = with_positions(lengthened(model, batch, sequences))
    return planned_logits(model, prompt_and_answer, str(plan), prompt=start)[:, start - 1 : -1]


def allowed(model: Model, logits: Tensor) -> Tensor:
    """Logits with -inf for the tokens that the model never generates."""
    logits = logits.clone()
    logits[..., model.generation_config.suppress_tokens] = -torch.inf
    return logits


def unchanged(model: Model, plan: SkipPlan) -> float:
    """Largest logit difference under the empty plan, and after leaving a plan."""
    worst = 0.0
    for shape in SHAPES:
        batch = batch_for(model, *shape)
        plain = model(**batch).logits
        with skipping(model, "none"):
            inside = model(**batch).logits
        with skipping(model, plan):
            model(**batch)
        worst = max(worst, *(float((other - plain).abs().max()) for other in (inside, model(**batch).logits)))
    return worst


def prefill(model: Model, plan: SkipPlan) -> float:
    """Relative error of the logits of all prompt tokens."""
    worst = 0.0
    for shape in SHAPES:
        batch = with_positions(batch_for(model, *shape))
        real = batch["attention_mask"].bool()
        with skipping(model, plan):
            fast = model(**batch).logits
        worst = max(worst, relative(fast[real], planned_logits(model, batch, str(plan))[real]))
    return worst


def batch_as_singles(model: Model, plan: SkipPlan) -> float:
    """Relative difference of the last logits of a ragged batch and of its rows alone."""
    images = (2, 0, 1)
    batch = batch_for(model, images=images, after=(4, 7, 2))
    worst = 0.0
    with skipping(model, plan):
        together = model(**with_positions(batch)).logits[:, -1]
        for row in range(len(images)):
            if not images[row] and needs_an_image(model):
                continue
            alone = with_positions(single_row(model, batch, images, row))
            worst = max(worst, relative(together[row], model(**alone).logits[0, -1]))
    return worst


def greedy(model: Model, plan: SkipPlan) -> float:
    """Relative error of the logits of every decoding step, against the reference without a cache."""
    worst = 0.0
    for shape in SHAPES:
        batch = batch_for(model, *shape)
        with skipping(model, plan):
            out = generate(model, batch, do_sample=False, output_logits=True)
        slow = teacher(model, batch, out.sequences, plan)
        fast = torch.stack(out.logits, dim=1)
        chosen = out.sequences[:, batch["input_ids"].shape[1] :]
        if not torch.equal(chosen, allowed(model, fast).argmax(-1)):
            raise RuntimeError("greedy decoding chose tokens that do not maximise its own logits")
        worst = max(worst, relative(fast, slow))
    return worst


def sampling(model: Model, plan: SkipPlan) -> float:
    """Fraction of tokens that differ from sampling the reference logits with the same seed."""
    batch = batch_for(model, *RAGGED)
    with skipping(model, plan):
        torch.manual_seed(1)
        fast = generate(model, batch, do_sample=True).sequences
    torch.manual_seed(1)
    slow = batch["input_ids"]
    for _ in range(NEW_TOKENS):
        prompt_and_answer = with_positions(lengthened(model, batch, slow))
        logits = planned_logits(model, prompt_and_answer, str(plan), prompt=batch["input_ids"].shape[1])
        logits = allowed(model, logits[:, -1])
        slow = torch.cat([slow, torch.multinomial(logits.softmax(-1), 1)], dim=1)
    return float((fast != slow).double().mean())


def beams(model: Model, plan: SkipPlan) -> float:
    """Relative error of the best beams' scores, which the reference reproduces by teacher forcing."""
    batch = batch_for(model, images=(1, 1), after=(3, 6))
    settings = dict(num_beams=3, do_sample=False, output_scores=True)
    try:
        with skipping(model, plan):
            out = generate(model, batch, **settings)
    except Exception:
        _not_offered(lambda: generate(model, batch, **settings))
        raise
    logits = teacher(model, batch, out.sequences, plan)
    logs = torch.log_softmax(logits, dim=-1)
    chosen = out.sequences[:, batch["input_ids"].shape[1] :]
    scores = logs.gather(2, chosen.unsqueeze(-1)).squeeze(-1).mean(dim=1)
    return relative(out.sequences_scores, scores)


def needs_an_image(model: Model) -> bool:
    """Whether the model's forward takes no text without an image (BLIP-2)."""
    return model.config.model_type in ("blip-2", "instructblip")


def _not_offered(without_a_plan: Callable[[], object]) -> None:
    """Raise NotApplicable if the same call fails without a plan too."""
    try:
        without_a_plan()
    except Exception:
        raise NotApplicable(f"fails in transformers {transformers.__version__} without any plan") from None


def prompt_lookup(model: Model, plan: SkipPlan) -> float:
    """Fraction of wrong tokens in speculative decoding with candidates from the prompt."""
    return _speculative(model, plan, prompt_lookup_num_tokens=3)


def assisted(model: Model, plan: SkipPlan) -> float:
    """Fraction of wrong tokens with a draft model of the same family and other weights, whose layers all run."""
    family = model.config.model_type
    attention = attention_implementation(model.config.get_text_config()) or "sdpa"
    draft = random_model(family, attention, layers=2, seed=1)
    return _speculative(model, plan, assistant_model=draft)


def _speculative(model: Model, plan: SkipPlan, **settings: Any) -> float:
    if model.config.model_type == "paligemma":
        raise NotApplicable("transformers takes the first candidates into PaliGemma's prefix, even without a plan")
    if needs_an_image(model):
        raise NotApplicable("transformers' own answers with candidates are not its greedy ones, even without a plan")
    batch = batch_for(model, *SINGLE)
    try:
        with skipping(model, plan):
            fast = generate(model, batch, do_sample=False, **settings).sequences
    except Exception:
        _not_offered(lambda: generate(model, batch, do_sample=False, **settings))
        raise
    slow = teacher(model, batch, fast, plan)
    chosen = allowed(model, slow).argmax(-1)
    return float((fast[:, batch["input_ids"].shape[1] :] != chosen).double().mean())


def chunked(model: Model, plan: SkipPlan) -> float:
    """Relative error of a prompt in three pieces on one cache, cut within the text."""
    batch = batch_for(model, images=(1,), after=(8,))
    length = batch["input_ids"].shape[1]
    return _pieces(model, plan, batch, [(0, length - 5, 1), (length - 5, length - 2, 0), (length - 2, length, 0)])


def second_image(model: Model, plan: SkipPlan) -> float:
    """Relative error of a second image and question on the cache of the first.

    Without choices by attention, which each call makes for itself.
    """
    plan = replace(plan, pruned=(), ranked=(), leaving=())
    batch = batch_for(model, images=(2,), after=(4,))
    cut = 3 + image_tokens(model) + 1
    return _pieces(model, plan, batch, [(0, cut, 1), (cut, batch["input_ids"].shape[1], 1)])


def _pieces(model: Model, plan: SkipPlan, batch: Batch, pieces: list[tuple[int, int, int]]) -> float:
    if model.config.model_type == "paligemma":
        raise NotApplicable("PaliGemma's prompt attends to all of itself, so it cannot come in pieces")
    if needs_an_image(model):
        raise NotApplicable("every call of its forward needs an image, so that a prompt cannot come in pieces")
    if model.config.model_type == "molmo2" and pieces[1][2]:
        raise NotApplicable("all images of a prompt form one block that sees itself both ways, also without a plan")
    positions = with_positions(batch).get("position_ids")
    if positions is None:
        names = ("input_ids", "mm_token_type_ids", "image_grid_thw", "attention_mask")
        positions = model.model.get_rope_index(**{name: batch[name] for name in names})[0]
    cache, shown = None, 0
    logits: list[Tensor] = []
    with skipping(model, plan):
        for start, stop, count in pieces:
            piece = {
                "input_ids": batch["input_ids"][:, start:stop],
                "attention_mask": batch["attention_mask"][:, :stop],
            }
            for name in ("token_type_ids", "mm_token_type_ids"):
                if name in batch and count and "image_grid_thw" not in batch:
                    piece[name] = batch[name][:, :stop]
            piece |= images_of(batch, (shown + count,), 0, shown, count)
            shown += count
            out = model(**piece, position_ids=positions[..., start:stop], past_key_values=cache, use_cache=True)
            cache = out.past_key_values
            logits.append(out.logits)
    slow = planned_logits(model, with_positions(batch), str(plan), prompt=pieces[0][1])
    return relative(torch.cat(logits, dim=1), slow)


def gradients(model: Model, plan: SkipPlan) -> float:
    """Relative error of the gradients of all parameters."""
    batch = with_positions(batch_for(model, *RAGGED))
    real = batch["attention_mask"].bool()
    with torch.enable_grad(), skipping(model, plan):
        fast = _gradient(model, model(**batch).logits[real])
    with torch.enable_grad():
        slow = _gradient(model, planned_logits(model, batch, str(plan), gradients=True)[real])
    return relative(fast, slow)


def _gradient(model: Model, logits: Tensor) -> Tensor:
    weights = list(model.parameters())
    gradients = torch.autograd.grad(logits.square().mean(), weights, allow_unused=True)
    return torch.cat(
        [torch.zeros(w.numel()) if g is None else g.flatten() for g, w in zip(gradients, weights, strict=True)]
    )


def half_precision(model: Model, plan: SkipPlan) -> float:
    """Largest logit difference from the reference in bfloat16, in standard deviations of the logits."""
    config = model.config.get_text_config()
    if getattr(config, "num_experts", 0) and "linear_attention" in (getattr(config, "layer_types", None) or ()):
        raise NotApplicable("after rounding, a router of random weights sends a token to another expert (one of 37)")
    batch, model = with_positions(batch_for(model, *RAGGED)), deepcopy(model)
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
    """One column of the table.

    Attributes
    ----------
    name : str
        Heading of the column.
    check : callable
        Error of a model under a plan.
    limit : float
        Largest error that passes.
    plans : tuple of str
        Plans under which it is checked.
    """

    name: str
    check: Callable[[Model, SkipPlan], float]
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
