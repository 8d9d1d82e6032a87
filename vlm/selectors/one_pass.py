"""One pass that measures everything the selectors need."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from redundancy.display import Displayed
from vlm.measure.attention_ratio import AttentionRecord, attention
from vlm.measure.distances import ProbeRecord, probe
from vlm.models.families import Family, anatomy
from vlm.models.types import Model
from vlm.selectors.fastv_sparsevlm import TokenRecord, scaled_stages, token_scores
from vlm.selectors.gamma_mod import RankRecord, attention_rank
from vlm.selectors.prumerge import EncoderRecord, encoder_attention
from vlm.selectors.state_similarity import SimilarityRecord, similarity


@dataclass(frozen=True, eq=False, repr=False)
class Observations(Displayed):
    """The records of one pass.

    Attributes
    ----------
    probe : ProbeRecord
    attention : AttentionRecord
    similarity : SimilarityRecord
    ranks : RankRecord
    tokens : TokenRecord
    encoder : EncoderRecord or None
        None where the vision encoder has no class token.

    See Also
    --------
    vlm.selectors.observing : Makes one.

    Examples
    --------
    >>> import vlm
    >>> from vlm import selectors, tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=4, kinds=("location",))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with selectors.observing(model) as seen:
    ...     _ = model(**batch)
    >>> seen.probe.samples, seen.similarity.samples, seen.encoder.samples
    (4, 4, 4)
    """

    probe: ProbeRecord
    attention: AttentionRecord
    similarity: SimilarityRecord
    ranks: RankRecord
    tokens: TokenRecord
    encoder: EncoderRecord | None


@contextmanager
def observing(
    model: Model, *, thresholds: float | Sequence[float] = (0.05,), fastv_layer: int = 2, family: Family | None = None
) -> Iterator[Observations]:
    """Measure, while the model runs, everything by which the theory and the training-free methods rank layers.

    Call the model once per prompt, without a plan. Measurements that need runs under plans are separate, see
    :func:`vlm.selectors.prediction_divergence`.

    Parameters
    ----------
    model : PreTrainedModel
        A vision-language model of a known family.
    thresholds : float or sequence of float
        As in `vlm.probe`.
    fastv_layer : int
        FastV's K; the attention of layer K - 1 is read.
    family : Family, optional
        For a model that is not of a known family.

    Yields
    ------
    Observations

    See Also
    --------
    vlm.probe, vlm.attention : Two of the measurements alone.

    References
    ----------
    Hartman et al. (2025), *Skip-It? Theoretical Conditions for Layer Skipping in Vision-Language Models*,
    arXiv:2509.25584; Men et al. (2024), *ShortGPT: layers in large language models are more redundant than you
    expect*, arXiv:2403.03853; Gromov et al. (2024), *The unreasonable ineffectiveness of the deeper layers*,
    arXiv:2403.17887; He et al. (2024), *What matters in transformers? Not all attention is needed*,
    arXiv:2406.15786; He et al. (2025), *AdaSkip: adaptive sublayer skipping for accelerating long-context LLM
    inference*, arXiv:2501.02336; Luo et al. (2024), *gamma-MoD: exploring mixture-of-depth adaptation for
    multimodal large language models*, arXiv:2410.13859; Chen et al. (2024), *An image is worth 1/2 tokens after
    layer 2*, arXiv:2403.06764; Zhang et al. (2024), *SparseVLM: visual token sparsification for efficient
    vision-language model inference*, arXiv:2410.04417.

    Examples
    --------
    >>> import vlm
    >>> from vlm import selectors, tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=4, kinds=("location",))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with selectors.observing(model) as seen:
    ...     _ = model(**batch)
    >>> selectors.redundancy(seen.probe).order
    (7, 8, 6, 0, 5, 1, 4, 3, 2, 9)
    >>> selectors.small_attention(seen.attention).order
    (9, 0, 7, 8, 5, 6, 2, 1, 3, 4)
    >>> selectors.block_influence(seen.similarity).order
    (7, 8, 6, 5, 4, 3, 1, 2, 9, 0)
    """
    depth = anatomy(model, family).depth
    layers = sorted({fastv_layer - 1, *scaled_stages(depth)})
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
