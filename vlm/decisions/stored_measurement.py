"""The decision that `vlm.decide` makes from a measurement on disk."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypedDict, Unpack

from bounds.confidence import Method
from vlm.decisions.conditions import Decision, decide
from vlm.experiments.image_means import ImageMeans
from vlm.experiments.image_measurement import ImageMeasurement
from vlm.experiments.merging import each, run_size
from vlm.experiments.run_directory import stored_run
from vlm.measure.attention_reading import Heads, TextTokens
from vlm.progress_bar import by_count
from vlm.record_types import RunRecord


class DecideOptions(TypedDict, total=False):
    """Keyword arguments of `vlm.decide`, other than the measurement itself."""

    t: float
    delta: float
    attention_limit: float
    tokens: TextTokens
    heads: Heads
    accumulated: bool
    confidence: float
    method: Method


def decided(
    run_directory: str | Path, *, task_group: str | None = None, partial: bool = False, **options: Unpack[DecideOptions]
) -> Decision:
    """The decision of `vlm.decide` on a measurement on disk.

    Parameters
    ----------
    run_directory : str or Path
        As `measure_run` returned it.
    task_group : str, optional
        A task group or a data set; all of them together by default.
    partial : bool
        Accept an unfinished measurement.
    **options
        As for `vlm.decide`.

    Raises
    ------
    ValueError
        The directory is a sweep's, or has no data of the task group.
    """
    records = by_count(each(run_directory, partial=partial), run_size(stored_run(run_directory)), "averaging")
    chosen = (r for r in records if task_group in (None, r["group"], r["dataset"]))
    with ImageMeans(_of_a_measurement(chosen, run_directory)) as means:
        if not means.images:
            raise ValueError(
                f"group: {run_directory} has no data of {task_group!r}; expected a task group or data set that was "
                "measured, as its redundancy.csv names them"
            )
        measured = ImageMeasurement(means)
        return decide(measured, measured, **options)


def _of_a_measurement(records: Iterable[RunRecord], run_directory: str | Path) -> Iterator[RunRecord]:
    for record in records:
        if not record["failure"] and "vision" not in record:
            raise ValueError(f"measurement: expected a directory made by `measure`, got {run_directory}, a sweep's")
        yield record
