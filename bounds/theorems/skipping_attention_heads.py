"""Removing image tokens from several attention heads, averaged ratios, and replaced image tokens."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bounds.framework import arguments
from bounds.framework.assumptions import OURS, UNCHANGED_SCORES
from bounds.framework.symbolic import Expression, sp, symbols
from bounds.framework.theorem import theorem
from bounds.theorems.skipping_attention import cross_diameter, opposite_values
from bounds.worlds.attention import AttentionWorld
from bounds.worlds.network_families import HEADS, ONE_HEAD
from bounds.worlds.networks import norm, spectral
from redundancy.array_types import FloatArray


def _head_change(w: AttentionWorld) -> FloatArray:
    return norm(np.einsum("hkd,hd->k", w.outputs, w.full - w.removed))


def _per_head() -> Expression:
    a, d, w = symbols("mass_0:3"), symbols("diameters_0:3"), symbols("output_norms_0:3")
    return sum(a[i] * d[i] * w[i] for i in range(3))


@theorem(
    label="Attention removal (heads)",
    equation="(9.5a)",
    left=r"\lVert\Delta\rVert",
    right=r"\sum_h\lVert W_h\rVert_2\,\alpha_hD_h",
    form="sharp",
    source=OURS,
    assumes=(UNCHANGED_SCORES,),
    family=HEADS,
    sides=lambda w, bound: (
        _head_change(w),
        bound(w.mass, cross_diameter(w.image, w.text), spectral(w.outputs)),
    ),
    symbolic=_per_head,
    tight=lambda: opposite_values(heads=2),
)
def attention_removal_heads(mass: ArrayLike, diameters: ArrayLike, output_norms: ArrayLike) -> FloatArray:
    """Change of an attention layer's output when image keys are removed, summed over heads.

    Parameters
    ----------
    mass : array (..., H) in [0, 1]
        Weight on image keys of each head.
    diameters : array (..., H), >= 0
        `cross_diameter` of each head.
    output_norms : array (..., H), >= 0
        Spectral norm of each head's output matrix.

    Returns
    -------
    ndarray (...)
        Upper bound on the norm of the change.

    See Also
    --------
    attention_removal_joint : Attention removal (joint output matrix).
    attention_removal_averaged : Attention removal (averaged mass).
    attention_removal : Attention removal.

    Examples
    --------
    One of two heads reads the image:

    >>> import bounds
    >>> print(bounds.attention_removal_heads([0.2, 0.0], [1.0, 1.0], [2.0, 2.0]).round(4))
    0.4
    """
    a, d = arguments.probability(mass, name="mass"), arguments.nonnegative(diameters, name="diameters")
    w = arguments.nonnegative(output_norms, name="output_norms")
    arguments.same_last_axis(mass=a, diameters=d, output_norms=w)
    arguments.together(mass=a, diameters=d, output_norms=w)
    return arguments.shown(arguments.product(w, a, d).sum(axis=-1))


def _joint() -> Expression:
    a, d = symbols("mass_0:3"), symbols("diameters_0:3")
    return symbols("output_norm") * sp().sqrt(sum((a[i] * d[i]) ** 2 for i in range(3)))


@theorem(
    label="Attention removal (joint output matrix)",
    equation="(9.5b)",
    left=r"\lVert\Delta\rVert",
    right=r"\lVert[W_1\dots W_H]\rVert_2\left(\sum_h\alpha_h^2D_h^2\right)^{1/2}",
    form="sharp",
    source=OURS,
    assumes=(UNCHANGED_SCORES,),
    family=HEADS,
    sides=lambda w, bound: (
        _head_change(w),
        bound(w.mass, cross_diameter(w.image, w.text), spectral(np.concatenate(list(w.outputs), axis=1))),
    ),
    symbolic=_joint,
    tight=lambda: opposite_values(heads=2),
)
def attention_removal_joint(mass: ArrayLike, diameters: ArrayLike, output_norm: ArrayLike) -> FloatArray:
    """Change of an attention layer's output when image keys are removed, by the whole output matrix.

    Parameters
    ----------
    mass : array (..., H) in [0, 1]
        Weight on image keys of each head.
    diameters : array (..., H), >= 0
        `cross_diameter` of each head.
    output_norm : array (...), >= 0
        Spectral norm of the output projection of all heads together.

    Returns
    -------
    ndarray (...)
        Upper bound on the norm of the change.

    See Also
    --------
    attention_removal_heads : Attention removal (heads).
    attention_removal_averaged : Attention removal (averaged mass).

    Examples
    --------
    Two equal heads with one output matrix of norm 2; the sum over heads would be 0.8:

    >>> import bounds
    >>> print(bounds.attention_removal_joint([0.2, 0.2], [1.0, 1.0], 2.0).round(4))
    0.5657
    """
    a, d = arguments.probability(mass, name="mass"), arguments.nonnegative(diameters, name="diameters")
    w = arguments.nonnegative(output_norm, name="output_norm")
    arguments.same_last_axis(mass=a, diameters=d)
    arguments.together(mass=a, diameters=d, output_norm=w[..., None])
    return arguments.shown(arguments.product(w, norm(arguments.product(a, d))))


@theorem(
    label="Attention removal (averaged mass)",
    equation="(9.5c)",
    left=r"\lVert\Delta\rVert",
    right=r"H\cdot\mathrm{VAR}\cdot\max_h\lVert W_h\rVert_2D_h",
    form="consequence",
    source=OURS,
    assumes=(UNCHANGED_SCORES,),
    family=HEADS,
    sides=lambda w, bound: (
        _head_change(w),
        bound(
            w.mass.mean(),
            len(w.mass),
            (spectral(w.outputs) * cross_diameter(w.image, w.text)).max(),
        ),
    ),
    symbolic=lambda: symbols("mean_mass") * symbols("heads") * symbols("largest"),
    tight=lambda: opposite_values(heads=2),
)
def attention_removal_averaged(mean_mass: ArrayLike, heads: ArrayLike, largest: ArrayLike) -> FloatArray:
    """Change of an attention layer's output when only the head-averaged attention ratio is known.

    Parameters
    ----------
    mean_mass : array in [0, 1]
        Mean over heads of the weight on image keys, for one query.
    heads : array, >= 1
        Number of heads.
    largest : array, >= 0
        Largest product over heads of the output matrix's spectral norm and `cross_diameter`.

    Returns
    -------
    ndarray
        Upper bound on the norm of the change. If the ratio is averaged over
        queries too, only the change averaged over queries is bounded.

    See Also
    --------
    attention_removal_heads : Attention removal (heads).
    attention_removal_joint : Attention removal (joint output matrix).

    Examples
    --------
    A head-averaged ratio of 0.01 may still sit in one of 32 heads:

    >>> import bounds
    >>> print(bounds.attention_removal_averaged(0.01, 32, 1.0).round(4))
    0.32
    """
    a = arguments.probability(mean_mass, name="mean_mass")
    h, m = arguments.count(heads, name="heads", least=1), arguments.nonnegative(largest, name="largest")
    arguments.together(mean_mass=a, heads=h, largest=m)
    return arguments.shown(arguments.product(h, a, m))


def _replaced() -> Expression:
    a, d, b, e = symbols("mass diameter new_mass new_diameter")
    return a * d + b * e


@theorem(
    label="Attention to replaced tokens",
    equation="(9.5d)",
    left=r"\lVert o-o'\rVert",
    right=r"\alpha D_\times+\alpha'D'_\times",
    form="sharp",
    source=OURS,
    assumes=(UNCHANGED_SCORES,),
    family=ONE_HEAD,
    sides=lambda w, bound: (
        norm(w.full - w.replaced),
        bound(
            w.mass,
            cross_diameter(w.image, w.text),
            w.replaced_weights[:, : w.n_image].sum(axis=1),
            cross_diameter(w.new_values, w.text),
        ),
    ),
    symbolic=_replaced,
    tight=opposite_values,
)
def attention_replacement(
    mass: ArrayLike, diameter: ArrayLike, new_mass: ArrayLike, new_diameter: ArrayLike
) -> FloatArray:
    """Change of one head's output when image tokens are replaced, as by late entry: text scores stay.

    Parameters
    ----------
    mass, new_mass : array in [0, 1]
        Weight on image keys before and after.
    diameter, new_diameter : array, >= 0
        `cross_diameter` before and after.

    Returns
    -------
    ndarray
        Upper bound on ||o - o'||.

    See Also
    --------
    attention_removal : Attention removal.
    late_entry_propagation : Late entry.

    Examples
    --------
    The mass before and the mass after both count:

    >>> import bounds
    >>> print(bounds.attention_replacement(0.1, 1.0, 0.05, 1.0).round(4))
    0.15
    """
    a, b = arguments.probability(mass, name="mass"), arguments.probability(new_mass, name="new_mass")
    d = arguments.nonnegative(diameter, name="diameter")
    e = arguments.nonnegative(new_diameter, name="new_diameter")
    arguments.together(mass=a, diameter=d, new_mass=b, new_diameter=e)
    return arguments.shown(arguments.product(a, d) + arguments.product(b, e))
