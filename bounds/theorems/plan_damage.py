"""Damage of a plan: identities and two-sided bounds without Lipschitz constants (theory, sections 16.1 to 16.4, 17.3).

z and z(S) are the logits of the full run and under the plan, Delta = z(S) - z, p and p' their distributions.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bounds.framework import arguments
from bounds.framework.assumptions import ANSWER_ONLY, OURS
from bounds.framework.special_functions import exponential_excess, log_exponential_excess
from bounds.framework.symbolic import Expression, sp, symbols
from bounds.framework.theorem import Evaluate, Sides, theorem
from bounds.worlds import exact_quantities, gallery
from bounds.worlds.attention import SoftmaxWorld
from bounds.worlds.families import ANSWERS
from bounds.worlds.network_families import PLANNED, SOFTMAX
from bounds.worlds.networks import ResidualWorld
from bounds.worlds.planned import PlannedWorld, centred, deviation
from bounds.worlds.with_predictors import PredictedWorld
from redundancy.array_types import FloatArray

KL = r"D(p\Vert p')"


def _phi(u: Expression) -> Expression:
    return (sp().exp(u) - u - 1) / u**2


def one_planned_layer(size: float = 0.4) -> PlannedWorld:
    """Two layers, the first of which is skipped: the only term is the whole change."""
    linear = np.array([size * np.eye(2), 0.3 * np.eye(2)])
    network = ResidualWorld(np.array([1.0, -0.5]), linear, np.zeros((2, 2, 2)), np.array([True, False]))
    return PlannedWorld(network, np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))


def two_planned_layers() -> PlannedWorld:
    """Three layers of which the first two are skipped."""
    linear = np.array([0.4 * np.eye(2), [[0.1, 0.3], [-0.2, 0.2]], 0.3 * np.eye(2)])
    curved = 0.2 * np.ones((3, 2, 2))
    network = ResidualWorld(np.array([1.0, -0.5]), linear, curved, np.array([True, True, False]))
    return PlannedWorld(network, np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]))


@theorem(
    label="Plan damage (telescoping identity)",
    equation="(16.1)",
    left=r"z(\mathcal S)-z",
    right=r"\sum_{l\in\mathcal S}T_l,\quad T_l=\Phi_{l+1}(h_{l+1}+\delta_l)-\Phi_{l+1}(h_{l+1})",
    relation="=",
    form="sharp",
    source=OURS,
    assumes=(),
    family=PLANNED,
    sides=lambda w, bound: (w.change, bound(w.terms.T)),
    symbolic=lambda: sum(symbols("terms_0:3")),
    tight=two_planned_layers,
)
def plan_change(terms: ArrayLike) -> FloatArray:
    """Change of a logit under a plan, exactly: the sum of what each planned layer does in the skipped network.

    T_l belongs to the *skipped* network: both of its runs go on with the plan's layers after l. Measured in one-layer
    runs of the full network the sum is only a surrogate: layers that can replace each other hide their joint damage.

    Parameters
    ----------
    terms : array (..., S)
        T_l of every planned layer, for one logit or for each of several.

    Returns
    -------
    ndarray (...)
        z(S) - z.

    See Also
    --------
    plan_deviation : Plan damage (subadditivity).
    skip_set_propagation : Skipped layers, by Lipschitz constants.

    Examples
    --------
    Two planned layers that cancel in the first logit and add up in the second:

    >>> import bounds
    >>> print(bounds.plan_change([[0.5, -0.5], [0.2, 0.1]]).round(4))
    [0.  0.3]
    """
    t = arguments.number(terms, name="terms")
    if t.ndim == 0:
        raise ValueError(f"terms: expected one entry per planned layer along the last axis, got {t}; put it in a list")
    if (np.isposinf(t).any(axis=-1) & np.isneginf(t).any(axis=-1)).any():
        raise ValueError("terms: expected finite numbers, got infinities of both signs; the sum is undefined")
    return arguments.shown(t.sum(axis=-1))


def _variance(w: SoftmaxWorld) -> float:
    return deviation(w.before, w.change) ** 2


def _kl(w: SoftmaxWorld | PlannedWorld) -> float:
    return exact_quantities.relative_entropy(w.before, w.after)


def _two_sided(w: SoftmaxWorld, bound: Evaluate) -> Sides:
    low, high = bound(_variance(w), w.omega)
    return [_kl(w), -_kl(w)], [high, -low]


def _variance_high() -> Expression:
    v, w = symbols("variance omega")
    return sp().Min(v * _phi(w), w**2 / 8)


@theorem(
    label="Plan damage (divergence, two-sided)",
    equation="(16.2)",
    left=KL,
    right=r"\min\left\lbrace V\varphi(\omega),\ \omega^2/8\right\rbrace,\quad\ge V\varphi(-\omega)",
    form="consequence",
    source=OURS,
    assumes=(),
    family=SOFTMAX,
    sides=_two_sided,
    symbolic=_variance_high,
    tight=lambda: SoftmaxWorld(np.array([0.2, -0.1]), np.array([1e-3, -1e-3]), np.eye(2)),
    reached="limit",
)
def divergence_from_logit_variance(variance: ArrayLike, omega: ArrayLike) -> tuple[FloatArray, FloatArray]:
    """D(p || p') between a lower and an upper bound, from the variance and the range of the change of the logits.

    Parameters
    ----------
    variance : array, >= 0
        V, the variance of Delta under p.
    omega : array, >= 0
        max Delta - min Delta, or an upper bound on it.

    Returns
    -------
    low, high : ndarray
        V phi(-omega) and the smaller of V phi(omega) and omega^2 / 8, with phi(u) = (exp(u) - u - 1) / u^2.

    See Also
    --------
    divergence_from_centred_logits : Plan damage (divergence, Bennett), never above this one's V phi(omega).
    softmax_divergence : Changed scores (divergence).

    Examples
    --------
    Both ends meet at V / 2 for small changes:

    >>> import bounds
    >>> low, high = bounds.divergence_from_logit_variance(0.01, [0.1, 1.0])
    >>> print(low.round(5), high.round(5))
    [0.00484 0.00368] [0.00125 0.00718]
    """
    v, w = arguments.nonnegative(variance, name="variance"), arguments.nonnegative(omega, name="omega")
    arguments.together(variance=v, omega=w)
    low = arguments.product(v, exponential_excess(-w))
    high = np.minimum(arguments.product(v, exponential_excess(w)), arguments.product(0.125, w, w))
    return arguments.shown(low), arguments.shown(high)


def _bennett(w: SoftmaxWorld, bound: Evaluate) -> Sides:
    x = centred(w.before, w.change)
    low, high = bound(_variance(w), max(0.0, -x.min()), max(0.0, x.max()))
    return [_kl(w), -_kl(w)], [high, -low]


def _bennett_high() -> Expression:
    v, b, s = symbols("variance"), symbols("up"), sp()
    return s.Min(b, s.log(1 + v * _phi(b)))


@theorem(
    label="Plan damage (divergence, Bennett)",
    equation="(16.2')",
    left=KL,
    right=r"\min\left\lbrace b,\ \log\left(1+V\varphi(b)\right)\right\rbrace,\quad\ge\log\left(1+V\varphi(-a)\right)",
    form="sharp",
    source=f"{OURS}; after Bennett's inequality",
    assumes=(),
    family=SOFTMAX,
    sides=_bennett,
    symbolic=_bennett_high,
    tight=lambda: rarely_pushed_up(),
    reached="limit",
)
def divergence_from_centred_logits(
    variance: ArrayLike, down: ArrayLike, up: ArrayLike
) -> tuple[FloatArray, FloatArray]:
    """D(p || p') between two bounds, from the variance of the change and how far it pushes logits up and down.

    Parameters
    ----------
    variance : array, >= 0
        V, the variance of Delta under p.
    down, up : array, >= 0
        a and b: how far the smallest and the largest entry of Delta lie from its mean under p, or upper bounds.

    Returns
    -------
    low, high : ndarray
        log(1 + V phi(-a)) and log(1 + V phi(b)), the latter at most b. Only logits pushed up count in the upper end:
        over a vocabulary the range is large because of unlikely words pushed down.

    See Also
    --------
    divergence_from_logit_variance : Plan damage (divergence, two-sided).
    divergence_of_plan : Plan damage (divergence, subadditive).

    Examples
    --------
    One unlikely word pushed down by 20 does not spoil the upper end, and the truth lies between:

    >>> import bounds
    >>> low, high = bounds.divergence_from_centred_logits(0.01, 20.0, 0.1)
    >>> print(low.round(5), high.round(5))
    0.00047 0.00516
    """
    v = arguments.nonnegative(variance, name="variance")
    a, b = arguments.nonnegative(down, name="down"), arguments.nonnegative(up, name="up")
    arguments.together(variance=v, down=a, up=b)
    low = np.log1p(arguments.product(v, exponential_excess(-a)))
    return arguments.shown(low), arguments.shown(_log_one_plus(v, b))


def rarely_pushed_up(mass: float = 1e-7, up: float = 1.0) -> SoftmaxWorld:
    """Two words, the unlikely one of which is pushed up: Bennett's bound is attained as its probability vanishes."""
    return SoftmaxWorld(np.log([mass, 1.0 - mass]), np.array([up, 0.0]), np.eye(2))


def _log_one_plus(variance: FloatArray, up: FloatArray) -> FloatArray:
    """log(1 + V phi(b)), at most b, without overflow."""
    shape = np.broadcast_shapes(variance.shape, up.shape)
    v, b = np.broadcast_to(variance, shape), np.broadcast_to(up, shape)
    direct = np.log1p(arguments.product(v, exponential_excess(b)))
    with np.errstate(divide="ignore"):
        far = np.logaddexp(0.0, np.log(v) + log_exponential_excess(np.clip(b, 1.0, 1e300)))
    value = np.where(b > 600.0, np.where(v > 0, far, 0.0), direct)
    out: FloatArray = np.minimum(b, value)
    return out


@theorem(
    label="Plan damage (subadditivity)",
    equation="(16.3)",
    left=r"\sqrt{\mathrm{Var}_p(\Delta)}",
    right=r"\sum_{l\in\mathcal S}\sqrt{\mathrm{Var}_p(T_l)}",
    form="sharp",
    source=f"{OURS}; Minkowski's inequality",
    assumes=(),
    family=PLANNED,
    sides=lambda w, bound: (deviation(w.before, w.change), bound(w.deviations)),
    symbolic=lambda: sum(symbols("deviations_0:3")),
    tight=one_planned_layer,
)
def plan_deviation(deviations: ArrayLike) -> FloatArray:
    """Standard deviation of the change of the logits under a plan: at most the sum over its layers.

    Parameters
    ----------
    deviations : array (..., S), >= 0
        Standard deviation of T_l under p for every planned layer, T_l of the skipped network as in `plan_change`.

    Returns
    -------
    ndarray (...)
        Upper bound on the standard deviation of z(S) - z under p.

    See Also
    --------
    plan_change : Plan damage (telescoping identity).
    divergence_of_plan : Plan damage (divergence, subadditive).

    Examples
    --------
    >>> import bounds
    >>> print(bounds.plan_deviation([0.1, 0.05, 0.02]).round(4))
    0.17
    """
    d = arguments.nonnegative(deviations, name="deviations")
    if d.ndim == 0:
        raise ValueError(f"deviations: expected one entry per planned layer along the last axis, got {d}; use a list")
    return arguments.shown(d.sum(axis=-1))


def _plan_divergence() -> Expression:
    d, b, s = symbols("deviations_0:3"), symbols("up"), sp()
    return s.Min(b, s.log(1 + _phi(b) * sum(d) ** 2))


@theorem(
    label="Plan damage (divergence, subadditive)",
    equation="(16.3), last step",
    left=KL,
    right=(
        r"\min\left\lbrace b,\ \log\left(1+\varphi(b)"
        r"\left(\sum_{l\in\mathcal S}\sqrt{\mathrm{Var}_p(T_l)}\right)^2\right)\right\rbrace"
    ),
    form="sharp",
    source=OURS,
    assumes=(),
    family=PLANNED,
    sides=lambda w, bound: (_kl(w), bound(w.deviations, max(0.0, centred(w.before, w.change).max()))),
    symbolic=_plan_divergence,
    tight=lambda: one_planned_layer(1e-3),
    reached="limit",
)
def divergence_of_plan(deviations: ArrayLike, up: ArrayLike) -> FloatArray:
    """D(p || p') of a plan from the standard deviations of its layers' terms and the largest logit pushed up.

    Parameters
    ----------
    deviations : array (..., S), >= 0
        Standard deviation of T_l under p for every planned layer, T_l of the skipped network as in `plan_change`.
    up : array (...), >= 0
        b: largest entry of z(S) - z less its mean under p, or an upper bound on it.

    Returns
    -------
    ndarray (...)
        Upper bound on D(p || p') in nats, at most b.

    See Also
    --------
    divergence_from_centred_logits : Plan damage (divergence, Bennett).
    plan_deviation : Plan damage (subadditivity).

    Examples
    --------
    >>> import bounds
    >>> print(bounds.divergence_of_plan([0.1, 0.05, 0.02], 0.5).round(4))
    0.017
    """
    total = plan_deviation(deviations)
    b = arguments.nonnegative(up, name="up")
    arguments.together(deviations=total, up=b)
    return arguments.shown(_log_one_plus(arguments.product(total, total), b))


def _led_by(w: PlannedWorld) -> tuple[int, FloatArray]:
    """The answer of the full run, and a mask of the other answers."""
    top = int(w.logits.argmax())
    return top, np.arange(w.logits.size) != top


def _margins(w: PlannedWorld, bound: Evaluate) -> Sides:
    top, others = _led_by(w)
    gaps = (w.logits[top] - w.logits)[others]
    return w.planned[top] - w.planned[others].max(), bound(gaps, (w.terms[:, [top]] - w.terms)[:, others])


def _margin() -> Expression:
    s = sp()
    gaps, terms = symbols("gaps_0:2"), [symbols(f"terms_{layer}_0:2") for layer in range(3)]
    return s.Min(*(gaps[c] + sum(row[c] for row in terms) for c in range(2)))


@theorem(
    label="Plan damage (margin of the answer)",
    equation="(16.3a)",
    left=r"z(\mathcal S)_{top}-\max_{c\neq top}z(\mathcal S)_c",
    right=r"\min_{c\neq top}\left(z_{top}-z_c+\sum_{l\in\mathcal S}\left(T_l[top]-T_l[c]\right)\right)",
    relation="=",
    form="sharp",
    source=OURS,
    assumes=(),
    family=PLANNED,
    sides=_margins,
    symbolic=_margin,
    tight=two_planned_layers,
)
def plan_margin(gaps: ArrayLike, terms: ArrayLike) -> FloatArray:
    """Margin with which the full run's answer still leads under a plan, exactly; negative where the answer changes.

    Parameters
    ----------
    gaps : array (..., C), >= 0
        z_top - z_c in the full run for every other answer c.
    terms : array (..., S, C)
        T_l[top] - T_l[c] of every planned layer l and other answer c, T_l of the skipped network as in `plan_change`.

    Returns
    -------
    ndarray (...)
        Logit of the full run's answer less the largest other logit, both under the plan: the answer is unchanged if
        this is > 0, another one if < 0, and up to the rule for ties at 0.

    See Also
    --------
    plan_change : Plan damage (telescoping identity).
    prediction_may_change : From the range of the change alone; sufficient, not necessary.
    accuracy_from_disagreement : Plan damage (accuracy without labels).

    Examples
    --------
    Two other answers, 1.0 and 3.0 behind; the two planned layers bring the second one up by 3.5:

    >>> import bounds
    >>> print(bounds.plan_margin([1.0, 3.0], [[0.1, -2.0], [0.0, -1.5]]).round(4))
    -0.5
    """
    g, t = arguments.nonnegative(gaps, name="gaps"), arguments.number(terms, name="terms")
    if g.ndim == 0 or t.ndim < 2 or g.shape[-1] == 0:
        raise ValueError(
            "gaps, terms: expected one entry per other answer along the last axis, and planned layers along the one "
            f"before it in terms, got {g.shape} and {t.shape}"
        )
    arguments.same_last_axis(gaps=g, terms=t)
    up, down = np.isposinf(t).any(axis=-2), np.isneginf(t).any(axis=-2)
    arguments.together(gaps=g, terms=up)
    if ((up | np.isposinf(g)) & down).any():
        raise ValueError("gaps, terms: expected finite numbers, got infinities of both signs; the sum is undefined")
    return arguments.shown((g + t.sum(axis=-2)).min(axis=-1))


def _answers(w: PredictedWorld) -> tuple[float, float]:
    """Absolute difference of the accuracies of two runs, and how often their answers differ."""
    full, plan = w.at_x.argmax(axis=1), w.at_y.argmax(axis=1)
    world = w.world
    wins = world.pmf[full, np.arange(len(full)), :].sum()
    losses = world.pmf[plan, :, np.arange(len(plan))].sum()
    return abs(float(wins - losses)), float(world.xy[full[:, None] != plan[None, :]].sum())


def flipped_answers(share: float = 0.1) -> PredictedWorld:
    """The full run is always right, the plan wrong exactly where the two differ."""
    world = gallery.sign_flip(2.0 * share, 1.0, 0.0)
    answers = np.array([[0.0, 1.0], [1.0, 0.0]])  # the values are sorted: the first symbol of T is -1
    return PredictedWorld(world, answers, answers)


@theorem(
    label="Plan damage (accuracy without labels)",
    equation="section 16.4",
    left=r"\left\lvert\mathrm{acc}(\text{plan})-\mathrm{acc}(\text{full})\right\rvert",
    right=r"P(\text{answers differ})",
    form="sharp",
    source=OURS,
    assumes=(ANSWER_ONLY,),
    family=ANSWERS,
    sides=lambda w, bound: (_answers(w)[0], bound(min(1.0, _answers(w)[1]))),
    symbolic=lambda: symbols("disagreement"),
    tight=flipped_answers,
)
def accuracy_from_disagreement(disagreement: ArrayLike) -> FloatArray:
    """Change of accuracy under a plan: at most the share of answers that change, which needs no label.

    Parameters
    ----------
    disagreement : array in [0, 1]
        P(the whole decoded text differs between the plan and the full run), or an upper confidence limit on it.

    Returns
    -------
    ndarray in [0, 1]
        Upper bound on ``|acc(plan) - acc(full)|`` for any 0-1 score of the answer.

    See Also
    --------
    certify : A confidence limit for the disagreement.

    Examples
    --------
    Three percent of the answers change, so accuracy changes by at most three points:

    >>> import bounds
    >>> print(bounds.accuracy_from_disagreement(0.03).round(4))
    0.03
    """
    return arguments.shown(arguments.probability(disagreement, name="disagreement") * 1.0)
