"""Row-wise distances between two layers' states, on NumPy or torch arrays alike."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from redundancy import checks
from redundancy.array_types import FloatArray


@dataclass(frozen=True)
class Distance:
    """A row-wise distance: `function(x, y)` maps two (n, d) arrays to (n,), with values in [0, d_max]."""

    name: str
    function: Callable[[Any, Any], Any]
    d_max: float = math.inf
    unit: str = "1"
    directional: bool = False

    def __call__(self, x: Any, y: Any) -> Any:
        return self.function(x, y)


def _unit_rows(x: Any) -> Any:
    # Dividing by the largest entry first keeps the norm of huge and tiny rows representable.
    from array_api_compat import array_namespace

    xp = array_namespace(x)
    scaled = x / xp.max(xp.abs(x), axis=1, keepdims=True)
    return scaled / xp.sqrt(xp.sum(scaled * scaled, axis=1, keepdims=True))


def _norm(x: Any) -> Any:
    from array_api_compat import array_namespace

    xp = array_namespace(x)
    return xp.sqrt(xp.sum(x * x, axis=1))


def cosine(x: Any, y: Any) -> Any:
    """d = half the squared chord of the normalised rows, in [0, 2]; NaN for a zero row.

    Equal to 1 - <x, y> / (|x| |y|) (Lemma 2) but exact near 0, where the subtraction cancels.
    """
    from array_api_compat import array_namespace

    chord = _unit_rows(x) - _unit_rows(y)
    return 0.5 * array_namespace(x).sum(chord * chord, axis=1)


def angular(x: Any, y: Any) -> Any:
    """Angle in radians, in [0, pi], by Kahan's half-angle formula; NaN for a zero row."""
    from array_api_compat import array_namespace

    u, v = _unit_rows(x), _unit_rows(y)
    return 2.0 * array_namespace(x).atan2(_norm(u - v), _norm(u + v))


def chordal(x: Any, y: Any) -> Any:
    """Length of the chord between the normalised rows, in [0, 2]; NaN for a zero row."""
    return _norm(_unit_rows(x) - _unit_rows(y))


def euclidean(x: Any, y: Any) -> Any:
    """Euclidean length of the difference."""
    return _norm(x - y)


COSINE = Distance("cosine", cosine, d_max=2.0, directional=True)
ANGULAR = Distance("angular", angular, d_max=math.pi, unit="radians", directional=True)
CHORDAL = Distance("chordal", chordal, d_max=2.0, directional=True)
EUCLIDEAN = Distance("euclidean", euclidean)
_NAMED = {d.name: d for d in (COSINE, ANGULAR, CHORDAL, EUCLIDEAN)}


def resolve(distance: str | Distance | Callable[[Any, Any], Any]) -> Distance:
    """The distance behind a name, a callable or a Distance value."""
    if isinstance(distance, Distance):
        return distance
    if isinstance(distance, str):
        checks.one_of(distance, tuple(_NAMED), name="distance")
        return _NAMED[distance]
    if callable(distance):
        return Distance(getattr(distance, "__name__", "callable"), distance)
    raise TypeError(f"distance: expected a name, a callable or a Distance, got {type(distance).__name__}")


def row_distances(
    x: Any,
    y: Any,
    *,
    distance: str | Distance | Callable[[Any, Any], Any] = "cosine",
    chunk: int = 65_536,
) -> FloatArray:
    """Distance of each pair of rows.

    Parameters
    ----------
    x, y : array (n, d)
        Paired rows, NumPy or torch on any device; they stay there. Only the n distances come back.
    distance : str, callable or Distance
        "cosine", "angular", "chordal", "euclidean", or a function of two float64 arrays (rows, d) to (rows,).
    chunk : int
        Rows converted to float64 at a time.

    Returns
    -------
    ndarray (n,), float64

    Raises
    ------
    ValueError
        Unequal or empty shapes, NaN or infinite states, a zero row under a directional distance, or a
        callable that returns another shape, a negative number or NaN.
    """
    measure = resolve(distance)
    xp, x, y = checks.paired_rows(x, y)
    if chunk < 1:
        raise ValueError(f"chunk: expected at least 1 row, got {chunk}")
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
        out[start:stop] = values
    return out


def _refuse_bad_rows(xp: Any, z: Any, name: str, start: int, *, directional: bool) -> None:
    size = xp.max(xp.abs(z), axis=1)
    if not bool(xp.all(xp.isfinite(size))):
        rows = (start + np.nonzero(~np.isfinite(_to_numpy(size)))[0])[:5].tolist()
        raise ValueError(f"{name}: expected finite states, got NaN or infinity, first in rows {rows}; drop these rows")
    if directional and bool(xp.any(size == 0)):
        rows = (start + np.nonzero(_to_numpy(size) == 0)[0])[:5].tolist()
        raise ValueError(
            f"{name}: a zero vector has no direction, first in rows {rows}; "
            "drop these rows (padding?) or use distance='euclidean'"
        )


def _to_numpy(a: Any) -> FloatArray:
    from array_api_compat import is_torch_array

    return np.asarray(a.detach().cpu().numpy() if is_torch_array(a) else a, dtype=np.float64)
