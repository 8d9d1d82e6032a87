"""`vlm.profile`: run a model on items once, then measure all notions of its hidden states."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Protocol, Unpack

import numpy as np
import torch

from vlm.evaluation.answering import Answerer, PreparedQuestion, Unusable, alike
from vlm.evaluation.batch_failures import Refused, TooLarge, in_halves, one_by_one
from vlm.evaluation.protocols import PROTOCOLS
from vlm.hidden_states.moment_losses import reconstruction_losses
from vlm.hidden_states.moment_recording import moments
from vlm.hidden_states.recording import states
from vlm.hidden_states.state_record import StatesRecord
from vlm.hidden_states.views import Views
from vlm.item import Item
from vlm.measure.distances import ProbeRecord, probe
from vlm.models.types import Model, Processor
from vlm.notions.choices import Choices, ProfileOptions, choices, layer_pairs
from vlm.notions.measures import Confidence, Measure
from vlm.notions.profile_result import Place, Profile, joined, profile_table
from vlm.notions.profiling import profile_states
from vlm.notions.targets import by_item
from vlm.notions.token_measures import distance_rows, loss_rows, moment_rows
from vlm.notions.view_profile import fitting_rows


def profile(
    model: Model,
    processor: Processor,
    items: Sequence[Item],
    *,
    target: str | Sequence[object] = "answer",
    views: Views = ("last", "vision-mean"),
    layers: Sequence[int] | None = None,
    batch_size: int = 8,
    tokens: bool = True,
    project: int | None = None,
    **options: Unpack[ProfileOptions],
) -> Profile:
    """Measure what the layers of a model share, in all four notions and their neighbours.

    Every prompt runs once; then the estimators run on the host, view by view and pair by pair.

    Parameters
    ----------
    model, processor
        As :func:`vlm.load` returns them.
    items : sequence of Item
        Questions with images, such as ``list(vlm.datasets.read("tiny", limit=600))``. Items without an image count in
        the views that they have.
    target : "answer" or sequence
        What a layer is good for: each item's first reference answer, or one value per item, a class (text, integer,
        boolean) or a float.
    views : str or sequence of str
        Which vector stands for a layer on one prompt, as for :func:`vlm.states`.
    layers : sequence of int, optional
        States to record; all by default.
    batch_size : int
        Items per forward call.
    tokens : bool
        Also measure all image tokens and all text tokens, as the views "vision" and "text": distances, and sums from
        which affine maps are fitted, whose error is certified on the other images.
    project : int, optional
        Project the input side of these maps onto so many directions, for wide models; see :func:`vlm.moments`.
    **options
        Keyword options, shared with :func:`vlm.profile_states`:

        notions : sequence of str, optional
            Of "geometric", "proximal", "functional", "next state", "informational", "mutual information", "usable
            information", "pid", "similarity", "effective rank"; all by default.
        pairs : "adjacent", "entry" or sequence of (int, int)
            Each state with the next one (default), the first one with every other, or pairs of your own.
        t : float
            Cosine distance up to which two states are close; default 0.05.
        codes, radius : int, float
            Codewords of each pair of layers (default 16), and the cosine distance up to which two codewords are close
            (default: half the smallest distance between two of them).
        predictors : sequence of "ridge", "panel"
            What predicts the target; the panel is the default of `redundancy.functional`, and most of the time.
        readers : sequence of "linear", "network"
            Families of usable information.
        classes, target_range : int, (float, float)
            Most classes of the target (default 32); the range of a target of floats, without which nothing about it is
            certified.
        folds : int
            Cross-fitting folds. Default 2: limits join one interval per fold, so that fewer folds are narrower.
        fit_share : float
            Share of the images that fix codebooks and thresholds; the others are encoded. Default 0.5.
        replicates : int
            Bootstrap replicates of a PID; default 40.
        confidence, simultaneous : float, int
            Confidence, default 0.95, of `simultaneous` intervals of one notion, method and view together; by default
            of all layers or pairs of them.
        rng : Generator, int or None
            Of every random choice; default 0.
        progress : bool
            Whether to show how long the rest takes; default True.

    Returns
    -------
    Profile
        `table` and `chain`, tidy; `notes` says what was left out.

    Raises
    ------
    ValueError
        No usable item, fewer than two images, an option out of its range. What only some rows cannot have makes a row
        that says so.

    See Also
    --------
    vlm.profile_states : The same from recorded states.
    vlm.states, vlm.moments : The measurements.
    vlm.decide : From distances and attention to a plan.

    References
    ----------
    *Skip-It? Theoretical Conditions for Layer Skipping in Vision-Language Models* (2025), arXiv:2509.25584.

    Examples
    --------
    How far do states move, and what does the answer's reader gain?

    >>> import vlm
    >>> model, processor = vlm.load("tiny")
    >>> items = list(vlm.datasets.read("tiny", limit=200))
    >>> notions = ("geometric", "functional")
    >>> profile = vlm.profile(
    ...     model,
    ...     processor,
    ...     items,
    ...     views="last",
    ...     layers=(4, 7, 10),
    ...     notions=notions,
    ...     predictors="ridge",
    ...     tokens=False,
    ...     progress=False,
    ... )
    >>> profile
    Profile(2 pairs of layers, views last, 40 images, 8 rows)
    >>> print(profile.shown(digits=2, method="ridge: Brier score")["value"][1])
    -0.25 [-0.70, 0.31]
    """
    chosen = choices(options)  # refuse a wrong option before the model runs
    if not items:
        raise ValueError("items: expected at least one item, got none")
    keys = item_keys(items)
    wanted = by_item(target, keys)
    bar = options.get("progress", True)
    with torch.no_grad(), states(model, views=views, layers=layers) as record:
        pairs = layer_pairs(chosen.pairs, record.layers)
        run = Prompts(model, processor, record, batch_size=batch_size, progress=bar)
        sums: list[tuple[Place, Measure]] = []
        missing: tuple[str, ...] = ()
        if tokens:
            sums, missing = _all_tokens(run, items, pairs, chosen, project)
        else:
            run.over(items)
    if len(run.refused) == len(items):
        raise ValueError(f"items: none of the {len(items)} could be put to the model; the first: {run.refused[0]}")
    result = profile_states(record, target=wanted, **options)
    settings = {**result.settings, "target": target if isinstance(target, str) else "given", "items": len(items)}
    table = joined(result.table, profile_table(sums))
    return replace(
        result,
        table=table,
        settings=settings,
        notes=(*(f"item {line}" for line in run.refused), *missing, *result.notes),
    )


def _all_tokens(
    run: Prompts, items: Sequence[Item], pairs: Sequence[tuple[int, int]], chosen: Choices, project: int | None
) -> tuple[list[tuple[Place, Measure]], tuple[str, ...]]:
    """Run all prompts, and what all of their tokens say: maps are fitted on some images and judged on the others."""
    groups = np.array([image_key(item) for item in items])
    split = fitting_rows(groups, chosen.fit_share, chosen.seed)
    first = [item for item, fits in zip(items, split, strict=True) if fits]
    rest = [item for item, fits in zip(items, split, strict=True) if not fits]
    confidence = Confidence(chosen.confidence, chosen.simultaneous or len(pairs))
    rows: list[tuple[Place, Measure]] = []
    reconstruct = {"next state", "similarity", "mutual information", "effective rank"} & set(chosen.notions)
    with probe(run.model, thresholds=chosen.t) as distances:
        if reconstruct:
            with moments(run.model, pairs=pairs, normalise=True, project=project) as sums:
                run.over(first, also=sums)
            try:
                fitted = sums.moments()
                table = fitted.table()
            except ValueError as reason:  # too few images to fit and to judge
                absent = "next state: no maps of all tokens"
                run.over(rest)
                return _distances(run, distances, pairs, chosen, confidence), (f"{absent}: {reason}",)
            rows += moment_rows(table, notions=chosen.notions, images=len({image_key(item) for item in run.asked}))
            if "next state" in chosen.notions:
                with reconstruction_losses(run.model, fitted) as losses:
                    run.over(rest, also=losses)
                rows += loss_rows(losses, pairs, confidence=confidence)
            else:
                run.over(rest)
        else:
            run.over(first)
            run.over(rest)
    return [*rows, *_distances(run, distances, pairs, chosen, confidence)], ()


def _distances(
    run: Prompts,
    distances: ProbeRecord,
    pairs: Sequence[tuple[int, int]],
    chosen: Choices,
    confidence: Confidence,
) -> list[tuple[Place, Measure]]:
    if not run.asked:
        return []
    images = [image_key(item) for item in run.asked]
    table = distances.table()
    return distance_rows(table, images, pairs, t=chosen.t, notions=chosen.notions, confidence=confidence)


def item_keys(items: Sequence[Item]) -> list[str]:
    """The id of each item among all data sets.

    Raises
    ------
    ValueError
        The same item twice.
    """
    keys = [f"{item.dataset}/{item.id}" for item in items]
    twice = [key for key in keys if keys.count(key) > 1] if len(set(keys)) < len(keys) else []
    if twice:
        raise ValueError(f"items: expected each item once, got {twice[0]} {keys.count(twice[0])} times")
    return keys


def image_key(item: Item) -> str:
    """The image of an item among all data sets."""
    return f"{item.dataset}/{item.image_id}"


class Groups(Protocol):
    """A record that has to be told the image of each row of a call."""

    def expect(self, groups: Sequence[str]) -> None:
        """Say which image each row of the next call is about."""


@dataclass(eq=False)
class Prompts:
    """A model that reads prompts under records that are open.

    Attributes
    ----------
    model, processor
        As `vlm.load` returns them.
    record : StatesRecord
        Hidden states; told what every row is.
    batch_size, progress
        Items per call, and whether to show a bar.
    asked : list of Item
        Those that the model has read, in the order of the samples.
    refused : list of str
        Those that could not be put to it, with the reason.
    """

    model: Model
    processor: Processor
    record: StatesRecord
    batch_size: int = 8
    progress: bool = True
    asked: list[Item] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def over(self, items: Sequence[Item], *, also: Groups | None = None) -> None:
        """Run each prompt once; `also` is another open record."""
        from tqdm import tqdm

        answerer = Answerer(self.model, self.processor, PROTOCOLS["skip-it"])
        starts = range(0, len(items), self.batch_size)
        for start in tqdm(starts, desc="states", disable=None if self.progress else True):
            batch = items[start : start + self.batch_size]
            questions = answerer.questions(batch)
            for item, question in zip(batch, questions, strict=True):
                if isinstance(question, Unusable):
                    self.refused.append(f"{item.dataset}/{item.id}: {question.reason}")
            for group in alike([q for q in questions if isinstance(q, PreparedQuestion)]):
                results = in_halves(partial(one_by_one, partial(self._forward, answerer, also)), group)
                for question, result in zip(group, results, strict=True):
                    if isinstance(result, (TooLarge, Refused)):
                        self.refused.append(f"{question.item.dataset}/{question.item.id}: {result.reason}")

    def _forward(
        self, answerer: Answerer, also: Groups | None, questions: Sequence[PreparedQuestion], attempt: int
    ) -> list[None]:
        asked = [question.item for question in questions]
        images = [image_key(item) for item in asked]
        self.record.expect(
            item_keys(asked),
            groups=images,
            tasks=[item.dataset for item in asked],
            answers=[item.answers[0] if item.answers else "" for item in asked],
        )
        if also is not None:
            also.expect(images)
        self.model(**answerer.inputs(questions), logits_to_keep=1)
        self.asked += asked
        return [None] * len(asked)
