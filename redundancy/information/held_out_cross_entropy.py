"""Cross-entropy of X given Y on held-out images, an upper bound on H(X | Y) in expectation (theory, section 9.3)."""

from __future__ import annotations

import numpy as np

from redundancy import checks
from redundancy.array_types import BoolArray, FloatArray, IntArray, Rng
from redundancy.information.finite_entropy import log_loss_range
from redundancy.units import unit_means


def held_out_losses(
    x: IntArray,
    y: IntArray,
    size: int,
    index: IntArray,
    sizes: IntArray,
    *,
    mix: float,
    rng: Rng,
) -> tuple[FloatArray, BoolArray]:
    """Mean -log q(x | y) of each held-out unit; q is fitted on the other half, its counts shrunk to the marginal."""
    checks.probability(mix, name="mix", open_ends=True)
    units = sizes.size
    if units < 2:
        raise ValueError(
            "method 'cross-entropy': expected at least two rows or images (one to fit, one to test), got one"
        )
    held_out = np.zeros(units, dtype=bool)
    held_out[checks.generator(rng).permutation(units)[: (units + 1) // 2]] = True
    test = held_out[index]
    cells, counts = np.unique(x[~test] * size + y[~test], return_counts=True)
    # tables of the codewords that occur, however large the alphabet
    (_, at_x), (_, at_y) = (np.unique(codes, return_inverse=True) for codes in (x, y))
    marginal = (np.bincount(at_x[~test], minlength=at_x.max() + 1) + 0.5) / ((~test).sum() + 0.5 * size)
    later = np.bincount(at_y[~test], minlength=at_y.max() + 1)
    sought = x[test] * size + y[test]
    place = np.minimum(np.searchsorted(cells, sought), cells.size - 1)
    seen = np.where(cells[place] == sought, counts[place], 0)
    q = (seen + marginal[at_x[test]]) / (later[at_y[test]] + 1.0)
    loss = np.zeros(x.size)
    # the range is attained up to rounding, which must not leave it
    loss[test] = np.clip(-np.log((1.0 - mix) * q + mix / size), *log_loss_range(size, mix))
    return unit_means(loss, index, sizes)[held_out], held_out
