"""What each layer of an embedded model does with its image tokens, measured without the library's own hooks.

    python tests/benchmarks/tiny_layers.py --model tiny-scaled

Plain forward hooks and a hand-written loop over the decoder layers, so that the library's probe, attention and
skipping can be compared with something that shares no code with them. Questions of one kind have prompts of one
length, so nothing is padded.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from vlm.engine.planned_loading import load
from vlm.tiny import IMAGE_KINDS, Question, questions


@dataclass(frozen=True)
class Group:
    """Questions of one kind: what they need to be answered again under any treatment of the image tokens."""

    image_tokens: torch.Tensor  # (tokens,) bool
    states: list[torch.Tensor]  # L + 1 of (questions, tokens, width); state L before the final norm
    attention: torch.Tensor  # (L,) the last token's attention on image tokens, mean over heads and questions
    answers: torch.Tensor  # (questions,)


@torch.inference_mode()
def observe(model: Any, eager: Any, processor: Any, asked: list[Question]) -> Group:
    """Run the model once, keeping the states around each decoder layer and the attention of the last token."""
    batch = processor(
        images=[q.image for q in asked], text=[q.prompt for q in asked], return_tensors="pt", padding=True
    )
    assert bool(batch["attention_mask"].all())
    layers = model.model.language_model.layers
    states: list[torch.Tensor] = []
    hooks = [
        layer.register_forward_pre_hook(
            lambda _, a, k: states.append(a[0] if a else k["hidden_states"]), with_kwargs=True
        )
        for layer in layers
    ]
    hooks.append(layers[-1].register_forward_hook(lambda _, a, out: states.append(out)))
    model(**batch)
    for hook in hooks:
        hook.remove()
    shown = batch["input_ids"][0] == model.config.image_token_index
    weights = eager(**batch, output_attentions=True).attentions
    attention = torch.stack([w[:, :, -1, shown].sum(-1).mean() for w in weights])
    words = torch.tensor(processor.tokenizer.convert_tokens_to_ids([q.answer for q in asked]))
    return Group(shown, states, attention, words)


@torch.inference_mode()
def right(model: Any, group: Group, present: Callable[[int], bool], frozen: Callable[[int], bool]) -> torch.Tensor:
    """Which answers are right when image tokens are absent from, or not updated by, the given layers."""
    decoder = model.model.language_model
    states = group.states[0].clone()
    everything = torch.arange(states.shape[1])
    for number, layer in enumerate(decoder.layers):
        index = everything if present(number) else everything[~group.image_tokens]
        positions = index[None]
        rotary = decoder.rotary_emb(states, positions)
        out = layer(states[:, index], attention_mask=None, position_ids=positions, position_embeddings=rotary)
        update = ~group.image_tokens[index] if frozen(number) else torch.ones(len(index), dtype=torch.bool)
        states[:, index[update]] = out[:, update]
    words = model.lm_head(decoder.norm(states[:, -1])).argmax(-1)
    return (words == group.answers).float()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--scenes", type=int, default=200)
    parser.add_argument("--split", default="test")
    options = parser.parse_args()
    (model, processor), (eager, _) = load(options.model), load(options.model, attention="eager")
    asked = questions(split=options.split, limit=len(IMAGE_KINDS) * options.scenes, kinds=IMAGE_KINDS)
    groups = [observe(model, eager, processor, [q for q in asked if q.kind == kind]) for kind in IMAGE_KINDS]
    depth = len(model.model.language_model.layers)

    def accuracy(
        present: Callable[[int], bool] = lambda _: True, frozen: Callable[[int], bool] = lambda _: False
    ) -> float:
        return float(torch.cat([right(model, g, present, frozen) for g in groups]).mean())

    def image_states(state: int) -> torch.Tensor:
        return torch.cat([g.states[state][:, g.image_tokens].flatten(0, 1) for g in groups])

    print(f"{options.model}, {options.split} split, {len(asked)} questions about {options.scenes} scenes")
    print("distance, within 0.05: cosine, between the states before and after the layer; from 0: since state 0")
    print("accuracy when image tokens: enter at the layer, leave before it, miss it alone, are frozen in it,")
    print("are frozen in it and all layers below")
    head = ("layer", "distance", "within", "from 0", "norm", "text norm", "attention")
    print(("{:>10}" * 12).format(*head, "enter", "leave", "miss", "freeze", "freeze to"))
    for k in range(depth + 1):
        here = image_states(k)
        moved = 1 - F.cosine_similarity(here, image_states(k + 1)) if k < depth else None
        text = torch.cat([g.states[k][:, ~g.image_tokens].flatten(0, 1) for g in groups]).norm(dim=-1).mean()
        cells = [
            f"{k:>10}",
            f"{moved.mean():>10.4f}{(moved <= 0.05).float().mean():>10.3f}" if moved is not None else " " * 20,
            f"{(1 - F.cosine_similarity(here, image_states(0))).mean():>10.4f}",
            f"{here.norm(dim=-1).mean():>10.1f}{text:>10.1f}",
            f"{np.mean([float(g.attention[k]) for g in groups]):>10.3f}" if k < depth else " " * 10,
            f"{accuracy(lambda j, k=k: j >= k):>10.3f}{accuracy(lambda j, k=k: j < k):>10.3f}",
        ]
        if k < depth:
            cells.append(f"{accuracy(lambda j, k=k: j != k):>10.3f}")
            cells.append(f"{accuracy(frozen=lambda j, k=k: j == k):>10.3f}")
            cells.append(f"{accuracy(frozen=lambda j, k=k: j <= k):>10.3f}")
        print("".join(cells), flush=True)


if __name__ == "__main__":
    main()
