"""Whatever may take more than two seconds shows a bar with the time left, where somebody watches."""

from __future__ import annotations

import io
import itertools
import os
import re
import shutil
import sys
from pathlib import Path

import pytest

from vlm.__main__ import main
from vlm.planner.evidence import BudgetSpent, Evidence, Measured
from vlm.planner.joint_search import Search, SearchSettings
from vlm.planner.progress import Progress
from vlm.planner.seed_plans import allowed, shape_seeds
from vlm.progress_bar import by_count, by_stage


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def clock(monkeypatch):
    """Three seconds pass whenever a bar looks at the clock, so that each shows whatever the machine's speed is."""
    seconds = itertools.count(0, 3)
    monkeypatch.setattr("tqdm.std.time", lambda: float(next(seconds)))
    monkeypatch.setattr("tqdm.std.tqdm.monitor_interval", 0)  # no thread that looks at it too


def shown(text):
    """Names of the bars in a terminal's text that had a number of steps and the time left."""
    return set(re.findall(r"([^\r\n|]+?):\s+\d+%\|[^\r\n]*\[(?:\d+:)?\d\d:\d\d<(?:\d+:)?\d\d:\d\d", text))


@pytest.fixture
def bars(clock, monkeypatch):
    """The bars, with a number of steps and the time left, that a command shows after two seconds."""

    def run(*command):
        terminal = Terminal()
        with monkeypatch.context() as patch:
            patch.setattr(sys, "stderr", terminal)
            assert main([str(word) for word in command]) == 0
        return shown(terminal.getvalue())

    return run


def test_commands_that_need_no_model(bars, made, tmp_path):
    pytest.importorskip("matplotlib")
    run, measurement = (shutil.copytree(made[n], tmp_path / Path(made[n]).name) for n in ("run", "measurement"))
    assert bars("merge", run) == {"reading 1-of-1.jsonl", "merging", "reading records.jsonl", "intervals"}
    tables = {"intervals of distances", "intervals of attention"}
    assert bars("merge", measurement) == {"reading 1-of-1.jsonl", "merging", "reading records.jsonl", *tables}
    assert bars("score", run) == {"scoring", "reading 1-of-1.jsonl", "reading records.jsonl", "intervals"}
    assert bars("compare", run) == {"comparing", "reading records.jsonl"}
    drawn = {"drawing", "questions of tiny", "reading records.jsonl", "intervals"}
    assert bars("report", run, "--questions") >= drawn
    assert bars("export", run, "--format", "csv") == {"reading records.jsonl", "intervals"}
    assert bars("plan", measurement) == {"averaging", "reading 1-of-1.jsonl"}


def test_commands_that_run_a_model(bars, spec, made):
    out = made["run"].rsplit("/", 1)[0]
    assert bars("sweep", spec, "--out", out) >= {"comparing tiny", "comparing first", "reading 1-of-1.jsonl"}
    assert bars("sweep", spec, "--out", out, "--dry-run") >= {"counting tiny"}
    assert bars("check", "--plan", "vision:8-", "--rounds", "1") == {"plans", "first calls", "timing"}
    assert bars("exactness", "--family", "llava") == {"families"}


def test_bars_of_records_know_how_many_there_are_of_data_that_are_here(bars, spec, tmp_path):
    """A file of one's own is counted before it is answered, so that the bar of records has the time left."""
    for command in ("sweep", "measure"):
        assert any(
            re.fullmatch(r"(measure-)?[0-9a-f]{12} 1-of-1", name) for name in bars(command, spec, "--out", tmp_path)
        )


def test_nothing_is_shown_in_the_first_two_seconds_and_where_nobody_watches(monkeypatch):
    for terminal, seconds in ((Terminal(), 0.1), (io.StringIO(), 3)):
        passed = itertools.count(0)
        monkeypatch.setattr("tqdm.std.time", lambda: seconds * next(passed))  # noqa: B023
        monkeypatch.setattr(sys, "stderr", terminal)
        assert list(by_count(range(5), 5, "five")) == list(range(5))
        assert not terminal.getvalue().strip()


@pytest.mark.skipif(not hasattr(os, "openpty"), reason="no terminals to be made here")
@pytest.mark.parametrize("size", [(0, 0), (0, 80), (24, 100)])
def test_bars_are_seen_on_a_terminal_that_does_not_say_its_size(clock, monkeypatch, size):
    import termios

    terminal, theirs = os.openpty()
    termios.tcsetwinsize(theirs, size)
    with os.fdopen(theirs, "w") as stream:
        monkeypatch.setattr(sys, "stderr", stream)
        list(by_count(range(3), 3, "three"))
        stream.flush()
        os.set_blocking(terminal, False)
        assert shown(os.read(terminal, 65536).decode()) == {"three"}
    os.close(terminal)


def test_each_stage_has_a_bar_of_its_own(clock, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with by_stage() as told:
        for stage, number in itertools.product(("first", "second"), (1, 2, 3)):
            told(stage, number, 3)
    assert shown(sys.stderr.getvalue()) == {"first", "second"}


DEPTH, SIZE = 6, 64


def searched(bar, forwards=None, minutes=None):
    """A search on known losses behind a bar; what each round was said to take at most, and what it took."""
    rounds = []

    def measure(plan, start, stop):
        bar.advance(stop - start)
        return Measured(*_losses(plan, start, stop))

    def spent(count):
        if forwards is not None and count >= forwards:
            raise BudgetSpent

    def expect(name, most):
        rounds.append((name, most, evidence.forwards))
        bar.round(name, most)

    evidence = Evidence(measure, SIZE, "search", spent=spent, done=bar.advance)
    settings = SearchSettings(("run", "freeze"), max_loss=0.1)
    search = Search(
        evidence,
        lambda plan: 1.0 - 0.05 * len(str(plan)),
        DEPTH,
        settings,
        say=lambda plans: bar.best(plans, 0.1),
        expect=expect,
    )
    bar.search(forwards, minutes, lambda: 6.0 * evidence.forwards)
    search.run(allowed(shape_seeds(DEPTH, settings.actions, ()), settings.actions, (), DEPTH))
    ends = [start for _, _, start in rounds[1:]] + [evidence.forwards]
    return [(name, most, end - start) for (name, most, start), end in zip(rounds, ends, strict=True)]


def _losses(plan, start, stop):
    import numpy as np

    noise = np.random.default_rng(0).exponential(1.0, SIZE)[start:stop]
    kl = 0.02 * len(str(plan)) * noise / 10
    return kl, kl < 0.1, (kl >= 0.1).astype(float)


def test_a_search_says_what_each_round_takes_at_most(clock, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Progress(True) as bar:
        rounds = searched(bar)
    for place, (name, most, _) in enumerate(rounds):  # to the end of the round, not of one of its steps
        rest = itertools.takewhile(lambda other: other[0] == name, rounds[place:])  # noqa: B023
        assert sum(taken for _, _, taken in rest) <= most
    assert {re.sub(r", round \d+| \d+ questions| of at most 8", "", name) for name, _, _ in rounds} == {
        "search 1 of 5, single actions",
        "search 2 of 5, named plans",
        "search 3 of 5, beam",
        "search 4 of 5, local moves",
        "search 5 of 5,",
    }
    names = {name for name, _, taken in rounds if taken}
    assert shown(sys.stderr.getvalue()) == {f"{name}, at most" for name in names}
    assert "best 0." in sys.stderr.getvalue()


@pytest.mark.parametrize("budget", [{"forwards": 300}, {"minutes": 60.0}])
def test_a_search_with_a_budget_says_when_it_is_spent(budget, clock, monkeypatch):
    monkeypatch.setattr(sys, "stderr", Terminal())
    with Progress(True) as bar:
        searched(bar, **budget)
    assert {name.partition(":")[0] for name in shown(sys.stderr.getvalue())} == {"search, at most"}
    assert ("/300 [" if "forwards" in budget else "/3600.0 [") in sys.stderr.getvalue()


def test_calls_that_repeat_many_runs_show_them_on_request(monkeypatch, clock):
    import torch

    from vlm.measure.causal_tracing import Noise, trace
    from vlm.measure.error_propagation import consequences
    from vlm.models.random_batches import batch_for
    from vlm.models.random_models import random_model

    model = random_model()
    batch = batch_for(model, images=(1, 1), after=(3, 6))
    for progress in (False, True):
        monkeypatch.setattr(sys, "stderr", Terminal())
        with torch.no_grad():
            trace(model, batch, Noise(1.0), targets=("vision", "last"), progress=progress)
            consequences(model, [batch] * 3, kinds=("drop",), groups=range(6), progress=progress)
        assert shown(sys.stderr.getvalue()) == ({"restored states", "batches"} if progress else set())
