"""How well the conditions predicted degradation: confusion table, rank correlation, AUC, each with an interval."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from redundancy import checks
from redundancy.array_types import BoolArray, FloatArray
from vlm.reports.statistics import FEWEST, RESAMPLES, area_under_curve, bootstrap, share
from vlm.table import Table

RATES = {
    "harmless when met": "what sufficient conditions promise",
    "degraded when not met": "what only necessary conditions would promise",
    "met when harmless": "how much of what is possible they find",
    "not met when degraded": "how many degradations they warn of",
}


@dataclass(frozen=True, eq=False)
class Prediction:
    """The conditions' verdicts beside what skipping cost.

    Attributes
    ----------
    cells : Table
        The given cells that the conditions speak about, with `met` and `degraded`.
    confusion : Table
        condition, outcome, count, of, share: the four cells of the table as shares of all; and two intervals:
        low, high if cells were independent, units_low, units_high over whole units.
    rates : Table
        rate, count, of, value, low, high, units_low, units_high, says: the four conditional shares.
    ranking : Table
        predictor, statistic, value, low, high, cells, units, undefined: how well the size of a measurement orders
        the change of accuracy (Spearman, Kendall tau-b) and separates degraded from harmless (AUC).
    settings : dict
        Tolerance, thresholds, confidence, resamples, seed.
    assumptions : tuple of str
        What the intervals assume.
    """

    cells: Table
    confusion: Table
    rates: Table
    ranking: Table
    settings: dict[str, Any]
    assumptions: tuple[str, ...]

    def sentences(self) -> list[str]:
        """The finding in words, one sentence each."""
        out = []
        for row in self.rates.rows():
            share = f"{row['count']} of {row['of']}"
            if row["of"]:
                share += f" = {row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
                share += f", over units [{row['units_low']:.2f}, {row['units_high']:.2f}]"
            out.append(f"{row['rate']}: {share} ({row['says']})")
        for row in self.ranking.rows():
            value = "undefined" if np.isnan(row["value"]) else f"{row['value']:+.2f}"
            out.append(
                f"{row['predictor']}, {row['statistic']}: {value} [{row['low']:.2f}, {row['high']:.2f}] "
                f"({row['cells']} cells in {row['units']} units)"
            )
        return out


def prediction(
    cells: Table,
    *,
    tolerance: float = 0.02,
    delta: float = 0.05,
    attention_limit: float = 0.1,
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Prediction:
    """Compare the conditions with the degradation that was measured.

    The conditions of a cell are met when closeness >= 1 - delta and attention <= attention_limit, by point
    estimates; what was not measured (NaN) or not asked for is left out of the judgement, and a cell without either
    is left out altogether. A cell is degraded when its change of accuracy is below -tolerance.

    Parameters
    ----------
    cells : Table
        One row per model, data set (or task group) and plan: model, dataset, closeness, attention, change;
        change_low, change_high (may be NaN); and, if there, distance_from_entry, which is ranked
        too. See `vlm.reports.condition_cells` and `vlm.published.cells`.
    tolerance : float
        Loss of accuracy that still counts as harmless, in [0, 1].
    delta, attention_limit : float
        Thresholds of the conditions, as in `vlm.decide`.
    confidence : float
        Of each interval by itself, in (0, 1).
    resamples, seed : int
        Of the bootstrap; equal ones give equal results.

    Returns
    -------
    Prediction

    Raises
    ------
    ValueError
        No cell that the conditions speak about, a missing column, thresholds outside [0, 1].
    """
    for name, number in (("tolerance", tolerance), ("delta", delta), ("attention_limit", attention_limit)):
        checks.probability(number, name=name)
    checks.probability(confidence, name="confidence", open_ends=True)
    known = (~np.isnan(cells["closeness"]) | ~np.isnan(cells["attention"])) & ~np.isnan(cells["change"])
    if not known.any():
        raise ValueError("prediction: expected cells with a measured condition and a change of accuracy, got none")
    kept = Table({name: values[known] for name, values in cells.columns.items()})
    closeness, attention, change = (kept[name].astype(np.float64) for name in ("closeness", "attention", "change"))
    # Thresholds are compared with numbers of three decimals: a rounding of the last bit must not decide.
    met = ~(closeness < 1 - delta - 1e-12) & ~(attention > attention_limit + 1e-12)
    degraded = change < -tolerance - 1e-12
    units = np.array([f"{m} / {d}" for m, d in zip(kept["model"], kept["dataset"], strict=True)])
    slack = np.fmin(closeness - (1 - delta), attention_limit - attention)
    predictors = {"closeness": closeness, "attention": -attention}
    if not (np.isnan(closeness) | np.isnan(attention)).all():
        predictors["both (smaller slack)"] = slack
    if "distance_from_entry" in kept.columns:
        predictors["distance from entry"] = -kept["distance_from_entry"].astype(np.float64)
    rows = []
    for name, values in predictors.items():
        seen = ~np.isnan(values)
        if not seen.any():
            continue
        rows += _ranked(name, values[seen], change[seen], degraded[seen], units[seen], confidence, resamples, seed)
    interval = partial(_share, units=units, confidence=confidence, resamples=resamples, seed=seed)
    return Prediction(
        cells=Table({**kept.columns, "met": met, "degraded": degraded}),
        confusion=_confusion(met, degraded, interval),
        rates=_rates(met, degraded, interval),
        ranking=Table.from_rows(rows),
        settings={
            "tolerance": tolerance,
            "delta": delta,
            "attention_limit": attention_limit,
            "confidence": confidence,
            "resamples": resamples,
            "seed": seed,
            "attention measured": bool((~np.isnan(attention)).any()),
            "undecided": int(((kept["change_low"] < -tolerance) & (kept["change_high"] >= -tolerance)).sum()),
        },
        assumptions=_assumptions(kept, units, confidence, resamples),
    )


def _ranked(
    name: str,
    values: FloatArray,
    change: FloatArray,
    degraded: BoolArray,
    units: NDArray[np.str_],
    confidence: float,
    resamples: int,
    seed: int,
) -> list[dict[str, Any]]:
    """Predictors are turned so that more of them promises a smaller loss."""
    from scipy.stats import kendalltau, spearmanr

    def correlation(measure: Callable[..., Any]) -> Callable[[NDArray[np.int64]], float]:
        def of(i: NDArray[np.int64]) -> float:
            constant = np.ptp(values[i]) == 0 or np.ptp(change[i]) == 0
            return np.nan if constant else float(measure(values[i], change[i]).statistic)

        return of

    statistics = {
        "Spearman": (correlation(spearmanr), (-1.0, 1.0)),
        "Kendall": (correlation(kendalltau), (-1.0, 1.0)),
        "AUC": (lambda i: area_under_curve(-values[i], degraded[i]), (0.0, 1.0)),
    }
    rows = []
    for label, (statistic, support) in statistics.items():
        low, high, undefined = bootstrap(
            statistic, units, support=support, confidence=confidence, resamples=resamples, seed=seed
        )
        rows.append(
            {
                "predictor": name,
                "statistic": label,
                "value": statistic(np.arange(len(values))),
                "low": low,
                "high": high,
                "cells": len(values),
                "units": len(set(units)),
                "undefined": undefined,
            }
        )
    return rows


def _confusion(met: BoolArray, degraded: BoolArray, interval: Callable[..., dict[str, Any]]) -> Table:
    rows = []
    for condition, holds in (("met", met), ("not met", ~met)):
        for outcome, happened in (("harmless", ~degraded), ("degraded", degraded)):
            found = interval(holds & happened, np.ones_like(met))
            rows.append({"condition": condition, "outcome": outcome, "share": found.pop("value"), **found})
    return Table.from_rows(rows)


def _rates(met: BoolArray, degraded: BoolArray, interval: Callable[..., dict[str, Any]]) -> Table:
    pairs = ((~degraded, met), (degraded, ~met), (met, ~degraded), (~met, degraded))
    rows = [
        {"rate": rate, **interval(happened, among), "says": says}
        for (rate, says), (happened, among) in zip(RATES.items(), pairs, strict=True)
    ]
    return Table.from_rows(rows)


def _share(
    happened: BoolArray, among: BoolArray, *, units: NDArray[np.str_], confidence: float, resamples: int, seed: int
) -> dict[str, Any]:
    """A share of some cells, with both intervals."""
    count, of = int((happened & among).sum()), int(among.sum())

    def again(i: NDArray[np.int64]) -> float:
        return float((happened & among)[i].sum() / among[i].sum()) if among[i].any() else np.nan

    value, low, high = share(count, of, confidence)
    units_low, units_high, _ = bootstrap(
        again, units, support=(0.0, 1.0), confidence=confidence, resamples=resamples, seed=seed
    )
    found = {"count": count, "of": of, "value": value, "low": low, "high": high}
    return found | {"units_low": units_low, "units_high": units_high}


def _assumptions(cells: Table, units: NDArray[np.str_], confidence: float, resamples: int) -> tuple[str, ...]:
    count, models = len(set(units)), len(set(cells["model"]))
    few = " With so few units it is a rough guide, and likely too short." if count < 20 else ""
    few = f" Fewer than {FEWEST} units tell nothing, so the whole range stands there." if count < FEWEST else few
    return (
        f"Shares, low and high: exact (Clopper-Pearson) {confidence:.0%} intervals, each by itself, if cells were "
        f"independent. Cells of one model and data set are not: read the wider of this and the one over units.",
        f"Shares over units, rank correlations and AUC: {confidence:.0%} percentile bootstrap over {count} units (a "
        f"model on a data set, with all its cells; {resamples} resamples), for exchangeable units.{few} They come from "
        f"{models} model{'s' if models > 1 else ''}: nothing is said about other models.",
    )
