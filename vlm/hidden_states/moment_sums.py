"""Sufficient statistics of two layers' states: what is summed over prompts, about which origin, and how sums combine.

Every prompt counts the same: a prompt adds the mean over its tokens. x and y are the states less a fixed shift (the
pilot), u and v their projections onto the rows of an orthonormal matrix, or x and y themselves.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.array_types import FloatArray
from vlm.hidden_states.moment_alignment import AlignmentSums


@dataclass(frozen=True, eq=False)
class MomentSums:
    """Sums over the prompts of one fold for one pair of layers and one modality.

    Attributes
    ----------
    prompts, tokens : int
        Numbers of prompts and of their tokens.
    shift_x, shift_y : ndarray (d,)
        The fixed shift of each layer: x and y below are states less it.
    basis : ndarray (k, d) or None
        Orthonormal rows; u = basis x and v = basis y. None means u = x and v = y.
    x, y : ndarray (d,)
        Sums of the prompts' mean states.
    ux, uy, vx, vy : ndarray (k, d)
        Sums of the prompts' mean outer products u x^T, u y^T, v x^T, v y^T.
    square_x, square_y, square_step : float
        Sums of the prompts' means of |x|^2, |y|^2 and |y - x|^2.
    alignment_x, alignment_y, alignment : AlignmentSums
        What CKA needs, of (u, u), (v, v) and (u, v).

    Examples
    --------
    >>> import numpy as np
    >>> from vlm.hidden_states.moment_sums import MomentSums
    >>> rng = np.random.default_rng(0)
    >>> x = rng.normal(size=(60, 3))
    >>> y = x + 0.1 * rng.normal(size=x.shape)
    >>> image = np.repeat(np.arange(20), 3)
    >>> whole = MomentSums.of_rows(x, y, image)
    >>> first, second = (MomentSums.of_rows(x[part], y[part], image[part]) for part in (image < 9, image >= 9))
    >>> joined = first + second.about(first.shift_x, first.shift_y)
    >>> joined.prompts, bool(np.allclose(joined.uy, whole.uy))
    (20, True)
    """

    prompts: int
    tokens: int
    shift_x: FloatArray
    shift_y: FloatArray
    basis: FloatArray | None
    x: FloatArray
    y: FloatArray
    ux: FloatArray
    uy: FloatArray
    vx: FloatArray
    vy: FloatArray
    square_x: float
    square_y: float
    square_step: float
    alignment_x: AlignmentSums
    alignment_y: AlignmentSums
    alignment: AlignmentSums

    @classmethod
    def of_rows(
        cls,
        x: ArrayLike,
        y: ArrayLike,
        groups: ArrayLike | None = None,
        *,
        basis: FloatArray | None = None,
        shift_x: FloatArray | None = None,
        shift_y: FloatArray | None = None,
    ) -> MomentSums:
        """The sums of stored states.

        Parameters
        ----------
        x, y : array_like (n, d)
            Paired rows of two layers.
        groups : array_like (n,), optional
            Prompt of each row; by default every row is one.
        basis : ndarray (k, d), optional
            Orthonormal rows onto which the input side is projected.
        shift_x, shift_y : ndarray (d,), optional
            By default zero.
        """
        a, b = checks.matrix(x, name="x"), checks.matrix(y, name="y")
        if a.shape != b.shape:
            raise ValueError(f"x and y: expected two layers of one shape (n, d), got {a.shape} and {b.shape}")
        index, sizes = checks.group_index(groups, len(a))
        shift_x = np.zeros(a.shape[1]) if shift_x is None else shift_x
        shift_y = np.zeros(a.shape[1]) if shift_y is None else shift_y
        a, b = a - shift_x, b - shift_y
        u, v = (rows if basis is None else rows @ basis.T for rows in (a, b))
        weight = 1.0 / sizes[index]

        def mean_outer(left: FloatArray, right: FloatArray) -> FloatArray:
            return np.asarray((left * weight[:, None]).T @ right)

        return cls(
            prompts=int(sizes.size),
            tokens=len(a),
            shift_x=shift_x,
            shift_y=shift_y,
            basis=basis,
            x=weight @ a,
            y=weight @ b,
            ux=mean_outer(u, a),
            uy=mean_outer(u, b),
            vx=mean_outer(v, a),
            vy=mean_outer(v, b),
            square_x=float(weight @ np.square(a).sum(axis=1)),
            square_y=float(weight @ np.square(b).sum(axis=1)),
            square_step=float(weight @ np.square(b - a).sum(axis=1)),
            alignment_x=alignment_of_rows(u, u, index, sizes.size),
            alignment_y=alignment_of_rows(v, v, index, sizes.size),
            alignment=alignment_of_rows(u, v, index, sizes.size),
        )

    @property
    def width(self) -> int:
        """Width d of a state."""
        return int(self.x.size)

    @property
    def projected_x(self) -> FloatArray:
        """Sum of the prompts' means of u (k,)."""
        return self._projected(self.x)

    @property
    def projected_y(self) -> FloatArray:
        """Sum of the prompts' means of v (k,)."""
        return self._projected(self.y)

    def about(self, shift_x: FloatArray, shift_y: FloatArray) -> MomentSums:
        """The same sums with other shifts: the states are less `shift_x` and `shift_y` instead."""
        dx, dy = shift_x - self.shift_x, shift_y - self.shift_y
        n, px, py = self.prompts, self._projected(dx), self._projected(dy)
        su, sv = self.projected_x, self.projected_y

        def moved(outer: FloatArray, left: FloatArray, right: FloatArray, p: FloatArray, q: FloatArray) -> FloatArray:
            return np.asarray(outer - np.outer(left, q) - np.outer(p, right) + n * np.outer(p, q))

        apart = dy - dx
        return replace(
            self,
            shift_x=shift_x,
            shift_y=shift_y,
            x=self.x - n * dx,
            y=self.y - n * dy,
            ux=moved(self.ux, su, self.x, px, dx),
            uy=moved(self.uy, su, self.y, px, dy),
            vx=moved(self.vx, sv, self.x, py, dx),
            vy=moved(self.vy, sv, self.y, py, dy),
            square_x=self.square_x - 2.0 * float(dx @ self.x) + n * float(dx @ dx),
            square_y=self.square_y - 2.0 * float(dy @ self.y) + n * float(dy @ dy),
            square_step=self.square_step - 2.0 * float(apart @ (self.y - self.x)) + n * float(apart @ apart),
            alignment_x=self.alignment_x.about(px, px),
            alignment_y=self.alignment_y.about(py, py),
            alignment=self.alignment.about(px, py),
        )

    def centred(self) -> MomentSums:
        """The sums about the mean over prompts."""
        return self.about(self.shift_x + self.x / self.prompts, self.shift_y + self.y / self.prompts)

    def reversed(self) -> MomentSums:
        """The sums with the two layers exchanged."""
        other = self.alignment
        return replace(
            self,
            shift_x=self.shift_y,
            shift_y=self.shift_x,
            x=self.y,
            y=self.x,
            ux=self.vy,
            uy=self.vx,
            vx=self.uy,
            vy=self.ux,
            square_x=self.square_y,
            square_y=self.square_x,
            alignment_x=self.alignment_y,
            alignment_y=self.alignment_x,
            alignment=replace(
                other,
                a=other.b,
                b=other.a,
                product=other.product.T,
                between=other.between.T,
                mixed_a=other.mixed_b,
                mixed_b=other.mixed_a,
                cubic_a=other.cubic_b,
                cubic_b=other.cubic_a,
                square_a=other.square_b,
                square_b=other.square_a,
            ),
        )

    def __add__(self, other: MomentSums) -> MomentSums:
        if not (np.array_equal(self.shift_x, other.shift_x) and np.array_equal(self.shift_y, other.shift_y)):
            raise ValueError("moments: expected sums about one shift, got two; bring one to the other's with .about()")
        same = self.basis is other.basis or (
            self.basis is not None and other.basis is not None and np.array_equal(self.basis, other.basis)
        )
        if not same:
            raise ValueError("moments: expected sums with one projection, got two; record both with the same seed")
        kept = ("shift_x", "shift_y", "basis")
        names = [name for name in self.__dataclass_fields__ if name not in kept]
        return replace(self, **{name: getattr(self, name) + getattr(other, name) for name in names})

    def _projected(self, vector: FloatArray) -> FloatArray:
        return vector if self.basis is None else np.asarray(self.basis @ vector)


def alignment_of_rows(a: FloatArray, b: FloatArray, index: ArrayLike, prompts: int) -> AlignmentSums:
    """What CKA needs, from the rows of two layers; `index` (n,) numbers each row's prompt."""
    parts = []
    for prompt in range(prompts):
        rows = np.asarray(index) == prompt
        product = a[rows].T @ b[rows] / rows.sum()
        mean_a, mean_b = a[rows].mean(axis=0), b[rows].mean(axis=0)
        aa, bb = float(mean_a @ mean_a), float(mean_b @ mean_b)
        parts.append(
            AlignmentSums(
                n=1,
                a=mean_a,
                b=mean_b,
                product=product,
                between=np.outer(mean_a, mean_b),
                mixed_a=mean_a @ product,
                mixed_b=product @ mean_b,
                cubic_a=mean_a * bb,
                cubic_b=mean_b * aa,
                square_a=aa,
                square_b=bb,
                square_ab=aa * bb,
                own=float(np.sum(product**2)),
                triple=float(mean_a @ product @ mean_b),
            )
        )
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total
