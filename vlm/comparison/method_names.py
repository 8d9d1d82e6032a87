"""The names under which methods stand in a comparison, to say which of them have no row."""

from __future__ import annotations

LAYER_METHODS = (
    "redundancy (mean distance)",
    "redundancy (mean distance, last layer free)",
    "redundancy, removing (mean distance)",
    "small attention",
    "ShortV",
    "VTW",
    "ShortGPT",
    "angular distance",
    "LLM-Drop (attention)",
    "LLM-Drop (mlp)",
    "AdaSkip",
    "gamma-MoD",
    "DeepInsert",
)
TOKEN_METHODS = (
    "grid tokens from layer 0",
    "grid tokens from layer 2",
    "FastV",
    "DART",
    "DivPrune",
    "SparseVLM (v1)",
    "SparseVLM+",
    "TopV",
    "PyramidDrop",
    "FitPrune",
    "PruMerge",
    "VisionZip",
    "VScan",
    "PruMerge+",
    "PruMerge (choice)",
    "PruMerge+ (choice)",
    "lowest class attention",
    "HoloV",
    "VisionZip (choice)",
)
