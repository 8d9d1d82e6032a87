"""Centred kernel alignment (CKA) of two layers with linear kernels, from sums over images."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.array_types import FloatArray, IntArray
from redundancy.estimate import Estimate, Quantity, unit_of_sampling
from redundancy.standard_columns import constant_columns, largest_exponents


def cka(x: ArrayLike, y: ArrayLike, *, debiased: bool = True, groups: ArrayLike | None = None) -> Estimate:
    """Linear centred kernel alignment of two layers' states.

    Parameters
    ----------
    x, y : array_like (n, d_x), (n, d_y)
        Paired rows; the widths may differ.
    debiased : bool
        Estimate each of the three Hilbert-Schmidt terms without bias, by averages over tuples of distinct images.
        The plain form is biased upwards: independent layers of many columns look alike.
    groups : array_like (n,), optional
        Image of each row. Every image counts the same, and only pairs of rows of different images enter the debiased
        form. Without it every row is an image of its own.

    Returns
    -------
    Estimate
        Dimensionless. The plain form is in [0, 1]; the debiased one is at most about 1 and may be negative, around 0
        for independent layers. Invariant to shifts, orthogonal maps and one common scale of each layer.

    Raises
    ------
    ValueError
        Unpaired rows, NaN, fewer than 4 images (debiased), or a layer that does not vary.

    See Also
    --------
    procrustes, subspace_angles : Other baselines for layers of any width.
    gaussian_information : The same comparison in nats.

    Notes
    -----
    CKA = HSIC(x, y) / sqrt(HSIC(x, x) HSIC(y, y)) with HSIC the squared Frobenius norm of the cross-covariance. The
    unbiased HSIC averages k(1, 2) l(1, 2) - 2 k(1, 2) l(1, 3) + k(1, 2) l(3, 4) over distinct images; it costs
    O(n d_x d_y) instead of O(n^2) here, since linear kernels factor.

    References
    ----------
    Kornblith, Norouzi, Lee and Hinton (2019), *Similarity of Neural Network Representations Revisited*,
    arXiv:1905.00414; Song, Smola, Gretton, Bedo and Borgwardt (2012), *Feature Selection via Dependence
    Maximization*, JMLR 13.

    Examples
    --------
    >>> import numpy as np
    >>> import redundancy as rd
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(200, 30))
    >>> rotation, _ = np.linalg.qr(rng.normal(size=(30, 30)))
    >>> print(f"{rd.cka(x, 3 * x @ rotation + 1).value:.3f}")
    1.000
    >>> y = rng.normal(size=(200, 40))  # independent of x
    >>> print(f"{rd.cka(x, y, debiased=False).value:.2f}, debiased {rd.cka(x, y).value:.2f}")
    0.14, debiased -0.01
    """
    debiased = checks.flag(debiased, name="debiased")
    a, b, index, sizes = paired_matrices(x, y, groups)
    if debiased and sizes.size < 4:
        raise ValueError(
            f"cka: expected at least 4 images for the debiased form, got {sizes.size}; use more, or debiased=False"
        )
    a, b = centred_on_images(a, index, sizes), centred_on_images(b, index, sizes)
    hsic = unbiased_hsic if debiased else plain_hsic
    own_x, own_y = hsic(a, a, index, sizes), hsic(b, b, index, sizes)
    if own_x <= 0.0 or own_y <= 0.0:
        name = "x" if own_x <= 0.0 else "y"
        raise ValueError(
            f"{name}: expected states that vary between images, got none that do (or too few images for the debiased "
            "form to tell); CKA is undefined"
        )
    return Estimate(
        value=float(hsic(a, b, index, sizes) / np.sqrt(own_x * own_y)),
        quantity=Quantity.CENTRED_KERNEL_ALIGNMENT,
        unit_of_sampling=unit_of_sampling(groups),
        settings={"debiased": debiased},
        details={"n": int(sizes.size)},
    )


def paired_matrices(
    x: ArrayLike, y: ArrayLike, groups: ArrayLike | None
) -> tuple[FloatArray, FloatArray, IntArray, IntArray]:
    """Both layers as float64 matrices of one length, the image number of each row, and the images' sizes."""
    a, b = checks.matrix(x, name="x", min_rows=2), checks.matrix(y, name="y", min_rows=2)
    if a.shape[0] != b.shape[0]:
        raise ValueError(f"x and y: expected paired rows, got {a.shape[0]} and {b.shape[0]}")
    index, sizes = checks.group_index(groups, a.shape[0])
    return a, b, index, sizes


def centred_on_images(a: FloatArray, index: IntArray, sizes: IntArray) -> FloatArray:
    """The matrix less the mean over images, scaled so that its largest entry is 1; exact zeros if it is constant."""
    a = np.ldexp(a, -largest_exponents(a).max())  # sums and differences of huge entries leave the range of floats
    centre = a[0] + np.average(a - a[0], axis=0, weights=1.0 / sizes[index])
    # A column that is constant up to rounding leaves no rounding behind.
    out = np.where(constant_columns(a), 0.0, a - centre)
    largest = np.abs(out).max()
    return out / largest if largest > 0.0 else out


def plain_hsic(a: FloatArray, b: FloatArray, index: IntArray, sizes: IntArray) -> float:
    """Squared Frobenius norm of the cross-covariance, every image counting the same."""
    weight = 1.0 / (sizes[index] * sizes.size)
    return float(np.sum(((a * weight[:, None]).T @ b) ** 2))


def unbiased_hsic(a: FloatArray, b: FloatArray, index: IntArray, sizes: IntArray) -> float:
    """Average of k(1, 2) l(1, 2) - 2 k(1, 2) l(1, 3) + k(1, 2) l(3, 4) over tuples of distinct images.

    Rows of an image are averaged within each image's place in a tuple.
    """
    m = sizes.size
    mean_a, mean_b = image_means(a, index, sizes), image_means(b, index, sizes)
    sum_a, sum_b = mean_a.sum(0), mean_b.sum(0)
    # Pairs: k l of one row with another image's row, from M_i = mean over the image's rows of a b^T.
    weight = 1.0 / sizes[index]
    moment = (a * weight[:, None]).T @ b
    means = mean_a.T @ mean_b
    # <M_i, M_i>, <M_i, mean_a_i mean_b_i^T> and (S_a - mean_a_i)^T M_i (S_b - mean_b_i) without storing M_i.
    rest_a, rest_b = (sum_a - mean_a)[index], (sum_b - mean_b)[index]
    own = same_image_products(a, b, index, sizes)
    crossed = np.einsum("ij,ij->i", a, mean_a[index]) * np.einsum("ij,ij->i", b, mean_b[index])
    triple_all = np.sum(weight * np.einsum("ij,ij->i", a, rest_a) * np.einsum("ij,ij->i", b, rest_b))
    pairs = np.sum(moment**2) - own
    triples = triple_all - (np.sum(moment * means) - np.sum(weight * crossed))
    # Quadruples of distinct images from the images' means alone.
    square_a, square_b = np.einsum("ij,ij->i", mean_a, mean_a), np.einsum("ij,ij->i", mean_b, mean_b)
    row_a = mean_a @ sum_a - square_a
    row_b = mean_b @ sum_b - square_b
    both = np.sum(means**2) - np.sum(square_a * square_b)
    quadruples = row_a.sum() * row_b.sum() - 4.0 * np.sum(row_a * row_b) + 2.0 * both
    falling = np.cumprod([m, m - 1.0, m - 2.0, m - 3.0])
    return float(pairs / falling[1] - 2.0 * triples / falling[2] + quadruples / falling[3])


def image_means(a: FloatArray, index: IntArray, sizes: IntArray) -> FloatArray:
    """Mean state of each image, (images, d)."""
    out = np.zeros((sizes.size, a.shape[1]))
    np.add.at(out, index, a)
    return np.asarray(out / sizes[:, None])


def same_image_products(a: FloatArray, b: FloatArray, index: IntArray, sizes: IntArray) -> float:
    """Sum over images of the mean over pairs of its rows (a row with itself included) of (a . a')(b . b')."""
    if sizes.max() == 1:
        return float(np.sum(np.einsum("ij,ij->i", a, a) * np.einsum("ij,ij->i", b, b)))
    order = np.argsort(index, kind="stable")
    ends = np.cumsum(sizes)
    total = 0.0
    for start, end in zip(ends - sizes, ends, strict=True):
        rows = order[start:end]
        total += float(np.mean((a[rows] @ a[rows].T) * (b[rows] @ b[rows].T)))
    return total
