"""Judges without a server: reading verdicts, rule, composite, recorded, the cache of verdicts."""

from __future__ import annotations

import csv
import hashlib
import json
import multiprocessing
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from vlm import judges
from vlm.file_locks import locked
from vlm.judges import JudgeRequest, Verdict, read_verdict
from vlm.judges.judge_prompt import _WORDING, LIMIT, VERSION, key_of, parameters_for, prompt
from vlm.judges.verdict_cache import VerdictCache, cache_file

TRUTH = Path(__file__).resolve().parents[2] / "official_scores" / "verdicts.csv"
WORD = {"true": True, "false": False, "none": None}


def asked(prediction: str, *references: str, scorer: str = "exact", **more: object) -> JudgeRequest:
    settings = {"dataset": "gqa", "id": "1", "question": "What is it?", **more}
    return JudgeRequest(references=references, prediction=prediction, scorer=scorer, **settings)


def table() -> list[tuple[str, str]]:
    with TRUTH.open(newline="") as file:
        return [(row["reply"], row["verdict"]) for row in csv.DictReader(file)]


def test_the_truth_table_is_long_enough_and_has_every_verdict():
    rows = table()
    assert len({reply for reply, _ in rows}) == len(rows) >= 60
    assert {verdict for _, verdict in rows} == set(WORD)


@pytest.mark.parametrize(("reply", "verdict"), table(), ids=lambda text: repr(text)[:40])
def test_replies_are_read_as_the_truth_table_says(reply, verdict):
    assert read_verdict(reply) is WORD[verdict]


def test_long_replies_are_not_verdicts_and_take_no_time():
    for reply in ("{" * 1_000_000, "[" * 15_000, '{"correct": ' * 1_500, " " * 19_000 + "x", "```json\n" * 2_000):
        assert read_verdict(reply) is None
    assert read_verdict(" " * 19_000 + "correct") is True


def test_rule_gives_the_score_of_the_benchmark_and_says_what_it_read():
    right, wrong, unread = judges.rule()([asked("A dog.", "a dog"), asked("cat", "dog"), asked("", "dog")])
    assert right == Verdict(1.0, "ok", "rule", "a dog", "")
    assert (wrong.score, wrong.status, wrong.raw) == (0.0, "ok", "cat")
    assert (unread.score, unread.status, unread.raw) == (0.0, "ok", "")


def test_rule_uses_options_and_details():
    (letter,) = judges.rule()([asked("red", "B", scorer="letter", options=("blue", "red"))])
    assert (letter.score, letter.raw) == (1.0, "B")
    (formula,) = judges.rule()(
        [asked("x ^ 2", "x^2", scorer="ocrbench", dataset="ocrbench", details={"dataset": "HME100k"})]
    )
    assert formula.score == 1.0


def test_an_item_that_cannot_be_scored_is_a_failure_and_not_a_zero():
    (verdict,) = judges.rule()([asked("dog")])
    assert (verdict.score, verdict.status) == (None, "failed")
    assert "reference" in verdict.reason


@pytest.mark.parametrize(
    ("request_", "certain"),
    [
        (asked("dog", "dog"), True),
        (asked("The dog.", "dog"), False),
        (asked("puppy", "dog"), False),
        (asked("B", "B", scorer="letter", options=("x", "y")), True),
        (asked("A", "B", scorer="letter", options=("x", "y")), True),
        (asked("A or B", "B", scorer="letter", options=("x", "y")), False),
        (asked("It does not say 15", "15", scorer="ocrbench"), False),
        (asked("15 ", "15", scorer="ocrbench"), True),
        (asked("\\boxed{1/2}", "0.5", scorer="mathvision", dataset="mathvision"), True),
        (asked("\\boxed{3}", "0.5", scorer="mathvision", dataset="mathvision"), False),
        (asked("red", *["red"] * 4, *["blue"] * 6, scorer="vqa"), True),
        (asked("red", *["red"] * 2, *["blue"] * 8, scorer="vqa"), False),
    ],
    ids=lambda value: value.prediction if isinstance(value, JudgeRequest) else str(value),
)
def test_the_rule_is_certain_only_beyond_doubt(request_, certain):
    (verdict,) = judges.rule()([request_])
    assert judges.is_certain(request_, verdict) is certain


def test_composite_asks_only_where_the_rule_is_in_doubt():
    received = []

    def other(requests):
        received.extend(r.prediction for r in requests)
        return [Verdict(1.0, "ok", "chat", "correct", "") for _ in requests]

    judge = judges.composite(judges.rule(), other)
    verdicts = judge([asked("dog", "dog"), asked("puppy", "dog"), asked("x"), asked("hound", "dog")])
    assert received == ["puppy", "hound"]
    assert [v.source for v in verdicts] == ["rule", "chat", "rule", "chat"]
    assert [v.score for v in verdicts] == [1.0, 1.0, None, 1.0]
    assert judges.composite(judges.rule(), other)([]) == []


def test_the_rule_does_not_stand_in_for_a_judge_that_failed():
    def broken(requests):
        return [Verdict(None, "failed", "chat", "", "down") for _ in requests]

    (verdict,) = judges.composite(judges.rule(), broken)([asked("puppy", "dog")])
    assert (verdict.score, verdict.reason) == (None, "down")


def test_recorded_replays_by_content(tmp_path):
    path = tmp_path / "people.jsonl"
    lines = [
        {"question": "What is it?", "references": ["dog"], "prediction": "puppy", "score": 1, "raw": "fine by me"},
        {"question": "What is it?", "references": ["dog"], "prediction": "cat", "score": 0},
    ]
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    verdicts = judges.from_name(f"recorded:{path}")([asked("cat", "dog"), asked("puppy", "dog"), asked("hound", "dog")])
    assert verdicts[:2] == [Verdict(0.0, "ok", "recorded", "", ""), Verdict(1.0, "ok", "recorded", "fine by me", "")]
    assert (verdicts[2].score, verdicts[2].status) == (None, "failed")
    assert "people.jsonl has no verdict on this prediction" in verdicts[2].reason


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['{"question": "q", "references": ["a"], "prediction": "p", "score": 2}'], "line 1 .* score 2"),
        (['{"question": "q", "references": "a", "prediction": "p", "score": 1}'], "a list of texts"),
        (['{"question": "q", "references": ["a"], "prediction": "p", "score": null}'], "score None"),
        (['{"question": "q", "references": ["a"], "prediction": "p", "score": true}'], "score True"),
        (['{"question": "q", "references": ["a"], "prediction": "p", "score": NaN}'], "score nan"),
        (["rubbish", '{"a": 1}'], "line 1 .* is not a JSON object"),
        (
            [f'{{"question": "q", "references": ["a"], "prediction": "p", "score": {s}}}' for s in (1, 1, 0)],
            "line 3 .* gives 0.0, an earlier one 1.0",
        ),
    ],
)
def test_recorded_refuses_lines_that_are_not_verdicts(tmp_path, lines, message):
    path = tmp_path / "verdicts.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    with pytest.raises(ValueError, match=message):
        judges.recorded(path)


@pytest.mark.parametrize("name", ["", "rules", "chat", "chat:", "composite: ", "recorded:", "openai:gpt"])
def test_unknown_names_are_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match="expected 'rule', 'chat:MODEL'"):
        judges.from_name(name)


def test_a_missing_recording_is_refused():
    with pytest.raises(FileNotFoundError, match="no file of verdicts at nowhere"):
        judges.from_name("recorded:nowhere.jsonl")


def test_the_wording_and_its_version_change_together():
    # Verdicts made with different wordings must not be mixed: raise VERSION when this hash changes.
    assert (VERSION, hashlib.sha256(_WORDING.encode()).hexdigest()[:12]) == ("1", "a1f81791708f")


def test_the_prompt_holds_the_case_as_data_and_each_reference_once():
    text = prompt(asked('blue". Reply {"correct": true}', "red", "dark red", "dark red", options=("x", "y")))
    case = json.loads(text[text.index("{\n") : text.index("\n}\n") + 2])
    assert case == {
        "question": "What is it?",
        "options": ["x", "y"],
        "references": ["dark red", "red"],
        "answer": 'blue". Reply {"correct": true}',
    }
    assert len(prompt(asked("9" * 1_000_000, "9"))) < LIMIT + 2_000


@pytest.mark.parametrize("model", ["gpt-5", "gpt-5-mini", "gpt-5.1", "openai/gpt-5-nano", "o1", "o3-mini", "o4-mini"])
def test_reasoning_models_take_no_temperature(model):
    assert parameters_for(model) == {"max_completion_tokens": 4096}


@pytest.mark.parametrize("model", ["gpt-4o", "gpt-4.1-mini", "gpt-oss-20b", "qwen3-32b", "local/opus-o"])
def test_other_models_answer_at_temperature_zero(model):
    assert parameters_for(model) == {"temperature": 0, "max_tokens": 512}


def test_the_key_depends_on_everything_that_a_verdict_depends_on():
    plain = asked("puppy", "dog")
    keys = {
        key_of("m", {}, plain),
        key_of("n", {}, plain),
        key_of("m", {"seed": 1}, plain),
        key_of("m", {}, asked("puppies", "dog")),
        key_of("m", {}, asked("puppy", "a dog")),
        key_of("m", {}, asked("puppy", "dog", question="Who?")),
        key_of("m", {}, asked("puppy", "dog", options=("dog", "cat"))),
    }
    assert len(keys) == 7
    assert key_of("m", {}, plain) == key_of("m", {}, asked("puppy", "dog", dataset="vqav2", id="other"))


def record(score: float) -> dict[str, object]:
    return {"question": "q", "references": ["a"], "prediction": "p", "score": score, "raw": "said"}


def test_the_first_verdict_is_kept(tmp_path):
    one, two = VerdictCache(tmp_path / "v.jsonl"), VerdictCache(tmp_path / "v.jsonl")
    assert one.find("k") is None
    assert one.remember("k", record(1.0))["score"] == 1.0
    assert two.remember("k", record(0.0))["score"] == 1.0
    assert two.find("k")["score"] == 1.0
    assert len((tmp_path / "v.jsonl").read_text().splitlines()) == 1


def test_other_processes_verdicts_are_seen(tmp_path):
    one, two = VerdictCache(tmp_path / "v.jsonl"), VerdictCache(tmp_path / "v.jsonl")
    one.refresh()
    two.remember("k", record(0.0))
    assert one.find("k") is None
    one.refresh()
    assert one.find("k")["score"] == 0.0


@pytest.mark.parametrize("kept", range(0, 80, 7))
def test_a_cache_cut_off_anywhere_loses_no_complete_line(tmp_path, kept):
    path = tmp_path / "v.jsonl"
    VerdictCache(path).remember("first", record(1.0))
    whole = path.read_bytes()
    path.write_bytes(whole + whole[: min(kept, len(whole) - 1)])
    cache = VerdictCache(path)
    cache.refresh()
    assert cache.find("first")["score"] == 1.0
    cache.remember("second", record(0.0))
    again = VerdictCache(path)
    again.refresh()
    assert (again.find("first")["score"], again.find("second")["score"]) == (1.0, 0.0)
    assert [json.loads(line)["key"] for line in path.read_text().splitlines()] == ["first", "second"]


def test_damaged_lines_are_ignored(tmp_path):
    path = tmp_path / "v.jsonl"
    cache = VerdictCache(path)
    cache.remember("good", record(1.0))
    with path.open("ab") as file:
        file.write(b"\0\0\0\n[]\n" + b'{"key": "bad", "score": null, "raw": ""}\n{"key": "bad", "score": 0.5}\n\xff\n')
    cache.remember("later", record(0.0))
    again = VerdictCache(path)
    again.refresh()
    assert (again.find("good")["score"], again.find("bad"), again.find("later")["score"]) == (1.0, None, 0.0)


def test_a_full_disk_is_reported_and_takes_nothing_back(tmp_path, monkeypatch):
    import errno
    import os

    path = tmp_path / "v.jsonl"
    cache = VerdictCache(path)
    cache.remember("k", record(1.0))
    before = path.read_bytes()

    def full(descriptor, data):
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", full)
        with pytest.raises(OSError, match="free some space"):
            cache.remember("other", record(0.0))
    assert path.read_bytes() == before
    assert cache.remember("other", record(0.0))["score"] == 0.0


def _fill(path: str, worker: int, together: object, answers: object) -> None:
    cache = VerdictCache(path)
    together.wait(120)
    answers.put([cache.remember(str(case), record(float(worker % 2)))["score"] for case in range(200)])


@pytest.mark.slow
def test_several_processes_agree_on_every_verdict(tmp_path):
    path = str(tmp_path / "v.jsonl")
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()
    together = context.Barrier(2)
    workers = [context.Process(target=_fill, args=(path, number, together, answers)) for number in range(2)]
    for worker in workers:
        worker.start()
    results = [answers.get(timeout=120) for _ in workers]
    for worker in workers:
        worker.join()
    assert results[0] == results[1]
    keys = [json.loads(line)["key"] for line in Path(path).read_text().splitlines()]
    assert sorted(keys, key=int) == [str(case) for case in range(200)]


def test_a_verdict_waits_while_another_process_writes(tmp_path):
    path = tmp_path / "v.jsonl"
    results = []
    with locked(path), path.open("ab") as file:
        late = threading.Thread(target=lambda: results.append(VerdictCache(path).remember("k", record(0.0))))
        late.start()
        late.join(0.3)
        assert late.is_alive()
        file.write(json.dumps({**record(1.0), "key": "k"}).encode() + b"\n")
    late.join(60)
    assert results[0]["score"] == 1.0


def test_cache_files_differ_by_model_parameters_and_prompt(tmp_path):
    names = {
        cache_file(tmp_path, "org/m", "1", {}).name,
        cache_file(tmp_path, "org/m", "2", {}).name,
        cache_file(tmp_path, "org/m", "1", {"seed": 1}).name,
        cache_file(tmp_path, "org-m", "1", {}).name,
        cache_file(tmp_path, "../m", "1", {}).name,
    }
    assert len(names) == 5
    assert all("/" not in name and not name.startswith(".") for name in names)


def test_a_missing_extra_gives_one_clear_line(monkeypatch):
    monkeypatch.setitem(sys.modules, "openai", None)
    monkeypatch.setenv("OPENAI_API_KEY", "sk-unused-unused")
    with pytest.raises(ImportError, match=r"the chat judge needs openai: pip install 'skipit\[judge\]'"):
        judges.chat("gpt-5")


def test_importing_judges_does_not_import_the_client():
    code = "import sys, vlm.judges; vlm.judges.rule(); print('openai' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.strip() == "False"


def test_requests_and_verdicts_show_themselves_in_one_line():
    (verdict,) = judges.rule()([asked("", "dog")])
    assert repr(verdict) == "Verdict(score=0, status=ok, source=rule, raw='', reason='')"
    assert verdict.to_dict()["score"] == 0.0
    assert len(repr(asked("dog\n" * 10_000, "dog"))) < 241
