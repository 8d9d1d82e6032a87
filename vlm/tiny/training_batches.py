"""Training batches: scenes, in words or as images, each followed by a task with known words."""

from __future__ import annotations

import numpy as np
import torch

from vlm.tiny.architecture import IMAGE_TOKENS, VOCABULARY
from vlm.tiny.question_writer import IMAGE_KINDS, ask
from vlm.tiny.scenes import CELLS, Scene, distorted_scans, draw_scene

SCENES = 32  # per step
QUESTIONS = 4  # per scene
KIND_SHARES = (0.25, 0.2, 0.2, 0.15, 0.2)  # of IMAGE_KINDS
IGNORE = -100  # label of words that are not learnt

# Tasks that follow a scene. The first two answer many small questions at once, which teaches looking up a cell and
# counting a digit within a few hundred steps; with questions alone it takes thousands.
TASKS = ("describe", "tally", "ask")


def spoken_words(task: str, scene: Scene, rng: np.random.Generator) -> list[tuple[str, bool]]:
    """The words after the scene, each with whether the model should learn to say it."""
    words: list[tuple[str, bool]] = []
    if task == "describe":  # describe answer: a1 7 a2 3 ...
        words += [(word, False) for word in ("describe", "answer", ":")]
        words += [(word, True) for i in range(9) for word in (CELLS[i], str(scene.digits[i]))]
    elif task == "tally":  # how many? 7: 2 0: 1 ...
        words += [(word, False) for word in ("how", "many", "?")]
        for digit in rng.permutation(10):
            words += [(str(digit), False), (":", False), (str(scene.digits.count(digit)), True)]
    else:
        for kind in rng.choice(IMAGE_KINDS, size=QUESTIONS, p=KIND_SHARES):
            asked, answer = ask(str(kind), scene.digits, rng)
            words += [(word, False) for word in (*asked, "answer", ":")] + [(answer, True), ("</s>", True)]
        return words
    return [*words, ("</s>", True)]


def scene_sequence(scene: Scene, rng: np.random.Generator, *, written: bool, task: str) -> tuple[list[int], list[int]]:
    """Token ids and labels of one training sequence: a scene in words or as image tokens, then a task."""
    head = ["<s>", *(scene.words(rng) if written else ["<image>"] * IMAGE_TOKENS)]
    words = spoken_words(task, scene, rng)
    ids = [VOCABULARY[word] for word in (*head, *(word for word, _ in words))]
    learnt = [False] * len(head) + [learn for _, learn in words]
    return ids, [token if learn else IGNORE for token, learn in zip(ids, learnt, strict=True)]


def make_batch(stage: str, rng: np.random.Generator, *, early: bool = False) -> dict[str, torch.Tensor]:
    """A training batch of a stage: input_ids and labels (right-padded), pixel_values, digits (scenes, 9).

    ``early`` marks the first quarter of a stage: in the text stage two thirds of the sequences describe or tally then,
    and a quarter of them later.
    """
    scenes = [draw_scene(rng, distorted_scans()) for _ in range(SCENES)]
    # In the joint stage a quarter of the scenes is in words, so that text-only questions are not forgotten.
    written = [stage == "text" or (stage == "joint" and i % 4 == 3) for i in range(SCENES)]
    if stage == "text":
        tasks = [TASKS[min(i % (3 if early else 8), 2)] for i in range(SCENES)]
    elif stage == "joint":
        tasks = [TASKS[min(i % 8, 2)] for i in range(SCENES)]
    else:
        tasks = ["describe"] * SCENES
    rows = [
        scene_sequence(scene, rng, written=w, task=task) for scene, w, task in zip(scenes, written, tasks, strict=True)
    ]
    longest = max(len(ids) for ids, _ in rows)
    batch = {
        "input_ids": torch.tensor([ids + [VOCABULARY["<pad>"]] * (longest - len(ids)) for ids, _ in rows]),
        "labels": torch.tensor([labels + [IGNORE] * (longest - len(labels)) for _, labels in rows]),
        "digits": torch.tensor([scene.digits for scene in scenes]),
    }
    if not all(written):
        canvases = np.stack([s.canvas for s, w in zip(scenes, written, strict=True) if not w])
        ink = canvases + rng.normal(0.0, 8.0, canvases.shape)  # sensor noise, training only
        pixels = torch.from_numpy(ink.astype(np.float32)) / 127.5 - 1.0
        batch["pixel_values"] = pixels[:, None].expand(-1, 3, -1, -1).contiguous()
    return batch
