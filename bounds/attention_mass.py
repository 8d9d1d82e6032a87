"""Section 9.6: what removing or replacing image tokens does to attention, by the mass they carry.

`mass` is alpha, the softmax weight of one query on image keys (its visual attention ratio). Removing those
keys renormalises the softmax exactly, provided the scores of the kept keys stay: keep the position ids.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from bounds import arguments
from bounds.assumptions import OURS
from bounds.attention_worlds import AttentionWorld
from bounds.families import HEADS, ONE_HEAD
from bounds.run_worlds import norm, spectral
from bounds.symbolic import sp, symbols
from bounds.theorem import theorem

FloatArray = NDArray[np.float64]
CHANGE = r"\lVert o-o'\rVert"


def _vectors(values: ArrayLike, *, name: str) -> FloatArray:
    out = arguments.number(values, name=name)
    if out.ndim < 2 or 0 in out.shape[-2:]:
        raise ValueError(f"{name}: expected value vectors (..., tokens, d), got shape {out.shape}")
    return out


def cross_diameter(values_image: ArrayLike, values_text: ArrayLike) -> FloatArray:
    """Largest distance between an image value and a text value, from (..., n, d) and (..., k, d)."""
    image = _vectors(values_image, name="values_image")
    text = _vectors(values_text, name="values_text")
    if image.shape[-1] != text.shape[-1]:
        raise ValueError(f"values_image and values_text: expected one dimension d, got {image.shape} and {text.shape}")
    gaps = image[..., :, None, :] - text[..., None, :, :]
    return arguments.shown(np.sqrt((gaps * gaps).sum(axis=-1)).max(axis=(-2, -1)))


def _opposite(mass: float = 0.3, heads: int = 1) -> AttentionWorld:
    """One image key with value 1, one text key with value -1; several heads are alike and add up."""
    scores = np.log(np.array([[mass, 1.0 - mass]]))
    return AttentionWorld(
        np.repeat(scores, heads, axis=0),
        np.repeat(np.array([[[1.0], [-1.0]]]), heads, axis=0),
        1,
        np.ones((heads, 1, 1)),
        np.full((heads, 1), -50.0),
        np.ones((heads, 1, 1)),
    )


@theorem(
    label="Attention removal (identity)",
    equation="(9.4)",
    left=CHANGE,
    right=r"\alpha\lVert\bar v-\bar\tau\rVert",
    relation="=",
    form="sharp",
    source=OURS,
    assumes=(),
    family=ONE_HEAD,
    sides=lambda w, bound: (
        norm(w.full - w.removed),
        bound(w.mass, (w.weights[:, : w.n_image, None] * w.image).sum(1) / w.mass[:, None], w.removed),
    ),
    symbolic=lambda: symbols("mass") * sp().Abs(symbols("mean_image_0") - symbols("mean_text_0")),
    tight=_opposite,
)
def attention_removal_exact(mass: ArrayLike, mean_image: ArrayLike, mean_text: ArrayLike) -> FloatArray:
    """Change of one head's output when its image keys are removed: alpha ||mean image - mean text||.

    Parameters
    ----------
    mass : array (...) in [0, 1]
        Weight on image keys.
    mean_image, mean_text : array (..., d)
        Attention-weighted means of image and of text values.

    Returns
    -------
    ndarray (...)
        ||o - o'||, exactly; no factor 1 / (1 - alpha). Section 9.6, (9.4).

    Raises
    ------
    ValueError
        For NaN, a mass outside [0, 1], or shapes that do not match.
    """
    a = arguments.probability(mass, name="mass")
    v = arguments.number(mean_image, name="mean_image")
    t = arguments.number(mean_text, name="mean_text")
    arguments.same_last_axis(mean_image=v, mean_text=t)
    arguments.together(mass=a[..., None], mean_image=v, mean_text=t)
    return arguments.shown(a * norm(v - t))


def _diameter() -> Any:
    a = symbols("mass")
    v, t = symbols("values_image_0_0"), symbols("values_text_0_0")
    return a * sp().Abs(v - t)


@theorem(
    label="Attention removal",
    equation="(9.4)",
    left=CHANGE,
    right=r"\alpha\max_{i\in\mathcal I,j\in\mathcal T}\lVert v_i-v_j\rVert",
    form="sharp",
    source=OURS,
    assumes=(),
    family=ONE_HEAD,
    sides=lambda w, bound: (norm(w.full - w.removed), bound(w.mass, w.image, w.text)),
    symbolic=_diameter,
    tight=_opposite,
)
def attention_removal(mass: ArrayLike, values_image: ArrayLike, values_text: ArrayLike) -> FloatArray:
    """Change of one head's output when its image keys are removed, from the value vectors.

    Parameters
    ----------
    mass : array (...) in [0, 1]
        Weight on image keys, alpha.
    values_image : array (..., n, d)
        Value vectors of the image tokens.
    values_text : array (..., k, d)
        Value vectors of the text tokens that stay.

    Returns
    -------
    ndarray (...)
        alpha times the largest distance between an image and a text value. Section 9.6, (9.4).

    Raises
    ------
    ValueError
        For NaN, a mass outside [0, 1], no token, or shapes that do not match.
    """
    a = arguments.probability(mass, name="mass")
    largest = cross_diameter(values_image, values_text)
    arguments.together(mass=a, values=largest)
    return arguments.shown(a * largest)


@theorem(
    label="Attention removal (norms)",
    equation="(9.4), last step",
    left=CHANGE,
    form="sharp",
    source=OURS,
    assumes=(),
    family=ONE_HEAD,
    sides=lambda w, bound: (norm(w.full - w.removed), bound(w.mass, norm(w.values).max(axis=1))),
    symbolic=lambda: 2 * symbols("mass") * symbols("largest"),
    tight=_opposite,
)
def attention_removal_from_norm(mass: ArrayLike, largest: ArrayLike) -> FloatArray:
    """Change of one head's output when its image keys are removed: 2 alpha max ||v||.

    Parameters
    ----------
    mass : array in [0, 1]
        Weight on image keys, alpha.
    largest : array, >= 0
        Largest norm of a value vector.

    Returns
    -------
    ndarray
        Upper limit of ||o - o'||. Section 9.6, (9.4).

    Raises
    ------
    ValueError
        For NaN, numbers outside these ranges, or shapes that do not broadcast.
    """
    a, m = arguments.probability(mass, name="mass"), arguments.nonnegative(largest, name="largest")
    arguments.together(mass=a, largest=m)
    return arguments.shown(2.0 * a * m)


@theorem(
    label="Attention zeroing",
    equation="(9.4')",
    left=r"\lVert o-o''\rVert",
    form="sharp",
    source=OURS,
    assumes=(),
    family=ONE_HEAD,
    sides=lambda w, bound: (norm(w.full - w.zeroed), bound(w.mass, norm(w.image).max(axis=1))),
    symbolic=lambda: symbols("mass") * symbols("largest_image"),
    tight=_opposite,
)
def attention_zeroing(mass: ArrayLike, largest_image: ArrayLike) -> FloatArray:
    """Change of one head's output when image weights are set to zero without renormalising.

    Parameters
    ----------
    mass : array in [0, 1]
        Weight on image keys, alpha.
    largest_image : array, >= 0
        Largest norm of an image value vector.

    Returns
    -------
    ndarray
        alpha times that norm. Section 9.6.

    Raises
    ------
    ValueError
        For NaN, numbers outside these ranges, or shapes that do not broadcast.
    """
    a = arguments.probability(mass, name="mass")
    m = arguments.nonnegative(largest_image, name="largest_image")
    arguments.together(mass=a, largest_image=m)
    return arguments.shown(a * m)


def _head_change(w: AttentionWorld) -> FloatArray:
    return norm(np.einsum("hkd,hd->k", w.outputs, w.full - w.removed))


def _per_head() -> Any:
    a, d, w = symbols("mass_0:3"), symbols("diameters_0:3"), symbols("output_norms_0:3")
    return sum(a[i] * d[i] * w[i] for i in range(3))


@theorem(
    label="Attention removal (heads)",
    equation="(9.5a)",
    left=r"\lVert\Delta\rVert",
    right=r"\sum_h\lVert W_h\rVert_2\,\alpha_hD_h",
    form="sharp",
    source=OURS,
    assumes=(),
    family=HEADS,
    sides=lambda w, bound: (
        _head_change(w),
        bound(w.mass, cross_diameter(w.image, w.text), spectral(w.outputs)),
    ),
    symbolic=_per_head,
    tight=lambda: _opposite(heads=2),
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
        Upper limit of the norm of the change. Section 9.6.

    Raises
    ------
    ValueError
        For NaN, numbers outside these ranges, or shapes that do not match.
    """
    a, d = arguments.probability(mass, name="mass"), arguments.nonnegative(diameters, name="diameters")
    w = arguments.nonnegative(output_norms, name="output_norms")
    arguments.same_last_axis(mass=a, diameters=d, output_norms=w)
    arguments.together(mass=a, diameters=d, output_norms=w)
    return arguments.shown((w * a * d).sum(axis=-1))


def _joint() -> Any:
    a, d = symbols("mass_0:3"), symbols("diameters_0:3")
    return symbols("output_norm") * sp().sqrt(sum((a[i] * d[i]) ** 2 for i in range(3)))


@theorem(
    label="Attention removal (joint output matrix)",
    equation="(9.5b)",
    left=r"\lVert\Delta\rVert",
    right=r"\lVert[W_1\dots W_H]\rVert_2\left(\sum_h\alpha_h^2D_h^2\right)^{1/2}",
    form="sharp",
    source=OURS,
    assumes=(),
    family=HEADS,
    sides=lambda w, bound: (
        _head_change(w),
        bound(w.mass, cross_diameter(w.image, w.text), spectral(np.concatenate(list(w.outputs), axis=1))),
    ),
    symbolic=_joint,
    tight=lambda: _opposite(heads=2),
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
        Upper limit of the norm of the change. Section 9.6.

    Raises
    ------
    ValueError
        For NaN, numbers outside these ranges, or shapes that do not match.
    """
    a, d = arguments.probability(mass, name="mass"), arguments.nonnegative(diameters, name="diameters")
    w = arguments.nonnegative(output_norm, name="output_norm")
    arguments.same_last_axis(mass=a, diameters=d)
    arguments.together(mass=a, diameters=d, output_norm=w[..., None])
    return arguments.shown(w * norm(a * d))


@theorem(
    label="Attention removal (averaged mass)",
    equation="(9.5c)",
    left=r"\lVert\Delta\rVert",
    right=r"H\cdot\mathrm{VAR}\cdot\max_h\lVert W_h\rVert_2D_h",
    form="consequence",
    source=OURS,
    assumes=(),
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
    tight=lambda: _opposite(heads=2),
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
        Upper limit of the norm of the change. A ratio averaged over queries bounds its average only.
        Section 9.6.

    Raises
    ------
    ValueError
        For NaN, numbers outside these ranges, or shapes that do not broadcast.
    """
    a = arguments.probability(mean_mass, name="mean_mass")
    h, m = arguments.count(heads, name="heads", least=1), arguments.nonnegative(largest, name="largest")
    arguments.together(mean_mass=a, heads=h, largest=m)
    return arguments.shown(h * a * m)


def _replaced() -> Any:
    a, d, b, e = symbols("mass diameter new_mass new_diameter")
    return a * d + b * e


@theorem(
    label="Attention to replaced tokens",
    equation="(9.5d)",
    left=r"\lVert o-o'\rVert",
    right=r"\alpha D_\times+\alpha'D'_\times",
    form="sharp",
    source=OURS,
    assumes=(),
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
    tight=_opposite,
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
        Upper limit of ||o - o'||. Section 9.6.

    Raises
    ------
    ValueError
        For NaN, numbers outside these ranges, or shapes that do not broadcast.
    """
    a, b = arguments.probability(mass, name="mass"), arguments.probability(new_mass, name="new_mass")
    d = arguments.nonnegative(diameter, name="diameter")
    e = arguments.nonnegative(new_diameter, name="new_diameter")
    arguments.together(mass=a, diameter=d, new_mass=b, new_diameter=e)
    return arguments.shown(a * d + b * e)
