"""Where the published numbers cannot all be right, or do not fit together."""

from __future__ import annotations

from collections.abc import Iterator

import bounds
from vlm.published.paper_tables import T, early_exit, late_entry
from vlm.table import Table

ROUNDING = 0.0005  # the tables have three decimals


def inconsistencies() -> Table:
    """What the tables contradict, in themselves or between them.

    Returns
    -------
    Table
        where (table, model, task group, layer), problem, detail. Three checks: a mean distance above what
        Proposition 1 allows for the printed probability, with rounding granted, when distances are at most 1 as in
        the paper's proof (cosine distance may reach 2); vision and text of one row ordered one way by the mean
        distance and the same way by the probability of being close; an accuracy that no exit layer brings back to
        the unskipped one of the other table.
    """
    return Table.from_rows([*_impossible_means(), *_orders(), *_references()])


def _row(table: str, row: dict[str, object], problem: str, detail: str) -> dict[str, str]:
    place = ", ".join(str(row[name]) for name in ("model", "group", "layer") if name in row)
    return {"where": f"{table}: {place}", "problem": problem, "detail": detail}


def _impossible_means() -> Iterator[dict[str, str]]:
    for name, table in (("late entry", late_entry()), ("early exit", early_exit())):
        for row in table.rows():
            for modality in ("vision", "text"):
                mean, close = row.get(f"distance_{modality}"), row.get(f"within_{modality}")
                if mean is None or close is None or mean != mean:
                    continue
                far = min(1.0, 1.0 - close + ROUNDING)
                limit = {d: float(bounds.geometric_from_proximal(T, far, d_max=d)) for d in (1.0, 2.0)}
                if mean - ROUNDING > limit[1.0]:
                    also = "also" if mean - ROUNDING > limit[2.0] else "not"
                    detail = (
                        f"{modality}: mean {mean:.3f}, but P(d <= {T:g}) = {close:.3f} allows at most {limit[1.0]:.4f} "
                        f"when d <= 1 ({limit[2.0]:.4f} when d <= 2: {also} violated)"
                    )
                    yield _row(name, row, "mean above Proposition 1", detail)
                if mean + ROUNDING <= T * (1.0 - close - ROUNDING):
                    yield _row(name, row, "mean below Markov's bound", f"{modality}: {mean:.3f}, {close:.3f}")


def _orders() -> Iterator[dict[str, str]]:
    """Not impossible, since a mean also counts far tokens; but rare within a model, so a swap is likely."""
    for row in early_exit().rows():
        farther = row["distance_vision"] - row["distance_text"]
        closer = row["within_vision"] - row["within_text"]
        if farther * closer > 0 and abs(farther) > 2 * ROUNDING + 1e-9:
            first = "vision" if farther > 0 else "text"
            detail = (
                f"{first} is farther on average and more often close: means {row['distance_vision']:.3f} (vision), "
                f"{row['distance_text']:.3f} (text); P {row['within_vision']:.3f}, {row['within_text']:.3f}"
            )
            yield _row("early exit", row, "farther and closer", detail)


def _references() -> Iterator[dict[str, str]]:
    early = early_exit()
    for row in late_entry().where(layer=0).rows():
        found = early.where(model=row["model"], group=row["group"])["accuracy"]
        gaps = found - row["accuracy"]
        if abs(gaps).min() > 0.01:
            detail = (
                f"unskipped {row['accuracy']:.3f} by the late-entry table; exits {found.min():.3f} to "
                f"{found.max():.3f}, none nearer than {abs(gaps).min():.3f}"
            )
            where = {"model": row["model"], "group": row["group"]}
            yield _row("both", where, "no common unskipped accuracy", detail)
