"""Record hidden states while a model runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import get_args

from vlm.engine.hooks import attached
from vlm.hidden_states.host_copies import CopyStreams
from vlm.hidden_states.state_record import StatesRecord
from vlm.hidden_states.state_rows import StateDType, listed
from vlm.hidden_states.views import Views, parse_views
from vlm.models.families import Family
from vlm.models.types import Model


@contextmanager
def states(
    model: Model,
    *,
    views: Views = ("last", "vision-mean"),
    layers: Sequence[int] | None = None,
    dtype: StateDType | None = None,
    family: Family | None = None,
) -> Iterator[StatesRecord]:
    """Record the hidden states of every layer while the model runs.

    Only prompts are recorded: cached decoding steps add no rows. Under a plan, the states are those of the model that
    skips. Padding is never taken. Say with ``states.expect(items, groups=...)`` before each forward which item and
    image its rows are.

    Parameters
    ----------
    model : PreTrainedModel
        A vision-language model of a known family, on one device or on several.
    views : str, View or sequence of them
        Which vectors stand for a layer on one prompt: "last" (the last prompt token), "vision-mean", "text-mean",
        "vision-sample(k)", "text-sample(k)" (k tokens drawn by a hash of the item's id, the same in every layer),
        "vision-all", "text-all".
    layers : sequence of int, optional
        States to record, of 0..L; all of them by default. State l < L is what enters decoder layer l, state L what
        leaves the last layer, before the final norm.
    dtype : {"float16", "bfloat16", "float32", "float64"}, optional
        How states are kept. By default as they are, and means in float32 (of a float64 model, in float64).
    family : Family, optional
        For a model that is not of a known family.

    Yields
    ------
    StatesRecord
        ``states.pair(l, m, view)`` gives x (rows, d), y (rows, d) and groups (rows,), ready for `redundancy`, during
        and after the context; ``states.layer(l, view)`` one layer, ``states.index(view)`` what each row is.

    Raises
    ------
    ValueError
        An unknown view, layers outside 0..L, an unknown dtype. During a forward call: more or fewer rows than
        announced, an image on top of a cache that was not announced, decoding without a cache.
    TypeError
        A model that is not a vision-language model of a known family.

    See Also
    --------
    vlm.probe : Distances between layers over all tokens; no states are kept.
    redundancy.functional, redundancy.informational, redundancy.ksg : What the arrays are for.

    Notes
    -----
    Per layer and call, one copy goes from the device to pinned memory on the host, on a stream of its own; nothing
    waits for the device (but for the views "vision-all" and "text-all", once per call). The layers of a model may be
    on different devices. Means are summed in float32, of a float64 model in float64. In Qwen3-VL, features that are
    added to image tokens between two layers belong to the state that enters the later one.

    Examples
    --------
    >>> import redundancy as rd
    >>> import vlm
    >>> from vlm import tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=20, kinds=("location", "count"))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with vlm.states(model) as states:
    ...     states.expect(range(20), groups=[q.image_id for q in asked])
    ...     _ = model(**batch)
    >>> x, y, groups = states.pair(6, 7, "last")
    >>> x.shape, len(set(groups))
    ((20, 64), 10)
    >>> print(f"{rd.geometric(x, y, groups=groups):.3f}")
    0.032
    """
    wanted = parse_views(views)
    if dtype is not None and dtype not in get_args(StateDType):
        raise ValueError(f"dtype: expected one of {', '.join(get_args(StateDType))}, got {dtype!r}")
    with attached(model, family) as engine:
        depth = engine.parts.depth
        streams = CopyStreams(any(parameter.is_cuda for parameter in model.parameters()))
        record = StatesRecord(wanted, _layers(layers, depth), depth, dtype, streams)
        with engine.check_calls(record.check), engine.watch_layers(record.observe, record.finish):
            yield record
        record.close()


def _layers(layers: Sequence[int] | None, depth: int) -> tuple[int, ...]:
    """The states to record, rising."""
    if layers is None:
        return tuple(range(depth + 1))
    chosen = sorted(set(layers))
    if not chosen or any(type(layer) is not int or not 0 <= layer <= depth for layer in chosen):
        got = listed(chosen) if all(type(layer) is int for layer in chosen) and chosen else repr(list(layers))
        raise ValueError(f"layers: expected states in 0..{depth} (state {depth} leaves the last layer), got {got}")
    return tuple(chosen)
