"""An exact test of independence of two layers that exchanges whole images."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.array_types import AnyArray, FloatArray, IntArray, Rng
from redundancy.display import Displayed
from redundancy.estimate import Unit, unit_of_sampling
from redundancy.resampling.image_samples import numbers_of, paired_arrays

Exchange = Literal["blocks", "one row"]


@dataclass(frozen=True, eq=False, repr=False)
class PermutationTest(Displayed):
    """The result of a permutation test of independence.

    Parameters
    ----------
    p_value : float
        (1 + number of permutations with a statistic at least as large) / (1 + permutations), in (0, 1].
    observed : float
        The statistic of the data as they are paired.
    n : int
        Number of images (of rows without groups).
    unit_of_sampling : {"row", "image"}
        What was exchanged.
    exchanged : int
        How many of them have a partner of their size to be exchanged with.
    replicates : ndarray (permutations,)
        The statistic of each permutation: what independence looks like.

    Attributes
    ----------
    p_value, observed, n, unit_of_sampling, exchanged, replicates
        As given.

    See Also
    --------
    permutation_test : Makes it.

    Examples
    --------
    >>> import numpy as np
    >>> import redundancy as rd
    >>> x = np.arange(8.0)
    >>> rd.permutation_test(lambda x, y: x @ y, x, x, permutations=99, rng=0)
    PermutationTest(p_value=0.01, observed=140, n=8, unit_of_sampling=row, exchanged=8)
    """

    p_value: float
    observed: float
    n: int
    unit_of_sampling: Unit
    exchanged: int
    replicates: FloatArray = field(repr=False)


def permutation_test(
    statistic: Callable[..., object],
    x: AnyArray,
    y: AnyArray,
    *,
    groups: ArrayLike | None = None,
    exchange: Exchange = "blocks",
    permutations: int = 999,
    rng: Rng = None,
) -> PermutationTest:
    """Test whether two layers are independent, by exchanging the images of y.

    Parameters
    ----------
    statistic : callable
        Called as ``statistic(x, y)``; an `Estimate` or a number that is large under dependence, such as
        :func:`gaussian_information`, :func:`ksg` or :func:`cka`. It gets ``groups=`` too, if groups are given and it
        has that parameter.
    x, y : array_like (n,) or (n, d)
        Paired rows.
    groups : array_like (n,), optional
        Image of each row. Rows of one image are dependent, so that only whole images may be exchanged.
    exchange : {"blocks", "one row"}
        "blocks": the rows of an image of y move together, to an image with equally many rows; an image without a
        partner of its size stays. "one row": one random row of each image is kept, then any two may be exchanged.
    permutations : int
        Number of random permutations.
    rng : Generator, int or None
        Draws the permutations, and the rows for "one row".

    Returns
    -------
    PermutationTest
        `p_value` in [1 / (1 + permutations), 1]. If x and y are independent and the images exchangeable,
        P(p_value <= a) <= a for every a, whatever the statistic and the number of images.

    Raises
    ------
    ValueError
        No two images with equally many rows, arrays of different lengths, a statistic that is not one finite number.
    TypeError
        An unknown array type.

    Warns
    -----
    RuntimeWarning
        Fewer than half of the images have a partner, or there are fewer than 20 distinct permutations: the test can
        hardly reject.

    See Also
    --------
    image_spread : The standard error of an estimate.

    Notes
    -----
    Under the hypothesis, the statistic of the data is exchangeable with those of the permutations, so that its rank is
    at most uniform; ties count against rejection.

    References
    ----------
    Fisher (1935), *The design of experiments*; Phipson and Smyth (2010), *Permutation p-values should never be zero*,
    arXiv:1603.05766.

    Examples
    --------
    Two layers that only share what image a token is from; tokens as units would reject:

    >>> import numpy as np
    >>> import redundancy as rd
    >>> rng = np.random.default_rng(1)
    >>> image = np.repeat(np.arange(40), 6)
    >>> x, y = (rng.normal(size=40)[image] + 0.3 * rng.normal(size=240) for _ in range(2))
    >>> rd.permutation_test(rd.gaussian_information, x, y, rng=0).p_value < 0.05
    True
    >>> rd.permutation_test(rd.gaussian_information, x, y, groups=image, rng=0).p_value > 0.05
    True
    """
    checks.one_of(exchange, get_args(Exchange), name="exchange")
    permutations = checks.integer(permutations, name="permutations", least=1)
    (a, b), index, sizes = paired_arrays((x, y), groups)
    generator = checks.generator(rng)
    labels = None if groups is None else index
    if exchange == "one row":
        chosen = one_row_of_each(index, sizes, generator)
        a, b, index, sizes = a[chosen], b[chosen], np.arange(sizes.size), np.ones_like(sizes)
        labels = None
    rows = np.argsort(index, kind="stable")
    starts = np.concatenate([[0], np.cumsum(sizes)])
    classes = [np.flatnonzero(sizes == size) for size in np.unique(sizes)]
    exchanged = sum(c.size for c in classes if c.size > 1)
    _refuse_or_doubt(classes, exchanged, int(sizes.size))

    def number(other: AnyArray) -> float:
        value = numbers_of(statistic, (a, other), labels, {})
        if value.ndim:
            raise ValueError(f"statistic: expected one number, got {value.size}")
        return float(value)

    observed = number(b)
    replicates = np.empty(permutations)
    for i in range(permutations):
        source = np.arange(index.size)
        for members in classes:
            partner = generator.permutation(members)
            offset = np.arange(sizes[members[0]])
            source[rows[starts[members][:, None] + offset]] = rows[starts[partner][:, None] + offset]
        replicates[i] = number(b[source])
    # the same pairs summed in another order differ by rounding: such ties count against rejection
    at_least = replicates >= observed - 1e-10 * max(abs(observed), float(np.abs(replicates).max()))
    return PermutationTest(
        p_value=float((1 + at_least.sum()) / (1 + permutations)),
        observed=observed,
        n=int(sizes.size),
        unit_of_sampling=unit_of_sampling(groups),
        exchanged=int(exchanged),
        replicates=replicates,
    )


def one_row_of_each(index: IntArray, sizes: IntArray, rng: np.random.Generator) -> IntArray:
    """A random row of each image, in the order of the images."""
    start = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    return np.asarray(np.argsort(index, kind="stable")[start + rng.integers(sizes)])


def _refuse_or_doubt(classes: list[IntArray], exchanged: int, images: int) -> None:
    if exchanged == 0:
        raise ValueError(
            "groups: expected at least two images with equally many rows to exchange, got none; pass exchange='one row'"
        )
    doubts = []
    if 2 * exchanged < images:
        doubts.append(f"only {exchanged} of {images} images have a partner with equally many rows")
    if sum(math.lgamma(c.size + 1.0) for c in classes) < math.log(20.0):
        doubts.append("there are fewer than 20 distinct permutations, so that no p-value below 0.05 is possible")
    if doubts:
        text = "; ".join(doubts)
        warnings.warn(f"{text}; pass exchange='one row' or more images", RuntimeWarning, stacklevel=3)
