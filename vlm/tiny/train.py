"""Train the embedded model from a seed with the LLaVA recipe.

Stages: ``tower`` (the vision tower learns the digit under each patch), ``text`` (the language model learns all
questions about scenes in words), ``projector`` (only the projector, on describing images), ``joint`` (all
weights, on questions about images). The variants differ from the projector stage on: ``plain`` keeps the projector as
it is initialised; ``scaled`` rescales it so that image tokens enter the decoder with norm 400, as large relative to a
layer's update as in LLaVA. ``priced`` and ``late`` continue the embedded ``scaled`` model instead
(``continued_training.py``).

The batch of a step depends only on the seed, the stage and the step, so that an interrupted run continues
with the same batches.
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import torch
from tqdm import tqdm

from vlm.engine.planned_loading import load
from vlm.models.types import Model, Processor
from vlm.tiny.architecture import new_model, new_processor
from vlm.tiny.continued_training import RECIPES, Recipe, continued_loss
from vlm.tiny.evaluate import accuracy_by_kind, correct
from vlm.tiny.losses import answer_loss, patch_loss
from vlm.tiny.muon import Muon
from vlm.tiny.question_writer import IMAGE_KINDS, KINDS, questions
from vlm.tiny.scenes import draw_scene, scans
from vlm.tiny.training_batches import make_batch

Stage = Literal["tower", "text", "projector", "joint"]
Variant = Literal["plain", "scaled", "priced", "late"]
VARIANTS: tuple[Variant, ...] = get_args(Variant)
STAGES: tuple[Stage, ...] = get_args(Stage)
STEPS: dict[Stage, int] = {"tower": 1200, "text": 1400, "projector": 400, "joint": 1400}
MUON_RATE: dict[Stage, float] = {"tower": 0.005, "text": 0.007, "joint": 0.003}
SCALED_NORM = 400.0


def optimisers(stage: Stage, model: Model, head: torch.nn.Linear, variant: Variant) -> list[torch.optim.Optimizer]:
    """Muon for the layers' matrices, AdamW for the other weights that the stage trains; the rest is frozen."""
    inner = model.model
    model.requires_grad_(False)
    model.zero_grad(set_to_none=True)  # the last stage's gradients would count in this stage's clipping
    matrices: list[torch.nn.Parameter] = []
    groups: list[dict[str, Any]] = []
    # The scaled projector's last matrix is large; relative to it, its steps are as large as the plain projector's.
    last_rate = 3e-3 if variant == "plain" else 0.1

    def adamw(parameters: Iterable[torch.nn.Parameter], rate: float) -> None:
        groups.append({"params": list(parameters), "lr": rate})

    if stage == "tower":
        matrices = [p for p in inner.vision_tower.encoder.layers.parameters() if p.ndim == 2]
        in_muon = {id(p) for p in matrices}
        rest = [p for p in inner.vision_tower.parameters() if id(p) not in in_muon]
        adamw([*rest, *head.parameters()], 2e-3)
    elif stage == "projector":
        adamw(inner.multi_modal_projector.linear_1.parameters(), 3e-3)
        adamw(inner.multi_modal_projector.linear_2.parameters(), last_rate)
    else:
        matrices = [p for p in inner.language_model.layers.parameters() if p.ndim == 2]
        in_muon = {id(p) for p in matrices}
        rest = [p for p in (*inner.language_model.parameters(), *model.lm_head.parameters()) if id(p) not in in_muon]
        adamw(rest, 3e-3 if stage == "text" else 6e-4)
        if stage == "joint":
            adamw(inner.multi_modal_projector.linear_1.parameters(), 6e-4)
            adamw(inner.multi_modal_projector.linear_2.parameters(), last_rate / 5)
            adamw(inner.vision_tower.parameters(), 2e-4)
    for parameter in (*matrices, *(p for group in groups for p in group["params"])):
        parameter.requires_grad_(True)
    result: list[torch.optim.Optimizer] = [torch.optim.AdamW(groups, weight_decay=0.01, betas=(0.9, 0.98))]
    if matrices:
        result.append(Muon(matrices, lr=MUON_RATE[stage], momentum=0.95))
    for optimiser in result:
        for group in optimiser.param_groups:
            group["peak"] = group["lr"]
    return result


def rate_factor(step: int, steps: int) -> float:
    """Factor of the learning rate: warm-up over 5% of the steps, then constant, linear decay over the last 30%."""
    return min(1.0, (step + 1) / max(1.0, 0.05 * steps), (steps - step) / max(1.0, 0.3 * steps))


@torch.no_grad()
def rescale_projector(model: Model, norm: float, rng: np.random.Generator) -> None:
    """Draw the projector at unit scale, then multiply its last layer so that image tokens have mean norm ``norm``."""
    pixels = make_batch("projector", rng)["pixel_values"]
    projector = model.model.multi_modal_projector
    for layer in (projector.linear_1, projector.linear_2):
        torch.nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
        torch.nn.init.zeros_(layer.bias)
    tokens = projector(model.model.vision_tower(pixels).last_hidden_state[:, 1:])
    projector.linear_2.weight.mul_(norm / tokens.norm(dim=-1).mean())


def save(path: Path, state: dict[str, Any]) -> None:
    """Write a checkpoint; an interruption leaves either the old or the new file."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".tmp")
    torch.save(state, partial)
    os.replace(partial, path)


def train_stage(
    stage: Stage,
    model: Model,
    head: torch.nn.Linear,
    *,
    steps: int,
    seed: int,
    variant: Variant,
    path: Path,
    resume: bool,
    report: Callable[[int, float], None],
    every: int = 200,
    recipe: Recipe | None = None,
    before: tuple[int, ...] = (),
) -> None:
    """Train one stage in place; checkpoint to ``path`` every ``every`` steps and at the end.

    With a ``recipe`` the joint stage is continued, with batches of its own, after rounds of as many steps as
    ``before`` says.
    """
    steppers = optimisers(stage, model, head, variant)
    first = 0
    if resume and path.exists():
        state = torch.load(path, weights_only=True)
        model.load_state_dict(state["model"])
        head.load_state_dict(state["head"])
        first = state["step"]
        for optimiser, saved in zip(steppers, state["optimisers"], strict=True):
            if first < steps:
                optimiser.load_state_dict(saved)
    model.train()
    mean_loss = None
    bar = tqdm(range(first, steps), initial=first, total=steps, desc=stage, mininterval=5.0)
    for step in bar:
        if recipe is not None:
            counted = sum(before) + step
            rng = np.random.default_rng([seed, len(STAGES) + VARIANTS.index(variant), counted])
            batch = make_batch(stage, rng)
            rounds = (*before, steps)
            loss = continued_loss(model, batch, recipe, step=counted, steps=rounds[0], number=len(before), rng=rng)
        else:
            rng = np.random.default_rng([seed, STAGES.index(stage), step])
            batch = make_batch(stage, rng, early=step < steps // 4)
            loss = patch_loss(model, head, batch) if stage == "tower" else answer_loss(model, batch)
        for optimiser in steppers:
            for group in optimiser.param_groups:
                group["lr"] = group["peak"] * rate_factor(step, steps)
            optimiser.zero_grad(set_to_none=True)
        torch.autograd.backward(loss)
        trained = [p for p in (*model.parameters(), *head.parameters()) if p.grad is not None]
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        for optimiser in steppers:
            optimiser.step()
        mean_loss = loss.item() if mean_loss is None else 0.95 * mean_loss + 0.05 * loss.item()
        bar.set_postfix(loss=f"{mean_loss:.3f}", refresh=False)
        if (step + 1) % every == 0 or step + 1 == steps:
            save(
                path,
                {
                    "step": step + 1,
                    "model": model.state_dict(),
                    "head": head.state_dict(),
                    "optimisers": [optimiser.state_dict() for optimiser in steppers],
                },
            )
            report(step + 1, mean_loss)


def validate(stage: Stage, model: Model, head: torch.nn.Linear, processor: Processor, limit: int) -> dict[str, float]:
    """Validation accuracy on the task of the stage."""
    model.eval()
    if stage == "tower":
        rng = np.random.default_rng(0)
        scenes = [draw_scene(rng, scans("validation")) for _ in range(max(1, limit // 9))]
        pixels = torch.from_numpy(np.stack([s.canvas for s in scenes]).astype(np.float32)) / 127.5 - 1.0
        digits = torch.tensor([s.digits for s in scenes]).view(-1, 3, 1, 3, 1).expand(-1, 3, 2, 3, 2)
        with torch.inference_mode():
            states = model.model.vision_tower(pixels[:, None].expand(-1, 3, -1, -1)).last_hidden_state[:, 1:]
            right = head(states).argmax(-1) == digits.reshape(len(scenes), -1)
        scores = {"patches": float(right.float().mean())}
    else:
        asked = questions(
            split="validation",
            limit=limit,
            written=stage == "text",
            kinds=IMAGE_KINDS if stage == "text" else KINDS,
        )
        scores = accuracy_by_kind(asked, correct(model, processor, asked))
    model.train()
    return scores


def train(
    *,
    seed: int,
    out: Path,
    variant: Variant = "plain",
    resume: bool = False,
    steps: dict[Stage, int] | None = None,
    every: int = 200,
    limit: int = 600,
) -> Path:
    """Run all stages and write the model folder ``out/VARIANT``.

    Parameters
    ----------
    seed : int
        Determines the initial weights and every batch.
    out : Path
        Folder for the stages' checkpoints, ``log.jsonl`` and the model. The tower and text stages are shared
        by the variants: with ``resume``, a finished stage found here is reused.
    variant : {"plain", "scaled", "priced", "late"}
        Whether the projector is rescaled, or how the embedded ``scaled`` model is continued.
    resume : bool
        Continue from the checkpoints in ``out``; otherwise start anew.
    steps : dict, optional
        Steps per stage in order, ``STEPS`` by default. Of "priced" and "late" only "joint" counts, in one round; by
        default the recipe's rounds.
    every, limit : int
        Steps between checkpoints, each of which is validated, and number of validation questions.

    Returns
    -------
    Path
        The folder of the finished model, float16 safetensors with its processor.
    """
    if variant not in VARIANTS:
        raise ValueError(f"variant must be one of {', '.join(VARIANTS)}, got {variant!r}")
    recipe = RECIPES.get(variant)
    out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(seed)
    model, processor = new_model(), new_processor()
    parts: list[tuple[Stage, int]] = list((STEPS if steps is None else steps).items())
    if recipe is not None:
        parts = [("joint", count) for count in (recipe.rounds if steps is None else (steps["joint"],))]
        # Where "scaled" ended: a repeat needs the minutes of this stage, not the half hour before them.
        model.load_state_dict(load("tiny-scaled")[0].state_dict())
        model.set_attn_implementation("eager")
    head = torch.nn.Linear(model.config.vision_config.hidden_size, 10)
    for number, (stage, count) in enumerate(parts):
        shared = stage in ("tower", "text")
        name = stage if shared else f"{stage}-{variant}"
        if recipe is not None and number:
            name += f"-{number + 1}"
        path = out / f"{name}.pt"
        if stage == "projector" and variant == "scaled":
            torch.manual_seed(seed + 1)  # the same projector whether or not earlier stages were resumed
            rescale_projector(model, SCALED_NORM, np.random.default_rng([seed, len(STAGES)]))
        started = time.process_time()

        def report(step: int, loss: float, stage: Stage = stage, name: str = name, started: float = started) -> None:
            scores = validate(stage, model, head, processor, limit)
            minutes = (time.process_time() - started) / 60
            line = {"stage": name, "step": step, "loss": round(loss, 4), "cpu_minutes": round(minutes, 2)}
            line |= {kind: round(score, 4) for kind, score in scores.items()}
            with (out / "log.jsonl").open("a", encoding="utf-8") as log:
                log.write(json.dumps(line) + "\n")
            tqdm.write(json.dumps(line))

        train_stage(
            stage, model, head,
            steps=count, seed=seed, variant=variant, path=path, resume=resume, report=report, every=every,
            recipe=recipe, before=() if recipe is None else tuple(n for _, n in parts[:number]),
        )  # fmt: skip
    model.eval()
    folder = out / variant
    export(model, processor, folder)
    return folder


def export(model: Model, processor: Processor, folder: Path) -> None:
    """Write model and processor in the format of ``from_pretrained``, weights in float16."""
    import copy

    copy.deepcopy(model).to(torch.float16).save_pretrained(folder)
    processor.save_pretrained(folder)
    for file in folder.iterdir():
        file.chmod(0o644)


def main(arguments: list[str] | None = None) -> None:
    """Command line."""
    parser = argparse.ArgumentParser(
        prog="python -m vlm.tiny.train",
        description="Train the embedded model from a seed.",
        epilog="example: python -m vlm.tiny.train --seed 0 --out runs/tiny --variant plain --resume",
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--out", type=Path, required=True, help="folder for checkpoints, log and model")
    parser.add_argument("--variant", choices=VARIANTS, default="plain")
    parser.add_argument("--resume", action="store_true", help="continue from the checkpoints in --out")
    parser.add_argument("--threads", type=int, choices=(1, 2), default=2)
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    print(train(seed=options.seed, out=options.out, variant=options.variant, resume=options.resume))


if __name__ == "__main__":
    main()
