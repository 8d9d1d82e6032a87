"""BROJA of the empirical distribution of labelled samples, with confidence limits that follow from its stability."""

from __future__ import annotations

import dataclasses
from typing import cast

import numpy as np
from numpy.typing import ArrayLike

from redundancy import checks
from redundancy.array_types import FloatArray, IntArray
from redundancy.estimate import Quantity, unit_of_sampling
from redundancy.information.discrete import Cells, joint_cells, paired_codes, plugin_value
from redundancy.information.sampling_doubts import OnDoubt, plugin_doubts, raise_doubts
from redundancy.pid.presolve import same_rows
from redundancy.pid.result import PID
from redundancy.pid.solver import broja
from redundancy.pid.stability import stability_limits

DENSE_CELLS = 1_000_000  # cells up to which the whole table is made


def broja_from_samples(
    z: ArrayLike,
    x: ArrayLike,
    y: ArrayLike,
    *,
    tol: float = 1e-9,
    sizes: tuple[int, int, int] | None = None,
    confidence: float | None = None,
    groups: ArrayLike | None = None,
    on_doubt: OnDoubt = "warn",
) -> PID:
    """Decompose I(Z; X, Y) of the empirical distribution of paired labels.

    Parameters
    ----------
    z, x, y : array_like (n,)
        Labels (integers, booleans or strings) of the target and the two sources, paired.
    tol : float
        As in :func:`broja`.
    sizes : (int, int, int), optional
        Alphabet sizes (|Z|, |X|, |Y|) fixed in advance; labels must then be integers in 0..size-1 (or booleans), and
        the distribution q and the dual variables u and v of the result have these shapes. Without it the alphabets
        are the labels seen.
    confidence : float, optional
        Adds `stability`: confidence limits that hold together for all four atoms of the sampled distribution with
        this probability, for independent images (rows without `groups`) and for `sizes` fixed in advance. Safe, and
        wide: they need n far above |Z| max(|X|, |Y|).
    groups : array_like (n,), optional
        Image of each row. Every image counts the same: the distribution is that of a random row of a random image,
        and images are the units of the confidence limits and of the doubts.
    on_doubt : {"warn", "raise", "ignore"}
        What to do when the occupied cells are too many for the images: an expected bias of I(Z; X, Y) above 0.1 nats,
        or more than half of the mass in cells that a single image fills.

    Returns
    -------
    PID
        Atoms in nats. The plug-in is biased: unique and synergistic information are overestimated when the cells are
        many and the samples few; a doubt says so. On large alphabets `q` is made when it is first read: memory is
        proportional to the rows and the pair tables.

    Raises
    ------
    ValueError
        Empty or unequal vectors, labels outside `sizes`, confidence without sizes.
    TypeError
        Float labels.

    See Also
    --------
    broja : The distribution is known.
    unique_information : Only the unique information of x, as an Estimate.

    Notes
    -----
    The limits are those of (9.3) with total-variation radii from section 9.3 of the theory.

    References
    ----------
    Bertschinger, Rauh, Olbrich, Jost and Ay (2014), *Quantifying unique information*, arXiv:1311.2852.

    Examples
    --------
    X knows the target, Y is a noisy copy of X:

    >>> import numpy as np
    >>> import redundancy as rd
    >>> rng = np.random.default_rng(0)
    >>> z = rng.integers(2, size=50_000)
    >>> x, y = z, np.where(rng.random(50_000) < 0.1, 1 - z, z)
    >>> pid = rd.broja_from_samples(z, x, y, sizes=(2, 2, 2), confidence=0.9)
    >>> round(pid.redundant, 3), round(pid.unique_x, 3), round(pid.unique_y, 3)
    (0.365, 0.328, 0.0)
    >>> [round(limit, 3) for limit in pid.stability["unique_x"]]
    [0.15, 0.506]
    """
    if sizes is None:
        if confidence is not None:
            raise ValueError(
                "confidence: expected together with sizes=(|Z|, |X|, |Y|) fixed in advance; the labels seen "
                "under-count them"
            )
        codes = paired_codes((z, x, y), "zxy").T
        shape: tuple[int, ...] = tuple(int(c.max()) + 1 for c in codes)
    else:
        shape = checks.three_sizes(sizes, name="sizes", meaning="(|Z|, |X|, |Y|)")
        columns = [checks.codes(v, s, name=name) for v, s, name in zip((z, x, y), shape, "zxy", strict=True)]
        if len({c.size for c in columns}) > 1:
            raise ValueError(f"z, x, y: expected vectors of one length, got {[c.size for c in columns]}")
        codes = np.stack(columns)
    joint = joint_cells(codes.T, groups)
    doubts = _doubts(joint, unit_of_sampling(groups))
    pid = _of_cells(joint, shape, tol)
    if confidence is not None:
        checks.probability(confidence, name="confidence", open_ends=True)
        limits = stability_limits(pid, shape, n=joint.units, alpha=1.0 - confidence)
        pid = dataclasses.replace(pid, stability=limits)
    raise_doubts(doubts, on_doubt)
    return pid


def _doubts(joint: Cells, unit: str) -> list[str]:
    symbols = [len(np.unique(joint.codes[:, axes], axis=0)) for axes in ([0, 1, 2], [0], [1, 2])]
    alone = float(joint.mass[joint.counts == 1].sum())
    found = plugin_doubts(symbols[0] - symbols[1] - symbols[2] + 1, joint.units, alone, unit=unit)
    return [f"unique and synergistic information: {text}" for text in found]


def _of_cells(joint: Cells, shape: tuple[int, ...], tol: float) -> PID:
    """BROJA of the occupied cells; large tables are solved with symbols of one posterior merged."""
    z, x, y = joint.codes.T
    if int(np.prod(shape, dtype=np.float64)) <= DENSE_CELLS:
        pmf = np.zeros(shape)
        pmf[z, x, y] = joint.mass
        return broja(pmf, tol=tol)
    a, b = np.zeros((shape[1], shape[0])), np.zeros((shape[0], shape[2]))
    np.add.at(a, (x, z), joint.mass)
    np.add.at(b, (z, y), joint.mass)
    # only posteriors matter for the pair tables (Blackwell); the joint information is that of all symbols
    of_x, of_y = same_rows(a), same_rows(b.T)
    pmf = np.zeros((shape[0], int(of_x.max()) + 1, int(of_y.max()) + 1))
    np.add.at(pmf, (z, of_x[x], of_y[y]), joint.mass)
    pid = broja(pmf, tol=tol)
    pair = np.column_stack([z, np.unique(joint.codes[:, 1:], axis=0, return_inverse=True)[1].reshape(-1)])
    whole = plugin_value(dataclasses.replace(joint, codes=pair), Quantity.MUTUAL_INFORMATION)
    return dataclasses.replace(
        pid,
        synergistic=pid.synergistic + whole - pid.total,
        q=cast("FloatArray", ExpandedCoupling(pid.q, a.T, b, of_x, of_y)),
        u=np.where(a.T > 0, pid.u[:, of_x], -np.inf),
        v=np.where(b > 0, pid.v[:, of_y], -np.inf),
    )


@dataclasses.dataclass(frozen=True, eq=False)
class ExpandedCoupling:
    """The coupling of all symbols from that of merged ones: their mass is shared in proportion to the pair tables."""

    merged: FloatArray  # (z, merged x, merged y)
    a: FloatArray  # (z, x)
    b: FloatArray  # (z, y)
    of_x: IntArray
    of_y: IntArray

    def values(self) -> FloatArray:
        """The coupling (z, x, y)."""
        share_x = self._share(self.a, self.merged.sum(2)[:, self.of_x])
        share_y = self._share(self.b, self.merged.sum(1)[:, self.of_y])
        return np.asarray(self.merged[:, self.of_x][:, :, self.of_y] * share_x[:, :, None] * share_y[:, None, :])

    @staticmethod
    def _share(part: FloatArray, whole: FloatArray) -> FloatArray:
        return np.divide(part, whole, out=np.zeros_like(part), where=whole > 0)
