"""Finite joint distributions p(t, x, y) with points in space, whose quantities are all known exactly."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import ArrayLike

from bounds.worlds import exact_quantities
from bounds.worlds.deficiency import deficiency
from bounds.worlds.points import cosine_distances, lengths
from redundancy.array_types import BoolArray, FloatArray, IntArray
from redundancy.display import Displayed
from redundancy.pid.batch import broja_batch
from redundancy.pid.result import PID
from redundancy.pid.solver import broja

Rng = np.random.Generator | int | None
GAP = 1e-10  # nats: certified accuracy of a BROJA decomposition


@dataclass(frozen=True, eq=False, repr=False)
class FiniteWorld(Displayed):
    """A finite instance (world): the joint distribution of a task variable T, an earlier state X and a later state Y.

    Attributes
    ----------
    pmf : ndarray (n_t, n_x, n_y)
        Joint probabilities.
    values : ndarray (n_t, m)
        Numeric value of each symbol of T, used in squared errors.
    x_points : ndarray (n_x, d)
        Point of each symbol of X.
    y_points : ndarray (n_y, d)
        Point of each symbol of Y.
    threshold : float
        The t of D3: "far" means distance > t.

    Examples
    --------
    >>> from bounds.worlds import gallery
    >>> world = gallery.sign_flip(0.2)
    >>> world
    FiniteWorld(pmf=array(2, 2, 2), values=array(2, 1), x_points=array(2, 1), y_points=array(2, 1), threshold=0.5)
    >>> round(world.geometric, 3), round(world.gap, 3), round(world.entropy_x_given_y, 3)
    (0.2, 0.36, 0.325)
    """

    pmf: FloatArray
    values: FloatArray
    x_points: FloatArray
    y_points: FloatArray
    threshold: float = 0.5

    def __post_init__(self) -> None:
        shapes = (len(self.values), len(self.x_points), len(self.y_points))
        if self.pmf.ndim != 3 or self.pmf.shape != shapes:
            raise ValueError(f"pmf: expected shape (values, x_points, y_points) = {shapes}, got {self.pmf.shape}")
        if not np.isfinite(self.pmf).all() or (self.pmf < 0).any() or abs(self.pmf.sum() - 1.0) > 1e-9:
            raise ValueError(
                f"pmf: expected probabilities that sum to one, got a sum of {self.pmf.sum()}; divide by it"
            )

    # Marginals -----------------------------------------------------------------------------------
    @cached_property
    def xy(self) -> FloatArray:
        """p(x, y)."""
        out: FloatArray = self.pmf.sum(axis=0)
        return out

    @cached_property
    def tx(self) -> FloatArray:
        """p(t, x)."""
        out: FloatArray = self.pmf.sum(axis=2)
        return out

    @cached_property
    def ty(self) -> FloatArray:
        """p(t, y)."""
        out: FloatArray = self.pmf.sum(axis=1)
        return out

    @cached_property
    def t(self) -> FloatArray:
        """p(t)."""
        out: FloatArray = self.tx.sum(axis=1)
        return out

    @cached_property
    def x(self) -> FloatArray:
        """p(x)."""
        out: FloatArray = self.xy.sum(axis=1)
        return out

    @cached_property
    def y(self) -> FloatArray:
        """p(y)."""
        out: FloatArray = self.xy.sum(axis=0)
        return out

    # Informations, nats --------------------------------------------------------------------------
    @cached_property
    def entropy_x_given_y(self) -> float:
        """H(X | Y), D5: earlier given later."""
        return exact_quantities.conditional_entropy(self.xy)

    @cached_property
    def entropy_y_given_x(self) -> float:
        """H(Y | X)."""
        return exact_quantities.conditional_entropy(self.xy.T)

    @cached_property
    def entropy_t_given_x(self) -> float:
        """H(T | X)."""
        return exact_quantities.conditional_entropy(self.tx)

    @cached_property
    def entropy_t_given_y(self) -> float:
        """H(T | Y)."""
        return exact_quantities.conditional_entropy(self.ty)

    @cached_property
    def information_xy(self) -> float:
        """I(X; Y)."""
        return exact_quantities.mutual_information(self.xy)

    @cached_property
    def information_tx(self) -> float:
        """I(T; X)."""
        return exact_quantities.mutual_information(self.tx)

    @cached_property
    def information_ty(self) -> float:
        """I(T; Y)."""
        return exact_quantities.mutual_information(self.ty)

    @cached_property
    def information_tx_given_y(self) -> float:
        """I(T; X | Y)."""
        return exact_quantities.conditional_mutual_information(self.pmf)

    @cached_property
    def information_ty_given_x(self) -> float:
        """I(T; Y | X)."""
        return exact_quantities.conditional_mutual_information(self.pmf.transpose(0, 2, 1))

    @cached_property
    def decomposition(self) -> PID:
        """The certified BROJA decomposition of I(T; X, Y)."""
        return broja(self.pmf / self.pmf.sum(), tol=GAP)

    @cached_property
    def deficiency(self) -> float:
        """Least total variation between (T, X) and a copy of it simulated from Y."""
        return deficiency(self.tx, self.ty)

    # Prediction ----------------------------------------------------------------------------------
    @cached_property
    def regression(self) -> FloatArray:
        """g(x, y) = E[T | X = x, Y = y], shape (n_x, n_y, m)."""
        return exact_quantities.conditional_mean(self.pmf, self.values)

    @cached_property
    def regression_x(self) -> FloatArray:
        """E[T | X = x], shape (n_x, m)."""
        return exact_quantities.conditional_mean(self.tx, self.values)

    @cached_property
    def regression_y(self) -> FloatArray:
        """E[T | Y = y], shape (n_y, m)."""
        return exact_quantities.conditional_mean(self.ty, self.values)

    @cached_property
    def mmse_x(self) -> float:
        """mmse(T | X)."""
        return exact_quantities.mmse(self.tx, self.values)

    @cached_property
    def mmse_y(self) -> float:
        """mmse(T | Y)."""
        return exact_quantities.mmse(self.ty, self.values)

    @cached_property
    def lost_without_x(self) -> float:
        """G = mmse(T | Y) - mmse(T | X, Y) = E tr Cov(E[T | X, Y] | Y), without cancellation."""
        return float((self.xy * ((self.regression - self.regression_y) ** 2).sum(axis=-1)).sum())

    @cached_property
    def lost_without_y(self) -> float:
        """mmse(T | X) - mmse(T | X, Y)."""
        return float((self.xy * ((self.regression - self.regression_x[:, None]) ** 2).sum(axis=-1)).sum())

    @property
    def gap(self) -> float:
        """mmse(T | X) - mmse(T | Y), D4 with its sign."""
        return self.lost_without_y - self.lost_without_x

    @cached_property
    def radius(self) -> float:
        """A radius B about the best of three centres: mid-range, mean, origin, over values with mass."""
        positive = self.values[self.t > 0]
        centres = (
            0.5 * (positive.min(axis=0) + positive.max(axis=0)),
            positive.mean(axis=0),
            np.zeros(positive.shape[1]),
        )
        return float(min(np.sqrt(((positive - c) ** 2).sum(axis=1)).max() for c in centres))

    @cached_property
    def diameter(self) -> float:
        """Largest distance between two values of T that have mass."""
        return float(lengths(self.values[self.t > 0], self.values[self.t > 0]).max())

    # Geometry ------------------------------------------------------------------------------------
    @cached_property
    def distances(self) -> FloatArray:
        """Cosine distance of every pair, shape (n_x, n_y); half the squared chord of unit vectors."""
        return cosine_distances(self.x_points, self.y_points)

    @cached_property
    def lengths_xy(self) -> FloatArray:
        """Euclidean distance of every pair, shape (n_x, n_y)."""
        return lengths(self.x_points, self.y_points)

    @cached_property
    def unit_norm(self) -> bool:
        """Whether every point lies on the unit sphere."""
        return all(np.abs((p * p).sum(axis=1) - 1.0).max() <= 1e-12 for p in (self.x_points, self.y_points))

    @property
    def geometric(self) -> float:
        """E d(X, Y), D2."""
        return float((self.xy * self.distances).sum())

    @cached_property
    def far(self) -> BoolArray:
        """Whether each pair is farther apart than the threshold, shape (n_x, n_y)."""
        return self.distances > self.threshold

    @cached_property
    def p_far(self) -> float:
        """P_t = P(d > t), D3."""
        return float(min(1.0, self.xy[self.far].sum()))

    @cached_property
    def squared_distance(self) -> float:
        """E || X - Y ||^2."""
        return float((self.xy * self.lengths_xy**2).sum())

    @cached_property
    def variance_y_given_x(self) -> float:
        """mmse(Y | X) of the points themselves."""
        return exact_quantities.mmse(self.xy.T, self.y_points)

    @cached_property
    def variance_x_given_y(self) -> float:
        """mmse(X | Y) of the points themselves."""
        return exact_quantities.mmse(self.xy, self.x_points)

    @cached_property
    def lipschitz_y_at(self) -> FloatArray:
        """Lipschitz constant of y -> g(x, y) on the support of Y given X = x, shape (n_x,)."""
        return _local_lipschitz(self.regression, self.y_points, self.xy > 0)

    @cached_property
    def lipschitz_x_at(self) -> FloatArray:
        """Lipschitz constant of x -> g(x, y) on the support of X given Y = y, shape (n_y,)."""
        return _local_lipschitz(self.regression.transpose(1, 0, 2), self.x_points, self.xy.T > 0)

    @property
    def lipschitz_y(self) -> float:
        """L_2 of Theorem 1."""
        return float(self.lipschitz_y_at.max())

    @property
    def lipschitz_x(self) -> float:
        """L_1 of Theorem 1."""
        return float(self.lipschitz_x_at.max())

    @property
    def near_squared_distance(self) -> float:
        """E[|| X - Y ||^2; d <= t]."""
        return float((self.xy * ~self.far * self.lengths_xy**2).sum())

    @cached_property
    def lipschitz_x_near(self) -> float:
        """L_1 of Theorem 6(b): that of Theorem 1, on the support points within the threshold of y only."""
        near = ((self.xy > 0) & ~self.far).T
        return float(_local_lipschitz(self.regression.transpose(1, 0, 2), self.x_points, near).max())

    # Samples, and transformations that change no quantity ------------------------------------------------
    def sample_codes(self, n: int, rng: Rng = None) -> tuple[IntArray, IntArray, IntArray]:
        """Draw n triples of symbols (t, x, y)."""
        if n < 1:
            raise ValueError(f"n: expected at least one draw, got {n}")
        flat = self.pmf.ravel() / self.pmf.sum()
        cells = np.random.default_rng(rng).choice(flat.size, size=n, p=flat)
        t, x, y = np.unravel_index(cells, self.pmf.shape)
        return t, x, y

    def sample(self, n: int, rng: Rng = None) -> tuple[FloatArray, FloatArray, FloatArray]:
        """Draw n triples: values (n, m), x points (n, d), y points (n, d)."""
        t, x, y = self.sample_codes(n, rng)
        return self.values[t], self.x_points[x], self.y_points[y]

    def rotated(self, matrix: FloatArray) -> FiniteWorld:
        """Turn all points by an orthogonal (d, d) matrix; no quantity changes."""
        if not np.allclose(matrix @ matrix.T, np.eye(len(matrix)), atol=1e-9):
            raise ValueError("matrix: expected an orthogonal matrix; take the Q of numpy.linalg.qr")
        return replace(self, x_points=self.x_points @ matrix.T, y_points=self.y_points @ matrix.T)

    def relabelled(self, t: IntArray, x: IntArray, y: IntArray) -> FiniteWorld:
        """Permute the symbols of all three variables; no quantity changes."""
        pmf = self.pmf[np.ix_(t, x, y)]
        return replace(self, pmf=pmf, values=self.values[t], x_points=self.x_points[x], y_points=self.y_points[y])

    def with_split_x(self, share: float) -> FiniteWorld:
        """Split every symbol of X into two at the same point by an independent coin.

        Prediction errors, distances and informations about T stay; H(X | Y) grows by exactly h_2(share).
        """
        pmf = np.concatenate([share * self.pmf, (1.0 - share) * self.pmf], axis=1)
        return replace(self, pmf=pmf, x_points=np.concatenate([self.x_points, self.x_points]))

    def reversed(self) -> FiniteWorld:
        """Exchange the roles of X and Y."""
        return replace(self, pmf=self.pmf.transpose(0, 2, 1), x_points=self.y_points, y_points=self.x_points)


def decompose_together(worlds: Sequence[FiniteWorld]) -> None:
    """Solve the BROJA decompositions of many worlds, one vectorised call per shape; each world caches its own."""
    shapes: dict[tuple[int, ...], list[FiniteWorld]] = {}
    for world in worlds:
        shapes.setdefault(world.pmf.shape, []).append(world)
    for group in shapes.values():
        table = broja_batch(np.stack([w.pmf / w.pmf.sum() for w in group]), tol=GAP)
        for i, world in enumerate(group):
            vars(world)["decomposition"] = table[i]  # where the cached property looks first


def normalised(weights: ArrayLike) -> FloatArray:
    """Weights divided by their sum: a distribution."""
    w = np.asarray(weights, dtype=np.float64)
    out: FloatArray = w / w.sum()
    return out


def _local_lipschitz(g: FloatArray, points: FloatArray, support: BoolArray) -> FloatArray:
    # g (a, b, m) as a function of the b-th point, for each a, over the pairs of points that have mass.
    rise = np.sqrt(((g[:, :, None, :] - g[:, None, :, :]) ** 2).sum(axis=-1))
    run = lengths(points, points)
    both = support[:, :, None] & support[:, None, :] & (rise > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        slope = np.where(both, rise / run, 0.0)
    out: FloatArray = slope.max(axis=(1, 2))
    return out
