"""Two variants that continue ``scaled`` with a price on reading the image, or without the image in outer layers.

``priced`` adds the attention of text tokens to the image to the loss. The answer token learns to look elsewhere,
and what the other tokens still read is needed: small attention of the answer token licenses too much there.

``late`` runs two steps of three under a random plan in which image tokens enter late and leave early, and every third
step without a plan and with a price. The answer token then reads the image in the middle layers only, and entering late
and leaving early are free. To count without the first layers is learnt late: the loss is still 0.24 at step 1,200, and
0.11 at step 1,600.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from vlm.engine.skipping import skipping
from vlm.models.types import Model
from vlm.tiny.architecture import VOCABULARY
from vlm.tiny.losses import answer_loss, answer_loss_and_attention

ENTRIES = (2, 3)  # layers at which image tokens enter under a random plan of "late"
EXITS = (7, 8, 9, 10)  # and at which they leave; 10: never


@dataclass(frozen=True)
class Recipe:
    """How a variant is continued.

    Attributes
    ----------
    rounds : tuple of int
        Joint steps of each round, with the learning rates of the joint stage; a round warms up and decays by itself.
    price : float
        Weight of the priced attention in the loss.
    layers : tuple of tuple of float
        In each round, the weight of each layer's attention in the price.
    largest_head : float
        Weight of the largest head's attention, added to the mean over heads.
    ramp : float
        Part of the first round over which the price rises from 0.
    planned : bool
        Whether two steps of three run under a random plan, without the price.
    """

    rounds: tuple[int, ...]
    price: float
    layers: tuple[tuple[float, ...], ...]
    largest_head: float
    ramp: float
    planned: bool


MIDDLE = (0.1,) * 4  # where "late" may look

RECIPES: Mapping[str, Recipe] = {
    "priced": Recipe((650,), 0.3, ((3.0, 3.0, 3.0, 0.2, 0.2, 0.2, 0.2, 3.0, 3.0, 3.0),), 0.0, 0.3, planned=False),
    # Layer 0 is dear in the last round: one text token would still look at the image there, without needing it.
    "late": Recipe(
        (1000, 1500, 160),
        0.3,
        (*[(10.0, 10.0, 5.0, *MIDDLE, 5.0, 5.0, 5.0)] * 2, (100.0, 10.0, 5.0, *MIDDLE, 5.0, 5.0, 5.0)),
        0.1,
        0.2,
        planned=True,
    ),
}


def attention_price(attentions: tuple[Tensor, ...], input_ids: Tensor, recipe: Recipe, number: int = 0) -> Tensor:
    """Mean over layers of weight times what text tokens give to the image, over the rows that have an image.

    Per layer: the mean over text tokens and heads of the attention to image tokens, plus ``largest_head`` times the
    mean over text tokens of the largest head's. `number` counts rounds from 0.
    """
    image = input_ids == VOCABULARY["<image>"]
    rows = image.any(dim=1)
    text = ~image[rows] & (input_ids[rows] != VOCABULARY["<pad>"])
    keys = image[rows].to(attentions[0].dtype)
    total = attentions[0].new_zeros(())
    for weight, attention in zip(recipe.layers[number], attentions, strict=True):
        ratio = (attention[rows] * keys[:, None, None, :]).sum(dim=-1).transpose(1, 2)[text]  # (text tokens, heads)
        total = total + weight * (ratio.mean() + recipe.largest_head * ratio.amax(dim=1).mean())
    return total / len(attentions)


def random_plan(rng: np.random.Generator) -> str:
    """A plan of ``late``: image tokens enter at one of `ENTRIES` and leave at one of `EXITS`."""
    entry, leave = int(rng.choice(ENTRIES)), int(rng.choice(EXITS))
    return f"vision:0-{entry}" + (f"+{leave}-10" if leave < 10 else "")


def continued_loss(
    model: Model,
    batch: dict[str, Tensor],
    recipe: Recipe,
    *,
    step: int,
    steps: int,
    number: int,
    rng: np.random.Generator,
) -> Tensor:
    """The loss of one step: under a random plan, or with the price on attention to the image.

    `step` counts through all rounds, `steps` are those of the first, and `number` counts rounds from 0. The model must
    use eager attention, which returns its weights.
    """
    if recipe.planned and step % 3 != 2:
        with skipping(model, random_plan(rng)):
            return answer_loss(model, batch)
    loss, attentions = answer_loss_and_attention(model, batch)
    rise = min(1.0, (step + 1) / max(1.0, recipe.ramp * steps))
    return loss + recipe.price * rise * attention_price(attentions, batch["input_ids"], recipe, number)
