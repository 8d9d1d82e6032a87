"""The result of a bivariate partial information decomposition, and its atoms from a certified coupling."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from redundancy.array_types import FloatArray

ATOMS = ("redundant", "unique_x", "unique_y", "synergistic")


@dataclass(frozen=True, eq=False)
class PID:
    """A decomposition of I(T; X, Y) in nats, with the certificate of its accuracy.

    Attributes
    ----------
    redundant, unique_x, unique_y, synergistic : float
        The atoms, computed from the coupling `q`. The true unique atoms lie in [value - gap, value], the
        redundant and the synergistic one in [value, value + gap]: one gap bounds all four.
    gap : float
        Certified duality gap in nats, floating-point rounding included; never below the true one.
    tol : float
        The gap that was asked for.
    status : str
        "converged" (gap <= tol) or "stalled" (the gap says how far the answer can be from the optimum).
    iterations : int
        Newton steps of the slowest block; 0 when presolve or the starting point settled the law.
    q : ndarray (t, x, y)
        The coupling that attains the values: it has the (T, X) and (T, Y) marginals of the law.
    u, v : ndarray (t, x), (t, y)
        A feasible dual point: sum_t exp(u_tx + v_ty) <= 1 for all x, y; -inf where the pair has no mass.
    stability : mapping from atom to (low, high), or None
        Confidence limits of the atoms of the law that was sampled (`broja_from_samples`).
    """

    redundant: float
    unique_x: float
    unique_y: float
    synergistic: float
    gap: float
    tol: float
    status: str
    iterations: int
    q: FloatArray = field(repr=False)
    u: FloatArray = field(repr=False)
    v: FloatArray = field(repr=False)
    stability: dict[str, tuple[float, float]] | None = None

    @property
    def converged(self) -> bool:
        """Whether the certified gap is at most the one asked for."""
        return self.status == "converged"

    @property
    def total(self) -> float:
        """I(T; X, Y), the sum of the atoms."""
        return self.redundant + self.unique_x + self.unique_y + self.synergistic

    @property
    def bits(self) -> dict[str, float]:
        """The four atoms in bits."""
        return {name: getattr(self, name) / math.log(2.0) for name in ATOMS}

    def interval(self, atom: str) -> tuple[float, float]:
        """Where the atom of this very law is certain to lie."""
        if atom not in ATOMS:
            raise ValueError(f"atom: expected one of {', '.join(ATOMS)}; got {atom!r}")
        value = getattr(self, atom)
        return (value - self.gap, value) if atom.startswith("unique") else (value, value + self.gap)

    def __repr__(self) -> str:
        shown = ", ".join(f"{name} {getattr(self, name):.6g}" for name in ATOMS)
        return f"PID({shown} nats; gap {self.gap:.1e}, {self.status}, {self.iterations} iterations)"


@dataclass(frozen=True, eq=False)
class PIDTable:
    """The decompositions of many laws of one shape: the fields of `PID` with the law as first axis."""

    redundant: FloatArray
    unique_x: FloatArray
    unique_y: FloatArray
    synergistic: FloatArray
    gap: FloatArray
    tol: float
    iterations: NDArray[np.int64]
    q: FloatArray = field(repr=False)
    u: FloatArray = field(repr=False)
    v: FloatArray = field(repr=False)

    @property
    def converged(self) -> NDArray[np.bool_]:
        """Which laws reached the gap that was asked for."""
        return self.gap <= self.tol

    def __len__(self) -> int:
        return int(self.gap.shape[0])

    def __getitem__(self, law: int) -> PID:
        """One law's decomposition."""
        return PID(
            redundant=float(self.redundant[law]),
            unique_x=float(self.unique_x[law]),
            unique_y=float(self.unique_y[law]),
            synergistic=float(self.synergistic[law]),
            gap=float(self.gap[law]),
            tol=self.tol,
            status="converged" if self.gap[law] <= self.tol else "stalled",
            iterations=int(self.iterations[law]),
            q=self.q[law],
            u=self.u[law],
            v=self.v[law],
        )

    def __repr__(self) -> str:
        failed = int((~self.converged).sum())
        return f"PIDTable({len(self)} laws; largest gap {self.gap.max():.1e}, {failed} above tol)"


def table(
    pmf: FloatArray,
    q: FloatArray,
    u: FloatArray,
    v: FloatArray,
    gap: FloatArray,
    *,
    tol: float,
    iterations: NDArray[np.int64],
) -> PIDTable:
    """Atoms of laws pmf (law, t, x, y) from couplings q with the same pair marginals, by (D8), (D9)."""
    information_x = _information(pmf.sum(3))
    information_y = _information(pmf.sum(2))
    information_xy = _information(pmf.reshape(*pmf.shape[:2], -1))
    unique_x = _conditional_information(q)
    return PIDTable(
        redundant=information_x - unique_x,
        unique_x=unique_x,
        unique_y=_conditional_information(q.swapaxes(2, 3)),
        synergistic=information_xy - information_y - unique_x,
        gap=gap,
        tol=tol,
        iterations=iterations,
        q=q,
        u=u,
        v=v,
    )


def _information(p: FloatArray) -> FloatArray:
    """I(T; Z) of each table (law, t, z)."""
    product = p.sum(2, keepdims=True) * p.sum(1, keepdims=True)
    return _divergence(p, product)


def _conditional_information(q: FloatArray) -> FloatArray:
    """I_Q(T; X | Y) of each coupling (law, t, x, y)."""
    product = q.sum(2, keepdims=True) * q.sum(1, keepdims=True)  # q(t, y) q(x, y)
    whole = np.broadcast_to(q.sum((1, 2), keepdims=True), q.shape)
    split = np.divide(product, whole, out=np.ones_like(q), where=q > 0)
    return _divergence(q, split)


def _divergence(p: FloatArray, r: FloatArray) -> FloatArray:
    # r vanishes beside a positive p only by underflow: the term is far below the rounding of the sum
    ratio = np.divide(p, r, out=np.ones_like(p), where=(p > 0) & (r > 0))
    return np.asarray((p * np.log(ratio)).reshape(len(p), -1).sum(1))
