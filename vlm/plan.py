"""SkipPlan: which tokens bypass which decoder layers, as a value."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from operator import index

Interval = tuple[int, int | None]
_MODALITIES = ("vision", "text")
INDEX_CONVENTION = (
    "State 0 enters decoder layer 0; state l leaves layer l-1 and enters layer l; state L is the last layer's "
    "output before the final norm. Late entry at k: vision tokens bypass layers 0..k-1. "
    "Early exit at k: they bypass layers k..L-1."
)


@dataclass(frozen=True)
class SkipPlan:
    """A set of (layer, modality) pairs that are skipped: those tokens pass the layer unchanged and unseen.

    Ranges are half-open: "vision:0-4+24-32" skips layers 0..3 and 24..31 for vision tokens; "24-" runs to
    the last layer. Build with :meth:`late_entry`, :meth:`early_exit`, :meth:`skip`, :meth:`drop` and join
    with ``|``. Values are hashable and compare by what they skip; text and JSON forms round-trip.

    Attributes
    ----------
    vision, text : tuple of (start, stop)
        Sorted, disjoint half-open layer ranges; stop None means the last layer.
    """

    vision: tuple[Interval, ...] = field(default=())
    text: tuple[Interval, ...] = field(default=())

    def __post_init__(self) -> None:
        for modality in _MODALITIES:
            object.__setattr__(self, modality, _merged(getattr(self, modality)))

    @classmethod
    def late_entry(cls, k: int) -> SkipPlan:
        """Vision tokens bypass layers 0..k-1; k = 0 is the empty plan."""
        return cls.skip("vision", 0, k)

    @classmethod
    def early_exit(cls, k: int) -> SkipPlan:
        """Vision tokens bypass layers k..L-1."""
        return cls.skip("vision", k, None)

    @classmethod
    def skip(cls, modality: str, start: int, stop: int | None) -> SkipPlan:
        """Tokens of one modality bypass layers start..stop-1."""
        if modality not in _MODALITIES:
            raise ValueError(f"modality: expected 'vision' or 'text', got {modality!r}")
        return cls(**{modality: ((start, stop),)})

    @classmethod
    def drop(cls, layers: Iterable[int]) -> SkipPlan:
        """All tokens bypass these layers."""
        ranges = tuple((layer, layer + 1) for layer in layers)
        return cls(vision=ranges, text=ranges)

    @classmethod
    def parse(cls, text: str) -> SkipPlan:
        """Read the text form: "none", "vision:0-4+24-32", "vision:0-4/text:7-8"."""
        if text.strip() in ("", "none"):
            return cls()
        found: dict[str, tuple[Interval, ...]] = {}
        for part in text.strip().split("/"):
            match = re.fullmatch(r"(vision|text):(\d+-\d*(?:\+\d+-\d*)*)", part.strip())
            if match is None or match[1] in found:
                raise ValueError(
                    f"plan: expected 'none' or 'vision:START-STOP+START-STOP/text:...' (half-open ranges, STOP may "
                    f"be empty for the last layer), got {text!r}"
                )
            pairs = (r.split("-") for r in match[2].split("+"))
            found[match[1]] = tuple((int(a), int(b) if b else None) for a, b in pairs)
        return cls(**found)

    @classmethod
    def from_json(cls, text: str) -> SkipPlan:
        """Read what :meth:`to_json` wrote."""
        data = json.loads(text)
        good = isinstance(data, dict) and set(data) <= set(_MODALITIES)
        if not good or not all(isinstance(r, list) and len(r) == 2 for ranges in data.values() for r in ranges):
            raise ValueError(
                f"plan: expected a JSON object of [start, stop] pairs with keys {_MODALITIES}, got {text[:80]!r}"
            )
        return cls(**{m: tuple((a, b) for a, b in ranges) for m, ranges in data.items()})

    def to_json(self) -> str:
        """JSON form: {"vision": [[0, 4], [24, null]], "text": []}."""
        return json.dumps({"vision": self.vision, "text": self.text})

    def __or__(self, other: SkipPlan) -> SkipPlan:
        if not isinstance(other, SkipPlan):
            return NotImplemented
        return SkipPlan(self.vision + other.vision, self.text + other.text)

    def __bool__(self) -> bool:
        return bool(self.vision or self.text)

    def __str__(self) -> str:
        parts = []
        for modality in _MODALITIES:
            ranges = getattr(self, modality)
            if ranges:
                body = "+".join(f"{a}-{'' if b is None else b}" for a, b in ranges)
                parts.append(f"{modality}:{body}")
        return "/".join(parts) or "none"

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that identify the plan in file names and records."""
        return hashlib.sha256(str(self).encode()).hexdigest()[:12]

    def layers(self, modality: str, depth: int) -> frozenset[int]:
        """The layers that a modality bypasses in a model of `depth` layers."""
        ranges = getattr(self.resolved(depth), modality)
        return frozenset(layer for a, b in ranges for layer in range(a, b))

    def resolved(self, depth: int) -> SkipPlan:
        """The same plan with "to the last layer" written out; refuses layers that the model lacks."""
        for modality in _MODALITIES:
            for a, b in getattr(self, modality):
                if a > depth or (b is not None and b > depth):
                    raise ValueError(
                        f"plan {self}: skips {modality} tokens up to layer {a if b is None else b - 1}, but the model "
                        f"has {depth} decoder layers (0..{depth - 1})"
                    )
        return SkipPlan(
            **{m: tuple((a, depth if b is None else b) for a, b in getattr(self, m) if a < depth) for m in _MODALITIES}
        )


def _layer(number: object) -> int:
    """A layer number as a Python int; NumPy integers count, booleans and fractions do not."""
    try:
        value = -1 if isinstance(number, bool) else index(number)  # type: ignore[arg-type]
    except TypeError:
        value = -1
    if value < 0:
        raise ValueError(f"plan: expected whole layer numbers >= 0, got {number!r}")
    return value


def _merged(ranges: Iterable[Interval]) -> tuple[Interval, ...]:
    out: list[Interval] = []
    whole = [(_layer(a), None if b is None else _layer(b)) for a, b in ranges]
    for a, b in sorted(whole, key=lambda r: (r[0], r[1] is None, r[1] or 0)):
        if b is not None and b < a:
            raise ValueError(f"plan: expected START <= STOP, got {a}-{b}")
        if b == a:
            continue
        if out and (out[-1][1] is None or a <= out[-1][1]):
            last = out[-1][1]
            out[-1] = (out[-1][0], None if b is None or last is None else max(last, b))
        else:
            out.append((a, b))
    return tuple(out)
