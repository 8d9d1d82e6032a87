"""Principal angles between the subspaces that two layers' columns span."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.array_types import FloatArray
from redundancy.estimate import Estimate, Quantity, unit_of_sampling
from redundancy.similarity.kernel_alignment import centred_on_images, paired_matrices


def subspace_angles(
    x: ArrayLike, y: ArrayLike, *, rank_tolerance: float = 1e-10, groups: ArrayLike | None = None
) -> Estimate:
    """Principal angles between two layers' column spaces, whose cosines are the canonical correlations.

    Parameters
    ----------
    x, y : array_like (n, d_x), (n, d_y)
        Paired rows.
    rank_tolerance : float
        Directions whose singular value is below this share of the largest count as absent.
    groups : array_like (n,), optional
        Image of each row: every image counts the same.

    Returns
    -------
    Estimate
        `value` (k,) in radians, ascending, each in [0, pi/2], k the smaller rank. `details["rank"]` holds both ranks.
        Invariant to invertible linear maps of either layer. Biased towards 0 when n is not much larger than the ranks.

    Raises
    ------
    ValueError
        Unpaired rows, NaN, a constant layer, or ranks that add up to the number of rows or more: then subspaces meet
        whatever the data are.

    See Also
    --------
    cka, procrustes : Baselines that weigh directions by their variance.
    gaussian_information : -sum(log(sin(angle))) is the information of Gaussian layers.

    References
    ----------
    Björck and Golub (1973), *Numerical methods for computing angles between linear subspaces*, Math. Comp. 27.

    Examples
    --------
    >>> import numpy as np
    >>> import redundancy as rd
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(1000, 3))
    >>> y = np.c_[x[:, 0] - x[:, 1], rng.normal(size=1000)]
    >>> print(rd.subspace_angles(x, y).value.round(1))
    [0.  1.5]
    """
    a, b, index, sizes = paired_matrices(x, y, groups)
    rank_tolerance = checks.probability(rank_tolerance, name="rank_tolerance", open_ends=True)
    root = np.sqrt(1.0 / sizes[index])[:, None]
    bases = [
        _basis(root * centred_on_images(matrix, index, sizes), name, rank_tolerance)
        for name, matrix in (("x", a), ("y", b))
    ]
    ranks = tuple(basis.shape[1] for basis in bases)
    if sum(ranks) >= a.shape[0]:
        raise ValueError(
            f"subspace_angles: expected more rows than the layers' ranks together, got {a.shape[0]} rows and ranks "
            f"{ranks[0]} + {ranks[1]}, where any two subspaces meet; use more rows, or cka"
        )
    from scipy.linalg import subspace_angles as angles_between

    angles = np.sort(np.asarray(angles_between(bases[0], bases[1]), dtype=np.float64))
    return Estimate(
        value=angles,
        quantity=Quantity.SUBSPACE_ANGLES,
        unit="radians",
        unit_of_sampling=unit_of_sampling(groups),
        settings={"rank_tolerance": rank_tolerance},
        details={"n": int(sizes.size), "rank": ranks},
    )


def _basis(matrix: FloatArray, name: str, tolerance: float) -> FloatArray:
    """Orthonormal basis (n, rank) of the column space; columns are scaled first, so that units do not matter."""
    scale = np.linalg.norm(matrix, axis=0)
    kept = matrix[:, scale > 0.0] / scale[scale > 0.0]
    if kept.shape[1] == 0:
        raise ValueError(f"{name}: expected states that vary, got a constant layer; it spans no subspace")
    left, values, _ = np.linalg.svd(kept, full_matrices=False)
    return np.asarray(left[:, values > tolerance * values[0]])
