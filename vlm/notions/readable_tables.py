"""A profile in the few columns that a reader compares: one row per pair of layers and view."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

import bounds
from vlm.notions.measures import Notion
from vlm.notions.profile_result import Profile, value_in_words
from vlm.notions.reconstruction import EARLIER, LATER, NOT_DIVIDED
from vlm.table import Table

# Column of the summary, its notion and the methods that may fill it, the first one that was measured.
_COLUMNS: tuple[tuple[str, Notion, tuple[str, ...]], ...] = (
    ("distance", "geometric", ("",)),
    ("close", "proximal", ("",)),
    ("answer lost", "functional", ("panel: Brier score", "ridge: Brier score", "ridge: squared error")),
    ("H(X|Y), nats", "informational", ("smallest certified",)),
    ("not rebuilt", "next state", (EARLIER,)),
)


def summary(profile: Profile, digits: int = 3) -> Table:
    """One row per pair of layers and view: the four notions and the reconstruction error, with their intervals.

    Parameters
    ----------
    profile : Profile
        From :func:`vlm.profile`.
    digits : int
        Decimals; limits are rounded outward.

    Returns
    -------
    Table
        Columns layers, view, and those of the notions that were measured: "distance" (mean cosine distance), "close"
        (probability of a distance of at most t), "answer lost" (risk from the later layer minus that from the earlier),
        "H(X|Y), nats" (with the smallest certified limit), "not rebuilt" (error of the earlier state's best affine
        prediction from the later one, relative to its variance). Absent numbers are dashes.
    """
    table = profile.table
    places = list(
        dict.fromkeys(zip(table["layer"].tolist(), table["later"].tolist(), table["view"].tolist(), strict=True))
    )
    rows = []
    for layer, later, view in places:
        if layer == later:
            continue
        here = table.where(layer=layer, later=later, view=view)
        row = {"layers": f"{layer}-{later}", "view": view}
        for name, notion, methods in _COLUMNS:
            found = here.where(notion=notion)
            if notion in set(table["notion"].tolist()):
                row[name] = _cell(found, methods, digits)
        rows.append(row)
    return Table.from_rows(rows)


def _cell(found: Table, methods: tuple[str, ...], digits: int) -> str:
    for method in methods:
        for row in found.rows():
            if row["method"] == method or not method:
                return value_in_words(row["value"], row["low"], row["high"], digits)
    return "–"


def gap_bounds(profile: Profile, digits: int = 3) -> Table:
    """Theorem 1 by both of its forms, for all image tokens and all text tokens of each pair of layers.

    Parameters
    ----------
    profile : Profile
        From :func:`vlm.profile` with the geometric notion and the next state of all tokens.
    digits : int
        Decimals; limits are rounded up.

    Returns
    -------
    Table
        Columns layers, view; "by cosine distance" and "by reconstruction": upper bounds on how much worse a target is
        predicted from the earlier state than from the later one, in units of L^2, with their upper confidence limits;
        "sharper": the form with the smaller limit. Empty without these rows.
    """
    rows = []
    for rebuilt in profile.rows(notion="next state", method=NOT_DIVIDED.format(LATER)).rows():
        place = {name: rebuilt[name] for name in ("layer", "later", "view")}
        found = list(profile.rows(notion="geometric", **place).rows())
        if not found:
            continue
        cosine = [float(bounds.functional_from_geometric(found[0][name], 1.0)) for name in ("value", "high")]
        rows.append(
            {
                "layers": f"{place['layer']}-{place['later']}",
                "view": place["view"],
                "by cosine distance": value_in_words(cosine[0], 0.0, cosine[1], digits),
                "by reconstruction": value_in_words(rebuilt["value"], 0.0, rebuilt["high"], digits),
                "sharper": "reconstruction" if rebuilt["high"] < cosine[1] else "cosine distance",
            }
        )
    return Table.from_rows(rows)


def verdicts(profile: Profile) -> Table:
    """Which theorems say something about the codewords of each pair of layers, and which nothing.

    Parameters
    ----------
    profile : Profile
        From :func:`vlm.profile`, with the informational notion or PID.

    Returns
    -------
    Table
        Columns layers, view; "bite" and "vacuous": how many bounds are better than what is true without a theorem, and
        how many are not; "tightest on H(X|Y)", "on I(X;Y)", "on the functional gap", "on unique information": the
        theorem with the largest ratio of the two sides, and the ratio; "says nothing": labels of the vacuous ones.
    """
    chain, rows = profile.chain, []
    wanted: Mapping[str, str] = {
        "tightest on H(X|Y)": "H(X|Y)",
        "on I(X;Y)": "I(X;Y)",
        "on the functional gap": "functional gap",
        "on unique information": "unique information of X",
    }
    places = dict.fromkeys(zip(chain["layer"].tolist(), chain["later"].tolist(), chain["view"].tolist(), strict=True))
    for layer, later, view in places:
        here = chain.where(layer=layer, later=later, view=view)
        kinds = here["verdict"].tolist()
        bounds = here["relation"] != "="
        useful = np.isin(here["verdict"], ("bites", "attained")) & bounds
        row: dict[str, object] = {
            "layers": f"{layer}-{later}",
            "view": view,
            "bite": int(useful.sum()),
            "vacuous": kinds.count("vacuous"),
        }
        for name, quantity in wanted.items():
            row[name] = _tightest(here, useful & (here["quantity"] == quantity))
        row["says nothing"] = "; ".join(here["label"][here["verdict"] == "vacuous"].tolist()) or "none"
        rows.append(row)
    return Table.from_rows(rows)


def _tightest(here: Table, kept: np.ndarray) -> str:
    if not kept.any():
        return "–"
    place = int(np.argmax(np.where(kept, here["ratio"], -1.0)))
    return f"{here['label'][place]}: {here['ratio'][place]:.2f}"
