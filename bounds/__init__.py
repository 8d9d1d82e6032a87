"""Theorems that tie the notions of redundancy together, and finite-sample certificates."""

from bounds.accuracy import (
    accuracy_from_entropy,
    accuracy_from_information,
    accuracy_from_two_entropies,
)
from bounds.attention_heads import (
    attention_removal_averaged,
    attention_removal_heads,
    attention_removal_joint,
    attention_replacement,
)
from bounds.attention_mass import (
    attention_removal,
    attention_removal_exact,
    attention_removal_from_norm,
    attention_zeroing,
    cross_diameter,
)
from bounds.certificates import Certificate, certify, certify_entropy
from bounds.chord import (
    squared_distance_from_geometric,
    squared_distance_from_norms,
    squared_distance_from_radii,
)
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
from bounds.frozen_network import (
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
from bounds.implication_map import Derived, ImplicationMap, implications
from bounds.information_along_layers import entropy_chain, entropy_chain_of_maps, functional_chain, information_chain
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
    functional_from_entropy,
    functional_from_entropy_linear,
    functional_from_information,
    functional_from_information_linear,
    functional_from_two_entropies,
)
from bounds.informational_targets import (
    brier_from_information,
    functional_from_diameter,
    functional_from_range,
    functional_from_subgaussian,
    information_from_means,
)
from bounds.law_stability import (
    entropy_continuity,
    entropy_continuity_sharp,
    functional_from_deficiency,
    unique_information_from_deficiency,
    unique_information_stability,
)
from bounds.layer_chain import (
    chain_threshold,
    code_threshold,
    euclidean_chain,
    geometric_chain,
    geometric_chain_linear,
    geometric_chain_roots,
    proximal_chain,
)
from bounds.proximal_functional import (
    functional_from_fano,
)
from bounds.proximal_geometric import (
    geometric_above_thresholds,
    geometric_from_proximal,
    geometric_from_thresholds,
    proximal_from_geometric,
)
from bounds.skip_propagation import (
    early_exit_propagation,
    late_entry_propagation,
    normalisation,
    skip_set_propagation,
)
from bounds.softmax_change import (
    logit_range,
    prediction_may_change,
    softmax_average,
    softmax_divergence,
    softmax_total_variation,
)
from bounds.statements import THEOREMS
from bounds.target_entropy import (
    entropy_difference,
    entropy_difference_bound,
    entropy_difference_of_chain,
)
from bounds.theorem import Assumption, AssumptionError, Check, Theorem
from bounds.triangle import (
    squared_path,
    squared_sum,
    squared_sum_gap,
    squared_triangle,
)
from bounds.unique_information import (
    accuracy_from_unique_information,
    functional_from_unique_information,
    unique_information_from_entropy,
    unique_information_lower,
    unique_information_of_chain,
    unique_information_of_copy,
    unique_information_upper,
)
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
    "Assumption",
    "AssumptionError",
    "Certificate",
    "Check",
    "Derived",
    "ImplicationMap",
    "Theorem",
    "accuracy_from_decoding",
    "accuracy_from_entropy",
    "accuracy_from_information",
    "accuracy_from_two_entropies",
    "accuracy_from_unique_information",
    "attention_removal",
    "attention_removal_averaged",
    "attention_removal_exact",
    "attention_removal_from_norm",
    "attention_removal_heads",
    "attention_removal_joint",
    "attention_replacement",
    "attention_zeroing",
    "braun_pokutta",
    "brier_from_information",
    "certify",
    "certify_entropy",
    "chain_threshold",
    "code_threshold",
    "cross_diameter",
    "decoding_from_proximal",
    "early_exit_propagation",
    "empirical_functional_from_geometric",
    "empirical_functional_linear",
    "entropy_chain",
    "entropy_chain_of_maps",
    "entropy_continuity",
    "entropy_continuity_sharp",
    "entropy_difference",
    "entropy_difference_bound",
    "entropy_difference_of_chain",
    "entropy_from_proximity",
    "euclidean_chain",
    "fano",
    "fano_covered",
    "fano_mean_counts",
    "fano_monotone",
    "fano_per_point",
    "frozen_head",
    "frozen_head_from_geometric",
    "frozen_head_log_loss",
    "frozen_head_log_loss_from_geometric",
    "functional_chain",
    "functional_from_decoding",
    "functional_from_decoding_per_point",
    "functional_from_deficiency",
    "functional_from_diameter",
    "functional_from_entropy",
    "functional_from_entropy_linear",
    "functional_from_fano",
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
    "functional_from_unique_information",
    "functional_from_variance",
    "functional_gap_from_variance",
    "functional_hybrid",
    "functional_hybrid_from_proximal",
    "functional_of_label",
    "functional_of_later_target",
    "geometric_above_thresholds",
    "geometric_chain",
    "geometric_chain_linear",
    "geometric_chain_roots",
    "geometric_from_proximal",
    "geometric_from_thresholds",
    "implications",
    "information_chain",
    "information_from_ball_range",
    "information_from_distance_laws",
    "information_from_limits",
    "information_from_means",
    "information_from_proximity",
    "information_per_point",
    "late_entry_propagation",
    "logit_range",
    "normalisation",
    "prediction_gap_from_geometric",
    "prediction_gap_from_variance",
    "prediction_may_change",
    "proximal_chain",
    "proximal_from_geometric",
    "regression_gap_from_geometric",
    "skip_set_propagation",
    "softmax_average",
    "softmax_divergence",
    "softmax_total_variation",
    "squared_distance_from_geometric",
    "squared_distance_from_norms",
    "squared_distance_from_radii",
    "squared_path",
    "squared_prediction_gap_from_geometric",
    "squared_prediction_gap_linear",
    "squared_sum",
    "squared_sum_gap",
    "squared_triangle",
    "unique_information_from_deficiency",
    "unique_information_from_entropy",
    "unique_information_lower",
    "unique_information_of_chain",
    "unique_information_of_copy",
    "unique_information_stability",
    "unique_information_upper",
]
