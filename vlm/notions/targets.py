"""What is to be predicted at each row: the item's answer, or a value of the caller's for each item."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from redundancy.array_types import BoolArray, FloatArray, IntArray

OTHER = "(other)"
Targets: TypeAlias = str | Mapping[str, object]


@dataclass(frozen=True, eq=False)
class RowTarget:
    """The target of some rows of a view.

    Attributes
    ----------
    rows : ndarray of bool (all rows,)
        Which rows have a target and may be used with it.
    values : ndarray (rows used,)
        Class labels as text, or floats.
    classes : tuple of str
        All classes in sorted order; () for floats.
    notes : tuple of str
        What was pooled or left out.
    """

    rows: BoolArray
    values: NDArray[np.str_] | FloatArray
    classes: tuple[str, ...]
    notes: tuple[str, ...] = ()

    @property
    def codes(self) -> IntArray:
        """Number of each row's class."""
        return np.asarray(np.searchsorted(np.array(self.classes), self.values), dtype=np.int64)


def row_target(
    target: Targets, *, items: NDArray[np.str_], answers: NDArray[np.str_], fit: BoolArray, classes: int
) -> RowTarget:
    """The target of each row of a view.

    Parameters
    ----------
    target : "answer" or mapping of item id -> value
        The recorded reference answers, or a class (text, integer, boolean) or a float for each item.
    items, answers : ndarray of str (rows,)
        Item and reference answer of each row.
    fit : ndarray of bool (rows,)
        Rows of the images that fix what must be fixed in advance.
    classes : int
        Most classes. If there are more, those that are frequent on the rows of `fit` stay, the others become one class,
        and only the other rows are used: the classes are then fixed in advance.

    Returns
    -------
    RowTarget

    Raises
    ------
    ValueError
        No row has a target.
    """
    if isinstance(target, str):
        if target != "answer":
            raise ValueError(f"target: expected 'answer' or one value per item, got {target!r}")
        found: list[object] = [answer if answer else None for answer in answers.tolist()]
    else:
        found = [target.get(item) for item in items.tolist()]
    has = np.array([value is not None for value in found])
    if not has.any():
        what = "recorded answers" if isinstance(target, str) else "a value for some of the recorded items"
        raise ValueError(f"target: expected {what}, found none for {len(set(items.tolist()))} items")
    missing = len(set(items[~has].tolist()))
    notes = (f"{missing} items have no target and are left out where one is needed",) if missing else ()
    kept = [value for value in found if value is not None]
    if all(isinstance(value, (float, np.floating)) for value in kept):
        numbers = np.array(kept, dtype=np.float64)
        if not np.isfinite(numbers).all():
            raise ValueError("target: expected finite numbers, got NaN or infinity")
        return RowTarget(has, numbers, (), notes)
    labels = np.array([str(value) for value in kept], dtype=np.str_)
    names, counts = np.unique(labels, return_counts=True)
    if names.size <= classes:
        return RowTarget(has, labels, tuple(names.tolist()), notes)
    seen, counts = np.unique(labels[fit[has]], return_counts=True)
    frequent = seen[np.argsort(-counts, kind="stable")][: classes - 1]
    pooled = np.where(np.isin(labels, frequent), labels, OTHER)[~fit[has]]
    names_kept = tuple(sorted({*frequent.tolist(), OTHER}))
    text = (
        f"{names.size} different targets: the {classes - 1} most frequent on half of the images stay, the others are "
        f"{OTHER!r}; the other images are measured"
    )
    return RowTarget(has & ~fit, pooled, names_kept, (*notes, text))


def by_item(target: str | Sequence[object], items: Sequence[str]) -> Targets:
    """A target given as a sequence along the items, by item id.

    Raises
    ------
    ValueError
        Another number of values than items.
    """
    if isinstance(target, str):
        return target
    values = list(target)
    if len(values) != len(items):
        raise ValueError(f"target: expected one value per item, {len(items)}, got {len(values)}")
    plain = [value.item() if isinstance(value, np.generic) else value for value in values]
    return dict(zip(items, plain, strict=True))
