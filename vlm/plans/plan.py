"""SkipPlan: which tokens bypass which decoder layers or parts of them, as a value."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

from vlm.plans.ranges import EVERYTHING, Intervals, contains, intersection, merged, without
from vlm.plans.text_form import parsed, plan_data, written_plan

# Layers first..last-1 of (layer, stop) keep only these ordinals; from a layer on keep only this fraction.
Keep = tuple[int, int | None, Intervals]
Prune = tuple[int, float]
INDEX_CONVENTION = (
    "State 0 enters decoder layer 0; state l leaves layer l-1 and enters layer l; state L is the last layer's "
    "output before the final norm. Late entry at k: vision tokens bypass layers 0..k-1. "
    "Early exit at k: they bypass layers k..L-1."
)


@dataclass(frozen=True)
class LayerPlan:
    """What a plan does in one layer.

    Attributes
    ----------
    vision : str
        "run", "frozen" (pass unchanged but serve as keys and values), or "skipped" (bypass, unseen).
    text : bool
        Whether text tokens run.
    attention, mlp : bool
        Whether the sub-layer runs, for any token.
    kept : ranges
        Ordinals of the image tokens that do not bypass the layer.
    pruned : tuple of (layer, fraction)
        Prunings decided at this layer or before.
    """

    vision: str = "run"
    text: bool = True
    attention: bool = True
    mlp: bool = True
    kept: Intervals = EVERYTHING
    pruned: tuple[Prune, ...] = ()


@dataclass(frozen=True)
class SkipPlan:
    """What tokens do not do: a value that is joined with ``|``, hashed, compared, printed and read back.

    Build with the class methods below, or read the text form, whose parts are joined with "/" and whose ranges
    are half-open ("24-" runs to the last layer):

    =================== ==================== ===========================================================
    text                method               meaning
    =================== ==================== ===========================================================
    vision:0-4+24-32    late_entry,          image tokens bypass these layers: their states pass
                        early_exit, skip     unchanged and nobody attends to them there
    text:3-5            skip                 text tokens bypass these layers; with the same vision
                                             part: :meth:`drop`, whole layers
    freeze:8-12         freeze               image states pass these layers unchanged but still serve
                                             as keys and values for text
    attention:3-5       drop_attention       no token attends; the residual branch adds nothing
    mlp:3-5             drop_mlp             the feed-forward branch adds nothing
    keep:2-=0-287+300   keep                 only image tokens with these ordinals take part
    prune:2=0.5         prune                from layer 2 on only this fraction of the image tokens
                                             takes part, those that the last token attends to most
    =================== ==================== ===========================================================

    In one layer the strongest word about a token holds: bypassing (vision, text, not kept, pruned) over frozen
    over running; so several keeps intersect, and a frozen layer freezes the tokens that are kept. Plans are
    brought to a normal form and compare by what they do: dropping both sub-layers of a layer is dropping the layer,
    freezing where nothing attends is skipping, keeping everything is nothing. ``bool(plan)`` says whether it does
    anything; :meth:`resolved` says so for a model's depth.

    Attributes
    ----------
    vision, text, frozen, attention, mlp : tuple of (start, stop)
        Sorted, disjoint half-open layer ranges; stop None means the last layer.
    kept : tuple of (start, stop, ranges of ordinals)
        An ordinal counts the image tokens of one sample in order, those of earlier calls on the same cache included.
        Ordinals that a sample does not have name nothing.
    pruned : tuple of (layer, fraction)
        round(fraction x image tokens) are left, counted per sample, of those that take part in the layer before.
    """

    vision: Intervals = field(default=())
    text: Intervals = field(default=())
    frozen: Intervals = field(default=())
    attention: Intervals = field(default=())
    mlp: Intervals = field(default=())
    kept: tuple[Keep, ...] = field(default=())
    pruned: tuple[Prune, ...] = field(default=())

    def __post_init__(self) -> None:
        vision, text, frozen, attention, mlp = (
            merged(r) for r in (self.vision, self.text, self.frozen, self.attention, self.mlp)
        )
        kept = _segments(self.kept)
        fractions = [_fraction(layer, value) for layer, value in self.pruned]
        whole = intersection(attention, mlp)
        text = merged(text + whole)
        vision = merged(
            vision
            + whole
            + tuple((a, b) for a, b, tokens in kept if not tokens)
            + tuple((layer, None) for layer, value in fractions if value == 0)
            + intersection(frozen, merged(text + attention))
        )
        nobody = intersection(vision, text)
        normal = {
            "vision": vision,
            "text": text,
            "frozen": without(frozen, vision),
            "attention": without(attention, nobody),
            "mlp": without(mlp, nobody),
            "kept": _segments((a, b, tokens) for s, e, tokens in kept for a, b in without(((s, e),), vision)),
            "pruned": _prunings(fractions, vision),
        }
        for name, value in normal.items():
            object.__setattr__(self, name, value)

    @classmethod
    def late_entry(cls, k: int) -> SkipPlan:
        """Vision tokens bypass layers 0..k-1; k = 0 is the empty plan."""
        return cls.skip("vision", 0, k)

    @classmethod
    def early_exit(cls, k: int) -> SkipPlan:
        """Vision tokens bypass layers k..L-1 (also called visual token withdrawal)."""
        return cls.skip("vision", k, None)

    @classmethod
    def skip(cls, modality: str, start: int, stop: int | None) -> SkipPlan:
        """Tokens of one modality bypass layers start..stop-1."""
        if modality not in ("vision", "text"):
            raise ValueError(f"modality: expected 'vision' or 'text', got {modality!r}")
        layers = ((start, stop),)
        return cls(vision=layers) if modality == "vision" else cls(text=layers)

    @classmethod
    def drop(cls, layers: Iterable[int]) -> SkipPlan:
        """All tokens bypass these layers."""
        ranges = tuple((layer, layer + 1) for layer in layers)
        return cls(vision=ranges, text=ranges)

    @classmethod
    def freeze(cls, start: int, stop: int | None) -> SkipPlan:
        """Vision tokens pass layers start..stop-1 unchanged, but stay keys and values for text (as in ShortV).

        Their keys and values come from the layer's own normed input; no query, output or feed-forward work is done.
        """
        return cls(frozen=((start, stop),))

    @classmethod
    def drop_attention(cls, layers: Iterable[int]) -> SkipPlan:
        """No token attends in these layers: the residual branch adds nothing, no keys and values are stored."""
        return cls(attention=tuple((layer, layer + 1) for layer in layers))

    @classmethod
    def drop_mlp(cls, layers: Iterable[int]) -> SkipPlan:
        """The feed-forward branch of these layers adds nothing, for any token."""
        return cls(mlp=tuple((layer, layer + 1) for layer in layers))

    @classmethod
    def keep(cls, start: int, stop: int | None, tokens: Iterable[int]) -> SkipPlan:
        """In layers start..stop-1 only image tokens with these ordinals take part; the others bypass them."""
        ordinals = merged([(number, _after(number)) for number in tokens], "token")
        return cls(kept=((start, stop, ordinals),))

    @classmethod
    def prune(cls, layer: int, fraction: float) -> SkipPlan:
        """From `layer` on only round(fraction x image tokens) image tokens take part (FastV).

        Those with the largest head-mean attention of the prompt's last token in the layer before, ties to the
        earlier one; decided by the last token of the call that brings the image, and kept for decoding on its cache.
        Without a cache each call is a prompt of its own and decides anew; assisted decoding puts candidates into
        the first call, whose last one then decides.
        """
        return cls(pruned=((layer, fraction),))

    @classmethod
    def parse(cls, text: str) -> SkipPlan:
        """Read the text form: "none", "vision:0-4+24-32", "freeze:2-4/prune:6=0.5"."""
        return cls(**parsed(text))

    @classmethod
    def from_json(cls, text: str) -> SkipPlan:
        """Read what :meth:`to_json` wrote."""
        return cls(**plan_data(text))

    def to_json(self) -> str:
        """JSON form: {"vision": [[0, 4], [24, null]], "text": []}, and the other kinds where present."""
        fields = {"freeze": self.frozen, "attention": self.attention, "mlp": self.mlp}
        more = {**fields, "keep": self.kept, "prune": self.pruned}
        return json.dumps({"vision": self.vision, "text": self.text, **{n: v for n, v in more.items() if v}})

    def __or__(self, other: SkipPlan) -> SkipPlan:
        if not isinstance(other, SkipPlan):
            return NotImplemented
        return SkipPlan(**{name: value + getattr(other, name) for name, value in vars(self).items()})

    def __bool__(self) -> bool:
        return any(vars(self).values())

    def __str__(self) -> str:
        return written_plan(vars(self))

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that identify the plan in file names and records."""
        return hashlib.sha256(str(self).encode()).hexdigest()[:12]

    def layers(self, kind: str, depth: int) -> frozenset[int]:
        """Layers that a modality ("vision", "text") bypasses, or that are "frozen", or lose "attention" or "mlp"."""
        ranges = getattr(self.resolved(depth), kind)
        return frozenset(layer for a, b in ranges for layer in range(a, b))

    def steps(self, depth: int) -> tuple[LayerPlan, ...]:
        """What the plan does in each layer of a model of `depth` layers."""
        plan = self.resolved(depth)

        def step(layer: int) -> LayerPlan:
            modes = {"skipped": plan.vision, "frozen": plan.frozen}
            return LayerPlan(
                next((mode for mode, ranges in modes.items() if contains(ranges, layer)), "run"),
                not contains(plan.text, layer),
                not contains(plan.attention, layer),
                not contains(plan.mlp, layer),
                next((tokens for a, b, tokens in plan.kept if contains(((a, b),), layer)), EVERYTHING),
                tuple(p for p in plan.pruned if p[0] <= layer),
            )

        return tuple(step(layer) for layer in range(depth))

    def resolved(self, depth: int) -> SkipPlan:
        """The same plan with "to the last layer" written out, empty if it changes nothing at this depth.

        Raises
        ------
        ValueError
            It names layers that the model lacks, or prunes by an attention that it removes.
        """
        parts = {name: getattr(self, name) for name in ("vision", "text", "frozen", "attention", "mlp")}
        bounds = [r for ranges in parts.values() for r in ranges] + [(a, b) for a, b, _ in self.kept]
        reach = max([max(a, b or 0) for a, b in bounds] + [layer for layer, _ in self.pruned], default=0)
        if reach > depth:
            raise ValueError(
                f"plan {self}: reaches to {reach}, but the model has {depth} decoder layers (0..{depth - 1})"
            )
        inside = ((0, depth),)
        plan = SkipPlan(
            **{name: intersection(ranges, inside) for name, ranges in parts.items()},
            kept=tuple((a, b, tokens) for s, e, tokens in self.kept for a, b in intersection(((s, e),), inside)),
            pruned=tuple(p for p in self.pruned if without(((p[0], depth),) if p[0] < depth else (), self.vision)),
        )
        for layer, _ in plan.pruned:
            for what, ranges in (("vision", plan.vision), ("text", plan.text), ("attention", plan.attention)):
                if contains(ranges, layer - 1):
                    raise ValueError(
                        f"plan {self}: pruning at layer {layer} ranks image tokens by the last text token's attention "
                        f"in layer {layer - 1}, where the plan removes {what}; prune at another layer"
                    )
        return plan


def _segments(keeps: Iterable[Keep]) -> tuple[Keep, ...]:
    """Disjoint layer ranges with the tokens kept in each: several keeps intersect, keeping all is nothing."""
    given = [(merged([(a, b)]), merged(tokens, "token")) for a, b, tokens in keeps]
    cuts = sorted({c for layers, _ in given for a, b in layers for c in (a, b) if c is not None})
    out: list[Keep] = []
    for start, stop in zip(cuts, [*cuts[1:], None][: len(cuts)], strict=True):
        tokens = EVERYTHING
        for layers, some in given:
            if contains(layers, start):
                tokens = intersection(tokens, some)
        if tokens == EVERYTHING:
            continue
        if out and out[-1][1:] == (start, tokens):
            out[-1] = (out[-1][0], stop, tokens)
        else:
            out.append((start, stop, tokens))
    return tuple(out)


def _prunings(fractions: list[Prune], vision: Intervals) -> tuple[Prune, ...]:
    """Each smaller than those before, where there are image tokens left to prune."""
    out: list[Prune] = []
    for layer, value in sorted(fractions):
        if 0 < value < min([1.0, *(v for _, v in out)]) and without(((layer, None),), vision):
            out.append((layer, value))
    return tuple(out)


def _fraction(layer: Any, value: Any) -> Prune:
    ((first, _),) = merged([(layer, None)])
    if first < 1:
        raise ValueError("plan: pruning needs a layer >= 1, since it ranks by the attention of the layer before, got 0")
    if isinstance(value, bool) or not 0 <= float(value) <= 1:
        raise ValueError(f"plan: expected a fraction of image tokens in [0, 1], got {value!r}")
    return first, float(value)


def _after(number: Any) -> Any:
    """The next number; what is no number is left for the check of ranges to refuse."""
    return number + 1 if hasattr(number, "__index__") and not isinstance(number, bool) else number
