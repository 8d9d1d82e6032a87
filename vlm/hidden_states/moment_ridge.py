"""Ridge regression of one layer's states on another's from sums alone: cross-fitted errors, and the fitted map.

The map is h(x) = a x + W^T u + b with u the projected state; b is free, W is shrunk to zero. With a = 1 ("identity") a
strong shrinkage gives back x less a mean step, with a = 0 ("mean") the mean of y.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np

from redundancy.array_types import FloatArray
from redundancy.display import Displayed
from redundancy.prediction.ridge_path import STRENGTHS
from vlm.hidden_states.moment_sums import MomentSums

Start = Literal["identity", "mean"]
STARTS: tuple[Start, ...] = ("identity", "mean")


@dataclass(frozen=True, eq=False, repr=False)
class Reconstruction(Displayed):
    """How well an affine map rebuilds one layer's states from another's, by cross-fitting.

    Attributes
    ----------
    error : float
        Mean of E|Y - h(X)|^2 over the folds' prompts, each with the map that was fitted on the other folds.
    identity : float
        E|Y - X|^2, the error of the identity map on the same prompts.
    variance : float
        tr Cov(Y), the error of the best constant.
    start : {"identity", "mean"}
        What W is shrunk towards, of the map of most folds.
    strengths : tuple of float
        Ridge strength of each fold's map, relative to the trace of the covariance of u.
    fold_errors : tuple of float
        Mean error of each fold.
    prompts : int
        Number of prompts.
    """

    error: float
    identity: float
    variance: float
    start: Start
    strengths: tuple[float, ...]
    fold_errors: tuple[float, ...]
    prompts: int

    @property
    def relative(self) -> float:
        """`error` / `variance`: 0 if Y is an affine function of X, about 1 if X says nothing (affinely)."""
        return _share(self.error, self.variance)

    @property
    def relative_identity(self) -> float:
        """`identity` / `variance`."""
        return _share(self.identity, self.variance)


@dataclass(frozen=True, eq=False, repr=False)
class AffineMap(Displayed):
    """h(x) = scale x + weights^T (basis x) + offset.

    Attributes
    ----------
    scale : float
        1 for a map shrunk towards the identity, 0 towards the mean.
    weights : ndarray (k, d)
        Regression weights of the projected state.
    offset : ndarray (d,)
        The constant.
    basis : ndarray (k, d) or None
        The projection; None for the state itself.
    strength : float
        Ridge strength relative to the trace.
    """

    scale: float
    weights: FloatArray
    offset: FloatArray
    basis: FloatArray | None
    strength: float

    def __call__(self, x: FloatArray) -> FloatArray:
        """The reconstruction (n, d) of states x (n, d)."""
        u = x if self.basis is None else x @ self.basis.T
        return np.asarray(self.scale * x + u @ self.weights + self.offset)


@dataclass(frozen=True, eq=False)
class _Path:
    """Ridge maps of every strength, fitted on some prompts."""

    start: Start
    mean_x: FloatArray
    mean_y: FloatArray
    values: FloatArray  # (k,)
    vectors: FloatArray  # (k, k)
    loadings: FloatArray  # (k, d)

    @property
    def trace(self) -> float:
        return max(float(self.values.sum()), float(np.finfo(np.float64).tiny))

    def gains(self, strength: float) -> FloatArray:
        """1 / (e + strength trace) for each eigenvalue e."""
        return np.asarray(1.0 / (self.values + strength * self.trace))

    def errors(self, test: MomentSums) -> FloatArray:
        """Sum over the prompts of `test` of the mean squared error, for each of `STRENGTHS`."""
        return self._errors(_Problem.of(test.about(self.mean_x, self.mean_y), self.start), STRENGTHS)

    def _errors(self, problem: _Problem, strengths: FloatArray) -> FloatArray:
        explained = np.einsum("kd,kd->k", self.loadings, self.vectors.T @ problem.cross)
        spread = (self.vectors.T @ problem.gram @ self.vectors) * (self.loadings @ self.loadings.T)
        gains = np.array([self.gains(s) for s in strengths])
        return np.asarray(problem.square - 2.0 * gains @ explained + np.einsum("si,ij,sj->s", gains, spread, gains))

    def map(self, strength: float, basis: FloatArray | None) -> AffineMap:
        """The fitted map at one strength."""
        weights = self.vectors @ (self.gains(strength)[:, None] * self.loadings)
        u = self.mean_x if basis is None else basis @ self.mean_x
        scale = 1.0 if self.start == "identity" else 0.0
        return AffineMap(scale, weights, self.mean_y - scale * self.mean_x - weights.T @ u, basis, strength)


@dataclass(frozen=True, eq=False)
class _Problem:
    """Second moments of the regression of y - a x on u, about some origin."""

    gram: FloatArray  # (k, k)
    cross: FloatArray  # (k, d)
    square: float

    @classmethod
    def of(cls, sums: MomentSums, start: Start) -> _Problem:
        gram = sums.ux if sums.basis is None else sums.ux @ sums.basis.T
        gram = (gram + gram.T) / 2.0
        if start == "identity":
            return cls(gram, sums.uy - sums.ux, sums.square_step)
        return cls(gram, sums.uy, sums.square_y)


def ridge_paths(train: MomentSums) -> tuple[_Path, ...]:
    """Fit y on u at every strength, from each of `STARTS`."""
    centred = train.centred()
    problems = [_Problem.of(centred, start) for start in STARTS]
    values, vectors = np.linalg.eigh(problems[0].gram / train.prompts)
    values = np.maximum(values, 0.0)
    return tuple(
        _Path(start, centred.shift_x, centred.shift_y, values, vectors, vectors.T @ problem.cross / train.prompts)
        for start, problem in zip(STARTS, problems, strict=True)
    )


def reconstruction(folds: tuple[MomentSums, ...]) -> Reconstruction:
    """Cross-fitted error of Y from X.

    The map that is tested on a fold is fitted on the others. Its strength and start are chosen by cross-fitting among
    those others; with two folds there is no such choice, and both folds share the one that is best over both, which
    makes the error smaller than that of a choice in advance by what the best of 62 candidates gains by chance.

    Parameters
    ----------
    folds : tuple of MomentSums
        At least two, about one shift, each with prompts.

    Raises
    ------
    ValueError
        Fewer than two folds, or one without prompts.
    """
    _check(folds)
    everything = joined(folds)
    centred = everything.centred()
    table = np.array([_candidates(joined(_without(folds, k)), folds[k]) for k in range(len(folds))])
    if len(folds) == 2:
        chosen = [_best(table.sum(axis=0))] * 2
    else:
        chosen = [_best(_inner(_without(folds, k))) for k in range(len(folds))]
    errors = [float(table[k][pick]) for k, pick in enumerate(chosen)]
    starts = [STARTS[pick[0]] for pick in chosen]
    raw = everything.about(np.zeros(everything.width), np.zeros(everything.width))
    return Reconstruction(
        error=sum(errors) / everything.prompts,
        identity=raw.square_step / everything.prompts,
        variance=centred.square_y / everything.prompts,
        start=max(STARTS, key=starts.count),
        strengths=tuple(float(STRENGTHS[pick[1]]) for pick in chosen),
        fold_errors=tuple(e / fold.prompts for e, fold in zip(errors, folds, strict=True)),
        prompts=everything.prompts,
    )


def fitted_map(folds: tuple[MomentSums, ...]) -> AffineMap:
    """The map from X to Y fitted on all folds, with the strength and start that are best in cross-fitting over them."""
    _check(folds)
    start, place = _best(_inner(folds))
    return ridge_paths(joined(folds))[start].map(float(STRENGTHS[place]), folds[0].basis)


def joined(folds: tuple[MomentSums, ...]) -> MomentSums:
    """The sums over all of these folds."""
    total = folds[0]
    for fold in folds[1:]:
        total = total + fold
    return total


def _candidates(train: MomentSums, test: MomentSums) -> FloatArray:
    """Errors (starts, strengths) on `test` of the maps fitted on `train`."""
    return np.array([path.errors(test) for path in ridge_paths(train)])


def _inner(folds: tuple[MomentSums, ...]) -> FloatArray:
    """Cross-fitted errors (starts, strengths) over these folds."""
    return np.asarray(sum(_candidates(joined(_without(folds, k)), folds[k]) for k in range(len(folds))))


def _without(folds: tuple[MomentSums, ...], k: int) -> tuple[MomentSums, ...]:
    return folds[:k] + folds[k + 1 :]


def _best(errors: FloatArray) -> tuple[int, int]:
    start, place = np.unravel_index(int(np.argmin(errors)), errors.shape)
    return int(start), int(place)


def _check(folds: tuple[MomentSums, ...]) -> None:
    if len(folds) < 2:
        raise ValueError(f"folds: expected at least 2 for cross-fitting, got {len(folds)}")
    empty = [k for k, fold in enumerate(folds) if not fold.prompts]
    if empty:
        counts = [fold.prompts for fold in folds]
        raise ValueError(
            f"folds: expected prompts of different images in each of the {len(folds)} folds, got {counts}; record more "
            "images"
        )


def _share(value: float, whole: float) -> float:
    if whole > 0.0:
        return value / whole
    return 0.0 if value == 0.0 else float("inf")
