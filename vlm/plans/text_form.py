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

# Label in the text and JSON forms -> field of SkipPlan.
_RANGES = {
    "vision": "vision",
    "text": "text",
    "freeze": "frozen",
    "attention": "attention",
    "mlp": "mlp",
    "renumber": "renumbered",
}
_LABELS = (*_RANGES, "keep", "prune")


@dataclass
class Fields:
    """The fields of a `SkipPlan`: `ranges` are those that hold ranges of layers, by name."""

    ranges: dict[str, Intervals] = field(default_factory=dict)
    kept: tuple[Keep, ...] = ()
    pruned: tuple[Prune, ...] = ()


def written_plan(ranges: Mapping[str, Intervals], kept: Sequence[Keep], pruned: Sequence[Prune]) -> str:
    """Text form of a plan's fields, "none" if all are empty."""
    parts = [f"{label}:{written(ranges[name])}" for label, name in _RANGES.items() if ranges[name]]
    parts += [f"keep:{written(((a, b),))}={written(tokens, short=True)}" for a, b, tokens in kept]
    parts += [f"prune:{layer}={fraction!r}" for layer, fraction in pruned]
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
        elif label == "prune" and equals and head.isdecimal() and (fraction := _number(tail)) is not None:
            fields.pruned += ((int(head), fraction),)
            understood = True
        if not understood:
            raise ValueError(
                "plan: expected 'none' or parts joined with '/' like 'vision:0-4+24-', 'text:7-8', 'freeze:8-12', "
                f"'attention:3-5', 'mlp:3-5', 'renumber:0-', 'keep:2-=0-287+300', 'prune:2=0.5' (half-open ranges, no "
                f"end: to the last), got {text!r}"
            )
    return fields


def plan_data(text: str) -> Fields:
    """Fields of the plan that a JSON form describes."""
    data = json.loads(text)
    good = isinstance(data, dict) and set(data) <= set(_LABELS) and all(isinstance(v, list) for v in data.values())
    if not good or not all(_shaped(label, item) for label, value in data.items() for item in value):
        raise ValueError(
            f"plan: expected a JSON object of [start, stop] pairs (keep: [start, stop, pairs], prune: [layer, "
            f"fraction]) with keys {_LABELS}, got {text[:80]!r}"
        )
    return Fields(
        {name: _pairs(data.get(label, [])) for label, name in _RANGES.items()},
        tuple((a, b, _pairs(tokens)) for a, b, tokens in data.get("keep", [])),
        tuple((layer, fraction) for layer, fraction in data.get("prune", [])),
    )


def _shaped(label: str, item: object) -> bool:
    """Whether a JSON item has the shape that its label needs."""
    if not isinstance(item, list) or len(item) != (3 if label == "keep" else 2):
        return False
    if label == "keep":
        return isinstance(item[2], list) and all(_shaped("", pair) for pair in item[2])
    return label != "prune" or isinstance(item[1], int | float)


def _pairs(items: Iterable[tuple[int, int | None]]) -> Intervals:
    return tuple((a, b) for a, b in items)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
