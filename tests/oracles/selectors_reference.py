"""Reference scores of the published selection rules, token by token, from collected states and attention maps."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import torch

from vlm.models.random_models import IMAGE


@dataclass
class Collected:
    """One prompt without padding: states (L+1, S, d), middle (L, S, d), maps (L, H, S, S), image (S,) of bool."""

    states: np.ndarray
    middle: np.ndarray
    maps: np.ndarray
    image: np.ndarray


def collect(eager, batch, row):
    """Run one row of a batch alone, without padding, on a model with eager attention."""
    real = batch["attention_mask"][row].bool()
    one = {"input_ids": batch["input_ids"][row, real][None], "attention_mask": torch.ones(1, int(real.sum())).long()}
    images = [int((ids == IMAGE).any()) for ids in batch["input_ids"]]
    assert max(images) <= 1 or len(images) == 1
    if images[row]:
        one["pixel_values"] = batch["pixel_values"][sum(images[:row])][None]
    layers = eager.model.language_model.layers
    states, attended, handles = [], [], []
    handles.append(layers[0].register_forward_pre_hook(lambda m, args: states.append(args[0])))
    for layer in layers:
        handles.append(layer.register_forward_hook(lambda m, args, out: states.append(out)))
        handles.append(layer.self_attn.register_forward_hook(lambda m, args, out: attended.append(out[0])))
    with torch.no_grad():
        maps = eager(**one, output_attentions=True).attentions
    for handle in handles:
        handle.remove()
    states = torch.cat(states).double().numpy()
    middle = np.stack([states[i] + attended[i][0].double().numpy() for i in range(len(layers))])
    return Collected(states, middle, torch.cat(maps).double().numpy(), (one["input_ids"][0] == IMAGE).numpy())


def cosine(a, b):
    return float(a @ b / math.sqrt((a @ a) * (b @ b)))


def mean_cosine(x, y):
    return sum(cosine(a, b) for a, b in zip(x, y, strict=True)) / len(x)


def angle(prompt, start, stop):
    return math.acos(max(-1.0, min(1.0, cosine(prompt.states[start][-1], prompt.states[stop][-1])))) / math.pi


def map_rank(prompt, layer):
    """gamma-MoD's ARank (github.com/Yaxin9Luo/Gamma-MOD): rank of what each token reads from others, mean over heads.

    The authors set the diagonal of each head's causal map to zero and count with `torch.linalg.matrix_rank` in
    float32: singular values above the largest one x the number of tokens x the rounding unit. The map that is left has
    an empty first row and an empty last column; without them the same values remain, but for one zero.
    """
    ranks = []
    for head in prompt.maps[layer].astype(np.float32):
        n = len(head)
        read = [[head[i + 1][j] if j <= i else 0.0 for j in range(n - 1)] for i in range(n - 1)]
        values = np.linalg.svd(np.array(read, dtype=np.float32), compute_uv=False)
        ranks.append(sum(v > values.max() * n * np.finfo(np.float32).eps for v in values))
    return sum(ranks) / len(ranks)


def prumerge_plus(scores, outliers):
    """PruMerge+ (github.com/42Shawn/LLaVA-PruMerge, clip_encoder.py, token_prune_merge_advanced_plus, adaptive).

    The share of outliers r decides both parts: the int(N r) highest scores, and every int(int(1 / r) / 3)-th patch from
    the first on, the last patch excluded. A set: patches in both count once.
    """
    n = len(scores)
    ratio = outliers / n
    ranked = sorted(range(n), key=lambda j: (-scores[j], j))
    spaced, step = [], int(int(1 / ratio) / 3)
    while len(spaced) * step < n - 1:
        spaced.append(len(spaced) * step)
    return set(ranked[: int(n * ratio)]) | set(spaced)


def last_token_attention(prompt, layer):
    return np.array([np.mean([head[-1, j] for head in prompt.maps[layer]]) for j in np.flatnonzero(prompt.image)])


def rater_attention(prompt, layer):
    image, text = (
        np.flatnonzero(prompt.image),
        [i for i in range(len(prompt.image)) if i > prompt.image.nonzero()[0][-1]],
    )
    relevance = np.zeros(len(text))
    for v in image:
        scores = np.array([prompt.states[0][v] @ prompt.states[0][i] for i in text])
        weights = np.exp(scores - scores.max())
        relevance += weights / weights.sum() / len(image)
    chosen = [i for i, r in zip(text, relevance, strict=True) if r > relevance.mean()]
    return np.array([np.mean([[head[i, j] for head in prompt.maps[layer]] for i in chosen]) for j in image])


def class_token_attention(model, pixels, layer):
    """Softmax of one full-width product of the class token's query with every key, class token included."""
    tower = model.model.vision_tower
    with torch.no_grad():
        states = tower(pixels, output_hidden_states=True).hidden_states
        module = [m for m in tower.modules() if hasattr(m, "self_attn")][layer]
        normed = module.layer_norm1(states[layer])
        q, k = module.self_attn.q_proj(normed), module.self_attn.k_proj(normed)
    attention = []
    for row_q, row_k in zip(q.double().numpy(), k.double().numpy(), strict=True):
        scores = np.array([row_q[0] @ key / math.sqrt(len(key)) for key in row_k])
        weights = np.exp(scores - scores.max())
        attention.append((weights / weights.sum())[1:])
    return np.array(attention)


def divergence(p, q):
    """KL divergence of p from q in nats, entry by entry."""
    return sum(a * math.log(a / b) for a, b in zip(p, q, strict=True) if a > 0)
