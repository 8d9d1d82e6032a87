"""Estimators of four notions of redundancy between two layers' hidden states."""

from redundancy.broja import broja
from redundancy.broja_batch import broja_batch
from redundancy.broja_samples import broja_from_samples
from redundancy.codebook import Codebook
from redundancy.discrete import conditional_entropy, conditional_mutual_information, entropy, mutual_information
from redundancy.distances import Distance, row_distances
from redundancy.functional import functional, mmse, risk_difference
from redundancy.geometric import geometric
from redundancy.informational import informational, unique_information
from redundancy.neighbor_entropy import knn_entropy, residual_entropy
from redundancy.neighbors import knn_conditional_mutual_information, ksg
from redundancy.pid import PID, PIDTable
from redundancy.proximal import proximal
from redundancy.results import Estimate
from redundancy.summaries import gaussian_information, summary_information
from redundancy.usable import usable_information

__all__ = [
    "PID",
    "Codebook",
    "Distance",
    "Estimate",
    "PIDTable",
    "broja",
    "broja_batch",
    "broja_from_samples",
    "conditional_entropy",
    "conditional_mutual_information",
    "entropy",
    "functional",
    "gaussian_information",
    "geometric",
    "informational",
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
    "unique_information",
    "usable_information",
]
