"""What FitPrune is fitted to: how much text tokens and image tokens read from each image token, in every layer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor

from redundancy.array_types import FloatArray
from vlm.engine.attention_event import AttentionEvent
from vlm.engine.forward_call import Call
from vlm.engine.half_layer_exit import text_and_image_sums
from vlm.engine.hooks import attached
from vlm.engine.token_pruning import by_token
from vlm.measure.records import GrowingRecord
from vlm.models.families import Family
from vlm.models.types import Model


@dataclass(eq=False, repr=False)
class AttentionStatistics(GrowingRecord):
    """What :func:`vlm.selectors.attention_statistics` measured; keeps O(layers x image tokens) numbers per prompt.

    Attributes
    ----------
    depth : int
        Number of decoder layers.

    See Also
    --------
    vlm.selectors.attention_statistics : Makes one.

    Examples
    --------
    >>> import vlm
    >>> from vlm import selectors
    >>> model, _ = vlm.load("tiny")
    >>> with selectors.attention_statistics(model) as record:
    ...     pass
    >>> record.depth, record.samples
    (10, 0)
    """

    depth: int
    _layers: dict[int, Tensor] = field(default_factory=dict)
    _done: list[FloatArray] = field(default_factory=list)

    @property
    def samples(self) -> int:
        """Number of prompts recorded."""
        return len(self._done)

    def prompts(self) -> list[FloatArray]:
        """(layers, 2, image tokens) of each prompt: what text tokens read, summed, and image tokens, averaged."""
        self._check_recorded("attention statistics")
        return self._done

    def _measured(self) -> dict[str, object]:
        return {"prompts": self.prompts()}

    @torch.no_grad()
    def observe(self, event: AttentionEvent) -> None:
        """Take in one layer's queries and keys (called by the hooks)."""
        if event.call.past:
            return
        if event.layer in event.call.query_positions:
            raise RuntimeError("attention statistics: a layer is shortened by a plan; measure without a plan")
        sums = torch.stack([by_token(event, part) for part in text_and_image_sums(event)], dim=1)
        self._layers[event.layer] = sums.to("cpu", torch.float64)

    @torch.no_grad()
    def finish(self, call: Call) -> None:
        """Store the prompts of a forward call that has ended (called by the hooks)."""
        if len(self._layers) == self.depth:
            whole = torch.stack([self._layers[layer] for layer in range(self.depth)], dim=1)
            for row, shown in enumerate(call.vision.cpu()):
                self._done.append(whole[row][..., shown].numpy())
        self._layers = {}


@contextmanager
def attention_statistics(model: Model, *, family: Family | None = None) -> Iterator[AttentionStatistics]:
    """Measure, while the model runs, what FitPrune is fitted to.

    Parameters
    ----------
    model : PreTrainedModel
        A vision-language model of a known family, all of whose layers attend.
    family : Family, optional
        For a model that is not of a known family.

    Yields
    ------
    AttentionStatistics

    Raises
    ------
    RuntimeError
        During a forward call under a plan that shortens a layer.

    See Also
    --------
    vlm.selectors.fitprune_plan : The plan that is fitted.

    References
    ----------
    Ye et al. (2024), *Fit and Prune: fast and training-free visual token pruning for multi-modal large language
    models*, arXiv:2409.10197.

    Examples
    --------
    >>> import vlm
    >>> from vlm import selectors, tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=2, kinds=("location",))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with selectors.attention_statistics(model) as record:
    ...     _ = model(**batch)
    >>> record.prompts()[0].shape
    (10, 2, 36)
    """
    with attached(model, family) as engine:
        record = AttentionStatistics(engine.parts.depth)
        with engine.watch_attention(record.observe, record.finish):
            yield record
