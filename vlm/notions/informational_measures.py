"""Informational redundancy: what is left of the earlier layer's codeword once the later layer's is known (D5)."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

import bounds
import redundancy as rd
from redundancy import checks
from redundancy.array_types import IntArray
from redundancy.information.finite_entropy import entropy_of
from vlm.notions.codes import PairCodes
from vlm.notions.measures import Confidence, Measure, estimated

PLUGIN, CORRECTED, CROSS_ENTROPY = "plug-in", "Chao-Wang-Jost", "cross-entropy"
FANO, PROXIMITY, SMALLEST = "Fano", "H(X) - Braun-Pokutta", "smallest certified"
METHODS = (SMALLEST, PLUGIN, CORRECTED, CROSS_ENTROPY, FANO, PROXIMITY)
CANDIDATES = 4  # certified upper limits that share an interval's error probability, so that the smallest is valid


def informational_measures(codes: PairCodes, groups: ArrayLike, *, confidence: Confidence, seed: int) -> list[Measure]:
    """H(earlier codeword | later codeword) in nats, by estimates and by upper limits that hold together.

    Parameters
    ----------
    codes : PairCodes
        Codewords of both layers, with an alphabet fixed on other images.
    groups : array_like (rows,)
        Image of each row.
    confidence : Confidence
        Of the interval of each pair of layers: its certified limits hold together, and the smallest is one of them.
    seed : int
        Halves of the images, pairs of images, one row of each image.

    Returns
    -------
    list of Measure
        One per method of `METHODS`. The baseline is H(X), what would be left if the later layer told nothing.

    Raises
    ------
    ValueError
        Fewer than two images.
    """
    size, groups = codes.book.size, np.asarray(groups)
    plugin = rd.informational(
        codes.x, codes.y, size=size, groups=groups, codebook=codes.book, radius=codes.radius, distance="cosine"
    )
    sample: dict[str, float] = plugin.details["bounds"]
    alone = sample["marginal"] + 0.0  # no negative zero
    both = confidence.certify(plugin, share=CANDIDATES)
    images = both.n
    loss = bounds.certify_entropy(
        codes.x,
        codes.y,
        confidence.level,
        size=size,
        groups=groups,
        side="upper",
        simultaneous=confidence.simultaneous * CANDIDATES,
        rng=seed,
    )
    limits = {
        PLUGIN: float(both.high),
        CROSS_ENTROPY: float(loss.high),
        FANO: _fano_limit(codes, groups, confidence),
        PROXIMITY: _proximity_limit(codes, groups, confidence, seed),
    }
    smallest = min(limits, key=limits.__getitem__)
    says = "H(X|Y) of the codewords"

    def row(method: str, value: float, low: float, text: str) -> Measure:
        return Measure("informational", method, value, low, limits[method], alone, images, "nats", text)

    corrected = estimated(
        "informational",
        CORRECTED,
        _one_row_per_image(codes.x, codes.y, groups, size, seed),
        images=images,
        baseline=alone,
        why="one row of each image",
    )
    one = f"certified, upper limit: {says}"
    return [
        Measure(
            "informational",
            SMALLEST,
            float(plugin),
            float(both.low),
            limits[smallest],
            alone,
            images,
            "nats",
            f"certified, both limits: {says}; the upper one by {smallest}",
        ),
        row(PLUGIN, float(plugin), float(both.low), f"certified, both limits: {says} (bounded differences)"),
        corrected,
        row(CROSS_ENTROPY, float(loss.estimate), 0.0, one),
        row(FANO, sample["fano"], 0.0, f"{one}, from how often codewords are within {codes.radius:.3g}"),
        row(PROXIMITY, sample["braun-pokutta"], 0.0, f"{one}, from matched and mismatched images"),
    ]


def _fano_limit(codes: PairCodes, groups: ArrayLike, confidence: Confidence) -> float:
    """Theorem 3 with an upper confidence limit of the probability that two codewords are far."""
    near = codes.book.distances("cosine") <= codes.radius
    share = rd.Estimate.over_units(
        near[codes.x, codes.y].astype(np.float64), groups, quantity="mean", support=(0.0, 1.0)
    )
    close = confidence.certify(share, side="lower", share=CANDIDATES)
    far = min(1.0, float(np.nextafter(1.0 - float(close.low), 2.0)))
    fewest, most = codes.book.ball_extremes(codes.radius)
    return float(bounds.fano_monotone(far, codes.book.size, fewest, most))


def _proximity_limit(codes: PairCodes, groups: ArrayLike, confidence: Confidence, seed: int) -> float:
    """H(X) - I(X; Y) with an upper limit of H(X) and, from matched and mismatched images, a lower one of I(X; Y)."""
    size = codes.book.size
    top = confidence.certify(_marginal(codes.x, groups, size), side="upper", share=2 * CANDIDATES)
    centres = codes.book.decode(np.arange(size))
    close = rd.proximal(centres[codes.x], centres[codes.y], t=codes.radius, groups=groups, baseline=True, rng=seed)
    shared = bounds.certify_information(close, confidence.level, simultaneous=confidence.simultaneous * 2 * CANDIDATES)
    limit = min(math.log(size), float(top.high)) - float(shared.low)
    return max(0.0, float(np.nextafter(limit, np.inf)))


def _marginal(x: IntArray, groups: ArrayLike, size: int) -> rd.Estimate:
    """Plug-in H(X) as the conditional entropy given a constant: every image counts the same."""
    index, sizes = checks.group_index(groups, x.size)
    mass = np.bincount(x, weights=1.0 / sizes[index], minlength=size) / sizes.size
    return rd.Estimate(
        value=entropy_of(mass),
        quantity=rd.Quantity.ENTROPY,
        rows=sizes.astype(np.float64),
        unit_of_sampling="image",
        unit="nats",
        settings={"method": "plugin", "size": size},
        details={"n": int(sizes.size)},
    )


def _one_row_per_image(x: IntArray, y: IntArray, groups: ArrayLike, size: int, seed: int) -> rd.Estimate:
    """The bias-corrected entropy, which counts independent rows: of one random row of each image."""
    rows = np.random.default_rng(seed).permutation(x.size)
    _, first = np.unique(np.asarray(groups)[rows], return_index=True)
    kept = np.sort(rows[first])
    return rd.informational(x[kept], y[kept], size=size, method="chao-wang-jost")
