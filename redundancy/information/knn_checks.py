"""Checks that detect when nearest-neighbour estimates would be meaningless, and the columns that they work on."""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import ndtri
from scipy.stats import rankdata

from redundancy import checks
from redundancy.array_types import FloatArray, IntArray, Rng
from redundancy.information.knn_search import Images
from redundancy.information.sampling_doubts import OnDoubt
from redundancy.standard_columns import StandardColumns, standard_columns

Scale = Literal["standard", "rank"]
SPHERE_SPREAD = 1e-2  # distance from the fitted sphere, in units of the narrowest spread (half precision: 2e-3)
FEW_VALUES = 0.5  # distinct values per row outside the largest atom, below which a column is called low-precision
HEAVY = 0.1  # interquartile range per standard deviation below which standardising hides the bulk of a column
UNEQUAL = 0.25  # images of one size that unequal ones are worth, per image: below, the bias reaches 0.1 nats
THIN = 0.25  # spread across the columns per neighbour distance, below which a direction is not resolved


def neighbors(k: object) -> int:
    """A number of neighbours: a whole number of at least 1."""
    if isinstance(k, (bool, np.bool_)) or not isinstance(k, (int, np.integer)):
        raise TypeError(f"k: expected a whole number of neighbours, got {k!r}")
    if k < 1:
        raise ValueError(f"k: expected at least 1 neighbour, got {k}")
    return int(k)


def noise(jitter: object) -> float:
    """A fraction >= 0 of each column's spread."""
    if isinstance(jitter, (bool, np.bool_)):
        raise TypeError(f"jitter: expected a number, got {jitter!r}")
    value = checks.number(jitter, name="jitter")
    if not (math.isfinite(value) and value >= 0):
        raise ValueError(f"jitter: expected a fraction >= 0 of each column's spread, got {jitter}")
    return value


def threads(workers: object) -> int:
    """A number of threads: positive, or -1 for all."""
    if isinstance(workers, (bool, np.bool_)) or not isinstance(workers, (int, np.integer)):
        raise TypeError(f"workers: expected a whole number of threads, got {workers!r}")
    if workers == 0 or workers < -1:
        raise ValueError(f"workers: expected a number of threads or -1 for all, got {workers}")
    return int(workers)


def images_of(groups: ArrayLike | None, n: int, k: int, *, name: str) -> Images:
    """The image of each row; ValueError unless every row has more than k rows of other images, in k images."""
    index, sizes = checks.group_index(groups, n)
    images = Images(np.asarray(index, dtype=np.int64), np.asarray(sizes, dtype=np.int64))
    if sizes.size <= k + 1:
        what = "rows" if groups is None else "images (groups)"
        raise ValueError(
            f"{name}: expected more than k + 1 = {k + 1} {what}, got {sizes.size}; lower k or collect more"
        )
    return images


def unequal_images(rows_of_images: IntArray) -> list[str]:
    """A doubt if a few images have most of the rows: neighbour counts weigh rows, not images."""
    sizes = rows_of_images.astype(np.float64)
    worth = float(sizes.sum() ** 2 / (sizes**2).sum())
    if worth >= UNEQUAL * sizes.size:
        return []
    return [
        f"groups: {sizes.size} images of very unequal numbers of rows, worth {worth:.0f} images of one size: neighbour "
        "estimates are biased downwards; keep about as many rows of each image"
    ]


@dataclass(frozen=True)
class NeighborColumns:
    """Columns (n, d) on one scale, what they were made from, and doubts about them."""

    z: FloatArray
    standard: StandardColumns
    doubts: list[str]


def neighbor_columns(
    x: FloatArray, *, name: str, scale: Scale = "standard", jitter: float = 0.0, rng: Rng = None
) -> NeighborColumns:
    """Standardised columns of x (n, d), or their normal scores; constant columns are zero.

    `jitter` times Gaussian noise is added to the columns that are not constant.
    """
    standard = standard_columns(x)
    z = standard.z
    doubts = []
    varying = np.flatnonzero(~standard.constant)
    if jitter == 0 and varying.size:
        doubts += low_precision(x[:, varying], name)
    if scale == "rank":
        z = z.copy()
        z[:, varying] = _normal_scores(x[:, varying])  # of x: centring may merge small values
    elif varying.size:
        doubts += heavy_tails(z[:, varying], name)
    if jitter > 0:
        z = z.copy()
        z[:, varying] += jitter * checks.generator(rng).standard_normal((len(z), varying.size))
    return NeighborColumns(z, standard, doubts)


def _normal_scores(x: FloatArray) -> FloatArray:
    """Normal quantiles of the mid-ranks of each column, at unit spread; ties stay ties."""
    scores = np.asarray(ndtri((rankdata(x, axis=0) - 0.5) / len(x)), dtype=np.float64)
    return np.asarray(scores / np.sqrt(np.mean(scores**2, axis=0)))


def low_precision(z: FloatArray, name: str) -> list[str]:
    """A doubt if, outside its most frequent value, a column repeats its values."""
    for column in z.T:
        values, copies = np.unique(column, return_counts=True)
        largest = int(copies.max())
        if largest > 1 and values.size - 1 < FEW_VALUES * (column.size - largest):
            return [
                f"{name}: a column has only {values.size} distinct values in {column.size} rows (low precision or "
                "discrete); pass the jitter of one rounding step, mixed_information, or use the discrete estimators"
            ]
    return []


def largest_atom(z: FloatArray) -> int:
    """Copies of the most frequent value of any column of z (n, d)."""
    return max(int(np.unique(column, return_counts=True)[1].max()) for column in z.T)


def heavy_tails(z: FloatArray, name: str) -> list[str]:
    """A doubt if a column of z (n, d) has most of its rows in a small part of its standard deviation."""
    for column in z.T:
        values, copies = np.unique(column, return_counts=True)
        bulk = column if copies.max() == 1 else column[column != values[copies.argmax()]]
        if bulk.size < 4:
            continue
        low, high = np.quantile(bulk, [0.25, 0.75], method="nearest")
        if 0 < high - low < HEAVY * bulk.std():  # 0: discrete
            return [
                f"{name}: a column's interquartile range is {(high - low) / bulk.std():.2g} of its standard deviation: "
                "after standardising its bulk is a point; pass scale='rank' where offered, or transform it"
            ]
    return []


def thin_directions(z: FloatArray, radius: FloatArray, tolerance: float, name: str) -> list[str]:
    """A doubt if the columns vary in some direction by much less than the distance to the neighbours."""
    if z.shape[1] < 2 or len(z) <= z.shape[1]:
        return []
    spreads = np.linalg.svd(z, compute_uv=False) / math.sqrt(len(z))
    spreads = spreads[spreads > tolerance * spreads[0]]
    if not spreads.size or spreads[-1] >= THIN * np.median(radius):
        return []
    return [
        f"{name}: nearly dependent columns: the spread in one direction is {spreads[-1]:.2g}, neighbours are "
        f"{np.median(radius):.2g} apart and do not resolve it; rotate or whiten the columns"
    ]


def refuse_ties(radius: FloatArray, k: int, *, jitter_helps: bool = True) -> None:
    """Raise ValueError if some rows have k or more exact copies: their neighbour distance is zero."""
    copies = int((radius == 0).sum())
    if copies:
        remedy = (
            "use mixed_information or the discrete estimators, or jitter=... (a fraction of the spread, about the "
            "rounding step); scale='rank' if they come from heavy tails"
            if jitter_helps
            else "drop the copies or use the discrete estimators"
        )
        raise ValueError(
            f"k: expected rows with fewer than k = {k} exact copies, got {copies} of {radius.size} with as many: "
            f"a density does not exist there; {remedy}"
        )


@dataclass(frozen=True)
class Sphere:
    """Rows (n, d) on the unit sphere of their own hyperplane, and the radius and dimension of the sphere they fit."""

    unit: FloatArray
    radius: float
    dimension: int


def fitted_sphere(x: FloatArray) -> Sphere | None:
    """The sphere that the rows of x (n, d) lie on, of any centre and radius, or None.

    The centre minimises the spread of the squared distances to it, within the smallest flat that holds the rows. The
    rows are on the sphere if their distances to it are below `SPHERE_SPREAD` of their spread in its narrowest
    direction: the test does not change under shifts, scaling and rotation. With few rows for the number of columns
    any rows fit some sphere; then the centre is the origin or the mean.
    """
    n = len(x)
    exponent = int(np.frexp(np.abs(x).max())[1])
    scaled = np.ldexp(x, -exponent)
    mean = scaled.mean(0)
    centred = scaled - mean
    left, values, axes = np.linalg.svd(centred, full_matrices=False)
    rounding = 4.0 * max(x.shape) * np.finfo(np.float64).eps * math.sqrt(n) * float(np.abs(scaled).max())
    ranks = [int((values > rounding).sum())]
    if n > 2 * (x.shape[1] + 1):  # rows in low precision leave their flat a little
        ranks.append(int((values > SPHERE_SPREAD * values[0]).sum()))
    for rank in ranks:
        if rank < 2:
            continue
        rows = left[:, :rank] * values[:rank]
        size = values[:rank] / math.sqrt(n)
        if n > 2 * (rank + 1):
            squares = np.einsum("ij,ij->i", rows, rows)
            solution = np.linalg.lstsq(np.column_stack([rows / size, np.ones(n)]), squares, rcond=None)[0]
            centres, spread = [0.5 * solution[:-1] / size], float(size[-1])
        else:
            centres, spread = [-mean @ axes[:rank].T, np.zeros(rank)], float(np.sqrt(np.mean(size**2)))
        for centre in centres:
            arms = rows - centre
            lengths = np.linalg.norm(arms, axis=1)
            if lengths.std() <= SPHERE_SPREAD * spread:
                return Sphere(arms / lengths[:, None], float(np.ldexp(lengths.mean(), exponent)), rank - 1)
    return None


def doubt(messages: Sequence[str], on_doubt: OnDoubt) -> None:
    """Warn, raise ValueError or do nothing, as `on_doubt` asks."""
    checks.one_of(on_doubt, get_args(OnDoubt), name="on_doubt")
    if not messages or on_doubt == "ignore":
        return
    text = "; ".join(messages)
    if on_doubt == "raise":
        raise ValueError(text)
    warnings.warn(text, RuntimeWarning, stacklevel=3)
