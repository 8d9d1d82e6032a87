"""Rules that do not depend on the data: DeepInsert's fixed insertion layer, and a random order as the control."""

from __future__ import annotations

import numpy as np

from redundancy.array_types import FloatArray
from vlm.plans.plan import SkipPlan
from vlm.selectors.gamma_mod import without_vision
from vlm.selectors.ranking import Ranking, Units, by_layer
from vlm.selectors.vtw_shortv import LLAMA_DEPTH


def late_insertion(depth: int) -> Ranking:
    """DeepInsert: image tokens enter at a layer set by hand, so the first layers are skipped first.

    The layer score is the layer's number. The authors' models are stable up to an insertion at layer 8 of 32; they
    are trained with the insertion, here nothing is trained.

    Parameters
    ----------
    depth : int
        Number of decoder layers.

    Returns
    -------
    Ranking

    See Also
    --------
    vlm.SkipPlan.late_entry : The plan it builds.

    References
    ----------
    Choraria et al. (2025), *DeepInsert: Early Layer Bypass for Efficient and Performant Multimodal Understanding*,
    arXiv:2504.19327.

    Examples
    --------
    >>> from vlm import selectors
    >>> ranking = selectors.late_insertion(32)
    >>> ranking
    Ranking(DeepInsert: insert image tokens late, 1 samples, 32 units)
    >>> str(ranking.plan())
    'vision:0-8'
    """

    def build(units: Units) -> SkipPlan:
        return SkipPlan.late_entry(len(units))

    def first(_: FloatArray, number: int) -> Units:
        return tuple(range(number))

    scores = np.arange(depth, dtype=np.float64)[None]
    return Ranking(
        "DeepInsert", "insert image tokens late", scores, scores, depth, first, build, round(8 * depth / LLAMA_DEPTH)
    )


def random_order(depth: int, *, rng: np.random.Generator | int | None = None) -> Ranking:
    """The control: image tokens bypass layers in a random order.

    Parameters
    ----------
    depth : int
        Number of decoder layers.
    rng : Generator, int or None
        As in `numpy.random.default_rng`.

    Returns
    -------
    Ranking

    See Also
    --------
    vlm.selectors.late_insertion : A second rule that does not depend on the data.

    References
    ----------
    Choraria et al. (2025), *DeepInsert: early layer bypass for efficient and performant multimodal understanding*,
    arXiv:2504.19327.

    Examples
    --------
    >>> from vlm import selectors
    >>> selectors.random_order(8, rng=0).order
    (5, 6, 0, 2, 1, 4, 3, 7)
    """
    scores = np.random.default_rng(rng).permutation(depth).astype(np.float64)[None]
    return by_layer("random", "remove image tokens", scores, without_vision, usual=0.5)
