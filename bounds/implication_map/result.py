"""What follows from known quantities: one derived interval, and the map of all of them."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

from bounds.certificates import guarantee_text
from bounds.implication_map.plot import draw
from redundancy.display import Displayed

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Meaning(NamedTuple):
    """What a quantity is, in words, and the range that it cannot leave."""

    words: str
    low: float
    high: float


QUANTITIES: Mapping[str, Meaning] = {
    "geometric": Meaning("mean cosine distance E d(X, Y)", 0.0, 2.0),
    "p_far": Meaning("P(d(X, Y) > t)", 0.0, 1.0),
    "t": Meaning("threshold t", 0.0, math.inf),
    "independent_close": Meaning("P(d <= t) of independent pairs", 0.0, 1.0),
    "squared_distance": Meaning("E ||X - Y||^2", 0.0, math.inf),
    "lipschitz_x": Meaning("L_1, of x -> E[T | x, y]", 0.0, math.inf),
    "lipschitz_y": Meaning("L_2, of y -> E[T | x, y]", 0.0, math.inf),
    "lipschitz_head": Meaning("Lipschitz constant of the frozen predictor", 0.0, math.inf),
    "lipschitz_logits": Meaning("Lipschitz constant of the frozen logits", 0.0, math.inf),
    "delta_x": Meaning("squared regression error from X", 0.0, math.inf),
    "delta_y": Meaning("squared regression error from Y", 0.0, math.inf),
    "radius": Meaning("radius B of T", 0.0, math.inf),
    "size": Meaning("codewords |V|", 1.0, math.inf),
    "n_min": Meaning("smallest ball N_min", 0.0, math.inf),
    "n_max": Meaning("largest ball N_max", 0.0, math.inf),
    "entropy_x": Meaning("H(X), nats", 0.0, math.inf),
    "entropy_x_given_y": Meaning("H(earlier | later) = H(X | Y), nats", 0.0, math.inf),
    "entropy_y_given_x": Meaning("H(later | earlier) = H(Y | X), nats", 0.0, math.inf),
    "information_xy": Meaning("I(X; Y), nats", 0.0, math.inf),
    "information_tx_given_y": Meaning("I(T; X | Y), nats", 0.0, math.inf),
    "unique_x": Meaning("U(T: X without Y), nats", 0.0, math.inf),
    "unique_y": Meaning("U(T: Y without X), nats", 0.0, math.inf),
    "decoding_error": Meaning("error of decoding X from Y", 0.0, 1.0),
    "functional": Meaning("mmse(T | Y) - mmse(T | X)", -math.inf, math.inf),
    "risk_gap": Meaning("risk of f(X) - risk of g(Y)", -math.inf, math.inf),
    "prediction_gap": Meaning("root mean square of f(X) - g(Y)", 0.0, math.inf),
    "root_risk_gap": Meaning("|root risk from X - root risk from Y|, frozen head", 0.0, math.inf),
    "head_log_loss_gap": Meaning("|log-loss from X - log-loss from Y|, frozen head, nats", 0.0, math.inf),
    "accuracy_gap": Meaning("accuracy from X - accuracy from Y", -1.0, 1.0),
    "log_loss_gap": Meaning("H(T | Y) - H(T | X), nats", -math.inf, math.inf),
}


@dataclass(frozen=True, repr=False)
class Derived(Displayed):
    """An interval for one quantity, and the theorems that lead to it.

    Attributes
    ----------
    quantity : str
        Name of the quantity, as in :func:`implications`.
    low, high : float
        Ends of the interval, rounded outward; the end of the range where nothing is known.
    confidence : float
        1 for exact inputs; else 1 minus the added error probabilities of every certificate that a route to this
        quantity used, the routes that lost included, so that choosing the tightest is covered.
    route : tuple of str
        Names of the theorems used, in order; empty for an input.
    assumptions : tuple of str
        Assumptions of these theorems and of the certificates behind them, those of derived values fed back included.
    guarantee : str
        One sentence that says all of this.
    distance, weighting, unit_of_sampling : str
        Of the certificates behind it; "" where none states it.
    thresholds : tuple of float
        The threshold t that P(d(X, Y) > t) is about; empty for other quantities.

    See Also
    --------
    implications : Derives it.

    Examples
    --------
    >>> import bounds
    >>> derived = bounds.implications(geometric=0.02, lipschitz_x=1.0)["functional"]
    >>> derived
    mmse(T | Y) - mmse(T | X) in [-inf, 0.0396001] (functional_from_geometric)
    >>> derived.assumptions
    ('E ||T||^2 < infinity', 'states of norm one', 'the stated Lipschitz constants')
    """

    quantity: str
    low: float
    high: float
    confidence: float
    route: tuple[str, ...]
    assumptions: tuple[str, ...]
    guarantee: str
    distance: str = ""
    weighting: str = ""
    unit_of_sampling: str = ""
    thresholds: tuple[float, ...] = ()

    @property
    def method(self) -> str:
        """The route in words; "given" for an input."""
        return " -> ".join(self.route) or "given"

    def __repr__(self) -> str:
        sure = "" if self.confidence == 1.0 else f" at confidence {guarantee_text.probability(self.confidence)}"
        low = guarantee_text.outward(self.low, up=False, digits=6)
        high = guarantee_text.outward(self.high, up=True, digits=6)
        return f"{QUANTITIES[self.quantity].words} in [{low}, {high}]{sure} ({self.method})"

    def __format__(self, specification: str) -> str:
        """The interval with both ends in a number's format, for instance ``f"{derived:.3f}"``."""
        if not specification:
            return str(self)
        return f"[{format(self.low, specification)}, {format(self.high, specification)}]"


def _short(derived: Derived) -> str:
    """The interval with four significant digits, rounded outward."""
    low, high = guarantee_text.outward(derived.low, up=False), guarantee_text.outward(derived.high, up=True)
    return f"[{low}, {high}]"


@dataclass(frozen=True, repr=False)
class ImplicationMap(Displayed, Mapping[str, Derived]):
    """Everything that follows from what is given: a mapping from quantity to `Derived` that prints and draws itself.

    Attributes
    ----------
    given : tuple of str
        Quantities that were given.
    derived : mapping from str to Derived
        All quantities about which something is known, the given ones included.
    arrows : tuple of (str, str, str)
        Every step that was possible: from which quantity, to which, by which theorem.

    See Also
    --------
    implications : Derives it.

    Examples
    --------
    >>> import bounds
    >>> found = bounds.implications(geometric=0.02, lipschitz_x=1.0)
    >>> found
    ImplicationMap(given geometric, lipschitz_x; 2 more follow: squared_distance, functional)
    >>> print(found)
    given: geometric, lipschitz_x
      E ||X - Y||^2 in [0, 0.0400001] (squared_distance_from_geometric)
          assuming states of norm one
      mmse(T | Y) - mmse(T | X) in [-inf, 0.0396001] (functional_from_geometric)
          assuming E ||T||^2 < infinity; states of norm one; the stated Lipschitz constants
    >>> f"{found['functional'].high:.4f}"
    '0.0396'
    """

    given: tuple[str, ...]
    derived: Mapping[str, Derived]
    arrows: tuple[tuple[str, str, str], ...]

    def __getitem__(self, quantity: str) -> Derived:
        if quantity not in QUANTITIES:
            raise KeyError(f"{quantity}: expected one of {', '.join(QUANTITIES)}")
        if quantity not in self.derived:
            raise KeyError(f"{quantity}: nothing follows about it from {', '.join(self.given)}")
        return self.derived[quantity]

    def __iter__(self) -> Iterator[str]:
        return iter(self.derived)

    def __len__(self) -> int:
        return len(self.derived)

    def __repr__(self) -> str:
        new = [name for name in self.derived if name not in self.given]
        follow = f"{len(new)} more follow: {', '.join(new)}" if new else "nothing else follows"
        return f"ImplicationMap(given {', '.join(self.given)}; {follow})"

    def __str__(self) -> str:
        lines = [f"given: {', '.join(self.given)}"]
        for derived in self._followed():
            lines.append(f"  {derived!r}")
            if derived.assumptions:
                lines.append(f"      assuming {'; '.join(derived.assumptions)}")
        return "\n".join(lines)

    def _followed(self) -> list[Derived]:
        return [d for d in self.derived.values() if d.quantity not in self.given or d.route]

    def _repr_html_(self) -> str:
        """What follows as a table, for notebooks."""
        columns = ("quantity", "interval", "confidence", "by", "assuming")
        rows = [
            (
                QUANTITIES[d.quantity].words,
                _short(d),
                guarantee_text.probability(d.confidence),
                d.method,
                "; ".join(d.assumptions),
            )
            for d in self._followed()
        ]
        head = "".join(f"<th>{name}</th>" for name in columns)
        body = "".join(f"<tr>{''.join(f'<td>{html.escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
        return f"<table><caption>given {html.escape(', '.join(self.given))}</caption><tr>{head}</tr>{body}</table>"

    def plot(self, ax: Axes | None = None) -> Axes:
        """Draw the map (needs matplotlib): what is given, what follows, and by which theorem.

        Parameters
        ----------
        ax : matplotlib Axes, optional
            Where to draw; a new figure by default.

        Returns
        -------
        matplotlib Axes
        """
        return draw(self, self.given, self.arrows, ax)
