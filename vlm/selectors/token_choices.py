"""Rules that choose image tokens from features of one image or prompt: random, grid, DivPrune, DART, HoloV, ..."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike

from redundancy.array_types import BoolArray, FloatArray
from vlm.plans.plan import SkipPlan

Ordinals = tuple[int, ...]
# VisionZip's released budgets give 10 of 64 tokens to the context.
CONTEXT_SHARE = 10 / 64


def keep_plan(tokens: Sequence[int], count: int, *, layer: int = 0) -> SkipPlan:
    """The plan that keeps these of `count` image tokens from a layer on; the empty plan if that is all of them.

    Parameters
    ----------
    tokens : sequence of int
        Ordinals.
    count : int
        Number of image tokens of the prompt.
    layer : int
        First layer without the others.

    Returns
    -------
    SkipPlan

    See Also
    --------
    vlm.selectors.divprune_tokens, vlm.selectors.random_tokens : Choose tokens.

    References
    ----------
    Chen et al. (2024), *An image is worth 1/2 tokens after layer 2*, arXiv:2403.06764.

    Examples
    --------
    >>> from vlm import selectors
    >>> str(selectors.keep_plan([5, 1, 2], 9))
    'keep:0-=1-3+5'
    """
    return SkipPlan() if len(set(tokens)) == count else SkipPlan.keep(layer, None, sorted(tokens))


def random_tokens(count: int, keep: int, *, rng: np.random.Generator | int | None = None) -> Ordinals:
    """The control: `keep` of `count` image tokens, each set equally likely. O(count).

    Parameters
    ----------
    count, keep : int
        Numbers of image tokens.
    rng : Generator, int or None
        As in `numpy.random.default_rng`.

    Returns
    -------
    tuple of int
        Ordinals in increasing order.

    See Also
    --------
    vlm.selectors.grid_tokens : The control without chance.

    References
    ----------
    Alvar et al. (2025), *DivPrune: diversity-based visual token pruning for large multimodal models*,
    arXiv:2503.02175, which compares with random tokens.

    Examples
    --------
    >>> from vlm import selectors
    >>> selectors.random_tokens(9, 3, rng=0)
    (4, 5, 7)
    """
    _check(count, keep)
    return _sorted(np.random.default_rng(rng).choice(count, size=keep, replace=False))


def grid_tokens(count: int, keep: int) -> Ordinals:
    """The control: `keep` image tokens evenly spaced in their order, the middles of equal parts. O(keep).

    Parameters
    ----------
    count, keep : int
        Numbers of image tokens.

    Returns
    -------
    tuple of int
        Ordinals :math:`\\lfloor (2 i + 1) N / (2 n) \\rfloor`, i = 0 .. n - 1.

    See Also
    --------
    vlm.selectors.random_tokens : The control by chance.

    References
    ----------
    Alvar et al. (2025), *DivPrune: diversity-based visual token pruning for large multimodal models*,
    arXiv:2503.02175, which compares with random tokens.

    Examples
    --------
    >>> from vlm import selectors
    >>> selectors.grid_tokens(9, 3)
    (1, 4, 7)
    """
    _check(count, keep)
    return tuple((2 * i + 1) * count // (2 * keep) for i in range(keep))


def divprune_tokens(tokens: ArrayLike, keep: int) -> Ordinals:
    r"""DivPrune: image tokens that are far from each other, by greedy max-min of cosine distances.

    The first token is the one whose nearest other token is farthest; each next one is the farthest from those chosen.
    Equal distances go to the earlier token. O(N^2 D + N n).

    Parameters
    ----------
    tokens : (N, D)
        Projected image tokens of one image.
    keep : int
        Number n of tokens; the authors keep 0.098 of them.

    Returns
    -------
    tuple of int
        Ordinals in increasing order.

    See Also
    --------
    vlm.selectors.cdpruner_tokens : Weighs by relevance as well.

    Notes
    -----
    :math:`\arg\max_{j \notin S} \min_{i \in S} (1 - \cos(x_i, x_j))`.

    References
    ----------
    Alvar et al. (2025), *DivPrune: diversity-based visual token pruning for large multimodal models*,
    arXiv:2503.02175; rule as in github.com/vbdi/divprune.

    Examples
    --------
    >>> from vlm import selectors
    >>> selectors.divprune_tokens([[1, 0], [1, 0.1], [0, 1], [-1, 0]], 2)
    (0, 3)
    """
    x = unit_rows(tokens)
    _check(len(x), keep)
    apart = 1 - x @ x.T
    if keep == 0:
        return ()
    others = apart + np.where(np.eye(len(x), dtype=bool), np.inf, 0.0)
    chosen = [int(np.argmax(others.min(axis=1))) if len(x) > 1 else 0]
    nearest = apart[chosen[0]].copy()
    while len(chosen) < keep:
        nearest[chosen] = -np.inf
        chosen.append(int(np.argmax(nearest)))
        nearest = np.minimum(nearest, apart[chosen[-1]])
    return _sorted(chosen)


def dart_tokens(
    states: ArrayLike, keys: ArrayLike, image: ArrayLike, keep: int, *, image_pivots: int = 4, text_pivots: int = 4
) -> Ordinals:
    r"""DART: image tokens that duplicate a few pivots least.

    Pivots are the image tokens and the text tokens after them whose keys have the largest L1 norm. In order of their
    places, each pivot adds the remaining image tokens that are least similar to it, equally many, so that at most n are
    chosen. The authors leave it at that; here those missing up to n are the ones with the largest norm. Equal values go
    to the earlier token. O(pivots N D).

    Parameters
    ----------
    states : (tokens, D)
        States of the prompt's tokens that enter layer K, after the model's final norm.
    keys : (tokens, heads * d)
        Their keys in layer K - 1, all key heads.
    image : bool (tokens,)
        Which of them are image tokens.
    keep : int
        Number n of image tokens.
    image_pivots, text_pivots : int
        The authors use 4 and 4, with K = 2.

    Returns
    -------
    tuple of int
        Ordinals among the image tokens, in increasing order.

    See Also
    --------
    vlm.selectors.fastv_plan : Ranks by attention instead.

    Notes
    -----
    Pivots: :math:`\mathrm{top}_j \lVert k_j \rVert_1`; each of all p + q adds :math:`\lfloor (n - p) / (p + q) \rfloor`
    tokens by :math:`\arg\min_j \cos(x_p, x_j)`, with p image and q text pivots.

    References
    ----------
    Wen et al. (2025), *Stop looking for important tokens in multimodal language models: duplication matters more*,
    arXiv:2502.11494; rule as in ports of github.com/ZichenWen1/DART.

    Examples
    --------
    >>> import numpy as np
    >>> from vlm import selectors
    >>> states = np.array([[1, 0], [1, 0.1], [0, 1], [1, 0.2], [1, 1]])
    >>> shown = [True, True, True, True, False]
    >>> selectors.dart_tokens(states, np.abs(states), shown, 3, image_pivots=1, text_pivots=1)
    (0, 2, 3)
    """
    x, norms = unit_rows(states, name="states"), np.abs(finite(keys, name="keys")).sum(axis=1)
    shown: BoolArray = np.asarray(image, dtype=bool)
    places = np.flatnonzero(shown)
    _check(len(places), keep)
    if keep == 0:
        return ()
    after = np.arange(places[-1] + 1, len(x))
    own = places[_highest(norms[places], min(image_pivots, keep))]
    pivots = sorted([*own.tolist(), *after[_highest(norms[after], min(text_pivots, len(after)))].tolist()])
    chosen = set(own.tolist())
    each = (keep - len(own)) // max(1, image_pivots + text_pivots)
    for pivot in pivots:
        left = np.array([j for j in places if j not in chosen], dtype=np.int64)
        number = min(each, keep - len(chosen), len(left))
        if number > 0:
            chosen |= set(left[_highest(-(x[left] @ x[pivot]), number)].tolist())
    left = np.array([j for j in places if j not in chosen], dtype=np.int64)
    if len(chosen) < keep:
        sizes = np.linalg.norm(np.asarray(states, dtype=np.float64)[left], axis=1)
        chosen |= set(left[_highest(sizes, keep - len(chosen))].tolist())
    return _sorted(np.searchsorted(places, sorted(chosen)))


def holov_tokens(tokens: ArrayLike, attention: ArrayLike, keep: int, *, crops: int = 16) -> Ordinals:
    r"""HoloV: image tokens spread over crops, each crop's share by its attention and its variety.

    The tokens are cut into consecutive crops. A crop's weight is the mean score of its tokens; crops get the whole
    parts of their shares of n, and the crops with the largest weights one more each. Within a crop the highest
    attention counts. Where a crop is smaller than its share, the authors fill up with zero vectors; here the places go
    to the highest attention that is left, so that n tokens are kept. O(N^2 D / crops).

    Parameters
    ----------
    tokens : (N, D)
        Projected image tokens of one image.
    attention : (N,)
        Attention of the encoder's class token to them, mean over heads.
    keep : int
        Number n of tokens.
    crops : int
        The authors use 16.

    Returns
    -------
    tuple of int
        Ordinals in increasing order.

    See Also
    --------
    vlm.selectors.visionzip_tokens : Without crops.

    Notes
    -----
    :math:`s_j = 1000 a_j + 0.09 v_j \overline{1000 a} / \bar v`, with the variance :math:`v_j` of token j's cosines to
    the others in its crop.

    References
    ----------
    Zou et al. (2025), *Don't just chase "highlighted tokens" in MLLMs: revisiting visual holistic context retention*,
    arXiv:2510.02912; rule as in github.com/obananas/HoloV.

    Examples
    --------
    >>> from vlm import selectors
    >>> selectors.holov_tokens([[1, 0], [0, 1], [1, 0], [1, 1]], [0.1, 0.2, 0.3, 0.1], 2, crops=2)
    (2, 3)
    """
    x, weight = finite(tokens, name="tokens"), finite(attention, name="attention")
    _check(len(x), keep)
    parts = [part for part in np.array_split(np.arange(len(x)), crops) if len(part)]
    values = np.array([_crop_weight(x[part], weight[part]) for part in parts])
    shares = values / (values.sum() + 1e-6)
    quota = np.floor(shares * keep).astype(np.int64)
    quota[_highest(shares, min(max(0, keep - int(quota.sum())), len(parts)))] += 1
    chosen = [int(j) for part, n in zip(parts, quota, strict=True) for j in part[_highest(weight[part], int(n))]][:keep]
    left = np.setdiff1d(np.arange(len(x)), chosen)
    return _sorted([*chosen, *left[_highest(weight[left], keep - len(chosen))].tolist()])


def visionzip_tokens(attention: ArrayLike, keep: int, *, context: float = CONTEXT_SHARE) -> Ordinals:
    """VisionZip's choice: the image tokens that the encoder's class token reads most, and some evenly spaced others.

    The authors join every other token to the most similar evenly spaced one; here the choice alone is theirs. Their
    class token, which enters the decoder as well, is left out. O(N log N).

    Parameters
    ----------
    attention : (N,)
        Attention of the class token, sum or mean over heads, in the encoder layer that makes the features.
    keep : int
        Number of tokens.
    context : float
        Share of them that is evenly spaced; the authors use 10 of 64.

    Returns
    -------
    tuple of int
        Ordinals in increasing order.

    See Also
    --------
    vlm.selectors.token_features : Measures the attention.

    References
    ----------
    Yang et al. (2024), *VisionZip: longer is better but not necessary in vision language models*, arXiv:2412.04467;
    rule as in github.com/dvlab-research/VisionZip.

    Examples
    --------
    >>> from vlm import selectors
    >>> selectors.visionzip_tokens([0.1, 0.4, 0.1, 0.1, 0.3, 0.1], 4, context=0.5)
    (0, 1, 3, 4)
    """
    weight = finite(attention, name="attention")
    _check(len(weight), keep)
    spaced = min(round(context * keep), len(weight))
    dominant = _highest(weight, keep - spaced)
    rest = np.setdiff1d(np.arange(len(weight)), dominant)
    step = max(1, len(rest) // spaced) if spaced else 1
    return _sorted([*dominant.tolist(), *rest[::step][:spaced].tolist()])


def cdpruner_tokens(tokens: ArrayLike, relevance: ArrayLike, keep: int) -> Ordinals:
    r"""CDPruner: image tokens that are relevant to the instruction and unlike each other.

    Greedy maximum of the determinant of the chosen tokens' kernel. The relevance comes from the text tower that was
    trained with the vision encoder, which LLaVA checkpoints do not contain: give it, scaled to [0, 1]. Equal gains go
    to the earlier token. O(N n^2 + N^2 D).

    Parameters
    ----------
    tokens : (N, D)
        Projected image tokens of one image.
    relevance : (N,)
        Non-negative.
    keep : int
        Number n of tokens.

    Returns
    -------
    tuple of int
        Ordinals in increasing order.

    See Also
    --------
    vlm.selectors.divprune_tokens : Without relevance.

    Notes
    -----
    Kernel :math:`L = \mathrm{diag}(r) S \mathrm{diag}(r)` with cosines S; each step adds
    :math:`\arg\max_j \det L_{S \cup j}`.

    References
    ----------
    Zhang et al. (2025), *Beyond attention or similarity: maximizing conditional diversity for token pruning in MLLMs*,
    arXiv:2506.10967; greedy steps of Chen et al. (2018), arXiv:1709.05135.

    Examples
    --------
    >>> from vlm import selectors
    >>> selectors.cdpruner_tokens([[1, 0], [1, 0.1], [0, 1]], [1.0, 0.9, 0.5], 2)
    (0, 2)
    """
    x, r = unit_rows(tokens), np.asarray(relevance, dtype=np.float64)
    _check(len(x), keep)
    if len(r) != len(x) or not (np.isfinite(r).all() and (r >= 0).all()):
        raise ValueError(f"relevance: expected {len(x)} finite numbers >= 0, one per image token")
    kernel = r[:, None] * (x @ x.T) * r[None, :]
    gain = np.diag(kernel).copy()
    chosen: list[int] = []
    rows = np.zeros((keep, len(x)))
    for step in range(keep):
        free = gain.copy()
        free[chosen] = -np.inf
        best = int(np.argmax(free))
        chosen.append(best)
        if gain[best] > 1e-12:
            rows[step] = (kernel[best] - rows[:step, best] @ rows[:step]) / np.sqrt(gain[best])
            gain = gain - rows[step] ** 2
    return _sorted(chosen)


def _crop_weight(tokens: FloatArray, attention: FloatArray) -> float:
    n = len(tokens)
    if n == 1:
        return float(attention.mean())
    x = tokens / (np.linalg.norm(tokens, axis=1, keepdims=True) + 1e-6)
    alike = x @ x.T * (1 - np.eye(n))
    mean = alike.sum(axis=1) / (n - 1)
    variance = ((alike - mean[:, None]) ** 2).sum(axis=1) / (n - 1)
    scaled = 1000 * attention
    return float((scaled + 0.09 * variance * np.abs(scaled).mean() / (np.abs(variance).mean() + 1e-6)).mean())


def unit_rows(values: ArrayLike, *, name: str = "tokens") -> FloatArray:
    """Rows of length 1; a row of zeros stays, and has cosine 0 to all."""
    x = finite(values, name=name)
    return np.asarray(x / np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-12))


def finite(values: ArrayLike, *, name: str) -> FloatArray:
    """Values as float64.

    Raises
    ------
    ValueError
        Some are not finite: an order of them would mean nothing.
    """
    x = np.asarray(values, dtype=np.float64)
    if not np.isfinite(x).all():
        raise ValueError(
            f"{name}: expected finite numbers, got {int((~np.isfinite(x)).sum())} others of {x.size}; measure prompts "
            "with an image, without a plan, in a type whose states do not overflow"
        )
    return x


def _highest(values: FloatArray, number: int) -> np.ndarray:
    """Indices of the highest values, highest first; ties go to the smaller index."""
    return np.argsort(-values, kind="stable")[: max(0, number)]


def _sorted(tokens: Sequence[int] | np.ndarray) -> Ordinals:
    return tuple(sorted(int(j) for j in tokens))


def _check(count: int, keep: int) -> None:
    if not 0 <= keep <= count:
        raise ValueError(f"keep: expected 0 to {count} image tokens, got {keep}")
