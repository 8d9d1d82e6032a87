"""Codewords of two layers: one alphabet for both, fixed on other images, and the radius of close words."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import redundancy as rd
from redundancy.array_types import FloatArray, IntArray


@dataclass(frozen=True, eq=False)
class PairCodes:
    """The alphabet of two layers and the codewords of the measured rows.

    Attributes
    ----------
    book : Codebook
        Fitted on both layers' states of other images.
    x, y : ndarray (rows,)
        Codewords of the earlier and the later layer.
    radius : float
        Cosine distance up to which two codewords count as close.
    """

    book: rd.Codebook
    x: IntArray
    y: IntArray
    radius: float


def pair_codes(
    fit: tuple[FloatArray, FloatArray],
    measured: tuple[FloatArray, FloatArray],
    *,
    size: int,
    radius: float | None,
    seed: int,
) -> PairCodes:
    """Fit an alphabet on some images and encode the states of others.

    Parameters
    ----------
    fit, measured : (ndarray (rows, d), ndarray (rows, d))
        States of the earlier and the later layer: on the images that fix the alphabet, and on those that are measured.
    size : int
        Number of codewords; fewer where the fitted states have fewer different directions.
    radius : float, optional
        Cosine distance up to which codewords are close. By default half the smallest distance between two of them,
        so that every ball holds one codeword and Fano's inequality says most.
    seed : int
        Of the clustering.

    Returns
    -------
    PairCodes

    Raises
    ------
    ValueError
        Layers of different width, or states that all have one direction.
    """
    both = np.vstack(fit) if fit[0].shape[1] == fit[1].shape[1] else None
    if both is None:
        raise ValueError(
            f"codebook: expected layers of one width, got {fit[0].shape[1]} and {fit[1].shape[1]}; "
            "codewords of the two have no distance"
        )
    different = _different_directions(both, size)
    if different < 2:
        raise ValueError("codebook: expected states of at least two directions, got one; a constant has no information")
    book = rd.Codebook.fit(both, size=min(size, different), rng=seed)
    distances = book.distances("cosine")
    if radius is None:
        apart = distances[distances > 0]
        if not apart.size:
            raise ValueError("codebook: expected states of at least two directions, got ones that rounding separates")
        radius = 0.5 * float(apart.min())
    return PairCodes(book, book.encode(measured[0]), book.encode(measured[1]), radius)


def _different_directions(states: FloatArray, enough: int) -> int:
    """Number of different directions among the rows, counted up to `enough`."""
    rows = np.asarray(states, dtype=np.float64)
    largest = np.abs(rows).max(axis=1, keepdims=True)
    unit = rows / np.where(largest > 0, largest, 1.0)
    unit /= np.maximum(np.linalg.norm(unit, axis=1, keepdims=True), 1e-300)
    found: list[FloatArray] = []
    left = unit
    while len(left) and len(found) < enough:
        found.append(left[0])
        left = left[np.square(left - left[0]).sum(axis=1) > 1e-12]
    return len(found)
