"""Row-wise distances between two layers' states, on NumPy or torch arrays alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Literal, TypeAlias

import numpy as np

from redundancy import checks
from redundancy.array_types import AnyArray, FloatArray
from redundancy.display import Displayed, plain

DistanceName = Literal["cosine", "angular", "chordal", "euclidean"]
# Chords up to this length are the rounding of the two normalised rows (in at most 2^20 columns): parallel rows.
PARALLEL = 16 * float(np.finfo(np.float64).eps)
RowFunction: TypeAlias = Callable[[AnyArray, AnyArray], AnyArray]


@dataclass(frozen=True, repr=False)
class Distance(Displayed):
    """A distance between paired rows, with its range and unit.

    Parameters
    ----------
    name : str
        Name in settings and error messages.
    function : callable
        Maps two float64 arrays (n, d) to distances (n,) in [0, d_max]; called with torch tensors if the states are.
    d_max : float
        Largest possible distance; infinite if there is none. Certificates need a finite one.
    unit : str
        Physical unit: "1" (dimensionless), "radians", ...
    directional : bool
        Whether only directions matter, so that zero rows are refused.

    See Also
    --------
    geometric, proximal, row_distances : Accept a Distance, the name of one, or a plain function.

    Examples
    --------
    >>> import numpy as np
    >>> import redundancy as rd
    >>> clipped = rd.Distance("clipped", lambda x, y: np.minimum(abs(x - y).max(axis=1), 1.0), d_max=1.0)
    >>> clipped
    Distance(name=clipped, d_max=1, unit=1, directional=False)
    >>> clipped(np.array([[0.0, 0.0]]), np.array([[0.25, 7.0]]))
    array([1.])
    >>> rd.geometric([[0.0, 0.0], [1.0, 1.0]], [[0.25, 7.0], [1.0, 1.0]], clipped)
    geometric 0.5 (n = 2 rows; distance=clipped)
    """

    name: str
    function: RowFunction = field(repr=False)
    d_max: float = math.inf
    unit: str = "1"
    directional: bool = False

    def __call__(self, x: AnyArray, y: AnyArray) -> AnyArray:
        """Distances (n,) of the rows of x and y, unchecked."""
        return self.function(x, y)

    def to_dict(self) -> dict[str, Any]:
        """All but the function, as plain values."""
        return {"name": self.name, "d_max": plain(self.d_max), "unit": self.unit, "directional": self.directional}


DistanceLike: TypeAlias = DistanceName | Distance | RowFunction


def _unit_rows(x: AnyArray) -> AnyArray:
    # Dividing by the largest entry first keeps the norm of huge and tiny rows representable.
    from array_api_compat import array_namespace

    xp = array_namespace(x)
    scaled = x / xp.max(xp.abs(x), axis=1, keepdims=True)
    return scaled / xp.sqrt(xp.sum(scaled * scaled, axis=1, keepdims=True))


def _norm(x: AnyArray) -> AnyArray:
    # scaled by the largest entry: the squares of huge and tiny entries would leave the range of floats
    from array_api_compat import array_namespace

    xp = array_namespace(x)
    largest = xp.max(xp.abs(x), axis=1)
    safe = xp.where(largest > 0, largest, xp.ones_like(largest))
    scaled = x / safe[:, None]
    return safe * xp.sqrt(xp.sum(scaled * scaled, axis=1))


def _squared_chord(x: AnyArray, y: AnyArray) -> AnyArray:
    """Squared chord between the normalised rows: 0 for rows that are parallel up to rounding."""
    from array_api_compat import array_namespace

    xp = array_namespace(x)
    chord = _unit_rows(x) - _unit_rows(y)
    square = xp.sum(chord * chord, axis=1)
    return xp.where(square <= PARALLEL**2, xp.zeros_like(square), square)


def cosine(x: AnyArray, y: AnyArray) -> AnyArray:
    """Half the squared chord of the normalised rows, in [0, 2]; NaN for a zero row.

    Equal to 1 - <x, y> / (|x| |y|) (Lemma 2) but exact near 0, where the subtraction cancels.
    """
    return 0.5 * _squared_chord(x, y)


def angular(x: AnyArray, y: AnyArray) -> AnyArray:
    """Angle in radians, in [0, pi], by Kahan's half-angle formula; NaN for a zero row."""
    from array_api_compat import array_namespace

    xp = array_namespace(x)
    return 2.0 * xp.atan2(xp.sqrt(_squared_chord(x, y)), _norm(_unit_rows(x) + _unit_rows(y)))


def chordal(x: AnyArray, y: AnyArray) -> AnyArray:
    """Length of the chord between the normalised rows, in [0, 2]; NaN for a zero row."""
    from array_api_compat import array_namespace

    return array_namespace(x).sqrt(_squared_chord(x, y))


def euclidean(x: AnyArray, y: AnyArray) -> AnyArray:
    """Euclidean length of the difference."""
    return _norm(x - y)


COSINE = Distance("cosine", cosine, d_max=2.0, directional=True)
ANGULAR = Distance("angular", angular, d_max=math.pi, unit="radians", directional=True)
CHORDAL = Distance("chordal", chordal, d_max=2.0, directional=True)
EUCLIDEAN = Distance("euclidean", euclidean)
_NAMED: dict[DistanceName, Distance] = {
    "cosine": COSINE,
    "angular": ANGULAR,
    "chordal": CHORDAL,
    "euclidean": EUCLIDEAN,
}


def resolve(distance: DistanceLike) -> Distance:
    """The Distance that a name, a callable or a Distance stands for."""
    if isinstance(distance, Distance):
        return distance
    if isinstance(distance, str):
        checks.one_of(distance, tuple(_NAMED), name="distance")
        return _NAMED[distance]
    if callable(distance):
        return Distance(getattr(distance, "__name__", "callable"), distance)
    raise TypeError(f"distance: expected a name, a callable or a Distance, got {type(distance).__name__}")


def row_distances(
    x: AnyArray,
    y: AnyArray,
    *,
    distance: DistanceLike = "cosine",
    chunk: int = 65_536,
) -> FloatArray:
    """Compute the distance of each pair of rows in float64.

    Parameters
    ----------
    x, y : array (n, d)
        Paired rows, NumPy or torch on any device; they stay there. Only the n distances are copied back.
    distance : {"cosine", "angular", "chordal", "euclidean"}, callable or Distance
        A named distance, or a function of two float64 arrays (rows, d) to (rows,).
    chunk : int
        Rows converted to float64 at a time.

    Returns
    -------
    ndarray (n,), float64
        Distances in the unit of `distance`: cosine and chordal in [0, 2], angular in [0, pi] radians.

    Raises
    ------
    ValueError
        Unequal or empty shapes, NaN or infinite states, a zero row under a directional distance, or a
        callable that returns another shape, a negative number or NaN.
    TypeError
        States that are not real numbers or come from two array libraries; a distance of another type.

    See Also
    --------
    geometric : Their mean.
    proximal : Probability that they are at most t.

    Notes
    -----
    D1: the cosine distance is 1 - <x, y> / (|x| |y|), evaluated as half the squared chord of the normalised rows
    (Lemma 2), which is accurate to relative rounding even for nearly equal rows. Angles use Kahan's half-angle formula.
    Rows whose directions differ by less than the rounding of float64 (a chord of 3.6e-15) count as parallel: their
    directional distance is exactly 0, so that x and 3 x are at distance 0. States stored in lower precision keep the
    rounding of their own format.

    References
    ----------
    Kahan (2006), *How futile are mindless assessments of roundoff in floating-point computation?*

    Examples
    --------
    >>> import redundancy as rd
    >>> x, y = [[1.0, 0.0], [1.0, 0.0]], [[0.0, 2.0], [1.0, 1e-9]]
    >>> rd.row_distances(x, y)
    array([1.e+00, 5.e-19])
    >>> rd.row_distances(x, y, distance="euclidean").round(4)
    array([2.2361, 0.    ])
    """
    measure = resolve(distance)
    xp, x, y = checks.paired_rows(x, y)
    chunk = checks.integer(chunk, name="chunk", least=1)
    out = np.empty(x.shape[0])
    for start in range(0, x.shape[0], chunk):
        stop = min(start + chunk, x.shape[0])
        a, b = (xp.astype(z[start:stop, :], xp.float64) for z in (x, y))
        for name, z in (("x", a), ("y", b)):
            _refuse_bad_rows(xp, z, name, start, directional=measure.directional)
        values = _to_numpy(measure(a, b))
        if values.shape != (stop - start,):
            raise ValueError(
                f"distance {measure.name}: expected one number per row, shape ({stop - start},), got {values.shape}"
            )
        if not np.isfinite(values).all() or (values < 0).any() or (values > measure.d_max * (1 + 1e-12)).any():
            raise ValueError(
                f"distance {measure.name}: expected numbers in [0, {measure.d_max}], "
                f"got a range {values.min()} to {values.max()}"
            )
        out[start:stop] = np.minimum(values, measure.d_max)
    return out


def _refuse_bad_rows(xp: ModuleType, z: AnyArray, name: str, start: int, *, directional: bool) -> None:
    size = xp.max(xp.abs(z), axis=1)
    if not bool(xp.all(xp.isfinite(size))):
        rows = (start + np.nonzero(~np.isfinite(_to_numpy(size)))[0])[:5].tolist()
        raise ValueError(f"{name}: expected finite states, got NaN or infinity, first in rows {rows}; drop these rows")
    if directional and bool(xp.any(size == 0)):
        rows = (start + np.nonzero(_to_numpy(size) == 0)[0])[:5].tolist()
        raise ValueError(
            f"{name}: expected rows with a direction, but a zero vector has no direction, first in rows {rows}; "
            "drop these rows (padding?) or use distance='euclidean'"
        )


def _to_numpy(a: AnyArray) -> FloatArray:
    from array_api_compat import is_torch_array

    return np.asarray(a.detach().cpu().numpy() if is_torch_array(a) else a, dtype=np.float64)
