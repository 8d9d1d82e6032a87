"""Paired differences between two runs, or between plans of one, on the same items, all certified together."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

import bounds
from redundancy import Estimate
from redundancy.array_types import FloatArray
from redundancy.display import Displayed
from vlm.experiments.item_identity import digests, same
from vlm.experiments.merging import coverage, merge, stale
from vlm.experiments.run_directory import StoredRun, stored_run
from vlm.plans.plan import SkipPlan
from vlm.progress_bar import by_count
from vlm.reports.accuracy_table import NO_PLAN, plan_place
from vlm.reports.answer_columns import AnswerColumns, Answers, SetColumns
from vlm.reports.merged_records import answers, layer_content, layer_records
from vlm.table import Table

_OLD = "version 1 of each, before runs named them"


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Displayed):
    """Differences of accuracy, second minus first, that hold together.

    Attributes
    ----------
    table : Table
        dataset, first, second (plan, with its run where there are two), items (scored in both), of (asked in either),
        images, accuracy_first, accuracy_second (on the common items), difference, difference_low, difference_high
        (simultaneous), lowest, highest (if every item that lacks a score had the worst, or the best, difference).
    guarantees : tuple of str
        What each row's interval certifies.
    notes : tuple of str
        What else differs between the runs.

    See Also
    --------
    vlm.compare : Returns one.

    Examples
    --------
    >>> from vlm import Comparison, Table
    >>> Comparison(Table({"dataset": ["tiny"], "difference": [0.0]}), ("with probability at least 0.95, ...",), ())
    Comparison(1 differences that hold together)
    """

    table: Table
    guarantees: tuple[str, ...]
    notes: tuple[str, ...]

    def __repr__(self) -> str:
        return f"Comparison({len(self.table)} differences that hold together)"


class _Side(NamedTuple):
    """A run, or a layer of scores in it, with its name in tables."""

    name: str
    run: StoredRun
    columns: AnswerColumns
    rules: Mapping[str, str]


def compare(
    first: str | Path,
    second: str | Path | None = None,
    *,
    plans: Sequence[str] | None = None,
    reference: str = NO_PLAN,
    confidence: float | None = None,
    partial: bool = False,
) -> Comparison:
    """Compare two runs plan by plan, or every plan of one run with a reference plan, on the items of both.

    Parameters
    ----------
    first, second : str or Path
        Directories of sweeps, or of layers of scores in them (``RUN/scores/NAME``). Without `second`, plans of the
        first are compared.
    plans : sequence of str, optional
        Of two runs: these plans in both. Of one run: these plans against `reference`. By default all there are.
    reference : str
        The plan that others are compared with, within one run.
    confidence : float, optional
        Probability that all intervals hold together, in (0, 1); by default that of the first run's spec.
    partial : bool
        Accept unfinished runs.

    Returns
    -------
    Comparison

    Raises
    ------
    ValueError
        Items of one id differ in content, scorers differ in version, or there is nothing to compare.
    FileNotFoundError
        A directory is not a run's.

    See Also
    --------
    rescore : Score both runs by one rule first.
    paired_difference : One such difference of arrays.

    Notes
    -----
    Images are the units of sampling and count the same. With m rows each interval holds with probability
    1 - (1 - confidence) / m, so that all of them do with `confidence`.

    Examples
    --------
    >>> from tempfile import TemporaryDirectory
    >>> from vlm import compare, read_spec, sweep
    >>> spec = read_spec(data=["tiny"], limit=20, early_exit=[2, 8])
    >>> with TemporaryDirectory() as folder:
    ...     comparison = compare(sweep(spec, folder, progress=False))
    >>> comparison
    Comparison(2 differences that hold together)
    >>> [(row["second"], row["items"]) for row in comparison.table.rows()]
    [('vision:2-', 20), ('vision:8-', 20)]
    """
    left = _side(Path(first), partial)
    right = left if second is None else _side(Path(second), partial)
    if left.name == right.name and second is not None:
        left, right = left._replace(name=str(first)), right._replace(name=str(second))
    notes = () if second is None else tuple(_notes(left, right))
    reference = str(SkipPlan.parse(reference))
    named = list(_named(left, right, plans, reference, several=second is not None))
    if not named:
        what = "no data set and plan in common" if second is not None else f"no plan but {reference}"
        raise ValueError(f"compare: expected something to compare, got {what}; name what both have with --plans")
    confidence = left.run.spec.confidence if confidence is None else confidence
    rows, guarantees = [], []
    for label, plan in by_count(named, len(named), "comparing"):
        pair = _pair(left, right, label, plan if second is not None else reference, plan, several=second is not None)
        row, guarantee = _row(pair, confidence, len(named))
        rows.append(row)
        guarantees.append(guarantee)
    return Comparison(Table.from_rows(rows), tuple(guarantees), notes)


class _Pair(NamedTuple):
    dataset: str
    first: str
    second: str
    a: Answers
    b: Answers
    a_names: NDArray[np.str_]
    b_names: NDArray[np.str_]
    a_images: NDArray[np.object_]
    b_images: NDArray[np.object_]


def _side(folder: Path, partial: bool) -> _Side:
    layer = folder / "layer.json"
    if layer.is_file():
        run = stored_run(folder.resolve().parents[1])
        content = layer_content(run, folder)
        rules = {"protocol": content["protocol"], "scorers": content["scorer"] or content["scorers"]}
        return _Side(f"{run.folder.name}/{folder.name}", run, AnswerColumns.of(layer_records(run, folder)), rules)
    run = stored_run(folder)
    path = folder / "merged" / "records.jsonl"
    if stale(folder) or not path.is_file() or (coverage(folder) and not partial):
        merge(folder, partial=partial)
    rules = {
        "protocol": run.made_with.get("protocol", run.spec.protocol),
        "scorers": run.made_with.get("scorers", _OLD),
    }
    return _Side(folder.resolve().name, run, answers(folder), rules)


def _notes(left: _Side, right: _Side) -> Iterator[str]:
    """What differs beside the answers; a ValueError where scores of two rules would be compared."""
    if left.rules["scorers"] != right.rules["scorers"] and left.run.folder.resolve() != right.run.folder.resolve():
        raise ValueError(
            f"compare: {left.name} was scored by {left.rules['scorers']}, {right.name} by {right.rules['scorers']}; "
            "score both by one rule with `python -m vlm score` and compare these layers"
        )
    for name in ("protocol", "scorers"):
        if left.rules[name] != right.rules[name]:
            yield f"{name}: {left.rules[name]} against {right.rules[name]}"
    for name in ("model", "dtype", "attention", "batch_size", "judge"):
        values = [str(getattr(side.run.spec, name)) for side in (left, right)]
        if values[0] != values[1]:
            yield f"{name}: {values[0]} against {values[1]}"
    weights = [side.run.made_with.get("model") for side in (left, right)]
    if weights[0] != weights[1]:
        yield f"weights: {weights[0]} against {weights[1]}"


def _named(
    left: _Side, right: _Side, plans: Sequence[str] | None, reference: str, *, several: bool
) -> Iterator[tuple[str, str]]:
    """The data sets and plans that are compared, counted before their answers are laid out."""
    ours, theirs = (_by_label(side.columns) for side in (left, right))
    items = [digests(side.run) for side in (left, right)] if several else []
    wanted = None if plans is None else [str(SkipPlan.parse(plan)) for plan in plans]
    for label in ours:
        if label not in theirs:
            continue
        if several:
            _refuse_other_items(left, right, label, *items)
        a, b = ours[label], theirs[label]
        there = a.plans.keys() & b.plans.keys() if several else b.plans.keys() - {reference}
        for plan in sorted(there, key=plan_place) if wanted is None else wanted:
            first = plan if several else reference
            if first not in a.plans or plan not in b.plans:
                raise ValueError(
                    f"compare: {label} has no answers under {plan if first in a.plans else first} in both; there are "
                    f"{', '.join(sorted(a.plans, key=plan_place))}"
                )
            yield label, plan


def _pair(left: _Side, right: _Side, label: str, first: str, second: str, *, several: bool) -> _Pair:
    """The answers that one row compares: only one pair is in memory at a time."""
    a, b = (_by_label(side.columns)[label] for side in (left, right))
    one, other = Answers.of(a, first), Answers.of(b, second)
    assert one is not None
    assert other is not None
    names = [np.array(sorted(side.items))[chosen.item] for side, chosen in ((a, one), (b, other))]
    images = [np.array(sorted(side.images), dtype=object) for side in (a, b)]
    shown = (f"{left.name}: {first}", f"{right.name}: {second}") if several else (first, second)
    return _Pair(label, *shown, one, other, *names, *images)


def _by_label(columns: AnswerColumns) -> dict[str, SetColumns]:
    return {dataset: found for (_, _, dataset), found in columns.sets.items()}


def _refuse_other_items(
    left: _Side,
    right: _Side,
    label: str,
    first: Mapping[str, Mapping[str, str]],
    second: Mapping[str, Mapping[str, str]],
) -> None:
    ours, theirs = first.get(label, {}), second.get(label, {})
    changed = next((name for name in ours if name in theirs and not same(ours[name], theirs[name])), None)
    if changed is not None:
        raise ValueError(
            f"compare: item {changed!r} of {label} differs between {left.name} and {right.name} in question, answers "
            "or picture; run both on the same data"
        )


def _row(pair: _Pair, confidence: float, together: int) -> tuple[dict[str, str | int | float], str]:
    names = np.union1d(pair.a_names, pair.b_names)
    places = [np.searchsorted(names, side) for side in (pair.a_names, pair.b_names)]
    first, second = np.full(len(names), np.nan), np.full(len(names), np.nan)
    first[places[0]], second[places[1]] = pair.a.score, pair.b.score
    images = np.empty(len(names), dtype=object)
    images[places[1]], images[places[0]] = pair.b_images[pair.b.image], pair.a_images[pair.a.image]
    difference = second - first
    both = ~np.isnan(difference)
    if not both.any():
        raise ValueError(
            f"compare: {pair.dataset} has no item that is scored under both {pair.first} and {pair.second}"
        )
    units = images.astype(str)
    estimate = Estimate.over_units(difference[both], units[both], quantity="score", support=(-1.0, 1.0))
    limits = bounds.certify_mean(estimate, confidence, simultaneous=together)
    row: dict[str, str | int | float] = {
        "dataset": pair.dataset,
        "first": pair.first,
        "second": pair.second,
        "items": int(both.sum()),
        "of": len(names),
        "images": estimate.n,
        "accuracy_first": _image_mean(first[both], units[both]),
        "accuracy_second": _image_mean(second[both], units[both]),
        "difference": float(estimate),
        "difference_low": float(limits.low),
        "difference_high": float(limits.high),
        "lowest": _image_mean(np.nan_to_num(second, nan=0.0) - np.nan_to_num(first, nan=1.0), units),
        "highest": _image_mean(np.nan_to_num(second, nan=1.0) - np.nan_to_num(first, nan=0.0), units),
    }
    what = f"{pair.dataset}, accuracy under {pair.second} minus that under {pair.first}"
    return row, f"{what}: {limits.guarantee.replace('the mean score', 'the mean difference of scores', 1)}"


def _image_mean(values: FloatArray, images: NDArray[np.str_]) -> float:
    _, index, sizes = np.unique(images, return_inverse=True, return_counts=True)
    return float((np.bincount(index, weights=values) / sizes).mean())
