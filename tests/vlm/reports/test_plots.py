"""Figures say what they need."""

import pytest
from matplotlib.figure import Figure

import vlm
from vlm.table import Table


@pytest.mark.parametrize("kinds", [["late entry"], ["none", "none", "early exit"]])
def test_a_sweep_is_drawn_against_one_model_without_a_plan(kinds):
    rows = [{"kind": kind, "layer": 2, "accuracy": 0.5, "accuracy_low": 0.4, "accuracy_high": 0.6} for kind in kinds]
    with pytest.raises(ValueError, match=f"one row of kind 'none'.*got {kinds.count('none')}"):
        vlm.plot_sweep(Figure().subplots(), Table.from_rows(rows))
