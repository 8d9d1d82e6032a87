"""A finite world with two predictors of T, one from each state, and their exact risks."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bounds.worlds.finite import FiniteWorld
from bounds.worlds.points import lengths
from redundancy.array_types import FloatArray
from redundancy.display import Displayed


@dataclass(frozen=True, eq=False, repr=False)
class PredictedWorld(Displayed):
    """Predictions f(X) and g(Y) on a finite world, one row per symbol.

    Attributes
    ----------
    world : FiniteWorld
        Joint distribution, values and points.
    at_x : ndarray (n_x, m)
        Prediction of T's value for each symbol of X; for the log-loss, logits of T's n_t symbols.
    at_y : ndarray (n_y, m)
        The same for each symbol of Y.
    """

    world: FiniteWorld
    at_x: FloatArray
    at_y: FloatArray

    @property
    def risk_x(self) -> float:
        """E || T - f(X) ||^2."""
        return _risk(self.world.tx, self.world.values, self.at_x)

    @property
    def risk_y(self) -> float:
        """E || T - g(Y) ||^2."""
        return _risk(self.world.ty, self.world.values, self.at_y)

    @property
    def delta_x(self) -> float:
        """E || f(X) - E[T | X] ||^2."""
        return float(self.world.x @ ((self.at_x - self.world.regression_x) ** 2).sum(axis=1))

    @property
    def delta_y(self) -> float:
        """E || g(Y) - E[T | Y] ||^2."""
        return float(self.world.y @ ((self.at_y - self.world.regression_y) ** 2).sum(axis=1))

    @property
    def risk_gap(self) -> float:
        """Risk from X minus risk from Y, without cancellation: the mmse gap plus delta_x - delta_y."""
        return self.world.gap + self.delta_x - self.delta_y

    @property
    def disagreement(self) -> float:
        """E || f(X) - g(Y) ||^2."""
        return float((self.world.xy * lengths(self.at_x, self.at_y) ** 2).sum())

    @property
    def log_loss_x(self) -> float:
        """E[-log softmax f(X) at T]."""
        return _log_loss(self.world.tx, self.at_x)

    @property
    def log_loss_y(self) -> float:
        """E[-log softmax g(Y) at T]."""
        return _log_loss(self.world.ty, self.at_y)

    @cached_property
    def lipschitz(self) -> float:
        """Lipschitz constant of both tables read as one map on all points; infinite where one point has two outputs."""
        points = np.concatenate([self.world.x_points, self.world.y_points])
        outputs = np.concatenate([self.at_x, self.at_y])
        rise, run = lengths(outputs, outputs), lengths(points, points)
        with np.errstate(divide="ignore", invalid="ignore"):
            return float(np.where(rise > 0, rise / run, 0.0).max())


def _risk(pmf: FloatArray, values: FloatArray, predictions: FloatArray) -> float:
    return float((pmf * lengths(values, predictions) ** 2).sum())


def _log_loss(pmf: FloatArray, logits: FloatArray) -> float:
    top = logits.max(axis=1, keepdims=True)
    log_p = logits - top - np.log(np.exp(logits - top).sum(axis=1, keepdims=True))
    return float(-(pmf * log_p.T).sum())
