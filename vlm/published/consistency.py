"""Published numbers that cannot all be right, or that do not fit together."""

from __future__ import annotations

from collections.abc import Iterator

import bounds
from vlm.published.paper_tables import T, early_exit, late_entry
from vlm.table import Table

ROUNDING = 0.0005  # the tables have three decimals


def inconsistencies() -> Table:
    """Contradictions within the published tables or between them.

    Returns
    -------
    Table
        where (table, model, task group, layer), problem, detail. Three checks: (1) a mean distance above the upper
        bound of Proposition 1 for the printed probability, up to rounding, if distances are at most 1 as in the
        paper's proof (cosine distance may reach 2); (2) the modality with the larger mean distance is also the one
        that is more often close; (3) no exit layer has nearly the unskipped accuracy of the other table.

    See Also
    --------
    bounds.geometric_from_proximal : Proposition 1.

    References
    ----------
    Hartman et al. (2025), *Skip-It? Theoretical Conditions for Layer Skipping in Vision-Language Models*,
    arXiv:2509.25584; Theory, section 2 (docs/explanation/theory).

    Examples
    --------
    >>> from vlm import published
    >>> table = published.inconsistencies()
    >>> sorted(set(table["problem"].tolist()))
    ['farther and closer', 'mean above Proposition 1', 'no common unskipped accuracy']
    >>> print(table["where"][0])
    early exit: llava-next-7b, general_vqa, 28
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
                bound = {d: float(bounds.geometric_from_proximal(T, far, d_max=d)) for d in (1.0, 2.0)}
                if mean - ROUNDING > bound[1.0]:
                    also = "also" if mean - ROUNDING > bound[2.0] else "not"
                    detail = (
                        f"{modality}: mean {mean:.3f}, but P(d <= {T:g}) = {close:.3f} allows at most {bound[1.0]:.4f} "
                        f"when d <= 1 ({bound[2.0]:.4f} when d <= 2: {also} violated)"
                    )
                    yield _row(name, row, "mean above Proposition 1", detail)
                if mean + ROUNDING <= T * (1.0 - close - ROUNDING):
                    yield _row(name, row, "mean below Markov's bound", f"{modality}: {mean:.3f}, {close:.3f}")


def _orders() -> Iterator[dict[str, str]]:
    """Not impossible, since far tokens count in the mean; but rare within a model, so the columns may be swapped."""
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
        accuracies = early.where(model=row["model"], group=row["group"])["accuracy"]
        gaps = accuracies - row["accuracy"]
        if abs(gaps).min() > 0.01:
            detail = (
                f"unskipped {row['accuracy']:.3f} by the late-entry table; exits {accuracies.min():.3f} to "
                f"{accuracies.max():.3f}, none nearer than {abs(gaps).min():.3f}"
            )
            where = {"model": row["model"], "group": row["group"]}
            yield _row("both", where, "no common unskipped accuracy", detail)
