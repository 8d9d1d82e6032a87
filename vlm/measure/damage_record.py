"""Predicted damage of plans: what each layer's action does to the answer's logits, and sums of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, get_args

import numpy as np

from redundancy.array_types import FloatArray
from redundancy.display import Displayed
from vlm.plans.plan import LayerPlan, SkipPlan
from vlm.plans.ranges import EVERYTHING
from vlm.table import Table

Action = Literal["remove", "freeze", "drop", "attention", "mlp"]
ACTIONS: tuple[Action, ...] = get_args(Action)
DamageMethod = Literal["surrogate", "measured"]


class Divergence(NamedTuple):
    """KL divergence (nats) of the plan's prediction from the full one, if layers' shifts simply added up.

    Attributes
    ----------
    value : float
        Of the summed shift.
    low, high : float
        The two-sided limits (16.2) of the same, from the shift's variance and range; high is the smaller of that and
        of range squared over 8.
    """

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False, repr=False)
class Damage(Displayed):
    r"""How much one action in one layer changes the answer's logits, per prompt; the result of :func:`vlm.damage`.

    A plan's numbers are sums over its layers. They order plans and certify nothing: two layers that can each do the
    same job show no damage one by one, and leaving out both is fatal (theory, section 16.3).

    Attributes
    ----------
    method : {"surrogate", "measured"}
        Whether shifts are first-order predictions from gradients, or measured by one run per action and layer.
    actions : tuple of str
        "remove" and "freeze" image tokens, "drop" the layer, drop its "attention" or its "mlp".
    shifts : float (prompts, actions, layers, classes)
        Change of each tracked class's logit minus that of the first, which is the full model's answer.
    logits : float (prompts, classes)
        Logit of each tracked class in the full model minus that of the first.
    mass : float (prompts,)
        Probability of the tracked classes together, in the full model.

    See Also
    --------
    vlm.damage : Makes one.

    Examples
    --------
    >>> import numpy as np
    >>> import vlm
    >>> shifts = np.array([[[[0.0, 0.5], [0.0, -1.0]]]])  # one prompt, one action, two layers, two classes
    >>> made = vlm.Damage("surrogate", ("remove",), shifts, np.array([[0.0, -0.8]]), np.ones(1))
    >>> made
    Damage(prompts=1, method='surrogate', actions=('remove',), layers=2)
    >>> made.per_layer().round(3)
    array([[0.231, 0.463]])
    >>> round(made.of("vision:0-2"), 3), round(made.joint("vision:0-2"), 3), made.changed("vision:0-2")
    (0.694, 0.231, 0.0)
    """

    method: DamageMethod
    actions: tuple[Action, ...]
    shifts: FloatArray
    logits: FloatArray
    mass: FloatArray

    def __repr__(self) -> str:
        return (
            f"Damage(prompts={len(self.shifts)}, method={self.method!r}, actions={self.actions}, layers={self.depth})"
        )

    @property
    def depth(self) -> int:
        """Number of decoder layers."""
        return int(self.shifts.shape[2])

    @property
    def probabilities(self) -> FloatArray:
        """Probabilities (prompts, classes) of the tracked classes in the full model, summing to 1."""
        weights = np.exp(self.logits - self.logits.max(axis=1, keepdims=True))
        result: FloatArray = weights / weights.sum(axis=1, keepdims=True)
        return result

    def per_prompt(self) -> FloatArray:
        """Damage sqrt(Var_p T) of each action in each layer, (prompts, actions, layers), in nats, at least 0."""
        result: FloatArray = np.sqrt(_variance(self.probabilities[:, None, None], self.shifts))
        return result

    def per_layer(self) -> FloatArray:
        """Mean over prompts of the damage, (actions, layers)."""
        result: FloatArray = self.per_prompt().mean(axis=0)
        return result

    def of(self, plan: SkipPlan | str) -> float:
        """Damage of a plan: the sum of its layers' damages, mean over prompts; 0 for the empty plan.

        Parameters
        ----------
        plan : SkipPlan or str
            Made of the actions that were measured, at most one per layer.

        Raises
        ------
        ValueError
            An action that was not measured, several in one layer, or the keeping or pruning of single tokens.
        """
        return float(sum(self.per_layer()[action, layer] for action, layer in self._parts(plan)))

    def joint(self, plan: SkipPlan | str) -> float:
        """Damage of the summed shifts, mean over prompts: at most :meth:`of`, which adds sizes."""
        return float(np.sqrt(_variance(self.probabilities, self.shift(plan))).mean())

    def shift(self, plan: SkipPlan | str) -> FloatArray:
        """Sum of the shifts of a plan's layers, (prompts, classes)."""
        total: FloatArray = np.zeros_like(self.logits)
        for action, layer in self._parts(plan):
            total = total + self.shifts[:, action, layer]
        return total

    def divergence(self, plan: SkipPlan | str) -> Divergence:
        """KL divergence of the prediction under the summed shifts, with the limits of (16.2); means over prompts."""
        p, shift = self.probabilities, self.shift(plan)
        centred = shift - (p * shift).sum(axis=1, keepdims=True)
        value = np.log((p * np.exp(centred)).sum(axis=1))
        variance, width = _variance(p, shift), np.ptp(shift, axis=1)
        high = np.minimum(variance * _phi(width), width**2 / 8)
        return Divergence(float(value.mean()), float((variance * _phi(-width)).mean()), float(high.mean()))

    def changed(self, plan: SkipPlan | str) -> float:
        """Share of prompts whose answer changes under the summed shifts, among the tracked classes: a diagnostic.

        With the shifts of the skipped network this would be exact (theory, section 16.3).
        """
        return float(((self.logits + self.shift(plan)).argmax(axis=1) != 0).mean())

    def table(self) -> Table:
        """One row per action and layer: `damage`, and the share of answers that it `changed`."""
        changed = (self.logits[:, None, None] + self.shifts).argmax(axis=-1) != 0
        action, layer = (a.reshape(-1) for a in np.indices(self.shifts.shape[1:3]))
        return Table(
            {
                "action": np.array(self.actions)[action],
                "layer": layer,
                "damage": self.per_layer().reshape(-1),
                "changed": changed.mean(axis=0).reshape(-1),
            }
        )

    def _parts(self, plan: SkipPlan | str) -> list[tuple[int, int]]:
        """(index of the action, layer) of every layer that the plan changes."""
        plan = SkipPlan.parse(plan) if isinstance(plan, str) else plan
        parts = []
        for layer, step in enumerate(plan.steps(self.depth)):
            if step == LayerPlan():
                continue
            action = _action(step)
            if action not in self.actions:
                what = f"{action!r}" if action else "several parts or single tokens"
                raise ValueError(
                    f"plan: expected one of the measured actions {', '.join(self.actions)} in each layer, got {what} "
                    f"in layer {layer} of {plan}; measure that plan itself"
                )
            parts.append((self.actions.index(action), layer))
        return parts


def action_plan(action: Action, start: int, stop: int) -> SkipPlan:
    """The plan that takes an action in layers start..stop-1."""
    layers = range(start, stop)
    if action == "remove":
        return SkipPlan.skip("vision", start, stop)
    if action == "freeze":
        return SkipPlan.freeze(start, stop)
    if action == "drop":
        return SkipPlan.drop(layers)
    return SkipPlan.drop_attention(layers) if action == "attention" else SkipPlan.drop_mlp(layers)


def _action(step: LayerPlan) -> Action | None:
    """The one action of a layer; None for several, for text alone, or for single tokens."""
    known: dict[LayerPlan, Action] = {
        LayerPlan(vision="skipped"): "remove",
        LayerPlan(vision="frozen"): "freeze",
        LayerPlan(vision="skipped", text=False): "drop",
        LayerPlan(attention=False): "attention",
        LayerPlan(mlp=False): "mlp",
    }
    return known.get(step) if step.kept == EVERYTHING else None


def _variance(p: FloatArray, values: FloatArray) -> FloatArray:
    """Variance of the values under p, over the last axis."""
    centred = values - (p * values).sum(axis=-1, keepdims=True)
    result: FloatArray = (p * centred**2).sum(axis=-1)
    return result


def _phi(u: FloatArray) -> FloatArray:
    """(e^u - u - 1) / u^2, 1/2 at 0; by its series where the difference would cancel."""
    small = np.abs(u) < 1e-3
    safe = np.where(small, 1.0, u)
    with np.errstate(over="ignore"):  # infinite for huge ranges, where the other limit is the smaller
        direct = (np.expm1(safe) - safe) / safe**2
    result: FloatArray = np.where(small, 0.5 + u / 6 + u**2 / 24, direct)
    return result
