"""OCRBench: a reference must be contained in the prediction."""

from __future__ import annotations

from collections.abc import Sequence

from vlm.scoring.unicode_folding import folded_width


def contains_match(prediction: str, references: Sequence[str], *, subset: str = "") -> float:
    """1 if the prediction contains a reference, else 0; the benchmark's score is the sum over 1,000 items.

    Both sides are compared in lower case and stripped, with line breaks as spaces and full-width letters as ASCII. For
    the formulas of the subset HME100k all spaces and line breaks are removed and the case is kept, since ``x`` and
    ``X`` are different variables.

    Parameters
    ----------
    prediction : str
    references : sequence of str
    subset : str
        The item's column `dataset`.

    Examples
    --------
    >>> contains_match("The sign says STOP.", ["stop"])
    1.0
    >>> contains_match("Y = X", ["y = x"], subset="HME100k")
    0.0
    """

    def plain(text: str) -> str:
        if subset == "HME100k":
            return text.strip().replace("\n", " ").replace(" ", "")
        return folded_width(text).lower().strip().replace("\n", " ")

    answer = plain(prediction)
    # Every text contains an empty reference, so it is not evidence of a right answer.
    return float(any(reference in answer for reference in map(plain, references) if reference))
