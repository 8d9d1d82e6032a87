"""Sums over prompts from which linear CKA follows, plain and without bias, about any origin.

A prompt gives the mean outer product M = mean a b^T of its rows and the means a', b' of its rows. The unbiased form
leaves out pairs of rows of one prompt, which needs sums of fourth order, such as that of the squared norms of M.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from redundancy.array_types import FloatArray


@dataclass(frozen=True, eq=False)
class AlignmentSums:
    """Sums over n prompts of two layers' rows a (k_a columns) and b (k_b columns).

    Attributes
    ----------
    n : int
        Number of prompts.
    a, b : ndarray (k_a,), (k_b,)
        Sums of the means a' and b'.
    product, between : ndarray (k_a, k_b)
        Sums of M and of a' b'^T.
    mixed_a, mixed_b : ndarray (k_b,), (k_a,)
        Sums of M^T a' and M b'.
    cubic_a, cubic_b : ndarray (k_a,), (k_b,)
        Sums of a' |b'|^2 and b' |a'|^2.
    square_a, square_b, square_ab : float
        Sums of |a'|^2, |b'|^2 and |a'|^2 |b'|^2.
    own, triple : float
        Sums of |M|^2 (Frobenius) and a'^T M b'.
    """

    n: int
    a: FloatArray
    b: FloatArray
    product: FloatArray
    between: FloatArray
    mixed_a: FloatArray
    mixed_b: FloatArray
    cubic_a: FloatArray
    cubic_b: FloatArray
    square_a: float
    square_b: float
    square_ab: float
    own: float
    triple: float

    def about(self, alpha: FloatArray, beta: FloatArray) -> AlignmentSums:
        """The same sums of the rows a - alpha and b - beta."""
        n, a, b, m, g = self.n, self.a, self.b, self.product, self.between
        aa, bb = float(alpha @ alpha), float(beta @ beta)
        at, bt = float(a @ alpha), float(b @ beta)
        m_alpha, m_beta, g_alpha, g_beta = alpha @ m, m @ beta, alpha @ g, g @ beta
        g_both = float(g_alpha @ beta)
        m_both = float(m_alpha @ beta)
        sa, sb = self.square_a, self.square_b
        moved = -np.outer(a, beta) - np.outer(alpha, b) + n * np.outer(alpha, beta)
        own = (
            self.own
            + sa * bb
            + aa * sb
            + n * aa * bb
            - 2.0 * float(self.mixed_a @ beta)
            - 2.0 * float(alpha @ self.mixed_b)
            + 2.0 * m_both
            + 2.0 * g_both
            - 2.0 * at * bb
            - 2.0 * aa * bt
        )
        triple = (
            self.triple
            - float(self.mixed_a @ beta)
            - float(self.mixed_b @ alpha)
            + m_both
            - (float(self.cubic_b @ beta) - bb * sa - g_both + bb * at)
            - (float(self.cubic_a @ alpha) - g_both - aa * sb + aa * bt)
            + (g_both - bb * at - aa * bt + n * aa * bb)
        )
        square_ab = (
            self.square_ab
            - 2.0 * float(self.cubic_b @ beta)
            + bb * sa
            - 2.0 * float(self.cubic_a @ alpha)
            + 4.0 * g_both
            - 2.0 * bb * at
            + aa * sb
            - 2.0 * aa * bt
            + n * aa * bb
        )
        new_sa, new_sb = sa - 2.0 * at + n * aa, sb - 2.0 * bt + n * bb
        return AlignmentSums(
            n=n,
            a=a - n * alpha,
            b=b - n * beta,
            product=m + moved,
            between=g + moved,
            mixed_a=self.mixed_a - m_alpha - beta * sa + 2.0 * beta * at - g_alpha + b * aa - n * beta * aa,
            mixed_b=self.mixed_b - m_beta - alpha * sb + 2.0 * alpha * bt - g_beta + a * bb - n * alpha * bb,
            cubic_a=self.cubic_a - 2.0 * g_beta + bb * a - alpha * new_sb,
            cubic_b=self.cubic_b - 2.0 * g_alpha + aa * b - beta * new_sa,
            square_a=new_sa,
            square_b=new_sb,
            square_ab=square_ab,
            own=own,
            triple=triple,
        )

    def __add__(self, other: AlignmentSums) -> AlignmentSums:
        return AlignmentSums(*(getattr(self, name) + getattr(other, name) for name in self.__dataclass_fields__))


def plain_hsic(sums: AlignmentSums) -> float:
    """Squared Frobenius norm of the cross-covariance, every prompt counting the same."""
    centred = sums.product / sums.n - np.outer(sums.a / sums.n, sums.b / sums.n)
    return float(np.sum(centred**2))


def unbiased_hsic(sums: AlignmentSums) -> float:
    """Average of k(1, 2) l(1, 2) - 2 k(1, 2) l(1, 3) + k(1, 2) l(3, 4) over tuples of distinct prompts.

    The estimator of `redundancy.cka`; give the sums about the means of the prompts, so that no digits are lost.
    """
    m, a, b = float(sums.n), sums.a, sums.b
    pairs = float(np.sum(sums.product**2)) - sums.own
    triple_all = float(a @ sums.product @ b) - float(sums.mixed_a @ b) - float(a @ sums.mixed_b) + sums.triple
    triples = triple_all - (float(np.sum(sums.product * sums.between)) - sums.triple)
    rows = float(a @ sums.between @ b) - float(a @ sums.cubic_a) - float(b @ sums.cubic_b) + sums.square_ab
    both = float(np.sum(sums.between**2)) - sums.square_ab
    quadruples = (float(a @ a) - sums.square_a) * (float(b @ b) - sums.square_b) - 4.0 * rows + 2.0 * both
    falling = np.cumprod([m, m - 1.0, m - 2.0, m - 3.0])
    return float(pairs / falling[1] - 2.0 * triples / falling[2] + quadruples / falling[3])
