"""Redundancy and attention of every layer on data sets: no labels are read, nothing is generated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from redundancy.array_types import FloatArray
from vlm.evaluation.answering import Asking, Question, Unusable, alike, circumstances, now, prompt_tokens
from vlm.evaluation.batch_failures import Refused, TooLarge, in_halves, one_by_one
from vlm.experiments.batches import Batch
from vlm.experiments.shards import Shard
from vlm.experiments.spec import Spec
from vlm.experiments.sweep_run import asking, check
from vlm.experiments.worker import carry_out, failed
from vlm.measure.attention_ratio import attention
from vlm.measure.distances import MODALITIES, probe
from vlm.plans.plan import SkipPlan
from vlm.record_log import Record


def measure_run(
    spec: Spec,
    out: str | Path = "runs",
    *,
    part: Shard | None = None,
    device: str | None = None,
    device_map: str | None = None,
    retry_failed: bool = False,
    progress: bool = True,
) -> Path:
    """Run every prompt once, without a plan, under probe and attention; one record per item.

    Arguments, durability and errors are those of `vlm.experiment.sweep`; the directory is `out/<spec.measurement>`.
    """
    spec = measured_spec(spec)
    protocol = check(spec)
    ask = asking(spec, protocol, device, device_map)

    def work(batch: Batch) -> Callable[[SkipPlan], Sequence[Record]]:
        questions = ask().questions(batch.items)
        return lambda plan: _measured(ask(), questions, spec.thresholds)

    return carry_out(
        spec,
        Path(out) / spec.measurement,
        protocol,
        work,
        part=part,
        retry_failed=retry_failed,
        progress=progress,
    )


def measured_spec(spec: Spec) -> Spec:
    """The part of a spec that a measurement depends on."""
    plain = Spec()
    return replace(spec, plans=plain.plans, judge=plain.judge, confidence=plain.confidence)


def _measured(ask: Asking, questions: Sequence[Question | Unusable], thresholds: Sequence[float]) -> list[Record]:
    found: dict[int, Record | TooLarge | Refused] = {}
    for group in alike([q for q in questions if isinstance(q, Question)]):
        results = in_halves(partial(one_by_one, partial(_layers, ask, thresholds=thresholds)), group)
        found |= {id(q): result for q, result in zip(group, results, strict=True)}
    told = (found[id(q)] if isinstance(q, Question) else q for q in questions)
    return [failed(r.reason) if isinstance(r, (TooLarge, Refused, Unusable)) else r for r in told]


def _layers(ask: Asking, questions: Sequence[Question], attempt: int, *, thresholds: Sequence[float]) -> list[Record]:
    """What each layer does to each prompt of a call, as lists along the layers."""
    batch = ask.inputs(questions)
    start = now(ask.model)
    with torch.inference_mode(), probe(ask.model, thresholds=thresholds) as record, attention(ask.model) as seen:
        ask.model(**batch, logits_to_keep=1)
    run = circumstances(ask.model, (now(ask.model) - start, 0.0), len(questions), attempt)
    table, ratios = record.table(), seen.ratios()  # ratios (samples, layers, heads)
    kept = ["distance", "distance_from_entry", "norm_in", "norm_out", "moved", "undefined"]
    kept += [name for name in table.columns if "within_" in name]
    shape = (len(questions), record.depth, len(MODALITIES))
    columns = {name: np.asarray(table[name], dtype=np.float64).reshape(shape) for name in kept}
    vision, text = prompt_tokens(ask.model, batch)
    return [
        {
            "failure": None,
            "tokens": {"vision": vision[i], "text": text[i], "new": 0},
            "attention": [_numbers(heads) for heads in ratios[i]],
            **{
                modality: {name: _numbers(values[i, :, m]) for name, values in columns.items()}
                for m, modality in enumerate(MODALITIES)
            },
            "run": run,
        }
        for i in range(len(questions))
    ]


def _numbers(values: FloatArray) -> list[float | None]:
    """Seven digits of each; None where there is no such token."""
    return [float(f"{value:.7g}") if np.isfinite(value) else None for value in values.tolist()]
