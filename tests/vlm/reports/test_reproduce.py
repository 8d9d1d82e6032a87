"""The page "Reproduce the paper": its commands parse, its specs are valid, its tables are the shipped numbers."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import numpy as np
import pytest

from vlm import __main__ as command_line
from vlm import published
from vlm.commands.experiment import spec_from
from vlm.datasets import DATASETS
from vlm.reports import markdown, prediction
from vlm.reports.table_formats import MISSING
from vlm.table import Table

PAGE = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "reproduce-the-paper.md"
TEXT = PAGE.read_text(encoding="utf-8")
COMMANDS = [line for line in TEXT.splitlines() if line.startswith("python -m vlm ")]


def cost_table(limit):
    table = published.costs(limit)
    shown = {
        "model": table["model"],
        "plans": table["plans"],
        "items": table["items"],
        "weights": np.array([f"{v:.1f}" for v in table["weights"]]),
        "memory": np.array([f"{v:.1f}" for v in table["memory"]]),
        "operations": np.array([f"{v:.2f}" for v in table["operations_ratio"]]),
        "hours": np.array([f"{v:.0f}" for v in table["hours"]]),
    }
    return markdown(Table(shown))


def published_table(kind):
    table = published.late_entry() if kind == "late entry" else published.early_exit()
    rows = []
    for model, group in dict.fromkeys(zip(table["model"].tolist(), table["group"].tolist(), strict=True)):
        row = {"model": model, "group": group.replace("_", " ")}
        for layer in sorted(set(table["layer"].tolist())):
            found = list(table.where(model=model, group=group, layer=layer).rows())
            close = "" if not found or np.isnan(found[0]["within_vision"]) else f" ({found[0]['within_vision']:.3f})"
            row[str(layer)] = f"{found[0]['accuracy']:.3f}{close}" if found else MISSING
        rows.append(row)
    return markdown(Table.from_rows(rows))


@pytest.fixture
def parsed(monkeypatch, tmp_path):
    """What the real parser makes of a command, with the work left out; specs are really read."""
    (toml,) = re.findall(r"```toml\n(.*?)```", TEXT, flags=re.DOTALL)
    (tmp_path / "paper.toml").write_text(toml)
    monkeypatch.chdir(tmp_path)
    seen = []
    for name in ("experiment._measure", "experiment._sweep", "plan._plan", "merge._merge", "report._report"):
        monkeypatch.setattr(f"vlm.commands.{name}", lambda given: seen.append(given) or 0)

    def parse(command):
        assert command_line.main(shlex.split(command)[3:]) == 0
        return seen[-1]

    return parse


@pytest.mark.parametrize("command", COMMANDS, ids=range(len(COMMANDS)))
def test_commands_parse(command, parsed):
    given = parsed(command)
    if hasattr(given, "spec"):
        spec = spec_from(given)
        assert {choice.name for choice in spec.data} <= {d.name for d in DATASETS} | {"tiny"}


@pytest.mark.parametrize("model", published.MODELS, ids=lambda model: model.name)
def test_every_model_of_the_paper_has_its_plans_and_all_data_sets(model, parsed):
    measure, sweep = (
        spec_from(parsed(c))
        for name in ("measure", "sweep")
        for c in COMMANDS
        if model.hub in c and c.startswith(f"python -m vlm {name} ")
    )
    assert len(sweep.skip_plans()) == len(model.plans())
    assert set(sweep.skip_plans()) == set(model.plans())
    assert all(plan.resolved(model.depth) or not plan for plan in sweep.skip_plans())
    assert [choice.name for choice in sweep.data] == [d.name for d in DATASETS]
    assert measure.measurement == sweep.measurement  # the report finds it beside the run


def test_tables_are_the_shipped_numbers():
    assert published_table("late entry") in TEXT
    assert published_table("early exit") in TEXT


def test_costs_are_what_the_estimate_says():
    assert cost_table(1000) in TEXT
    assert cost_table(None) in TEXT


def test_statistics_are_what_the_example_prints():
    found = [prediction(published.cells().where(kind=kind), tolerance=0.02) for kind in ("late entry", "early exit")]
    for rates in zip(*(one.rates.rows() for one in found), strict=True):
        numbers = " | ".join(
            f"{r['count']} of {r['of']} = {r['value']:.2f} [{r['low']:.2f}, {r['high']:.2f}], "
            f"units [{r['units_low']:.2f}, {r['units_high']:.2f}]"
            for r in rates
        )
        assert f"| {rates[0]['rate']} | {numbers} |" in TEXT
    names = {"Spearman": "Spearman, closeness and change", "Kendall": "Kendall", "AUC": "AUC"}
    for rows in zip(*(one.ranking.rows() for one in found), strict=True):
        name = rows[0]["statistic"]
        sign = "" if name == "AUC" else "+"
        numbers = " | ".join(f"{r['value']:{sign}.2f} [{r['low']:.2f}, {r['high']:.2f}]" for r in rows)
        assert f"| {names[name]} | {numbers} |" in TEXT
