"""The search for cheap joint plans: seeds, a beam, local moves, and more prompts for what survives."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from vlm.planner.evidence import BudgetSpent, Evidence, steps_of
from vlm.planner.expected_damage import expected_kl
from vlm.planner.frontier import Scored, frontier, fronts, scored
from vlm.planner.layer_actions import Action, neighbours, single_steps, with_action
from vlm.plans.plan import SkipPlan

Prior = Mapping[tuple[int, str], float]
Say = Callable[[Sequence[Scored]], None]
Expect = Callable[[str, int], None]


@dataclass(frozen=True)
class SearchSettings:
    """How far the search goes.

    Attributes
    ----------
    actions : sequence of str
        What layers may do.
    fractions : sequence of float
        Shares of image tokens that prunings may leave.
    max_loss : float
        The promise: the search refines plans around it.
    beam : int
        Plans that are continued in each round.
    children : int
        Plans measured in each round of local moves; half of them in each round of the beam.
    largest_kl : float
        Plans with a larger typical KL are not continued, nats, unless their loss may be within the promise.
    compared : int
        Questions on which plans of a round are compared in the end.
    rounds : int
        Rounds of local moves, at most.
    """

    actions: Sequence[Action]
    fractions: Sequence[float] = ()
    max_loss: float = 0.01
    beam: int = 4
    children: int = 96
    largest_kl: float = 0.03
    compared: int = 32
    rounds: int = 8


@dataclass(eq=False)
class Search:
    """One search for plans of a model.

    Attributes
    ----------
    evidence : Evidence
        Measures plans on the search's questions.
    cost : function
        Cost of a plan relative to the full model.
    depth : int
        Number of decoder layers.
    settings : SearchSettings
    prior : mapping of (layer, action) -> damage
        Orders what is measured first. Measured here if not given; it never decides.
    say : function
        Called with the frontier so far after each round.
    expect : function
        Called at the beginning of each round, and while it goes on, with its name and the largest number of
        question-forwards that it still takes.
    """

    evidence: Evidence
    cost: Callable[[SkipPlan], float]
    depth: int
    settings: SearchSettings
    prior: dict[tuple[int, str], float] = field(default_factory=dict)
    say: Say = lambda plans: None
    expect: Expect = lambda name, forwards: None
    methods: dict[SkipPlan, str] = field(default_factory=dict)
    complete: bool = False
    refining: bool = False
    _common: int = 0
    _starts: list[SkipPlan] = field(default_factory=list)
    _scored: dict[SkipPlan, Scored] = field(default_factory=dict)

    def run(self, seeds: Mapping[SkipPlan, str]) -> list[Scored]:
        """The frontier on all of the search's questions, mildest first; on fewer ones if the budget ends before.

        A budget that ends the exploration may leave something for the survivors; `refining` says where the search is.
        """
        explored = True
        try:
            self._singles()
            self._seeds(seeds)
            self._beam()
            self._local_moves()
        except BudgetSpent:
            explored = False
        self.refining = True
        try:
            self._survivors()
            self.complete = explored
        except BudgetSpent:
            pass
        return self.best()

    def best(self) -> list[Scored]:
        """The frontier of what was measured on most questions; the full model is its mild end.

        While survivors are measured on more questions, or where the budget ends that, what counts is the last number
        on which all of them were compared.
        """
        found = self.all()
        most = max((s.questions for s in found if s.plan), default=0)
        most = min(most, self._common or self.settings.compared)
        found = [s for s in found if s.questions >= most or not s.plan]
        safe = frontier(found, _by_cautious_loss)
        dearest = max((s.cost for s in safe if s.plan), default=0.0)
        # Where a budget ended between two numbers of questions, milder plans that saw fewer still come before.
        return [s for s in frontier(found, _by_loss) if s.cost > dearest] + [s for s in safe if s.plan]

    def all(self) -> list[Scored]:
        """Every plan that was measured."""
        out = [Scored(SkipPlan(), 1.0, 0.0, 0.0, self.evidence.size, "full model")]
        for plan, measured in self.evidence.measured():
            if plan:
                known = self._scored.get(plan)
                if known is None or known.questions < len(measured):
                    known = scored(plan, self.cost(plan), measured, self.methods.get(plan, "search"))
                    self._scored[plan] = known
                out.append(known)
        return out

    def _singles(self) -> None:
        """Damage of every single action; the prior of what follows."""
        given = dict(self.prior)
        steps = single_steps(SkipPlan(), self.settings.actions, self.settings.fractions, self.depth)
        unknown = [(plan, (start, what)) for plan, (start, _, what) in steps if (start, what) not in given]
        self.expect("search 1 of 5, single actions", self._needed([plan for plan, _ in unknown], [8]))
        for plan, key in unknown:
            self.prior[key] = float(self.evidence.on(plan, 8).kl.mean())
        self.say(self.best())

    def _seeds(self, seeds: Mapping[SkipPlan, str]) -> None:
        self.methods.update(seeds)
        kept = self._halving(list(seeds), [8, 16, self.settings.compared], share=0.25, name="2 of 5, named plans")
        good = [s for s in kept if self._hopeful(s)]
        self._starts = [s.plan for s in sorted(good, key=_merit)[: self.settings.beam]]
        self.say(self.best())

    def _beam(self) -> None:
        """Continue the full model and the best seeds by one action at a time, measured jointly."""
        beam: list[SkipPlan] = [SkipPlan(), *self._starts]
        seen: set[SkipPlan] = set()
        for number in itertools.count(1):
            if not beam:
                return
            children = self._children(beam, seen)
            seen.update(children)
            name = f"3 of 5, beam, round {number}"
            measured = self._halving(children, [8, 16, self.settings.compared], share=0.4, name=name)
            good = [s for s in measured if self._hopeful(s)]
            beam = [s.plan for s in sorted(good, key=_merit)[: self.settings.beam]]
            self.say(self.best())

    def _children(self, parents: Sequence[SkipPlan], seen: set[SkipPlan]) -> list[SkipPlan]:
        """The most promising unseen continuations, by their expected damage per cost saved."""
        costs = {
            child: self.cost(child)
            for parent in parents
            for child, _ in self._continuations(parent)
            if child not in seen and not self.evidence.count(child)
        }
        guessed = [s for s in self._guessed(costs) if s.cost < 1.0]
        return [s.plan for s in sorted(guessed, key=_merit)[: self.settings.children // 2]]

    def _continuations(self, parent: SkipPlan) -> Iterator[tuple[SkipPlan, tuple[int, int, str]]]:
        """One action more in one layer; in deep models also in windows of several layers at once."""
        settings = self.settings
        yield from single_steps(parent, settings.actions, settings.fractions, self.depth)
        for width in (2, 4):
            if self.depth >= 8 * width:
                for start in range(0, self.depth - width + 1, width // 2):
                    for action in settings.actions:
                        new = with_action(parent, start, start + width, action, self.depth)
                        if action != "run" and new is not None and self.cost(new) < self.cost(parent):
                            yield new, (start, start + width, action)

    def _local_moves(self) -> None:
        """Change, exchange and move actions of the plans around the promised loss, until nothing improves."""
        count = self.settings.compared
        tried: set[SkipPlan] = set()
        for number in range(1, self.settings.rounds + 1):
            around = [s for s in self._near(count) if s.plan and s.plan not in tried]
            if not around:
                return
            moves: dict[SkipPlan, float] = {}
            reach = max(self.settings.largest_kl, *(2.0 * s.typical_kl for s in around))
            for parent in around[: 2 * self.settings.beam]:
                tried.add(parent.plan)
                for new in neighbours(parent.plan, self.settings.actions, self.settings.fractions, self.depth):
                    # Only moves that are cheaper, or as good a place to go on from at little more cost.
                    if not self.evidence.count(new) and self.cost(new) <= parent.cost * 1.05:
                        moves.setdefault(new, self.cost(new))
            name = f"4 of 5, local moves, round {number} of at most {self.settings.rounds}"
            self._halving(self._promising(moves, reach), [8, 16, count], share=0.3, name=name)
            self.say(self.best())

    def _promising(self, moves: Mapping[SkipPlan, float], reach: float) -> list[SkipPlan]:
        """Of unmeasured plans, given with their costs, those that are expected to do least damage for their cost."""
        guessed = [s for s in self._guessed(moves) if s.typical_kl <= reach]
        chosen: list[Scored] = []
        while guessed and len(chosen) < self.settings.children:
            front = frontier(guessed, _by_kl)
            chosen += front
            names = {str(s.plan) for s in front}
            guessed = [s for s in guessed if str(s.plan) not in names]
        return [s.plan for s in chosen[: self.settings.children]]

    def _guessed(self, plans: Mapping[SkipPlan, float]) -> list[Scored]:
        """Unmeasured plans, given with their costs, with their expected damage."""
        if not plans:
            return []
        guesses = expected_kl(list(plans), [s for s in self.all() if s.plan], self.prior, depth=self.depth)
        return [
            Scored(plan, cost, 0.0, 0.0, 0, typical_kl=float(guess))
            for (plan, cost), guess in zip(plans.items(), guesses, strict=True)
        ]

    def _survivors(self) -> None:
        """More and more questions for the plans that may be on the frontier around the promise."""
        # As many frontiers as the budget of a round allows: 10 under a large one, 3 under a small one.
        layers = max(self.settings.children // 9, 3)
        # A small budget may have ended before any plan saw as many questions as are compared.
        seen = min(self.settings.compared, max((s.questions for s in self.all() if s.plan), default=0))
        self._common = seen
        for count in [step for step in steps_of(self.evidence.size) if step > seen]:
            near = self._near(count // 2, slack=1.5, layers=layers)
            first = {str(s.plan) for s in self._near(count // 2, slack=1.5, layers=1)}
            self.expect(f"search 5 of 5, {count} questions", self._needed([s.plan for s in near], [count]))
            # The first frontiers before the others, should the budget end here.
            for candidate in sorted(near, key=lambda s: str(s.plan) not in first):
                self.evidence.on(candidate.plan, count)
            layers = max(layers // 2, 3)
            self._common = count
            self.say(self.best())

    def _near(self, count: int, *, slack: float = 1.0, layers: int = 2) -> list[Scored]:
        """Plans on the first frontiers of what was measured on `count` questions, cheapest first; no hopeless ones.

        Of plans dearer than one that is safely within the promise only the first frontier counts.
        """
        found = [s for s in self.all() if s.plan and s.questions >= count]
        most = self.settings.max_loss
        good = [s for s in found if self._may_keep(s.loss, count, slack)]
        safe = min((s.cost for s in good if s.cautious_loss(2.0) <= most), default=1.0)
        kept: dict[str, Scored] = {}
        for value in (_by_loss, _by_kl):
            dear = frontier([s for s in good if s.cost > safe], value)
            kept |= {str(s.plan): s for s in (*fronts([s for s in good if s.cost <= safe], layers, value), *dear)}
        return sorted(kept.values(), key=lambda s: (s.cost, s.typical_kl, str(s.plan)))

    def _hopeful(self, plan: Scored) -> bool:
        """Whether a plan is worth going on from."""
        return plan.typical_kl <= self.settings.largest_kl or self._may_keep(plan.loss, plan.questions)

    def _may_keep(self, loss: float, count: int, slack: float = 1.0) -> bool:
        """Whether a loss on so many questions does not yet speak against the promise."""
        most = self.settings.max_loss
        return loss <= most + slack * 2.0 * float(np.sqrt(max(most, 1 / count) / count))

    def _halving(self, plans: Sequence[SkipPlan], counts: Sequence[int], *, share: float, name: str) -> list[Scored]:
        """Measure plans on 8, 16, ... questions, after each step only the best `share`; returns those of the last."""
        kept = list(plans)
        out: list[Scored] = []
        for number, count in enumerate(counts):
            self.expect(f"search {name}", self._needed(kept, counts[number:]))
            self._kl(kept, count)
            out = [scored(plan, self.cost(plan), self.evidence.on(plan, count)) for plan in kept]
            if number == 0:
                out = [s for s in out if self._hopeful(s)] or out
            order = sorted(out, key=_merit)
            best = {str(s.plan) for s in frontier(out, _by_kl)}
            room = max(2 * self.settings.beam, round(share * len(out)))
            out = [s for i, s in enumerate(order) if i < room or str(s.plan) in best]
            kept = [s.plan for s in out]
        return out

    def _needed(self, plans: Sequence[SkipPlan], counts: Sequence[int]) -> int:
        """Question-forwards that bring all of some plans to the last of some numbers of questions."""
        last = min(max(counts), self.evidence.size)
        return sum(max(last - self.evidence.count(plan), 0) for plan in plans)

    def _kl(self, plans: Sequence[SkipPlan], count: int) -> list[float]:
        return [float(self.evidence.on(plan, count).kl.mean()) for plan in plans]


def _merit(plan: Scored) -> tuple[float, float, str]:
    """KL per cost that is saved."""
    return plan.typical_kl / max(1.0 - plan.cost, 1e-9), plan.cost, str(plan.plan)


def _by_loss(plan: Scored) -> tuple[float, ...]:
    return plan.loss, plan.typical_kl


def _by_cautious_loss(plan: Scored) -> tuple[float, ...]:
    return plan.cautious_loss(), plan.typical_kl


def _by_kl(plan: Scored) -> tuple[float, ...]:
    return (plan.typical_kl,)
