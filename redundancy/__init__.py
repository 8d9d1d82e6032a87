"""Estimators of four notions of redundancy between two layers' hidden states."""

from redundancy.distance.geometric import geometric
from redundancy.distance.metrics import Distance, row_distances
from redundancy.distance.proximal import proximal
from redundancy.estimate import Estimate, Quantity
from redundancy.information.codebook import Codebook
from redundancy.information.critic_information import critic_information
from redundancy.information.discrete import (
    conditional_entropy,
    conditional_mutual_information,
    entropy,
    mutual_information,
)
from redundancy.information.informational import informational
from redundancy.information.kozachenko_leonenko import knn_entropy, residual_entropy
from redundancy.information.kraskov import knn_conditional_mutual_information, ksg
from redundancy.information.linear_summaries import gaussian_information, summary_information
from redundancy.information.mixed_information import mixed_information
from redundancy.information.v_information import usable_information
from redundancy.pid.batch import broja_batch
from redundancy.pid.from_samples import broja_from_samples
from redundancy.pid.gaussian import GaussianPID, gaussian_broja, gaussian_broja_from_samples
from redundancy.pid.result import PID, PIDTable
from redundancy.pid.solver import broja
from redundancy.pid.unique_information import unique_information
from redundancy.prediction.functional import functional, mmse
from redundancy.prediction.risk_difference import risk_difference
from redundancy.resampling.permutation import PermutationTest, permutation_test
from redundancy.resampling.spread import Spread, image_spread
from redundancy.similarity.kernel_alignment import cka
from redundancy.similarity.principal_angles import subspace_angles
from redundancy.similarity.procrustes_distance import procrustes
from redundancy.version import __version__ as __version__

__all__ = [
    "PID",
    "Codebook",
    "Distance",
    "Estimate",
    "GaussianPID",
    "PIDTable",
    "PermutationTest",
    "Quantity",
    "Spread",
    "broja",
    "broja_batch",
    "broja_from_samples",
    "cka",
    "conditional_entropy",
    "conditional_mutual_information",
    "critic_information",
    "entropy",
    "functional",
    "gaussian_broja",
    "gaussian_broja_from_samples",
    "gaussian_information",
    "geometric",
    "image_spread",
    "informational",
    "knn_conditional_mutual_information",
    "knn_entropy",
    "ksg",
    "mixed_information",
    "mmse",
    "mutual_information",
    "permutation_test",
    "procrustes",
    "proximal",
    "residual_entropy",
    "risk_difference",
    "row_distances",
    "subspace_angles",
    "summary_information",
    "unique_information",
    "usable_information",
]
