"""A scoring rule. Copy into vlm/scoring/BENCHMARK.py."""

from __future__ import annotations

from collections.abc import Sequence


def first_word_match(prediction: str, references: Sequence[str]) -> tuple[float, str | None]:
    """1 if the first word of the prediction equals a reference, ignoring case.

    Parameters
    ----------
    prediction : str
        What the model said.
    references : sequence of str
        Reference answers, one word each.

    Returns
    -------
    value : float
        In [0, 1].
    parsed : str or None
        What was read; None if nothing could be, and then the value is 0.

    Examples
    --------
    >>> first_word_match("Red, I think", ["red"])
    (1.0, 'red')
    >>> first_word_match("", ["red"])
    (0.0, None)
    """
    words = prediction.lower().replace(",", " ").split()
    if not words:
        return 0.0, None
    return float(words[0] in {reference.lower() for reference in references}), words[0]
