"""Replays verdicts that a chat judge or people gave earlier, from a file."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path

from vlm.judges.verdict import Judge, JudgeRequest, Verdict, failed

Case = tuple[str, tuple[str, ...], str]


def recorded(path: str | Path) -> Judge:
    """Make a judge that looks up recorded verdicts.

    Parameters
    ----------
    path : str or Path
        One JSON object per line with "question", "references" (list), "prediction" and "score" in [0, 1]; "raw"
        and other fields are allowed. The cache file of a chat judge is such a file.

    Returns
    -------
    Judge
        A function from requests to verdicts; a case that is not in the file is a failure.

    Raises
    ------
    FileNotFoundError
        The file does not exist.
    ValueError
        A line is not such an object, or two lines judge one case differently.

    See Also
    --------
    chat : Its cache file can be looked up in this way.
    from_name : Make a judge from its name on the command line.

    Examples
    --------
    >>> import json, pathlib, tempfile
    >>> from vlm.judges import JudgeRequest, recorded
    >>> line = {"question": "What is it?", "references": ["cup"], "prediction": "A mug.", "score": 1.0}
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     path = pathlib.Path(folder, "people.jsonl")
    ...     _ = path.write_text(json.dumps(line))
    ...     judge = recorded(path)
    >>> judge([JudgeRequest("gqa", "1", "What is it?", ("cup",), "A mug.", "exact")])
    [Verdict(score=1, status=ok, source=recorded, raw='', reason='')]
    """
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"judge: no file of verdicts at {path}; expected JSON lines as in a chat judge's cache")
    verdicts: dict[Case, Verdict] = {}
    for number, line in _lines(path):
        case, verdict = _read(line, f"line {number} of {path}")
        if verdicts.setdefault(case, verdict).score != verdict.score:
            raise ValueError(
                f"judge: line {number} of {path} gives {verdict.score}, an earlier one {verdicts[case].score} for the "
                "same question, references and prediction; keep one of them"
            )

    def look_up(request: JudgeRequest) -> Verdict:
        case = (request.question, tuple(request.references), request.prediction)
        return verdicts.get(case) or failed("recorded", f"{path.name} has no verdict on this prediction")

    return lambda requests: [look_up(request) for request in requests]


def _lines(path: Path) -> Iterator[tuple[int, dict[str, object]]]:
    """The objects with their line numbers, without a last line that a crash cut off."""
    with path.open("rb") as file:
        for number, piece in enumerate(file, 1):
            try:
                value = json.loads(piece)
            except ValueError:
                value = None
            if isinstance(value, dict):
                yield number, value
            elif piece.endswith(b"\n"):
                raise ValueError(f"judge: line {number} of {path} is not a JSON object; expected one verdict per line")


def _read(line: Mapping[str, object], where: str) -> tuple[Case, Verdict]:
    question, prediction, raw = line.get("question"), line.get("prediction"), line.get("raw", "")
    references, score = line.get("references"), line.get("score")
    if (
        isinstance(question, str)
        and isinstance(prediction, str)
        and isinstance(raw, str)
        and isinstance(references, list)
        and all(isinstance(reference, str) for reference in references)
        and isinstance(score, (int, float))
        and not isinstance(score, bool)
        and 0 <= score <= 1
    ):
        return (question, tuple(references), prediction), Verdict(float(score), "ok", "recorded", raw, "")
    raise ValueError(
        f'judge: {where}: expected "question", "references" (a list of texts), "prediction" and "score" in [0, 1], '
        f"got {sorted(line)} with score {score!r}"
    )
