"""The text and JSON forms of a plan."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from vlm.plans.ranges import read, written

# Label in the text and JSON forms -> field of SkipPlan.
_RANGES = {"vision": "vision", "text": "text", "freeze": "frozen", "attention": "attention", "mlp": "mlp"}
_LABELS = (*_RANGES, "keep", "prune")


def written_plan(fields: Mapping[str, Any]) -> str:
    """Text form of a plan's fields, "none" if all are empty."""
    parts = [f"{label}:{written(fields[name])}" for label, name in _RANGES.items() if fields[name]]
    parts += [f"keep:{written(((a, b),))}={written(tokens, short=True)}" for a, b, tokens in fields["kept"]]
    parts += [f"prune:{layer}={fraction!r}" for layer, fraction in fields["pruned"]]
    return "/".join(parts) or "none"


def parsed(text: str) -> dict[str, Any]:
    """Fields of the plan that a text form describes."""
    if text.strip() in ("", "none"):
        return {}
    fields: dict[str, Any] = {}
    for part in text.strip().split("/"):
        label, _, body = part.strip().partition(":")
        head, equals, tail = body.partition("=")
        value: Any = None
        if label in _RANGES and _RANGES[label] not in fields:
            fields[_RANGES[label]] = value = read(body)
        elif label == "keep" and equals:
            layers, tokens = read(head), read(tail, short=True)
            value = None if layers is None or tokens is None else tuple((a, b, tokens) for a, b in layers)
            fields["kept"] = fields.get("kept", ()) + (value or ())
        elif label == "prune" and equals and head.isdecimal():
            value = _number(tail)
            fields["pruned"] = (*fields.get("pruned", ()), (int(head), value))
        if value is None:
            raise ValueError(
                "plan: expected 'none' or parts joined with '/' like 'vision:0-4+24-', 'text:7-8', 'freeze:8-12', "
                f"'attention:3-5', 'mlp:3-5', 'keep:2-=0-287+300', 'prune:2=0.5' (half-open ranges, no end: to the "
                f"last), got {text!r}"
            )
    return fields


def plan_data(text: str) -> dict[str, Any]:
    """Fields of the plan that a JSON form describes."""
    data = json.loads(text)
    good = isinstance(data, dict) and set(data) <= set(_LABELS) and all(isinstance(v, list) for v in data.values())
    if not good or not all(_shaped(label, item) for label, value in data.items() for item in value):
        raise ValueError(
            f"plan: expected a JSON object of [start, stop] pairs (keep: [start, stop, pairs], prune: [layer, "
            f"fraction]) with keys {_LABELS}, got {text[:80]!r}"
        )
    fields: dict[str, Any] = {name: _pairs(data.get(label, [])) for label, name in _RANGES.items()}
    fields["kept"] = tuple((a, b, _pairs(tokens)) for a, b, tokens in data.get("keep", []))
    fields["pruned"] = _pairs(data.get("prune", []))
    return fields


def _shaped(label: str, item: object) -> bool:
    """Whether a JSON item has the shape that its label needs."""
    if not isinstance(item, list) or len(item) != (3 if label == "keep" else 2):
        return False
    if label == "keep":
        return isinstance(item[2], list) and all(_shaped("", pair) for pair in item[2])
    return label != "prune" or isinstance(item[1], int | float)


def _pairs(items: list[Any]) -> tuple[Any, ...]:
    return tuple((a, b) for a, b in items)


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None
