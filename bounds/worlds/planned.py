"""Instances for the damage of a plan: the logits of a small network, run in full and with some layers skipped."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

from bounds.worlds.attention import softmax
from bounds.worlds.networks import ResidualWorld
from redundancy.array_types import FloatArray
from redundancy.display import Displayed


@dataclass(frozen=True, eq=False, repr=False)
class PlannedWorld(Displayed):
    """A residual network that ends in logits, run in full and under a plan that skips some of its layers.

    Attributes
    ----------
    network : ResidualWorld
        The layers and which of them the plan skips.
    unembedding : ndarray (n, d)
        Rows that turn the last state into logits.
    """

    network: ResidualWorld
    unembedding: FloatArray

    def _logits(self, state: FloatArray) -> FloatArray:
        out: FloatArray = self.unembedding @ state
        return out

    @cached_property
    def logits(self) -> FloatArray:
        """Logits of the full run, shape (n,)."""
        return self._logits(self.network.full[-1])

    @cached_property
    def planned(self) -> FloatArray:
        """Logits under the plan, shape (n,)."""
        return self._logits(self.network.rest_skipped(0, self.network.start))

    @property
    def change(self) -> FloatArray:
        """Logits under the plan less those of the full run, shape (n,)."""
        out: FloatArray = self.planned - self.logits
        return out

    @cached_property
    def terms(self) -> FloatArray:
        """T_l of (16.1): what planning layer l changes when the rest of the network is skipped, shape (L, n)."""
        net = self.network
        ends = [self._logits(net.rest_skipped(layer, state)) for layer, state in enumerate(net.full)]
        return np.array([ends[layer] - ends[layer + 1] for layer in range(len(ends) - 1)])

    @property
    def before(self) -> FloatArray:
        """The answer's distribution in the full run."""
        return softmax(self.logits)

    @property
    def after(self) -> FloatArray:
        """The answer's distribution under the plan."""
        return softmax(self.planned)

    @property
    def deviations(self) -> FloatArray:
        """Standard deviation of every T_l under the full run's distribution, shape (L,)."""
        return np.array([deviation(self.before, term) for term in self.terms])


def centred(distribution: FloatArray, change: FloatArray) -> FloatArray:
    """The change of the logits less its mean under the distribution."""
    out: FloatArray = change - distribution @ change
    return out


def deviation(distribution: FloatArray, change: FloatArray) -> float:
    """Standard deviation of a change of the logits under a distribution."""
    return float(np.sqrt(distribution @ centred(distribution, change) ** 2))
