"""VTW and ShortV, which choose layers by how much a plan changes the next-token prediction."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import torch
from torch import Tensor

from redundancy.array_types import FloatArray
from vlm.engine.last_token import last_logits
from vlm.engine.skipping import skipping
from vlm.models.families import Family
from vlm.models.types import Model
from vlm.plans.plan import SkipPlan
from vlm.selectors.ranking import Ranking, Units, by_layer

# The depth of the models for which the methods' constants were chosen.
LLAMA_DEPTH = 32


def prediction_divergence(
    model: Model, batches: Iterable[Mapping[str, Tensor]], plans: Sequence[SkipPlan], *, family: Family | None = None
) -> FloatArray:
    r"""Divergence of the prediction under each plan from the prediction without one, at the last prompt token.

    Parameters
    ----------
    model : PreTrainedModel
        A vision-language model of a known family.
    batches : iterable of mapping
        Keyword arguments of the model's forward: `input_ids`, `attention_mask`, `pixel_values`, ...
    plans : sequence of SkipPlan
        Each batch runs once under every plan, and once without one.
    family : Family, optional
        For a model that is not of a known family.

    Returns
    -------
    ndarray (samples, plans)
        In nats, >= 0 up to rounding.

    Raises
    ------
    ValueError
        No batch.

    See Also
    --------
    vlm.selectors.withdrawal, vlm.selectors.layer_contribution : Rankings by it.

    Notes
    -----
    :math:`KL(p_{plan} \| p_{full})`, computed in float64 from the logits.

    References
    ----------
    Lin et al. (2024), *Boosting multimodal large language models with visual tokens withdrawal for rapid
    inference*, arXiv:2405.05803; Yuan et al. (2025), *ShortV: efficient multimodal large language models by
    freezing visual tokens in ineffective layers*, arXiv:2504.00502.

    Examples
    --------
    >>> import vlm
    >>> from vlm import selectors, tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=4, kinds=("location",))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> plans = [vlm.SkipPlan.late_entry(2), vlm.SkipPlan.early_exit(4)]
    >>> selectors.prediction_divergence(model, [batch], plans).mean(axis=0).round(2)
    array([3.84, 5.17])
    """
    rows = []
    for batch in batches:
        full = _log_probabilities(model, batch, SkipPlan(), family)
        columns = []
        for plan in plans:
            short = _log_probabilities(model, batch, plan, family)
            columns.append((short.exp() * (short - full)).nan_to_num(nan=0.0, neginf=-torch.inf).sum(dim=-1))
        rows.append(torch.stack(columns, dim=1))
    if not rows:
        raise ValueError("batches: expected at least one, got none")
    return torch.cat(rows).cpu().numpy()


def withdrawal(divergence: FloatArray, *, eta: float = 0.003, first: int | None = None) -> Ranking:
    r"""VTW: withdraw all image tokens at the first layer from which on the answer no longer changes.

    The layer score is the change of the answer when image tokens are missing from layer d on: a function of the exit
    layer, not a property of one layer. A budget of n layers is an exit at L - n.

    Parameters
    ----------
    divergence : (samples, depth)
        Column d: :func:`prediction_divergence` under `SkipPlan.early_exit(d)`, d = 0 .. depth - 1.
    eta : float
        Largest divergence, in nats, at which the answer counts as unchanged: 0.003 for LLaVA 1.5 7B, 0.0005 for 13B,
        0.0001 for LLaVA-NeXT 7B.
    first : int, optional
        First layer that may be chosen; by default the authors' 5 of 32, scaled to this depth.

    Returns
    -------
    Ranking

    Raises
    ------
    ValueError
        A divergence of another shape.

    See Also
    --------
    vlm.selectors.withdrawal_plans : The plans whose divergence it takes.

    Notes
    -----
    :math:`D_d = E[KL(p_{exit\ at\ d} \| p_{full})]`; the exit layer is the first d >= `first` with D_d <= eta.

    References
    ----------
    Lin et al. (2024), *Boosting Multimodal Large Language Models with Visual Tokens Withdrawal for Rapid
    Inference*, arXiv:2405.05803 (about 20 samples; the README uses layer 15 for the 7B model).

    Examples
    --------
    >>> import numpy as np
    >>> from vlm import selectors
    >>> divergence = np.array([[2.0, 1.0, 0.5, 0.2, 0.01, 0.002, 0.001, 0.001]])  # exits at layers 0..7
    >>> str(selectors.withdrawal(divergence).plan())
    'vision:5-8'
    """
    if divergence.ndim != 2 or not divergence.size:
        raise ValueError(f"divergence: expected shape (samples, depth) of at least one sample, got {divergence.shape}")
    depth = divergence.shape[1]
    first = round(5 * depth / LLAMA_DEPTH) if first is None else first
    small = np.flatnonzero(divergence.mean(axis=0)[first:] <= eta)
    exit_layer = first + int(small[0]) if small.size else depth

    def last(_: FloatArray, number: int) -> Units:
        return tuple(range(depth - number, depth))

    def build(units: Units) -> SkipPlan:
        return SkipPlan.early_exit(units[0]).resolved(depth) if units else SkipPlan()

    return Ranking("VTW", "withdraw image tokens", divergence, divergence, depth, last, build, usual=depth - exit_layer)


def withdrawal_plans(depth: int) -> list[SkipPlan]:
    """The plans whose divergence :func:`withdrawal` takes: early exit at every layer.

    Parameters
    ----------
    depth : int
        Number of decoder layers.

    Returns
    -------
    list of SkipPlan

    See Also
    --------
    vlm.selectors.withdrawal : The ranking by their divergence.

    References
    ----------
    Lin et al. (2024), *Boosting multimodal large language models with visual tokens withdrawal for rapid
    inference*, arXiv:2405.05803.

    Examples
    --------
    >>> from vlm import selectors
    >>> [str(plan) for plan in selectors.withdrawal_plans(3)]
    ['vision:0-', 'vision:1-', 'vision:2-']
    """
    return [SkipPlan.early_exit(layer) for layer in range(depth)]


def layer_contribution(divergence: FloatArray) -> Ranking:
    r"""ShortV: freeze image tokens in the layers that contribute least to the answer.

    In frozen layers image states pass unchanged but still serve as keys and values for text. The authors freeze about
    60% of the layers.

    Parameters
    ----------
    divergence : (samples, depth)
        Column l: :func:`prediction_divergence` under `SkipPlan.freeze(l, l + 1)`.

    Returns
    -------
    Ranking

    See Also
    --------
    vlm.selectors.contribution_plans : The plans whose divergence it takes.

    Notes
    -----
    :math:`LC_l = E[KL(p_{frozen\ in\ l\ alone} \| p_{full})]`; the layers with the lowest are frozen together.

    References
    ----------
    Yuan et al. (2025), *ShortV: Efficient Multimodal Large Language Models by Freezing Visual Tokens in Ineffective
    Layers*, arXiv:2504.00502.

    Examples
    --------
    >>> import numpy as np
    >>> from vlm import selectors
    >>> str(selectors.layer_contribution(np.array([[0.3, 0.1, 0.02, 0.01]])).plan())
    'freeze:2-4'
    """
    return by_layer("ShortV", "freeze image tokens", divergence, frozen_vision, usual=0.6)


def contribution_plans(depth: int) -> list[SkipPlan]:
    """The plans whose divergence :func:`layer_contribution` takes: every layer frozen by itself.

    Parameters
    ----------
    depth : int
        Number of decoder layers.

    Returns
    -------
    list of SkipPlan

    See Also
    --------
    vlm.selectors.layer_contribution : The ranking by their divergence.

    References
    ----------
    Yuan et al. (2025), *ShortV: efficient multimodal large language models by freezing visual tokens in ineffective
    layers*, arXiv:2504.00502.

    Examples
    --------
    >>> from vlm import selectors
    >>> [str(plan) for plan in selectors.contribution_plans(3)]
    ['freeze:0-1', 'freeze:1-2', 'freeze:2-3']
    """
    return [SkipPlan.freeze(layer, layer + 1) for layer in range(depth)]


def frozen_vision(layers: Units) -> SkipPlan:
    """Image tokens are frozen in these layers."""
    plan = SkipPlan()
    for layer in layers:
        plan = plan | SkipPlan.freeze(layer, layer + 1)
    return plan


def _log_probabilities(model: Model, batch: Mapping[str, Tensor], plan: SkipPlan, family: Family | None) -> Tensor:
    """(batch, vocabulary) at the last prompt token of each row."""
    with torch.no_grad(), skipping(model, plan, family=family):
        return torch.log_softmax(last_logits(model, batch), dim=-1)
