"""Judge all 3^L plans of run, freeze and remove of an embedded model, on many prompts: the oracle of the planner.

A plan's states after layer l depend only on what it does in layers 0..l, so a walk over the tree of plans computes
3 + 9 + ... + 3^L layers instead of L 3^L. Every batch of prompts is a file of its own, written when it is finished;
the same command continues after a kill.

python -m tests.benchmarks.exhaustive_plans --model tiny --batches 4 --out FOLDER
With --table FILE the summary of all batches is written.
"""

from __future__ import annotations

import argparse
import itertools
import time
from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional
from transformers.models.llama.modeling_llama import rotate_half

from vlm import load, tiny
from vlm.atomic_files import writing_bytes
from vlm.evaluation.plan_accuracy import prompt_batch
from vlm.models.families import anatomy
from vlm.plans.plan import SkipPlan

ACTIONS = ("run", "freeze", "remove")
PROMPTS = 64
PROMPTS_AT_ONCE = 16
PLANS_AT_ONCE = 32


def plan_of(digits) -> SkipPlan:
    """The plan of one action number per layer: 0 runs, 1 freezes, 2 removes."""
    frozen = tuple((i, i + 1) for i, d in enumerate(digits) if d == 1)
    removed = tuple((i, i + 1) for i, d in enumerate(digits) if d == 2)
    return SkipPlan(frozen=frozen, vision=removed)


def digits_of(number: int, depth: int) -> tuple[int, ...]:
    """The actions of plan `number`; layer 0 is the most significant digit in base 3."""
    return tuple(number // 3 ** (depth - 1 - i) % 3 for i in range(depth))


def questions(count: int, *, first: int = 0, split: str = "test", seed: int = 11) -> list[tiny.Question]:
    """One question about each scene, the kinds in turn."""
    kinds = len(tiny.IMAGE_KINDS)
    asked = tiny.questions(split=split, limit=(first + count) * kinds, seed=seed, kinds=tiny.IMAGE_KINDS)
    return [asked[scene * kinds + scene % kinds] for scene in range(first, first + count)]


class Walk:
    """The states of some prompts of equal length through a model of Llama layers.

    No text token but the first one stands before the image, and it reads itself alone. So the image states depend on
    the layers in which they run and on nothing else: the walk goes through the 2^L sets of such layers, and carries the
    text states of all plans with the same set, frozen and removed in all ways, together.
    """

    def __init__(self, model, batch) -> None:
        self.parts = anatomy(model)
        self.layers, self.depth = self.parts.layers, self.parts.depth
        seen: dict[str, Tensor] = {}

        def entering(module, args, kwargs) -> None:
            seen["states"] = args[0] if args else kwargs["hidden_states"]
            seen["cos"], seen["sin"] = kwargs["position_embeddings"]

        handle = self.layers[0].register_forward_pre_hook(entering, with_kwargs=True)
        try:
            self.full = model(**batch, use_cache=False, logits_to_keep=1).logits[:, -1].double().log_softmax(-1)
        finally:
            handle.remove()
        ids, real = batch["input_ids"], batch["attention_mask"].bool()
        image = torch.isin(ids, torch.tensor(sorted(self.parts.placeholders)))
        self.images = int(image[0].sum())
        before = (image.int().cumsum(1) == 0) & real
        assert (image.sum(1) == self.images).all()
        assert (before.sum(1) <= 1).all()
        # Image rows first, then the other rows, all in order of position.
        order = torch.argsort((~image).int(), dim=1, stable=True)

        def sorted_rows(values: Tensor) -> Tensor:
            return values.expand(len(ids), -1, -1).gather(1, order[..., None].expand(-1, -1, values.shape[-1]))

        states = sorted_rows(seen["states"])
        self.image, self.text = states[:, : self.images], states[:, self.images :]
        self.cos, self.sin = sorted_rows(seen["cos"]), sorted_rows(seen["sin"])
        allowed = (order[:, :, None] >= order[:, None, :]) & real.gather(1, order)[:, None, :]
        allowed |= torch.eye(ids.shape[1], dtype=torch.bool)  # padding rows attend to themselves
        self.mask = torch.zeros(allowed.shape).masked_fill_(~allowed, float("-inf"))[:, None]
        self.norm, self.head = self.parts.decoder.norm, model.get_output_embeddings()
        self.best = self.full.argmax(-1)

    def keys(self, index: int, normed: Tensor, rows: slice) -> tuple[Tensor, Tensor]:
        """Rotated keys, and values: (..., heads, rows, head width)."""
        attention = self.layers[index].self_attn
        k, v = _heads(attention, attention.k_proj(normed)), _heads(attention, attention.v_proj(normed))
        return _rotated(k, self.cos[:, rows], self.sin[:, rows]), v

    def image_layer(self, index: int, image: Tensor, text: Tensor) -> Tensor:
        """The image states after a layer in which they run; `text` (prompts, rows, width) of any plan."""
        layer, n = self.layers[index], self.images
        states = torch.cat([image, text], dim=1)
        normed = layer.input_layernorm(states)
        attention = layer.self_attn
        k, v = self.keys(index, normed, slice(None))
        q = _rotated(_heads(attention, attention.q_proj(normed[:, :n])), self.cos[:, :n], self.sin[:, :n])
        out = functional.scaled_dot_product_attention(q, k, v, attn_mask=self.mask[:, :, :n], scale=attention.scaling)
        return _finished(layer, image, out)

    def text_layer(self, index: int, text: Tensor, image_keys: tuple[Tensor, Tensor] | None) -> Tensor:
        """Text states (plans, prompts, rows, width) after a layer; only the last row after the last layer."""
        layer, n = self.layers[index], self.images
        attention = layer.self_attn
        normed = layer.input_layernorm(text)
        k, v = self.keys(index, normed, slice(n, None))
        mask = self.mask[:, :, n:]
        last = index == self.depth - 1
        if last:
            text, normed, mask = text[:, :, -1:], normed[:, :, -1:], mask[:, :, -1:]
        rows = slice(-1, None) if last else slice(n, None)
        q = _rotated(_heads(attention, attention.q_proj(normed)), self.cos[:, rows], self.sin[:, rows])
        if image_keys is None:
            mask = mask[..., n:]
        else:
            k, v = (
                torch.cat([a.expand(len(text), *a.shape), b], dim=-2) for a, b in zip(image_keys, (k, v), strict=True)
            )
        flat = [t.flatten(0, 1) for t in (q, k, v)]
        mask = mask.expand(len(text), *mask.shape).flatten(0, 1)
        out = functional.scaled_dot_product_attention(*flat, attn_mask=mask, scale=attention.scaling)
        return _finished(layer, text.flatten(0, 1), out).unflatten(0, text.shape[:2])

    def judged(self, text: Tensor) -> tuple[Tensor, Tensor]:
        """KL from the full model in nats, and whether the arg max is the same: (plans, prompts)."""
        logits = self.head(self.norm(text[:, :, -1])).double().log_softmax(-1)
        return (self.full.exp() * (self.full - logits)).sum(-1), logits.argmax(-1) == self.best


def _heads(attention, x: Tensor) -> Tensor:
    return x.unflatten(-1, (-1, attention.head_dim)).transpose(-3, -2)


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    return x * cos[:, None] + rotate_half(x) * sin[:, None]


def _finished(layer, states: Tensor, out: Tensor) -> Tensor:
    moved = states + layer.self_attn.o_proj(out.transpose(1, 2).flatten(2))
    return moved + layer.mlp(layer.post_attention_layernorm(moved))


@torch.inference_mode()
def walk(model, batch) -> tuple[np.ndarray, np.ndarray]:
    """KL (plans, prompts) in float16 and agreement (plans, prompts) of all plans."""
    tree = Walk(model, batch)
    depth, prompts = tree.depth, len(batch["input_ids"])
    kl = np.empty((3**depth, prompts), dtype=np.float16)
    same = np.empty((3**depth, prompts), dtype=bool)

    def visit(index: int, image: Tensor, text: Tensor, numbers: np.ndarray) -> None:
        if index == depth:
            kls, agree = tree.judged(text)
            kl[numbers], same[numbers] = kls.clamp(0, 60.0).numpy(), agree.numpy()
            return
        keys = tree.keys(index, tree.layers[index].input_layernorm(image), slice(tree.images))

        def after(image_keys) -> Tensor:
            return torch.cat([tree.text_layer(index, part, image_keys) for part in text.split(PLANS_AT_ONCE)])

        read = after(keys)
        moved = image if index == depth - 1 else tree.image_layer(index, image, text[0])
        visit(index + 1, moved, read, 3 * numbers)
        both = torch.cat([read, after(None)])
        visit(index + 1, image, both, np.concatenate([3 * numbers + 1, 3 * numbers + 2]))

    visit(0, tree.image, tree.text[None], np.zeros(1, dtype=np.int64))
    return kl, same


def main() -> None:
    """Compute the missing batches; with --table, write the summary of all of them."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--batches", type=int, default=4)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, processor = load(options.model)
    for number in range(options.batches):
        path = options.out / f"{options.model}-{number}.npz"
        if path.exists():
            continue
        start = time.perf_counter()
        asked = questions(PROMPTS, first=number * PROMPTS)
        kl = np.empty((3 ** anatomy(model).depth, PROMPTS), dtype=np.float16)
        same = np.empty(kl.shape, dtype=bool)
        # Prompts of similar length together, since every row is padded to the longest.
        order = sorted(range(PROMPTS), key=lambda i: len(asked[i].prompt.split()))
        for first in range(0, PROMPTS, PROMPTS_AT_ONCE):
            places = order[first : first + PROMPTS_AT_ONCE]
            kl[:, places], same[:, places] = walk(model, prompt_batch(model, processor, [asked[i] for i in places]))
        with writing_bytes(path) as file:
            np.savez_compressed(file, kl=kl, same=np.packbits(same, axis=1))
        print(f"{path}: {len(kl):,} plans in {time.perf_counter() - start:.0f} s", flush=True)
    if options.table:
        write_table(options.model, options.out, options.batches, options.table)


def read_batches(model: str, folder: Path, batches: int) -> tuple[np.ndarray, np.ndarray]:
    """KL and agreement (plans, prompts) of all batches."""
    parts = [np.load(folder / f"{model}-{number}.npz") for number in range(batches)]
    same = [np.unpackbits(part["same"], axis=1, count=PROMPTS).astype(bool) for part in parts]
    return np.concatenate([part["kl"] for part in parts], axis=1), np.concatenate(same, axis=1)


def write_table(name: str, folder: Path, batches: int, path: Path) -> None:
    """Per plan: mean KL (float16), number of prompts that disagree, and cost; plans in order of their numbers."""
    from vlm.plans.cost import operations

    kl, same = read_batches(name, folder, batches)
    model, _ = load(name)
    depth = anatomy(model).depth
    # Costs add up over layers: one plan per layer and action gives them all.
    full = operations(model, vision=36, text=9).layers
    layer_cost = np.array(
        [
            [operations(model, vision=36, text=9, plan=plan_of([a] * depth)).layers[i] for a in range(3)]
            for i in range(depth)
        ]
    )
    head = operations(model, vision=36, text=9).head
    total = np.array(
        [sum(layer_cost[i, d] for i, d in enumerate(digits)) for digits in itertools.product(range(3), repeat=depth)]
    )
    with writing_bytes(path) as file:
        np.savez_compressed(
            file,
            mean_kl=kl.astype(np.float64).mean(1).astype(np.float16),
            differs=(~same).sum(1).astype(np.uint16),
            cost=((total + head) / (full.sum() + head)).astype(np.float32),
            prompts=kl.shape[1],
        )
    print(f"wrote {path}: {path.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
