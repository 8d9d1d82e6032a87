"""Read the layers
===============

Read image tokens through the logit lens, and trace where the answer reads the image.
"""

import argparse
from pathlib import Path

import numpy as np
import torch

import vlm
from vlm import Trace, lens, plot_lens, plot_trace, tiny, trace
from vlm.reports.plots import require_matplotlib

CELLS = [row + column for row in "abc" for column in "123"]


def prepare(processor, questions, images=None):
    shown = [q.image for q in questions] if images is None else images
    return dict(processor(images=shown, text=[q.prompt for q in questions], return_tensors="pt", padding=True))


def asked_patches(question):
    """The four patches of the cell that a location question asks for; the grid of patches is 6 x 6."""
    cell = question.prompt.split("?")[0].split()[-1]
    row, column = 2 * "abc".index(cell[0]), 2 * "123".index(cell[1])
    return [6 * r + c for r in (row, row + 1) for c in (column, column + 1)]


def likeliest(tokens, among):
    """The first of these tokens in rows that are sorted by probability."""
    first = np.isin(tokens, among).argmax(axis=-1)
    return np.take_along_axis(tokens, first[..., None], axis=-1)[..., 0]


def one_per_scene(number, seed):
    kinds = len(tiny.IMAGE_KINDS)
    questions = tiny.questions(limit=number * kinds, seed=seed, kinds=tiny.IMAGE_KINDS)
    return [questions[scene * kinds + scene % kinds] for scene in range(number)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("figures"))
    parser.add_argument("--model", default="tiny")
    parser.add_argument("--questions", type=int, default=40)
    given = parser.parse_args()
    given.out.mkdir(parents=True, exist_ok=True)
    plt = require_matplotlib()
    model, processor = vlm.load(given.model)
    words = processor.tokenizer

    # The logit lens: does a patch's state already say which digit it shows?
    located = tiny.questions(limit=given.questions, kinds=("location",))
    with torch.inference_mode(), lens(model, top=len(words)) as record:
        model(**prepare(processor, located), logits_to_keep=1)
    read = record.result()
    print(read)
    digits, cells = (np.array(words.convert_tokens_to_ids(names)) for names in (list("0123456789"), CELLS))
    answers = np.array(words.convert_tokens_to_ids([q.answer for q in located]))
    asked = np.array([p in asked_patches(located[s]) for s, p in zip(read.sample, read.patch, strict=True)])
    digit = likeliest(read.tokens, digits) == answers[read.sample][:, None]
    cell = 3 * (read.patch // 12) + read.patch % 6 // 2
    following = likeliest(read.tokens, cells) == cells[(cell + 1) % 9][:, None]
    for state in range(read.tokens.shape[1]):
        print(
            f"state {state:>2}: likeliest digit is the one shown {digit[asked, state].mean():4.0%}, likeliest cell is "
            f"the next one {following[cell < 8, state].mean():4.0%}, top word is a cell "
            f"{np.isin(read.tokens[:, state, 0], cells).mean():4.0%}, entropy {read.entropy[:, state].mean():.2f} nats"
        )

    states = (0, 4, 7, read.tokens.shape[1] - 1)
    figure, axes = plt.subplots(1, 1 + len(states), figsize=(12, 2.7), layout="constrained")
    axes[0].imshow(located[0].image)
    axes[0].set(xticks=[], yticks=[], title="image")
    for ax, state in zip(axes[1:], states, strict=True):
        plot_lens(ax, read, words, state=state, columns=6)
    figure.savefig(given.out / "lens.png", dpi=110)

    # Causal tracing: the image of another scene, and one clean state put back at a time.
    # One question per scene, of each kind in turn: scenes are what is independent.
    asked = one_per_scene(given.questions, seed=0)
    batch = prepare(processor, asked)
    other = one_per_scene(given.questions, seed=1)
    swapped = prepare(processor, asked, [q.image for q in other])
    right = np.array(tiny.correct(model, processor, asked))
    answers = words.convert_tokens_to_ids([q.answer for q in asked])
    parts = []
    for start in range(0, len(asked), 40):
        rows = slice(start, start + 40)
        cut = [{k: v[rows] for k, v in b.items()} for b in (batch, swapped)]
        parts.append(trace(model, *cut, answers=answers[rows]))
    result = Trace.joined(parts)
    print(f"\naccuracy {right.mean():.3f}")
    print(result)
    table = result.table()
    for target in result.targets:
        print(f"{target:>6}", " ".join(f"{r:6.2f}" for r in table.where(target=target)["recovery"]))
    figure, ax = plt.subplots(figsize=(6.4, 3.8), layout="constrained")
    plot_trace(ax, result)
    figure.savefig(given.out / "tracing.png", dpi=140)
    print(f"figures: {given.out / 'lens.png'}, {given.out / 'tracing.png'}")


if __name__ == "__main__":
    main()
