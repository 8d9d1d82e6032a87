"""The check on the user's own model: everything passes on a sound model, and a planted error shows."""

from __future__ import annotations

import json

import pytest

import vlm
from vlm import check
from vlm.__main__ import main
from vlm.engine import token_roles
from vlm.evaluation import self_check


def test_the_command_prints_one_page_and_its_status(tmp_path, capsys):
    page = tmp_path / "check.json"
    assert main(["check", "--plan", "vision:8-/mlp:2-3", "--rounds", "1", "--out", str(page)]) == 0
    printed = capsys.readouterr().out
    assert "all checks pass" in printed
    assert "pass    vision:8-/mlp:2-3: against masking" in printed
    found = json.loads(page.read_text())
    assert {item["status"] for item in found["findings"]} == {"pass", "note"}
    with pytest.raises(SystemExit):
        main(["check", "--rounds", "0"])
    assert main(["check", "--dtype", "float3"]) == 1
    assert "--dtype: expected float32" in capsys.readouterr().err


def test_a_planted_error_fails(monkeypatch, capsys):
    model, processor = vlm.load("tiny")
    real = token_roles._present

    def one_too_few(call, step, cache):
        present = real(call, step, cache).clone()
        present[:, 2] = False
        return present

    monkeypatch.setattr(token_roles, "_present", one_too_few)
    result = check(model, processor, "freeze:2-5", rounds=1)
    assert not result.passed
    assert "SOME CHECKS FAILED" in str(result)
    assert [item.status for item in result.findings if item.what == "freeze:2-5: against masking"] == ["FAIL"]


def test_what_the_library_refuses_is_no_failure(monkeypatch):
    model, processor = vlm.load("tiny")

    def refused(*_, **__):
        raise NotImplementedError("not here")

    monkeypatch.setattr(self_check, "attention", refused)
    result = check(model, processor, "vision:8-", rounds=1)
    assert result.passed
    assert [item.found for item in result.findings if item.status == "refused"] == ["not here"]


def test_it_looks_through_wrappers_and_leaves_the_model_in_its_mode():
    import torch

    model, processor = vlm.load("tiny")
    model.train()
    result = check(torch.nn.DataParallel(model), processor, "vision:8-", rounds=1)
    assert result.passed
    assert model.training
    assert repr(result) == "Checkup(11 of 11 pass, 0 refused)"
