"""How the error of skipped layers propagates through a residual network (theory, section 9.7).

Only norms measured in the full run appear. A Lipschitz constant must hold on a region that contains both runs;
with an empirical estimate in its place the result is a diagnostic, not a certificate.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bounds.framework import arguments
from bounds.framework.assumptions import EARLY_EXIT as EXIT
from bounds.framework.assumptions import LATE_ENTRY as ENTRY
from bounds.framework.assumptions import LIPSCHITZ_REGION, OURS
from bounds.framework.symbolic import Expression, sp, symbols
from bounds.framework.theorem import Evaluate, Sides, theorem
from bounds.worlds.network_families import EARLY_EXIT, LATE_ENTRY, RESIDUAL, TWO_STEPS
from bounds.worlds.networks import PathWorld, ResidualWorld, TwoStreamWorld, norm
from redundancy.array_types import FloatArray


def _three_layers() -> Expression:
    n, lam = symbols("norms_0:3"), symbols("lipschitz_0:3")
    # Layer 0 skipped, 1 and 2 kept.
    return n[0] * lam[1] * lam[2]


@theorem(
    label="Skipped layers",
    equation="(9.5)",
    left=r"\lVert h_L-\tilde h_L\rVert",
    right=r"\sum_{l\in\mathcal S}\lVert F_l(h_l)\rVert\prod_{j>l,\,j\notin\mathcal S}\Lambda_j",
    form="sharp",
    source=OURS,
    assumes=(LIPSCHITZ_REGION,),
    family=RESIDUAL,
    sides=lambda w, bound: (w.error, bound(w.norms, w.lipschitz, w.skipped)),
    symbolic=_three_layers,
    tight=lambda: ResidualWorld(np.ones(1), np.array([[[0.4]], [[0.7]]]), np.zeros((2, 1, 1)), np.array([True, False])),
)
def skip_set_propagation(norms: ArrayLike, lipschitz: ArrayLike, skipped: ArrayLike) -> FloatArray:
    """Error at the end when some residual layers are skipped.

    Parameters
    ----------
    norms : array (..., L), >= 0
        ||F_l(h_l)|| of every layer's residual branch, measured in the full run.
    lipschitz : array (..., L), >= 0
        Lipschitz constant of id + F_l, at most 1 + that of F_l.
    skipped : array (..., L) of bool
        Which layers are skipped.

    Returns
    -------
    ndarray (...)
        Upper bound on the distance of the two last states.

    Raises
    ------
    ValueError
        If `skipped` is not boolean.

    See Also
    --------
    late_entry_propagation : Late entry.
    early_exit_propagation : Early exit.

    Examples
    --------
    The first of three layers is skipped and its error grows by 1.1 in each of the others:

    >>> import bounds
    >>> print(bounds.skip_set_propagation([0.2, 0.3, 0.3], [1.1, 1.1, 1.1], [True, False, False]).round(4))
    0.242
    """
    n = arguments.nonnegative(norms, name="norms")
    lam = arguments.nonnegative(lipschitz, name="lipschitz")
    s = np.asarray(skipped)
    if s.size and s.dtype != np.bool_:
        raise ValueError(f"skipped: expected booleans, one per layer, got dtype {s.dtype}")
    arguments.same_last_axis(0, norms=n, lipschitz=lam, skipped=s.astype(np.float64))
    arguments.together(norms=n, lipschitz=lam, skipped=s)
    error = np.zeros(np.broadcast_shapes(n.shape, lam.shape, s.shape)[:-1])
    for layer in range(n.shape[-1]):
        error = np.where(s[..., layer], error + n[..., layer], arguments.product(error, lam[..., layer]))
    return arguments.shown(error)


def _entered() -> Expression:
    b, lam = symbols("beta_0:2"), symbols("text_lipschitz_0:2")
    f, m = symbols("image_error"), symbols("blocks_0_0:2_0:2")
    text = b[1] + lam[1] * b[0]
    return m[0] * text + m[1] * f


def _entry_sides(w: TwoStreamWorld, bound: Evaluate) -> Sides:
    m = w.entry
    ends = bound(w.beta[:m], w.text_lipschitz[:m], w.image_error(m), w.blocks[m:])
    return [w.text_error(len(w.maps)), w.image_error(len(w.maps))], ends


def _one_stream() -> TwoStreamWorld:
    """Scalar states: the image state changes in the skipped layer and then changes the text state once."""
    maps = np.zeros((2, 4, 1, 1))
    maps[0, 3] = 0.5  # the image state grows in the skipped layer
    maps[1, 0], maps[1, 3] = 0.2, 0.3
    return TwoStreamWorld(np.ones(1), np.ones(1), maps, 1, 2)


@theorem(
    label="Late entry",
    equation="(9.6)",
    left=r"(e_L, f_L)",
    right=(r"M_{L-1}\cdots M_m\binom{e_m}{\lVert v_m-v_0\rVert},\quad e_{l+1}\le\beta_l+\mathrm{Lip}(A^\circ_l)e_l"),
    form="sharp",
    source=OURS,
    assumes=(ENTRY, LIPSCHITZ_REGION),
    family=LATE_ENTRY,
    sides=_entry_sides,
    symbolic=_entered,
    tight=_one_stream,
)
def late_entry_propagation(
    beta: ArrayLike, text_lipschitz: ArrayLike, image_error: ArrayLike, blocks: ArrayLike
) -> FloatArray:
    """Errors of text and image states at the end when image tokens enter at layer m instead of layer 0.

    Parameters
    ----------
    beta : array (..., m), >= 0
        ||A_l(t_l, v_l) - A0_l(t_l)|| for l < m: what the image adds to the text, measured in the full run.
    text_lipschitz : array (..., m), >= 0
        Lipschitz constants of the text-only maps A0_l.
    image_error : array (...), >= 0
        ||v_m - v_0||: the accumulated distance of the image states, not that of adjacent layers.
    blocks : array (..., L - m, 2, 2), >= 0
        Lipschitz constants [[text-text, text-image], [image-text, image-image]] of layers m..L-1. Either run of
        layers may be empty.

    Returns
    -------
    ndarray (..., 2)
        Upper bounds on the text error and the image error.

    See Also
    --------
    early_exit_propagation : Early exit.
    skip_set_propagation : Skipped layers.
    attention_replacement : Attention to replaced tokens.

    Examples
    --------
    One text-only layer, then one full layer: text error first, image error second:

    >>> import bounds
    >>> print(bounds.late_entry_propagation([0.1], [1.2], 0.5, [[[1.1, 0.2], [0.0, 1.3]]]).round(4))
    [0.21 0.65]
    """
    e = _text_error(beta, text_lipschitz)
    f = arguments.nonnegative(image_error, name="image_error")
    m = arguments.nonnegative(blocks, name="blocks")
    if m.shape == (0,):  # no layer after the entry
        m = m.reshape(0, 2, 2)
    if m.ndim < 3 or m.shape[-2:] != (2, 2):
        raise ValueError(f"blocks: expected shape (..., layers, 2, 2), got {m.shape}")
    shape = arguments.together(text_error=e, image_error=f, blocks=np.empty(m.shape[:-3]))
    state = np.stack([np.broadcast_to(e, shape), np.broadcast_to(f, shape)], axis=-1)
    for layer in range(m.shape[-3]):
        state = arguments.product(m[..., layer, :, :], state[..., None, :]).sum(axis=-1)
    return state


def _exited() -> Expression:
    b, lam = symbols("beta_0:3"), symbols("text_lipschitz_0:3")
    return b[2] + lam[2] * (b[1] + lam[1] * b[0])


@theorem(
    label="Early exit",
    equation="(9.6'), first rows",
    left=r"e_L",
    right=r"\sum_{l\ge m}\beta_l\prod_{j>l}\mathrm{Lip}(A^\circ_j)",
    form="sharp",
    source=OURS,
    assumes=(EXIT, LIPSCHITZ_REGION),
    family=EARLY_EXIT,
    sides=lambda w, bound: (
        w.text_error(len(w.maps)),
        bound(w.beta[w.exit :], w.text_lipschitz[w.exit :]),
    ),
    symbolic=_exited,
    tight=lambda: TwoStreamWorld(np.ones(1), np.ones(1), np.full((2, 4, 1, 1), 0.3), 0, 1),
)
def early_exit_propagation(beta: ArrayLike, text_lipschitz: ArrayLike) -> FloatArray:
    """Text error at the end when image tokens leave at layer m: small cross-attention suffices.

    Parameters
    ----------
    beta : array (..., L - m), >= 0
        ||A_l(t_l, v_l) - A0_l(t_l)|| for l >= m, measured in the full run.
    text_lipschitz : array (..., L - m), >= 0
        Lipschitz constants of the text-only maps A0_l.

    Returns
    -------
    ndarray (...)
        Upper bound on the text error.

    See Also
    --------
    late_entry_propagation : Late entry.
    attention_removal : Attention removal.

    Examples
    --------
    Two layers after the exit: 0.1 * 1.2 + 0.1:

    >>> import bounds
    >>> print(bounds.early_exit_propagation([0.1, 0.1], [1.2, 1.2]).round(4))
    0.22
    """
    return arguments.shown(_text_error(beta, text_lipschitz))


def _text_error(beta: ArrayLike, text_lipschitz: ArrayLike) -> FloatArray:
    """The recursion of (9.6) for the text; a run of no layers leaves no error."""
    b = arguments.nonnegative(beta, name="beta")
    lam = arguments.nonnegative(text_lipschitz, name="text_lipschitz")
    arguments.same_last_axis(0, beta=b, text_lipschitz=lam)
    arguments.together(beta=b, text_lipschitz=lam)
    error = np.zeros(np.broadcast_shapes(b.shape, lam.shape)[:-1])
    for layer in range(b.shape[-1]):
        error = b[..., layer] + arguments.product(lam[..., layer], error)
    return error


def _unit_gap(w: PathWorld, offset: float) -> tuple[float, float, float, float]:
    """|| x / r - y / s || with r^2 = ||x||^2 + offset, and || x - y ||, || x ||, || y ||."""
    x, y = w.points[1] - w.points[0], w.points[2] - w.points[0]
    r, s = (np.sqrt(v @ v + offset) for v in (x, y))
    return float(norm(x / r - y / s)), float(norm(x - y)), float(norm(x)), float(norm(y))


def _normalised() -> Expression:
    d, a, b, o = symbols("distance norm_x norm_y offset")
    s = sp()
    return 2 * d / (s.sqrt(a**2 + o) + s.sqrt(b**2 + o))


@theorem(
    label="Normalisation",
    equation="(9.9)",
    left=r"\left\lVert\frac{x}{\sqrt{\lVert x\rVert^2+c}}-\frac{y}{\sqrt{\lVert y\rVert^2+c}}\right\rVert",
    right=r"\frac{2\lVert x-y\rVert}{\sqrt{\lVert x\rVert^2+c}+\sqrt{\lVert y\rVert^2+c}}",
    form="sharp",
    source=OURS,
    assumes=(),
    family=TWO_STEPS,
    sides=lambda w, bound: (
        [_unit_gap(w, c)[0] for c in (1e-12, 0.5)],
        [bound(*_unit_gap(w, c)[1:], offset=c) for c in (1e-12, 0.5)],
    ),
    symbolic=_normalised,
    tight=lambda: PathWorld(np.array([[0.0, 0.0], [1.0, 0.2], [1.0, -0.2]])),
)
def normalisation(distance: ArrayLike, norm_x: ArrayLike, norm_y: ArrayLike, *, offset: ArrayLike = 0.0) -> FloatArray:
    """Distance after normalisation to the sphere: twice the distance over the sum of norms.

    Parameters
    ----------
    distance : array, >= 0
        ||x - y||.
    norm_x, norm_y : array, >= 0
        Norms; not both zero unless offset > 0.
    offset : array, >= 0
        n times RMSNorm's epsilon, n the dimension; 0 for exact normalisation. LayerNorm: centre first,
        which does not expand distances.

    Returns
    -------
    ndarray
        Upper bound on ||x / sqrt(||x||^2 + offset) - y / sqrt(||y||^2 + offset)||; times sqrt(n) for an
        RMSNorm without gain. Equality iff equal norms or opposite directions.

    Raises
    ------
    ValueError
        If both norms are zero and there is no offset.

    See Also
    --------
    squared_distance_from_norms : Lemma 2 (any norms).

    Examples
    --------
    Vectors of norm 5 that are 1 apart; with an offset the same error counts a little less:

    >>> import bounds
    >>> print(bounds.normalisation(1.0, 5.0, 5.0, offset=[0.0, 1.0]).round(4))
    [0.2    0.1961]
    """
    d = arguments.nonnegative(distance, name="distance")
    a, b = arguments.nonnegative(norm_x, name="norm_x"), arguments.nonnegative(norm_y, name="norm_y")
    c = arguments.nonnegative(offset, name="offset")
    arguments.together(distance=d, norm_x=a, norm_y=b, offset=c)
    total = np.sqrt(a * a + c) + np.sqrt(b * b + c)
    if (total == 0).any():
        raise ValueError("norm_x, norm_y: expected at least one non-zero norm, got two zeros; give an offset")
    return arguments.shown(2.0 * d / total)
