"""Mutual information of two layers' states: certified lower limits, and estimates that are labelled so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

import bounds
import redundancy as rd
from redundancy import checks
from redundancy.array_types import FloatArray
from redundancy.information.critic_information import Member
from vlm.notions.measures import Confidence, Measure, certified, estimated, measured

PAIRS, CRITIC, SUMMARY, GAUSSIAN = "matched pairs", "critic", "summaries", "Gaussian"
METHODS = (PAIRS, CRITIC, SUMMARY, GAUSSIAN)
QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99)  # of the distances on the images that fix the thresholds
_MEMBERS: tuple[Member, ...] = ("gaussian", "student", "canonical")
_LOWER = "mutual information of the two states of a random row"


def information_measures(
    x: FloatArray,
    y: FloatArray,
    groups: ArrayLike,
    *,
    fit: tuple[FloatArray, FloatArray],
    confidence: Confidence,
    seed: int,
) -> list[Measure]:
    """I(X; Y) in nats by four methods.

    Parameters
    ----------
    x, y : ndarray (rows, d)
        Earlier and later states.
    groups : array_like (rows,)
        Image of each row.
    fit : (ndarray, ndarray)
        States of both layers on other images: their distances fix the thresholds of the matched pairs.
    confidence : Confidence
        Of each interval.
    seed : int
        Pairs of images, folds.

    Returns
    -------
    list of Measure
        "matched pairs" and "critic" have certified lower limits, which cannot exceed about the logarithm of the
        number of images; the upper end is infinite. "summaries" estimates a lower bound, "Gaussian" is what two
        jointly Gaussian layers would share. A method that cannot answer says why.
    """
    images = int(checks.group_index(groups, len(x))[1].size)

    def matched() -> list[Measure]:
        distance = np.unique(np.quantile(rd.row_distances(*fit), QUANTILES))
        close = rd.proximal(x, y, t=distance, groups=groups, baseline=True, rng=seed)
        certificate = bounds.certify_information(close, confidence.level, simultaneous=confidence.simultaneous)
        # the plug-in divergence is infinite where no mismatched pair was close: the limit itself is the number
        return [replace(certified("mutual information", PAIRS, certificate, _LOWER), value=float(certificate.low))]

    def critic() -> list[Measure]:
        estimate = rd.critic_information(x, y, members=_MEMBERS, groups=groups, rng=seed, on_doubt="ignore")
        certificate = confidence.certify(estimate, side="lower")
        doubts = "; ".join(["the value is an estimate", *estimate.details["doubts"]])
        return [certified("mutual information", CRITIC, certificate, f"{_LOWER}; {doubts}")]

    def summaries() -> list[Measure]:
        estimate = rd.summary_information(x, y, components=3, groups=groups, rng=seed, on_doubt="ignore")
        return [estimated("mutual information", SUMMARY, estimate, images=images, why="estimates a lower bound")]

    def gaussian() -> list[Measure]:
        estimate = rd.gaussian_information(x, y, groups=groups, on_doubt="ignore")
        return [estimated("mutual information", GAUSSIAN, estimate, images=images, why="if jointly Gaussian")]

    return [
        row
        for method, compute in zip(METHODS, (matched, critic, summaries, gaussian), strict=True)
        for row in measured("mutual information", (method,), images, compute)
    ]
