"""Measure redundancy and attention of every layer on data sets: no labels are read, nothing is generated."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import torch

from redundancy.array_types import FloatArray
from vlm.evaluation.answering import Answerer, PreparedQuestion, Unusable, alike, circumstances, now, prompt_tokens
from vlm.evaluation.batch_failures import Refused, TooLarge, in_halves, one_by_one
from vlm.experiments.batches import Batch
from vlm.experiments.run import Run
from vlm.experiments.shards import Shard
from vlm.experiments.spec import Spec
from vlm.experiments.worker import carry_out
from vlm.measure.attention_ratio import attention
from vlm.measure.distances import MODALITIES, probe
from vlm.plans.plan import SkipPlan
from vlm.record_types import FailureFields, MeasurementFields, failed


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
    """Run every prompt once, without a plan, and append each layer's distances and attention to the run directory.

    May be killed and divided as `sweep` may.

    Parameters
    ----------
    spec : Spec
        What to measure; its plans, judge and confidence have no effect.
    out : str or Path
        The run's directory is made in it: ``out/<spec.measurement>``.
    part, device, device_map, retry_failed, progress
        As for `sweep`.

    Returns
    -------
    Path
        The run's directory, to be merged when all workers are done.

    Raises
    ------
    ValueError, FileNotFoundError, RuntimeError, OSError
        As for `sweep`.

    See Also
    --------
    sweep : Accuracy under every plan on the same items.
    vlm.probe, vlm.attention : The measurement itself.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from vlm import measure_run, read_spec
    >>> from vlm.decisions.stored_measurement import decided
    >>> spec = read_spec(data=["tiny"], limit=10)
    >>> with TemporaryDirectory() as folder:
    ...     run = measure_run(spec, folder, progress=False)
    ...     decision = decided(run, t=0.1)
    >>> run.name == spec.measurement
    True
    >>> decision.settings["images"]
    2
    """
    spec = measured_spec(spec)
    run = Run.open(spec, out, purpose="measurement", part=part, device=device, device_map=device_map)
    return carry_out(run, partial(_measuring, run), retry_failed=retry_failed, progress=progress)


def measured_spec(spec: Spec) -> Spec:
    """The part of a spec that a measurement depends on."""
    plain = Spec()
    return replace(spec, plans=plain.plans, judge=plain.judge, confidence=plain.confidence)


def _measuring(run: Run, batch: Batch) -> Callable[[SkipPlan], Sequence[MeasurementFields | FailureFields]]:
    questions = run.answerer.questions(batch.items)
    return lambda plan: _measured(run.answerer, questions, run.spec.thresholds)


def _measured(
    answerer: Answerer, questions: Sequence[PreparedQuestion | Unusable], thresholds: Sequence[float]
) -> list[MeasurementFields | FailureFields]:
    results: dict[int, MeasurementFields | TooLarge | Refused] = {}
    for group in alike([q for q in questions if isinstance(q, PreparedQuestion)]):
        group_results = in_halves(partial(one_by_one, partial(_layers, answerer, thresholds=thresholds)), group)
        results |= {id(q): result for q, result in zip(group, group_results, strict=True)}
    in_order = (results[id(q)] if isinstance(q, PreparedQuestion) else q for q in questions)
    return [failed(r.reason) if isinstance(r, (TooLarge, Refused, Unusable)) else r for r in in_order]


def _layers(
    answerer: Answerer, questions: Sequence[PreparedQuestion], attempt: int, *, thresholds: Sequence[float]
) -> list[MeasurementFields]:
    """Distances and attention of each prompt of one call, as lists along the layers."""
    model, batch = answerer.model, answerer.inputs(questions)
    start = now(model)
    with torch.no_grad(), probe(model, thresholds=thresholds) as record, attention(model) as seen:
        model(**batch, logits_to_keep=1)
    run = circumstances(model, (now(model) - start, 0.0), len(questions), attempt)
    table, ratios = record.table(), seen.ratios()  # ratios (samples, layers, heads)
    largest, largest_mean, mean = seen.largest(), seen.largest_mean(), seen.mean()
    names = ["distance", "distance_from_entry", "norm_in", "norm_out", "moved", "undefined"]
    names += [name for name in table.columns if "within_" in name]
    shape = (len(questions), record.depth, len(MODALITIES))
    columns = {name: np.asarray(table[name], dtype=np.float64).reshape(shape) for name in names}
    place = {modality: i for i, modality in enumerate(MODALITIES)}

    def along_layers(sample: int, modality: str) -> dict[str, list[float | None]]:
        return {name: _numbers(values[sample, :, place[modality]]) for name, values in columns.items()}

    vision, text = prompt_tokens(model, batch)
    return [
        {
            "failure": None,
            "tokens": {"vision": vision[i], "text": text[i], "new": 0},
            "attention": [_numbers(heads) for heads in ratios[i]],
            "attention_largest": [_numbers(heads) for heads in largest[i]],
            "attention_largest_mean": _numbers(largest_mean[i]),
            "attention_mean": [_numbers(heads) for heads in mean[i]],
            "vision": along_layers(i, "vision"),
            "text": along_layers(i, "text"),
            "run": run,
        }
        for i in range(len(questions))
    ]


def _numbers(values: FloatArray) -> list[float | None]:
    """Each value to seven digits; None where there is no such token."""
    return [float(f"{value:.7g}") if np.isfinite(value) else None for value in values.tolist()]
