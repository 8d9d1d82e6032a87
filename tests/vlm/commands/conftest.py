"""A spec over three data sets, and its measurement and its sweep, each made once."""

from __future__ import annotations

import pytest

from tests.support.command_line import directory
from tests.support.fixture_sets import PLANS, write_spec
from vlm.__main__ import main


@pytest.fixture(scope="session")
def spec(tmp_path_factory):
    return write_spec(tmp_path_factory.mktemp("sets"), items=9, plans=PLANS[:2])


@pytest.fixture(scope="session")
def made(spec, tmp_path_factory):
    """The folder of the measurement and the run, by name."""
    from contextlib import redirect_stdout
    from io import StringIO

    folder, printed = tmp_path_factory.mktemp("runs"), StringIO()
    with redirect_stdout(printed):
        for command in ("measure", "sweep"):
            assert main([command, str(spec), "--out", str(folder), "--quiet"]) == 0
    return {word: directory(printed.getvalue(), word) for word in ("measurement", "run")}
