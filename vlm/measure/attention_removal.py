"""How much each layer's attention output changes when its image keys are removed, and the bound of (9.4) on it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

import bounds
from redundancy.array_types import FloatArray
from vlm.engine.attention_event import AttentionEvent
from vlm.engine.flash_layout import Layout
from vlm.engine.forward_call import Call
from vlm.engine.hooks import Engine, attached
from vlm.engine.tensor_parallel import processes_of
from vlm.measure.attention_reading import TextTokens, check_reading
from vlm.measure.records import GrowingRecord
from vlm.models.families import Family
from vlm.models.layer_parts import device_of, find_attention, output_map
from vlm.models.linear_maps import matrix_of
from vlm.models.types import Model
from vlm.table import Table

# Relative difference of the heads' outputs from those in float64 that 16 bits, or 8-bit states, may leave.
_ROUNDING = 0.1


@dataclass(eq=False, repr=False)
class RemovalRecord(GrowingRecord):
    """What :func:`vlm.removal` measured; grows by one entry per prompt. Memory is O(layers) per sample.

    Attributes
    ----------
    depth : int
        Number of decoder layers.

    See Also
    --------
    vlm.removal : Makes one.

    Examples
    --------
    >>> import vlm
    >>> from vlm import tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=2, kinds=("location", "count"))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with vlm.removal(model) as record:
    ...     _ = model(**batch)
    >>> record
    RemovalRecord(samples=2, depth=10)
    >>> record.samples, record.depth
    (2, 10)
    """

    _engine: Engine
    depth: int
    _rows: dict[int, list[dict[str, float]]] = field(default_factory=dict)
    _done: list[dict[int, list[dict[str, float]]]] = field(default_factory=list)
    _norms: dict[int, tuple[FloatArray, float]] = field(default_factory=dict)
    _changes: list[FloatArray] = field(default_factory=list)
    _heads: dict[int, Tensor] = field(default_factory=dict)

    @property
    def samples(self) -> int:
        """Number of samples (rows of all batches) recorded."""
        return sum(len(rows[0]) for rows in self._done)

    def observe(self, event: AttentionEvent) -> None:
        """Take in one layer's queries and keys (called by the hooks)."""
        call, layer, query, mask = event.call, event.layer, event.query, event.mask
        if call.past:
            return
        if self._engine.plan:
            raise RuntimeError("removal: measure without a plan; the bound is about the full model")
        if event.softcap is not None:
            raise NotImplementedError(
                f"removal: the bound is about a softmax of scaled scores, and layer {layer} caps them (softcap)"
            )
        if event.sinks is not None:
            raise NotImplementedError(
                f"removal: the bound is about a softmax over keys alone, and layer {layer} attends to a sink too; "
                "measure with vlm.attention"
            )
        if layer == 0:
            self._rows = {}
        lines = mask.lines() if isinstance(mask, Layout) else mask
        output = output_matrix(self._engine, layer, query.device)
        if layer not in self._norms:
            heads = torch.linalg.matrix_norm(_by_head(output, query.shape[1]), ord=2).cpu().numpy()
            self._norms[layer] = heads, float(torch.linalg.matrix_norm(output, ord=2))
        measured = [
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
        self._rows[layer] = [row for row, _, _ in measured]
        self._changes = [changes for _, changes, _ in measured]
        self._heads = {row: heads for row, (_, _, heads) in enumerate(measured) if heads is not None}

    def verify(self, call: Call | None, layer: int, given: Tensor, out: Tensor) -> None:
        """Refuse layers whose output map is given something else than the heads' outputs (called by the hooks)."""
        heads, self._heads = self._heads, {}
        for row, expected in heads.items():
            assert call is not None
            found = given.detach()[row][call.text[row].to(given.device)].to(expected.device).to(torch.float64)
            if float((found - expected).norm()) > _ROUNDING * float(expected.norm()):
                raise NotImplementedError(
                    f"removal: in layer {layer} something (a gate, a norm) lies between the heads' outputs and the "
                    "output matrix, which the change and its bound do not follow; measure with vlm.attention"
                )

    def relate(self, call: Call, layer: int, before: Tensor, after: Tensor) -> None:
        """Take in the state that entered the layer which has just attended (called by the hooks)."""
        if call.past or layer not in self._rows:
            return
        for row, (values, changes) in enumerate(zip(self._rows[layer], self._changes, strict=True)):
            norms = before.detach()[row][call.text[row].to(before.device)].to(torch.float64).norm(dim=-1).cpu().numpy()
            # A state of norm 0 that changes is changed without measure.
            relative = np.divide(changes, norms, out=np.where(changes > 0, np.inf, 0.0), where=norms > 0)
            values["effect"], values["effect_largest"] = float(relative[-1]), float(relative.max())

    def effects(self, *, tokens: TextTokens = "all") -> FloatArray:
        """Change of attention output without the image over the norm of the state, shape (samples, layers).

        Parameters
        ----------
        tokens : {"all", "answer"}
            The largest over all text tokens, or that of the last token.

        Raises
        ------
        ValueError
            Nothing was recorded yet.
        """
        check_reading(tokens)
        table = self.table()
        values: FloatArray = table["effect_largest" if tokens == "all" else "effect"].astype(np.float64)
        return values.reshape(self.samples, self.depth)

    def finish(self, call: Call) -> None:
        """Store the samples of a forward call that has ended (called by the hooks)."""
        rows, self._rows = self._rows, {}
        if len(rows) == self.depth:
            self._done.append(rows)

    def table(self) -> Table:
        """One row per (sample, layer); all columns are 0 for a prompt without an image.

        Returns
        -------
        Table
            Its columns:

            ratio, ratio_text
                Share of attention on the image, mean over heads: of the last token, and averaged over all text tokens.
            change, bound
                Norm of the change of the last token's attention output (after the output matrix) when the image keys
                are removed in this layer, and the upper bound on it from (9.4): the least of the three forms below.
            change_text, bound_text
                The same for all text tokens, stacked into one vector.
            effect, effect_largest
                The last token's change over the norm of the state that enters the layer, and the largest such ratio of
                any text token. At least 0.
            heads, joint, mapped
                The three forms of the bound for the last token (theory, section 9.6, Heads): a sum over heads, the
                norm of the joint output matrix, and (9.4) for values that each head's output matrix has already
                mapped.

        Raises
        ------
        ValueError
            Nothing was recorded yet.
        """
        self._check_recorded("removal")
        rows, sample = [], 0
        for batch in self._done:
            for member in range(len(batch[0])):
                rows += [{"sample": sample, "layer": layer, **batch[layer][member]} for layer in sorted(batch)]
                sample += 1
        return Table.from_rows(rows)

    def _measured(self) -> dict[str, object]:
        return {"table": self.table().columns}


@contextmanager
def removal(model: Model, *, family: Family | None = None) -> Iterator[RemovalRecord]:
    r"""Measure, in every layer of the running model, how its attention output would change without the image keys.

    The change is computed from the layer's own queries, keys and values in float64, as the difference between softmax
    over all keys and softmax over text keys only. This is the effect on this layer of a plan that removes image
    tokens from it and keeps the positions. The bound is a theorem and needs no Lipschitz constant.

    Needs O(text x sequence) memory per head, all distances between image values and text values, and once the singular
    values of every output matrix: meant for studies, not for routine measurements.

    Parameters
    ----------
    model : PreTrainedModel
        With eager, sdpa or flash attention, whose layers have an output matrix `self_attn.o_proj`.
    family : Family, optional
        For a model that is not of a known family.

    Yields
    ------
    RemovalRecord
        `record.table()` after one or more forward calls.

    Raises
    ------
    TypeError
        A layer without an output matrix `self_attn.o_proj`, or a model that is not a vision-language model of a known
        family.
    NotImplementedError
        A layer without attention, or, during a call, one that changes the heads' outputs before its output matrix.
    RuntimeError
        During a forward call under a plan.

    See Also
    --------
    vlm.attention : The attention ratio alone, much cheaper.
    bounds.attention_removal, bounds.attention_removal_heads, bounds.attention_removal_joint : The bounds.

    Notes
    -----
    With attention mass :math:`\alpha` on the image, the output o of one head and its output o' without image keys
    satisfy :math:`\|o - o'\| \le \alpha \max_{i \in image,\, j \in text} \|v_i - v_j\|` (9.4).

    References
    ----------
    Theory, section 9.6 (docs/explanation/theory).

    Examples
    --------
    >>> import vlm
    >>> from vlm import tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=2, kinds=("location", "count"))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with vlm.removal(model) as record:
    ...     _ = model(**batch)
    >>> table = record.table().where(sample=0)
    >>> table["change"].round(2)
    array([1.28, 2.6 , 3.7 , 3.26, 2.52, 2.82, 2.65, 1.26, 1.09, 1.92])
    >>> table["bound"].round(2)
    array([ 5.28, 10.83, 20.57, 12.4 , 14.88, 12.04, 12.63,  6.93,  7.44,
           11.48])
    """
    with attached(model, family) as engine:
        outputs = {}
        for index, layer in enumerate(engine.parts.layers):
            if find_attention(layer) is None:
                raise NotImplementedError(
                    f"removal: layer {index}, a {type(layer).__name__}, has no attention but a recurrent state, which "
                    "has no image keys to remove; measure with vlm.probe and vlm.attention"
                )
            outputs[index] = output_map(layer)
        if processes_of(engine.parts) > 1:
            raise NotImplementedError(
                "removal: needs each layer's output matrix, of which every process of a tensor-parallel model has a "
                "part; measure on one process"
            )
        record = RemovalRecord(engine, engine.parts.depth)
        # The layer's own hook comes after its attention; what ends a call is left to the observer of attention.
        with (
            engine.watch_attention(record.observe, record.finish),
            engine.watch_layers(record.relate, lambda call: None),
            engine.watch_modules(outputs, record.verify),
        ):
            yield record


def output_matrix(engine: Engine, layer: int, device: torch.device) -> Tensor:
    """(width, heads * d) matrix that maps the heads' outputs of a layer to the residual stream, float64."""
    module = engine.parts.layers[layer]
    found = matrix_of(output_map(module), dtype=engine.parts.model.dtype, device=device_of(module) or device)
    return found.to(device)


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
) -> tuple[dict[str, float], FloatArray, Tensor | None]:
    """One sample of one layer, each text token's change, and the outputs of its heads (text, heads * d).

    query (heads, rows, d), key and value (key heads, keys, d).
    """
    if not vision.any():
        names = ("ratio", "ratio_text", "change", "bound", "change_text", "bound_text", "heads", "joint", "mapped")
        return dict.fromkeys(names, 0.0), np.zeros(int(text.sum())), None
    heads = query.shape[0]
    key, value = (part.repeat_interleave(heads // part.shape[0], dim=0) for part in (key, value))
    scores = (query[:, text] @ key.transpose(1, 2)) * scaling  # (heads, text, keys)
    scores = scores.masked_fill(~_visible(mask, text, key.shape[1]), -torch.inf)
    weights = torch.softmax(scores, dim=-1)
    mass = weights[..., vision].sum(dim=-1).clamp(max=1.0)  # (heads, text)
    without = torch.softmax(scores.masked_fill(vision, -torch.inf), dim=-1)
    moved = (weights - without) @ value  # (heads, text, d)
    change = torch.linalg.vector_norm(moved.transpose(0, 1).flatten(1) @ output.T, dim=-1)  # (text,)
    alpha = mass.T.cpu().numpy()  # (text, heads)
    image, words = value[:, vision], value[:, text]
    diameters = np.broadcast_to(_cross_diameters(image, words), alpha.shape)
    summed = bounds.attention_removal_heads(alpha, diameters, head_norms)
    joint = bounds.attention_removal_joint(alpha, diameters, joint_norm)
    # One head at a time: after the output matrix, values are as wide as the model.
    mapped_diameters = [
        _cross_diameters(i @ m.T, w @ m.T) for i, w, m in zip(image, words, _by_head(output, heads), strict=True)
    ]
    mapped = bounds.attention_removal_heads(alpha, np.broadcast_to(mapped_diameters, alpha.shape), np.ones(heads))
    least = np.minimum(np.minimum(summed, joint), mapped)
    moved_by = change.cpu().numpy()
    values = {
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
    return values, moved_by, (weights @ value).transpose(0, 1).flatten(1)


def _by_head(output: Tensor, heads: int) -> Tensor:
    """(heads, width, d) blocks of the output matrix."""
    return output.view(len(output), heads, -1).permute(1, 0, 2)


def _cross_diameters(image: Tensor, text: Tensor) -> FloatArray:
    """`bounds.cross_diameter` of (..., n, d) and (..., k, d), without storing n x k x d differences."""
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
