"""Judge all 3^L plans of run, freeze and remove of an embedded model, on many prompts: the oracle of the planner.

A plan's states after layer l depend only on what it does in layers 0..l, so a walk over the tree of plans computes
3 + 9 + ... + 3^L layers instead of L 3^L. Every batch of prompts is a file of its own, written when it is finished;
the same command continues after a kill.

Batch by batch, only plans that may still be the cheapest within a promised loss are judged further, by the same walk
without the other branches: for a promise tau, those with at most n tau + 3 sqrt(n tau) differing answers among n so
far, and that cost no more than a stated limit. Beside them a few plans of every cost go on, from which such limits are
learnt. A plan truly within tau is lost with probability of some 0.3% by chance; that the optimum costs no more than the
limit is checked in the end.

python -m tests.benchmarks.exhaustive_plans --model tiny --out FOLDER --table tests/benchmarks/plans_tiny.npz \\
    --costs .63 .56 .48
"""

from __future__ import annotations

import argparse
import itertools
import time
from collections.abc import Mapping
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
from vlm.plans.cost import operations
from vlm.plans.plan import SkipPlan

ACTIONS = ("run", "freeze", "remove")
PROMISES = (0.01, 0.02, 0.05)
PROMPTS = 64
PROMPTS_AT_ONCE = 16
PLANS_AT_ONCE = 32
OF_EACH_COST = 6
MOST_CHANGED = 8


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
def walk(model, batch, wanted=None) -> tuple[np.ndarray, np.ndarray]:
    """KL (plans, prompts) in float16 and agreement (plans, prompts) of all plans, or of those with sorted numbers."""
    tree = Walk(model, batch)
    depth, prompts = tree.depth, len(batch["input_ids"])
    wanted = np.arange(3**depth) if wanted is None else np.asarray(wanted)
    # Which beginnings of a plan, of 0 to depth layers, lead to a wanted one.
    beginnings = [np.unique(wanted // 3 ** (depth - layers)) for layers in range(depth + 1)]
    kl = np.empty((len(wanted), prompts), dtype=np.float16)
    same = np.empty((len(wanted), prompts), dtype=bool)

    def visit(index: int, image: Tensor, text: Tensor, numbers: np.ndarray) -> None:
        if index == depth:
            kls, agree = tree.judged(text)
            places = np.searchsorted(wanted, numbers)
            kl[places], same[places] = kls.clamp(0, 60.0).numpy(), agree.numpy()
            return
        keys = tree.keys(index, tree.layers[index].input_layernorm(image), slice(tree.images))

        def after(action: int) -> tuple[Tensor, np.ndarray]:
            new = 3 * numbers + action
            chosen = np.flatnonzero(np.isin(new, beginnings[index + 1]))
            parts = text[torch.from_numpy(chosen)].split(PLANS_AT_ONCE) if len(chosen) else []
            moved = [tree.text_layer(index, part, None if action == 2 else keys) for part in parts]
            return (torch.cat(moved) if moved else text[:0]), new[chosen]

        read, numbers_read = after(0)
        if len(numbers_read):
            moved = image if index == depth - 1 else tree.image_layer(index, image, text[0])
            visit(index + 1, moved, read, numbers_read)
        pieces = [piece for piece in (after(1), after(2)) if len(piece[1])]
        if pieces:
            texts, numbers_left = zip(*pieces, strict=True)
            visit(index + 1, image, torch.cat(texts), np.concatenate(numbers_left))

    visit(0, tree.image, tree.text[None], np.zeros(1, dtype=np.int64))
    return kl, same


def judged_batch(model, processor, number: int, wanted=None) -> tuple[np.ndarray, np.ndarray]:
    """KL and agreement (plans, PROMPTS) on batch `number` of the questions."""
    asked = questions(PROMPTS, first=number * PROMPTS)
    size = 3 ** anatomy(model).depth if wanted is None else len(wanted)
    kl, same = np.empty((size, PROMPTS), dtype=np.float16), np.empty((size, PROMPTS), dtype=bool)
    # Prompts of similar length together, since every row is padded to the longest.
    order = sorted(range(PROMPTS), key=lambda i: len(asked[i].prompt.split()))
    for first in range(0, PROMPTS, PROMPTS_AT_ONCE):
        places = order[first : first + PROMPTS_AT_ONCE]
        batch = prompt_batch(model, processor, [asked[i] for i in places])
        kl[:, places], same[:, places] = walk(model, batch, wanted)
    return kl, same


def costs(model, *, vision: int = 36, text: int = 10) -> np.ndarray:
    """Operations of every plan over those of the full model (plans,); they add up over layers."""
    depth = anatomy(model).depth

    def counted(action: int):
        return operations(model, vision=vision, text=text, plan=plan_of([action] * depth))

    layers = np.array([counted(action).layers for action in range(3)]).T
    digits = np.array(list(itertools.product(range(3), repeat=depth)))
    totals = layers[np.arange(depth), digits].sum(1) + counted(0).head
    return np.asarray(totals / totals[0])


class Table:
    """What was judged so far: of each plan, prompts in batches of PROMPTS, in order."""

    def __init__(self, cost: np.ndarray, tops: Mapping[float, float], largest: float) -> None:
        self.cost, self.tops, self.largest = cost, tops, largest
        self.count = np.zeros(len(cost), dtype=np.int64)
        self.kl, self.kl_first = np.zeros(len(cost)), np.zeros(len(cost))
        self.prompts = np.zeros(len(cost), dtype=np.int64)
        self.same: dict[int, list[np.ndarray]] = {}
        self.alive = {tau: np.ones(len(cost), dtype=bool) for tau in PROMISES}

    def add(self, numbers: np.ndarray, kl: np.ndarray, same: np.ndarray) -> None:
        """Take a batch of the plans with these numbers."""
        self.count[numbers] += (~same).sum(1)
        self.kl[numbers] += kl.astype(np.float64).sum(1)
        self.prompts[numbers] += same.shape[1]
        for number, row in zip(numbers.tolist(), same, strict=True):
            self.same.setdefault(number, []).append(row)

    def near(self) -> np.ndarray:
        """Plans that may be the cheapest within some promise; those left out earlier stay out."""
        for tau, alive in self.alive.items():
            allowed = self.prompts * tau
            alive &= (self.count <= allowed + 3 * np.sqrt(allowed)) & (self.cost <= self.tops[tau])
        chosen = np.logical_or.reduce(list(self.alive.values()))
        chosen[self.companions()] = True
        return np.flatnonzero(chosen)

    def companions(self) -> np.ndarray:
        """Of each cost up to the largest, the plans of least KL on the first batch: a population for resampling."""
        order = np.lexsort((self.kl_first, self.cost.round(4)))
        order = order[self.cost[order] <= self.largest]
        levels = self.cost[order].round(4)
        place = np.arange(len(order)) - np.searchsorted(levels, levels)
        return np.asarray(order[place < OF_EACH_COST])

    def optimum(self, tau: float) -> int:
        """The cheapest plan within a promise on all prompts.

        Raises
        ------
        RuntimeError
            A limit of cost was below it, so that a cheaper one may have been left out.
        """
        good = np.flatnonzero((self.prompts == self.prompts.max()) & (self.count <= tau * self.prompts))
        best = int(good[np.argmin(self.cost[good])]) if len(good) else -1
        if best < 0 or self.cost[best] > self.tops[tau] + 1e-9:
            found = "none" if best < 0 else f"the cheapest costs {self.cost[best]:.4f}"
            raise RuntimeError(f"promise {tau}: within it {found}, above the limit {self.tops[tau]:g}; raise --costs")
        return best

    def distinct(self, changed: np.ndarray) -> np.ndarray:
        """Of each set of at most `MOST_CHANGED` changed answers (plans, PROMPTS) the cheapest plan that changes it."""
        few = np.flatnonzero(changed.sum(1) <= MOST_CHANGED)
        few = few[np.argsort(self.cost[few], kind="stable")]
        _, places = np.unique(np.packbits(changed[few], axis=1), axis=0, return_index=True)
        return np.sort(few[places])

    def save(self, path: Path) -> None:
        """Write the summary: all plans on the first batch, the further judged ones, and the answers of the last.

        Of the first batch the answers of one plan for each set of changed answers are kept too.
        """
        near = np.flatnonzero(self.prompts > PROMPTS)
        last = np.flatnonzero(self.prompts == self.prompts.max())
        first = np.array([self.same[number][0] for number in range(len(self.cost))])
        distinct = self.distinct(~first)
        with writing_bytes(path) as file:
            np.savez_compressed(
                file,
                kl=self.kl_first.astype(np.float16),
                differing=(~first).sum(1).astype(np.uint8),
                cost=self.cost.astype(np.float32),
                prompts=PROMPTS,
                near=near.astype(np.uint16),
                near_differing=self.count[near].astype(np.uint16),
                near_prompts=self.prompts[near].astype(np.uint16),
                near_kl=(self.kl[near] / self.prompts[near]).astype(np.float16),
                distinct=distinct.astype(np.uint16),
                distinct_same=np.packbits(first[distinct], axis=1),
                last=last.astype(np.uint16),
                last_same=np.packbits(np.array([np.concatenate(self.same[n]) for n in last.tolist()]), axis=1),
            )


def main() -> None:
    """Judge all plans on a first batch, those that may be optimal on all batches, and write the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--batches", type=int, default=16, help="batches of 64 prompts")
    parser.add_argument("--costs", nargs=3, type=float, default=(1.0, 1.0, 1.0), help="limits of cost by promise")
    parser.add_argument("--largest", type=float, default=0.75, help="largest cost of the few plans of every cost")
    parser.add_argument("--out", type=Path, required=True, help="folder of the batches")
    parser.add_argument("--table", type=Path, help="NPZ file for the summary")
    options = parser.parse_args()
    torch.set_num_threads(1)
    model, processor = load(options.model)

    def batch(number: int, wanted: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """KL and agreement of some plans; what an earlier process judged is read."""
        path = options.out / f"{options.model}-{number}.npz"
        numbers, kl, same = np.empty(0, np.int64), np.empty((0, PROMPTS), np.float16), np.empty((0, PROMPTS), bool)
        if path.exists():
            data = np.load(path)
            kl, same = data["kl"], np.unpackbits(data["same"], axis=1, count=PROMPTS).astype(bool)
            numbers = data["numbers"] if "numbers" in data else np.arange(len(kl))
        missing = np.setdiff1d(wanted, numbers)
        if len(missing):
            start = time.process_time()
            more_kl, more = judged_batch(model, processor, number, missing)
            numbers = np.concatenate([numbers, missing])
            order = np.argsort(numbers)
            numbers = numbers[order]
            kl, same = np.concatenate([kl, more_kl])[order], np.concatenate([same, more])[order]
            with writing_bytes(path) as file:
                np.savez_compressed(file, numbers=numbers, kl=kl, same=np.packbits(same, axis=1))
            print(f"{path}: {len(missing):,} plans in {time.process_time() - start:.0f} s of CPU", flush=True)
        places = np.searchsorted(numbers, wanted)
        return kl[places], same[places]

    table = Table(costs(model), dict(zip(PROMISES, options.costs, strict=True)), options.largest)
    near = np.arange(len(table.cost))
    for number in range(options.batches):
        table.add(near, *batch(number, near))
        if number == 0:
            table.kl_first = table.kl / PROMPTS
        near = table.near()
        print(f"{(number + 1) * PROMPTS:,} prompts: {len(near):,} plans go on", flush=True)
    for tau in PROMISES:
        best = table.optimum(tau)
        print(f"{tau}: {plan_of(digits_of(best, anatomy(model).depth))}, cost {table.cost[best]:.4f}")
    if options.table:
        table.save(options.table)
        print(f"wrote {options.table}: {options.table.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
