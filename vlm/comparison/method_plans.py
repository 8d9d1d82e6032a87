"""The plans of every method, and of the controls, for some questions and one budget of operations."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations
from math import comb

import numpy as np
import torch
from torch import Tensor

from redundancy.array_types import FloatArray
from vlm import selectors
from vlm.comparison.calibration import Choices
from vlm.models.families import anatomy
from vlm.models.types import Model
from vlm.plans.cost import operations
from vlm.plans.layer_shapes import layer_shape
from vlm.plans.plan import SkipPlan
from vlm.plans.ranges import size_below
from vlm.selectors.fastv_sparsevlm import scaled_stages
from vlm.selectors.gamma_mod import without_vision
from vlm.selectors.ranking import Units
from vlm.selectors.state_similarity import halves
from vlm.selectors.vtw_shortv import frozen_vision

# Costs count as equal within this share of the full model's operations.
EQUAL = 0.02
# FastV's and DART's K, and the layer of the controls that leave the first layers alone.
LAYER = 2
REMOVE = "remove image tokens"
# Random sets that are tried for each one that is wanted at equal cost.
TRIES = 50


@dataclass(frozen=True)
class PlanSet:
    """Plans of one method, one for each question of a batch, or one for all.

    Attributes
    ----------
    method : str
        Name of the method or control.
    draw : int
        Number of the random draw; 0 where nothing is drawn.
    plans : tuple of SkipPlan
        One per question, or a single one.
    cost : float
        Mean operations over those of the full model.
    control : str
        Name of the control with which the method is compared, empty for controls.
    """

    method: str
    draw: int
    plans: tuple[SkipPlan, ...]
    cost: float
    control: str = ""


@dataclass(eq=False)
class Costs:
    """Operations of plans over those of the full model; plans that keep and merge as many tokens alike cost alike.

    Attributes
    ----------
    model : Model
    text : int
        Text tokens of a prompt.
    """

    model: Model
    text: int
    _known: dict[object, float] = field(default_factory=dict)
    _nearest: dict[object, int] = field(default_factory=dict)
    _full: dict[int, float] = field(default_factory=dict)

    @cached_property
    def layers_alike(self) -> bool:
        """Whether all layers have the same sizes, so that which of them a plan names does not matter."""
        parts = anatomy(self.model)
        return len({layer_shape(layer, parts.text_config, i) for i, layer in enumerate(parts.layers)}) == 1

    def __call__(self, plan: SkipPlan, vision: int) -> float:
        """Operations under the plan over those without one."""
        kept = tuple((a, b, size_below(tokens, vision)) for a, b, tokens in plan.kept)
        merges = tuple(sorted((layer, len(terms)) for layer, _, terms in plan.merges))
        key: object = (vision, kept, merges, *(v for name, v in vars(plan).items() if name not in ("kept", "merges")))
        if not (plan.kept or plan.chooses or plan.merges) and self.layers_alike:
            key = vision, frozenset(Counter(plan.steps(anatomy(self.model).depth)).items())
        if key not in self._known:
            if vision not in self._full:
                self._full[vision] = operations(self.model, vision=vision, text=self.text).total
            self._known[key] = (
                operations(self.model, vision=vision, text=self.text, plan=plan).total / self._full[vision]
            )
        return self._known[key]

    def nearest(
        self,
        plan_of: Callable[[int], SkipPlan],
        numbers: Sequence[int],
        vision: int,
        ratio: float,
        *,
        alike: str | None = None,
    ) -> int:
        """The number whose plan costs most nearly `ratio`; the smaller cost of two as near.

        Searches with the same name `alike`, on as many image tokens, have plans of the same costs and are done once.
        """
        key = (alike, vision, ratio)
        if alike is None or key not in self._nearest:
            self._nearest[key] = min(numbers, key=lambda n: (round(abs(self(plan_of(n), vision) - ratio), 9), n))
        return self._nearest[key]


# What units are under the actions of methods that choose layers or sub-layers; both late insertion and withdrawal
# remove image tokens, and are compared with all sets of as many layers.
_BUILD: Mapping[str, Callable[[Units], SkipPlan]] = {
    "freeze image tokens": frozen_vision,
    REMOVE: without_vision,
    "drop layers": SkipPlan.drop,
    "drop attention": SkipPlan.drop_attention,
    "drop mlp": SkipPlan.drop_mlp,
    "drop sub-layers": halves,
}


def layer_sets(
    methods: Sequence[Choices], costs: Costs, vision: int, ratio: float, *, draws: int, rng: np.random.Generator
) -> Iterator[PlanSet]:
    """Plans of methods that choose layers or sub-layers, and random choices of as many, each set equally likely.

    A method whose costs all miss the ratio by more than `EQUAL` has no plan. A control is drawn once for each action
    and number of units: all choices at equal cost if they are at most `draws`.
    """
    done: set[str] = set()
    for one in methods:
        number = costs.nearest(one.plans.__getitem__, range(one.units + 1), vision, ratio)
        plan = one.plans[number]
        cost = costs(plan, vision)
        if number == 0 or abs(cost - ratio) > EQUAL:
            continue
        action, units = (one.action, one.units) if one.action in _BUILD else (REMOVE, one.depth)
        control = f"random: {action}, {number} of {units}"
        yield PlanSet(one.method, 0, (plan,), cost, control)
        if control in done:
            continue
        done.add(control)
        sets = _Sets(costs, vision, one.depth, units, number, _BUILD[action], cost)
        for draw, plan in enumerate(sets.drawn(draws, rng)):
            yield PlanSet(control, draw, (plan,), costs(plan, vision))


@dataclass(eq=False)
class _Sets:
    """Sets of `number` of `units` layers or sub-layers whose plans cost `middle` within `EQUAL`."""

    costs: Costs
    vision: int
    depth: int
    units: int
    number: int
    build: Callable[[Units], SkipPlan]
    middle: float
    known: dict[object, bool] = field(default_factory=dict)

    def drawn(self, draws: int, rng: np.random.Generator) -> Iterator[SkipPlan]:
        """The plans of all sets if they are at most `draws`, else of as many different ones, each equally likely.

        All sets are looked at if there are at most `TRIES` for each draw; else as many are tried.
        """
        if comb(self.units, self.number) <= TRIES * draws:
            found = [chosen for chosen in combinations(range(self.units), self.number) if self.equal(chosen)]
            if len(found) > draws:
                found = [found[i] for i in sorted(rng.choice(len(found), size=draws, replace=False).tolist())]
            yield from map(self.build, found)
            return
        seen: set[Units] = set()
        accepted = 0
        for _ in range(TRIES * draws):
            chosen = selectors.random_tokens(self.units, self.number, rng=rng)
            if chosen not in seen and self.equal(chosen):
                yield self.build(chosen)
                accepted += 1
            seen.add(chosen)
            if accepted == draws:
                return

    def equal(self, chosen: Units) -> bool:
        """Whether the plan of a set costs as much; sets that differ in the order of like layers alone cost alike."""
        key: object = chosen
        if self.costs.layers_alike:
            share = self.units // self.depth
            parts: dict[int, list[int]] = {}
            for unit in chosen:
                parts.setdefault(unit // share, []).append(unit % share)
            key = frozenset(Counter(map(tuple, parts.values())).items())
        if key not in self.known:
            self.known[key] = abs(self.costs(self.build(chosen), self.vision) - self.middle) <= EQUAL
        return self.known[key]


@dataclass(frozen=True, eq=False)
class Seen:
    """What methods that choose image tokens look at, per question of a batch."""

    features: selectors.FeatureRecord
    tokens: selectors.TokenRecord
    encoder: selectors.ImageFeatureRecord | None


def look(model: Model, batch: Mapping[str, Tensor]) -> Seen:
    """One forward of the full model on a batch, with everything that token methods measure."""
    depth = anatomy(model).depth
    with torch.no_grad(), ExitStack() as stack:
        try:
            encoder = stack.enter_context(selectors.encoder_features(model))
        except TypeError:
            encoder = None
        features = stack.enter_context(selectors.token_features(model, LAYER))
        tokens = stack.enter_context(selectors.token_scores(model, sorted(set(scaled_stages(depth)))))
        model(**batch, use_cache=False, logits_to_keep=1)
    return Seen(features, tokens, encoder)


def token_sets(
    seen: Seen,
    costs: Costs,
    depth: int,
    ratio: float,
    *,
    draws: int,
    seeds: Sequence[int],
    fit: Sequence[FloatArray] = (),
) -> Iterator[PlanSet]:
    """Plans of the methods that choose image tokens, for the questions of a batch, and of random and grid tokens.

    Parameters
    ----------
    seen : Seen
        Of the batch.
    costs : Costs
    depth : int
        Number of decoder layers.
    ratio : float
        Operations over those of the full model.
    draws : int
        Random draws of tokens.
    seeds : sequence of int
        One per question; draws of a question depend on its seed alone, not on the batch.
    fit : sequence of ndarray
        What FitPrune is fitted to, from calibration prompts; without it FitPrune has no plan.
    """
    prompts = seen.features.prompts()
    rows = range(len(prompts))
    vision = [int(p.image.sum()) for p in prompts]
    single = seen.encoder is not None and seen.encoder.samples == len(prompts)

    def keeping(layer: int, row: int) -> int:
        count = vision[row]
        plan_of = _keeping(count, layer)
        return costs.nearest(plan_of, range(count + 1), count, ratio, alike=f"tokens from {layer}")

    def made(method: str, choose: Callable[[int, int], SkipPlan], control: str, draw: int = 0) -> Iterator[PlanSet]:
        plans = tuple(choose(row, vision[row]) for row in rows)
        cost = float(np.mean([costs(plan, n) for plan, n in zip(plans, vision, strict=True)]))
        if abs(cost - ratio) <= EQUAL:
            yield PlanSet(method, draw, plans, cost, control)

    for layer in (0, LAYER):
        kept = [keeping(layer, row) for row in rows]
        name = f"random tokens from layer {layer}"
        for draw in range(draws):
            yield from made(name, _random_tokens(kept, layer, draw, seeds), "", draw)
        yield from made(f"grid tokens from layer {layer}", _grid_tokens(kept, layer), name)
    first, later = (f"random tokens from layer {layer}" for layer in (0, LAYER))
    outside, inside = ([keeping(layer, row) for row in rows] for layer in (0, LAYER))
    yield from made("FastV", lambda r, n: SkipPlan.prune(LAYER, inside[r] / n), later)
    yield from made(
        "DART",
        lambda r, n: selectors.keep_plan(
            selectors.dart_tokens(prompts[r].states, prompts[r].keys, prompts[r].image, inside[r]), n, layer=LAYER
        ),
        later,
    )
    yield from made(
        "DivPrune",
        lambda r, n: selectors.keep_plan(selectors.divprune_tokens(prompts[r].projected, outside[r]), n),
        first,
    )
    stages = scaled_stages(depth)
    if len(set(stages)) == len(stages):
        rated = [seen.tokens.text_raters(stage) for stage in stages]

        def sparse(row: int, count: int) -> SkipPlan:
            scores = [r[row] for r in rated]
            n = costs.nearest(
                lambda k: selectors.sparsevlm_plan(scores, stages, k / count),
                range(count + 1),
                count,
                ratio,
                alike="SparseVLM",
            )
            return selectors.sparsevlm_plan(scores, stages, n / count)

        yield from made("SparseVLM (v1)", sparse, later)
        corrected = [seen.tokens.plus(stage) for stage in stages]

        def sparse_plus(row: int, count: int) -> SkipPlan:
            scores = [r[row] for r in corrected]
            n = costs.nearest(
                lambda k: selectors.sparsevlm_plus_plan(scores, stages, k / count),
                range(count + 1),
                count,
                ratio,
                alike="SparseVLM+",
            )
            return selectors.sparsevlm_plus_plan(scores, stages, n / count)

        if all(np.isfinite(one).all() for rows_of in corrected for one in rows_of):
            yield from made("SparseVLM+", sparse_plus, later)
    yield from made("TopV", lambda r, n: _topv(costs, prompts[r], n, ratio), later)
    yield from made("PyramidDrop", lambda r, n: _pyramid(costs, depth, n, ratio), later)
    alike = [one for one in fit if one.shape[-1] == vision[0]]
    if alike and len(set(vision)) == 1:
        fitted = selectors.fitprune_plan(alike, lambda plan: costs(plan, vision[0]), ratio + EQUAL / 2)
        yield from made("FitPrune", lambda r, n: fitted, later)
    if not single or seen.encoder is None:
        return
    images = seen.encoder.images()
    read, looked = [one.scores for one in images], [one.attention for one in images]

    def plus(row: int, count: int) -> SkipPlan:
        numbers = range(1, count // 3 + 1)
        n = costs.nearest(lambda k: selectors.prumerge_plus_plan(read[row], k), numbers, count, ratio)
        return selectors.prumerge_plus_plan(read[row], n)

    merged: dict[str, tuple[Callable[[int], SkipPlan], Callable[[int, int], SkipPlan]]] = {
        "PruMerge": (
            lambda k: selectors.keep_plan(range(k + 1), vision[0]),
            lambda r, k: selectors.prumerge_merged_plan(images[r], k),
        ),
        "VisionZip": (
            lambda k: selectors.keep_plan(range(k), vision[0]),
            lambda r, k: selectors.visionzip_merged_plan(images[r], k),
        ),
        "VScan": (
            lambda k: selectors.vscan_plan(images[0], k, depth=depth),
            lambda r, k: selectors.vscan_plan(images[r], k, depth=depth),
        ),
    }
    for name, (like, plan_of) in merged.items():
        number = costs.nearest(like, range(1, vision[0] - 1), vision[0], ratio, alike=name)
        yield from made(name, lambda r, n, plan_of=plan_of, number=number: plan_of(r, number), first)  # type: ignore[misc]

    def merged_plus(row: int, count: int) -> SkipPlan:
        numbers = range(1, count // 3 + 1)

        def like(k: int) -> SkipPlan:
            kept = selectors.prumerge_plus_plan(images[row].scores, k).kept
            size = count if not kept else sum((b or count) - a for a, b in kept[0][2])
            return selectors.keep_plan(range(min(count, size + 1)), count)

        return selectors.prumerge_merged_plan(images[row], costs.nearest(like, numbers, count, ratio), plus=True)

    yield from made("PruMerge+", merged_plus, first)
    yield from made("PruMerge (choice)", lambda r, n: selectors.prumerge_plan(read[r], outside[r]), first)
    yield from made("PruMerge+ (choice)", plus, first)
    yield from made(
        "lowest class attention",
        lambda r, n: selectors.prumerge_plan(-np.asarray(read[r]), outside[r]),
        first,
    )
    yield from made(
        "HoloV",
        lambda r, n: selectors.keep_plan(selectors.holov_tokens(prompts[r].projected, looked[r], outside[r]), n),
        first,
    )
    yield from made(
        "VisionZip (choice)",
        lambda r, n: selectors.keep_plan(selectors.visionzip_tokens(looked[r], outside[r]), n),
        first,
    )


def _topv(costs: Costs, prompt: selectors.PromptFeatures, count: int, ratio: float) -> SkipPlan:
    """TopV's tokens go on after layer `LAYER`."""
    n = costs.nearest(_keeping(count, LAYER + 1), range(count + 1), count, ratio, alike=f"tokens from {LAYER + 1}")
    if round(count**0.5) ** 2 != count:
        return SkipPlan()
    return selectors.keep_plan(selectors.topv_tokens(prompt.inputs, prompt.outputs, n), count, layer=LAYER + 1)


def _pyramid(costs: Costs, depth: int, count: int, ratio: float) -> SkipPlan:
    """PyramidDrop with the share per stage whose cost is nearest."""

    def plan_of(percent: int) -> SkipPlan:
        return selectors.pyramiddrop_plan(count, depth=depth, ratio=percent / 100)

    try:
        plan_of(50)
    except ValueError:
        return SkipPlan()
    return plan_of(costs.nearest(plan_of, range(0, 101, 2), count, ratio, alike="PyramidDrop"))


def _keeping(count: int, layer: int) -> Callable[[int], SkipPlan]:
    return lambda n: selectors.keep_plan(range(n), count, layer=layer)


def _random_tokens(kept: Sequence[int], layer: int, draw: int, seeds: Sequence[int]) -> Callable[[int, int], SkipPlan]:
    def choose(row: int, count: int) -> SkipPlan:
        rng = np.random.default_rng([seeds[row], layer, draw])
        return selectors.keep_plan(selectors.random_tokens(count, kept[row], rng=rng), count, layer=layer)

    return choose


def _grid_tokens(kept: Sequence[int], layer: int) -> Callable[[int, int], SkipPlan]:
    return lambda row, count: selectors.keep_plan(selectors.grid_tokens(count, kept[row]), count, layer=layer)
