"""How much an estimate varies from sample to sample of images: the delete-image jackknife and subsampling."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.array_types import AnyArray, FloatArray, Rng
from redundancy.display import Displayed
from redundancy.estimate import Unit, unit_of_sampling
from redundancy.resampling.image_samples import numbers_of, paired_arrays

SpreadMethod = Literal["jackknife", "subsample"]


@dataclass(frozen=True, eq=False, repr=False)
class Spread(Displayed):
    """The standard error of an estimate over samples of images: a spread, not a confidence interval.

    Parameters
    ----------
    value : float or ndarray (k,)
        Standard error, in the unit of the estimate.
    estimate : float or ndarray (k,)
        The estimate from all images.
    method : {"jackknife", "subsample"}
        How it was found.
    n : int
        Number of images (of rows without groups).
    unit_of_sampling : {"row", "image"}
        What was left out.
    replicates : ndarray (replicates,) or (replicates, k)
        The estimates from the reduced samples.

    Attributes
    ----------
    value, estimate, method, n, unit_of_sampling, replicates
        As given.

    See Also
    --------
    image_spread : Makes it.

    Notes
    -----
    A standard error says nothing about bias, and holds asymptotically: "estimate +- 2 spreads" has no guaranteed
    coverage. Certificates are made by ``bounds``.

    Examples
    --------
    >>> import redundancy as rd
    >>> rd.image_spread(lambda a: a.mean(), [1.0, 2.0, 3.0, 4.0])
    Spread(value=0.6455, estimate=2.5, method=jackknife, n=4, unit_of_sampling=row)
    """

    value: float | FloatArray
    estimate: float | FloatArray
    method: SpreadMethod
    n: int
    unit_of_sampling: Unit
    replicates: FloatArray = field(repr=False)


def image_spread(
    estimator: Callable[..., object],
    *arrays: AnyArray,
    groups: ArrayLike | None = None,
    method: SpreadMethod = "jackknife",
    replicates: int = 100,
    rng: Rng = None,
    **settings: object,
) -> Spread:
    """Estimate the standard error of any estimator by leaving out whole images.

    Parameters
    ----------
    estimator : callable
        Called as ``estimator(*arrays, **settings)`` on the rows of some of the images; returns an `Estimate`, a
        number or a vector. It gets ``groups=`` too, if groups are given and it has that parameter.
    *arrays : array_like (n,) or (n, ...)
        Paired rows.
    groups : array_like (n,), optional
        Image of each row; without it every row is an image of its own.
    method : {"jackknife", "subsample"}
        "jackknife": leave out one image at a time, or one block of images where there are more images than
        `replicates`. "subsample": random halves of the images, which is also right for estimators that are not smooth
        in the data (quantiles, few nearest neighbours).
    replicates : int
        Blocks at most (jackknife), or random halves (subsample); at least 2.
    rng : Generator, int or None
        Forms the blocks or halves.
    **settings
        Passed on to the estimator. Give it a seed of its own (in a function of yours), or its randomness is counted in.

    Returns
    -------
    Spread
        `value` is the standard error, >= 0, in the unit of the estimate. A spread, not an interval.

    Raises
    ------
    ValueError
        Fewer than 3 images, arrays of different lengths, an estimator that refuses a reduced sample or returns NaN.
    TypeError
        No arrays; an unknown array type.

    See Also
    --------
    permutation_test : Whether two layers are independent.
    bounds.certify : Guaranteed intervals, for estimates that are means over images.

    Notes
    -----
    Jackknife with B blocks: se^2 = (B - 1) / B sum_b (t_b - mean t)^2. Subsamples of b of m images: se^2 = b / (m - b)
    times the variance of the t_b, which holds for estimators whose variance falls as 1 / m.

    References
    ----------
    Tukey (1958), *Bias and confidence in not-quite large samples*; Shao and Wu (1989), *A general theory for jackknife
    variance estimation*; Politis and Romano (1994), *Large sample confidence regions based on subsamples*.

    Examples
    --------
    In theory 0.6 / sqrt(500) = 0.027 for the Gaussian information of 500 rows with correlation 0.6:

    >>> import numpy as np
    >>> import redundancy as rd
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=500)
    >>> y = 0.6 * x + 0.8 * rng.normal(size=500)
    >>> round(rd.image_spread(rd.gaussian_information, x, y, rng=0).value, 3)
    0.029
    """
    checks.one_of(method, get_args(SpreadMethod), name="method")
    replicates = checks.integer(replicates, name="replicates", least=2)
    rows, index, sizes = paired_arrays(arrays, groups)
    m = int(sizes.size)
    if m < 3:
        raise ValueError(f"groups: expected at least 3 images (or rows) for a spread, got {m}")
    generator = checks.generator(rng)
    labels = None if groups is None else index
    whole = numbers_of(estimator, rows, labels, settings)
    order = generator.permutation(m)
    if method == "jackknife":
        omitted = np.array_split(order, min(m, replicates))
    else:
        omitted = [generator.permutation(m)[m // 2 :] for _ in range(replicates)]
    values = []
    for images in omitted:
        out = np.zeros(m, dtype=bool)
        out[images] = True
        rest = np.flatnonzero(~out[index])
        part = tuple(a[rest] for a in rows)
        values.append(numbers_of(estimator, part, None if labels is None else labels[rest], settings))
    found = np.stack(values)
    if method == "jackknife":
        count = len(omitted)
        square = (count - 1.0) / count * np.square(found - found.mean(0)).sum(0)
    else:
        size = m // 2
        square = size / (m - size) * found.var(0, ddof=1)
    error = np.sqrt(square)
    return Spread(
        value=float(error) if error.ndim == 0 else error,
        estimate=float(whole) if whole.ndim == 0 else whole,
        method=method,
        n=m,
        unit_of_sampling=unit_of_sampling(groups),
        replicates=found,
    )
