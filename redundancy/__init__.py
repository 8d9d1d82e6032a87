"""Estimators of four notions of redundancy between two layers' hidden states."""

from redundancy.broja import broja
from redundancy.distances import Distance, row_distances
from redundancy.geometric import geometric
from redundancy.pid import PID, PIDTable
from redundancy.proximal import proximal
from redundancy.results import Estimate

__all__ = [
    "PID",
    "Distance",
    "Estimate",
    "PIDTable",
    "broja",
    "geometric",
    "proximal",
    "row_distances",
]
