"""A ranking: what one method would skip at any budget."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.array_types import FloatArray
from redundancy.display import Displayed, plain
from redundancy.units import unit_means
from vlm.models.families import Family
from vlm.models.types import Model
from vlm.plans.cost import operations_ratio
from vlm.plans.plan import SkipPlan

Units = tuple[int, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Ranking(Displayed):
    """The scores of one method and the choice it makes from their mean; low scores are skipped first.

    The mean is over samples. Where images have several prompts, :meth:`over_images` makes images the samples, so that
    choices and intervals average over the same units.

    Attributes
    ----------
    method : str
        Name of the method.
    action : str
        What the method does to the chosen units, in words.
    scores : ndarray (samples, ...)
        The method's score of each unit (layer, sub-layer, block, token) on each sample.
    layer_scores : ndarray (samples, depth)
        The same per layer, to compare methods; for a sub-layer method the mean over both sub-layers.
    units : int
        Largest number of units that can be skipped.
    choose : function
        (mean scores, number) -> units to skip.
    build : function
        Units -> plan.
    usual : int
        Number of units that the method's authors skip, scaled to this depth.

    See Also
    --------
    vlm.selectors.block_influence, vlm.selectors.redundancy : Two functions that return one.

    Examples
    --------
    >>> from vlm import selectors
    >>> ranking = selectors.random_order(8, rng=0)
    >>> ranking
    Ranking(random: remove image tokens, 1 samples, 8 units)
    >>> ranking.order, ranking.chosen(2)
    ((5, 6, 0, 2, 1, 4, 3, 7), (5, 6))
    >>> str(ranking.plan(2))
    'vision:5-7'
    """

    method: str
    action: str
    scores: FloatArray
    layer_scores: FloatArray
    units: int
    choose: Callable[[FloatArray, int], Units]
    build: Callable[[Units], SkipPlan]
    usual: int

    def __post_init__(self) -> None:
        if self.scores.ndim < 2 or not len(self.scores):
            raise ValueError(f"{self.method}: expected scores of at least one sample, got shape {self.scores.shape}")
        if not np.isfinite(self.scores).all():
            raise ValueError(
                f"{self.method}: expected finite scores, got {int((~np.isfinite(self.scores)).sum())} others; measure "
                "prompts with an image, on finite states"
            )

    def __repr__(self) -> str:
        return f"Ranking({self.method}: {self.action}, {len(self.scores)} samples, {self.units} units)"

    def to_dict(self) -> dict[str, Any]:
        """Scores, order and usual number of units as plain Python values that JSON can hold."""
        names = ("method", "action", "scores", "layer_scores", "units", "usual", "order")
        return {name: plain(getattr(self, name)) for name in names}

    @property
    def depth(self) -> int:
        """Number of decoder layers."""
        return int(self.layer_scores.shape[1])

    @property
    def order(self) -> Units:
        """Layers, the first to be skipped first, by mean layer score; equal scores in order of depth."""
        return lowest(self.layer_scores.mean(axis=0), self.depth)

    def over_images(self, groups: ArrayLike) -> Ranking:
        """The same ranking with one sample per image, the mean over its prompts; `groups` (samples,) names the images.

        A ranking of one sample (a rule that does not depend on the data) stays as it is.

        Examples
        --------
        >>> import numpy as np
        >>> from vlm import selectors
        >>> ranking = selectors.withdrawal(np.array([[3.0, 1.0], [3.0, 1.0], [0.0, 3.5]]))
        >>> ranking.order, ranking.over_images(["a", "a", "b"]).order
        ((1, 0), (0, 1))
        """
        if len(self.scores) == 1:
            return self
        index, sizes = checks.group_index(groups, len(self.scores))
        means = unit_means(self.scores.reshape(len(self.scores), -1), index, sizes)
        layers = unit_means(self.layer_scores, index, sizes)
        return replace(self, scores=means.reshape(-1, *self.scores.shape[1:]), layer_scores=layers)

    def chosen(self, number: int) -> Units:
        """The units that are skipped for a budget of `number` units; ValueError outside 0..units."""
        if not 0 <= number <= self.units:
            raise ValueError(f"number: expected 0 to {self.units} units for {self.method}, got {number}")
        return self.choose(self.scores.mean(axis=0), number)

    def plan(self, number: int | None = None) -> SkipPlan:
        """The plan that skips `number` units, by default as many as the method's authors skip."""
        return self.build(self.chosen(self.usual if number is None else number))

    def plan_within(
        self, model: Model, ratio: float, *, vision: int, text: int, family: Family | None = None
    ) -> SkipPlan | None:
        """The mildest plan that costs at most `ratio` of the operations; None if no number of units does.

        Parameters
        ----------
        model : PreTrainedModel
            The model whose operations are counted.
        ratio : float
            Operations under the plan over operations without one, in [0, 1].
        vision, text : int
            Tokens of a prompt, as in `vlm.operations_ratio`.
        family : Family, optional
            For a model that is not of a known family.

        Returns
        -------
        SkipPlan or None
        """
        plans = (self.plan(number) for number in range(self.units + 1))
        return first_within(model, plans, ratio, vision=vision, text=text, family=family)


def first_within(
    model: Model, plans: Iterable[SkipPlan], ratio: float, *, vision: int, text: int, family: Family | None = None
) -> SkipPlan | None:
    """The first of several plans, mildest first, that costs at most `ratio` of the operations; None if none does.

    Parameters
    ----------
    model : PreTrainedModel
        The model whose operations are counted.
    plans : iterable of SkipPlan
        Mildest first.
    ratio : float
        Operations under the plan divided by operations without one, in [0, 1].
    vision, text : int
        Tokens of a prompt, as in `vlm.operations_ratio`.
    family : Family, optional
        For a model that is not of a known family.

    Returns
    -------
    SkipPlan or None

    See Also
    --------
    vlm.operations_ratio : The cost of one plan.

    References
    ----------
    Chen et al. (2024), *An image is worth 1/2 tokens after layer 2*, arXiv:2403.06764; Zhang et al. (2024),
    *SparseVLM: visual token sparsification for efficient vision-language model inference*, arXiv:2410.04417.

    Examples
    --------
    >>> import vlm
    >>> from vlm import selectors
    >>> model, _ = vlm.load("tiny")
    >>> plans = [vlm.SkipPlan.late_entry(k) for k in range(10)]
    >>> str(selectors.first_within(model, plans, 0.6, vision=36, text=9))
    'vision:0-5'
    """
    for plan in plans:
        if operations_ratio(model, plan, vision=vision, text=text, family=family) <= ratio:
            return plan
    return None


def lowest(scores: ArrayLike, number: int) -> Units:
    """Indices of the lowest scores, lowest first; ties are broken by the smaller index."""
    return tuple(int(i) for i in np.argsort(np.asarray(scores), kind="stable")[:number])


def by_layer(
    method: str, action: str, scores: FloatArray, build: Callable[[Units], SkipPlan], *, usual: float
) -> Ranking:
    """A ranking of layers by scores (samples, depth); `usual` is the fraction of layers that the authors skip."""
    depth = scores.shape[1]
    return Ranking(method, action, scores, scores, depth, lowest, build, round(usual * depth))
