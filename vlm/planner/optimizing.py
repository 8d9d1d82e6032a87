"""From a model, items and a promise to the cheapest plan that keeps it."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np

from vlm.evaluation.answering import Answerer
from vlm.evaluation.protocols import PROTOCOLS
from vlm.item import Failure, Item
from vlm.measure.damage_record import Damage
from vlm.models.families import anatomy
from vlm.models.types import Model, Processor
from vlm.models.weights_fingerprint import weights_fingerprint
from vlm.planner.answered_questions import AnsweredQuestion, Loss, QuestionList, answered, generating
from vlm.planner.best_plan import BestPlan, ChangedAnswer
from vlm.planner.certification import Stopping, Tested, certification
from vlm.planner.cost_objective import OBJECTIVES, CostModel, Objective, Seconds, calibrated, seconds_now, timed
from vlm.planner.evidence import BudgetSpent, Evidence
from vlm.planner.frontier import Scored, thinned
from vlm.planner.image_split import data_hash, split_images
from vlm.planner.joint_search import Prior, Search, SearchSettings
from vlm.planner.kept_measurements import kept_measurements
from vlm.planner.layer_actions import ACTIONS, Action, checked_actions
from vlm.planner.progress import Progress
from vlm.planner.promise import Promise, sample_sizes
from vlm.planner.seed_plans import Seed, allowed, method_seeds, prior_of, shape_seeds
from vlm.planner.wishes import say_wish, wish_outcome
from vlm.planner.written_plan import plan_file
from vlm.plans.plan import SkipPlan
from vlm.table import Table

_PROMPTS_OF_METHODS = 16
_SHOWN_CHANGES = 24
# Share of a budget for new plans; the rest shows more questions to the best of them.
_EXPLORING = 0.65


def optimize(
    model: Model,
    processor: Processor,
    items: Iterable[Item | Failure],
    *,
    max_loss: float = 0.01,
    confidence: float = 0.95,
    loss: Loss = "disagreement",
    kl_limit: float = 1.0,
    actions: Sequence[str] = ACTIONS[1:],
    fractions: Sequence[float] = (0.5,),
    objective: Objective = "operations",
    at_least_faster: float | None = None,
    answer_length: float | None = None,
    search_images: int | None = None,
    protocol: str = "skip-it",
    max_new_tokens: int | None = None,
    batch_size: int = 8,
    prior: Prior | Damage | None = None,
    forwards: int | None = None,
    minutes: float | None = None,
    candidates: int = 20,
    stopping: Stopping = "fixed",
    seed: int = 0,
    out: str | Path | None = None,
    progress: bool = False,
    say: Callable[[str], None] | None = None,
) -> BestPlan:
    """Find the cheapest plan whose expected loss is at most `max_loss` with a given confidence.

    The full model answers every question once. Some of the images serve a search for cheap joint plans, the others
    certify: a short list of candidates, fixed before, is tested on them in one sequence, mildest first. So the promise
    holds whatever the search did.

    Parameters
    ----------
    model, processor
        As `vlm.load` returns them.
    items : iterable of Item or Failure
        Questions from `vlm.datasets.read`, or your own; labels are needed for ``loss="accuracy"`` only.
    max_loss : float
        Largest expected loss on a new image, above 0: a share of questions or a fall of accuracy, below 1, or nats,
        below `kl_limit`.
    confidence : float
        In (0, 1): probability that the plan keeps the promise, over the draw of the certification images.
    loss : {"disagreement", "accuracy", "kl"}
        "disagreement": the greedy answer differs from the full model's. "accuracy": score of the full model minus score
        of the plan. "kl": mean KL(full || plan) over the answer's positions, clipped.
    kl_limit : float
        Where KL is clipped, nats, above 0.
    actions : sequence of str
        What layers may do: "freeze", "remove" (image tokens), "drop-attention", "drop-mlp", "drop" (all tokens).
    fractions : sequence of float
        Shares of the image tokens, in (0, 1), that prunings may leave; empty for no pruning.
    objective : {"operations", "prefill", "cache", "time"}
        What is made cheap: decoder operations of the prompt, measured seconds of the prompt, bytes of the cache, or
        measured seconds of the whole answer.
    at_least_faster : float, optional
        A wish in (0, 1): save at least this share of the objective. If no plan can, or none is certified, the result
        says so.
    answer_length : float, optional
        Tokens of an answer for the objective "time"; by default the mean of the full model's answers.
    search_images : int, optional
        Images for the search; by default a fifth, at least 16 and at most 256, but never more than half.
    protocol : str
        Wording of the prompts: "skip-it" or "lmms-eval". Answers are always generated.
    max_new_tokens : int, optional
        Limit of the answers; by default the protocol's.
    batch_size : int
        Questions per forward.
    prior : Damage or mapping of (layer, action) -> float, optional
        Damage of single actions, from `vlm.damage` or in nats: orders the search, never decides. Measured if not given.
    forwards : int, optional
    minutes : float, optional
        Budget of the search, in question-forwards or minutes.
    candidates : int
        Plans that are tested at most, at least 1.
    stopping : {"fixed", "anytime"}
        "anytime" lets easy plans stop early, at the price of a somewhat wider limit.
    seed : int
        Divides the images.
    out : str or Path, optional
        Folder: everything measured is kept in ``out/optimize-DIGEST``, and the same call continues after a kill.
    progress : bool
        Show a bar with the best plan so far.
    say : function, optional
        Receives what is said on the way, line by line.

    Returns
    -------
    BestPlan
        Its ``plan`` is empty if no cheaper plan could be certified.

    Raises
    ------
    ValueError
        A promise that these images cannot show, unlabelled items with ``loss="accuracy"``, arguments out of range.
    RuntimeError
        Another process works in the same folder; a question that does not fit into memory.

    See Also
    --------
    vlm.apply, vlm.skipping : Use the plan.
    bounds.images_needed : How many images a promise needs.

    Notes
    -----
    Fixed-sequence testing of joint plans by betting, or by the exact limit of Clopper and Pearson where every image has
    one question that agrees or not (theory, sections 9.1 and 9.2). Disagreement bounds the change of
    any 0-1 score that depends on the answer only (theory, section 16.4).

    References
    ----------
    Theory, sections 9.1 and 9.2 (docs/explanation/theory); Waudby-Smith and Ramdas (2024), *Estimating means of
    bounded random variables by betting*, arXiv:2010.09686.

    Examples
    --------
    >>> import vlm
    >>> from vlm.datasets import read
    >>> model, processor = vlm.load("tiny")
    >>> best = vlm.optimize(
    ...     model, processor, read("tiny", limit=600), max_loss=0.1, actions=["freeze"], fractions=[], batch_size=32,
    ...     forwards=600,
    ... )
    >>> best.file.limit <= 0.1, best.cost < 1
    (True, True)
    """
    promise = Promise(max_loss, confidence, loss, kl_limit)
    allowed_actions = checked_actions(actions)
    _check(fractions, objective, at_least_faster, answer_length, batch_size, candidates, forwards, minutes)
    if protocol not in PROTOCOLS:
        raise ValueError(f"protocol: expected one of {', '.join(PROTOCOLS)}, got {protocol!r}")
    given = list(items)
    usable = [item for item in given if isinstance(item, Item)]
    failures = [item for item in given if isinstance(item, Failure)]
    promise.check_labels(usable)
    split = split_images(usable, search_images, seed)
    # By the design of the data, so known before any loss is: one question per image, and a loss of 0 or 1.
    single = len(split.certification) == split.certification_images
    promise = replace(promise, binary=single and loss == "disagreement" and stopping == "fixed")
    promise.check_images(split.certification_images)
    messages: list[str] = []

    def tell(text: str) -> None:
        messages.append(text)
        if say is not None:
            say(text)

    tell(sample_sizes(promise, split.certification_images, ()))
    answerer = Answerer(model, processor, generating(PROTOCOLS[protocol], max_new_tokens), 0)
    weights = weights_fingerprint(model)
    settings = {
        "weights": weights,
        "search": data_hash(split.search),
        "certification": data_hash(split.certification),
        "protocol": f"{protocol} {answerer.protocol.version}",
        "max_new_tokens": "protocol" if max_new_tokens is None else str(max_new_tokens),
        "batch_size": str(batch_size),
        "loss": loss,
        "kl_limit": f"{kl_limit:g}",
        "dtype": str(model.dtype).removeprefix("torch."),
    }
    with kept_measurements(out, settings) as (folder, known, log), Progress(progress) as bar:
        keep = None if log is None else log.append
        prepared: dict[str, QuestionList] = {}
        for pool, chosen in (("search", split.search), ("certification", split.certification)):
            bar.stage(f"answers ({pool})", len(chosen))
            stored = {r["item"]: r for r in known if r.get("kind") == "answer" and r.get("pool") == pool}
            questions, refused = answered(
                answerer, chosen, pool, batch_size=batch_size, known=stored, keep=keep, done=bar.advance
            )
            failures += refused
            prepared[pool] = QuestionList(
                answerer, questions, batch_size, loss, kl_limit, with_kl=pool == "search", done=bar.advance
            )
        if not prepared["search"].questions or not prepared["certification"].questions:
            raise ValueError(f"items: expected questions that the model can answer, got none; {failures[0].reason}")
        images = int(prepared["certification"].groups.max()) + 1
        promise.check_images(images)
        costs = _costs(model, prepared["search"], objective, answer_length, allowed_actions, progress)
        say_wish(costs, allowed_actions, at_least_faster, tell)
        started = seconds_now()

        def spent(count: int) -> None:
            share = 1.0 if search.refining else _EXPLORING
            if forwards is not None and count >= share * forwards:
                raise BudgetSpent
            if minutes is not None and seconds_now() - started >= share * 60 * minutes:
                raise BudgetSpent

        evidence = Evidence(
            prepared["search"].measure,
            len(prepared["search"].questions),
            "search",
            known=known,
            keep=keep,
            spent=spent,
            done=bar.advance,
        )
        depth = anatomy(model).depth
        search = Search(
            evidence,
            costs,
            depth,
            SearchSettings(allowed_actions, tuple(fractions), max_loss, children=_children(forwards)),
            prior=prior_of(prior) if isinstance(prior, Damage) else dict(prior or {}),
            say=lambda plans: bar.best(plans, max_loss),
            expect=bar.round,
        )
        named = _seeds(model, prepared["search"], depth, allowed_actions, fractions, progress)
        seeds = allowed(named, allowed_actions, fractions, depth)
        bar.search(forwards, minutes, lambda: seconds_now() - started)
        found = search.run(seeds)
        chain = candidate_plans(found, max_loss, candidates)
        tell(
            f"search: {len(search.all()):,} plans in {evidence.forwards:,} question-forwards"
            + ("" if search.complete else ", stopped by its budget")
            + f"; {len(chain)} candidates"
        )
        tell(sample_sizes(promise, images, [s.loss for s in chain[-1:]]))
        certifying = Evidence(
            prepared["certification"].measure,
            len(prepared["certification"].questions),
            "certification",
            known=known,
            keep=keep,
            done=bar.advance,
        )
        asked = len(prepared["certification"].questions)
        bar.stage("certification, at most", len(chain) * asked)
        verdicts = itertools.count(1)
        tested = certification(
            chain,
            certifying,
            prepared["certification"].groups,
            max_loss=max_loss,
            alpha=promise.alpha,
            support=promise.support,
            stopping=stopping,
            binary=promise.binary,
            say=lambda test: bar.certified(test.certified, test.candidate.cost, next(verdicts) * asked),
        )
        certified = [test for test in tested if test.certified]
        if not certified:
            tell(_failure(promise, tested, images))
        best = min(certified, key=lambda test: test.candidate.cost, default=None)
        data = f"{_names(split.certification)}, hash {settings['certification']}"
        seconds = _timed(model, prepared["search"], best, progress) if objective in ("prefill", "time") else []
        file = plan_file(model, promise, best, costs, prepared["certification"], settings, data, weights, seed, seconds)
        cost = 1.0 if best is None else best.candidate.cost
        if seconds:
            length = 1.0 if objective == "prefill" else costs.answer_length
            cost = seconds[1].total(length) / seconds[0].total(length)
        if at_least_faster is not None:
            tell(wish_outcome(at_least_faster, cost, objective, seconds))
        result = BestPlan(
            file=file,
            cost=cost,
            objective=objective,
            tested=tuple(tested),
            frontier=tuple(found),
            tried=tuple(search.all()),
            damages=_damages(search.prior),
            changed=tuple(_changed(prepared["certification"], certifying, best)),
            forwards={
                "answers": sum(len(q.questions) for q in prepared.values()),
                "search": evidence.forwards,
                "certification": certifying.forwards,
            },
            messages=tuple(messages),
            failures=tuple(failures),
            folder=folder,
        )
        if folder is not None:
            result.save(folder / "plan.json")
    return result


def candidate_plans(found: Sequence[Scored], max_loss: float, number: int) -> list[Scored]:
    """The frontier's plans that the search saw within the promise, thinned, mildest first; never the full model."""
    return thinned([s for s in found if s.plan and s.loss <= max_loss], number)


def _check(
    fractions: Sequence[float],
    objective: str,
    at_least_faster: float | None,
    answer_length: float | None,
    batch_size: int,
    candidates: int,
    forwards: int | None,
    minutes: float | None,
) -> None:
    if any(not 0 < f < 1 for f in fractions):
        raise ValueError(f"fractions: expected shares between 0 and 1, got {list(fractions)}")
    if objective not in OBJECTIVES:
        raise ValueError(f"objective: expected one of {', '.join(OBJECTIVES)}, got {objective!r}")
    if at_least_faster is not None and not 0 < at_least_faster < 1:
        raise ValueError(f"at_least_faster: expected a share between 0 and 1, got {at_least_faster}")
    if answer_length is not None and not answer_length >= 1:
        raise ValueError(f"answer_length: expected at least 1 token, got {answer_length}")
    for name, value in (("batch_size", batch_size), ("candidates", candidates), ("forwards", forwards)):
        if value is not None and value < 1:
            raise ValueError(f"{name}: expected a whole number >= 1, got {value}")
    if minutes is not None and not minutes > 0:
        raise ValueError(f"minutes: expected more than 0, got {minutes}")


def _children(forwards: int | None) -> int:
    """Plans of a round: fewer under a small budget, so that there are as many rounds as a plan has layers to change."""
    return 96 if forwards is None else min(max(forwards // 250, 16), 96)


def _costs(
    model: Model,
    questions: QuestionList,
    objective: Objective,
    answer_length: float | None,
    actions: Sequence[Action],
    progress: bool,
) -> CostModel:
    vision, text, length = questions.tokens()
    costs = CostModel(model, objective, vision, text, length if answer_length is None else answer_length)
    if objective in ("operations", "cache"):
        return costs
    time_plans = partial(timed, progress=progress)
    return calibrated(costs, questions.prompts(8), dict.fromkeys((*actions, "remove", "drop")), time_plans=time_plans)


def _seeds(
    model: Model,
    questions: QuestionList,
    depth: int,
    actions: Sequence[Action],
    fractions: Sequence[float],
    progress: bool,
) -> Iterator[Seed]:
    yield from method_seeds(
        model,
        questions.prompt_batches(_PROMPTS_OF_METHODS),
        groups=questions.groups[: min(_PROMPTS_OF_METHODS, len(questions.questions))].tolist(),
        progress=progress,
    )
    yield from shape_seeds(depth, actions, fractions)


def _failure(promise: Promise, tested: Sequence[Tested], images: int) -> str:
    if not tested:
        return (
            f"no plan cheaper than the full model was seen within {promise.max_loss:g} on the search's questions, so "
            "there is nothing to certify; allow more actions, a larger budget or a larger loss. The result is the full "
            "model"
        )
    first = tested[0]
    return (
        f"not even the mildest candidate was certified: {first.candidate.plan} lost {first.loss:.3g} on "
        f"{first.images:,} images, limit {first.limit:.3g}. "
        + sample_sizes(promise, images, [first.candidate.loss, first.loss])
        + ". The result is the full model"
    )


def _timed(model: Model, questions: QuestionList, best: Tested | None, progress: bool) -> list[Seconds]:
    plan = SkipPlan() if best is None else best.candidate.plan
    return timed(model, questions.prompts(8), [SkipPlan(), plan], progress=progress)


def _names(items: Sequence[Item]) -> str:
    return " + ".join(dict.fromkeys(item.dataset for item in items))


def _damages(prior: Mapping[tuple[int, str], float]) -> Table:
    return Table.from_rows(
        [{"layer": layer, "action": action, "kl": kl} for (layer, action), kl in sorted(prior.items())]
    )


def _changed(questions: QuestionList, evidence: Evidence, best: Tested | None) -> Iterator[ChangedAnswer]:
    """The first questions whose answers the certified plan changes."""
    if best is None:
        return
    count = evidence.count(best.candidate.plan)
    differing = np.flatnonzero(~evidence.on(best.candidate.plan, count).same)[:_SHOWN_CHANGES].tolist()
    for place, text in zip(differing, questions.answers_under(best.candidate.plan, differing), strict=True):
        asked: AnsweredQuestion = questions.questions[place]
        yield ChangedAnswer(asked.item, asked.text, text)
