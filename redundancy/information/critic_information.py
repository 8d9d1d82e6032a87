"""Mutual information of wide layers from a panel of cross-fitted critics, with the pairs that a certificate needs."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.array_types import FloatArray, IntArray, Rng
from redundancy.estimate import Estimate, Quantity, unit_of_sampling
from redundancy.information.canonical_critic import CanonicalCritic, canonical_critics
from redundancy.information.copula_critics import (
    Copula,
    copula_information,
    gaussian_copula,
    student_copula,
)
from redundancy.information.copula_doubt import gaussian_copula_doubt
from redundancy.information.critic_pairs import (
    Critic,
    CriticFitter,
    CriticPairs,
    Pairs,
    best_clipping,
    donsker_varadhan,
    pair_scores,
)
from redundancy.information.knn_checks import doubt, largest_atom, neighbors
from redundancy.information.kozachenko_leonenko import ATOM
from redundancy.information.neighbour_critic import neighbour_critic
from redundancy.information.network_critic import network_critic
from redundancy.information.normal_scores import RankScale, quantiles
from redundancy.information.sampling_doubts import OnDoubt
from redundancy.prediction.cross_fitting import fold_of_rows
from redundancy.standard_columns import EPSILON, constant_columns, in_range

Member = Literal["gaussian", "student", "canonical", "neighbours", "network"]
PANEL: tuple[Member, ...] = get_args(Member)
VALIDATION = 6  # one image in so many of the training folds stops, chooses and clips
DEGREES = (0, 1, 2, 3)
NEIGHBOUR_COLUMNS = 6  # of x and y together; neighbours say little beyond
TRUSTED_NEIGHBOUR_COLUMNS = 4
ROWS_PER_COLUMN = 20  # wider sides are reduced to principal components
UNITS_NEEDED = 500
ALPHA = 0.05  # the clipping is tuned for a certificate of this error probability; every other one is valid too
MISSED = 0.15
NEIGHBOURS = 5
SAME_RANKS = 1e-8  # of the largest: what is left of a column's normal scores beside the others


def critic_information(
    x: ArrayLike,
    y: ArrayLike,
    *,
    members: Sequence[Member] = PANEL,
    critics: Mapping[str, CriticFitter] | None = None,
    folds: int = 4,
    k: int = NEIGHBOURS,
    groups: ArrayLike | None = None,
    rng: Rng = None,
    on_doubt: OnDoubt = "warn",
) -> Estimate:
    """Estimate I(X; Y) of two layers of any width with the best of several cross-fitted critics.

    A critic is a function of a pair (x, y) that is high for matched pairs and low for mismatched ones. Each member is
    fitted on training folds, and the one with the highest lower bound on held-out folds is chosen.
    `bounds.certify(estimate, side="lower")` turns its held-out scores into a lower confidence bound.

    Parameters
    ----------
    x, y : array_like (n,) or (n, d_x), (n, d_y)
        Paired rows of two layers, finite. Constant columns and copies of others are left out; a side with more
        than one column per 20 training rows is reduced to the leading principal components of its standardised
        columns, which can only lower the target.
    members : sequence of {"gaussian", "student", "canonical", "neighbours", "network"}
        Critics to try. "gaussian", "student": copulas of the rank-scaled columns. "canonical": the Gaussian copula of
        a few canonical variates of radial features. "neighbours": KSG after rank scaling, for up to 6 columns in all.
        "network": a two-tower network trained by InfoNCE on top of the best copula.
    critics : mapping of str to callable, optional
        Further members of your own: `fit(x, y, x_validation, y_validation, rng)` returns an object with
        `log_ratio(x, y)`, for instance a torch network.
    folds : int
        Cross-fitting folds, at least 2; rows of one group (image) stay together.
    k : int
        Number of neighbours of "neighbours", at least 1; refused where no member reads it.
    groups : array_like (n,), optional
        Image of each row: folds keep images whole, mismatched pairs come from different images, every image counts
        the same.
    rng : Generator, int or None
        Folds, mismatched pairs and the network's start; the result is deterministic for a given seed.
    on_doubt : {"warn", "raise", "ignore"}
        What to do where the estimate cannot be trusted.

    Returns
    -------
    Estimate
        Nats, not clipped at 0. `details["member"]` is the critic chosen, `details["members"]` the value and the
        held-out lower bound of each, `details["per_fold"]` the chosen critic's held-out bounds, `details["pairs"]` the
        held-out pairs that the certificate reads, `details["doubts"]` the reasons for distrust.

    Raises
    ------
    ValueError
        NaN, unequal lengths, a side of constant columns only, unknown members, fewer than 20 images or rows in a fold,
        k without "neighbours", a critic of your own by the name of a member.
    TypeError
        Arrays that do not hold real numbers.

    Warns
    -----
    RuntimeWarning
        With on_doubt="warn": few units, large information for the sample, a value that is only a lower bound, columns
        whose copula is not the Gaussian one that the value rests on.

    See Also
    --------
    ksg : Few columns.
    gaussian_information : Jointly Gaussian layers.
    summary_information : Through linear summaries.
    bounds.certify : Turns the estimate into a lower confidence bound.

    Notes
    -----
    Members are compared by the bound of Donsker and Varadhan on held-out pairs, with P the distribution of matched
    pairs and Q that of mismatched ones,

        I(X; Y) >= E_P f(X, Y) - log E_Q exp f(X, Y')   for every f,

    with equality for the log density ratio. The value is that of the chosen member: for a copula the information of its
    fit to all rows, corrected for the bias of log-determinants (for grouped rows, corrected by the difference between
    fitted and held-out rows); for neighbours the mean of the pointwise terms; otherwise, and for copulas where a column
    has an atom (a value with 2% of the rows), the held-out bound itself, which errs downwards. Where neighbours were
    shown to work (up to four columns in all), they replace a lower value.

    References
    ----------
    Donsker and Varadhan (1983), *Asymptotic evaluation of certain Markov process expectations for large time*; Nguyen,
    Wainwright and Jordan (2010), *Estimating divergence functionals and the likelihood ratio*, arXiv:0809.0853; van
    den Oord, Li and Vinyals (2018), *Representation learning with contrastive predictive coding*, arXiv:1807.03748;
    Czyz, Grabowski, Vogt, Beerenwinkel and Marx (2023), *Beyond Normal: On the Evaluation of Mutual Information
    Estimators*, arXiv:2306.11078.

    Examples
    --------
    Two layers of 12 columns that share one Gaussian number; the truth is 1.09 nats:

    >>> import numpy as np
    >>> import redundancy as rd
    >>> rng = np.random.default_rng(0)
    >>> shared, direction = rng.normal(size=(2000, 1)), np.full((1, 12), 4 / 12**0.5)
    >>> x, y = (shared @ direction + rng.normal(size=(2000, 12)) for _ in range(2))
    >>> estimate = rd.critic_information(x, y, members=("gaussian", "student"), rng=0)
    >>> round(estimate.value, 2)
    1.09
    >>> estimate.details["member"]
    'gaussian'
    """
    a, b = checks.matrix(x, name="x", min_rows=2), checks.matrix(y, name="y", min_rows=2)
    n = a.shape[0]
    if b.shape[0] != n:
        raise ValueError(f"x and y: expected paired rows, got {n} and {b.shape[0]}")
    a, b = in_range(a), in_range(b)
    for name, side in (("x", a), ("y", b)):
        if constant_columns(side).all():
            raise ValueError(f"{name}: expected a column that varies, got constant columns; they carry no information")
    checks.one_of(on_doubt, get_args(OnDoubt), name="on_doubt")
    panel = _panel(members, critics, k)
    group, sizes = checks.group_index(groups, n)
    folds = checks.integer(folds, name="folds", least=2)
    if sizes.size < 20 * folds:
        raise ValueError(
            f"folds: expected at least 20 rows or images in each; got {folds} folds of {sizes.size} "
            f"{'rows' if groups is None else 'images'}"
        )
    generator = checks.generator(rng)
    fold = fold_of_rows(n, folds, groups, generator)
    results = [_one_fold(a, b, np.flatnonzero(fold != f), np.flatnonzero(fold == f), group, panel, folds, generator)
               for f in range(folds)]  # fmt: skip
    share = np.bincount(fold, minlength=folds) / n
    names = [name for name in results[0].bound if all(name in r.bound for r in results)]
    bound = {name: float(share @ np.array([r.bound[name] for r in results])) for name in names}
    matched = {name: float(share @ np.array([r.matched[name] for r in results])) for name in names}
    value = dict(bound)
    if "neighbours" in value:
        value["neighbours"] = matched["neighbours"]
    trained = float(np.mean([r.fitted for r in results])) / n
    columns = _Columns.fit(a), _Columns.fit(b)
    # Copulas describe continuous columns; beside an atom they are critics as good as any, but no distributions.
    tied = any(largest_atom(side[:, c.keep]) > max(k, ATOM * n) for side, c in zip((a, b), columns, strict=True))
    for name, fit in (("gaussian", gaussian_copula), ("student", student_copula)):
        if name in value and not tied:
            left, right = columns[0].of(a), columns[1].of(b)
            value[name] = _copula_value(fit(left, right), left, right, matched[name], trained, bool((sizes > 1).any()))
    member = max(names, key=lambda name: bound[name])
    width = total_width(columns)
    if "neighbours" in value and width <= TRUSTED_NEIGHBOUR_COLUMNS and value["neighbours"] > value[member]:
        member = "neighbours"
    per_fold = np.array([r.bound[member] for r in results])
    doubts = _doubts(value[member], member, bound, width, sizes.size // folds, sizes.size, per_fold)
    if any(c.reduced for c in columns):
        doubts.append("a side has more columns than one per 20 training rows: only principal components were read")
    if member not in ("student", "neighbours") and not doubts:
        one_row = np.unique(group, return_index=True)[1]  # of each image: rows of one image are no sample
        columns_read = [c.of(side)[one_row] for c, side in zip(columns, (a, b), strict=True)]
        doubts += gaussian_copula_doubt(np.hstack(columns_read), member)
    doubt(doubts, on_doubt)
    settings: dict[str, object] = {"method": f"critic: {member}", "folds": folds, "k": panel.k}
    details = {
        "member": member,
        "members": {name: {"value": value[name], "held_out_bound": bound[name]} for name in names},
        "per_fold": per_fold,
        "pairs": tuple(r.pairs for r in results),
        "unit_of_sampling": unit_of_sampling(groups),
        "units": int(sizes.size),
        "n": n,
        "doubts": tuple(doubts),
    }
    return Estimate(
        value=value[member], quantity=Quantity.MUTUAL_INFORMATION, unit="nats", settings=settings, details=details
    )


@dataclass(frozen=True)
class _Panel:
    members: tuple[Member, ...]
    own: dict[str, CriticFitter]
    k: int


def _panel(members: Sequence[Member], critics: Mapping[str, CriticFitter] | None, k: int) -> _Panel:
    """The members asked for; an option that none of them reads is refused."""
    if isinstance(members, str) or not isinstance(members, Iterable):
        raise TypeError(f"members: expected a sequence of names such as ('gaussian',), got {members!r}")
    names = tuple(members)
    for name in names:
        checks.one_of(name, PANEL, name="members")
    if critics is not None and not (isinstance(critics, Mapping) and all(map(callable, critics.values()))):
        raise TypeError(f"critics: expected a mapping of names to functions that fit a critic, got {critics!r}")
    own = dict(critics or {})
    if set(own) & set(PANEL):
        raise ValueError(f"critics: expected names other than those of members, got {', '.join(own)}; rename yours")
    if not names and not own:
        raise ValueError("members: expected at least one critic, got none")
    if neighbors(k) != NEIGHBOURS and "neighbours" not in names:
        raise ValueError(f"k: expected with the member 'neighbours' only, got {k} with {', '.join((*names, *own))}")
    return _Panel(names, own, int(k))


@dataclass(frozen=True)
class _Fold:
    """Held-out bounds and mean matched scores of the members, the certificate's pairs, the number of rows fitted."""

    bound: dict[str, float]
    matched: dict[str, float]
    pairs: CriticPairs
    fitted: int


@dataclass(frozen=True, eq=False)
class _Columns:
    """The columns of a side that vary in the training rows, or principal components where these are too many.

    Columns whose ranks are a function of other columns' (copies, all but one of a one-hot code) are left out.
    """

    keep: IntArray
    centre: FloatArray
    rotation: FloatArray | None

    @classmethod
    def fit(cls, x: FloatArray) -> _Columns:
        keep = np.flatnonzero(~constant_columns(x))
        if keep.size == 0:
            raise ValueError("x and y: expected columns that vary in every training fold, got constant ones")
        most = max(1, len(x) // ROWS_PER_COLUMN)
        if keep.size <= most:
            return cls(keep[_independent_ranks(x[:, keep])], np.zeros(keep.size), None)
        kept = x[:, keep]
        centre, scale = kept.mean(0), kept.std(0)
        _, values, right = np.linalg.svd((kept - centre) / scale, full_matrices=False)
        held = right[:most][values[:most] > max(kept.shape) * EPSILON * values[0]]
        return cls(keep, centre, np.asarray(held.T / scale[:, None]))

    @property
    def reduced(self) -> bool:
        return self.rotation is not None

    @property
    def width(self) -> int:
        return self.keep.size if self.rotation is None else int(self.rotation.shape[1])

    def of(self, x: FloatArray) -> FloatArray:
        kept = x[:, self.keep]
        return kept if self.rotation is None else np.asarray((kept - self.centre) @ self.rotation)


def _independent_ranks(x: FloatArray) -> IntArray:
    """The first columns whose normal scores no others are linear functions of; a copula of the others is singular."""
    from scipy.linalg import qr

    scores = quantiles(RankScale.fit(x).uniform(x), math.inf)
    triangle, order = qr(scores - scores.mean(0), mode="r", pivoting=True)
    size = np.abs(np.diag(triangle))
    return np.sort(order[: size.size][size > SAME_RANKS * size[0]])


def total_width(columns: tuple[_Columns, _Columns]) -> int:
    """Number of columns of both sides that are read."""
    return columns[0].width + columns[1].width


def _one_fold(
    x: FloatArray,
    y: FloatArray,
    train: IntArray,
    test: IntArray,
    group: IntArray,
    panel: _Panel,
    folds: int,
    rng: np.random.Generator,
) -> _Fold:
    """Fit every member on the training rows and score it on the held-out ones."""
    inner = fold_of_rows(train.size, VALIDATION, group[train], rng)
    fit, validation = train[inner > 0], train[inner == 0]
    columns = _Columns.fit(x[fit]), _Columns.fit(y[fit])
    a, b = columns[0].of(x), columns[1].of(y)
    judge = Pairs.of(validation, group, rng)

    fitted = _fit_members(a, b, fit, judge, group, panel, total_width(columns), rng)
    images = np.unique(group[test]).size
    promised = {
        name: best_clipping(*pair_scores(critic, a, b, judge), judge, units=max(1, images // 2), alpha=ALPHA / folds)
        for name, critic in fitted.items()
    }
    best = max(promised, key=lambda name: promised[name].promise)
    held_out = Pairs.of(test, group, rng)
    scores = {name: pair_scores(critic, a, b, held_out) for name, critic in fitted.items()}
    return _Fold(
        {name: donsker_varadhan(*s, held_out) for name, s in scores.items()},
        {name: float(held_out.weight @ s[0]) for name, s in scores.items()},
        CriticPairs.of(fitted[best], promised[best], a, b, test, group, member=best, rng=rng),
        fit.size,
    )


def _fit_members(
    x: FloatArray,
    y: FloatArray,
    fit: IntArray,
    judge: Pairs,
    group: IntArray,
    panel: _Panel,
    width: int,
    rng: np.random.Generator,
) -> dict[str, Critic]:
    """The fitted critics by name."""
    a, b = x[fit], y[fit]

    def bound(critic: Critic) -> float:
        return donsker_varadhan(*pair_scores(critic, x, y, judge), judge)

    starts: dict[str, Copula | CanonicalCritic] = {}
    if "gaussian" in panel.members:
        starts["gaussian"] = gaussian_copula(a, b)
    if "student" in panel.members:
        starts["student"] = student_copula(a, b)
    if "canonical" in panel.members:
        candidates = [
            critic
            for degree in DEGREES
            if degree == 0 or max(x.shape[1], y.shape[1]) * (degree + 1) * 10 <= fit.size
            for critic in canonical_critics(a, b, degree=degree)
        ]
        starts["canonical"] = max(candidates, key=bound)
    fitted: dict[str, Critic] = dict(starts)
    if "neighbours" in panel.members and width <= NEIGHBOUR_COLUMNS and fit.size > panel.k:
        fitted["neighbours"] = neighbour_critic(a, b, k=panel.k)
    if "network" in panel.members:
        start = max(starts.values(), key=bound) if starts else gaussian_copula(a, b)
        fitted["network"] = network_critic(x, y, fit, judge, start, group=group, rng=rng)
    for name, fitter in panel.own.items():
        fitted[name] = fitter(a, b, x[judge.rows], y[judge.rows], rng)
    if not fitted:
        raise ValueError(
            f"members: expected a critic for {width} columns, got {', '.join(panel.members)} (neighbours read up to "
            f"{NEIGHBOUR_COLUMNS}); add 'gaussian'"
        )
    return fitted


def _copula_value(
    copula: Copula, x: FloatArray, y: FloatArray, held_out: float, trained: float, grouped: bool
) -> float:
    """The information of a copula fitted to all rows, without its bias."""
    if not grouped:
        return copula_information(copula, x, y)
    # To first order the fitted rows err by +b and rows held out from a share `trained` of them by -b / trained.
    inside = float(copula.log_ratio(x, y).mean())
    return (inside + trained * held_out) / (1.0 + trained)


def _doubts(
    value: float,
    member: str,
    bound: Mapping[str, float],
    width: int,
    units_per_fold: int,
    units: int,
    per_fold: FloatArray,
) -> list[str]:
    doubts = []
    if units < UNITS_NEEDED:
        doubts.append(f"only {units} independent units: shown to work from {UNITS_NEEDED}")
    if value > 0.5 * math.log(max(units, 2)):
        doubts.append(f"{value:.2f} nats from {units} units: held-out bounds saturate near their logarithm")
    copulas = [bound[name] for name in ("gaussian", "student") if name in bound]
    learned = member not in ("gaussian", "student", "neighbours") or width > TRUSTED_NEIGHBOUR_COLUMNS
    if copulas and learned and bound[member] > max(copulas) + 0.05 and member not in ("gaussian", "student"):
        doubts.append(
            f"{member!r} predicts held-out pairs better than the copulas of all columns do, and its value is a "
            f"held-out lower bound that may fall short of the truth by more than {MISSED}"
        )
    return doubts
