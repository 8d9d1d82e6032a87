"""Tables of a measurement per data set and task group."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from functools import partial as bound
from pathlib import Path
from typing import Literal, cast

import numpy as np

import bounds
from redundancy import Estimate
from redundancy.array_types import FloatArray
from vlm.experiments.image_means import ImageMeans
from vlm.experiments.merging import merge
from vlm.progress_bar import by_count, by_stage
from vlm.progress_bar import records as records_of
from vlm.record_types import RunRecord
from vlm.table import Table

_D_MAX = 2.0
Modality = Literal["vision", "text"]
_MODALITIES: tuple[Modality, ...] = ("vision", "text")


def write_tables(run_directory: str | Path, *, confidence: float = 0.95, partial: bool = False) -> list[Path]:
    """Merge a measurement and write `redundancy.csv` and `attention.csv` into its directory; returns what was written.

    Parameters
    ----------
    run_directory : str or Path
        As `measure_run` returned it.
    confidence : float
        Confidence of the intervals, in (0, 1).
    partial : bool
        Accept an unfinished measurement.
    """
    folder = Path(run_directory)
    written = merge(folder, partial=partial)
    with ImageMeans(cast(Iterator[RunRecord], records_of(written[0]))) as means:
        tables = {"redundancy": _redundancy(means, confidence), "attention": _attention_ratios(means, confidence)}
    return written + [table.save(folder / f"{name}.csv") for name, table in tables.items()]


def redundancy(records: Iterable[RunRecord], *, confidence: float = 0.95) -> Table:
    """Mean distance and closeness per data set, layer and modality, with intervals over images.

    One block of rows per data set, one per task group (dataset "all"), one over everything (both "all"). Each
    mean is over images, of the mean over an image's questions, of the mean over a question's tokens. The
    intervals of one quantity in one block hold for all layers together.

    Columns
    -------
    dataset, group, layer, modality, images, tokens
        `layer` l compares state l with state l+1; `tokens` is the mean number of tokens of the modality in a prompt.
    distance, distance_low, distance_high
        Mean adjacent cosine distance, in [0, 2].
    distance_from_entry
        Mean cosine distance between state 0 and state l+1.
    within_T, within_T_low, within_T_high
        Fraction of tokens with an adjacent distance of at most T.
    entry_within_T
        The same fraction for the distance from state 0.
    """
    with ImageMeans(records) as means:
        return _redundancy(means, confidence)


def attention_ratios(records: Iterable[RunRecord], *, confidence: float = 0.95) -> Table:
    """Visual attention ratio per data set and layer, with intervals over images.

    Blocks and intervals as for :func:`redundancy`; prompts without an image are left out.

    Columns
    -------
    dataset, group, layer, images
    ratio, ratio_low, ratio_high
        Of the last prompt token, mean over heads, in [0, 1]: the paper's reading.
    head_least, head_most
        The smallest and the largest mean of a single head of that token.
    largest, largest_low, largest_high
        Of all text tokens and heads the largest, in [0, 1]: what `vlm.decide` judges by default.
    largest_mean, mean
        Of all text tokens the largest mean over heads, and the mean over tokens and heads.

    The last five are left out when a record was made before all text tokens were measured.
    """
    with ImageMeans(records) as means:
        return _attention_ratios(means, confidence)


def _redundancy(means: ImageMeans, confidence: float) -> Table:
    rows: list[dict[str, str | int | float]] = []
    jobs = [(*block, modality) for block in means.blocks for modality in _MODALITIES]
    names = [name for name in means.names("vision") if name.startswith("within_")]
    numbers, total = itertools.count(1), len(jobs) * (1 + len(names))
    with by_stage() as told:
        told("intervals of distances", 0, total)
        for dataset, task_group, block, modality in jobs:
            chosen = means.having(block, modality)
            if not len(chosen):
                numbers = itertools.count(next(numbers) + len(names) + 1)
                continue
            of = bound(means.mean, modality, rows=chosen)
            columns = _interval("distance", of("distance"), _D_MAX, confidence)
            told("intervals of distances", next(numbers), total)
            columns["distance_from_entry"] = of("distance_from_entry").mean(axis=0)
            for name in means.names(modality):
                if name.startswith("within_"):
                    columns |= _interval(name, of(name), 1.0, confidence)
                    told("intervals of distances", next(numbers), total)
                    columns[f"entry_{name}"] = of(f"entry_{name}").mean(axis=0)
            first: dict[str, str | int | float] = {
                "dataset": dataset,
                "group": task_group,
                "modality": modality,
                "images": len(chosen),
                "tokens": means.mean_tokens(block, modality),
            }
            rows += _by_layer(first, columns)
    return Table.from_rows(rows)


def _attention_ratios(means: ImageMeans, confidence: float) -> Table:
    rows: list[dict[str, str | int | float]] = []
    blocks = list(means.blocks)
    for dataset, task_group, block in by_count(blocks, len(blocks), "intervals of attention"):
        chosen = means.having(block, "vision")
        if not len(chosen):
            continue
        of = bound(means.mean, "attention", rows=chosen)
        columns = _interval("ratio", of("ratio"), 1.0, confidence)
        heads = means.mean_of_images("heads", chosen)
        columns |= {"head_least": heads.min(axis=1), "head_most": heads.max(axis=1)}
        if means.complete:
            columns |= _interval("largest", of("largest"), 1.0, confidence)
            columns["largest_mean"] = of("largest_mean").mean(axis=0)
            columns["mean"] = of("mean").mean(axis=0)
        rows += _by_layer({"dataset": dataset, "group": task_group, "images": len(chosen)}, columns)
    return Table.from_rows(rows)


def _interval(name: str, per_image: FloatArray, largest: float, confidence: float) -> dict[str, FloatArray]:
    mean = per_image.mean(axis=0)
    estimate = Estimate.over_units(per_image, np.arange(len(per_image)), quantity="mean", support=(0.0, largest))
    limits = bounds.certify_mean(estimate, confidence)
    return {name: mean, f"{name}_low": np.asarray(limits.low), f"{name}_high": np.asarray(limits.high)}


def _by_layer(
    first: Mapping[str, str | int | float], columns: Mapping[str, FloatArray]
) -> list[dict[str, str | int | float]]:
    depth = len(next(iter(columns.values())))
    return [
        {**first, "layer": layer, **{name: float(values[layer]) for name, values in columns.items()}}
        for layer in range(depth)
    ]
