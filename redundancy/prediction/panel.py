"""The default regressor: a small panel of different kinds, weighted by inner cross-validation.

The panel is scale-aware (columns are standardised inside the fold), takes any dimension (ridge by the Gram
matrix when d > n; the other members see the leading principal components), and is a deterministic function
of its rng. Weights are the convex combination with the smallest inner out-of-fold squared error (stacking).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np

from redundancy.array_types import FloatArray, IntArray
from redundancy.prediction import panel_members
from redundancy.prediction.gaussian_process import EXACT_ROWS, WARPED_COLUMNS, learn_kernels
from redundancy.prediction.panel_members import COMPONENTS, Features, FitMember, Member, Predict, Splits
from redundancy.standard_columns import constant_columns

BOOSTED_COLUMNS = 10  # boosting fits one ensemble per target column; beyond this many columns it is left out
TUNED_COLUMNS = 64  # wider targets are tuned on this many random combinations of their columns
KERNEL_ROWS = 2_000  # rows beyond which the Gaussian processes stand for the kernel of one width
UNRACED = 300  # up to so many rows every member is fitted
RACED = (800, 400)  # rows that race: fitted, and held out
BEHIND = 1.2  # a member whose error on them is larger than the best by this factor drops out
MARGIN = 0.5  # predictions leave the range of the targets by at most this share of it
FARTHEST = 1e6  # standard deviations beyond which a new row is moved back
FAR_BEHIND = 1.4  # the same for Gaussian processes that are solved exactly
LARGE = 5_000  # rows beyond which one inner hold-out replaces inner cross-validation


Featurise = Callable[[FloatArray], Features]


@dataclass(frozen=True)
class FittedPanel:
    """Fitted members and their weights."""

    featurise: Featurise
    members: Mapping[str, Member]
    weights: Mapping[str, float]
    finish: Predict

    def predict_each(self, x: FloatArray) -> dict[str, FloatArray]:
        """Predictions (t, m) of every member."""
        features = self.featurise(x)
        return {name: self.finish(predict(features)) for name, predict in self.members.items()}

    def combine(self, each: Mapping[str, FloatArray]) -> FloatArray:
        """The weighted prediction from those of the members."""
        return np.asarray(sum(weight * each[name] for name, weight in self.weights.items()))


def fit_panel(
    x: FloatArray, z: FloatArray, unit: IntArray, *, rng: np.random.Generator, probabilities: bool = False
) -> FittedPanel:
    """Fit the panel to rows x (n, d) and targets z (n, m); the inner folds keep the rows of a unit (n,) together.

    With `probabilities`, z holds one-hot rows; every member's prediction is projected onto the simplex, and
    logistic regression is added.
    """
    featurise = _featuriser(x)
    features = featurise(x)
    tuned = z
    if z.shape[1] > TUNED_COLUMNS:
        tuned = z @ rng.normal(size=(z.shape[1], TUNED_COLUMNS)) / np.sqrt(TUNED_COLUMNS)
    splits = _inner_splits(unit, rng)
    seed = int(rng.integers(2**31))
    many_of_many = x.shape[0] > LARGE and features.narrow.shape[1] > WARPED_COLUMNS
    components = x.shape[1] > COMPONENTS
    learned: slice | IntArray = slice(None)
    if components and features.narrow.shape[1] > WARPED_COLUMNS and not many_of_many:
        # Directions learned from the rows that are held out would flatter the processes: one fold is kept apart.
        splits = splits[:1]
        learned = splits[0][0]
    kernels = (
        [] if many_of_many else learn_kernels(features.narrow[learned], tuned[learned], components=components, rng=rng)
    )
    fits: dict[str, FitMember] = {
        "mean": panel_members.fit_mean,
        "ridge": panel_members.fit_ridge,
        "neighbours": panel_members.fit_neighbours,
        "kernel": panel_members.fit_kernel,
        **{
            name: panel_members.process_member(kernel)
            for name, kernel in zip(("process", "warped process"), kernels, strict=False)
        },
        "boosting": panel_members.fit_boosting,
        "network": panel_members.fit_network,
    }
    if x.shape[0] > KERNEL_ROWS:
        del fits["kernel"]
    if many_of_many:
        fits["network"] = panel_members.fit_residual_network
    if z.shape[1] > BOOSTED_COLUMNS:
        del fits["boosting"]
    if probabilities:
        fits["logistic"] = panel_members.fit_logistic
        tuned = z
    finish, finish_tuned = (project_to_simplex if probabilities else _within_range(part) for part in (z, tuned))
    unraced = ("mean", "ridge", "network") if many_of_many else ("mean", "ridge")
    contest = _race(fits, features, tuned, splits, seed, finish_tuned, rng, unraced=unraced)
    members: dict[str, Member] = {}
    held_out: dict[str, FloatArray] = {}
    truth = np.concatenate([tuned[test] for _, test in splits])
    for name, fit in contest.items():
        member = fit(features, tuned, splits, seed)
        held_out[name] = finish_tuned(member.held_out)
        members[name] = member.refit(z)
    weights = dict(zip(held_out, _stack(held_out, truth), strict=True))
    return FittedPanel(featurise, members, weights, finish)


def _race(
    fits: Mapping[str, FitMember],
    features: Features,
    z: FloatArray,
    splits: Splits,
    seed: int,
    finish: Predict,
    rng: np.random.Generator,
    *,
    unraced: tuple[str, ...],
) -> dict[str, FitMember]:
    """The members worth fitting to all rows: those not clearly worse than the best one on few rows."""
    train, test = splits[0]
    if train.size + test.size <= UNRACED:
        return dict(fits)
    train, test = (rng.permutation(part)[:size] for part, size in ((train, RACED[0]), (test, RACED[1])))
    rows = np.concatenate([train, test])
    small = Features(features.narrow[rows], features.narrow[rows], dual=False)
    inner = [(np.arange(train.size), np.arange(train.size, rows.size))]
    truth = z[test]
    errors = {
        name: float(np.square(finish(fit(small, z[rows], inner, seed).held_out) - truth).sum())
        for name, fit in fits.items()
        if name == "ridge" or name not in unraced
    }
    best = min(errors.values())
    behind = dict.fromkeys(fits, BEHIND)
    if features.narrow.shape[0] <= EXACT_ROWS:
        # These cost little on so few rows, on which the race says little.
        behind |= {"process": FAR_BEHIND, "warped process": FAR_BEHIND}
    return {name: fit for name, fit in fits.items() if name in unraced or errors[name] <= behind[name] * best}


def project_to_simplex(p: FloatArray) -> FloatArray:
    """Nearest probability vector of each row (Duchi et al. 2008); never further from any probability vector."""
    k = np.arange(1, p.shape[1] + 1)
    ordered = -np.sort(-p, axis=1)
    excess = (np.cumsum(ordered, axis=1) - 1.0) / k
    last = (ordered > excess).sum(axis=1) - 1
    return np.asarray(np.maximum(p - np.take_along_axis(excess, last[:, None], axis=1), 0.0))


def _within_range(z: FloatArray) -> Predict:
    """Predictions moved to within half a range of the targets z (n, m): a row far from all others, such as a
    massive activation, would otherwise be extrapolated to any error.
    """
    low, high = z.min(axis=0), z.max(axis=0)
    room = MARGIN * (high - low)
    return lambda predicted: np.clip(predicted, low - room, high + room)


def _featuriser(x: FloatArray) -> Featurise:
    # A constant column carries no information; left in, it would change what random members draw.
    alive = np.flatnonzero(~constant_columns(x)) if x.shape[1] else np.arange(0)
    if not alive.size:
        alive = np.arange(min(1, x.shape[1]))
    kept = x if alive.size == x.shape[1] else x[:, alive]
    exponent = -np.frexp(np.abs(kept).max(axis=0))[1]  # by powers of two, so that no square leaves the range of floats
    scaled = np.ldexp(kept, exponent)
    centre, spread = scaled.mean(axis=0), scaled.std(axis=0)
    spread = np.where(constant_columns(kept), np.inf, spread)

    def standard(rows: FloatArray) -> FloatArray:
        same = rows if alive.size == rows.shape[1] else rows[:, alive]
        with np.errstate(over="ignore"):
            moved = (np.ldexp(same, exponent) - centre) / spread
        return np.asarray(np.clip(moved, -FARTHEST, FARTHEST))

    train = standard(x)
    n, d = train.shape
    dual = d > n
    if d <= COMPONENTS and not dual:
        return lambda rows: Features(s := standard(rows), s, dual=False)
    moment = train @ train.T if dual else train.T @ train
    values, vectors = np.linalg.eigh(moment)
    q = min(COMPONENTS, n, d)
    top = values[::-1][:q]
    keep = top > 1e-12 * max(top[0], 1e-300)
    # Unit-variance scores: a principal component is a new column, and columns are standardised.
    scores = vectors[:, ::-1][:, :q][:, keep] * (np.sqrt(n) / (top[keep] if dual else np.sqrt(top[keep])))

    def featurise(rows: FloatArray) -> Features:
        s = standard(rows)
        wide = s @ train.T if dual else s
        return Features(wide, wide @ scores, dual=dual)

    return featurise


def _inner_splits(unit: IntArray, rng: np.random.Generator) -> Splits:
    labels, row_unit = np.unique(unit, return_inverse=True)
    folds = min(3, labels.size)
    if unit.size > LARGE and labels.size >= 5:
        folds = 5
    fold = np.empty(labels.size, dtype=np.int64)
    fold[rng.permutation(labels.size)] = np.arange(labels.size) % folds
    row_fold = fold[row_unit]
    used = 1 if folds == 5 else folds
    return [(np.nonzero(row_fold != k)[0], np.nonzero(row_fold == k)[0]) for k in range(used)]


def _stack(held_out: Mapping[str, FloatArray], truth: FloatArray) -> FloatArray:
    """Weights >= 0 of sum 1 with the smallest held-out squared error."""
    from scipy.optimize import nnls

    residuals = np.stack([(p - truth).ravel() for p in held_out.values()], axis=1)
    if not residuals.any():  # a target that is constant in the training rows
        return np.full(len(held_out), 1.0 / len(held_out))
    # min |R w| over the simplex: a heavy extra row enforces sum(w) = 1; normalising removes the rounding error.
    moment = np.linalg.cholesky(
        residuals.T @ residuals + 1e-12 * np.square(residuals).sum() * np.eye(residuals.shape[1])
    ).T
    heavy = 1e4 * np.abs(moment).max()
    system = np.vstack([moment, np.full(residuals.shape[1], heavy)])
    weights, _ = nnls(system, np.append(np.zeros(moment.shape[0]), heavy))
    return np.asarray(weights / weights.sum())
