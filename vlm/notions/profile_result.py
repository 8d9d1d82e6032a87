"""The result of a profile: tidy tables, and how they are shown to readers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal

import numpy as np

from redundancy.display import Displayed
from vlm.notions.chain_check import Checked
from vlm.notions.measures import Measure
from vlm.table import Table


@dataclass(frozen=True)
class Place:
    """The layers and the view of a row; for what belongs to one layer, both layers are the same."""

    layer: int
    later: int
    view: str


@dataclass(frozen=True, eq=False, repr=False)
class Profile(Displayed):
    """What the layers of a model share, in all notions.

    Attributes
    ----------
    table : Table
        One row per (layers, view, notion, method), with columns

        layer, later
            State l and the later state m that it is compared with; equal for what belongs to one state.
        view
            Which vector stands for a layer on one prompt, such as "last" or "vision-mean".
        notion, method
            What was measured, and how.
        value, low, high
            The number and its interval, NaN where there is none; an infinite end says that nothing limits it.
        baseline
            What to compare with: for distances unrelated images, for the functional notion a later layer that tells
            nothing, for the next state the identity map, for the informational notion H(X), for usable information
            the log-loss of class frequencies, for PID shuffled answers, for CKA unrelated images, for the effective
            rank the width.
        images, unit
            Independent images, and the unit of the value.
        guarantee
            "certified ..." with what the limits are about, "bootstrap ...", "estimate ...", "exact ...", or "absent:"
            with the reason.
    chain : Table
        Every theorem on the empirical distribution of answers and codewords of two layers: columns layer, later, view,
        theorem, label, equation, quantity, left, relation, right, ratio, trivial, verdict ("attained", "bites",
        "vacuous", "does not apply"), says.
    settings : mapping
        Every choice that was made. `confidence` is that of all layers of one notion, method and view together.
    notes : tuple of str
        What was left out, pooled or refused.

    See Also
    --------
    vlm.profile : Measures a model.
    vlm.profile_states : Measures states that were recorded.

    Examples
    --------
    >>> import vlm
    >>> from vlm import tiny
    >>> model, processor = vlm.load("tiny")
    >>> asked = tiny.questions(limit=60, kinds=("existence",))
    >>> images, prompts = [q.image for q in asked], [q.prompt for q in asked]
    >>> batch = processor(images=images, text=prompts, return_tensors="pt", padding=True)
    >>> with vlm.states(model, views="last", layers=(0, 4, 10)) as states:
    ...     states.expect(range(60), groups=[q.image_id for q in asked])
    ...     _ = model(**batch)
    >>> profile = vlm.profile_states(states, notions="geometric", progress=False)
    >>> [(row["layer"], row["later"], round(row["value"], 3)) for row in profile.rows().rows()]
    [(0, 4, 0.675), (4, 10, 0.355)]
    """

    table: Table
    chain: Table
    settings: Mapping[str, object]
    notes: tuple[str, ...] = ()

    def __repr__(self) -> str:
        pairs = {(a, b) for a, b in zip(self.table["layer"], self.table["later"], strict=True) if a != b}
        views = ", ".join(dict.fromkeys(self.table["view"].tolist()))
        images = int(self.table["images"].max()) if len(self.table) else 0
        return f"Profile({len(pairs)} pairs of layers, views {views}, {images} images, {len(self.table)} rows)"

    def _repr_html_(self) -> str:
        """The rows for readers, as an HTML table."""
        return self.shown()._repr_html_()

    def rows(self, **conditions: object) -> Table:
        """The rows whose columns equal the given values, without those that are absent.

        Parameters
        ----------
        **conditions
            Values by column: ``profile.rows(notion="informational", method="plug-in", view="last")``.

        Returns
        -------
        Table
        """
        found = self.table.where(**conditions)
        present = np.array([not text.startswith("absent") for text in found["guarantee"].tolist()], dtype=bool)
        return Table({name: values[present] for name, values in found.columns.items()})

    def absent(self) -> Table:
        """The rows that could not be computed: layer, later, view, notion, method and the reason."""
        kept = np.array([text.startswith("absent") for text in self.table["guarantee"].tolist()], dtype=bool)
        names = ("layer", "later", "view", "notion", "method")
        columns = {name: self.table[name][kept] for name in names}
        reasons = [text.removeprefix("absent: ") for text in self.table["guarantee"][kept].tolist()]
        return Table({**columns, "reason": np.array(reasons, dtype=np.str_)})

    def shown(self, digits: int = 3, **conditions: object) -> Table:
        """The rows for readers: value and interval in one cell, limits rounded outward.

        Parameters
        ----------
        digits : int
            Decimals.
        **conditions
            As for :meth:`rows`.

        Returns
        -------
        Table
            Columns layers, view, notion, method, value, baseline, images, unit, guarantee; all but images as text.
        """
        rows = [
            {
                "layers": str(row["layer"]) if row["layer"] == row["later"] else f"{row['layer']}-{row['later']}",
                **{name: row[name] for name in ("view", "notion", "method")},
                "value": value_in_words(row["value"], row["low"], row["high"], digits),
                "baseline": "–" if math.isnan(row["baseline"]) else f"{row['baseline']:.{digits}f}",
                **{name: row[name] for name in ("images", "unit", "guarantee")},
            }
            for row in self.table.where(**conditions).rows()
        ]
        return Table.from_rows(rows)


def value_in_words(value: float, low: float, high: float, digits: int) -> str:
    """A number with its interval, whose ends are rounded outward: "0.021 [0.006, 0.080]"; a dash for what is absent."""
    if math.isnan(value):
        return "–"
    if math.isnan(low) or math.isnan(high):
        return f"{value:.{digits}f}"
    return f"{value:.{digits}f} [{_rounded(low, digits, ROUND_FLOOR)}, {_rounded(high, digits, ROUND_CEILING)}]"


def _rounded(value: float, digits: int, rounding: str) -> str:
    if not math.isfinite(value):
        return str(value)
    return f"{Decimal(repr(float(value))).quantize(Decimal(1).scaleb(-digits), rounding=rounding):f}"


def profile_table(rows: Sequence[tuple[Place, Measure]]) -> Table:
    """The tidy table of measures."""
    places, measures = [place for place, _ in rows], [measure for _, measure in rows]
    numbers = ("value", "low", "high", "baseline")
    return Table(
        {
            "layer": np.array([p.layer for p in places], dtype=np.int64),
            "later": np.array([p.later for p in places], dtype=np.int64),
            "view": np.array([p.view for p in places], dtype=np.str_),
            "notion": np.array([m.notion for m in measures], dtype=np.str_),
            "method": np.array([m.method for m in measures], dtype=np.str_),
            **{name: np.array([getattr(m, name) for m in measures], dtype=np.float64) for name in numbers},
            "images": np.array([m.images for m in measures], dtype=np.int64),
            "unit": np.array([m.unit for m in measures], dtype=np.str_),
            "guarantee": np.array([m.guarantee for m in measures], dtype=np.str_),
        }
    )


def chain_table(rows: Sequence[tuple[Place, Checked]]) -> Table:
    """The tidy table of theorems on codewords."""
    places, checks = [place for place, _ in rows], [check for _, check in rows]
    texts = ("theorem", "label", "equation", "quantity")
    columns: dict[str, np.ndarray] = {
        "layer": np.array([p.layer for p in places], dtype=np.int64),
        "later": np.array([p.later for p in places], dtype=np.int64),
        "view": np.array([p.view for p in places], dtype=np.str_),
        **{name: np.array([getattr(c, name) for c in checks], dtype=np.str_) for name in texts},
        "left": np.array([c.left for c in checks], dtype=np.float64),
        "relation": np.array([c.relation for c in checks], dtype=np.str_),
    }
    columns |= {name: np.array([getattr(c, name) for c in checks]) for name in ("right", "ratio", "trivial")}
    columns |= {name: np.array([getattr(c, name) for c in checks], dtype=np.str_) for name in ("verdict", "says")}
    return Table(columns)


def joined(first: Table, second: Table) -> Table:
    """The rows of two tidy tables of measures."""
    if not len(second):
        return first
    return Table({name: np.concatenate([values, second[name]]) for name, values in first.columns.items()})
