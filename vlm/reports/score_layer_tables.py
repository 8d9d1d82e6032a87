"""Layers of scores beside the first ones: accuracy by both rules, and how many scores differ."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from vlm.experiments.run_directory import StoredRun, stored_run
from vlm.reports.accuracy_table import summary
from vlm.reports.answer_columns import AnswerColumns, Answers, SetColumns
from vlm.reports.merged_records import layer_content, layer_records
from vlm.reports.table_formats import with_interval
from vlm.table import Table


@dataclass(frozen=True, eq=False)
class ScoreLayer:
    """A run's answers scored again.

    Attributes
    ----------
    name : str
        Folder of the layer in RUN/scores.
    rule : str
        Protocol, scorer and judge.
    table : Table
        data, plan, accuracy (of the run), accuracy again, scores that differ.
    note : str
        What a reader must know of the layer; "" where there is nothing.
    """

    name: str
    rule: str
    table: Table
    note: str = ""


def score_layers(run: Path, answers: AnswerColumns, first: Table, *, confidence: float) -> list[ScoreLayer]:
    """The layers in a run's directory, by name, each read by itself.

    Parameters
    ----------
    answers : AnswerColumns
        Of the run.
    first : Table
        Their summary by data set.
    """
    folders = [path.parent for path in sorted((run / "scores").glob("*/layer.json"))]
    stored = stored_run(run) if folders else None
    return [_layer(stored, folder, answers, first, confidence) for folder in folders if stored is not None]


def _layer(run: StoredRun, folder: Path, answers: AnswerColumns, first: Table, confidence: float) -> ScoreLayer:
    content = layer_content(run, folder)
    scorer = content["scorer"] or content["scorers"]
    rule = f"protocol {content['protocol']}, scorers {scorer}, judge {content['judge']}"
    again = AnswerColumns.of(layer_records(run, folder))
    table = summary(again, confidence=confidence)
    before = {_key(row): row for row in first.rows()}
    rows: list[dict[str, object]] = []
    absent = 0
    for row in table.rows():
        old = before.get(_key(row))
        if old is None:
            absent += 1
            continue
        key = row["model"], row["group"], row["dataset"]
        differ, of = _differing(answers.sets[key], again.sets[key], row["plan"])
        rows.append(
            {
                "data": row["dataset"],
                "plan": row["plan"],
                "accuracy": with_interval(*(old[f"accuracy{end}"] for end in ("", "_low", "_high"))),
                "accuracy again": with_interval(*(row[f"accuracy{end}"] for end in ("", "_low", "_high"))),
                "scores that differ": f"{differ}/{of}",
            }
        )
    missing = len(first) - len(rows)
    notes = [
        f"{missing} data sets and plans of the run are not in this layer; score again to add them." if missing else "",
        f"{absent} of this layer are no longer in the run." if absent else "",
    ]
    names = ("data", "plan", "accuracy", "accuracy again", "scores that differ")
    shown = Table.from_rows(rows) if rows else Table({name: np.array([], dtype=str) for name in names})
    return ScoreLayer(folder.name, rule, shown, " ".join(filter(None, notes)))


def _key(row: Mapping[str, Any]) -> tuple[str, ...]:
    return row["model"], row["group"], row["dataset"], row["plan"]


def _differing(first: SetColumns, second: SetColumns, plan: str) -> tuple[int, int]:
    """Of the items with a score in either, how many have another score, or none, in the other."""
    sides = [Answers.of(side, plan) for side in (first, second)]
    scores = [
        {} if side is None else dict(zip(np.array(sorted(columns.items))[side.item].tolist(), side.score, strict=True))
        for side, columns in zip(sides, (first, second), strict=True)
    ]
    pairs = [(scores[0].get(name, np.nan), scores[1].get(name, np.nan)) for name in scores[0].keys() | scores[1].keys()]
    some = [(a, b) for a, b in pairs if not (np.isnan(a) and np.isnan(b))]
    return sum(a != b for a, b in some), len(some)
