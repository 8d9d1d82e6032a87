"""Procrustes distance: how far two layers are apart after the best rotation."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from redundancy.estimate import Estimate, Quantity, unit_of_sampling
from redundancy.similarity.kernel_alignment import centred_on_images, paired_matrices


def procrustes(x: ArrayLike, y: ArrayLike, *, groups: ArrayLike | None = None) -> Estimate:
    """Squared Procrustes distance between two layers' centred, normalised states.

    Parameters
    ----------
    x, y : array_like (n, d_x), (n, d_y)
        Paired rows; the narrower layer is padded with zero columns, which changes nothing.
    groups : array_like (n,), optional
        Image of each row: every image counts the same.

    Returns
    -------
    Estimate
        Dimensionless, in [0, 2]: 0 when one layer is a shifted, scaled and rotated copy of the other, 2 when their
        cross-covariance is zero. Biased downwards when n is not much larger than the widths.

    Raises
    ------
    ValueError
        Unpaired rows, NaN, or a layer that does not vary.

    See Also
    --------
    cka, subspace_angles : Other baselines for layers of any width.
    geometric : The distance of the paired rows themselves, without a rotation.

    Notes
    -----
    With A and B the centred matrices divided by their Frobenius norms, min over orthogonal Q of ||A - B Q||_F^2
    = 2 - 2 ||A^T B||_*, the nuclear norm.

    References
    ----------
    Schönemann (1966), *A generalized solution of the orthogonal Procrustes problem*, Psychometrika 31; Ding, Denain
    and Steinhardt (2021), *Grounding Representation Similarity with Statistical Testing*, arXiv:2108.01661.

    Examples
    --------
    >>> import numpy as np
    >>> import redundancy as rd
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(500, 8))
    >>> rotation, _ = np.linalg.qr(rng.normal(size=(8, 8)))
    >>> print(f"{abs(rd.procrustes(x, 5 * x @ rotation - 1).value):.3f}")
    0.000
    >>> print(f"{rd.procrustes(x, x + rng.normal(size=x.shape)).value:.2f}")
    0.59
    """
    a, b, index, sizes = paired_matrices(x, y, groups)
    root = np.sqrt(1.0 / sizes[index])[:, None]
    normalised = []
    for name, matrix in (("x", a), ("y", b)):
        weighted = root * centred_on_images(matrix, index, sizes)
        norm = np.linalg.norm(weighted)
        if norm == 0.0:
            raise ValueError(f"{name}: expected states that vary, got a constant layer without a Procrustes distance")
        normalised.append(weighted / norm)
    nuclear = np.linalg.svd(normalised[0].T @ normalised[1], compute_uv=False).sum()
    return Estimate(
        value=float(max(0.0, 2.0 - 2.0 * nuclear)),  # the nuclear norm is at most 1, up to rounding
        quantity=Quantity.PROCRUSTES_DISTANCE,
        support=(0.0, 2.0),
        unit_of_sampling=unit_of_sampling(groups),
        details={"n": int(sizes.size)},
    )
