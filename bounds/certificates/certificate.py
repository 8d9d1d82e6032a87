"""The certificate: an interval, its confidence, its assumptions, and one sentence that says what is guaranteed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np

from bounds.certificates import guarantee_text
from redundancy import checks
from redundancy.array_types import FloatArray
from redundancy.display import Displayed, short

Side = Literal["both", "upper", "lower"]
Interval = tuple[FloatArray, FloatArray]


@dataclass(frozen=True, eq=False, repr=False)
class Certificate(Displayed):
    """An interval [low, high] that covers the true value with probability at least `confidence`.

    Both ends are rounded outward. The functions `bounds.certify*` return it, and `bounds.implications` accepts it
    wherever a number may stand.

    Attributes
    ----------
    low, high : float or ndarray (k,)
        Ends of the interval, in `unit`; k of them for k thresholds, which hold together. A one-sided certificate
        has the end of the quantity's range on its other side.
    confidence : float
        Probability, over the draw of the sample, that every interval of the certificate covers its true value. With
        `simultaneous=m` it is the probability that all m certificates hold.
    method : str
        How the interval was computed, for instance "betting".
    guarantee : str
        What is guaranteed, for which unit of sampling, and under which assumptions: one sentence.
    quantity : str
        What is certified, for instance "geometric" or "mutual information".
    estimate : float or ndarray (k,)
        The measured value.
    n : int
        Number of independent units of sampling.
    unit_of_sampling : str
        "image" or "row".
    unit : str
        Physical unit of the ends: "1" (dimensionless), "nats", ...
    assumptions : tuple of str
        Everything that the guarantee supposes and that the data cannot verify, beginning with independence.
    side : {"both", "upper", "lower"}
        Which ends are certified; the other end of a one-sided certificate is the end of the quantity's range.
    distance : str
        The distance that was measured, for instance "cosine"; "" where none was.
    thresholds : tuple of float
        The thresholds t of the event, one per interval; empty where there is none.
    weighting : str
        What counts the same: "image" or "row"; "" where it is not stated.
    simultaneous : int
        Number of certificates that hold together with probability `confidence`.

    See Also
    --------
    certify : Chooses the certificate that fits an estimate.
    implications : Pushes certificates through the theorems.

    Examples
    --------
    >>> import numpy as np
    >>> import bounds
    >>> import redundancy as rd
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(400, 8))
    >>> y = x + 0.2 * rng.normal(size=x.shape)
    >>> certificate = bounds.certify(rd.geometric(x, y))
    >>> certificate
    geometric in [0.01535, 0.04246] at confidence 0.95 (betting, n = 400 rows)
    >>> f"{certificate:.3f}"
    '[0.015, 0.042]'
    >>> certificate.assumptions
    ('the rows are independent draws from one distribution (so no two rows come from one image)',)
    """

    low: float | FloatArray
    high: float | FloatArray
    confidence: float
    method: str
    guarantee: str
    quantity: str
    estimate: float | FloatArray
    n: int
    unit_of_sampling: str = "row"
    unit: str = "1"
    assumptions: tuple[str, ...] = ()
    side: Side = "both"
    distance: str = ""
    thresholds: tuple[float, ...] = ()
    weighting: str = ""
    simultaneous: int = 1

    def at(self, t: float) -> Certificate:
        """The certificate of one of several thresholds.

        Parameters
        ----------
        t : float
            One of `thresholds`.

        Returns
        -------
        Certificate
            Of one interval; it still holds together with those of the other thresholds.

        Raises
        ------
        ValueError
            A threshold that was not certified.

        Examples
        --------
        >>> import numpy as np
        >>> import bounds
        >>> import redundancy as rd
        >>> rng = np.random.default_rng(0)
        >>> x = rng.normal(size=(400, 8))
        >>> y = x + 0.2 * rng.normal(size=x.shape)
        >>> bounds.certify(rd.proximal(x, y, t=[0.02, 0.05])).at(0.05)
        proximal in [0.891, 0.9626] at confidence 0.95 (betting, n = 400 rows)
        """
        if t not in self.thresholds:
            raise ValueError(f"t: expected one of the certified thresholds {self.thresholds}, got {t}")
        k = self.thresholds.index(t)
        low, high, estimate = (float(np.atleast_1d(end)[k]) for end in (self.low, self.high, self.estimate))
        return replace(self, low=low, high=high, estimate=estimate, thresholds=(t,))

    def __repr__(self) -> str:
        if np.ndim(self.low) == 0:
            low = guarantee_text.outward(float(self.low), up=False)
            high = guarantee_text.outward(float(self.high), up=True)
            interval = f"[{low}, {high}]"
        else:
            interval = f"[{short(self.low)}, {short(self.high)}]"
        unit = "" if self.unit == "1" else f" {self.unit}"
        sample = f"n = {self.n} {self.unit_of_sampling}s"
        return f"{self.quantity} in {interval}{unit} at confidence {self.confidence:g} ({self.method}, {sample})"

    def __format__(self, specification: str) -> str:
        """The interval with both ends in a number's format, for instance ``f"{certificate:.3f}"``."""
        if not specification:
            return str(self)
        if np.ndim(self.low):
            raise TypeError(
                f"format: expected a certificate of one number for the specification {specification!r}, got "
                f"{np.size(self.low)}; format .low and .high one by one"
            )
        return f"[{format(self.low, specification)}, {format(self.high, specification)}]"


@dataclass(frozen=True)
class ErrorBudget:
    """How much error probability a certificate may spend, and on which ends of its interval.

    Attributes
    ----------
    confidence : float
        1 - alpha, in (0, 1).
    side : {"both", "upper", "lower"}
        A one-sided bound spends all of its error probability on one end.
    simultaneous : int
        Number of certificates that hold together: alpha is divided by it.
    """

    confidence: float
    side: Side = "both"
    simultaneous: int = 1

    def __post_init__(self) -> None:
        checks.probability(self.confidence, name="confidence", open_ends=True)
        checks.one_of(self.side, ("both", "upper", "lower"), name="side")
        if not (self.simultaneous >= 1 and float(self.simultaneous).is_integer()):
            raise ValueError(
                f"simultaneous: expected the number of certificates that hold together, >= 1, got {self.simultaneous}"
            )

    @property
    def alpha(self) -> float:
        """Error probability of this one certificate."""
        return (1.0 - self.confidence) / self.simultaneous

    @property
    def per_end(self) -> float:
        """Error probability of each end of the interval."""
        return self.alpha / (2 if self.side == "both" else 1)

    def sided(self, interval: tuple[float | FloatArray, float | FloatArray], ends: tuple[float, float]) -> Interval:
        """The interval with the end that was not asked for moved to the end of the quantity's range."""
        low, high = (np.asarray(end, dtype=np.float64) for end in interval)
        if self.side == "upper":
            low = np.full_like(low, ends[0])
        if self.side == "lower":
            high = np.full_like(high, ends[1])
        return low, high


@dataclass(frozen=True)
class Sample:
    """What was drawn: `n` independent units, images or rows."""

    n: int
    unit_of_sampling: str

    @property
    def independence(self) -> str:
        """The assumption under which every certificate holds."""
        alone = " (so no two rows come from one image)" if self.unit_of_sampling == "row" else ""
        return f"the {self.unit_of_sampling}s are independent draws from one distribution{alone}"


def certificate_of(
    interval: Interval,
    value: float | FloatArray,
    budget: ErrorBudget,
    sample: Sample,
    *,
    what: str,
    quantity: str,
    method: str,
    unit: str = "1",
    assumptions: Sequence[str] = (),
    settings: Mapping[str, object] | None = None,
    weighting: str = "",
) -> Certificate:
    """Put an interval together with the sentence that says what it guarantees.

    Parameters
    ----------
    interval : (array, array)
        Both ends, rounded outward, of shape () or (k,).
    value : float or array (k,)
        The estimate.
    budget : ErrorBudget
        Confidence, side, and the number of certificates that hold together.
    sample : Sample
        Number and kind of the independent units.
    what : str
        The certified number in words, the subject of the sentence.
    quantity, method, unit : str
        As in :class:`Certificate`.
    assumptions : sequence of str
        Assumptions beside the independence of the units.
    settings : mapping, optional
        `Estimate.settings`: the distance and the thresholds that the certificate is about.
    weighting : str
        What counts the same, where it is not the unit of sampling.
    """
    settings = {} if settings is None else settings
    low, high = ((float(end) if np.ndim(end) == 0 else end) for end in interval)
    assumed = (sample.independence, *assumptions)
    return Certificate(
        low=low,
        high=high,
        confidence=budget.confidence,
        method=method,
        guarantee=guarantee_text.sentence(
            what=what,
            drawn=f"{sample.n} {sample.unit_of_sampling}s",
            low=low,
            high=high,
            confidence=budget.confidence,
            side=budget.side,
            simultaneous=budget.simultaneous,
            assumptions=assumed,
        ),
        quantity=str(quantity),
        estimate=float(value) if np.ndim(value) == 0 else value,
        n=sample.n,
        unit_of_sampling=sample.unit_of_sampling,
        unit=unit,
        assumptions=assumed,
        side=budget.side,
        distance=str(settings.get("distance", "")),
        thresholds=tuple(float(t) for t in np.atleast_1d(np.asarray(settings.get("t", ()), dtype=np.float64))),
        weighting=weighting or sample.unit_of_sampling,
        simultaneous=int(budget.simultaneous),
    )
