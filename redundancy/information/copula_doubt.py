"""Whether columns can have a Gaussian copula, judged by the third and fourth moments of their normal scores."""

from __future__ import annotations

import math

import numpy as np
from scipy.stats import chi2, norm

from redundancy.array_types import FloatArray
from redundancy.information.normal_scores import RankScale, quantiles

MOST_ROWS = 4096  # all pairs of rows are looked at
LEVEL = 1e-4  # share of Gaussian copulas that are doubted
THIN = 0.05  # spread below which a direction is what ranks leave of a sum of other columns


def gaussian_copula_doubt(columns: FloatArray, member: str) -> list[str]:
    """A doubt about a critic of this name if rows (n, d) with a Gaussian copula would hardly have such moments.

    Mardia's statistics of the normal scores z, whitened: n/6 times the mean of (z_i . z_j)^3 over all pairs of rows,
    chi-squared with d (d + 1) (d + 2) / 6 degrees of freedom, and the mean of |z|^4, with mean d (d + 2) and variance
    8 d (d + 2) / n. Scores of ranks vary less than Gaussian samples do, so that the level is an upper bound.
    """
    rows = columns[np.unique(np.linspace(0, len(columns) - 1, min(len(columns), MOST_ROWS)).astype(np.int64))]
    n, d = rows.shape
    if d < 2 or n < 10 * d:
        return []
    scores = quantiles(RankScale.fit(rows).uniform(rows), math.inf)
    left, size, _ = np.linalg.svd(scores - scores.mean(0), full_matrices=False)
    z = left[:, size > THIN * size[0]] * math.sqrt(n)
    d = z.shape[1]
    products = z @ z.T
    skewness = n / 6.0 * float(np.mean(products * products * products))
    expected = d * (d + 1) * (d + 2) / 6.0
    kurtosis = float(np.mean(products.diagonal() ** 2)) - d * (d + 2)
    spread = math.sqrt(8.0 * d * (d + 2) / n)
    if skewness <= chi2.isf(LEVEL / 2, expected) and abs(kurtosis) <= norm.isf(LEVEL / 4) * spread:
        return []
    skewed, peaked = skewness / expected, 1.0 + kurtosis / (d * (d + 2))
    return [
        f"the columns do not have a Gaussian copula (their normal scores have {skewed:.1f} times its squared skewness "
        f"and {peaked:.2f} times its kurtosis), so that the value of {member!r} may fall short of the truth by more "
        "than 0.15"
    ]
