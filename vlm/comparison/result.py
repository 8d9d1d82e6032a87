"""The table of a comparison: every method beside its random control, with intervals that hold together."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property

import numpy as np

import bounds
from redundancy import Estimate
from redundancy.array_types import FloatArray
from redundancy.display import Displayed
from vlm.comparison.method_names import LAYER_METHODS, TOKEN_METHODS
from vlm.item import Failure
from vlm.table import Table


@dataclass(frozen=True, repr=False)
class Outcome(Displayed):
    """Answers of one batch under one set of plans: `same` and `scores` per question; `places` says which they are."""

    budget: float
    method: str
    draw: int
    control: str
    plan: str
    cost: float
    places: tuple[int, ...]
    same: tuple[int, ...]
    scores: tuple[float | None, ...]


@dataclass(frozen=True, eq=False, repr=False)
class Comparison(Displayed):
    """Named methods and controls on the same questions; the result of :func:`vlm.comparison.comparing.compare_methods`.

    Attributes
    ----------
    outcomes : tuple of Outcome
    groups : tuple of str
        Image of each question.
    full : tuple of float
        Score of the full model's answer to each question, NaN without labels.
    confidence : float
        With which all intervals of :meth:`table` hold together.
    failures : tuple of Failure
        Items that could not be asked.
    kinds : tuple of str
        Kinds of methods that were compared: "layers", "tokens".
    """

    outcomes: tuple[Outcome, ...]
    groups: tuple[str, ...]
    full: tuple[float, ...]
    confidence: float
    failures: tuple[Failure, ...]
    kinds: tuple[str, ...] = ()

    @property
    def labelled(self) -> bool:
        """Whether scores are known; else methods are judged by agreement with the full model's answers."""
        return bool(np.isfinite(self.full).all())

    @cached_property
    def _values(self) -> dict[tuple[float, str, int], FloatArray]:
        """Per (budget, method, draw): agreement and score of every question (questions, 2), NaN where not judged."""
        out: dict[tuple[float, str, int], FloatArray] = {}
        for one in self.outcomes:
            key = (one.budget, one.method, one.draw)
            values = out.setdefault(key, np.full((len(self.groups), 2), np.nan))
            values[list(one.places), 0] = one.same
            values[list(one.places), 1] = [np.nan if s is None else s for s in one.scores]
        column = int(self.labelled)
        # A set that missed the cost in some batch has no row.
        return {key: values for key, values in out.items() if np.isfinite(values[:, column]).all()}

    def draws(self, budget: float, control: str) -> FloatArray:
        """(draws, questions): accuracy, or agreement without labels, of every draw of a control."""
        column = int(self.labelled)
        rows = [v[:, column] for (b, name, _), v in self._values.items() if (b, name) == (budget, control)]
        return np.array(rows).reshape(len(rows), len(self.groups))

    def table(self) -> Table:
        """One row per budget and method.

        Returns
        -------
        Table
            budget, method, plan ("one per prompt" where they differ), operations_ratio; agreement with the full model's
            answers and accuracy (NaN without labels), means over images; control, control_mean, control_low and
            control_high (mean and range of the draws), draws, percentile (share of the draws that do worse, ties half);
            versus_control with versus_low and versus_high: accuracy (agreement without labels) minus the mean of the
            draws, paired by question, with intervals over images that hold together for all rows.
        """
        costs: dict[tuple[float, str], list[float]] = defaultdict(list)
        about: dict[tuple[float, str], Outcome] = {}
        for one in self.outcomes:
            costs[one.budget, one.method] += [one.cost] * len(one.places)
            about.setdefault((one.budget, one.method), one)
        compared = {
            key: self.draws(key[0], one.control)
            for key, one in about.items()
            if one.control and (*key, 0) in self._values and len(self.draws(key[0], one.control))
        }
        rows = []
        for (budget, method), one in about.items():
            values = self._values.get((budget, method, 0))
            if values is None or method.startswith("random"):
                continue
            same, score = self._mean(values[:, 0]), self._mean(values[:, 1])
            row: dict[str, object] = {
                "budget": budget,
                "method": method,
                "plan": one.plan,
                "operations_ratio": float(np.mean(costs[budget, method])),
                "agreement": same,
                "accuracy": score,
                "control": one.control,
            }
            draws = compared.get((budget, method))
            rows.append(row | self._against(values[:, int(self.labelled)], draws, len(compared)))
        return Table.from_rows(rows)

    def left_out(self) -> Table:
        """The methods without a row at some budget: budget, method, and the share of the questions they were judged on.

        No number of units costs as much there within `vlm.comparison.method_plans.EQUAL`, in all or in some batches; or
        the method needs what the model or the prompts lack: a class token and one image of one view in each prompt
        (PruMerge, VisionZip, VScan, HoloV), as many image tokens in each (FitPrune), image tokens in a square (TopV).
        """
        names = (*LAYER_METHODS,) * ("layers" in self.kinds) + (*TOKEN_METHODS,) * ("tokens" in self.kinds)
        share: dict[tuple[float, str], int] = defaultdict(int)
        for one in self.outcomes:
            if one.control:
                share[one.budget, one.method] += len(one.places)
        rows: list[dict[str, object]] = [
            {"budget": budget, "method": name, "judged": share[budget, name] / len(self.groups)}
            for budget in dict.fromkeys(one.budget for one in self.outcomes if one.control)
            for name in names
            if share[budget, name] < len(self.groups)
        ]
        return Table.from_rows(rows)

    def controls(self) -> Table:
        """One row per budget and control: mean, lowest and highest draw, and quartiles, of the mean over images."""
        rows = []
        for budget, control in dict.fromkeys((b, name) for b, name, _ in self._values if name.startswith("random")):
            means = np.array([self._mean(draw) for draw in self.draws(budget, control)])
            costs = [o.cost for o in self.outcomes if (o.budget, o.method) == (budget, control)]
            low, quarter, middle, upper, high = np.quantile(means, [0, 0.25, 0.5, 0.75, 1])
            rows.append(
                {
                    "budget": budget,
                    "control": control,
                    "operations_ratio": float(np.mean(costs)),
                    "draws": len(means),
                    "mean": float(means.mean()),
                    "low": float(low),
                    "quarter": float(quarter),
                    "median": float(middle),
                    "three_quarters": float(upper),
                    "high": float(high),
                }
            )
        return Table.from_rows(rows)

    def _mean(self, values: FloatArray) -> float:
        """Mean over images."""
        if not np.isfinite(values).all():
            return float("nan")
        return float(Estimate.over_units(values, self.groups, quantity="mean", support=(0.0, 1.0)))

    def _against(self, values: FloatArray, draws: FloatArray | None, number: int) -> dict[str, object]:
        names = ("control_mean", "control_low", "control_high", "draws", "percentile")
        more = ("versus_control", "versus_low", "versus_high")
        if draws is None:
            return dict.fromkeys((*names, *more), np.nan)
        means = np.array([self._mean(draw) for draw in draws])
        mine = self._mean(values)
        ties = np.isclose(means, mine, atol=1e-12)
        percentile = float(((means < mine) & ~ties).mean() + 0.5 * ties.mean())
        difference = Estimate.over_units(values - draws.mean(axis=0), self.groups, quantity="mean", support=(-1.0, 1.0))
        limits = bounds.certify_mean(difference, self.confidence, simultaneous=number)
        against = (float(means.mean()), float(means.min()), float(means.max()), len(means), percentile)
        return dict(
            zip((*names, *more), (*against, float(difference), float(limits.low), float(limits.high)), strict=True)
        )
