"""Tables of a measurement per data set and task group, and the decision that `vlm.decide` makes from it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial as bound
from pathlib import Path
from typing import Any, Literal, NamedTuple, TypedDict, Unpack, cast

import numpy as np
from numpy.typing import NDArray

import bounds
from bounds.confidence import Method
from redundancy import Estimate
from redundancy.array_types import FloatArray
from vlm.decisions.conditions import Decision, decide
from vlm.experiments.image_means import ImageMeans
from vlm.experiments.merging import each, merge
from vlm.measure.attention_reading import Heads, TextTokens, check_reading, chosen_reading
from vlm.record_log import read
from vlm.record_types import MeasurementRecord, RunRecord
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
    with ImageMeans(cast(Iterator[RunRecord], read(written[0]))) as means:
        tables = {"redundancy": _redundancy(means, confidence), "attention": _attention_ratios(means, confidence)}
    return written + [table.save(folder / f"{name}.csv") for name, table in tables.items()]


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
    chosen = (r for r in each(run_directory, partial=partial) if task_group in (None, r["group"], r["dataset"]))
    prompts = []
    for record in chosen:
        if not record["failure"] and "vision" not in record:
            raise ValueError(f"measurement: expected a directory made by `measure`, got {run_directory}, a sweep's")
        prompts += _prompts([record])
    if not prompts:
        raise ValueError(
            f"group: {run_directory} has no data of {task_group!r}; expected a task group or data set that was "
            "measured, as its redundancy.csv names them"
        )
    measured = Measured(tuple(prompts))
    return decide(measured, measured, groups=measured.groups, **options)


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


class TextRatios(NamedTuple):
    """Ratios of all text tokens of a prompt: largest (layers, heads), largest mean (layers,), mean (layers, heads)."""

    largest: FloatArray
    largest_mean: FloatArray
    mean: FloatArray


@dataclass(frozen=True, eq=False)
class MeasuredPrompt:
    """One measurement record with its numbers as arrays, which take a tenth of the memory of lists.

    Attributes
    ----------
    dataset, task_group, image_id : str
        What was measured.
    tokens : mapping
        Number of tokens of each modality.
    layers : mapping
        For each modality, arrays (layers,) by name of the quantity; NaN where there is no such token.
    attention : array (layers, heads)
        Visual attention ratio of the last prompt token.
    texts : TextRatios or None
        That of all text tokens; None in a record made before they were measured.
    """

    dataset: str
    task_group: str
    image_id: str
    tokens: Mapping[Modality, int]
    layers: Mapping[Modality, Mapping[str, FloatArray]]
    attention: FloatArray
    texts: TextRatios | None = None

    @property
    def group(self) -> str:
        """The unit of sampling: the image, across data sets."""
        return f"{self.dataset}/{self.image_id}"


@dataclass(frozen=True, eq=False)
class Measured:
    """Measured prompts with an image, as `vlm.decide` reads a probe record and an attention record.

    Prompts without an image are left out; a ValueError if none remains.
    """

    prompts: tuple[MeasuredPrompt, ...]

    def __post_init__(self) -> None:
        with_image = tuple(prompt for prompt in self.prompts if prompt.tokens["vision"])
        if not with_image:
            raise ValueError("measurement: expected records of prompts with an image, got none")
        object.__setattr__(self, "prompts", with_image)

    @classmethod
    def from_records(cls, records: Iterable[RunRecord]) -> Measured:
        """From merged records; failures are left out."""
        return cls(tuple(_prompts(records)))

    @property
    def samples(self) -> int:
        """Number of prompts."""
        return len(self.prompts)

    @property
    def depth(self) -> int:
        """Number of decoder layers."""
        return len(self.prompts[0].attention)

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Distances at which closeness was counted."""
        names = (name for name in self.prompts[0].layers["vision"] if name.startswith("within_"))
        return tuple(sorted(float(name.removeprefix("within_")) for name in names))

    @property
    def groups(self) -> list[str]:
        """The image of each prompt, the unit of sampling."""
        return [prompt.group for prompt in self.prompts]

    def table(self) -> Table:
        """As `ProbeRecord.table`, vision tokens only."""
        sample, layer = (a.reshape(-1) for a in np.indices((self.samples, self.depth)))
        columns: dict[str, NDArray[Any]] = {
            "sample": sample,
            "layer": layer,
            "modality": np.full(sample.size, "vision"),
        }
        for name in self.prompts[0].layers["vision"]:
            columns[name] = np.concatenate([prompt.layers["vision"][name] for prompt in self.prompts])
        return Table(columns)

    def ratios(self) -> FloatArray:
        """As `AttentionRecord.ratios`: (samples, layers, heads)."""
        return np.array([prompt.attention for prompt in self.prompts])

    def reading(self, *, tokens: TextTokens = "all", heads: Heads = "largest") -> FloatArray:
        """As `AttentionRecord.reading`: (samples, layers); a ValueError if a record has the answer token's alone."""
        check_reading(tokens, heads)
        if tokens == "answer":
            return chosen_reading(self.ratios(), None, heads)
        texts = [prompt.texts for prompt in self.prompts if prompt.texts is not None]
        if len(texts) < len(self.prompts):
            raise ValueError(
                f"measurement: expected what all text tokens attend to, got {len(self.prompts) - len(texts)} of "
                f"{len(self.prompts)} records of the answer token alone, made by an earlier version; measure again "
                "into a new directory, or judge by the answer token (tokens='answer', heads='mean')"
            )
        largest, joined = (np.array([text[k] for text in texts]) for k in (0, 1))
        return chosen_reading(largest, joined, heads)


def _prompts(records: Iterable[RunRecord]) -> list[MeasuredPrompt]:
    """Measured prompts; failures are left out."""
    return [_prompt(cast(MeasurementRecord, record)) for record in records if not record["failure"]]


def _prompt(record: MeasurementRecord) -> MeasuredPrompt:
    return MeasuredPrompt(
        dataset=record["dataset"],
        task_group=record["group"],
        image_id=str(record["image_id"]),
        tokens={modality: record["tokens"][modality] for modality in _MODALITIES},
        layers={
            modality: {name: np.array(values, dtype=np.float64) for name, values in record[modality].items()}
            for modality in _MODALITIES
        },
        attention=np.array(record["attention"], dtype=np.float64),
        texts=_texts(record),
    )


def _texts(record: MeasurementRecord) -> TextRatios | None:
    if "attention_largest" not in record:
        return None
    return TextRatios(
        np.array(record["attention_largest"], dtype=np.float64),
        np.array(record["attention_largest_mean"], dtype=np.float64),
        np.array(record["attention_mean"], dtype=np.float64),
    )


def _redundancy(means: ImageMeans, confidence: float) -> Table:
    rows: list[dict[str, str | int | float]] = []
    for dataset, task_group, block in means.blocks:
        for modality in _MODALITIES:
            chosen = means.having(block, modality)
            if not len(chosen):
                continue
            of = bound(means.mean, modality, rows=chosen)
            columns = _interval("distance", of("distance"), _D_MAX, confidence)
            columns["distance_from_entry"] = of("distance_from_entry").mean(axis=0)
            for name in means.names(modality):
                if name.startswith("within_"):
                    columns |= _interval(name, of(name), 1.0, confidence)
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
    for dataset, task_group, block in means.blocks:
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
