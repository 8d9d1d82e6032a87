"""What a measurement found: tables per data set and task group, and the record that `vlm.decide` judges."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import bounds
from redundancy import Estimate, checks
from redundancy.array_types import FloatArray
from redundancy.units import unit_means
from vlm.decisions.conditions import Decision, decide
from vlm.experiments.merging import each, merge
from vlm.measure.distances import MODALITIES
from vlm.record_log import Record, read
from vlm.table import Table

_D_MAX = 2.0


def write_tables(run_directory: str | Path, *, confidence: float = 0.95, partial: bool = False) -> list[Path]:
    """Merge a measurement and write `redundancy.csv` and `attention.csv` into its directory."""
    folder = Path(run_directory)
    written = merge(folder, partial=partial)
    records = [_light(record) for record in read(written[0])]
    tables = {
        "redundancy": redundancy(records, confidence=confidence),
        "attention": attention_ratios(records, confidence=confidence),
    }
    return written + [table.save(folder / f"{name}.csv") for name, table in tables.items()]


def decided(run_directory: str | Path, *, group: str | None = None, partial: bool = False, **settings: Any) -> Decision:
    """What `vlm.decide` makes of a measurement on disk.

    Parameters
    ----------
    group : str, optional
        A task group or a data set; all of them together by default.
    settings
        As for `vlm.decide`.
    """
    some = (r for r in each(run_directory, partial=partial) if group in (None, r["group"], r["dataset"]))
    records = []
    for record in some:
        if not record["failure"] and "vision" not in record:
            raise ValueError(f"measurement: expected a directory made by `measure`, got {run_directory}, a sweep's")
        records.append(_light(record))
    if not records:
        raise ValueError(
            f"group: {run_directory} has no data of {group!r}; expected a task group or data set that was measured, as "
            "its redundancy.csv names them"
        )
    measured = Measured(tuple(records))
    return decide(measured, measured, groups=measured.groups, **settings)


def redundancy(records: Sequence[Record], *, confidence: float = 0.95) -> Table:
    """Mean distance and closeness per data set, layer and modality, with image-level intervals.

    One block of rows per data set, one per task group (dataset "all"), one over everything (both "all"). Each
    mean is over images, of the mean over an image's questions, of the mean over a question's tokens. The
    intervals of one quantity in one block hold for all layers together.

    Columns
    -------
    dataset, group, layer, modality, images, tokens
        `layer` l compares state l with state l+1; `tokens` is their mean number in a prompt.
    distance, distance_low, distance_high
        Mean adjacent cosine distance, in [0, 2].
    distance_from_entry
        Mean cosine distance between state 0 and state l+1.
    within_T, within_T_low, within_T_high
        Fraction of tokens with an adjacent distance of at most T.
    entry_within_T
        The same of the distance from state 0.
    """
    rows = []
    for scope, some in _scopes(records):
        for modality in MODALITIES:
            kept = [r for r in some if r["tokens"][modality]]
            if not kept:
                continue
            per_image = {name: _per_image(kept, [r[modality][name] for r in kept]) for name in kept[0][modality]}
            columns = _interval("distance", per_image["distance"], _D_MAX, confidence)
            columns["distance_from_entry"] = per_image["distance_from_entry"].mean(axis=0)
            for name in per_image:
                if name.startswith("within_"):
                    columns |= _interval(name, per_image[name], 1.0, confidence)
                    columns[f"entry_{name}"] = per_image[f"entry_{name}"].mean(axis=0)
            first = {**scope, "modality": modality, "images": len(per_image["distance"])}
            first["tokens"] = float(np.mean([r["tokens"][modality] for r in kept]))
            rows += _by_layer(first, columns)
    return Table.from_rows(rows)


def attention_ratios(records: Sequence[Record], *, confidence: float = 0.95) -> Table:
    """Visual attention ratio of the asking token per data set and layer, with image-level intervals.

    Blocks and intervals as for :func:`redundancy`; prompts without an image are left out.

    Columns
    -------
    dataset, group, layer, images
    ratio, ratio_low, ratio_high
        Mean over heads, in [0, 1].
    head_least, head_most
        The smallest and the largest mean of one head.
    """
    rows = []
    for scope, some in _scopes(records):
        kept = [r for r in some if r["tokens"]["vision"]]
        if not kept:
            continue
        ratios = _per_image(kept, [r["attention"] for r in kept])  # (images, layers, heads)
        columns = _interval("ratio", ratios.mean(axis=2), 1.0, confidence)
        heads = ratios.mean(axis=0)
        columns |= {"head_least": heads.min(axis=1), "head_most": heads.max(axis=1)}
        rows += _by_layer({**scope, "images": len(ratios)}, columns)
    return Table.from_rows(rows)


@dataclass(frozen=True, eq=False)
class Measured:
    """Merged records of prompts with an image, as what `vlm.decide` reads of a probe and of an attention record."""

    records: tuple[Record, ...]

    def __post_init__(self) -> None:
        kept = tuple(r for r in self.records if not r["failure"] and r["tokens"]["vision"])
        if not kept:
            raise ValueError("measurement: expected records of prompts with an image, got none")
        object.__setattr__(self, "records", kept)

    @property
    def samples(self) -> int:
        """Number of prompts."""
        return len(self.records)

    @property
    def depth(self) -> int:
        """Number of decoder layers."""
        return len(self.records[0]["attention"])

    @property
    def thresholds(self) -> tuple[float, ...]:
        """Distances at which closeness was counted."""
        names = (name for name in self.records[0]["vision"] if name.startswith("within_"))
        return tuple(sorted(float(name.removeprefix("within_")) for name in names))

    @property
    def groups(self) -> list[str]:
        """The unit of sampling of each prompt."""
        return _images(self.records)

    def table(self) -> Table:
        """As `ProbeRecord.table`, vision tokens only."""
        sample, layer = (a.reshape(-1) for a in np.indices((self.samples, self.depth)))
        columns: dict[str, NDArray[Any]] = {
            "sample": sample,
            "layer": layer,
            "modality": np.full(sample.size, "vision"),
        }
        for name in self.records[0]["vision"]:
            columns[name] = np.array([r["vision"][name] for r in self.records], dtype=np.float64).reshape(-1)
        return Table(columns)

    def ratios(self) -> FloatArray:
        """As `AttentionRecord.ratios`: (samples, layers, heads)."""
        return np.array([r["attention"] for r in self.records], dtype=np.float64)


def _light(record: Record) -> Record:
    """What tables need of a record, its numbers as arrays: a tenth of the memory."""
    kept = {name: record[name] for name in ("dataset", "group", "image_id", "tokens", "failure")}
    if record["failure"]:
        return kept
    for modality in MODALITIES:
        kept[modality] = {name: np.array(values, dtype=np.float64) for name, values in record[modality].items()}
    return {**kept, "attention": np.array(record["attention"], dtype=np.float64)}


def _scopes(records: Sequence[Record]) -> Iterator[tuple[dict[str, Any], list[Record]]]:
    good = [r for r in records if not r["failure"]]
    for dataset, group in dict.fromkeys((r["dataset"], r["group"]) for r in good):
        yield {"dataset": dataset, "group": group}, [r for r in good if r["dataset"] == dataset]
    for group in dict.fromkeys(r["group"] for r in good):
        yield {"dataset": "all", "group": group}, [r for r in good if r["group"] == group]
    yield {"dataset": "all", "group": "all"}, good


def _images(records: Sequence[Record]) -> list[str]:
    return [f"{r['dataset']}/{r['image_id']}" for r in records]


def _per_image(records: Sequence[Record], values: Sequence[Any]) -> FloatArray:
    """Means over each image's prompts: (images, layers, ...)."""
    index, sizes = checks.group_index(_images(records), len(records))
    table = np.array(values, dtype=np.float64)
    return unit_means(table.reshape(len(table), -1), index, sizes).reshape(-1, *table.shape[1:])


def _interval(name: str, per_image: FloatArray, largest: float, confidence: float) -> dict[str, FloatArray]:
    mean = per_image.mean(axis=0)
    estimate = Estimate(value=mean, quantity=name, per_unit=per_image, support=(0.0, largest), unit_of_sampling="image")
    limits = bounds.certify_mean(estimate, confidence)
    return {name: mean, f"{name}_low": np.asarray(limits.low), f"{name}_high": np.asarray(limits.high)}


def _by_layer(first: dict[str, Any], columns: dict[str, FloatArray]) -> list[dict[str, Any]]:
    depth = len(next(iter(columns.values())))
    return [
        {**first, "layer": layer, **{name: float(values[layer]) for name, values in columns.items()}}
        for layer in range(depth)
    ]
