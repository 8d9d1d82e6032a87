"""Removing or replacing image tokens in attention: the change by their attention mass (theory, section 9.6).

`mass` is alpha, the softmax weight of one query on image keys (its visual attention ratio). Removing those
keys renormalises the softmax exactly, provided that the scores of the remaining keys do not change: keep their
position ids.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

from bounds.framework import arguments
from bounds.framework.assumptions import OURS, UNCHANGED_SCORES
from bounds.framework.symbolic import Expression, sp, symbols
from bounds.framework.theorem import theorem
from bounds.worlds.attention import AttentionWorld
from bounds.worlds.network_families import ONE_HEAD
from bounds.worlds.networks import norm
from redundancy.array_types import FloatArray

CHANGE = r"\lVert o-o'\rVert"


def _vectors(values: ArrayLike, *, name: str) -> FloatArray:
    out = arguments.number(values, name=name)
    if out.ndim < 2 or 0 in out.shape[-2:]:
        raise ValueError(f"{name}: expected value vectors (..., tokens, d), got shape {out.shape}")
    return out


def cross_diameter(values_image: ArrayLike, values_text: ArrayLike) -> FloatArray:
    """Largest distance between the value vector of an image token and that of a text token.

    Parameters
    ----------
    values_image : array (..., n, d)
        Value vectors of the image tokens.
    values_text : array (..., k, d)
        Value vectors of the text tokens.

    Returns
    -------
    ndarray (...)
        Maximum over all pairs of the Euclidean distance.

    Raises
    ------
    ValueError
        If there is no token, or if the dimensions differ.

    See Also
    --------
    attention_removal : Attention removal, which multiplies it by the attention mass.
    attention_removal_heads : Attention removal (heads), which needs it for every head.

    References
    ----------
    Theory, section 9.6 (docs/explanation/theory).

    Examples
    --------
    >>> import bounds
    >>> print(bounds.cross_diameter([[1.0, 0.0], [0.0, 2.0]], [[0.0, 0.0]]))
    2.0
    """
    image = _vectors(values_image, name="values_image")
    text = _vectors(values_text, name="values_text")
    if image.shape[-1] != text.shape[-1]:
        raise ValueError(f"values_image and values_text: expected one dimension d, got {image.shape} and {text.shape}")
    gaps = image[..., :, None, :] - text[..., None, :, :]
    return arguments.shown(np.sqrt((gaps * gaps).sum(axis=-1)).max(axis=(-2, -1)))


def opposite_values(mass: float = 0.3, heads: int = 1) -> AttentionWorld:
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
    assumes=(UNCHANGED_SCORES,),
    family=ONE_HEAD,
    sides=lambda w, bound: (
        norm(w.full - w.removed),
        bound(w.mass, (w.weights[:, : w.n_image, None] * w.image).sum(1) / w.mass[:, None], w.removed),
    ),
    symbolic=lambda: symbols("mass") * sp().Abs(symbols("mean_image_0") - symbols("mean_text_0")),
    tight=opposite_values,
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
        ||o - o'||, exactly; no factor 1 / (1 - alpha).

    See Also
    --------
    attention_removal : Attention removal.
    attention_removal_from_norm : Attention removal (norms).

    Examples
    --------
    10 % of the mass on an image mean opposite to the text mean:

    >>> import bounds
    >>> print(bounds.attention_removal_exact(0.1, [1.0, 0.0], [-1.0, 0.0]).round(4))
    0.2
    """
    a = arguments.probability(mass, name="mass")
    v = arguments.number(mean_image, name="mean_image")
    t = arguments.number(mean_text, name="mean_text")
    arguments.same_last_axis(mean_image=v, mean_text=t)
    arguments.together(mass=a[..., None], mean_image=v, mean_text=t)
    return arguments.shown(a * norm(v - t))


def _diameter() -> Expression:
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
    assumes=(UNCHANGED_SCORES,),
    family=ONE_HEAD,
    sides=lambda w, bound: (norm(w.full - w.removed), bound(w.mass, w.image, w.text)),
    symbolic=_diameter,
    tight=opposite_values,
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
        alpha times the largest distance between an image and a text value.

    See Also
    --------
    attention_removal_exact : Attention removal (identity).
    attention_removal_from_norm : Attention removal (norms).
    attention_removal_heads : Attention removal (heads).
    cross_diameter : Largest distance between an image and a text value.

    Examples
    --------
    Two image values and one text value in the plane:

    >>> import bounds
    >>> print(bounds.attention_removal(0.1, [[1.0, 0.0], [0.0, 1.0]], [[0.0, 0.0]]).round(4))
    0.1
    """
    a = arguments.probability(mass, name="mass")
    largest = cross_diameter(values_image, values_text)
    arguments.together(mass=a, values=largest)
    return arguments.shown(a * largest)


@theorem(
    label="Attention removal (norms)",
    equation="(9.4), last step",
    left=CHANGE,
    right=r"2\alpha M,\quad M=\max_i\lVert v_i\rVert",
    form="sharp",
    source=OURS,
    assumes=(UNCHANGED_SCORES,),
    family=ONE_HEAD,
    sides=lambda w, bound: (norm(w.full - w.removed), bound(w.mass, norm(w.values).max(axis=1))),
    symbolic=lambda: 2 * symbols("mass") * symbols("largest"),
    tight=opposite_values,
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
        Upper bound on ||o - o'||.

    See Also
    --------
    attention_removal : Attention removal.
    attention_zeroing : Attention zeroing.

    Examples
    --------
    Norms ignore how close the values are to each other; the example of `attention_removal` gives half of this:

    >>> import bounds
    >>> print(bounds.attention_removal_from_norm(0.1, 1.0).round(4))
    0.2
    """
    a, m = arguments.probability(mass, name="mass"), arguments.nonnegative(largest, name="largest")
    arguments.together(mass=a, largest=m)
    return arguments.shown(arguments.product(2.0, a, m))


@theorem(
    label="Attention zeroing",
    equation="(9.4')",
    left=r"\lVert o-o''\rVert",
    right=r"\alpha\max_{i\in\mathcal I}\lVert v_i\rVert",
    form="sharp",
    source=OURS,
    assumes=(UNCHANGED_SCORES,),
    family=ONE_HEAD,
    sides=lambda w, bound: (norm(w.full - w.zeroed), bound(w.mass, norm(w.image).max(axis=1))),
    symbolic=lambda: symbols("mass") * symbols("largest_image"),
    tight=opposite_values,
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
        alpha times that norm.

    See Also
    --------
    attention_removal : Attention removal.
    attention_removal_from_norm : Attention removal (norms).

    Examples
    --------
    Setting weights to zero moves the output by at most alpha times the largest image value:

    >>> import bounds
    >>> print(bounds.attention_zeroing(0.1, 1.0).round(4))
    0.1
    """
    a = arguments.probability(mass, name="mass")
    m = arguments.nonnegative(largest_image, name="largest_image")
    arguments.together(mass=a, largest_image=m)
    return arguments.shown(arguments.product(a, m))
