"""Checks that detect, before anything is computed, when nearest-neighbour estimates would be meaningless."""

from __future__ import annotations

import warnings
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.array_types import FloatArray, Rng

OnDoubt = Literal["warn", "raise", "ignore"]
SPHERE_SPREAD = 1e-2  # relative spread of the norms below which the rows are on a sphere (half precision: 1e-3)
FEW_VALUES = 0.5  # distinct values per row below which a column is called low-precision


def neighbor_matrix(
    a: ArrayLike, k: int, *, name: str, jitter: float, rng: Rng
) -> tuple[FloatArray, FloatArray, list[str]]:
    """Standardised columns (n, d), the logarithms of their scales (d,), and doubts about them.

    Raises ValueError for too few rows and constant columns; adds `jitter` times Gaussian noise to the standardised
    columns.
    """
    if checks.number(k, name="k") < 1:
        raise ValueError(f"k: expected at least 1 neighbour, got {k}")
    x = checks.matrix(a, name=name, min_rows=2)
    n = x.shape[0]
    if n <= k + 1:
        raise ValueError(f"{name}: expected more than k + 1 = {k + 1} rows, got {n}; lower k or collect more")
    if checks.number(jitter, name="jitter") < 0 or not np.isfinite(jitter):
        raise ValueError(f"jitter: expected a fraction >= 0 of each column's spread, got {jitter}")
    centred = x - x.mean(0)
    scale = np.sqrt(np.mean(centred * centred, axis=0))
    tiny = 1e-12 * np.abs(x).max(0)  # the spread of a constant column is rounding error
    if (scale <= tiny).any():
        constant = np.flatnonzero(scale <= tiny)
        raise ValueError(
            f"{name}: column(s) {constant[:8].tolist()} are constant; drop them, they carry no information"
        )
    z = centred / scale
    doubts = []
    values = np.sort(z, axis=0)
    fewest = int(1 + (np.diff(values, axis=0) > 0).sum(0).min())
    if fewest < FEW_VALUES * n and jitter == 0:
        doubts.append(
            f"{name}: a column has only {fewest} distinct values in {n} rows (low precision or discrete); "
            "pass the jitter of one rounding step or use the discrete estimators"
        )
    if jitter > 0:
        z = z + jitter * np.random.default_rng(rng).standard_normal(z.shape)
    return z, np.log(scale), doubts


def refuse_ties(radius: FloatArray, k: int) -> None:
    """Raise ValueError if some rows have k or more exact copies: their neighbour distance is zero."""
    copies = int((radius == 0).sum())
    if copies:
        raise ValueError(
            f"k: expected rows with fewer than k = {k} exact copies, got {copies} of {radius.size} with as many: "
            "a density does not exist there; use the discrete estimators, or jitter=... (a fraction of the spread, "
            "about the rounding step)"
        )


def on_sphere(x: ArrayLike) -> bool:
    """Whether the rows of x (n, d >= 2) all have nearly the same norm."""
    a = checks.real_array(x, name="x")
    if a.ndim != 2 or a.shape[1] < 2:
        return False
    norms = np.linalg.norm(a, axis=1)
    return bool(norms.std() <= SPHERE_SPREAD * norms.mean())


def doubt(messages: list[str], on_doubt: OnDoubt) -> None:
    """Warn, raise ValueError or do nothing, as `on_doubt` asks."""
    checks.one_of(on_doubt, get_args(OnDoubt), name="on_doubt")
    if not messages or on_doubt == "ignore":
        return
    text = "; ".join(messages)
    if on_doubt == "raise":
        raise ValueError(text)
    warnings.warn(text, RuntimeWarning, stacklevel=3)
