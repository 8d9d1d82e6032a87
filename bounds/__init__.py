"""Theorems that relate the notions of redundancy to each other, and finite-sample certificates."""

from bounds.certificates.certificate import Certificate
from bounds.certificates.certify import certify
from bounds.certificates.clustered import dkw_deviation, image_event, one_row_per_group
from bounds.certificates.critic import certify_critic_information
from bounds.certificates.entropy import certify_entropy, certify_plugin_entropy
from bounds.certificates.information import certify_information
from bounds.certificates.means import certify_curve, certify_mean, certify_token_mean
from bounds.framework.theorem import Assumption, AssumptionError, Check, Theorem
from bounds.implication_map.derive import implications
from bounds.implication_map.result import Derived, ImplicationMap
from bounds.planning import images_needed
from bounds.theorems.catalogue import THEOREMS, find
from bounds.theorems.composition_distances import (
    chain_threshold,
    code_threshold,
    euclidean_chain,
    geometric_chain,
    geometric_chain_linear,
    geometric_chain_roots,
    proximal_chain,
)
from bounds.theorems.composition_information import (
    entropy_chain,
    entropy_chain_of_maps,
    functional_chain,
    information_chain,
)
from bounds.theorems.composition_pipeline import functional_from_fano
from bounds.theorems.divergence_data_processing import (
    divergence_from_losses,
    loss_from_chi_square,
    total_variation_from_divergence,
)
from bounds.theorems.lemma_1_triangle import (
    squared_path,
    squared_triangle,
)
from bounds.theorems.lemma_2_chord import (
    squared_distance_from_geometric,
    squared_distance_from_norms,
    squared_distance_from_radii,
)
from bounds.theorems.lemma_3_squared_sum import squared_sum, squared_sum_gap
from bounds.theorems.lemma_4_target_entropy import (
    entropy_difference,
    entropy_difference_bound,
    entropy_difference_of_chain,
)
from bounds.theorems.lemma_5_unique_information import (
    unique_information_from_entropy,
    unique_information_lower,
    unique_information_of_chain,
    unique_information_of_copy,
    unique_information_upper,
)
from bounds.theorems.plan_damage import (
    accuracy_from_disagreement,
    divergence_from_centred_logits,
    divergence_from_logit_variance,
    divergence_of_plan,
    plan_change,
    plan_deviation,
    plan_margin,
)
from bounds.theorems.proposition_1_proximal_geometric import (
    geometric_above_thresholds,
    geometric_from_proximal,
    geometric_from_thresholds,
    proximal_from_geometric,
)
from bounds.theorems.skipping_attention import (
    attention_removal,
    attention_removal_exact,
    attention_removal_from_norm,
    attention_zeroing,
    cross_diameter,
)
from bounds.theorems.skipping_attention_heads import (
    attention_removal_averaged,
    attention_removal_heads,
    attention_removal_joint,
    attention_replacement,
)
from bounds.theorems.skipping_propagation import (
    early_exit_propagation,
    late_entry_propagation,
    normalisation,
    skip_set_propagation,
)
from bounds.theorems.skipping_softmax import (
    logit_range,
    prediction_may_change,
    softmax_average,
    softmax_divergence,
    softmax_total_variation,
)
from bounds.theorems.stability import (
    entropy_continuity,
    entropy_continuity_sharp,
    functional_from_deficiency,
    unique_information_from_deficiency,
    unique_information_stability,
)
from bounds.theorems.theorem_1_frozen_head import (
    frozen_head,
    frozen_head_from_geometric,
    frozen_head_log_loss,
    frozen_head_log_loss_from_geometric,
)
from bounds.theorems.theorem_1_geometric import (
    functional_from_geometric,
    functional_from_geometric_linear,
    functional_from_proximal,
    functional_from_squared_distance,
)
from bounds.theorems.theorem_1_variance import (
    functional_from_local_constants,
    functional_from_reconstruction,
    functional_from_variance,
    functional_gap_from_variance,
    functional_of_label,
    functional_of_later_target,
)
from bounds.theorems.theorem_2_fitted_predictors import (
    empirical_functional_from_geometric,
    empirical_functional_linear,
    prediction_gap_from_geometric,
    prediction_gap_from_variance,
)
from bounds.theorems.theorem_2_sharp import (
    sharp_prediction_gap_from_geometric,
    sharp_prediction_gap_from_variance,
    sharp_squared_prediction_gap,
)
from bounds.theorems.theorem_2_squared import (
    regression_gap_from_geometric,
    squared_prediction_gap_from_geometric,
    squared_prediction_gap_linear,
)
from bounds.theorems.theorem_3_fano import (
    fano,
    fano_covered,
    fano_mean_counts,
    fano_monotone,
    fano_per_point,
)
from bounds.theorems.theorem_4_braun_pokutta import (
    braun_pokutta,
    entropy_from_proximity,
    information_from_ball_range,
    information_from_distance_laws,
    information_from_limits,
    information_from_proximity,
    information_per_point,
)
from bounds.theorems.theorem_5_accuracy import (
    accuracy_from_entropy,
    accuracy_from_information,
    accuracy_from_two_entropies,
)
from bounds.theorems.theorem_5_informational import (
    functional_from_entropy,
    functional_from_entropy_linear,
    functional_from_information,
    functional_from_information_linear,
    functional_from_two_entropies,
)
from bounds.theorems.theorem_5_targets import (
    brier_from_information,
    functional_from_diameter,
    functional_from_range,
    functional_from_subgaussian,
    information_from_means,
)
from bounds.theorems.theorem_5_unique_information import (
    accuracy_from_unique_information,
    functional_from_unique_information,
)
from bounds.theorems.theorem_6_decoding import (
    accuracy_from_decoding,
    decoding_from_proximal,
    functional_from_decoding,
    functional_from_decoding_per_point,
    functional_hybrid,
    functional_hybrid_from_proximal,
)
from bounds.theorems.theorem_6_sharp import sharp_hybrid, sharp_hybrid_per_point
from bounds.verification.verify import Verdict, verify
from redundancy.version import __version__ as __version__

__all__ = [
    "THEOREMS",
    "Assumption",
    "AssumptionError",
    "Certificate",
    "Check",
    "Derived",
    "ImplicationMap",
    "Theorem",
    "Verdict",
    "accuracy_from_decoding",
    "accuracy_from_disagreement",
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
    "certify_critic_information",
    "certify_curve",
    "certify_entropy",
    "certify_information",
    "certify_mean",
    "certify_plugin_entropy",
    "certify_token_mean",
    "chain_threshold",
    "code_threshold",
    "cross_diameter",
    "decoding_from_proximal",
    "divergence_from_centred_logits",
    "divergence_from_logit_variance",
    "divergence_from_losses",
    "divergence_of_plan",
    "dkw_deviation",
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
    "find",
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
    "image_event",
    "images_needed",
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
    "loss_from_chi_square",
    "normalisation",
    "one_row_per_group",
    "plan_change",
    "plan_deviation",
    "plan_margin",
    "prediction_gap_from_geometric",
    "prediction_gap_from_variance",
    "prediction_may_change",
    "proximal_chain",
    "proximal_from_geometric",
    "regression_gap_from_geometric",
    "sharp_hybrid",
    "sharp_hybrid_per_point",
    "sharp_prediction_gap_from_geometric",
    "sharp_prediction_gap_from_variance",
    "sharp_squared_prediction_gap",
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
    "total_variation_from_divergence",
    "unique_information_from_deficiency",
    "unique_information_from_entropy",
    "unique_information_lower",
    "unique_information_of_chain",
    "unique_information_of_copy",
    "unique_information_stability",
    "unique_information_upper",
    "verify",
]
