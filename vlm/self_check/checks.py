"""Whether plans are exact, and how fast they are, on the user's own model and machine."""

from __future__ import annotations

import platform
import statistics
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
import transformers
from torch import Tensor

from vlm.engine.hooks import attached
from vlm.engine.masked_reference import planned_logits
from vlm.engine.skipping import skipping
from vlm.evaluation.timing import prefill_times
from vlm.hidden_states.recording import states
from vlm.measure.attention_ratio import attention
from vlm.measure.distances import probe
from vlm.models.families import Anatomy, Family, anatomy
from vlm.models.prompts import inputs, wording
from vlm.models.types import Model, Processor
from vlm.models.wrappers import unwrapped
from vlm.plans.cost import operations_ratio, plan_cost
from vlm.plans.plan import SkipPlan
from vlm.progress_bar import by_count
from vlm.self_check.findings import Checkup, Finding, Status

_QUESTIONS = ("Describe the picture.", "Which colours are there in the picture, and where? Answer in one word.")
_NEW_TOKENS = 5
# Relative error of float32 logits, and largest difference in standard deviations of 16-bit ones.
_LIMIT, _LIMIT_16 = 1e-4, 0.5


def check(
    model: Model,
    processor: Processor,
    plan: SkipPlan | str | None = None,
    *,
    family: Family | None = None,
    rounds: int = 3,
    progress: bool = False,
) -> Checkup:
    """Check on this model and this machine that plans are exact, and see what they save.

    Runs the model on a synthetic picture with two short questions: parts found; the empty plan bit by bit; plans
    against a slow reference that masks instead of skipping; generation with a cache against calls without one; a padded
    batch against its rows; observers; the cache's size against the counted one. Times are shown beside counted
    operations and have no limit, since other work on the machine changes them.

    Parameters
    ----------
    model, processor
        As `vlm.load` returns them; adapters, quantised and offloaded weights included.
    plan : SkipPlan or str, optional
        The plan that you mean to use; None tries one of every kind.
    family : Family, optional
        For a model that is not of a known family.
    rounds : int
        Rounds of timing.
    progress : bool
        Show a bar with the time left.

    Returns
    -------
    Checkup
        ``print`` it; `.passed` says whether everything that has a limit kept it.

    Raises
    ------
    TypeError
        The model is not a vision-language model.

    See Also
    --------
    vlm.skipping : Run the model under a plan.

    Notes
    -----
    Limits: relative error 1e-4 for float32 weights; 0.5 standard deviations of the logits for 16-bit or quantised ones,
    where two orders of summation differ as much. A pruning chooses by attention, so that rounding may choose another
    token in 16 bits.

    Examples
    --------
    >>> import vlm
    >>> model, processor = vlm.load("tiny")
    >>> vlm.check(model, processor, "vision:8-", rounds=1).passed
    True
    """
    model = unwrapped(model)
    parts = anatomy(model, family)
    was_training = model.training
    model.eval()
    try:
        with torch.no_grad():
            findings = tuple(_findings(model, processor, parts, plan, rounds, progress))
    finally:
        model.train(was_training)
    return Checkup(_machine(model), findings)


@dataclass(frozen=True, eq=False)
class _Prompts:
    """A padded batch, and each of its rows as processed alone."""

    batch: Mapping[str, Tensor]
    rows: tuple[Mapping[str, Tensor], ...]

    @classmethod
    def build(cls, model: Model, processor: Processor) -> _Prompts:
        from PIL import Image

        noise = np.random.default_rng(0).integers(0, 256, (48, 48, 3), dtype=np.uint8)
        picture = Image.fromarray(noise)
        texts = [wording(processor, f"<image> {question}", 1) for question in _QUESTIONS]
        rows = tuple(inputs(model, processor, [text], [picture]) for text in texts)
        return cls(inputs(model, processor, texts, [picture] * len(texts)), rows)


def _findings(
    model: Model, processor: Processor, parts: Anatomy, plan: SkipPlan | str | None, rounds: int, progress: bool
) -> Iterator[Finding]:
    where = f"{parts.depth} x {type(parts.layers[0]).__name__} at {parts.family.decoder or 'the top'}"
    yield Finding("parts of the model", "note", f"{where}, image tokens {sorted(parts.placeholders)}")
    with attached(model, parts.family) as engine:
        yield Finding("attention implementation", "note", engine.attention_name)
    prompts = _Prompts.build(model, processor)
    one = prompts.rows[0]
    vision = int(torch.isin(one["input_ids"].cpu(), torch.tensor(sorted(parts.placeholders))).sum())
    text = one["input_ids"].shape[1] - vision
    yield Finding("image tokens and text tokens of a prompt", "pass" if vision else "FAIL", f"{vision}, {text}")
    plain = model(**one).logits
    yield _same("the same call twice", model(**one).logits, plain)
    with skipping(model, "none", family=parts.family):
        yield _same("the empty plan", model(**one).logits, plain)
    with probe(model, family=parts.family):
        yield _same("vlm.probe changes no output", model(**one).logits, plain)
    with states(model, family=parts.family):
        yield _same("vlm.states changes no output", model(**one).logits, plain)
    yield from _attempt("vlm.attention changes no output", lambda: _attended(model, parts, one, plain))
    plans = _plans(parts.depth) if plan is None else (SkipPlan.parse(plan) if isinstance(plan, str) else plan,)
    for chosen in by_count(plans, len(plans), "plans", shown=progress):
        yield from _attempt(f"{chosen}", partial(_of_plan, model, parts, prompts, chosen, vision, text))
    yield _same("after all plans, the model as before", model(**one).logits, plain)
    yield from _attempt("times", partial(_times, model, parts, one, plans, vision, text, rounds, progress))


def _plans(depth: int) -> tuple[SkipPlan, ...]:
    """One plan of every kind."""
    a, b = max(1, depth // 4), max(2, depth // 2)
    texts = (f"vision:0-{a}", f"vision:{b}-", f"vision:{a}-{b}/text:{a}-{b}", f"freeze:{a}-{b}", f"keep:{a}-=0-4")
    chosen = (f"prune:{a}=0.5", f"rank:{a}=0.5", f"leave:{a}=0.5", f"merge:{a}=0~0x0.5,1x0.5/keep:{a}-=0+2-")
    others = (f"attention:{a}-{b}", f"mlp:{a}-{b}", f"keep:{a}-=0-4/renumber:{a}-")
    return tuple(map(SkipPlan.parse, (*texts, *chosen, *others)))


def _attempt(what: str, run: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    """The findings of one part of the page; what the library refuses is no failure, what breaks is one."""
    try:
        yield from run()
    except NotImplementedError as reason:
        yield Finding(what, "refused", str(reason))
    except Exception as error:
        yield Finding(what, "FAIL", f"{type(error).__name__}: {' '.join(str(error).split())[:200]}")


def _same(what: str, found: Tensor, expected: Tensor) -> Finding:
    difference = float((found.float() - expected.float()).abs().max())
    return Finding(what, "pass" if torch.equal(found, expected) else "FAIL", f"largest difference {difference:.1e}")


def _close(what: str, found: Tensor, expected: Tensor, exact: bool) -> Finding:
    a, b = found.to("cpu", torch.float64), expected.to("cpu", torch.float64)
    if exact:
        error, limit, unit = float((a - b).norm() / b.norm()), _LIMIT, "relative error"
    else:
        error, limit, unit = float((a - b).abs().max() / b.std()), _LIMIT_16, "largest difference, in deviations,"
    return Finding(what, "pass" if error <= limit else "FAIL", f"{unit} {error:.1e}, limit {limit:g}")


def _exact(model: Model) -> bool:
    """Whether the model computes in 32 bits or more throughout. Some quantised maps depend on the rest of the batch."""
    return model.dtype in (torch.float32, torch.float64) and getattr(model.config, "quantization_config", None) is None


def _attended(model: Model, parts: Anatomy, one: Mapping[str, Tensor], plain: Tensor) -> Iterator[Finding]:
    with attention(model, family=parts.family) as seen:
        yield _same("vlm.attention changes no output", model(**one).logits, plain)
    ratios = seen.ratios()
    fine = bool(np.isfinite(ratios).all() and (ratios >= 0).all() and (ratios <= 1 + 1e-6).all())
    yield Finding(
        "attention ratios are in [0, 1]", "pass" if fine else "FAIL", f"{ratios.min():.2f} to {ratios.max():.2f}"
    )


def _of_plan(
    model: Model, parts: Anatomy, prompts: _Prompts, plan: SkipPlan, vision: int, text: int
) -> Iterator[Finding]:
    one, exact = dict(prompts.rows[0]), _exact(model)
    with skipping(model, plan, family=parts.family):
        fast = model(**one).logits
    yield _chosen(model, plan, _close(f"{plan}: against masking", fast, planned_logits(model, one, str(plan)), exact))
    with skipping(model, plan, family=parts.family):
        out = _generated(model, parts, one)
        yield _continued(model, parts, plan, one, out)
        together = model(**_placed(parts, prompts.batch)).logits[:, -1]
        alone = torch.cat([model(**row).logits[:, -1] for row in prompts.rows])
        yield _chosen(model, plan, _close(f"{plan}: padded batch against its rows", together, alone, exact))
        held = model(**one, use_cache=True).past_key_values
    counted = plan_cost(model, vision=vision, text=text, plan=plan, family=parts.family).cache_bytes.sum()
    size = sum(t.numel() * t.element_size() for layer in held.layers for t in _tensors_of(layer) if t is not None)
    status: Status = "pass" if abs(size - counted) <= 0.01 * counted else "FAIL"
    yield Finding(f"{plan}: bytes of the cache", status, f"{size}, counted {counted:.0f}")


def _chosen(model: Model, plan: SkipPlan, found: Finding) -> Finding:
    """The finding, which is no failure of a plan that chooses by attention where rounding may choose another token."""
    if found.status == "FAIL" and plan.chooses and not _exact(model):
        return Finding(found.what, "note", f"{found.found}; rounding may have chosen other tokens")
    return found


def _tensors_of(layer: Any) -> list[Any]:
    """Keys and values of a layer of a cache, or its recurrent states."""
    kinds = [getattr(layer, name, None) for name in ("conv_states", "recurrent_states")]
    recurrent = [part for kind in kinds if isinstance(kind, dict) for part in kind.values()]
    return [*recurrent, getattr(layer, "keys", None), getattr(layer, "values", None)]


def _generated(model: Model, parts: Anatomy, one: Mapping[str, Tensor]) -> Any:
    settings: dict[str, Any] = dict(max_new_tokens=_NEW_TOKENS, min_new_tokens=_NEW_TOKENS, do_sample=False)
    # A model without its weights may generate a placeholder, for which a call without a cache would want an image.
    settings["suppress_tokens"] = sorted(parts.placeholders)
    return model.generate(**one, **settings, return_dict_in_generate=True, output_logits=True)


def _continued(model: Model, parts: Anatomy, plan: SkipPlan, one: Mapping[str, Tensor], out: Any) -> Finding:
    """Each generated token's logits against those of a call without a cache."""
    what = f"{plan}: generation with a cache against without"
    if plan.chooses:
        return Finding(what, "note", "left out: without a cache each call prunes anew")
    start = one["input_ids"].shape[1]
    longer = _lengthened(one, out.sequences[:, :-1])
    slow = model(**longer, use_cache=False).logits[:, start - 1 :]
    return _close(what, torch.stack(out.logits, dim=1).to(slow.dtype), slow, _exact(model))


_BY_TOKEN = ("input_ids", "attention_mask", "token_type_ids", "mm_token_type_ids")


def _lengthened(one: Mapping[str, Tensor], sequences: Tensor) -> dict[str, Tensor]:
    more = sequences.shape[1] - one["input_ids"].shape[1]
    out = {**one, "input_ids": sequences}
    for name in _BY_TOKEN[1:]:
        if name in one:
            fill = one[name].new_full((len(sequences), more), 1 if name == "attention_mask" else 0)
            out[name] = torch.cat([one[name], fill], dim=1)
    return out


def _placed(parts: Anatomy, batch: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The batch with positions that count real tokens only; models with several axes of positions find them alone."""
    if hasattr(parts.inner, "get_rope_index") or "attention_mask" not in batch:
        return dict(batch)
    return {**batch, "position_ids": (batch["attention_mask"].cumsum(1) - 1).clamp(min=0)}


def _times(
    model: Model,
    parts: Anatomy,
    one: Mapping[str, Tensor],
    plans: Sequence[SkipPlan],
    vision: int,
    text: int,
    rounds: int,
    progress: bool,
) -> Iterator[Finding]:
    possible = []
    for plan in by_count(plans, len(plans), "first calls", shown=progress):
        try:
            counted = operations_ratio(model, plan, vision=vision, text=text, head_tokens=1, family=parts.family)
            with skipping(model, plan, family=parts.family):
                model(**one, logits_to_keep=1)
        except (NotImplementedError, ValueError, TypeError):
            continue
        possible.append((plan, counted))
    seconds, ratios = prefill_times(
        model, one, [SkipPlan(), *(plan for plan, _ in possible)], rounds=rounds, progress=progress
    )
    yield Finding("time of a prompt without a plan, with its picture", "note", f"{seconds[0] * 1e3:.1f} ms")
    for (plan, counted), ratio in zip(possible, ratios[1:], strict=True):
        yield Finding(f"{plan}: time", "note", f"{ratio:.2f} of it; the decoder's counted operations {counted:.2f}")
    for name, context in (("vlm.probe", probe), ("vlm.states", states), ("vlm.attention", attention)):
        try:
            ratio = _overhead(model, one, partial(context, model, family=parts.family), rounds)
        except NotImplementedError:
            continue  # said where its result was checked
        yield Finding(f"{name}: time", "note", f"{ratio:.2f} of it")
    if model.device.type == "cuda":
        for plan in (SkipPlan(), *(plan for plan, _ in possible)):
            torch.cuda.reset_peak_memory_stats(model.device)
            with skipping(model, plan, family=parts.family):
                model(**one, logits_to_keep=1)
            peak = torch.cuda.max_memory_allocated(model.device)
            yield Finding(f"{plan}: peak memory", "note", f"{peak / 1e9:.2f} GB")


def _overhead(model: Model, one: Mapping[str, Tensor], context: Callable[[], Any], rounds: int) -> float:
    ratios = []
    for _ in range(rounds + 1):
        taken = [_timed(model, one, opened) for opened in (nullcontext, context)]
        ratios.append(taken[1] / taken[0])
    return statistics.median(ratios[1:])


def _timed(model: Model, one: Mapping[str, Tensor], context: Callable[[], Any]) -> float:
    with context(), _finished(model):
        start = time.perf_counter()
        model(**one, logits_to_keep=1)
        if model.device.type == "cuda":
            torch.cuda.synchronize(model.device)
        return time.perf_counter() - start


@contextmanager
def _finished(model: Model) -> Iterator[None]:
    if model.device.type == "cuda":
        torch.cuda.synchronize(model.device)
    yield


def _machine(model: Model) -> str:
    quantised = getattr(getattr(model.config, "quantization_config", None), "quant_method", None)
    device = torch.cuda.get_device_name(model.device) if model.device.type == "cuda" else platform.machine()
    weights = str(model.dtype).removeprefix("torch.") + (f", quantised by {quantised}" if quantised else "")
    return (
        f"{type(model).__name__} ({model.config.model_type}), {weights}, on {model.device} ({device}); "
        f"Python {platform.python_version()}, torch {torch.__version__}, transformers {transformers.__version__}"
    )
