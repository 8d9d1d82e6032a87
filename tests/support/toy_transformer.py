"""A transformer on finitely many inputs, all of them enumerated: every quantity of its states is known exactly.

An input is an image of three patches with three possible values each, and a question that asks for one of two patches.
The answer is the value asked for, except in a tenth of the cases. Units are draws of an input and an answer.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from itertools import product

import numpy as np

from vlm.table import Table

VALUES, PATCHES, QUESTIONS, WIDTH, DEPTH, WRONG = 3, 3, 2, 6, 3, 0.1
VIEWS = ("last", "vision-mean")


@dataclass(frozen=True, eq=False)
class ToyTransformer:
    """Weights from a seed, and everything that follows from them."""

    seed: int = 0

    @cached_property
    def inputs(self) -> np.ndarray:
        """All inputs (54, 4): three patch values and the patch that is asked for."""
        return np.array(list(product(*[range(VALUES)] * PATCHES, range(QUESTIONS))))

    @cached_property
    def law(self) -> np.ndarray:
        """Probability of each input: patches are not uniform, and the question is independent of them."""
        share = np.array([0.5, 0.3, 0.2])
        return share[self.inputs[:, :PATCHES]].prod(axis=1) * np.array([0.6, 0.4])[self.inputs[:, PATCHES]]

    @cached_property
    def answers(self) -> np.ndarray:
        """Probability of each answer given the input, (54, 3)."""
        asked = self.inputs[np.arange(len(self.inputs)), self.inputs[:, PATCHES]]
        return (1.0 - WRONG) * np.eye(VALUES)[asked] + WRONG / VALUES

    @cached_property
    def states(self) -> dict[str, np.ndarray]:
        """States by view, each (layers + 1, 54, width): causal attention and a small network in every layer."""
        rng = np.random.default_rng(self.seed)
        patch, place = rng.normal(size=(VALUES, WIDTH)), rng.normal(size=(PATCHES + 1, WIDTH))
        question = rng.normal(size=(QUESTIONS, WIDTH))
        x = np.concatenate([patch[self.inputs[:, :PATCHES]], question[self.inputs[:, PATCHES:]]], axis=1) + place
        causal = np.triu(np.full((PATCHES + 1, PATCHES + 1), -np.inf), 1)
        kept = [x]
        for _ in range(DEPTH):
            q, k, v, inner, outer = (rng.normal(size=(WIDTH, WIDTH)) / WIDTH**0.5 for _ in range(5))
            score = (x @ q) @ (x @ k).transpose(0, 2, 1) + causal
            weight = np.exp(score - score.max(axis=-1, keepdims=True))
            x = x + (weight / weight.sum(axis=-1, keepdims=True)) @ (x @ v)
            x = x + np.tanh(x @ inner) @ outer
            kept.append(x)
        return {
            "last": np.stack([x[:, -1] for x in kept]),
            "vision-mean": np.stack([x[:, :PATCHES].mean(axis=1) for x in kept]),
        }

    def draw(self, n: int, rng: np.random.Generator) -> ToyRecord:
        """Recorded states of n independent draws."""
        which = rng.choice(len(self.law), size=n, p=self.law)
        told = np.array([rng.choice(VALUES, p=self.answers[i]) for i in which])
        return ToyRecord(self, which, told)


@dataclass(frozen=True, eq=False)
class ToyRecord:
    """Recorded states, as `vlm.profile_states` reads them; every draw is an item and an image of its own."""

    model: ToyTransformer
    which: np.ndarray
    told: np.ndarray
    views: tuple[str, ...] = VIEWS

    @property
    def layers(self) -> tuple[int, ...]:
        return tuple(range(DEPTH + 1))

    def layer(self, layer: int, view: str) -> np.ndarray:
        return self.model.states[view][layer][self.which]

    def groups(self, view: str) -> np.ndarray:
        return np.array([f"{i:05d}" for i in range(len(self.which))])

    def index(self, view: str) -> Table:
        names = self.groups(view)
        return Table({"item": names, "image": names, "answer": np.array([f"a{t}" for t in self.told])})
