"""What every estimator returns: a number together with the per-unit values that its interval needs."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.array_types import ArrayLater, FloatArray
from redundancy.display import Displayed
from redundancy.units import unit_means

Unit = Literal["row", "image"]


class Quantity(StrEnum):
    """What an :class:`Estimate` measures; members compare equal to their strings.

    ``Quantity.MEAN`` is for estimates that you make yourself: the mean of any bounded number per image.

    See Also
    --------
    Estimate : Holds one.
    bounds.certify : Chooses the interval by it.

    Examples
    --------
    >>> import redundancy as rd
    >>> rd.Quantity("proximal") is rd.Quantity.PROXIMAL
    True
    >>> rd.Quantity.PROXIMAL == "proximal"
    True
    """

    GEOMETRIC = "geometric"
    PROXIMAL = "proximal"
    PROXIMAL_IMAGE_EVENT = "proximal image event"
    MMSE = "mmse"
    FUNCTIONAL = "functional"
    INFORMATIONAL = "informational"
    CROSS_ENTROPY = "cross-entropy"
    ENTROPY = "entropy"
    CONDITIONAL_ENTROPY = "conditional entropy"
    MUTUAL_INFORMATION = "mutual information"
    CONDITIONAL_MUTUAL_INFORMATION = "conditional mutual information"
    UNIQUE_INFORMATION = "unique information"
    USABLE_INFORMATION = "usable information"
    CENTRED_KERNEL_ALIGNMENT = "centred kernel alignment"
    PROCRUSTES_DISTANCE = "procrustes distance"
    SUBSPACE_ANGLES = "subspace angles"
    VISUAL_ATTENTION_RATIO = "visual attention ratio"
    PROBABILITY_GAINED = "probability gained"
    ANSWERS_THAT_MAY_CHANGE = "answers that may change"
    SCORE = "score"
    ACCURACY = "accuracy"
    MEAN = "mean"

    @classmethod
    def _missing_(cls, value: object) -> Quantity | None:
        names = ", ".join(cls)
        raise ValueError(f"quantity: expected one of {names}; got {value!r}; a mean of your own is 'mean'")


@dataclass(frozen=True, eq=False, repr=False)
class Estimate(Displayed):
    """An estimated quantity together with its per-unit values.

    The unit of sampling is the image (or document) when the estimator was given `groups`, else the row. Only units
    are assumed independent, so only `per_unit` may enter a certificate (theory, section 9.1).

    Parameters
    ----------
    value : float or ndarray (k,)
        The estimate: the mean of `per_unit` over units, never clipped.
    quantity : Quantity
        What was estimated; its string ("geometric", "proximal", ...) is accepted too.
    per_unit : ndarray (units,) or (units, k), optional
        One number (or one row of k numbers) per unit of sampling; None when the estimator is not a mean
        over units. An estimator may pass a maker of the array (with `units` and `values`) instead, which runs when it
        is first read.
    rows : ndarray (units,), optional
        How many rows (tokens) were averaged in each unit; None means one each.
    support : (float, float)
        Range of a per-unit value by construction; an end may be infinite.
    unit_of_sampling : {"row", "image"}
        "image" when groups were given, else "row".
    unit : str
        Physical unit of `value`: "1" (dimensionless), "nats", "radians", ...
    settings : mapping
        Every choice that was made to compute the number.
    baseline : Estimate, optional
        The same quantity for unrelated (independent) pairs, where the estimator offers it.
    details : mapping
        Further results of the estimator (tables, chosen models), for reading.

    Attributes
    ----------
    value, quantity, per_unit, rows, support, unit_of_sampling, unit, settings, baseline, details
        As given; `quantity` is always a :class:`Quantity`.

    Raises
    ------
    ValueError
        An unknown quantity; the error lists the known ones.

    See Also
    --------
    Estimate.over_units : Average rows to units and build the Estimate of the mean.
    bounds.certify : Finite-sample confidence interval of an Estimate.

    Examples
    --------
    A quantity of your own, one number per image:

    >>> import numpy as np
    >>> import redundancy as rd
    >>> right = np.array([1.0, 0.0, 1.0, 1.0])
    >>> estimate = rd.Estimate.over_units(right, ["a", "a", "b", "c"], quantity="mean", support=(0.0, 1.0))
    >>> estimate
    mean 0.8333 (n = 3 images)
    >>> f"{estimate:.3f}"
    '0.833'
    >>> estimate.per_unit
    array([0.5, 1. , 1. ])
    """

    value: float | FloatArray
    quantity: Quantity
    per_unit: FloatArray | None = field(default_factory=lambda: None)
    rows: FloatArray | None = None
    support: tuple[float, float] = (-math.inf, math.inf)
    unit_of_sampling: Unit = "row"
    unit: str = "1"
    settings: Mapping[str, Any] = field(default_factory=dict)
    baseline: Estimate | None = None
    details: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "quantity", Quantity(self.quantity))
        if isinstance(self.per_unit, ArrayLater):
            self.__dict__["_later"] = self.__dict__.pop("per_unit")

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> FloatArray:
            # reached only while the per-unit values have not been made
            later = self.__dict__.get("_later")
            if name != "per_unit" or later is None:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            return self.__dict__.setdefault("per_unit", later.values())

    @classmethod
    def over_units(
        cls,
        values: ArrayLike,
        groups: ArrayLike | None,
        *,
        quantity: Quantity | str,
        support: tuple[float, float],
        unit: str = "1",
        settings: Mapping[str, Any] | None = None,
        baseline: Estimate | None = None,
        details: Mapping[str, Any] | None = None,
    ) -> Estimate:
        """The mean over units of the mean over each unit's rows.

        Parameters
        ----------
        values : array_like (n,) or (n, k)
            One number, or k numbers, per row.
        groups : array_like (n,) or None
            Image of each row; None means that every row is a unit of its own.
        quantity : Quantity or str
            What is estimated; "mean" for a quantity of your own.
        support : (float, float)
            Range of the values by construction.
        unit, settings, baseline, details
            As in :class:`Estimate`.

        Returns
        -------
        Estimate
            `value` is a float for values (n,), else an array (k,); `per_unit` has one entry per image, in the order
            of the sorted group labels.

        Raises
        ------
        ValueError
            An unknown quantity, no rows, more than two axes, NaN, or groups of another length.
        TypeError
            Values that are not real numbers.

        Examples
        --------
        >>> import redundancy as rd
        >>> estimate = rd.Estimate.over_units([0.0, 1.0, 1.0], [7, 7, 9], quantity="mean", support=(0, 1))
        >>> estimate.value, estimate.n, estimate.unit_of_sampling
        (0.75, 2, 'image')
        """
        a = checks.real_array(values, name="values")
        if a.ndim not in (1, 2) or a.size == 0:
            raise ValueError(f"values: expected a non-empty array (n,) or (n, k), got shape {a.shape}")
        checks.finite(a, name="values")
        index, sizes = checks.group_index(groups, a.shape[0])
        per_unit = unit_means(a, index, sizes)
        mean = mean_of_units(per_unit)
        return cls(
            value=float(mean) if a.ndim == 1 else mean,
            quantity=Quantity(quantity),
            per_unit=per_unit,
            rows=sizes.astype(np.float64),
            support=support,
            unit_of_sampling=unit_of_sampling(groups),
            unit=unit,
            settings=settings or {},
            baseline=baseline,
            details=details or {},
        )

    @property
    def n(self) -> int:
        """Number of independent units (images with `groups`, else rows) behind the estimate; 0 if there is no sample.

        An estimate may have n units and no `per_unit` values, if it is not a mean over units.
        """
        later = self.__dict__.get("_later")
        if later is not None:
            return int(later.units)
        return int(self.details.get("n", 0)) if self.per_unit is None else int(self.per_unit.shape[0])

    @property
    def bits(self) -> float | FloatArray:
        """The value in bits; ValueError for quantities that are not measured in nats."""
        if self.unit != "nats":
            raise ValueError(f"bits: expected a quantity in nats, got unit {self.unit!r}; read .value instead")
        return self.value / math.log(2.0)

    def __float__(self) -> float:
        """The value, where it is a single number."""
        return float(self.value)

    def __repr__(self) -> str:
        settings = ", ".join(f"{key}={_short(value)}" for key, value in self.settings.items())
        base = "" if self.baseline is None else f", unrelated {_short(self.baseline.value)}"
        unit = "" if self.unit == "1" else f" {self.unit}"
        sizes = [f"n = {self.n} {self.unit_of_sampling}s"] if self.n else []
        if "_later" not in self.__dict__ and self.per_unit is None:
            sizes.append("no per-unit values")
        size = ", ".join(sizes)
        return f"{self.quantity} {_short(self.value)}{unit} ({size}{base}{'; ' + settings if settings else ''})"


def mean_of_units(per_unit: FloatArray) -> FloatArray:
    """Mean over units, never outside the range of the units' values by an ulp."""
    return np.asarray(np.clip(per_unit.mean(axis=0), per_unit.min(axis=0), per_unit.max(axis=0)))


def unit_of_sampling(groups: ArrayLike | None) -> Unit:
    """The unit of sampling that `groups` implies."""
    return "row" if groups is None else "image"


def _short(value: object) -> str:
    if isinstance(value, (float, np.floating)):
        return f"{value:.4g}"
    if isinstance(value, np.ndarray):
        return np.array2string(value, precision=4, threshold=6)
    return str(value)
