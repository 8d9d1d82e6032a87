"""The results of BROJA: atoms, the certificate of their accuracy, and the accounting that relates them."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from itertools import accumulate
from typing import TYPE_CHECKING, Literal, get_args, overload

import numpy as np

from redundancy.array_types import ArrayLater, BoolArray, FloatArray, IntArray
from redundancy.display import Displayed
from redundancy.information.finite_entropy import LEAST, divergence_cells, divergences_of

Atom = Literal["redundant", "unique_x", "unique_y", "synergistic"]
ATOMS: tuple[Atom, ...] = get_args(Atom)
TOGETHER = 1000  # cells up to which one array operation for all tables is faster than one for each


@dataclass(frozen=True, eq=False, repr=False)
class Atoms(Displayed):
    """The four atoms of a decomposition of I(Z; X, Y), in nats."""

    redundant: float
    unique_x: float
    unique_y: float
    synergistic: float

    @property
    def total(self) -> float:
        """I(Z; X, Y) in nats, the sum of the atoms."""
        return self.redundant + self.unique_x + self.unique_y + self.synergistic

    @property
    def bits(self) -> dict[Atom, float]:
        """The four atoms in bits."""
        return {name: getattr(self, name) / math.log(2.0) for name in ATOMS}


@dataclass(frozen=True, eq=False, repr=False)
class PID(Atoms):
    """A decomposition of I(Z; X, Y) in nats, with the certificate of its accuracy.

    Parameters
    ----------
    redundant, unique_x, unique_y, synergistic : float
        The atoms in nats, computed from the coupling `q`. The true unique atoms lie in [value - gap, value], the
        redundant and the synergistic one in [value, value + gap]: one gap bounds all four.
    gap : float
        Certified duality gap in nats, floating-point rounding included; never below the true one.
    tol : float
        The gap that was asked for.
    status : {"converged", "stalled"}
        "converged" if gap <= tol, else "stalled": the gap then says how far the answer can be from the optimum.
    iterations : int
        Newton steps of the slowest block; 0 if the presolve or the starting point settled the distribution.
    q : ndarray (z, x, y)
        The coupling that attains the values: it has the (Z, X) and (Z, Y) marginals of the distribution.
    u, v : ndarray (z, x), (z, y)
        A feasible dual point: sum_z exp(u_zx + v_zy) <= 1 for all x, y; -inf where the pair has no mass.
    stability : mapping from atom to (low, high), optional
        Confidence limits of the atoms of the sampled distribution (`broja_from_samples`).

    Attributes
    ----------
    redundant, unique_x, unique_y, synergistic, gap, tol, status, iterations, q, u, v, stability
        As given.

    See Also
    --------
    broja, broja_batch, broja_from_samples : Return it.

    Notes
    -----
    D8: I(Z; X) = redundant + unique_x, I(Z; Y) = redundant + unique_y, and I(Z; X, Y) is the sum of all four. D9
    defines unique_x.

    References
    ----------
    Bertschinger, Rauh, Olbrich, Jost and Ay (2014), *Quantifying unique information*, arXiv:1311.2852.

    Examples
    --------
    The AND of two fair bits:

    >>> import numpy as np
    >>> import redundancy as rd
    >>> pmf = np.zeros((2, 2, 2))
    >>> for x in range(2):
    ...     for y in range(2):
    ...         pmf[x & y, x, y] = 0.25
    >>> pid = rd.broja(pmf)
    >>> round(pid.bits["redundant"], 4), round(pid.bits["synergistic"], 4)
    (0.3113, 0.5)
    >>> low, high = pid.interval("redundant")
    >>> low == pid.redundant, high - low < 1e-9
    (True, True)
    """

    gap: float
    tol: float
    status: Literal["converged", "stalled"]
    iterations: int
    q: FloatArray = field(repr=False)
    u: FloatArray = field(repr=False)
    v: FloatArray = field(repr=False)
    stability: dict[Atom, tuple[float, float]] | None = None

    def __post_init__(self) -> None:
        if isinstance(self.q, ArrayLater):
            self.__dict__["_later"] = self.__dict__.pop("q")

    if not TYPE_CHECKING:

        def __getattr__(self, name: str) -> FloatArray:
            # reached only while a large coupling has not been made
            later = self.__dict__.get("_later")
            if name != "q" or later is None:
                raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
            return self.__dict__.setdefault("q", later.values())

    @property
    def converged(self) -> bool:
        """Whether the certified gap is at most the one that was asked for."""
        return self.status == "converged"

    def interval(self, atom: Atom) -> tuple[float, float]:
        """Interval (low, high) in nats that certainly contains the atom of this very distribution."""
        if atom not in ATOMS:
            raise ValueError(f"atom: expected one of {', '.join(ATOMS)}; got {atom!r}")
        value: float = getattr(self, atom)
        return (value - self.gap, value) if atom.startswith("unique") else (value, value + self.gap)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name} {getattr(self, name):.6g}" for name in ATOMS)
        return f"PID({shown} nats; gap {self.gap:.1e}, {self.status}, {self.iterations} iterations)"


@dataclass(frozen=True, eq=False, repr=False)
class PIDTable(Displayed):
    """The decompositions of many distributions of one shape: the fields of `PID` with the distribution as first axis.

    Parameters
    ----------
    redundant, unique_x, unique_y, synergistic, gap : ndarray (distributions,)
        In nats, as in :class:`PID`.
    tol : float
        The gap that was asked for.
    iterations : ndarray (distributions,)
        Newton steps.
    q, u, v : ndarray (distributions, z, x, y), (distributions, z, x), (distributions, z, y)
        Couplings and dual points.

    Attributes
    ----------
    redundant, unique_x, unique_y, synergistic, gap, tol, iterations, q, u, v
        As given.

    See Also
    --------
    broja_batch : Returns it.
    PID : One row of it.

    Examples
    --------
    >>> import numpy as np
    >>> import redundancy as rd
    >>> pmfs = np.stack([np.full((2, 2, 2), 0.125), np.eye(8)[0].reshape(2, 2, 2)])
    >>> table = rd.broja_batch(pmfs)
    >>> len(table), table.converged
    (2, array([ True,  True]))
    >>> type(table[0]).__name__, table[1:]
    ('PID', PIDTable(1 distributions; largest gap 2.4e-15, 0 above tol))
    """

    redundant: FloatArray
    unique_x: FloatArray
    unique_y: FloatArray
    synergistic: FloatArray
    gap: FloatArray
    tol: float
    iterations: IntArray
    q: FloatArray = field(repr=False)
    u: FloatArray = field(repr=False)
    v: FloatArray = field(repr=False)

    @property
    def converged(self) -> BoolArray:
        """Which distributions reached the gap that was asked for (distributions,)."""
        return self.gap <= self.tol

    def __len__(self) -> int:
        """Number of distributions."""
        return int(self.gap.shape[0])

    @overload
    def __getitem__(self, index: int) -> PID: ...

    @overload
    def __getitem__(self, index: slice | list[int] | IntArray | BoolArray) -> PIDTable: ...

    def __getitem__(self, index: int | slice | list[int] | IntArray | BoolArray) -> PID | PIDTable:
        """The decomposition of one distribution, or for a slice, a mask or several numbers the table of those."""
        if isinstance(index, (bool, np.bool_)):
            raise TypeError(f"index: expected a number, a slice or an array of them, got {index!r}")
        if not isinstance(index, (int, np.integer)):
            rows = np.arange(len(self))[index]
            if rows.ndim != 1:
                raise IndexError(f"index: expected one number, a slice or a vector, got shape {rows.shape}")
            parts = {name: getattr(self, name)[rows] for name in (*ATOMS, "gap", "iterations", "q", "u", "v")}
            return PIDTable(tol=self.tol, **parts)
        return PID(
            redundant=float(self.redundant[index]),
            unique_x=float(self.unique_x[index]),
            unique_y=float(self.unique_y[index]),
            synergistic=float(self.synergistic[index]),
            gap=float(self.gap[index]),
            tol=self.tol,
            status="converged" if self.gap[index] <= self.tol else "stalled",
            iterations=int(self.iterations[index]),
            q=self.q[index],
            u=self.u[index],
            v=self.v[index],
        )

    def __repr__(self) -> str:
        if len(self) == 0:
            return "PIDTable(0 distributions)"
        failed = int((~self.converged).sum())
        return f"PIDTable({len(self)} distributions; largest gap {self.gap.max():.1e}, {failed} above tol)"


def table(
    pmf: FloatArray,
    q: FloatArray,
    u: FloatArray,
    v: FloatArray,
    gap: FloatArray,
    *,
    tol: float,
    iterations: IntArray,
) -> PIDTable:
    """Atoms of distributions pmf (law, t, x, y) from couplings q with the same pair marginals, by D8 and D9."""
    total = np.add.reduce
    p_tx, p_ty, p_xy = total(pmf, 3), total(pmf, 2), total(pmf, 1)
    p_t = total(p_tx, 2)[:, :, None]
    q_tx, q_ty, q_xy = total(q, 3)[..., None], total(q, 2)[:, :, None], total(q, 1)[:, None]
    information_x, information_y, information_xy, unique_x, unique_y = _divergences(
        (p_tx, p_t * total(p_tx, 1)[:, None]),
        (p_ty, p_t * total(p_ty, 1)[:, None]),
        (pmf, p_t[..., None] * p_xy[:, None]),
        # I_Q(T; X | Y) compares q with q(t, y) q(x, y) / q(y)
        (q, q_ty * q_xy / np.maximum(total(q_ty, 1)[:, None], LEAST)),
        (q, q_tx * q_xy / np.maximum(total(q_tx, 1)[:, None], LEAST)),
    )
    return PIDTable(
        redundant=information_x - unique_x,
        unique_x=unique_x,
        unique_y=unique_y,
        synergistic=information_xy - information_y - unique_x,
        gap=gap,
        tol=tol,
        iterations=iterations,
        q=q,
        u=u,
        v=v,
    )


def _divergences(*pairs: tuple[FloatArray, FloatArray]) -> list[FloatArray]:
    """sum p log(p / r) of each pair of tables, per law; small tables side by side in one array."""
    laws = len(pairs[0][0])
    if pairs[-1][0].size > TOGETHER * laws:
        return [divergences_of(p, r) for p, r in pairs]
    p = np.concatenate([pair[0].reshape(laws, -1) for pair in pairs], 1)
    r = np.concatenate([pair[1].reshape(laws, -1) for pair in pairs], 1)
    starts = [0, *accumulate(pair[0].size // laws for pair in pairs[:-1])]
    return list(np.add.reduceat(divergence_cells(p, r), starts, 1).T)
