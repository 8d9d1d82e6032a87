"""SkipPlan, an immutable description of which tokens skip which decoder layers or parts of them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from redundancy.display import Displayed
from vlm.plans.normal_form import after, checked_merges, fraction, fractions, refuse_blind, segments
from vlm.plans.ranges import EVERYTHING, Intervals, contains, intersection, merged, without
from vlm.plans.text_form import FEATURES, Fields, Keep, Merge, Prune, Terms, parsed, plan_data, written_plan

Modality = Literal["vision", "text"]
Kind = Literal["vision", "text", "frozen", "attention", "mlp", "renumbered"]
VisionMode = Literal["run", "frozen", "skipped"]
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
    vision : {"run", "frozen", "skipped"}
        What image tokens do: run; pass unchanged but serve as keys and values; or bypass the layer unseen.
    text : bool
        Whether text tokens run.
    attention, mlp : bool
        Whether the sub-layer runs, for all tokens.
    kept : ranges
        Ordinals of the image tokens that do not bypass the layer.
    pruned : tuple of (layer, fraction)
        Prunings decided at this layer or before.
    renumbered : bool
        Whether positions count only the tokens that take part.
    ranked : tuple of (layer, fraction)
        Choices by a layer's own attention, made in this layer or before.
    left : tuple of (layer, fraction)
        Choices after whose attention tokens left, in layers before.
    leaving : float or None
        Fraction of the image tokens that goes on to the feed-forward.
    merges : tuple of (ordinal, terms)
        Image tokens that become sums of others before the layer.
    """

    vision: VisionMode = "run"
    text: bool = True
    attention: bool = True
    mlp: bool = True
    kept: Intervals = EVERYTHING
    pruned: tuple[Prune, ...] = ()
    renumbered: bool = False
    ranked: tuple[Prune, ...] = ()
    left: tuple[Prune, ...] = ()
    leaving: float | None = None
    merges: tuple[tuple[int, Terms], ...] = ()


@dataclass(frozen=True, repr=False)
class SkipPlan(Displayed):
    """An immutable description of which tokens skip which layers. Combine plans with ``|``.

    Build one with the class methods below, or from its text form with :meth:`parse`. The parts of the text form are
    joined with "/", and its ranges are half-open ("24-" runs to the last layer):

    =================== ==================== ===========================================================
    text                method               meaning
    =================== ==================== ===========================================================
    vision:0-4+24-32    late_entry,          image tokens bypass these layers: their states pass
                        early_exit, skip     unchanged and no token attends to them there
    text:3-5            skip                 text tokens bypass these layers; with the same vision
                                             part: :meth:`drop`, whole layers
    freeze:8-12         freeze               image states pass these layers unchanged but still serve
                                             as keys and values for text
    attention:3-5       drop_attention       no token attends; the residual branch adds nothing
    mlp:3-5             drop_mlp             the feed-forward branch adds nothing
    keep:2-=0-287+300   keep                 only image tokens with these ordinals take part
    prune:2=0.5         prune                from layer 2 on only this fraction of the image tokens
                                             takes part, those that the last token attends to most
    rank:8=0.5          rank                 the same, by the attention of layer 8 itself, found out
                                             before the layer runs
    leave:2=0.9         leave                the others leave between attention and feed-forward of
                                             layer 2, by the text's and the image's attention there
    merge:0=3~3x1,7x0.5 merge                before layer 0, image token 3 becomes this sum of tokens
                                             ("image" for 0: of features, before the projector)
    renumber:0-         renumber             positions in these layers count only the tokens that take
                                             part, so that they are consecutive
    =================== ==================== ===========================================================

    If several parts apply to a token in one layer, the strongest takes effect: skipped (by vision, text, keep, prune,
    rank or leave) over frozen over running. So several keeps intersect, and a frozen layer freezes the tokens that are
    kept.
    Plans are brought to a normal form and compare by their effect: dropping both sub-layers of a layer drops the
    layer, freezing where no token attends is skipping, and keeping everything has no effect. ``bool(plan)`` is False
    for the empty plan; :meth:`resolved` finds out whether a plan has an effect at a given depth.

    Attributes
    ----------
    vision, text, frozen, attention, mlp, renumbered : tuple of (start, stop)
        Sorted, disjoint half-open layer ranges; stop None means the last layer.
    kept : tuple of (start, stop, ranges of ordinals)
        An ordinal numbers the image tokens of one sample in order, including those of earlier calls on the same
        cache. Ordinals beyond a sample's image tokens have no effect.
    pruned : tuple of (layer, fraction)
        Per sample, round(fraction x image tokens) remain of those that take part in the layer before.
    ranked, leaving : tuple of (layer, fraction)
        As many remain of those that would take part in the layer; of those that have attended in it.
    merges : tuple of (layer, ordinal, ((ordinal, weight), ...))
        All sums before a layer are of the states that enter it.

    See Also
    --------
    vlm.skipping : Run a model under a plan.
    vlm.plan_cost : What a plan costs.

    Examples
    --------
    >>> import vlm
    >>> plan = vlm.SkipPlan.late_entry(2) | vlm.SkipPlan.early_exit(6)
    >>> plan
    SkipPlan('vision:0-2+6-')
    >>> plan == vlm.SkipPlan.parse("vision:0-2+6-")
    True
    >>> sorted(plan.layers("vision", depth=8))
    [0, 1, 6, 7]
    """

    vision: Intervals = field(default=())
    text: Intervals = field(default=())
    frozen: Intervals = field(default=())
    attention: Intervals = field(default=())
    mlp: Intervals = field(default=())
    kept: tuple[Keep, ...] = field(default=())
    pruned: tuple[Prune, ...] = field(default=())
    renumbered: Intervals = field(default=())
    ranked: tuple[Prune, ...] = field(default=())
    leaving: tuple[Prune, ...] = field(default=())
    merges: tuple[Merge, ...] = field(default=())

    def __post_init__(self) -> None:
        vision, text, frozen, attention, mlp = (
            merged(r) for r in (self.vision, self.text, self.frozen, self.attention, self.mlp)
        )
        kept = segments(self.kept)
        pruned = [fraction(layer, value, "pruning") for layer, value in self.pruned]
        ranked = [fraction(layer, value, "ranking") for layer, value in self.ranked]
        leaving = [fraction(layer, value, "leaving") for layer, value in self.leaving]
        both_halves = intersection(attention, mlp)  # the same as skipping the layer
        text = merged(text + both_halves)
        vision = merged(
            vision
            + both_halves
            + tuple((a, b) for a, b, tokens in kept if not tokens)
            + tuple((layer, None) for layer, value in (*pruned, *ranked) if value == 0)
            + intersection(frozen, merged(text + attention))
        )
        skipped_by_all = intersection(vision, text)
        normal = {
            "vision": vision,
            "text": text,
            "frozen": without(frozen, vision),
            "attention": without(attention, skipped_by_all),
            "mlp": without(mlp, skipped_by_all),
            "renumbered": without(merged(self.renumbered), skipped_by_all),
            "kept": segments((a, b, tokens) for s, e, tokens in kept for a, b in without(((s, e),), vision)),
            "merges": checked_merges(self.merges, vision),
        } | fractions(pruned, ranked, leaving, vision)
        for name, value in normal.items():
            object.__setattr__(self, name, value)

    @classmethod
    def late_entry(cls, k: int) -> SkipPlan:
        """Image tokens bypass layers 0..k-1; k = 0 is the empty plan.

        Examples
        --------
        >>> SkipPlan.late_entry(4)
        SkipPlan('vision:0-4')
        """
        return cls.skip("vision", 0, k)

    @classmethod
    def early_exit(cls, k: int) -> SkipPlan:
        """Image tokens bypass layers k..L-1 (also called visual token withdrawal).

        Examples
        --------
        >>> SkipPlan.early_exit(24)
        SkipPlan('vision:24-')
        """
        return cls.skip("vision", k, None)

    @classmethod
    def skip(cls, modality: Modality, start: int, stop: int | None) -> SkipPlan:
        """Tokens of one modality bypass layers start..stop-1; stop None means the last layer.

        Raises
        ------
        ValueError
            The modality is neither "vision" nor "text", or the range is not one.

        Examples
        --------
        >>> SkipPlan.skip("text", 3, 5)
        SkipPlan('text:3-5')
        """
        if modality not in ("vision", "text"):
            raise ValueError(f"modality: expected 'vision' or 'text', got {modality!r}")
        layers = ((start, stop),)
        return cls(vision=layers) if modality == "vision" else cls(text=layers)

    @classmethod
    def drop(cls, layers: Iterable[int]) -> SkipPlan:
        """All tokens bypass these layers.

        Examples
        --------
        >>> SkipPlan.drop([3, 4, 7])
        SkipPlan('vision:3-5+7-8/text:3-5+7-8')
        """
        ranges = tuple((layer, layer + 1) for layer in layers)
        return cls(vision=ranges, text=ranges)

    @classmethod
    def freeze(cls, start: int, stop: int | None) -> SkipPlan:
        """Image tokens pass layers start..stop-1 unchanged but remain keys and values for text (as in ShortV).

        Their keys and values are computed from the layer's own normalised input; query, output projection and
        feed-forward are not computed for them.

        References
        ----------
        Yuan et al. (2025), *ShortV: Efficient Multimodal Large Language Models by Freezing Visual Tokens in
        Ineffective Layers*, arXiv:2504.00502.

        Examples
        --------
        >>> SkipPlan.freeze(8, 12)
        SkipPlan('freeze:8-12')
        """
        return cls(frozen=((start, stop),))

    @classmethod
    def drop_attention(cls, layers: Iterable[int]) -> SkipPlan:
        """No token attends in these layers: the residual branch adds nothing, no keys and values are stored.

        Examples
        --------
        >>> SkipPlan.drop_attention([3, 4])
        SkipPlan('attention:3-5')
        >>> SkipPlan.drop_attention([3]) | SkipPlan.drop_mlp([3]) == SkipPlan.drop([3])
        True
        """
        return cls(attention=tuple((layer, layer + 1) for layer in layers))

    @classmethod
    def drop_mlp(cls, layers: Iterable[int]) -> SkipPlan:
        """The feed-forward branch of these layers adds nothing, for all tokens.

        Examples
        --------
        >>> SkipPlan.drop_mlp([3, 4])
        SkipPlan('mlp:3-5')
        """
        return cls(mlp=tuple((layer, layer + 1) for layer in layers))

    @classmethod
    def keep(cls, start: int, stop: int | None, tokens: Iterable[int]) -> SkipPlan:
        """In layers start..stop-1 only image tokens with these ordinals take part; the others bypass them.

        Examples
        --------
        >>> SkipPlan.keep(2, None, [0, 1, 2, 300])
        SkipPlan('keep:2-=0-3+300')
        """
        ordinals = merged([(number, after(number)) for number in tokens], "token")
        return cls(kept=((start, stop, ordinals),))

    @classmethod
    def prune(cls, layer: int, fraction: float) -> SkipPlan:
        """From `layer` on only round(fraction x image tokens) image tokens take part (FastV).

        These are the tokens with the largest attention from the last prompt token in the layer before, averaged over
        heads; ties go to the earlier token. The last token of the call that brings the image decides, and the choice
        holds while decoding continues on its cache. Without a cache each call is a prompt and decides again. Assisted
        decoding appends candidates to the first call, so its last candidate decides.

        References
        ----------
        Chen et al. (2024), *An Image is Worth 1/2 Tokens After Layer 2*, arXiv:2403.06764.

        Examples
        --------
        >>> SkipPlan.prune(2, 0.5)
        SkipPlan('prune:2=0.5')
        """
        return cls(pruned=((layer, fraction),))

    @classmethod
    def rank(cls, layer: int, fraction: float) -> SkipPlan:
        """From `layer` on only round(fraction x image tokens) image tokens take part, by that layer's own attention.

        Before the layer runs, its queries and keys are computed for the tokens that would take part in it, and the
        image tokens stay to which the last prompt token attends most, mean over heads. So tokens are chosen by what
        the layer itself would read, without a first pass; the choice is made and held as in :meth:`prune`.

        References
        ----------
        Xing et al. (2024), *PyramidDrop: Accelerating Your Large Vision-Language Models via Pyramid Visual Redundancy
        Reduction*, arXiv:2410.17247.

        Examples
        --------
        >>> SkipPlan.rank(8, 0.5) | SkipPlan.rank(16, 0.25)
        SkipPlan('rank:8=0.5/rank:16=0.25')
        """
        return cls(ranked=((layer, fraction),))

    @classmethod
    def leave(cls, layer: int, fraction: float) -> SkipPlan:
        r"""From the feed-forward of `layer` on only round(fraction x image tokens) image tokens take part.

        All that run attend in the layer and are seen there; then those leave whose product of attention is lowest:
        from text, summed, times from image tokens, averaged, each the largest over heads. Leaving tokens add the
        layer's attention to their states, no feed-forward, and no later layer sees them.

        Notes
        -----
        :math:`s_j = \sum_{i \in text} \max_h A^{(h)}_{ij} \cdot \frac1V \sum_{i \in image} \max_h A^{(h)}_{ij}`.

        References
        ----------
        Ye et al. (2024), *Fit and Prune: Fast and Training-free Visual Token Pruning for Multi-modal Large Language
        Models*, arXiv:2409.10197.

        Examples
        --------
        >>> SkipPlan.leave(2, 0.9)
        SkipPlan('leave:2=0.9')
        """
        return cls(leaving=((layer, fraction),))

    @classmethod
    def merge(cls, layer: int | None, token: int, terms: Iterable[tuple[int, float]]) -> SkipPlan:
        """Before `layer`, the state of the image token `token` becomes a sum of weights times states of image tokens.

        All sums before a layer are of the states that enter it, also of tokens that bypass other layers; an ordinal
        that a sample does not have adds nothing. Merging alone removes no token: keep the others away.

        Parameters
        ----------
        layer : int or None
            First layer that reads the sum. None: the sum is of the vision encoder's features, before the projector
            makes tokens of them, as in PruMerge and VisionZip; for models of one image token per feature.
        token : int
            Ordinal of the image token.
        terms : pairs of (ordinal, weight)
            Repeated ordinals add up.

        References
        ----------
        Shang et al. (2024), *LLaVA-PruMerge: Adaptive Token Reduction for Efficient Large Multimodal Models*,
        arXiv:2403.15388.

        Examples
        --------
        >>> SkipPlan.merge(0, 3, [(3, 1.0), (7, 0.5)]) | SkipPlan.keep(0, None, [3])
        SkipPlan('keep:0-=3/merge:0=3~3x1.0,7x0.5')
        >>> SkipPlan.merge(None, 0, [(0, 1.0), (1, 0.5)])
        SkipPlan('merge:image=0~0x1.0,1x0.5')
        """
        return cls(merges=((FEATURES if layer is None else layer, token, tuple(terms)),))

    @classmethod
    def renumber(cls, start: int, stop: int | None) -> SkipPlan:
        """In layers start..stop-1 the positions of tokens are consecutive, as if the missing ones had never been there.

        A token's position is lowered by the number of tokens before it that take no part in the layer. Where no token
        is missing this changes nothing. PruMerge and PyramidDrop do so; FastV and VTW leave positions as they are.

        Examples
        --------
        >>> SkipPlan.keep(0, None, [3, 7]) | SkipPlan.renumber(0, None)
        SkipPlan('renumber:0-/keep:0-=3+7')
        """
        return cls(renumbered=((start, stop),))

    @classmethod
    def parse(cls, text: str) -> SkipPlan:
        """Read the text form: "none", "vision:0-4+24-32", "freeze:2-4/prune:6=0.5".

        Raises
        ------
        ValueError
            The text is not a plan; the message shows the forms.

        Examples
        --------
        >>> SkipPlan.parse("vision:4-6+0-2/mlp:3-5")
        SkipPlan('vision:0-2+4-6/mlp:3-5')
        """
        return cls._of(parsed(text))

    @classmethod
    def from_json(cls, text: str) -> SkipPlan:
        """Read the JSON form that :meth:`to_json` writes.

        Raises
        ------
        ValueError
            The text is not JSON of a plan.
        """
        return cls._of(plan_data(text))

    def to_json(self, *, indent: int | None = None) -> str:
        """JSON form, with the kinds other than vision and text where present.

        Examples
        --------
        >>> SkipPlan.late_entry(4).to_json()
        '{"vision": [[0, 4]], "text": []}'
        >>> SkipPlan.from_json('{"vision": [[24, null]], "text": []}')
        SkipPlan('vision:24-')
        """
        return json.dumps(self.to_dict(), indent=indent)

    def to_dict(self) -> dict[str, Any]:
        """What :meth:`to_json` writes, as a dictionary."""
        fields = {"freeze": self.frozen, "attention": self.attention, "mlp": self.mlp, "renumber": self.renumbered}
        chosen = {"prune": self.pruned, "rank": self.ranked, "leave": self.leaving}
        more = {**fields, "keep": self.kept, **chosen, "merge": self.merges}
        return {"vision": self.vision, "text": self.text, **{n: v for n, v in more.items() if v}}

    @classmethod
    def _of(cls, fields: Fields) -> SkipPlan:
        given: dict[str, Any] = {**fields.ranges, **fields.fractions}
        return cls(**given, kept=fields.kept, merges=fields.merges)

    def __or__(self, other: SkipPlan) -> SkipPlan:
        if not isinstance(other, SkipPlan):
            return NotImplemented
        return SkipPlan(**{name: value + getattr(other, name) for name, value in vars(self).items()})

    def __bool__(self) -> bool:
        return any(vars(self).values())

    def __str__(self) -> str:
        return written_plan(vars(self), self.kept, vars(self), self.merges)

    def __repr__(self) -> str:
        return f"SkipPlan({str(self)!r})"

    @property
    def chooses(self) -> bool:
        """Whether image tokens are chosen while the model runs, by the tokens of the call.

        Examples
        --------
        >>> SkipPlan.prune(2, 0.5).chooses, SkipPlan.keep(2, None, [0]).chooses
        (True, False)
        """
        return bool(self.pruned or self.ranked or self.leaving)

    @property
    def digest(self) -> str:
        """Twelve hexadecimal digits that identify the plan in file names and records.

        Examples
        --------
        >>> SkipPlan.late_entry(4).digest
        '3ccfb5af5e7f'
        """
        return hashlib.sha256(str(self).encode()).hexdigest()[:12]

    def layers(self, kind: Kind, depth: int) -> frozenset[int]:
        """The layers to which one kind of part applies, in a model of `depth` layers.

        Parameters
        ----------
        kind : {"vision", "text", "frozen", "attention", "mlp"}
            Layers that image or text tokens bypass, that freeze image tokens, or that lose a sub-layer.
        depth : int
            Number of decoder layers.

        Examples
        --------
        >>> sorted(SkipPlan.early_exit(6).layers("vision", depth=8))
        [6, 7]
        """
        ranges = getattr(self.resolved(depth), kind)
        return frozenset(layer for a, b in ranges for layer in range(a, b))

    def steps(self, depth: int) -> tuple[LayerPlan, ...]:
        """What the plan does in each layer of a model of `depth` layers.

        Examples
        --------
        >>> [step.vision for step in SkipPlan.parse("vision:0-1/freeze:1-3").steps(4)]
        ['skipped', 'frozen', 'frozen', 'run']
        """
        plan = self.resolved(depth)

        def step(layer: int) -> LayerPlan:
            vision: VisionMode = "run"
            if contains(plan.vision, layer):
                vision = "skipped"
            elif contains(plan.frozen, layer):
                vision = "frozen"
            return LayerPlan(
                vision,
                not contains(plan.text, layer),
                not contains(plan.attention, layer),
                not contains(plan.mlp, layer),
                next((tokens for a, b, tokens in plan.kept if contains(((a, b),), layer)), EVERYTHING),
                tuple(p for p in plan.pruned if p[0] <= layer),
                contains(plan.renumbered, layer),
                tuple(p for p in plan.ranked if p[0] <= layer),
                tuple(p for p in plan.leaving if p[0] < layer),
                dict(plan.leaving).get(layer),
                tuple((token, terms) for first, token, terms in plan.merges if first == layer),
            )

        return tuple(step(layer) for layer in range(depth))

    def resolved(self, depth: int) -> SkipPlan:
        """The same plan with the depth written in place of "to the last layer"; empty if it has no effect there.

        Raises
        ------
        ValueError
            The plan names layers that the model does not have, or prunes by an attention that it removes.

        Examples
        --------
        >>> SkipPlan.early_exit(6).resolved(8)
        SkipPlan('vision:6-8')
        >>> bool(SkipPlan.early_exit(8).resolved(8))
        False
        """
        names = ("vision", "text", "frozen", "attention", "mlp", "renumbered")
        parts = {name: getattr(self, name) for name in names}
        bounds = [r for ranges in parts.values() for r in ranges] + [(a, b) for a, b, _ in self.kept]
        chosen = {"pruned": self.pruned, "ranked": self.ranked, "leaving": self.leaving}
        single = [layer for pairs in chosen.values() for layer, _ in pairs] + [layer for layer, _, _ in self.merges]
        reach = max([max(a, b or 0) for a, b in bounds] + single, default=0)
        if reach > depth:
            raise ValueError(
                f"plan {self}: reaches to {reach}, but the model has {depth} decoder layers (0..{depth - 1})"
            )
        inside = ((0, depth),)

        def met(layer: int) -> bool:
            """Whether image tokens take part in a layer from this one on."""
            return bool(without(((layer, depth),) if layer < depth else (), self.vision))

        within: dict[str, Any] = {name: intersection(ranges, inside) for name, ranges in parts.items()}
        within |= {name: tuple(pair for pair in pairs if met(pair[0])) for name, pairs in chosen.items()}
        plan = SkipPlan(
            **within,
            kept=tuple((a, b, tokens) for s, e, tokens in self.kept for a, b in intersection(((s, e),), inside)),
            merges=tuple(merge for merge in self.merges if met(max(0, merge[0]))),
        )
        # Where no token is missing, renumbering changes nothing.
        missing = merged(
            (
                *plan.vision,
                *plan.text,
                *((a, b) for a, b, _ in plan.kept),
                *((layer, depth) for layer, _ in (*plan.pruned, *plan.ranked)),
                *((layer + 1, depth) for layer, _ in plan.leaving if layer + 1 < depth),
            )
        )
        plan = replace(plan, renumbered=intersection(plan.renumbered, missing))
        refuse_blind(vars(plan), self)
        return plan
