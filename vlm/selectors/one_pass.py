"""One pass that measures whatever the selectors need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from vlm.measure.attention_ratio import AttentionRecord, attention
from vlm.measure.distances import ProbeRecord, probe
from vlm.models.families import Family, anatomy
from vlm.selectors.fastv_sparsevlm import TokenRecord, sparse_stages, token_scores
from vlm.selectors.gamma_mod import RankRecord, attention_rank
from vlm.selectors.prumerge import EncoderRecord, encoder_attention
from vlm.selectors.state_similarity import SimilarityRecord, similarity


@dataclass(frozen=True, eq=False)
class Observations:
    """The records of one pass; `encoder` is None where the vision encoder has no class token."""

    probe: ProbeRecord
    attention: AttentionRecord
    similarity: SimilarityRecord
    ranks: RankRecord
    tokens: TokenRecord
    encoder: EncoderRecord | None


@contextmanager
def observing(
    model: Any, *, thresholds: float | Sequence[float] = (0.05,), fastv_layer: int = 2, family: Family | None = None
) -> Iterator[Observations]:
    """Measure, while the model runs, everything that the theory and the training-free methods rank by.

    Call the model once per prompt, without a plan. What needs the model to run under plans is measured apart,
    by :func:`vlm.selectors.prediction_divergence`.

    Parameters
    ----------
    thresholds : float or sequence of float
        As in `vlm.probe`.
    fastv_layer : int
        FastV's K; the attention of layer K - 1 is read.
    """
    depth = anatomy(model, family).depth
    layers = sorted({fastv_layer - 1, *sparse_stages(depth)})
    with ExitStack() as stack:
        enter = stack.enter_context
        try:
            encoder = enter(encoder_attention(model, family=family))
        except TypeError:
            encoder = None
        yield Observations(
            probe=enter(probe(model, thresholds=thresholds, family=family)),
            attention=enter(attention(model, family=family)),
            similarity=enter(similarity(model, family=family)),
            ranks=enter(attention_rank(model, family=family)),
            tokens=enter(token_scores(model, layers, family=family)),
            encoder=encoder,
        )
