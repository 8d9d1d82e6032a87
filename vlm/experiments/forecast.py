"""What an experiment will take, before it is started: items, tokens, requests, memory, hours. Loads no weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal

import numpy as np

from redundancy.display import Displayed
from vlm.evaluation.protocols import Protocol
from vlm.experiments.run import Run
from vlm.experiments.spec import DataChoice
from vlm.item import Item
from vlm.models.families import anatomy
from vlm.models.loading import skeleton_and_processor
from vlm.models.prompts import wording
from vlm.models.types import Model, Processor
from vlm.plans.cost import operations
from vlm.plans.plan import SkipPlan
from vlm.progress_bar import by_count
from vlm.table import Table

_SAMPLE = 8  # items of each data set whose prompts are made
# Sustained values, about half of an A100's data sheet; a decoding step takes at least so long for Python and launches.
OPERATIONS_PER_SECOND, BYTES_PER_SECOND, SECONDS_PER_STEP = 150e12, 1.2e12, 0.03


@dataclass(frozen=True, eq=False, repr=False)
class Forecast(Displayed):
    """What a run will take.

    Attributes
    ----------
    table : Table
        dataset, items, one_pass and generated (items answered in either way), vision_tokens and text_tokens (means of a
        sample), new_tokens (the largest number of generated tokens of an item), requests (to a judge, at most), hours.
    records : int
        Items times plans.
    weights, memory : float
        Gigabytes of weights, and of weights with the keys and values of a batch.
    hours : float
        On one accelerator, at most: as if every answer used all the tokens it may.
    assumptions : tuple of str
        What the numbers rest on.
    """

    table: Table
    records: int
    weights: float
    memory: float
    hours: float
    assumptions: tuple[str, ...]


def forecast(run: Run, purpose: Literal["sweep", "measurement"] = "sweep") -> Forecast:
    """Estimate what a run will take; local data are counted, data on the hub taken as declared and not fetched.

    Parameters
    ----------
    run : Run
        As `Run.open` made it.
    purpose : {"sweep", "measurement"}
        A measurement runs every prompt once and generates nothing.

    Returns
    -------
    Forecast
    """
    model, processor = skeleton_and_processor(run.spec.model, run.spec.revision)
    bytes_each = {"float64": 8, "float32": 4}.get(run.spec.dtype or _dtype(model), 2)
    weights = float(bytes_each * sum(p.numel() for p in model.parameters()))
    plans = run.plans if purpose == "sweep" else (SkipPlan(),)
    rows, longest = [], 0
    assumed = False
    for choice in run.spec.data:
        count, sample = _items(run, choice)
        assumed |= not sample
        row = _row(choice, count, sample, run.protocol, model, processor)
        if purpose == "measurement":
            row |= {"one_pass": count, "generated": 0, "new_tokens": 0}
        row["requests"] = 0 if run.judge is None or purpose == "measurement" else row["judged"] * len(plans)
        del row["judged"]
        longest = max(longest, row["vision_tokens"] + row["text_tokens"] + row["new_tokens"])
        row["hours"] = _hours(row, plans, model, weights, run.spec.batch_size)
        rows.append(row)
    cache = _cache_per_token(model, bytes_each) * longest * run.spec.batch_size
    table = Table.from_rows(rows)
    return Forecast(
        table=table,
        records=int(table["items"].sum()) * len(plans),
        weights=weights / 1e9,
        memory=(weights + cache) / 1e9,
        hours=float(table["hours"].sum()),
        assumptions=(
            f"{OPERATIONS_PER_SECOND / 1e12:g}e12 operations and {BYTES_PER_SECOND / 1e12:g}e12 bytes per second, "
            f"{SECONDS_PER_STEP:g} s for a decoding step at least: about half of an A100's data sheet",
            "every answer uses all the tokens it may; the vision tower, reading of pictures and judges take no time",
            *(("data that are not here yet: declared sizes, a picture of 640x480 and 40 words",) if assumed else ()),
        ),
    )


def _dtype(model: Model) -> str:
    return str(getattr(model.config, "dtype", None) or "float32").removeprefix("torch.")


def _items(run: Run, choice: DataChoice) -> tuple[int, list[Item]]:
    """Number of items, and the first few with pictures; none for data on the hub, which are not fetched."""
    from vlm.datasets import DATASETS

    declared = next((d for d in DATASETS if d.name == choice.name), None)
    if (
        declared is not None
        and declared.places
        and (choice.source is None or ("/" in choice.source and not _here(choice)))
    ):
        return min(declared.size, choice.limit or declared.size), []
    entries = iter(run.reader(choice, lambda position: position < _SAMPLE))
    sample = list(islice(entries, _SAMPLE))
    rest = by_count(entries, choice.limit, f"counting {choice.label}")
    return len(sample) + sum(1 for _ in rest), [entry for entry in sample if isinstance(entry, Item)]


def _here(choice: DataChoice) -> bool:
    from pathlib import Path

    return Path(choice.source or "").expanduser().exists()


def _row(
    choice: DataChoice, count: int, sample: Sequence[Item], protocol: Protocol, model: Model, processor: Processor
) -> dict[str, Any]:
    items = list(sample) or [_stand_in(choice)]
    lengths = np.array([_tokens(item, protocol, model, processor) for item in items], dtype=np.float64)
    one_pass = round(count * float(np.mean([protocol.reading(item) == "letter" for item in items])))
    return {
        "dataset": choice.label,
        "items": count,
        "one_pass": one_pass,
        "generated": count - one_pass,
        "vision_tokens": int(lengths[:, 0].mean()),
        "text_tokens": int(lengths[:, 1].mean()),
        "new_tokens": max((protocol.max_new_tokens(i) for i in items if protocol.reading(i) != "letter"), default=0),
        "judged": round(count * float(np.mean([protocol.judged(item) for item in items]))),
    }


def _stand_in(choice: DataChoice) -> Item:
    from PIL import Image

    image = Image.new("RGB", (640, 480))
    return Item(choice.name, "0", "0", "word " * 40, (image,), answers=("word",), kind="open")


def _tokens(item: Item, protocol: Protocol, model: Model, processor: Processor) -> tuple[int, int]:
    """Image and text tokens of an item's prompt."""
    text = wording(processor, protocol.prompt(item), len(item.images))
    batch = processor(images=list(item.images) or None, text=[text], return_tensors="pt")
    ids = np.asarray(batch["input_ids"]).reshape(-1)
    vision = int(np.isin(ids, sorted(anatomy(model).placeholders)).sum())
    return vision, len(ids) - vision


def _hours(row: dict[str, Any], plans: Sequence[SkipPlan], model: Model, weights: float, batch: int) -> float:
    prompt = sum(
        operations(model, vision=row["vision_tokens"], text=row["text_tokens"], plan=plan).total for plan in plans
    )
    step = max(SECONDS_PER_STEP, weights / BYTES_PER_SECOND)
    steps = -(-row["generated"] // batch) * row["new_tokens"] * len(plans)
    return float((row["items"] * prompt / OPERATIONS_PER_SECOND + steps * step) / 3600)


def _cache_per_token(model: Model, bytes_each: int) -> float:
    config = model.config.get_text_config()
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    return float(2 * bytes_each * heads * width * config.num_hidden_layers)
