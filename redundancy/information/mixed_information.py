"""Mutual information of variables that are discrete, continuous or a mixture of both, from nearest neighbours."""

from __future__ import annotations

from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike
from scipy.special import digamma

from redundancy import checks
from redundancy.array_types import FloatArray
from redundancy.estimate import Estimate, Quantity, unit_of_sampling
from redundancy.information.knn_checks import (
    Scale,
    doubt,
    images_of,
    neighbor_columns,
    neighbors,
    thin_directions,
    threads,
    unequal_images,
)
from redundancy.information.knn_search import Images, Norm, Subset, neighborhoods
from redundancy.information.kraskov import out_of_range, total_term
from redundancy.information.sampling_doubts import OnDoubt
from redundancy.standard_columns import constant_columns

SUBSETS: tuple[Subset, ...] = ((0,), (1,), (0, 1))
Stratum = tuple[FloatArray, list[str]]


def mixed_information(
    x: ArrayLike,
    y: ArrayLike,
    z: ArrayLike | None = None,
    *,
    k: int = 5,
    norm: Norm = "max",
    scale: Scale = "standard",
    groups: ArrayLike | None = None,
    on_doubt: OnDoubt = "warn",
    workers: int = 1,
) -> Estimate:
    """Estimate I(X; Y), or I(X; Y | Z) for discrete Z, where X and Y may be discrete, continuous or mixtures.

    Examples of mixtures are counts with many zeros, outputs of ReLU, and a class beside a real number. Nothing is
    assumed about which columns are discrete: what repeats exactly is an atom.

    Parameters
    ----------
    x, y : array_like (n,) or (n, d)
        Paired rows of real numbers, finite. A discrete variable is given by numbers; for one without an order use
        one-hot columns.
    z : array_like (n,), optional
        Labels (integers, booleans or strings) to condition on: the result is the mean over the values of z, weighted
        by their rows. Each value needs more than k + 1 rows (or images).
    k : int
        Number of neighbours.
    norm : {"max", "euclidean"}
        As in :func:`ksg`.
    scale : {"standard", "rank"}
        As in :func:`ksg`.
    groups : array_like (n,), optional
        Image of each row; rows of one image are neither neighbours nor counted.
    on_doubt : {"warn", "raise", "ignore"}
        What to do about heavy tails, many dimensions, nearly dependent columns or too much information for n.
    workers : int
        Threads of the tree; -1 for all.

    Returns
    -------
    Estimate
        Nats; not clipped at 0. `details["local"]` (n,) are the pointwise terms; `details["atoms"]` is the share of rows
        that have k or more exact copies.

    Raises
    ------
    ValueError
        NaN, unequal lengths, too few rows (in some value of z), unknown options.
    TypeError
        Arrays that do not hold real numbers; z that does not hold labels.

    Warns
    -----
    RuntimeWarning
        With on_doubt="warn", for every doubt; they are also in `details["doubts"]`.

    See Also
    --------
    ksg : Continuous variables.
    mutual_information : Discrete variables, with corrections of the bias.
    knn_conditional_mutual_information : A continuous condition.

    Notes
    -----
    For rows whose k-th neighbour is at a distance r > 0 the term is that of :func:`ksg`,
    psi(k) + psi(n) - psi(n_x + 1) - psi(n_y + 1), with counts strictly within r. For rows with k or more exact copies
    r = 0, and the term is log(n n_xy / (n_x n_y)) with the copies of the row, of x and of y (the row itself among
    them): purely discrete variables give the plug-in value exactly. With several rows per image the copies are those
    in other images, and logarithms become psi as for continuous rows.

    References
    ----------
    Gao, Kannan, Oh and Viswanath (2017), *Estimating mutual information for discrete-continuous mixtures*,
    arXiv:1709.06212; Ross (2014), *Mutual information between discrete and continuous data sets*.

    Examples
    --------
    A fair coin decides the mean of Y, 0 or 100, and so is known from it: log 2 = 0.693 nats:

    >>> import numpy as np
    >>> import redundancy as rd
    >>> rng = np.random.default_rng(0)
    >>> coin = rng.integers(2, size=2000)
    >>> y = 100 * coin + rng.normal(size=2000)
    >>> round(rd.mixed_information(coin, y).value, 3)
    0.692
    """
    neighbors(k)
    threads(workers)
    checks.one_of(norm, get_args(Norm), name="norm")
    checks.one_of(scale, get_args(Scale), name="scale")
    checks.one_of(on_doubt, get_args(OnDoubt), name="on_doubt")
    a, b = checks.matrix(x, name="x", min_rows=2), checks.matrix(y, name="y", min_rows=2)
    n = len(a)
    if len(b) != n:
        raise ValueError(f"x and y: expected paired rows, got {n} and {len(b)}")
    index, sizes = checks.group_index(groups, n)
    blocks, doubts, tolerances = [], unequal_images(sizes), []
    for name, array in (("x", a), ("y", b)):
        columns = neighbor_columns(array, name=name, scale=scale)
        doubts += [text for text in columns.doubts if "interquartile" in text]
        blocks.append(columns.z)
        tolerances.append(columns.standard.rank_tolerance)
    if z is None:
        strata = [np.arange(n)]
    else:
        labels = checks.labels(z, name="z")
        if len(labels) != n:
            raise ValueError(f"z: expected one label per row, got {len(labels)} for {n} rows")
        strata = [np.flatnonzero(labels == value) for value in np.unique(labels)]
    local, copied = np.empty(n), np.empty(n, dtype=np.bool_)
    for rows in strata:
        name = "x" if z is None else f"z: in each value, and x in {labels[rows[:1]].tolist()[0]!r}"
        images = images_of(None if groups is None else np.asarray(index)[rows], rows.size, k, name=name)
        here = [
            np.where(constant_columns(side[rows]), 0.0, block[rows]) for side, block in zip((a, b), blocks, strict=True)
        ]
        if not all(np.ptp(block, axis=0).any() for block in here):
            local[rows], copied[rows] = 0.0, True  # a constant shares nothing
            continue
        local[rows], radius = _terms(here, k, norm, images, workers)
        copied[rows] = radius == 0
        value = float(local[rows].mean())
        dimensions = sum(int((~(np.ptp(block, axis=0) == 0)).sum()) for block in here)
        units = "rows" if groups is None else "images"
        if not copied[rows].all():
            reasons = out_of_range(images.sizes.size, k, dimensions, value, units=units)
            for block, tolerance, name in zip(here, tolerances, ("x", "y"), strict=True):
                reasons += thin_directions(block, radius, tolerance, name)
            doubts += [reason for reason in reasons if reason not in doubts]
    doubt(doubts, on_doubt)
    quantity = Quantity.MUTUAL_INFORMATION if z is None else Quantity.CONDITIONAL_MUTUAL_INFORMATION
    method: Literal["mixed", "mixed, stratified"] = "mixed" if z is None else "mixed, stratified"
    return Estimate(
        value=float(local.mean()),
        quantity=quantity,
        unit_of_sampling=unit_of_sampling(groups),
        unit="nats",
        settings={"method": method, "k": k, "norm": norm, "scale": scale},
        details={"local": local, "n": n, "atoms": float(copied.mean()), "doubts": tuple(doubts)},
    )


def _terms(blocks: list[FloatArray], k: int, norm: Norm, images: Images, workers: int) -> tuple[FloatArray, FloatArray]:
    """Pointwise terms (n,) and distances to the k-th neighbour (n,)."""
    near = neighborhoods(blocks, SUBSETS, k, norm=norm, images=images, atoms=True, workers=workers)
    count_x, count_y, count_both = near.counts
    clump_x, clump_y, clump_both = near.clumps
    deflated_x = digamma(count_x / clump_x + 1.0) + np.log(clump_x)
    deflated_y = digamma(count_y / clump_y + 1.0) + np.log(clump_y)
    if images.single:
        n = len(near.radius)
        copies = np.log(n) + np.log(count_both + 1.0) - np.log(count_x + 1.0) - np.log(count_y + 1.0)
    else:
        both = digamma(count_both / clump_both + 1.0) + np.log(clump_both)
        copies = both + total_term(images) - deflated_x - deflated_y
    rows = digamma(k) + near.crowd + total_term(images) - deflated_x - deflated_y
    return np.where(near.radius == 0, copies, rows), near.radius
