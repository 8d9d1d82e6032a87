"""Published training-free rules: which layers, sub-layers and image tokens they would skip."""

from vlm.selectors.deepinsert import late_insertion, random_order
from vlm.selectors.fastv_sparsevlm import TokenRecord, fastv_plan, sparse_stages, sparsevlm_plan, token_scores
from vlm.selectors.gamma_mod import RankRecord, attention_map_rank, attention_rank
from vlm.selectors.one_pass import Observations, observing
from vlm.selectors.prompt_features import FeatureRecord, PromptFeatures, token_features
from vlm.selectors.prumerge import EncoderRecord, encoder_attention, outlier_count, prumerge_plan, prumerge_plus_plan
from vlm.selectors.ranking import Ranking, first_within
from vlm.selectors.state_similarity import (
    SimilarityRecord,
    adaskip,
    angular_distance,
    block_influence,
    similarity,
    sublayer_similarity,
)
from vlm.selectors.theory import redundancy, small_attention
from vlm.selectors.token_choices import (
    cdpruner_tokens,
    dart_tokens,
    divprune_tokens,
    grid_tokens,
    holov_tokens,
    keep_plan,
    random_tokens,
    visionzip_tokens,
)
from vlm.selectors.vtw_shortv import (
    contribution_plans,
    layer_contribution,
    prediction_divergence,
    withdrawal,
    withdrawal_plans,
)

__all__ = [
    "EncoderRecord",
    "FeatureRecord",
    "Observations",
    "PromptFeatures",
    "RankRecord",
    "Ranking",
    "SimilarityRecord",
    "TokenRecord",
    "adaskip",
    "angular_distance",
    "attention_map_rank",
    "attention_rank",
    "block_influence",
    "cdpruner_tokens",
    "contribution_plans",
    "dart_tokens",
    "divprune_tokens",
    "encoder_attention",
    "fastv_plan",
    "first_within",
    "grid_tokens",
    "holov_tokens",
    "keep_plan",
    "late_insertion",
    "layer_contribution",
    "observing",
    "outlier_count",
    "prediction_divergence",
    "prumerge_plan",
    "prumerge_plus_plan",
    "random_order",
    "random_tokens",
    "redundancy",
    "similarity",
    "small_attention",
    "sparse_stages",
    "sparsevlm_plan",
    "sublayer_similarity",
    "token_features",
    "token_scores",
    "visionzip_tokens",
    "withdrawal",
    "withdrawal_plans",
]
