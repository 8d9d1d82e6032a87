"""`python -m bounds` and `bounds.verify`: output, reproducibility, exit status, and a planted false statement."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

import bounds
from bounds import __main__ as command
from bounds.theorems import catalogue
from bounds.verification import verify as module
from bounds.verification.time_left import bar
from bounds.verification.verify import verify


def test_json_has_the_documented_keys(capsys):
    status = command.main(["verify", "--quick", "--only", "fano", "--json", "--jobs", "1"])
    rows = json.loads(capsys.readouterr().out)
    assert status == 0
    assert len(rows) >= 5
    for row in rows:
        assert list(row) == ["name", "label", "instances", "random", "search", "tight"]
        assert row["instances"] == 60
        assert max(row["random"], row["search"], row["tight"]) <= 1 + 1e-7


def test_table_names_every_statement(capsys):
    assert command.main(["verify", "--quick", "--only", "braun", "--only", "squared_path", "--jobs", "1"]) == 0
    out = capsys.readouterr().out
    assert "braun_pokutta" in out
    assert "squared_path" in out
    assert "2 statements: no counterexample" in out


def test_same_seed_same_numbers_whatever_the_processes():
    chosen = [bounds.functional_from_entropy, bounds.squared_path]
    one = verify(chosen, instances=30, effort=0.05, seed=3, jobs=1)
    assert one == verify(chosen, instances=30, effort=0.05, seed=3, jobs=2)
    # The worlds do not depend on which other statements are checked.
    assert one[:1] == verify(chosen[:1], instances=30, effort=0.05, seed=3, jobs=1)
    assert one != verify(chosen, instances=30, effort=0.05, seed=4, jobs=1)


def test_search_can_be_left_out():
    (verdict,) = verify([bounds.functional_from_entropy_linear], instances=5, effort=0, jobs=1)
    assert verdict.search is None
    assert verdict.tight is None


def test_a_false_statement_is_detected(monkeypatch, capsys):
    true = bounds.functional_from_entropy
    false = replace(true, function=lambda h, b: 0.8 * true(h, b), tight=None, unattained="planted")
    monkeypatch.setattr(module, "THEOREMS", (false,))
    monkeypatch.setattr(catalogue, "THEOREMS", (false,))
    assert command.main(["verify", "--instances", "400", "--jobs", "1"]) == 1
    assert "EXCEEDS 1" in capsys.readouterr().out


def test_the_search_finds_what_random_draws_miss():
    (verdict,) = verify([bounds.functional_from_proximal], instances=40, effort=1.0, jobs=1)
    assert verdict.search > verdict.random + 0.05
    assert verdict.search > 0.95


def test_statements_are_listed_in_latex(capsys):
    assert command.main(["list", "--only", "geometric_from_proximal"]) == 0
    assert r"E\,d(X,Y) \le" in capsys.readouterr().out


@pytest.mark.parametrize("arguments", [["verify", "--only", "nothing"], ["verify", "--instances", "0"], []])
def test_bad_command_lines(arguments):
    with pytest.raises(SystemExit) as stop:
        command.main(arguments)
    assert stop.value.code == 2


def test_bad_arguments_of_verify():
    with pytest.raises(ValueError, match="instances: expected at least 1"):
        verify(instances=0)
    with pytest.raises(ValueError, match="effort"):
        verify(effort=-1.0)


def test_the_progress_bar_fills(monkeypatch, capsys):
    monkeypatch.setattr("sys.stderr.isatty", lambda: True)
    seconds = iter((0.0, 1.0, 60.0, 3000.0, 4000.0))
    told = bar(lambda: next(seconds))
    told(1, 10)
    assert capsys.readouterr().err == ""  # within two seconds
    told(2, 10)
    told(5, 10)
    told(10, 10)
    shown = capsys.readouterr().err.split("\r")[1:]
    assert [" ".join(line.partition("] ")[2].split()) for line in shown] == [
        "2/10 about 4:00 left",
        "5/10 about 50:00 left",
        "10/10",
    ]


def test_verify_is_public_and_takes_what_find_returns():
    verdicts = bounds.verify(bounds.find("Lemma 1"), instances=10, effort=0, jobs=1)
    assert [v.name for v in verdicts] == ["squared_triangle", "squared_path"]
    assert all(isinstance(v, bounds.Verdict) and v.holds for v in verdicts)
    assert "\n" not in repr(verdicts[0])
    with pytest.raises(ValueError, match="jobs: expected at least 1, got 0"):
        bounds.verify(jobs=0)


def test_statements_are_listed_by_label_as_json(capsys):
    assert command.main(["list", "Theorem 4", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out)
    assert [row["name"] for row in rows] == [t.name for t in bounds.find("Theorem 4")]
    assert rows[0]["statement"].startswith("I(X;Y)")


def test_a_wrong_query_is_one_line(capsys):
    with pytest.raises(SystemExit):
        command.main(["list", "Theorem 44"])
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert error.startswith("python -m bounds: error: query: expected part of a name")


@pytest.mark.parametrize("arguments", [["--help"], ["list", "--help"], ["verify", "--help"]])
def test_help_shows_examples(arguments, capsys):
    with pytest.raises(SystemExit) as stop:
        command.main(arguments)
    assert stop.value.code == 0
    assert "examples:\n  python -m bounds " in capsys.readouterr().out


def test_the_version_is_that_of_the_distribution(capsys):
    with pytest.raises(SystemExit):
        command.main(["--version"])
    assert capsys.readouterr().out == f"skipit {bounds.__version__}\n"
