"""Composition of Theorems 3 and 5: from proximal to functional redundancy through Fano's entropy."""

from __future__ import annotations

from dataclasses import replace

from numpy.typing import ArrayLike

from bounds.framework import arguments
from bounds.framework.assumptions import BOUNDED_TARGET, CODEBOOK, LABEL_CHAIN, OURS
from bounds.framework.symbolic import Expression, h2, sp, symbols
from bounds.framework.theorem import Evaluate, Sides, theorem
from bounds.theorems.theorem_3_fano import fano_monotone
from bounds.theorems.theorem_5_informational import functional_from_entropy
from bounds.worlds import gallery
from bounds.worlds.families import CODES_AND_LABEL
from bounds.worlds.finite import FiniteWorld
from redundancy.array_types import FloatArray


def _route() -> Expression:
    p, size, low, high, b = symbols("p_far_upper size n_min n_max radius")
    s = sp()
    q = s.Min(p, (size - low) / (size - low + high))
    entropy = s.Min(s.log(size), h2(q) + q * s.log(size - low) + (1 - q) * s.log(high))
    return b**2 * s.Min(1, entropy / s.log(2))


def _sides(w: FiniteWorld, bound: Evaluate) -> Sides:
    counts = (~w.far).sum(axis=0)[w.y > 0]
    upper = bound(min(1.0, w.p_far + 0.01), len(w.x_points), counts.min(), counts.max(), w.radius)
    return [-w.gap, w.gap], [upper, 0.0]


@theorem(
    label="Pipeline (proximal, informational, functional)",
    equation="(8.8)",
    left=r"0\le\mathrm{mmse}(T\mid Y)-\mathrm{mmse}(T\mid X)",
    right=r"B^2\min\left\lbrace1,\ \bar F(\bar p)/\log2\right\rbrace",
    form="consequence",
    source=OURS,
    assumes=(LABEL_CHAIN, CODEBOOK, BOUNDED_TARGET),
    family=CODES_AND_LABEL,
    sides=_sides,
    symbolic=_route,
    # One ball holds both codewords: Fano gives log 2, and a fair bit loses all of B^2.
    tight=lambda: replace(gallery.binary_channel(0.0), threshold=2.0),
)
def functional_from_fano(
    p_far_upper: ArrayLike, size: ArrayLike, n_min: ArrayLike, n_max: ArrayLike, radius: ArrayLike
) -> FloatArray:
    """The functional gap under T - X - Y from an upper bound on P(d > t) on a fixed codebook.

    Parameters
    ----------
    p_far_upper, size, n_min, n_max : array
        As in `fano_monotone`.
    radius : array, >= 0
        B with ||T - c|| <= B.

    Returns
    -------
    ndarray
        Upper bound on mmse(T | Y) - mmse(T | X), at most B^2. `functional_from_decoding`
        is smaller when every ball holds one codeword.

    Raises
    ------
    ValueError
        Unless n_min <= n_max <= size.

    See Also
    --------
    fano_monotone : Theorem 3 (monotone).
    functional_from_entropy : Theorem 5 (entropy).
    functional_from_decoding : Theorem 6 (decoding).

    Examples
    --------
    Large codebooks cost, although every ball holds one codeword:

    >>> import bounds
    >>> print(bounds.functional_from_fano(0.028, [100, 10_000], 1, 1, 1.0).round(4))
    [0.3699 0.5563]
    """
    entropy = fano_monotone(p_far_upper, size, n_min, n_max)
    b = arguments.nonnegative(radius, name="radius")
    arguments.together(codebook=entropy, radius=b)
    return functional_from_entropy(entropy, b)
