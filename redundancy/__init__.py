"""Estimators of four notions of redundancy between two layers' hidden states."""

from redundancy.distances import Distance, row_distances
from redundancy.geometric import geometric
from redundancy.proximal import proximal
from redundancy.results import Estimate

__all__ = [
    "Distance",
    "Estimate",
    "geometric",
    "proximal",
    "row_distances",
]
