"""How exact plans are on other text models, devices, caches, adapters and quantised weights.

python tests/benchmarks/exact_elsewhere.py --markdown docs/reference/benchmarks/exactness-elsewhere.md
"""

from __future__ import annotations

import argparse
import warnings
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
import transformers
from skip_timing import machine_line, show

import vlm
from tests.support.device_without_float64 import moved, present
from vlm import SkipPlan, skipping
from vlm.engine import exactness_checks
from vlm.engine.exactness_checks import RAGGED, greedy, prefill, relative
from vlm.engine.masked_reference import planned_logits
from vlm.models.random_batches import batch_for, with_positions
from vlm.models.random_models import EAGER, HYBRIDS, TEXT_MODELS, random_model

# One of every kind.
PLANS = (
    *("vision:0-2", "vision:2-3/text:2-3", "freeze:1-3/text:3-4", "keep:1-3=1-3/prune:3=0.5"),
    *("attention:1-2", "mlp:3-4", "rank:1=0.6/merge:1=0~0x0.5,3x0.5/leave:3=0.3"),
)
# Of the layers without attention, no token is frozen or ranked and no half is dropped.
WHOLE = ("vision:0-2", "vision:2-3/text:2-3", "keep:1-3=1-3/prune:4=0.5", "merge:0=0~0x0.5,3x0.5/vision:3-")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--markdown", type=Path, help="page whose table is replaced")
    parser.add_argument("--only", nargs="+", help="only rows whose name has one of these words")
    given = parser.parse_args()
    warnings.simplefilter("ignore")
    transformers.logging.set_verbosity_error()
    torch.set_num_threads(1)
    exactness_checks.NEW_TOKENS = 3
    machine = machine_line()
    rows = [*text_models(), *surroundings()]
    chosen = [row for row in rows if not given.only or any(word in row[0] for word in given.only)]
    lines = [
        machine,
        "",
        "| what | plans | prompt | decoding with a cache |",
        "| --- | ---: | ---: | ---: |",
        *(line(*row) for row in chosen),
    ]
    show(lines, given.markdown, "exact_elsewhere")


Row = tuple[str, Sequence[str], Callable[[str], tuple[float, float]]]


def line(name: str, plans: Sequence[str], errors: Callable[[str], tuple[float, float]]) -> str:
    """The largest errors over the plans that are not refused."""
    found, refused = [], 0
    for plan in plans:
        try:
            with torch.no_grad():
                found.append(errors(plan))
        except NotImplementedError:
            refused += 1
    worst = [max(values) for values in zip(*found, strict=True)]
    count = f"{len(found)}" + (f" ({refused} refused)" if refused else "")
    print(f"{name}: {worst}", flush=True)
    return f"| {name} | {count} | {worst[0]:.1e} | {worst[1]:.1e} |"


def checked(model: Any) -> Callable[[str], tuple[float, float]]:
    """Errors against the masked reference of the same model, of two batches, one of them ragged and padded."""
    return lambda plan: (prefill(model, SkipPlan.parse(plan)), greedy(model, SkipPlan.parse(plan)))


def text_models() -> Iterable[Row]:
    """LLaVA on other text models."""
    for text in (*TEXT_MODELS, *HYBRIDS):
        kind = "eager" if text in EAGER else "sdpa"
        plans = WHOLE if text in HYBRIDS else PLANS
        name = f"LLaVA on {text.removesuffix('Config')}" + (" (eager)" if kind == "eager" else "")
        yield name, plans, lambda plan, text=text, kind=kind: checked(built(text, kind))(plan)


_BUILT: dict[str, Any] = {}


def built(text: str, kind: str) -> Any:
    """The model, kept for its other plans."""
    if text not in _BUILT:
        _BUILT.clear()
        _BUILT[text] = random_model(f"llava-{text}", kind)
    return _BUILT[text]


def surroundings() -> Iterable[Row]:
    """LLaVA on Llama in other surroundings."""
    import accelerate
    import peft

    offloaded = random_model()
    accelerate.cpu_offload(offloaded, execution_device=torch.device("cpu"))
    yield "weights offloaded to the processor (accelerate)", PLANS, checked(offloaded)
    adapted = peft.get_peft_model(random_model(), peft.LoraConfig(r=4, target_modules=["q_proj", "o_proj", "up_proj"]))
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.5)
    yield "LoRA on queries, outputs and feed-forward (PEFT)", PLANS, checked(adapted.eval().get_base_model())
    yield "static cache, against the dynamic one", PLANS, static
    yield "a device without float64 (stand-in), against the processor", PLANS, there
    yield "float64", PLANS, checked_in_float64
    for name in ("quanto-int8", "bitsandbytes-8bit", "bitsandbytes-4bit"):
        yield f"{name}, the embedded model", TINY, lambda plan, name=name: quantised(name, plan)


TINY = (
    *("vision:7-", "vision:4-5/text:4-5", "freeze:2-5", "keep:2-=0-9", "attention:4-5", "mlp:4-5"),
    "merge:2=0~0x0.5,3x0.5/keep:2-=0-2+4-",
)


def static(plan: str) -> tuple[float, float]:
    """Logits of decoding; there is no prompt without a cache to compare."""
    model = random_model()
    batch = batch_for(model, *RAGGED)
    settings = dict(max_new_tokens=3, do_sample=False, return_dict_in_generate=True, output_logits=True)
    with skipping(model, plan):
        slow = torch.stack(model.generate(**batch, **settings).logits)
        fast = torch.stack(model.generate(**batch, **settings, cache_implementation="static").logits)
    return relative(fast[0], slow[0]), relative(fast[1:], slow[1:])


def there(plan: str) -> tuple[float, float]:
    """Logits of a prompt."""
    model = random_model()
    batch = with_positions(batch_for(model, *RAGGED))
    with skipping(model, plan):
        slow = model(**batch).logits
    with present(), skipping(model, plan):
        fast = model(**moved(batch)).logits.cpu()
    return relative(fast, slow), 0.0


def checked_in_float64(plan: str) -> tuple[float, float]:
    """Prompt alone; attention's softmax is in float32 in the reference."""
    model = random_model().double()
    batch = with_positions(batch_for(model, *RAGGED))
    batch["pixel_values"] = batch["pixel_values"].double()
    real = batch["attention_mask"].bool()
    with skipping(model, plan):
        fast = model(**batch).logits[real]
    return relative(fast, planned_logits(model, batch, plan)[real]), 0.0


def quantised(name: str, plan: str) -> tuple[float, float]:
    """Largest difference in standard deviations of the logits: quantised maps round anew for every batch."""
    if name not in _BUILT:
        _BUILT.clear()
        _BUILT[name] = vlm.load("tiny", quantization=name)
    model, processor = _BUILT[name]
    asked = vlm.tiny.questions(limit=1, kinds=("location",))
    batch = dict(processor(images=[q.image for q in asked], text=[q.prompt for q in asked], return_tensors="pt"))
    with skipping(model, plan):
        fast = model(**batch).logits.float()
        out = model.generate(
            **batch, max_new_tokens=3, min_new_tokens=3, do_sample=False, return_dict_in_generate=True,
            output_logits=True,
        )  # fmt: skip
    slow = planned_logits(model, batch, plan).float()
    ids = out.sequences[:, :-1]
    longer = {**batch, "input_ids": ids, "attention_mask": torch.ones_like(ids)}
    later = planned_logits(model, longer, plan, prompt=batch["input_ids"].shape[1])[
        :, batch["input_ids"].shape[1] - 1 :
    ]
    decoded = torch.stack(out.logits, 1).float()
    return float((fast - slow).abs().max() / slow.std()), float((decoded - later.float()).abs().max() / later.std())


if __name__ == "__main__":
    main()
