"""Estimators of four notions of redundancy between two layers' hidden states."""

from redundancy.broja import broja
from redundancy.broja_batch import broja_batch
from redundancy.distances import Distance, row_distances
from redundancy.functional import functional, mmse, risk_difference
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
    "broja_batch",
    "functional",
    "geometric",
    "mmse",
    "proximal",
    "risk_difference",
    "row_distances",
]
