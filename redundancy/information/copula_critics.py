"""Gaussian and Student t copulas as critics: the log density ratio of a pair after rank scaling of every column."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from redundancy.array_types import FloatArray
from redundancy.information.normal_scores import RankScale, quantiles

# From light tails to heavy ones; the search stops once the copula likelihood falls.
DEGREES = (50.0, 20.0, 10.0, 6.0, 4.0, 3.0, 2.0, 1.5, 1.0)
ITERATIONS = 12
SHRINKAGE = 1e-6  # keeps exact copies of a column from a singular correlation


@dataclass(frozen=True, eq=False)
class Copula:
    """A copula of the columns of x and y together.

    Attributes
    ----------
    x_scale, y_scale : RankScale
        Margins.
    correlation : ndarray (d_x + d_y, d_x + d_y)
        Correlation of the scores.
    nu : float
        Degrees of freedom; infinite for the Gaussian copula.
    rows : int
        Number of rows that it was fitted on.
    """

    x_scale: RankScale
    y_scale: RankScale
    correlation: FloatArray
    nu: float
    rows: int

    def __post_init__(self) -> None:
        dx = self.x_scale.ordered.shape[1]
        s = self.correlation
        for name, matrix in (("_joint", s), ("_x", s[:dx, :dx]), ("_y", s[dx:, dx:])):
            object.__setattr__(self, name, (np.linalg.inv(matrix), np.linalg.slogdet(matrix)[1]))

    _joint: tuple[FloatArray, float] = (np.empty((0, 0)), 0.0)
    _x: tuple[FloatArray, float] = (np.empty((0, 0)), 0.0)
    _y: tuple[FloatArray, float] = (np.empty((0, 0)), 0.0)

    def scores(self, x: FloatArray, y: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Quantiles of the copula's margins, each side's columns."""
        return quantiles(self.x_scale.uniform(x), self.nu), quantiles(self.y_scale.uniform(y), self.nu)

    def log_ratio(self, x: FloatArray, y: FloatArray) -> FloatArray:
        """log p(x, y) / (p(x) p(y)) of paired rows (m,)."""
        return self.of_scores(*self.scores(x, y))

    def of_scores(self, zx: FloatArray, zy: FloatArray) -> FloatArray:
        """The log ratio of paired rows of scores (m,)."""
        qx, qy = _quadratic(zx, self._x[0]), _quadratic(zy, self._y[0])
        return self._ratio(_quadratic(np.hstack([zx, zy]), self._joint[0]), qx, qy)

    def matrix(self, zx: FloatArray, zy: FloatArray) -> FloatArray:
        """The log ratios of all pairs of rows of scores (m, l)."""
        dx, joint = zx.shape[1], self._joint[0]
        own = _quadratic(zx, joint[:dx, :dx])[:, None] + _quadratic(zy, joint[dx:, dx:])[None, :]
        q = own + 2.0 * (zx @ joint[:dx, dx:] @ zy.T)
        return self._ratio(q, _quadratic(zx, self._x[0])[:, None], _quadratic(zy, self._y[0])[None, :])

    def _ratio(self, q: FloatArray, qx: FloatArray, qy: FloatArray) -> FloatArray:
        volume = 0.5 * (self._x[1] + self._y[1] - self._joint[1])
        if math.isinf(self.nu):
            return np.asarray(volume + 0.5 * (qx + qy - q))
        from scipy.special import gammaln

        nu, dx, dy = self.nu, self._x[0].shape[0], self._y[0].shape[0]
        constant = gammaln((nu + dx + dy) / 2) + gammaln(nu / 2) - gammaln((nu + dx) / 2) - gammaln((nu + dy) / 2)
        powers = (nu + dx) / 2 * np.log1p(qx / nu) + (nu + dy) / 2 * np.log1p(qy / nu)
        return np.asarray(volume + constant + powers - (nu + dx + dy) / 2 * np.log1p(np.maximum(q, 0.0) / nu))


def gaussian_copula(x: FloatArray, y: FloatArray) -> Copula:
    """Fit the Gaussian copula to paired rows x (n, d_x), y (n, d_y) without constant columns."""
    x_scale, y_scale = RankScale.fit(x), RankScale.fit(y)
    z = quantiles(np.hstack([x_scale.uniform(x), y_scale.uniform(y)]), math.inf)
    return Copula(x_scale, y_scale, _unit_diagonal(z.T @ z), math.inf, len(x))


def student_copula(x: FloatArray, y: FloatArray) -> Copula:
    """Fit the Student t copula: correlation by expectation maximisation, degrees of freedom by copula likelihood."""
    from scipy.special import gammaln

    start = gaussian_copula(x, y)
    u = np.hstack([start.x_scale.uniform(x), start.y_scale.uniform(y)])
    n, d = u.shape
    best, best_likelihood, s = start, -math.inf, start.correlation
    for nu in DEGREES:
        z = quantiles(u, nu)
        for _ in range(ITERATIONS):
            weight = (nu + d) / (nu + _quadratic(z, _inverse(s)))
            updated = _unit_diagonal((z * weight[:, None]).T @ z)
            change = float(np.abs(updated - s).max())
            s = updated
            if change < 1e-3:
                break
        q = _quadratic(z, _inverse(s))
        margins = d * (gammaln((nu + 1) / 2) - gammaln(nu / 2)) - (nu + 1) / 2 * np.log1p(z**2 / nu).sum(1)
        joint = gammaln((nu + d) / 2) - gammaln(nu / 2) - 0.5 * np.linalg.slogdet(s)[1]
        likelihood = float((joint - (nu + d) / 2 * np.log1p(q / nu) - margins).mean())
        if likelihood < best_likelihood:
            break
        best, best_likelihood = Copula(start.x_scale, start.y_scale, s, nu, n), likelihood
    return best


def copula_information(copula: Copula, x: FloatArray, y: FloatArray) -> float:
    """Information of a copula fitted on the rows (x, y): mean log ratio, less the bias of the log-determinants.

    The bias is that of Gaussian log-determinants, E log det S = log det Sigma + sum_i digamma((n - i) / 2)
    + d log(2 / (n - 1)), i = 1..d, for the blocks x, y and both.
    """
    dx, dy = copula.x_scale.ordered.shape[1], copula.y_scale.ordered.shape[1]
    bias = 0.5 * (_log_det_bias(dx, copula.rows) + _log_det_bias(dy, copula.rows))
    bias -= 0.5 * _log_det_bias(dx + dy, copula.rows)
    if math.isinf(copula.nu):
        return float(0.5 * (copula._x[1] + copula._y[1] - copula._joint[1]) - bias)
    return float(copula.log_ratio(x, y).mean()) - bias


def _log_det_bias(d: int, n: int) -> float:
    from scipy.special import digamma

    return float(digamma((n - np.arange(1, d + 1)) / 2).sum() + d * math.log(2.0 / (n - 1)))


def _inverse(matrix: FloatArray) -> FloatArray:
    return np.asarray(np.linalg.inv(matrix), dtype=np.float64)


def _quadratic(z: FloatArray, matrix: FloatArray) -> FloatArray:
    return np.asarray(np.einsum("ij,ij->i", z @ matrix, z))


def _unit_diagonal(s: FloatArray) -> FloatArray:
    scale = np.sqrt(np.diag(s))
    return np.asarray((1.0 - SHRINKAGE) * s / np.outer(scale, scale) + SHRINKAGE * np.eye(len(s)))
