"""Estimators of four notions of redundancy between two layers' hidden states."""

from redundancy.broja import broja
from redundancy.broja_batch import broja_batch
from redundancy.discrete import conditional_entropy, conditional_mutual_information, entropy, mutual_information
from redundancy.distances import Distance, row_distances
from redundancy.functional import functional, mmse, risk_difference
from redundancy.geometric import geometric
from redundancy.neighbor_entropy import knn_entropy, residual_entropy
from redundancy.neighbors import knn_conditional_mutual_information, ksg
from redundancy.pid import PID, PIDTable
from redundancy.proximal import proximal
from redundancy.results import Estimate
from redundancy.summaries import gaussian_information, summary_information

__all__ = [
    "PID",
    "Distance",
    "Estimate",
    "PIDTable",
    "broja",
    "broja_batch",
    "conditional_entropy",
    "conditional_mutual_information",
    "entropy",
    "functional",
    "gaussian_information",
    "geometric",
    "knn_conditional_mutual_information",
    "knn_entropy",
    "ksg",
    "mmse",
    "mutual_information",
    "proximal",
    "residual_entropy",
    "risk_difference",
    "row_distances",
    "summary_information",
]
