"""Verdicts given before, by a chat judge or by people, replayed from a file."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from vlm.judges.verdict import Judge, JudgeRequest, Verdict, failed

Case = tuple[str, tuple[str, ...], str]


def recorded(path: str | Path) -> Judge:
    """A judge that looks verdicts up.

    Parameters
    ----------
    path : str or Path
        One JSON object per line with "question", "references" (list), "prediction" and "score" in [0, 1]; "raw"
        and other fields may be there. The cache file of a chat judge is such a file.

    Returns
    -------
    function
        Requests to verdicts; a case that the file does not have is a failure.

    Raises
    ------
    FileNotFoundError
        No such file.
    ValueError
        A line is no such object, or two lines judge one case differently.
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"judge: no file of verdicts at {path}; expected JSON lines, as a chat judge's cache")
    known: dict[Case, Verdict] = {}
    for number, line in _lines(path):
        case, verdict = _read(line, f"line {number} of {path}")
        if known.setdefault(case, verdict).score != verdict.score:
            raise ValueError(
                f"judge: line {number} of {path} gives {verdict.score}, an earlier one {known[case].score} for the "
                "same question, references and prediction; keep one of them"
            )

    def look_up(request: JudgeRequest) -> Verdict:
        case = (request.question, tuple(request.references), request.prediction)
        return known.get(case) or failed("recorded", f"{path.name} has no verdict on this prediction")

    return lambda requests: [look_up(request) for request in requests]


def _lines(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Objects with their line numbers; a last line that a crash cut off is left out."""
    with path.open("rb") as file:
        for number, piece in enumerate(file, 1):
            try:
                value = json.loads(piece)
            except ValueError:
                value = None
            if isinstance(value, dict):
                yield number, value
            elif piece.endswith(b"\n"):
                raise ValueError(f"judge: line {number} of {path} is no JSON object; expected one verdict per line")


def _read(line: dict[str, Any], where: str) -> tuple[Case, Verdict]:
    question, prediction, raw = line.get("question"), line.get("prediction"), line.get("raw", "")
    references, score = line.get("references"), line.get("score")
    texts = [question, prediction, raw, *(references if isinstance(references, list) else [None])]
    number = isinstance(score, (int, float)) and not isinstance(score, bool) and 0 <= score <= 1
    if not number or not all(isinstance(text, str) for text in texts):
        raise ValueError(
            f'judge: {where}: expected "question", "references" (a list of texts), "prediction" and "score" in [0, 1], '
            f"got {sorted(line)} with score {score!r}"
        )
    case = (line["question"], tuple(line["references"]), line["prediction"])
    return case, Verdict(float(line["score"]), "ok", "recorded", str(raw), "")
