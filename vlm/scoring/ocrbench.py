"""OCRBench: a reference must be contained in the prediction."""

from __future__ import annotations

from collections.abc import Sequence


def contains_match(prediction: str, references: Sequence[str], *, subset: str = "") -> float:
    """1 if any reference is contained in the prediction, else 0; the benchmark's score is the sum over 1,000 items.

    Both sides in lower case, stripped, line breaks as blanks. For the formulas of the sub-set HME100k all blanks
    and line breaks go and the case stays, since ``x`` and ``X`` are different variables.

    Parameters
    ----------
    subset : str
        The item's column `dataset`.
    """

    def plain(text: str) -> str:
        if subset == "HME100k":
            return text.strip().replace("\n", " ").replace(" ", "")
        return text.lower().strip().replace("\n", " ")

    said = plain(prediction)
    # An empty reference is contained in everything, and so says nothing.
    return float(any(wanted in said for wanted in map(plain, references) if wanted))
