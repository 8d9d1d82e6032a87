"""PruMerge, VisionZip and VScan with their merging: image tokens that are sums of encoder features or of each other."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from redundancy.array_types import FloatArray
from vlm.plans.plan import SkipPlan
from vlm.plans.ranges import EVERYTHING
from vlm.plans.text_form import FEATURES, Merge, Terms
from vlm.selectors.image_features import ImageFeatures
from vlm.selectors.prumerge import outlier_count, prumerge_plus_plan
from vlm.selectors.token_choices import CONTEXT_SHARE, finite, unit_rows

# PruMerge's neighbours and VScan's window side on a grid of 24 x 24 patches.
_NEIGHBOURS, _PATCHES = 32, 576
_WINDOW, _SIDE = 6, 24


def prumerge_merged_plan(
    seen: ImageFeatures, keep: int | None = None, *, plus: bool = False, neighbours: int | None = None
) -> SkipPlan:
    r"""PruMerge on one image as its authors run it: merging, one more token for all dropped, their layout.

    Kept are the outliers of the class attention in the order of their scores; with `plus`, then a regular grid. Each
    adds the attention-weighted sum of the features with the nearest keys among all others, kept or not. A last token is
    the attention-weighted sum of all that are dropped. Positions are consecutive. O(n N C).

    Parameters
    ----------
    seen : ImageFeatures
        Of the image.
    keep : int, optional
        Tokens kept by attention, by default the outliers; with `plus` the grid comes on top, about four times as many.
    plus : bool
        PruMerge+, the released default.
    neighbours : int, optional
        The authors add 32 of 576; by default as many in proportion.

    Returns
    -------
    SkipPlan

    Raises
    ------
    ValueError
        `keep` out of range.

    See Also
    --------
    vlm.selectors.prumerge_plan : Their choice of tokens alone.

    Notes
    -----
    :math:`x'_i = x_i + \sum_{j \in N(i)} a_j x_j` with cosine neighbours N(i) by keys, features x before the projector.

    References
    ----------
    Shang et al. (2024), *LLaVA-PruMerge: adaptive token reduction for efficient large multimodal models*,
    arXiv:2403.15388; rule as in github.com/42Shawn/LLaVA-PruMerge, llava/model/multimodal_encoder/clip_encoder.py.

    Examples
    --------
    >>> import numpy as np
    >>> from vlm import selectors
    >>> score, key = np.array([0.1, 0.5, 0.1, 0.3]), np.array([[1.0, 0], [0, 1], [1, 0.1], [0.1, 1]])
    >>> seen = selectors.ImageFeatures(score, key, score, key, score, key, key)
    >>> str(selectors.prumerge_merged_plan(seen, 1, neighbours=1))
    'renumber:0-/keep:0-=0-2/merge:image=0~1x1.0,3x0.3/merge:image=1~0x0.1,2x0.1,3x0.3'
    """
    scores = finite(seen.scores, name="scores")
    size = len(scores)
    count = outlier_count(scores) if keep is None else keep
    if not 0 <= count < size:
        raise ValueError(f"keep: expected 0 to {size - 1} of {size} patches, got {count}")
    order = np.argsort(-scores, kind="stable")[:count].tolist()
    if plus:
        grid = _named(prumerge_plus_plan(scores, count), size)
        order += [j for j in grid if j not in order]
    if len(order) == size:
        return SkipPlan()
    near = max(1, round(_NEIGHBOURS * size / _PATCHES)) if neighbours is None else neighbours
    rows = unit_rows(seen.keys, name="keys")
    dropped = sorted(set(range(size)) - set(order))
    sums: list[Terms] = []
    for place, i in enumerate(order):
        others = np.array([*order[:place], *order[place + 1 :], *dropped])
        chosen = others[np.argsort(-(rows[others] @ rows[i]), kind="stable")[:near]]
        sums.append(((i, 1.0), *((int(j), float(scores[j])) for j in chosen)))
    sums.append(tuple((j, float(scores[j])) for j in dropped))
    # The slot of one dropped token holds the token of all of them.
    return _laid_out(sorted([*order, dropped[0]]), sums)


def visionzip_merged_plan(seen: ImageFeatures, keep: int, *, context: float = CONTEXT_SHARE) -> SkipPlan:
    r"""VisionZip on one image with its merging and its layout.

    First the tokens that the class token reads most, in order of place; then evenly spaced ones of the rest, each with
    the mean of the other tokens that are nearest to it added. Positions are consecutive. The authors' class token,
    which enters their decoder as well, is left out. O(N n d).

    Parameters
    ----------
    seen : ImageFeatures
        Of the image.
    keep : int
        Number of tokens.
    context : float
        Share of them that is evenly spaced; the authors use 10 of 64.

    Returns
    -------
    SkipPlan

    Raises
    ------
    ValueError
        `keep` out of range.

    See Also
    --------
    vlm.selectors.visionzip_tokens : Their choice of tokens alone.

    Notes
    -----
    :math:`x'_t = x_t + \frac{1}{|M_t|} \sum_{j \in M_t} x_j`; j belongs to the target t with the largest cosine of
    head-mean keys.

    References
    ----------
    Yang et al. (2024), *VisionZip: longer is better but not necessary in vision language models*, arXiv:2412.04467;
    rule as in github.com/dvlab-research/VisionZip.

    Examples
    --------
    >>> import numpy as np
    >>> from vlm import selectors
    >>> score, key = np.array([0.1, 0.5, 0.1, 0.3]), np.array([[1.0, 0], [0, 1], [1, 0.1], [0.1, 1]])
    >>> seen = selectors.ImageFeatures(score, key, score, key, score, key, key)
    >>> str(selectors.visionzip_merged_plan(seen, 2, context=0.5))
    'renumber:0-/keep:0-=0-2/merge:image=0~1x1.0/merge:image=1~0x1.0,2x0.5,3x0.5'
    """
    weight = finite(seen.attention, name="attention")
    _check(len(weight), keep)
    if keep == len(weight):
        return SkipPlan()
    spaced = min(round(context * keep), len(weight))
    dominant = sorted(np.argsort(-weight, kind="stable")[: keep - spaced].tolist())
    rest = [j for j in range(len(weight)) if j not in dominant]
    step = max(1, len(rest) // spaced) if spaced else 1
    targets = rest[::step][:spaced]
    sums: list[Terms] = [((j, 1.0),) for j in dominant]
    members = _members(unit_rows(seen.mean_keys, name="mean_keys"), targets, [j for j in rest if j not in targets])
    for target, own in zip(targets, members, strict=True):
        sums.append(((target, 1.0), *((j, 1.0 / len(own)) for j in own)))
    return _laid_out(sorted([*dominant, *targets]), sums)


def vscan_plan(seen: ImageFeatures, keep: int, *, depth: int, window: int | None = None) -> SkipPlan:
    r"""VScan on one image: half of the tokens by a shallow class attention in windows, then half by the deep one.

    First every window gives equally many tokens, those with the highest shallow attention; then, of all others, the
    ones with the highest deep attention. All that are left are averaged into the nearest of these, by cosine of
    projected tokens; positions are consecutive, and halfway through the decoder a third stays, ranked by the layer's
    own attention as in PyramidDrop. What the windows cannot share evenly is not made up, so that a few less than `keep`
    may enter: 96 of 576 share evenly. O(N n D).

    Parameters
    ----------
    seen : ImageFeatures
        Of the image; its patches form a square.
    keep : int
        Number T of tokens that enter the decoder.
    depth : int
        Number of decoder layers; the authors rank at layer 16 of 32.
    window : int, optional
        Side of a window; the authors use 6 of 24 patches, by default as many in proportion.

    Returns
    -------
    SkipPlan

    Raises
    ------
    ValueError
        `keep` out of range, or patches that form no square.

    See Also
    --------
    vlm.selectors.pyramiddrop_plan : The rule inside the decoder.

    Notes
    -----
    Of W whole windows each gives :math:`\lfloor \lfloor T / 2 \rfloor / W \rfloor` tokens, the deep attention
    :math:`T - \lfloor T / 2 \rfloor`; :math:`x'_i = (x_i + \sum_{j \in M_i} x_j) / (1 + |M_i|)`.

    References
    ----------
    Zhang et al. (2025), *VScan: rethinking visual token reduction for efficient large vision-language models*,
    arXiv:2505.22654; rule as in github.com/Tencent/SelfEvolvingAgent, VScan/llava/model/llava_arch.py.

    Examples
    --------
    >>> import numpy as np
    >>> from vlm import selectors
    >>> score, key = np.array([0.1, 0.5, 0.1, 0.3]), np.array([[1.0, 0], [0, 1], [1, 0.1], [0.1, 1]])
    >>> seen = selectors.ImageFeatures(score, key, score, key, score, key, key)
    >>> str(selectors.vscan_plan(seen, 3, depth=10, window=2))
    'renumber:0-/keep:0-=0-2+3/rank:5=0.25/merge:0=0~0x0.5,2x0.5'
    """
    deep, shallow = finite(seen.attention, name="attention"), finite(seen.shallow, name="shallow")
    size = len(deep)
    _check(size, keep)
    side = round(size**0.5)
    if side * side != size:
        raise ValueError(f"features: expected a square of patches, got {size}")
    third = SkipPlan.rank(round(depth / 2), keep // 3 / size) if keep >= 3 else SkipPlan()
    if keep == size:
        return third
    width = max(1, round(_WINDOW * side / _SIDE)) if window is None else window
    across = side // width
    rows, columns = np.divmod(np.arange(size), side)
    order = np.argsort(-shallow, kind="stable")
    local: list[int] = []
    for number in range(across * across):
        inside = (rows // width == number // across) & (columns // width == number % across)
        local += order[inside[order]][: keep // 2 // (across * across)].tolist()
    others = [int(j) for j in np.argsort(-deep, kind="stable") if j not in local]
    kept = sorted([*local, *others[: keep - keep // 2]])
    members = _members(unit_rows(seen.projected, name="projected"), kept, [j for j in range(size) if j not in kept])
    sums: list[Terms] = [
        tuple((j, 1.0 / (1 + len(own))) for j in sorted([target, *own]))
        for target, own in zip(kept, members, strict=True)
    ]
    return _laid_out(kept, sums, 0) | third


def _laid_out(slots: Sequence[int], sums: Sequence[Terms], layer: int = FEATURES) -> SkipPlan:
    """The plan in whose slots, in order, these sums of features (or a layer's inputs) stand, positions consecutive."""
    merges: tuple[Merge, ...] = tuple((layer, slot, terms) for slot, terms in zip(slots, sums, strict=True))
    return SkipPlan(merges=merges) | SkipPlan.keep(0, None, slots) | SkipPlan.renumber(0, None)


def _members(rows: FloatArray, targets: Sequence[int], others: Sequence[int]) -> list[list[int]]:
    """For each target the tokens to whose rows its own is nearest by cosine; ties go to the earlier target."""
    out: list[list[int]] = [[] for _ in targets]
    if targets and others:
        nearest = np.argmax(rows[list(others)] @ rows[list(targets)].T, axis=1)
        for j, place in zip(others, nearest.tolist(), strict=True):
            out[place].append(j)
    return out


def _named(plan: SkipPlan, size: int) -> list[int]:
    """Ordinals that a plan keeps."""
    tokens = plan.kept[0][2] if plan.kept else EVERYTHING
    return [j for a, b in tokens for j in range(a, size if b is None else b)]


def _check(count: int, keep: int) -> None:
    if not 0 <= keep <= count:
        raise ValueError(f"keep: expected 0 to {count} image tokens, got {keep}")
