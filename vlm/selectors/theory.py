"""The theory's rankings of layers: by the redundancy of image tokens, and by the attention they receive."""

from __future__ import annotations

import numpy as np

from vlm.measure.attention_reading import Heads, TextTokens, reading_words
from vlm.measure.records import AttentionMeasurement, DistanceMeasurement, check_attention, check_distances
from vlm.selectors.gamma_mod import without_vision
from vlm.selectors.ranking import Ranking, by_layer
from vlm.selectors.vtw_shortv import frozen_vision


def redundancy(
    record: DistanceMeasurement, *, t: float | None = None, freeze: bool = True, last_free: bool = False
) -> Ranking:
    """Rank layers by the redundancy of their image tokens, the most redundant first.

    Parameters
    ----------
    record : ProbeRecord
        From :func:`vlm.probe`, of prompts with an image.
    t : float, optional
        Rank by P(cosine distance > t), proximal redundancy (theory, D3), with t among the probed thresholds, instead
        of by the mean cosine distance, geometric redundancy (theory, D2).
    freeze : bool
        Freeze image tokens in the chosen layers, which is all that redundancy alone allows; False removes them from
        the layers, which needs small attention as well.
    last_free : bool
        Freeze the last layer first, whatever its redundancy: no text token reads the image states that leave it,
        so freezing it changes no answer.

    Returns
    -------
    Ranking

    Raises
    ------
    ValueError
        A threshold that was not probed; `last_free` without `freeze`.
    TypeError
        Something else than a record of distances.

    See Also
    --------
    vlm.decide : The same measurement with intervals and thresholds.

    References
    ----------
    Hartman et al. (2025), *Skip-It? Theoretical Conditions for Layer Skipping in Vision-Language Models*,
    arXiv:2509.25584.

    Examples
    --------
    >>> import vlm
    >>> from vlm import selectors, tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=4, kinds=("location",))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with vlm.probe(model) as record:
    ...     _ = model(**batch)
    >>> ranking = selectors.redundancy(record, t=0.05)
    >>> ranking
    Ranking(redundancy (P(distance > 0.05)): freeze image tokens, 4 samples, 10 units)
    >>> ranking.order
    (7, 8, 6, 0, 5, 1, 3, 4, 9, 2)
    """
    check_distances(record)
    if last_free and not freeze:
        raise ValueError("last_free: expected freeze=True; removing image tokens from the last layer is not free")
    if t is not None and t not in record.thresholds:
        raise ValueError(f"t: expected one of the probed thresholds {record.thresholds}, got {t}")
    rows = record.table().where(modality="vision")
    column = rows["distance"] if t is None else 1 - rows[f"within_{t:g}"]
    scores = np.asarray(column, dtype=np.float64).reshape(record.samples, record.depth)
    what = "mean distance" if t is None else f"P(distance > {t:g})"
    if last_free:
        scores[:, -1] = -1.0  # below every distance
        what += ", last layer free"
    name = f"redundancy ({what})" if freeze else f"redundancy, removing ({what})"
    action, build = ("freeze image tokens", frozen_vision) if freeze else ("remove image tokens", without_vision)
    return by_layer(name, action, scores, build, usual=0.5)


def small_attention(record: AttentionMeasurement, *, tokens: TextTokens = "answer", heads: Heads = "mean") -> Ranking:
    r"""Rank layers by the visual attention ratio, the smallest first; by default as published, of the answer token.

    Small attention is the theory's second condition beside redundancy; image tokens bypass the chosen layers. What the
    theory asks for is small attention of every text token and head: ``tokens="all", heads="largest"``.

    Parameters
    ----------
    record : AttentionRecord
        From :func:`vlm.attention`, of prompts with an image.
    tokens, heads
        Whose attention, as in :func:`vlm.decide`.

    Returns
    -------
    Ranking

    Raises
    ------
    TypeError
        Something else than a record of attention ratios.

    See Also
    --------
    vlm.selectors.redundancy : The first condition.

    Notes
    -----
    The score of layer l is :math:`\alpha_l = \frac1H \sum_h \sum_{j \in image} A^{(l,h)}[last, j]`, in [0, 1].

    References
    ----------
    Jiang et al. (2025), *Devils in Middle Layers of Large Vision-Language Models*, arXiv:2411.16724 ("visual
    attention ratio").

    Examples
    --------
    >>> import vlm
    >>> from vlm import selectors, tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=4, kinds=("location",))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with vlm.attention(model) as seen:
    ...     _ = model(**batch)
    >>> selectors.small_attention(seen).order
    (9, 0, 7, 8, 5, 6, 2, 1, 3, 4)
    """
    check_attention(record, "record")
    ratios = record.reading(tokens=tokens, heads=heads)
    published = (tokens, heads) == ("answer", "mean")
    name = "small attention" if published else f"small attention ({reading_words(tokens, heads)})"
    return by_layer(name, "remove image tokens", ratios, without_vision, usual=0.5)
