"""Predicted damage beside the losses of a run: table, curve, and the licences of the same number of cells."""

from __future__ import annotations

import numpy as np
import pytest

from tests.support.synthetic_run import DEPTH, measured, records, write_run
from vlm.measure.damage_record import Damage
from vlm.reports import condition_cells, prediction, summary, write
from vlm.reports.calibration_plot import plot_calibration
from vlm.table import Table


@pytest.fixture(scope="module")
def damage():
    """Early layers matter more."""
    shifts = np.zeros((1, 1, DEPTH, 2))
    shifts[0, 0, :, 1] = np.linspace(1.0, 0.1, DEPTH)
    return Damage("surrogate", ("remove",), shifts, np.array([[0.0, -1.0]]), np.ones(1))


def test_as_many_cells_as_the_conditions_license_are_licensed_by_the_least_damage(damage):
    found = prediction(condition_cells(summary(records()), *measured(), damage=damage), tolerance=0.1, resamples=20)
    rows = {row["criterion"]: row for row in found.licences.rows()}
    chosen = rows["least predicted damage, as many cells"]
    count = int(found.cells["met"].sum())
    assert 0 < chosen["licensed"] == count < len(found.cells)
    order = np.argsort(found.cells["damage"].astype(float), kind="stable")[:count]
    assert chosen["worst"] == found.cells["change"][order].min()
    assert chosen["degraded"] == found.cells["degraded"][order].sum()


def test_the_curve_shows_losses_against_damage(damage):
    figure = pytest.importorskip("matplotlib.figure").Figure()
    cells = condition_cells(summary(records()), *measured(), damage=damage)
    found = prediction(cells, tolerance=0.1, resamples=20)
    ax = figure.subplots()
    plot_calibration(ax, found)
    curve, *points = ax.lines
    assert sum(len(line.get_xdata()) for line in points[:2]) == len(found.cells)
    assert (np.diff(curve.get_xdata()) >= 0).all()
    assert curve.get_ydata().max() == pytest.approx(-found.calibration["change"].min())
    without = prediction(condition_cells(summary(records()), *measured()), resamples=20)
    with pytest.raises(ValueError, match="expected cells with a predicted damage, got none"):
        plot_calibration(ax, without)


def test_a_report_with_damage_has_the_curve_its_table_and_a_column(damage, tmp_path):
    pytest.importorskip("matplotlib")
    run, measurement = write_run(tmp_path)
    files = {p.name: p for p in write(run, tmp_path / "out", measurement=measurement, damage=damage)}
    assert {"prediction_damage", "calibration"} <= {name.rpartition(".")[0] for name in files}
    cells = Table.load(files["conditions.csv"])
    assert all(row["damage"] == pytest.approx(damage.of(row["plan"])) for row in cells.rows())
    assert "predicted damage" in set(Table.load(files["ranking.csv"])["predictor"])
    with pytest.raises(ValueError, match="damage: expected a measurement beside it"):
        write(run, tmp_path / "out", damage=damage)
