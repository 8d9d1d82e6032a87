"""What removing the image keys does to each layer's attention output, beside what the theorem allows."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

import bounds
from redundancy.array_types import FloatArray
from vlm.engine.attention_event import AttentionEvent
from vlm.engine.flash_layout import Layout
from vlm.engine.forward_call import Call
from vlm.engine.hooks import Engine, attached
from vlm.models.families import Family
from vlm.table import Table


@dataclass(eq=False)
class RemovalRecord:
    """What :func:`removal` measured; grows by one entry per prompt. Memory is O(layers) per sample."""

    engine: Engine
    _rows: dict[int, list[dict[str, float]]] = field(default_factory=dict)
    _done: list[dict[int, list[dict[str, float]]]] = field(default_factory=list)
    _norms: dict[int, tuple[FloatArray, float]] = field(default_factory=dict)

    def observe(self, event: AttentionEvent) -> None:
        call, layer, query, mask = event.call, event.layer, event.query, event.mask
        if call.past:
            return
        if self.engine.plan:
            raise RuntimeError("removal: measure without a plan; the theorem compares with what the full model does")
        if layer == 0:
            self._rows = {}
        lines = mask.lines() if isinstance(mask, Layout) else mask
        output = output_matrix(self.engine, layer)
        if layer not in self._norms:
            heads = torch.linalg.matrix_norm(_by_head(output, query.shape[1]), ord=2).cpu().numpy()
            self._norms[layer] = heads, float(torch.linalg.matrix_norm(output, ord=2))
        self._rows[layer] = [
            _sample(
                call.vision[row],
                call.text[row],
                query[row].to(torch.float64),
                event.key[row].to(torch.float64),
                event.value[row].to(torch.float64),
                None if lines is None else lines[row if len(lines) > 1 else 0],
                event.scaling,
                output,
                *self._norms[layer],
            )
            for row in range(len(query))
        ]

    def finish(self, call: Call) -> None:
        rows, self._rows = self._rows, {}
        if len(rows) == self.engine.parts.depth:
            self._done.append(rows)

    def table(self) -> Table:
        """One row per (sample, layer); of a prompt without image everything is 0.

        Columns
        -------
        ratio, ratio_text
            Attention mass on the image, mean over heads: of the last token, and the mean over text tokens.
        change, bound
            Norm of the change of the last token's attention output (behind the output matrix) when the image keys
            are removed in this layer, and its upper limit by (9.4): the least of the three forms below.
        change_text, bound_text
            The same over all text tokens, as one stacked vector.
        heads, joint, mapped
            The forms of the bound for the last token: summed over heads (9.5a), joint output matrix (9.5b), and
            (9.4) for values that each head's output matrix has mapped already.
        """
        if not self._done:
            raise ValueError("removal: nothing recorded yet; call the model inside the context first")
        rows, sample = [], 0
        for batch in self._done:
            for member in range(len(batch[0])):
                rows += [{"sample": sample, "layer": layer, **batch[layer][member]} for layer in sorted(batch)]
                sample += 1
        return Table.from_rows(rows)


@contextmanager
def removal(model: Any, *, family: Family | None = None) -> Iterator[RemovalRecord]:
    """Measure, in every layer of the running model, what its attention output would lose with the image keys.

    The change is computed from the layer's own queries, keys and values in float64: softmax over all keys against
    softmax over text keys alone. That is what a plan that removes image tokens from this layer does to it, positions
    kept. The bound is a theorem: no Lipschitz constant, no assumption.

    Needs O(text x sequence) memory per head, the distance of every image value to every text value, and the singular
    values of every output matrix once: for studying, not for every-day measuring.

    Parameters
    ----------
    model : PreTrainedModel
        With eager, sdpa or flash attention, whose layers have an output matrix `self_attn.o_proj`.
    family : Family, optional
        For a model that is not of a known family.
    """
    with attached(model, family) as engine:
        output_matrix(engine, 0)
        record = RemovalRecord(engine)
        with engine.watch_attention(record.observe, record.finish):
            yield record


def output_matrix(engine: Engine, layer: int) -> Tensor:
    """(width, heads * d) matrix behind the heads of a layer, float64."""
    projection = getattr(getattr(engine.parts.layers[layer], "self_attn", None), "o_proj", None)
    if projection is None:
        raise TypeError(
            f"removal: expected an output matrix self_attn.o_proj in {type(engine.parts.layers[layer]).__name__}"
        )
    weight: Tensor = projection.weight.detach()
    return weight.to(torch.float64)


def _sample(
    vision: Tensor,
    text: Tensor,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Tensor | None,
    scaling: float,
    output: Tensor,
    head_norms: FloatArray,
    joint_norm: float,
) -> dict[str, float]:
    """One sample of one layer; query (heads, rows, d), key and value (key heads, keys, d)."""
    if not vision.any():
        names = ("ratio", "ratio_text", "change", "bound", "change_text", "bound_text", "heads", "joint", "mapped")
        return dict.fromkeys(names, 0.0)
    heads = query.shape[0]
    key, value = (part.repeat_interleave(heads // part.shape[0], dim=0) for part in (key, value))
    scores = (query[:, text] @ key.transpose(1, 2)) * scaling  # (heads, text, keys)
    scores = scores.masked_fill(~_visible(mask, text, key.shape[1]), -torch.inf)
    weights = torch.softmax(scores, dim=-1)
    mass = weights[..., vision].sum(dim=-1).clamp(max=1.0)  # (heads, text)
    kept = torch.softmax(scores.masked_fill(vision, -torch.inf), dim=-1)
    moved = (weights - kept) @ value  # (heads, text, d)
    change = torch.linalg.vector_norm(moved.transpose(0, 1).flatten(1) @ output.T, dim=-1)  # (text,)
    alpha = mass.T.cpu().numpy()  # (text, heads)
    image, words = value[:, vision], value[:, text]
    diameters = np.broadcast_to(_cross_diameters(image, words), alpha.shape)
    summed = bounds.attention_removal_heads(alpha, diameters, head_norms)
    joint = bounds.attention_removal_joint(alpha, diameters, joint_norm)
    # Head by head: behind the output matrix values are as wide as the model.
    turned = [_cross_diameters(i @ m.T, w @ m.T) for i, w, m in zip(image, words, _by_head(output, heads), strict=True)]
    mapped = bounds.attention_removal_heads(alpha, np.broadcast_to(turned, alpha.shape), np.ones(heads))
    least = np.minimum(np.minimum(summed, joint), mapped)
    moved_by = change.cpu().numpy()
    return {
        "ratio": float(alpha[-1].mean()),
        "ratio_text": float(alpha.mean()),
        "change": float(moved_by[-1]),
        "bound": float(least[-1]),
        "change_text": float(np.linalg.norm(moved_by)),
        "bound_text": float(np.linalg.norm(least)),
        "heads": float(summed[-1]),
        "joint": float(joint[-1]),
        "mapped": float(mapped[-1]),
    }


def _by_head(output: Tensor, heads: int) -> Tensor:
    """(heads, width, d) blocks of the output matrix."""
    return output.view(len(output), heads, -1).permute(1, 0, 2)


def _cross_diameters(image: Tensor, text: Tensor) -> FloatArray:
    """`bounds.cross_diameter` of (..., n, d) and (..., k, d), without the n x k x d differences."""
    gaps = torch.cdist(image, text, compute_mode="donot_use_mm_for_euclid_dist")
    largest: FloatArray = gaps.amax(dim=(-2, -1)).cpu().numpy()
    return largest


def _visible(mask: Tensor | None, text: Tensor, keys: int) -> Tensor:
    """(1, text, keys): which keys each text token may see."""
    rows = text.nonzero()[:, 0]
    if mask is None:
        return (torch.arange(keys, device=text.device) <= rows.unsqueeze(1)).unsqueeze(0)
    line = mask[:, rows]
    return line if line.dtype == torch.bool else line > 0.5 * torch.finfo(line.dtype).min
