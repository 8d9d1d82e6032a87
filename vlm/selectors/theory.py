"""The theory's rankings of layers: how redundant image tokens are there, and how much the answer looks at them."""

from __future__ import annotations

import numpy as np

from vlm.measure.attention_ratio import AttentionRecord
from vlm.measure.distances import ProbeRecord
from vlm.selectors.gamma_mod import without_vision
from vlm.selectors.ranking import Ranking, by_layer
from vlm.selectors.vtw_shortv import frozen_vision


def redundancy(record: ProbeRecord, *, t: float | None = None, freeze: bool = True, last_free: bool = False) -> Ranking:
    """Layers by the redundancy of their image tokens, the most redundant first.

    Parameters
    ----------
    record : ProbeRecord
        From `vlm.probe`, of prompts with an image.
    t : float, optional
        Rank by P(cosine distance > t), t among the probed thresholds (Definition 2), instead of by the mean
        cosine distance (Definition 1).
    freeze : bool
        Freeze image tokens in the chosen layers, which is all that redundancy alone licenses; False removes
        them from the layer, which needs small attention as well.
    last_free : bool
        Freeze the last layer first, whatever its redundancy: no text token reads the image states that leave it,
        so freezing it changes no answer at all.
    """
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


def small_attention(record: AttentionRecord) -> Ranking:
    r"""Layers by the visual attention ratio of the asking token, the smallest first: the theory's other condition.

    :math:`\alpha_l = \frac1H \sum_h \sum_{j \in image} A^{(l,h)}[last, j]`, in [0, 1]; image tokens bypass the chosen
    layers. Also read as a description of where a model looks (Jiang et al. 2025, "visual attention ratio").
    """
    ratios = record.ratios().mean(axis=2)
    return by_layer("small attention", "remove image tokens", ratios, without_vision, usual=0.5)
