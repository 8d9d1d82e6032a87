"""How well the conditions predicted degradation: confusion table, rank correlations and AUC, with intervals."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from redundancy import checks
from redundancy.array_types import BoolArray, FloatArray, IntArray
from redundancy.display import Displayed
from vlm.reports.statistics import FEWEST, RESAMPLES, area_under_curve, bootstrap, share
from vlm.table import Table

Interval = Callable[[BoolArray, BoolArray], dict[str, float]]
RATES = {
    "harmless when met": "what sufficient conditions promise",
    "degraded when not met": "what only necessary conditions would promise",
    "met when harmless": "how much of what is possible they find",
    "not met when degraded": "how many degradations they warn of",
}


@dataclass(frozen=True, repr=False)
class PredictionSettings(Displayed):
    """The settings of a :class:`Prediction`, and two facts about its cells.

    Attributes
    ----------
    tolerance, delta, attention_limit, confidence, resamples, seed
        The arguments of :func:`prediction`.
    attention_measured : bool
        Whether attention was measured for any cell.
    undecided : int
        Cells whose interval of the change contains -tolerance, so that degradation is undecided.
    """

    tolerance: float
    delta: float
    attention_limit: float
    confidence: float
    resamples: int
    seed: int
    attention_measured: bool
    undecided: int


@dataclass(frozen=True, eq=False, repr=False)
class Prediction(Displayed):
    """The verdicts of the conditions beside the degradation that was measured.

    Attributes
    ----------
    cells : Table
        The cells that the conditions judge, with columns `met` and `degraded`.
    confusion : Table
        condition, outcome, count, of, share: the confusion table, as shares of all cells. Two intervals: low, high
        for independent cells; units_low, units_high over whole units.
    rates : Table
        rate, count, of, value, low, high, units_low, units_high, says: the four conditional shares.
    ranking : Table
        predictor, statistic, value, low, high, cells, units, undefined: how well the size of a measurement orders
        the change of accuracy (Spearman, Kendall tau-b) and separates degraded from harmless (AUC).
    licences : Table
        criterion, licensed, harmless, degraded, worst: what each criterion would have allowed, and the worst change of
        accuracy among those cells (NaN without any).
    calibration : Table
        Cells in groups of growing predicted damage: damage, damage_low, damage_high (its range), change, change_low,
        change_high (mean and range of the measured change), cells. Empty where no damage was predicted.
    settings : PredictionSettings
        Tolerance, thresholds, confidence, resamples, seed.
    assumptions : tuple of str
        The assumptions of the intervals.

    See Also
    --------
    prediction : Makes one.

    Examples
    --------
    >>> from vlm import Table
    >>> from vlm.reports import Prediction, prediction
    >>> row = {"model": "a", "attention": 0.05, "change_low": -0.2, "change_high": 0.02}
    >>> changes = {"gqa": -0.1, "mmmu": -0.05, "ai2d": 0.0, "mmstar": 0.01}
    >>> rows = [{**row, "dataset": name, "closeness": 0.99, "change": change} for name, change in changes.items()]
    >>> result = prediction(Table.from_rows(rows), resamples=20)
    >>> isinstance(result, Prediction), len(result.cells)
    (True, 4)
    """

    cells: Table
    confusion: Table
    rates: Table
    ranking: Table
    licences: Table
    calibration: Table
    settings: PredictionSettings
    assumptions: tuple[str, ...] = field(repr=False)

    def sentences(self) -> list[str]:
        """The rates and rank correlations in words, one sentence each."""
        out = []
        for row in self.rates.rows():
            rate = f"{row['count']} of {row['of']}"
            if row["of"]:
                rate += f" = {row['value']:.2f} [{row['low']:.2f}, {row['high']:.2f}]"
                rate += f", over units [{row['units_low']:.2f}, {row['units_high']:.2f}]"
            out.append(f"{row['rate']}: {rate} ({row['says']})")
        for row in self.ranking.rows():
            value = "undefined" if np.isnan(row["value"]) else f"{row['value']:+.2f}"
            out.append(
                f"{row['predictor']}, {row['statistic']}: {value} [{row['low']:.2f}, {row['high']:.2f}] "
                f"({row['cells']} cells in {row['units']} units)"
            )
        for row in self.licences.rows():
            worst = f", the worst change {row['worst']:+.3f}" if row["licensed"] else ""
            out.append(f"{row['criterion']}: licenses {row['licensed']}, {row['degraded']} of them degraded{worst}")
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
    """Compare the verdicts of the conditions with the degradation that was measured.

    The conditions of a cell are met when closeness >= 1 - delta and attention <= attention_limit, by point
    estimates. A condition that was not measured (NaN) is not applied, and a cell without any measured condition is
    left out. A cell is degraded when its change of accuracy is below -tolerance.

    Parameters
    ----------
    cells : Table
        One row per model, data set (or task group) and plan: model, dataset, closeness, attention, change;
        change_low, change_high (may be NaN). Optionally distance_from_entry and damage, which are then ranked too,
        attention_answer, which is then judged as the paper does, and reading, which says whose attention it is. See
        `vlm.reports.condition_cells` and `vlm.published.cells`.
    tolerance : float
        Largest loss of accuracy that counts as harmless, in [0, 1].
    delta, attention_limit : float
        Thresholds of the conditions, as in `vlm.decide`.
    confidence : float
        Confidence of each interval by itself, in (0, 1).
    resamples, seed : int
        Number of resamples of the bootstrap, and its seed.

    Returns
    -------
    Prediction

    Raises
    ------
    ValueError
        No cell with a measured condition and a change of accuracy, a missing column, thresholds outside [0, 1].

    See Also
    --------
    plot_prediction : A figure of the result.

    Examples
    --------
    >>> import numpy as np
    >>> from vlm import Table
    >>> from vlm.reports import prediction
    >>> closeness = np.linspace(0.5, 1.0, 24)
    >>> change = np.where(closeness < 0.9, -0.1, 0.0)
    >>> cells = Table(
    ...     {
    ...         "model": np.repeat(["a", "b"], 12),
    ...         "dataset": np.tile(["gqa", "mmmu", "ai2d", "mmstar"], 6),
    ...         "closeness": closeness,
    ...         "attention": np.full(24, 0.05),
    ...         "change": change,
    ...         "change_low": change - 0.01,
    ...         "change_high": change + 0.01,
    ...     }
    ... )
    >>> result = prediction(cells, resamples=50)
    >>> result.sentences()[0]
    'harmless when met: 3 of 3 = 1.00 [0.29, 1.00], over units [0.00, 1.00] (what sufficient conditions promise)'
    >>> result.settings.undecided, len(result.cells)
    (0, 24)
    """
    for name, number in (("tolerance", tolerance), ("delta", delta), ("attention_limit", attention_limit)):
        checks.probability(number, name=name)
    checks.probability(confidence, name="confidence", open_ends=True)
    judged = (~np.isnan(cells["closeness"]) | ~np.isnan(cells["attention"])) & ~np.isnan(cells["change"])
    if not judged.any():
        raise ValueError("prediction: expected cells with a measured condition and a change of accuracy, got none")
    cells = Table({name: values[judged] for name, values in cells.columns.items()})
    closeness, attention, change = (cells[name].astype(np.float64) for name in ("closeness", "attention", "change"))
    # Cells may hold numbers of three decimals that equal a threshold; rounding of the last bit must not decide.
    met = ~(closeness < 1 - delta - 1e-12) & ~(attention > attention_limit + 1e-12)
    degraded = change < -tolerance - 1e-12
    units = np.array([f"{m} / {d}" for m, d in zip(cells["model"], cells["dataset"], strict=True)])
    slack = np.fmin(closeness - (1 - delta), attention_limit - attention)
    predictors = {"closeness": closeness, "attention": -attention}
    if not (np.isnan(closeness) | np.isnan(attention)).all():
        predictors["both (smaller slack)"] = slack
    if "distance_from_entry" in cells.columns:
        predictors["distance from entry"] = -cells["distance_from_entry"].astype(np.float64)
    if "damage" in cells.columns:
        predictors["predicted damage"] = -cells["damage"].astype(np.float64)
    rows = []
    for name, values in predictors.items():
        measured = ~np.isnan(values)
        if not measured.any():
            continue
        rows += _ranked(
            name, values[measured], change[measured], degraded[measured], units[measured], confidence, resamples, seed
        )
    interval: Interval = partial(_share, units=units, confidence=confidence, resamples=resamples, seed=seed)
    return Prediction(
        cells=Table({**cells.columns, "met": met, "degraded": degraded}),
        confusion=_confusion(met, degraded, interval),
        rates=_rates(met, degraded, interval),
        ranking=Table.from_rows(rows),
        licences=_licences(cells, met, change, degraded, delta, attention_limit),
        calibration=_calibration(cells, change),
        settings=PredictionSettings(
            tolerance=tolerance,
            delta=delta,
            attention_limit=attention_limit,
            confidence=confidence,
            resamples=resamples,
            seed=seed,
            attention_measured=bool((~np.isnan(attention)).any()),
            undecided=int(((cells["change_low"] < -tolerance) & (cells["change_high"] >= -tolerance)).sum()),
        ),
        assumptions=_assumptions(cells, units, confidence, resamples),
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
    """Rank statistics of one predictor, whose sign is such that a larger value promises a smaller loss."""
    from scipy.stats import kendalltau, spearmanr

    def correlation(measure: Callable[..., Any]) -> Callable[[IntArray], float]:
        def of(i: IntArray) -> float:
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


def _confusion(met: BoolArray, degraded: BoolArray, interval: Interval) -> Table:
    rows = []
    for condition, holds in (("met", met), ("not met", ~met)):
        for outcome, happened in (("harmless", ~degraded), ("degraded", degraded)):
            columns = interval(holds & happened, np.ones_like(met))
            rows.append({"condition": condition, "outcome": outcome, "share": columns.pop("value"), **columns})
    return Table.from_rows(rows)


def _rates(met: BoolArray, degraded: BoolArray, interval: Interval) -> Table:
    pairs = ((~degraded, met), (degraded, ~met), (met, ~degraded), (~met, degraded))
    rows = [
        {"rate": rate, **interval(happened, among), "says": says}
        for (rate, says), (happened, among) in zip(RATES.items(), pairs, strict=True)
    ]
    return Table.from_rows(rows)


def _licences(
    cells: Table, met: BoolArray, change: FloatArray, degraded: BoolArray, delta: float, attention_limit: float
) -> Table:
    """What the judged conditions, the paper's reading of them and redundancy alone would have allowed."""
    readings = sorted(set(cells["reading"].tolist())) if "reading" in cells.columns else ["attention as measured"]
    criteria = {f"conditions ({'; '.join(readings)})": met}
    near = ~(cells["closeness"].astype(np.float64) < 1 - delta - 1e-12)
    if "attention_answer" in cells.columns:
        answer = ~(cells["attention_answer"].astype(np.float64) > attention_limit + 1e-12)
        criteria["conditions (answer token, mean over heads)"] = near & answer
    criteria["redundancy alone"] = near & ~np.isnan(cells["closeness"].astype(np.float64))
    if "damage" in cells.columns:
        least = np.argsort(cells["damage"].astype(np.float64), kind="stable")[: int(met.sum())]
        criteria["least predicted damage, as many cells"] = np.isin(np.arange(len(met)), least)
    return Table.from_rows(
        [
            {
                "criterion": name,
                "licensed": int(allowed.sum()),
                "harmless": int((allowed & ~degraded).sum()),
                "degraded": int((allowed & degraded).sum()),
                "worst": float(change[allowed].min()) if allowed.any() else np.nan,
            }
            for name, allowed in criteria.items()
        ]
    )


def _calibration(cells: Table, change: FloatArray, groups: int = 8) -> Table:
    """Measured change against predicted damage, in groups of about equal size."""
    if "damage" not in cells.columns:
        return Table({})
    damage = cells["damage"].astype(np.float64)
    order = np.argsort(damage, kind="stable")
    rows = []
    for part in np.array_split(order[~np.isnan(damage[order])], groups):
        if len(part):
            names = {"damage": damage[part], "change": change[part]}
            row: dict[str, float | int] = {"cells": len(part)}
            for name, values in names.items():
                row |= {name: float(values.mean()), f"{name}_low": float(values.min())}
                row[f"{name}_high"] = float(values.max())
            rows.append(row)
    return Table.from_rows(rows) if rows else Table({})


def _share(
    happened: BoolArray, among: BoolArray, *, units: NDArray[np.str_], confidence: float, resamples: int, seed: int
) -> dict[str, float]:
    """The share of the cells in `among` that `happened`, with both intervals."""
    count, of = int((happened & among).sum()), int(among.sum())

    def resampled(i: IntArray) -> float:
        return float((happened & among)[i].sum() / among[i].sum()) if among[i].any() else np.nan

    value, low, high = share(count, of, confidence)
    units_low, units_high, _ = bootstrap(
        resampled, units, support=(0.0, 1.0), confidence=confidence, resamples=resamples, seed=seed
    )
    columns = {"count": count, "of": of, "value": value, "low": low, "high": high}
    return columns | {"units_low": units_low, "units_high": units_high}


def _assumptions(cells: Table, units: NDArray[np.str_], confidence: float, resamples: int) -> tuple[str, ...]:
    count, models = len(set(units)), len(set(cells["model"]))
    few = " With so few units it is a rough guide, and likely too short." if count < 20 else ""
    few = (
        f" Fewer than {FEWEST} units give no information, so the interval is the whole range."
        if count < FEWEST
        else few
    )
    return (
        f"Shares, low and high: exact (Clopper-Pearson) {confidence:.0%} intervals, each by itself, if cells were "
        f"independent. Cells of one model and data set are not: read the wider of this and the one over units.",
        f"Shares over units, rank correlations and AUC: {confidence:.0%} percentile bootstrap over {count} units (a "
        f"model on a data set, with all its cells; {resamples} resamples), for exchangeable units.{few} They come from "
        f"{models} model{'s' if models > 1 else ''}: nothing is said about other models.",
    )
