"""Published training-free rules: which layers, sub-layers and image tokens they would skip."""

from vlm.selectors.decoder_choices import fitprune_plan, pyramiddrop_plan, topv_tokens
from vlm.selectors.deepinsert import late_insertion, random_order
from vlm.selectors.fastv_sparsevlm import (
    TokenRecord,
    fastv_plan,
    sparse_stages,
    sparsevlm_plan,
    sparsevlm_plus_plan,
    token_scores,
)
from vlm.selectors.fitprune_statistics import AttentionStatistics, attention_statistics
from vlm.selectors.gamma_mod import RankRecord, attention_map_rank, attention_rank
from vlm.selectors.image_features import ImageFeatureRecord, ImageFeatures, encoder_features
from vlm.selectors.merged_tokens import prumerge_merged_plan, visionzip_merged_plan, vscan_plan
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
    "AttentionStatistics",
    "EncoderRecord",
    "FeatureRecord",
    "ImageFeatureRecord",
    "ImageFeatures",
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
    "attention_statistics",
    "block_influence",
    "cdpruner_tokens",
    "contribution_plans",
    "dart_tokens",
    "divprune_tokens",
    "encoder_attention",
    "encoder_features",
    "fastv_plan",
    "first_within",
    "fitprune_plan",
    "grid_tokens",
    "holov_tokens",
    "keep_plan",
    "late_insertion",
    "layer_contribution",
    "observing",
    "outlier_count",
    "prediction_divergence",
    "prumerge_merged_plan",
    "prumerge_plan",
    "prumerge_plus_plan",
    "pyramiddrop_plan",
    "random_order",
    "random_tokens",
    "redundancy",
    "similarity",
    "small_attention",
    "sparse_stages",
    "sparsevlm_plan",
    "sparsevlm_plus_plan",
    "sublayer_similarity",
    "token_features",
    "token_scores",
    "topv_tokens",
    "visionzip_merged_plan",
    "visionzip_tokens",
    "vscan_plan",
    "withdrawal",
    "withdrawal_plans",
]
