"""What two layers' codewords say about the answer, together and alone: BROJA along depth."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike

import redundancy as rd
from redundancy import checks
from redundancy.array_types import FloatArray, IntArray
from redundancy.pid.result import Atom
from vlm.notions.codes import PairCodes
from vlm.notions.measures import Confidence, Measure

NAMES: dict[Atom, str] = {
    "redundant": "redundant",
    "unique_x": "unique to the earlier",
    "unique_y": "unique to the later",
    "synergistic": "synergistic",
}
METHODS = tuple(f"BROJA: {name}" for name in NAMES.values())
_SHUFFLES = 5
_TOLERANCE = 1e-7  # nats: far below the spread of any sample


def joint_distribution(target: IntArray, codes: PairCodes, groups: ArrayLike, classes: int) -> FloatArray:
    """Joint probabilities (classes, size, size) of target and codewords: of a random row of a random image."""
    index, sizes = checks.group_index(groups, target.size)
    return _joint(target, codes, 1.0 / (sizes[index] * sizes.size), classes)


def _joint(target: IntArray, codes: PairCodes, weight: FloatArray, classes: int) -> FloatArray:
    size = codes.book.size
    cell = (target * size + codes.x) * size + codes.y
    mass = np.bincount(cell, weights=weight, minlength=classes * size * size)
    return np.asarray((mass / mass.sum()).reshape(classes, size, size))


def pid_measures(
    target: IntArray,
    codes: PairCodes,
    groups: ArrayLike,
    *,
    classes: int,
    replicates: int,
    confidence: Confidence,
    seed: int,
) -> list[Measure]:
    """The four atoms of I(target; earlier codeword, later codeword), in nats.

    Parameters
    ----------
    target : ndarray of int (rows,)
        Class of each row, in 0..classes-1.
    codes : PairCodes
        Codewords of both layers.
    groups : array_like (rows,)
        Image of each row.
    classes : int
        Number of classes, fixed in advance.
    replicates : int
        Bootstrap replicates of the images.
    confidence : Confidence
        Of the stability limits, and of the spread of the replicates (for one interval at a time).
    seed : int
        Of the replicates and shuffles.

    Returns
    -------
    list of Measure
        First each atom with the spread of its bootstrap replicates about the value; then each atom with the limits of
        (9.3), which are certified, and wide. The baseline is the mean atom for shuffled answers: the bias of a plug-in
        that has nothing to find.

    Raises
    ------
    ValueError
        Fewer than two images.
    """
    index, sizes = checks.group_index(groups, target.size)
    if sizes.size < 2:
        raise ValueError(f"pid: expected at least 2 images, got {sizes.size}")
    whole = rd.broja_from_samples(
        target,
        codes.x,
        codes.y,
        tol=_TOLERANCE,
        sizes=(classes, codes.book.size, codes.book.size),
        confidence=1.0 - confidence.alpha,
        groups=groups,
        on_doubt="ignore",
    )
    rng = np.random.default_rng(seed)
    even = 1.0 / (sizes[index] * sizes.size)
    drawn = rng.multinomial(sizes.size, np.full(sizes.size, 1.0 / sizes.size), size=replicates)
    pmfs = [_joint(target, codes, even * counts[index], classes) for counts in drawn]
    pmfs += [_joint(rng.permutation(target), codes, even, classes) for _ in range(_SHUFFLES)]
    table = rd.broja_batch(np.stack(pmfs), tol=_TOLERANCE)
    ends = (1.0 - confidence.level) / 2
    rows, limits = [], []
    for atom, name in NAMES.items():
        value, found = float(getattr(whole, atom)), np.asarray(getattr(table, atom))
        replicated, shuffled = found[:replicates], float(found[replicates:].mean())
        low, high = value + np.quantile(replicated, [ends, 1.0 - ends]) - replicated.mean()
        rows.append(
            Measure(
                "pid",
                f"BROJA: {name}",
                value,
                float(low),
                float(high),
                shuffled,
                int(sizes.size),
                "nats",
                f"bootstrap, spread of {replicates} resamples of images about the plug-in, whose bias is not covered; "
                f"duality gap {whole.gap:.0e}",
            )
        )
        if whole.stability is not None:
            low, high = whole.stability[atom]
            limits.append(
                Measure(
                    "pid",
                    f"stability: {name}",
                    value,
                    low,
                    high,
                    shuffled,
                    int(sizes.size),
                    "nats",
                    "certified, both limits: the atom of the codewords' distribution (9.3); wide",
                )
            )
    return [*rows, *limits]
