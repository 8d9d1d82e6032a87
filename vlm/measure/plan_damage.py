"""Damage of every action in every layer, from gradients of the full run or from one run per action."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager, nullcontext
from typing import Any, get_args

import numpy as np
import torch
from torch import Tensor
from torch.utils.checkpoint import checkpoint as recomputed

from redundancy.array_types import FloatArray
from vlm.engine.forward_call import Call
from vlm.engine.hooks import Engine, attached
from vlm.engine.last_token import last_logits
from vlm.engine.skipping import skipping
from vlm.measure.damage_record import ACTIONS, Action, Damage, DamageMethod, action_plan
from vlm.models.families import Family
from vlm.models.types import Arguments, Forward, Model
from vlm.progress_bar import by_count


def damage(
    model: Model,
    batches: Iterable[Arguments] | Arguments,
    *,
    method: DamageMethod = "surrogate",
    actions: Sequence[Action] = ACTIONS,
    classes: int = 8,
    checkpoint: bool = False,
    family: Family | None = None,
    progress: bool = False,
) -> Damage:
    r"""Predict how much every action in every layer would change the answers, from unlabelled prompts.

    The surrogate takes one forward of the full model, one forward in which every layer also runs with the action (three
    for all actions), and one backward for each tracked class but the first. It needs neither answers nor Lipschitz
    constants. It orders layers and plans; it certifies nothing, and layers that can stand in for each other look
    harmless one by one. Run the plans that it puts first on a few prompts.

    Parameters
    ----------
    model : PreTrainedModel
        A vision-language model of a known family.
    batches : mapping, or iterable of mappings
        Arguments of the model's forward, as the processor makes them.
    method : {"surrogate", "measured"}
        "measured" runs every action in every layer, without gradients: for quantised models and as a check; 5 x layers
        forwards.
    actions : sequence of {"remove", "freeze", "drop", "attention", "mlp"}
        What may be done in a layer.
    classes : int
        How many of the full model's most likely tokens are tracked, at least 2; the variance is taken over them.
    checkpoint : bool
        Recompute each layer in the backward instead of keeping its activations.
    family : Family, optional
        For a model that is not of a known family.
    progress : bool
        Show a bar of batches with the time left.

    Returns
    -------
    Damage
        `damage.of(plan)` is the number that orders plans, in logits (nats).

    Raises
    ------
    ValueError
        No batch, unknown actions, fewer than two classes, or a model that passes no gradients on (``method="measured"``
        needs none).

    See Also
    --------
    vlm.decide : Conditions that license plans.
    vlm.consequences : What plans of single layers change, measured on states.

    Notes
    -----
    With :math:`\delta_l` the change that the action makes to state l + 1 when layer l alone takes it, in the full run,
    the surrogate of the term :math:`T_l` in (16.1) is :math:`\hat T_l = \langle \nabla_{h_{l+1}} z, \delta_l \rangle`,
    and the damage :math:`\sqrt{\mathrm{Var}_p \hat T_l}` is what (16.2) and (16.3) need.

    Memory beside the model, for one prompt of S tokens, L layers of width D: 4 L S D numbers for the changes, L S D for
    the states and the activations that a backward through the decoder needs, about 16 L S D; with ``checkpoint=True``
    those of one layer, 2 L S D instead. In 16-bit at L = 32, D = 4096, S = 640: 0.8 GB and 2.7 GB, or 0.3 GB with it.

    References
    ----------
    Theory, sections 16.1 and 16.4 (docs/explanation/theory).

    Examples
    --------
    >>> import vlm
    >>> from vlm import tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=20, kinds=("location", "count"))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> predicted = vlm.damage(model, batch)
    >>> predicted
    Damage(prompts=20, method='surrogate', actions=('remove', 'freeze', 'drop', 'attention', 'mlp'), layers=10)
    >>> predicted.of("vision:8-") < predicted.of("vision:4-")
    True
    """
    chosen = _checked(actions, method, classes)
    given: Iterable[Arguments] = [batches] if isinstance(batches, Mapping) else batches
    given = by_count(given, len(given) if isinstance(given, Sized) else None, "damage", shown=progress)
    with attached(model, family) as engine:
        if method == "surrogate":
            parts = [_surrogate(engine, batch, chosen, classes, checkpoint, family) for batch in given]
        else:
            parts = [_measured(engine, batch, chosen, classes, family) for batch in given]
    if not parts:
        raise ValueError("batches: expected at least one batch of prompts, got none")
    shifts, logits, mass = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Damage(method, chosen, shifts, logits, mass)


def _checked(actions: Sequence[Action], method: str, classes: int) -> tuple[Action, ...]:
    if method not in get_args(DamageMethod):
        raise ValueError(f"method: expected 'surrogate' or 'measured', got {method!r}")
    unknown = [action for action in actions if action not in ACTIONS]
    if unknown or not actions or isinstance(actions, str):
        raise ValueError(f"actions: expected some of {', '.join(ACTIONS)}, got {actions!r}")
    if classes < 2:
        raise ValueError(f"classes: expected at least 2, the answer and one other, got {classes}")
    return tuple(action for action in ACTIONS if action in actions)


def _tracked(logits: Tensor, classes: int) -> tuple[Tensor, FloatArray, FloatArray]:
    """The most likely tokens (batch, classes), their logits minus the first's, and their probability together."""
    top = logits.detach().topk(min(classes, logits.shape[1]), dim=1)
    mass = (top.values.logsumexp(dim=1) - logits.detach().logsumexp(dim=1)).exp()
    return top.indices, (top.values - top.values[:, :1]).cpu().numpy(), mass.cpu().numpy()


def _measured(
    engine: Engine, batch: Arguments, actions: tuple[Action, ...], classes: int, family: Family | None
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Shifts of one batch by one run per action and layer."""
    model, depth = engine.parts.model, engine.parts.depth
    with torch.no_grad():
        full = last_logits(model, batch)
        tokens, logits, mass = _tracked(full, classes)
        shifts = np.empty((len(full), len(actions), depth, logits.shape[1]))
        for row, action in enumerate(actions):
            for layer in range(depth):
                with skipping(model, action_plan(action, layer, layer + 1), family=family):
                    change = (last_logits(model, batch) - full).gather(1, tokens)
                shifts[:, row, layer] = (change - change[:, :1]).cpu().numpy()
    return shifts, logits, mass


def _surrogate(
    engine: Engine,
    batch: Arguments,
    actions: tuple[Action, ...],
    classes: int,
    checkpoint: bool,
    family: Family | None,
) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Shifts of one batch to first order: gradients of the full run times the change that each action makes."""
    model, depth = engine.parts.model, engine.parts.depth
    with torch.inference_mode(False), torch.enable_grad(), _frozen(model):
        full, states, vision = _full_run(engine, batch, checkpoint)
        if not full.requires_grad:
            raise ValueError(
                f"model: expected gradients from the logits to the states, got none from {type(model).__name__}, as "
                "with some quantised weights; use method='measured'"
            )
        tokens, logits, mass = _tracked(full, classes)
        here = full.device  # the layers of one model may be on different devices
        values, vision = [state.detach().to(here) for state in states], vision.to(here)
        with torch.no_grad():
            changes = {a: _changes(engine, batch, a, values, family) for a in actions if a not in ("freeze", "drop")}
        shifts = np.zeros((len(full), len(actions), depth, tokens.shape[1]))
        picked = full.gather(1, tokens)
        for number in range(1, tokens.shape[1]):
            difference = (picked[:, number] - picked[:, 0]).sum()
            last = number == tokens.shape[1] - 1
            gradients = torch.autograd.grad(difference, states[1:], retain_graph=not last)
            for layer, gradient in enumerate(part.to(here) for part in gradients):
                for row, action in enumerate(actions):
                    if action in changes:
                        products = _products(gradient, changes[action][layer])
                    else:  # the layer adds nothing, for image tokens or for all
                        products = _products(gradient, values[layer] - values[layer + 1])
                        products = products * vision if action == "freeze" else products
                    shifts[:, row, layer, number] = products.sum(dim=1).cpu().numpy()
    return shifts, logits, mass


def _products(gradient: Tensor, change: Tensor) -> Tensor:
    """(batch, tokens) inner products in float64."""
    return (gradient.to(torch.float64) * change.to(torch.float64)).sum(dim=-1)


def _full_run(engine: Engine, batch: Arguments, checkpoint: bool) -> tuple[Tensor, list[Tensor], Tensor]:
    """Logits at the answer, states 0..L in the graph of state 0, and which tokens are image tokens."""
    states: list[Tensor] = []
    images: list[Tensor] = []

    def begin(call: Call, index: int, state: Tensor) -> Tensor:
        return state.detach().requires_grad_(True) if index == 0 else state

    def keep(call: Call, layer: int, before: Tensor, after: Tensor) -> None:
        if layer == 0:
            states[:], images[:] = [before], [call.vision]
        states.append(after)

    again = {layer: _again(layer.forward) for layer in engine.parts.layers} if checkpoint else {}
    with (
        engine.rewrite_states(begin),
        engine.watch_layers(keep, lambda call: None, anywhere=True),
        engine.replace_forwards(again) if again else nullcontext(),
    ):
        logits = last_logits(engine.parts.model, batch)
    return logits, states, images[0]


def _again(forward: Forward) -> Forward:
    """The forward of a layer, run again in the backward."""

    def run(*args: Any, **kwargs: Any) -> Any:
        return recomputed(forward, *args, use_reentrant=False, **kwargs)

    return run


def _changes(
    engine: Engine, batch: Arguments, action: Action, states: list[Tensor], family: Family | None
) -> list[Tensor]:
    """Change of state l + 1, for each l, when layer l takes the action on the full run's state l: one forward."""
    changes: list[Tensor] = []

    def restore(call: Call, index: int, state: Tensor) -> Tensor:
        return states[index].to(state.device)

    def keep(call: Call, layer: int, before: Tensor, after: Tensor) -> None:
        changes.append(after.to(states[layer + 1].device) - states[layer + 1])

    model, depth = engine.parts.model, engine.parts.depth
    with (
        engine.watch_layers(keep, lambda call: None),
        engine.rewrite_states(restore),
        skipping(model, action_plan(action, 0, depth), family=family),
    ):
        last_logits(model, batch)
    return changes


@contextmanager
def _frozen(model: Model) -> Iterator[None]:
    """No gradients of the weights: the graph then keeps only what gradients of the states need."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in trained:
        parameter.requires_grad_(False)
    try:
        yield
    finally:
        for parameter in trained:
            parameter.requires_grad_(True)
