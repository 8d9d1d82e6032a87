"""Dispatches a prediction to the scoring rule that a protocol names."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from redundancy.display import Displayed
from vlm.item import Item
from vlm.scoring import mmmu
from vlm.scoring.exact import exact_match, exact_match_of_numbers, plain
from vlm.scoring.mathvision import mathvision_match, read_answer
from vlm.scoring.ocrbench import contains_match
from vlm.scoring.option_letters import letters, listed_letters, listed_options, read_letter
from vlm.scoring.thoughts import Thought, spoken
from vlm.scoring.vqa import normalised, vqa_accuracy

LIMIT = 100_000  # characters; a longer answer is a generation that never ended
_KEPT = 2_000_000  # characters read of an answer with its thoughts, from the end


@dataclass(frozen=True, repr=False)
class Scored(Displayed):
    """A score and the answer it was given for.

    Attributes
    ----------
    value : float
        In [0, 1].
    parsed : str or None
        The answer as the scorer read it. None if it found no answer; then the value is 0, and how often that
        happens should be reported.
    thought : {"none", "ended", "endless"}
        Whether the model thought before it answered. Thoughts are never scored; where they do not end, there is no
        answer.

    See Also
    --------
    vlm.scoring.score : Returns one.

    Examples
    --------
    >>> from vlm.scoring import Scored
    >>> scored = Scored(1.0, "B")
    >>> scored
    Scored(value=1, parsed=B)
    >>> f"{scored:.2f}"
    '1.00'
    """

    value: float
    parsed: str | None
    thought: Thought = field(default="none", repr=False)


def choice_labels(item: Item) -> tuple[str, ...]:
    """Return the letters that a multiple choice is answered with.

    Parameters
    ----------
    item : Item
        Its options and question are read.

    Returns
    -------
    tuple of str
        One letter per option; without options, the letters that the question lists; without these, A to D.

    See Also
    --------
    label_probabilities : Probabilities of these letters as first tokens.
    score : Scores an answer.

    References
    ----------
    Hartman et al. (2025), *Skip-It? Theoretical Conditions for Layer Skipping in Vision-Language Models*,
    arXiv:2509.25584.

    Examples
    --------
    >>> from vlm.item import Item
    >>> from vlm.scoring import choice_labels
    >>> choice_labels(Item("mine", "1", "a.png", "Which colour?", images=(), options=("red", "blue", "green")))
    ('A', 'B', 'C')
    >>> choice_labels(Item("mine", "2", "a.png", "Which colour? A. red B. blue", images=()))
    ('A', 'B')
    """
    return letters(len(item.options)) if item.options else listed_letters(item.question) or letters(4)


def score(item: Item, prediction: str, *, scorer: str) -> Scored:
    """Score a prediction by a benchmark's rule.

    Parameters
    ----------
    item : Item
        Its question, options, answers and details are read.
    prediction : str
        Generated text, or the label that a single forward pass found most probable.
    scorer : str
        A key of ``SCORERS``: "letter", "exact", "vqa", "ocrbench", "mmmu", "realworldqa" or "mathvision". The
        protocol of a data set names it.

    Returns
    -------
    Scored
        Its value is in [0, 1].

    Raises
    ------
    ValueError
        Unknown scorer, an item without references, or fewer references than the rule needs.
    TypeError
        The prediction is not text. A generation that failed is a failure, not an answer.

    See Also
    --------
    choice_labels : The letters of a multiple choice.
    vlm.judges.rule : The same rules as a judge.

    References
    ----------
    Antol et al. (2015), *VQA: visual question answering*, arXiv:1505.00468; Yue et al. (2023), *MMMU*,
    arXiv:2311.16502; Chen et al. (2024), *Are we on the right way for evaluating large vision-language models?*
    (MMStar), arXiv:2403.20330; Wang et al. (2024), *Measuring multimodal mathematical reasoning with MATH-Vision
    dataset*, arXiv:2402.14804; Liu et al. (2023), *OCRBench: on the hidden mystery of OCR in large multimodal
    models*, arXiv:2305.07895.

    Examples
    --------
    >>> from vlm.item import Item
    >>> from vlm.scoring import SCORERS, score
    >>> choice = Item("mine", "1", "a.png", "Which colour?", images=(), options=("red", "blue"), answers=("B",))
    >>> score(choice, "The answer is (B).", scorer="letter")
    Scored(value=1, parsed=B)
    >>> score(choice, "I cannot tell.", scorer="letter")
    Scored(value=0, parsed=None)
    >>> answers = ("stop",) * 8 + ("halt",) * 2
    >>> free = Item("mine", "2", "a.png", "What does the sign say?", images=(), answers=answers)
    >>> round(score(free, "Halt!", scorer="vqa").value, 2)
    0.6
    >>> sorted(SCORERS)
    ['exact', 'letter', 'mathvision', 'mmmu', 'ocrbench', 'realworldqa', 'vqa']
    """
    if scorer not in SCORERS:
        raise ValueError(f"scorer: expected one of {', '.join(SCORERS)}, got {scorer!r}")
    if not isinstance(prediction, str):
        raise TypeError(
            f"prediction: expected text, got {type(prediction).__name__}; list a failed item, do not score it"
        )
    if not item.answers:
        raise ValueError(f"item {item.dataset}/{item.id}: expected at least one reference answer, got none")
    answer, thought = spoken(prediction[-_KEPT:])
    if answer is not None and len(answer) > LIMIT:
        answer = None
    return Scored(0.0, None, thought) if answer is None else replace(SCORERS[scorer](item, answer), thought=thought)


def _scored(value: float, parsed: str | None) -> Scored:
    return Scored(0.0, None) if not parsed else Scored(value, parsed)


def _letter(item: Item, prediction: str) -> Scored:
    parsed = read_letter(prediction, choice_labels(item), item.options)
    return _scored(float(parsed in item.answers), parsed)


def _exact(item: Item, prediction: str) -> Scored:
    return _scored(exact_match(prediction, item.answers), plain(prediction))


def _vqa(item: Item, prediction: str) -> Scored:
    return _scored(vqa_accuracy(prediction, item.answers), normalised(prediction))


def _ocrbench(item: Item, prediction: str) -> Scored:
    subset = item.details.get("dataset", "")
    return _scored(contains_match(prediction, item.answers, subset=subset), prediction.strip())


def _mmmu(item: Item, prediction: str) -> Scored:
    if item.options:
        parsed = mmmu.read_choice(prediction, item.options)
        return _scored(float(parsed in item.answers), parsed)
    parsed = " | ".join(sorted(map(str, mmmu.read_open(prediction)))).strip(" |")
    return _scored(mmmu.open_match(prediction, item.answers), parsed)


def _realworldqa(item: Item, prediction: str) -> Scored:
    options = listed_options(item.question)
    if any(answer in options for answer in item.answers):
        parsed = read_letter(prediction, tuple(options), tuple(options.values()))
        return _scored(float(parsed in item.answers), parsed)
    return _scored(exact_match_of_numbers(prediction, item.answers), plain(prediction))


def _mathvision(item: Item, prediction: str) -> Scored:
    return _scored(mathvision_match(prediction, item.options, item.answers), read_answer(prediction, item.options))


# A change that can alter a score gives a scorer a new version. Runs that name none were scored by version 1.
VERSIONS: Mapping[str, str] = {
    "letter": "4",
    "exact": "4",
    "vqa": "4",
    "ocrbench": "4",
    "mmmu": "4",
    "realworldqa": "4",
    "mathvision": "4",
}

# Each scorer maps an item and an answer without thoughts to a Scored.
SCORERS: Mapping[str, Callable[[Item, str], Scored]] = {
    "letter": _letter,
    "exact": _exact,
    "vqa": _vqa,
    "ocrbench": _ocrbench,
    "mmmu": _mmmu,
    "realworldqa": _realworldqa,
    "mathvision": _mathvision,
}
