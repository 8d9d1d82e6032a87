"""Arrays cut to the rows of some images, and estimators called on them."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.array_conversion import as_numpy, is_tensor
from redundancy.array_types import AnyArray, FloatArray, IntArray


def paired_arrays(
    arrays: tuple[AnyArray, ...], groups: ArrayLike | None
) -> tuple[tuple[AnyArray, ...], IntArray, IntArray]:
    """Arrays with one row per sample (tensors stay tensors), the image of each row, and the images' sizes."""
    if not arrays:
        raise TypeError("arrays: expected at least one array with one row per sample, got none")
    converted = tuple(
        a.detach() if is_tensor(a) and str(a.layout) == "torch.strided" else as_numpy(a, name=f"arrays[{i}]")
        for i, a in enumerate(arrays)
    )
    rows = {int(a.shape[0]) if a.ndim else 0 for a in converted}
    if len(rows) > 1 or 0 in rows:
        raise ValueError(
            f"arrays: expected arrays with one row per sample, got shapes {[tuple(a.shape) for a in converted]}"
        )
    index, sizes = checks.group_index(groups, rows.pop())
    return converted, index, sizes


def takes_groups(estimator: Callable[..., object]) -> bool:
    """Whether a callable has a parameter `groups`."""
    try:
        return "groups" in inspect.signature(estimator).parameters
    except (TypeError, ValueError):
        return False


def numbers_of(
    estimator: Callable[..., object],
    arrays: tuple[AnyArray, ...],
    groups: IntArray | None,
    settings: Mapping[str, object],
) -> FloatArray:
    """The value (a number or a vector) that the estimator gives for these rows."""
    given = {} if groups is None or not takes_groups(estimator) else {"groups": groups}
    result = estimator(*arrays, **given, **settings)
    value = np.asarray(getattr(result, "value", result), dtype=np.float64)
    if value.ndim > 1 or not np.isfinite(value).all():
        raise ValueError(f"estimator: expected a finite number or a vector of them, got {value}")
    return value
