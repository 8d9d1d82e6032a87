"""The text and JSON forms of a plan."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from vlm.plans.ranges import Intervals, read, written

# (start, stop, ordinals): layers start..stop-1 keep only the image tokens with these ordinals.
Keep = tuple[int, int | None, Intervals]
# (layer, fraction): from this layer on only this fraction of the image tokens is kept.
Prune = tuple[int, float]
# (ordinal, weight), ...: the sum that a token becomes.
Terms = tuple[tuple[int, float], ...]
# (layer, ordinal, terms): before this layer the image token with this ordinal becomes a sum of others.
Merge = tuple[int, int, Terms]
# In place of a layer: the encoder's features, before the projector.
FEATURES = -1
_FEATURES = "image"

# Label in the text and JSON forms -> field of SkipPlan.
_RANGES = {
    "vision": "vision",
    "text": "text",
    "freeze": "frozen",
    "attention": "attention",
    "mlp": "mlp",
    "renumber": "renumbered",
}
# Labels of parts that keep a fraction of the image tokens from a layer on.
_FRACTIONS = {"prune": "pruned", "rank": "ranked", "leave": "leaving"}
_LABELS = (*_RANGES, "keep", *_FRACTIONS, "merge")


@dataclass
class Fields:
    """The fields of a `SkipPlan`: `ranges` are those that hold ranges of layers, `fractions` shares, by name."""

    ranges: dict[str, Intervals] = field(default_factory=dict)
    kept: tuple[Keep, ...] = ()
    fractions: dict[str, tuple[Prune, ...]] = field(default_factory=dict)
    merges: tuple[Merge, ...] = ()


def written_plan(
    ranges: Mapping[str, Intervals],
    kept: Sequence[Keep],
    fractions: Mapping[str, Sequence[Prune]],
    merges: Sequence[Merge],
) -> str:
    """Text form of a plan's fields, "none" if all are empty."""
    parts = [f"{label}:{written(ranges[name])}" for label, name in _RANGES.items() if ranges[name]]
    parts += [f"keep:{written(((a, b),))}={written(tokens, short=True)}" for a, b, tokens in kept]
    for label, name in _FRACTIONS.items():
        parts += [f"{label}:{layer}={fraction!r}" for layer, fraction in fractions[name]]
    for layer, token, terms in merges:
        where = _FEATURES if layer == FEATURES else layer
        parts.append(f"merge:{where}={token}~" + ",".join(f"{other}x{weight!r}" for other, weight in terms))
    return "/".join(parts) or "none"


def parsed(text: str) -> Fields:
    """Fields of the plan that a text form describes."""
    fields = Fields()
    if text.strip() in ("", "none"):
        return fields
    for part in text.strip().split("/"):
        label, _, body = part.strip().partition(":")
        head, equals, tail = body.partition("=")
        understood = False
        if label in _RANGES and _RANGES[label] not in fields.ranges:
            if (ranges := read(body)) is not None:
                fields.ranges[_RANGES[label]], understood = ranges, True
        elif label == "keep" and equals:
            layers, tokens = read(head), read(tail, short=True)
            if layers is not None and tokens is not None:
                fields.kept += tuple((a, b, tokens) for a, b in layers)
                understood = True
        elif label in _FRACTIONS and equals and head.isdecimal() and (fraction := _number(tail)) is not None:
            name = _FRACTIONS[label]
            fields.fractions[name] = (*fields.fractions.get(name, ()), (int(head), fraction))
            understood = True
        elif label == "merge" and equals and (head.isdecimal() or head == _FEATURES):
            merge = _merge(FEATURES if head == _FEATURES else int(head), tail)
            understood = merge is not None
            fields.merges += () if merge is None else (merge,)
        if not understood:
            raise ValueError(
                "plan: expected 'none' or parts joined with '/' like 'vision:0-4+24-', 'text:7-8', 'freeze:8-12', "
                f"'attention:3-5', 'mlp:3-5', 'renumber:0-', 'keep:2-=0-287+300', 'prune:2=0.5', 'rank:8=0.5', "
                f"'leave:2=0.9', 'merge:0=3~3x0.5,7x0.5' (half-open ranges, no end: to the last), got {text!r}"
            )
    return fields


def plan_data(text: str) -> Fields:
    """Fields of the plan that a JSON form describes."""
    data = json.loads(text)
    good = isinstance(data, dict) and set(data) <= set(_LABELS) and all(isinstance(v, list) for v in data.values())
    if not good or not all(_shaped(label, item) for label, value in data.items() for item in value):
        raise ValueError(
            f"plan: expected a JSON object of [start, stop] pairs (keep: [start, stop, pairs]; prune, rank, leave: "
            f"[layer, fraction]; merge: [layer, token, [[token, weight], ...]]) with keys {_LABELS}, got {text[:80]!r}"
        )
    return Fields(
        {name: _pairs(data.get(label, [])) for label, name in _RANGES.items()},
        tuple((a, b, _pairs(tokens)) for a, b, tokens in data.get("keep", [])),
        {name: tuple((k, value) for k, value in data.get(label, [])) for label, name in _FRACTIONS.items()},
        tuple((k, token, tuple((other, w) for other, w in terms)) for k, token, terms in data.get("merge", [])),
    )


def _shaped(label: str, item: object) -> bool:
    """Whether a JSON item has the shape that its label needs."""
    if not isinstance(item, list) or len(item) != (3 if label in ("keep", "merge") else 2):
        return False
    if label in ("keep", "merge"):
        inner = "" if label == "keep" else "prune"
        return isinstance(item[2], list) and all(_shaped(inner, pair) for pair in item[2])
    return label not in _FRACTIONS or isinstance(item[1], int | float)


def _merge(layer: int, text: str) -> Merge | None:
    """The merge that "3~3x0.5,7x0.5" describes; None if it is not one."""
    token, tilde, body = text.partition("~")
    terms = [part.partition("x") for part in body.split(",")]
    weights = [_number(weight) for _, _, weight in terms]
    if not tilde or not token.isdecimal() or not all(other.isdecimal() for other, _, _ in terms):
        return None
    found = tuple((int(o), w) for (o, _, _), w in zip(terms, weights, strict=True) if w is not None)
    return (layer, int(token), found) if len(found) == len(terms) else None


def _pairs(items: Iterable[tuple[int, int | None]]) -> Intervals:
    return tuple((a, b) for a, b in items)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
