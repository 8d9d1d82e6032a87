"""Mutual information of continuous variables from distances to nearest neighbours (KSG)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import digamma

from redundancy import checks
from redundancy.array_types import FloatArray, Rng
from redundancy.estimate import Estimate, Quantity
from redundancy.information.knn_checks import (
    Scale,
    doubt,
    images_of,
    largest_atom,
    neighbor_columns,
    neighbors,
    noise,
    refuse_ties,
    thin_directions,
    threads,
    unequal_images,
)
from redundancy.information.knn_search import Images, Neighborhoods, Norm, Subset, backend, neighborhoods
from redundancy.information.sampling_doubts import OnDoubt
from redundancy.standard_columns import constant_columns

Variant = Literal[1, 2]
ATOM = 0.02  # share of copies of one value that variant 2 does not bear
ROWS_PER_NEIGHBOR = 20  # fewer rows (or images) per neighbour: more than a tenth is missing even in 1 + 1 columns
# (total dimensions, rows from which the bias stays near a tenth of the truth), measured by
# tests/benchmarks/bench_information.py; beyond the last entry, no number of rows was found to be enough
ROWS_NEEDED = ((2, 0), (4, 1000), (6, 3000))


def ksg(
    x: ArrayLike,
    y: ArrayLike,
    k: int = 5,
    *,
    variant: Variant = 1,
    norm: Norm = "max",
    scale: Scale = "standard",
    groups: ArrayLike | None = None,
    jitter: float = 0.0,
    rng: Rng = None,
    on_doubt: OnDoubt = "warn",
    workers: int = 1,
) -> Estimate:
    """Estimate I(X; Y) from nearest-neighbour distances (Kraskov, Stoegbauer and Grassberger, KSG).

    Columns are standardised first (the value is invariant, the estimator is not). The result is an estimate, not a
    bound.

    Parameters
    ----------
    x, y : array_like (n,) or (n, d)
        Paired rows, finite. Constant columns beside others change nothing.
    k : int
        Number of neighbours. A small k means less bias and more variance.
    variant : {1, 2}
        Balls (eq. 8 of the paper) or rectangles (eq. 9).
    norm : {"max", "euclidean"}
        Distance within x and within y; the joint distance is the larger of the two. "euclidean" runs on matrix
        products and is the faster one beyond about ten columns.
    scale : {"standard", "rank"}
        Unit spread, or the normal scores of the ranks of each column: the information is the same, and heavy tails
        no longer hide the bulk. Equal values keep equal ranks.
    groups : array_like (n,), optional
        Image of each row. Rows of the row's own image are neither neighbours nor counted, the k-th neighbour is the
        first row of the k-th nearest image, and counts are deflated by the number of rows an image has in them.
        Without groups rows of one image count as independent, and their likeness as information.
    jitter : float
        Gaussian noise in units of each column's spread, for data with ties; changes what is estimated.
    rng : Generator, int or None
        For the jitter only.
    on_doubt : {"warn", "raise", "ignore"}
        What to do when the input or the result is outside the range where KSG was shown to work
        (docs/how-to/choose-an-estimator.md): low precision, heavy tails, nearly dependent columns, few rows for k, many
        dimensions, too much information for n.
    workers : int
        Threads of the tree; -1 for all.

    Returns
    -------
    Estimate
        Nats; I(X; Y) >= 0, but the estimate can be negative and is not clipped. `details["local"]` (n,) are the
        pointwise terms; they are not independent and do not give an interval.

    Raises
    ------
    ValueError
        NaN, unequal lengths, k + 1 or fewer rows (images, with groups), a variable without a varying column, rows with
        k or more exact copies, unknown options.
    TypeError
        Arrays that do not hold real numbers.

    Warns
    -----
    RuntimeWarning
        With on_doubt="warn", for every doubt; they are also in `details["doubts"]`.

    See Also
    --------
    mixed_information : Variables with atoms.
    summary_information : Wide layers.
    knn_conditional_mutual_information : Given a third variable.
    mutual_information : Discrete variables.

    Notes
    -----
    Variant 1: I = psi(k) + psi(n) - E[psi(n_x + 1) + psi(n_y + 1)], where n_x counts the rows whose x is strictly
    closer than the k-th joint neighbour. Variant 2 adds -1 / k where the box has both sides; at an atom of X, where
    one side is 0, it does not, and all copies are counted.

    With groups, N images and s rows per image: images are independent of each other, so the share Q of images with a
    row in the ball obeys E log Q = psi(k) - psi(N), and the mass of the ball is Q S / s, S the mean number of rows in
    it of an image that has any. Hence I = psi(k) + E log S + psi(N) + log s - E[c(n_x) + c(n_y)], where
    c(n) = psi(n / m + 1) + log m and m = sum S^2 / sum S over the images counted. For one row per image this is the
    formula above; for images of s equal rows it is that formula for one row per image.

    References
    ----------
    Kraskov, Stoegbauer and Grassberger (2004), *Estimating mutual information*, arXiv:cond-mat/0305641.

    Examples
    --------
    Two Gaussians of correlation 0.6 share -log(1 - 0.36) / 2 = 0.223 nats:

    >>> import numpy as np
    >>> import redundancy as rd
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=2000)
    >>> y = 0.6 * x + 0.8 * rng.normal(size=2000)
    >>> round(rd.ksg(x, y).value, 3)
    0.212
    """
    choices = _Choices(k, variant, norm, scale, jitter, workers)
    space = _space({"x": x, "y": y}, choices, groups, rng)
    return _information(Quantity.MUTUAL_INFORMATION, space, choices, on_doubt)


def knn_conditional_mutual_information(
    x: ArrayLike,
    y: ArrayLike,
    z: ArrayLike,
    k: int = 5,
    *,
    variant: Variant | None = None,
    norm: Norm = "max",
    scale: Scale = "standard",
    groups: ArrayLike | None = None,
    jitter: float = 0.0,
    rng: Rng = None,
    on_doubt: OnDoubt = "warn",
    workers: int = 1,
) -> Estimate:
    """Estimate I(X; Y | Z) from nearest-neighbour counts.

    Parameters
    ----------
    x, y, z : array_like (n,) or (n, d)
        Paired rows, finite; z is the variable conditioned on.
    k, norm, scale, groups, jitter, rng, on_doubt, workers
        As in :func:`ksg`.
    variant : {1, 2}, optional
        1 counts in balls and is biased towards 0 when Z has many columns; 2 (rectangles) is less so. The default is 2,
        but 1 with several rows per image and near atoms of X or Y, where 2 is biased.

    Returns
    -------
    Estimate
        Nats; not clipped at 0. `details` as in :func:`ksg`.

    Raises
    ------
    ValueError, TypeError
        As in :func:`ksg`.

    See Also
    --------
    ksg : Without a third variable.
    conditional_mutual_information : Discrete variables.

    Notes
    -----
    Variant 1: I = psi(k) + E[psi(n_z + 1) - psi(n_xz + 1) - psi(n_yz + 1)], with counts in balls as in :func:`ksg`.

    References
    ----------
    Frenzel and Pompe (2007), *Partial mutual information for coupling analysis of multivariate time series*; the
    rectangles follow the second variant of Kraskov, Stoegbauer and Grassberger (2004).

    Examples
    --------
    X and Y are related through Z only:

    >>> import numpy as np
    >>> import redundancy as rd
    >>> rng = np.random.default_rng(0)
    >>> z = rng.normal(size=1000)
    >>> x, y = z + rng.normal(size=1000), z + rng.normal(size=1000)
    >>> round(rd.ksg(x, y).value, 2)
    0.11
    >>> round(rd.knn_conditional_mutual_information(x, y, z).value, 2)
    0.04
    """
    if variant is None:
        pair = [checks.matrix(a, name=name) for name, a in (("x", x), ("y", y))]
        if len(pair[0]) != len(pair[1]):
            raise ValueError(f"x, y: expected paired rows, got {[len(a) for a in pair]} rows")
        columns = np.hstack(pair)
        n = len(columns)
        # A constant column adds nothing; as the largest atom of all it must not choose the variant either.
        columns = columns[:, ~constant_columns(columns)] if n else columns
        several = groups is not None and checks.group_index(groups, n)[1].size < n
        variant = 1 if several or (columns.size and largest_atom(columns) > ATOM * n) else 2
    choices = _Choices(k, variant, norm, scale, jitter, workers)
    space = _space({"x": x, "y": y, "z": z}, choices, groups, rng)
    if variant == 2 and not space.images.single:
        space.doubts.append("variant 2 with several rows per image was found to be biased upwards; use variant=1")
    return _information(Quantity.CONDITIONAL_MUTUAL_INFORMATION, space, choices, on_doubt)


def out_of_range(n: int, k: int, dimensions: int, value: float, *, units: str = "rows") -> list[str]:
    """Reasons to distrust a neighbour estimate of this value from so many rows (or images) and dimensions."""
    doubts = []
    needed = next((rows for most, rows in ROWS_NEEDED if dimensions <= most), np.inf)
    if n < needed:
        doubts.append(
            f"KSG in {dimensions} dimensions from {n} {units} falls short of the truth by more than a tenth (shown to "
            "work up to 4 dimensions from 1,000 rows, 6 from 3,000); summarise first: summary_information"
        )
    elif n < ROWS_PER_NEIGHBOR * k:
        doubts.append(
            f"KSG with k = {k} from {n} {units} falls short of the truth by more than a tenth; collect "
            f"{ROWS_PER_NEIGHBOR} {units} per neighbour"
        )
    if value > 0.5 * np.log(n):
        doubts.append(
            f"{value:.2f} nats from {n} {units}: KSG saturates (shown to work up to 0.5 log n = {0.5 * np.log(n):.2f})"
        )
    return doubts


def local_terms(
    near: Neighborhoods, subsets: Sequence[Subset], signs: Sequence[int], k: int, total: FloatArray
) -> FloatArray:
    """Pointwise terms (n,): the joint ball, the whole sample (`total`), and the signed counts of the subspaces.

    A subspace of f blocks whose box has f sides longer than 0 contributes psi(count) - (f - 1) / count, as in the
    second estimator of the paper; without a free side (an atom) all copies lie in it and it contributes
    psi(count + 1). A count of m rows that carry the information of one is deflated to psi(count / m + 1) + log m.
    """
    local = digamma(k) + near.crowd + total
    if near.extents is not None:
        free = (near.extents > 0).sum(1)
        local = local - np.maximum(free - 1.0, 0.0) / k
    for subset, count, clump, sign in zip(subsets, near.counts, near.clumps, signs, strict=True):
        if near.extents is None:
            term = digamma(count / clump + 1.0) + np.log(clump)
        else:
            free = (near.extents[:, list(subset)] > 0).sum(1)
            argument = (count - (free > 0)) / clump + 1.0
            term = digamma(argument) + np.log(clump) - np.maximum(free - 1.0, 0.0) / argument
        local = local + sign * term
    return np.asarray(local, dtype=np.float64)


def total_term(images: Images) -> FloatArray:
    """psi of the number of images, and the logarithm of their rows per image: the sample that each row sees (n,)."""
    others = images.sizes.size - 1
    return np.asarray(digamma(others + 1.0) + np.log((images.others + 1.0) / (others + 1.0)))


@dataclass(frozen=True)
class _Choices:
    """The options of a neighbour estimate of information, checked."""

    k: int
    variant: Variant
    norm: Norm
    scale: Scale
    jitter: float
    workers: int

    def __post_init__(self) -> None:
        neighbors(self.k)
        checks.one_of(self.norm, get_args(Norm), name="norm")
        checks.one_of(self.scale, get_args(Scale), name="scale")
        if isinstance(self.variant, bool) or self.variant not in (1, 2):
            raise ValueError(f"variant: expected 1 (balls) or 2 (rectangles), got {self.variant}")
        noise(self.jitter)
        threads(self.workers)


@dataclass(frozen=True)
class _Space:
    """Standardised blocks of columns, the tolerances of their ranks, the images of the rows, and doubts so far."""

    names: tuple[str, ...]
    blocks: list[FloatArray]
    tolerances: list[float]
    images: Images
    grouped: bool
    doubts: list[str]


def _space(variables: Mapping[str, ArrayLike], choices: _Choices, groups: ArrayLike | None, rng: Rng) -> _Space:
    arrays = {name: checks.matrix(variable, name=name, min_rows=2) for name, variable in variables.items()}
    lengths = [len(a) for a in arrays.values()]
    if len(set(lengths)) > 1:
        raise ValueError(f"{', '.join(variables)}: expected paired rows, got {lengths} rows")
    images = images_of(groups, lengths[0], choices.k, name="x")
    generator = checks.generator(rng)
    blocks, tolerances, doubts = [], [], unequal_images(images.sizes)
    for name, array in arrays.items():
        columns = neighbor_columns(array, name=name, scale=choices.scale, jitter=choices.jitter, rng=generator)
        constant = columns.standard.constant
        if constant.all() and name != "z":
            raise ValueError(f"{name}: every column is constant; it carries no information")
        blocks.append(columns.z[:, ~constant] if not constant.all() else columns.z[:, :1])
        tolerances.append(columns.standard.rank_tolerance)
        doubts += columns.doubts
    return _Space(tuple(variables), blocks, tolerances, images, groups is not None, doubts)


def _information(quantity: Quantity, space: _Space, choices: _Choices, on_doubt: OnDoubt) -> Estimate:
    given_z = len(space.blocks) == 3
    subsets: list[Subset] = [(0, 2), (1, 2), (2,)] if given_z else [(0,), (1,)]
    signs = (-1, -1, 1) if given_z else (-1, -1)
    atoms = max(largest_atom(block) for block in space.blocks[:2])
    if choices.variant == 2 and atoms > max(choices.k, ATOM * len(space.blocks[0])):
        space.doubts.append(
            f"variant 2 is biased near an atom, and a column has {atoms} copies of one value; use variant=1 or "
            "mixed_information"
        )
    near = neighborhoods(
        space.blocks,
        subsets,
        choices.k,
        norm=choices.norm,
        images=space.images,
        rectangles=choices.variant == 2,
        workers=choices.workers,
    )
    refuse_ties(near.radius, choices.k)
    total = np.zeros(len(near.radius)) if given_z else total_term(space.images)
    local = local_terms(near, subsets, signs, choices.k, total)
    value = float(local.mean())
    doubts = list(space.doubts)
    for name, block, tolerance in zip(space.names, space.blocks, space.tolerances, strict=True):
        doubts += thin_directions(block, near.radius, tolerance, name)
    units = space.images.sizes.size
    doubts += out_of_range(
        units, choices.k, sum(b.shape[1] for b in space.blocks), value, units="images" if space.grouped else "rows"
    )
    doubt(doubts, on_doubt)
    settings = {
        "method": f"ksg{choices.variant}",
        "k": choices.k,
        "norm": choices.norm,
        "scale": choices.scale,
        "jitter": choices.jitter,
    }
    details = {
        "local": local,
        "n": len(local),
        "units": units,
        "doubts": tuple(doubts),
        "backend": backend(space.blocks, choices.norm),
    }
    return Estimate(
        value=value,
        quantity=quantity,
        unit_of_sampling="image" if space.grouped else "row",
        unit="nats",
        settings=settings,
        details=details,
    )
