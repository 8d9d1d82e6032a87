"""Theorems that tie the notions of redundancy together, and finite-sample certificates."""

from bounds.accuracy import (
    accuracy_from_entropy,
    accuracy_from_information,
    accuracy_from_two_entropies,
)
from bounds.certificates import Certificate, certify, certify_entropy
from bounds.decoding import (
    accuracy_from_decoding,
    decoding_from_proximal,
    functional_from_decoding,
    functional_from_decoding_per_point,
    functional_hybrid,
    functional_hybrid_from_proximal,
)
from bounds.distance_fano import (
    fano,
    fano_covered,
    fano_mean_counts,
    fano_monotone,
    fano_per_point,
)
from bounds.empirical_functional import (
    empirical_functional_from_geometric,
    empirical_functional_linear,
    prediction_gap_from_geometric,
    prediction_gap_from_variance,
)
from bounds.empirical_squared import (
    regression_gap_from_geometric,
    squared_prediction_gap_from_geometric,
    squared_prediction_gap_linear,
)
from bounds.frozen_head import (
    frozen_head,
    frozen_head_from_geometric,
    frozen_head_log_loss,
    frozen_head_log_loss_from_geometric,
)
from bounds.geometric_functional import (
    functional_from_geometric,
    functional_from_geometric_linear,
    functional_from_proximal,
    functional_from_squared_distance,
)
from bounds.information_diffusion import (
    braun_pokutta,
    entropy_from_proximity,
    information_from_ball_range,
    information_from_distance_laws,
    information_from_limits,
    information_from_proximity,
    information_per_point,
)
from bounds.informational_functional import (
    brier_from_information,
    functional_from_diameter,
    functional_from_entropy,
    functional_from_entropy_linear,
    functional_from_information,
    functional_from_information_linear,
    functional_from_range,
    functional_from_subgaussian,
    functional_from_two_entropies,
    information_from_means,
)
from bounds.proximal_geometric import (
    geometric_above_thresholds,
    geometric_from_proximal,
    geometric_from_thresholds,
    proximal_from_geometric,
)
from bounds.statements import THEOREMS
from bounds.theorem import AssumptionError, Check, Theorem
from bounds.variance_functional import (
    functional_from_local_constants,
    functional_from_reconstruction,
    functional_from_variance,
    functional_gap_from_variance,
    functional_of_label,
    functional_of_later_target,
)

__all__ = [
    "THEOREMS",
    "AssumptionError",
    "Certificate",
    "Check",
    "Theorem",
    "accuracy_from_decoding",
    "accuracy_from_entropy",
    "accuracy_from_information",
    "accuracy_from_two_entropies",
    "braun_pokutta",
    "brier_from_information",
    "certify",
    "certify_entropy",
    "decoding_from_proximal",
    "empirical_functional_from_geometric",
    "empirical_functional_linear",
    "entropy_from_proximity",
    "fano",
    "fano_covered",
    "fano_mean_counts",
    "fano_monotone",
    "fano_per_point",
    "frozen_head",
    "frozen_head_from_geometric",
    "frozen_head_log_loss",
    "frozen_head_log_loss_from_geometric",
    "functional_from_decoding",
    "functional_from_decoding_per_point",
    "functional_from_diameter",
    "functional_from_entropy",
    "functional_from_entropy_linear",
    "functional_from_geometric",
    "functional_from_geometric_linear",
    "functional_from_information",
    "functional_from_information_linear",
    "functional_from_local_constants",
    "functional_from_proximal",
    "functional_from_range",
    "functional_from_reconstruction",
    "functional_from_squared_distance",
    "functional_from_subgaussian",
    "functional_from_two_entropies",
    "functional_from_variance",
    "functional_gap_from_variance",
    "functional_hybrid",
    "functional_hybrid_from_proximal",
    "functional_of_label",
    "functional_of_later_target",
    "geometric_above_thresholds",
    "geometric_from_proximal",
    "geometric_from_thresholds",
    "information_from_ball_range",
    "information_from_distance_laws",
    "information_from_limits",
    "information_from_means",
    "information_from_proximity",
    "information_per_point",
    "prediction_gap_from_geometric",
    "prediction_gap_from_variance",
    "proximal_from_geometric",
    "regression_gap_from_geometric",
    "squared_prediction_gap_from_geometric",
    "squared_prediction_gap_linear",
]
