"""The chat judge against a server that is good, slow, busy, broken or strange: what the user sees in each case."""

from __future__ import annotations

import base64
import json
import logging
import re
import subprocess
import sys
import threading
import traceback
from contextlib import ExitStack
from pathlib import Path

import pytest
from PIL import Image

from tests.support.chat_server import KEY, Answer, error, says, serving
from vlm import judges
from vlm.judges import JudgeRequest, Verdict
from vlm.judges.openai_client import Server, UselessServerError, cleaner

pytest.importorskip("openai", reason="the chat judge needs the extra 'judge'")

GOOD = says('{"correct": true}')
HTML = "<!DOCTYPE html><html><body><h1>502 Bad Gateway</h1></body></html>"
DOCS = Path(__file__).resolve().parents[3] / "docs" / "how-to" / "chat-judge.md"


def asked(prediction: str = "puppy", *references: str) -> JudgeRequest:
    return JudgeRequest("gqa", "1", "What is it?", references or ("dog",), prediction, "exact")


@pytest.fixture(autouse=True)
def _environment(monkeypatch):
    for name in ("OPENAI_BASE_URL", "OPENAI_ORG_ID", "OPENAI_PROJECT_ID", "OPENAI_LOG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    # The client waits half a second and more between tries; a test has no time for that.
    monkeypatch.setattr("openai._base_client.INITIAL_RETRY_DELAY", 0.01)


@pytest.fixture
def serve(monkeypatch):
    """Start a server with some answers; the environment points at it."""
    with ExitStack() as stack:

        def start(*answers):
            seen = stack.enter_context(serving(answers))
            monkeypatch.setenv("OPENAI_BASE_URL", seen.url)
            return seen

        yield start


def one(**settings) -> Verdict:
    (verdict,) = judges.chat("gpt-4o", **settings)([asked()])
    return verdict


def test_a_good_server(serve):
    seen = serve(GOOD)
    assert one() == Verdict(1.0, "ok", "chat", '{"correct": true}', "")
    (body,) = seen.bodies
    assert body["path"] == "/v1/chat/completions"
    assert (body["model"], body["temperature"], body["max_tokens"]) == ("gpt-4o", 0, 512)
    assert [message["role"] for message in body["messages"]] == ["user"]
    assert '"puppy"' in body["messages"][0]["content"]
    assert seen.headers[0]["authorization"] == f"Bearer {KEY}"


def test_a_reasoning_model_gets_its_own_parameters(serve):
    seen = serve(says("incorrect"))
    (verdict,) = judges.chat("gpt-5-mini")([asked()])
    assert verdict.score == 0.0
    assert seen.bodies[0]["max_completion_tokens"] == 4096
    assert not {"temperature", "max_tokens"} & set(seen.bodies[0])


def test_parameters_can_be_given(serve):
    seen = serve(GOOD)
    one(parameters={"temperature": 0.5, "seed": 3})
    assert {k: v for k, v in seen.bodies[0].items() if k not in ("messages", "model", "path")} == {
        "temperature": 0.5,
        "seed": 3,
    }


def test_row_13_parameters_that_openai_does_not_know_are_sent_and_those_of_the_request_refused(serve):
    seen = serve(GOOD)
    assert one(parameters={"top_k": 5, "temperature": 0}).score == 1.0
    assert (seen.bodies[0]["top_k"], seen.bodies[0]["temperature"]) == (5, 0)
    for name in ("model", "messages", "stream", "n", "timeout", "extra_headers", "extra_body", "tools"):
        with pytest.raises(ValueError, match=f"judge: expected parameters of the answer, .* got '{name}'"):
            judges.chat("m", parameters={name: 1})


def test_a_slow_server_that_answers_in_time(serve):
    serve(Answer(body=GOOD.body, wait=0.3))
    assert one(timeout=30).score == 1.0


def test_a_server_that_is_too_slow(serve):
    seen = serve(Answer(body=GOOD.body, wait=1.0))
    verdict = one(timeout=0.2, retries=1)
    assert (verdict.score, verdict.status) == (None, "failed")
    assert re.fullmatch(r"no answer from 127\.0\.0\.1:\d+ within 0\.2 s, asked 2 times", verdict.reason)
    assert len(seen.bodies) == 2


def test_a_busy_server_is_retried_after_the_time_it_asks_for(serve):
    seen = serve(error(429, "slow down", headers={"Retry-After": "1"}), GOOD)
    assert one().score == 1.0
    assert seen.times[1] - seen.times[0] >= 1.0


def test_a_server_that_stays_busy(serve):
    seen = serve(error(429, "slow down"))
    verdict = one(retries=2)
    assert (verdict.score, verdict.status) == (None, "failed")
    assert re.fullmatch(r"status 429 from 127\.0\.0\.1:\d+: 'slow down'", verdict.reason)
    assert len(seen.bodies) == 3


def test_a_wait_beyond_two_minutes_is_not_waited_for(serve):
    seen = serve(error(429, "come back tomorrow", headers={"Retry-After": "86400"}))
    assert one().status == "failed"
    assert len(seen.bodies) == 1


def test_a_server_that_stumbles_once(serve):
    serve(Answer(500, "oops", {"Content-Type": "text/plain"}), GOOD)
    assert one().score == 1.0


def test_a_server_that_is_down(serve):
    serve(Answer(503, HTML, {"Content-Type": "text/html"}))
    verdict = one(retries=1)
    assert verdict.score is None
    assert verdict.reason.startswith("status 503")
    assert "502 Bad Gateway" in verdict.reason


def test_a_lost_connection(serve):
    seen = serve(Answer(wait=-0.01))
    verdict = one(retries=1)
    assert verdict.score is None
    assert re.match(r"no connection to 127\.0\.0\.1:\d+: ", verdict.reason)
    assert len(seen.bodies) == 2


def test_no_server_at_the_address(serve, monkeypatch):
    with serving([GOOD]) as seen:
        closed = seen.url
    monkeypatch.setenv("OPENAI_BASE_URL", closed)
    assert one(retries=0).reason.startswith("no connection to 127.0.0.1:")


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (Answer(body=HTML, headers={"Content-Type": "text/html"}), "got an HTML page .*OPENAI_BASE_URL ends in /v1"),
        (Answer(body=HTML), "got an HTML page"),
        (Answer(body="OK"), "got text that is not JSON"),
        (Answer(body=""), "got text that is not JSON"),
        (Answer(body=GOOD.body[:60]), "got text that is not JSON"),
        (Answer(body="[" * 100_000), "got text that is not JSON"),
        (Answer(body='{"choices": []}'), "expected one choice in the reply, got none"),
        (Answer(body='{"choices": null}'), "expected one choice"),
        (Answer(body='{"choices": "x"}'), "expected one choice"),
        (Answer(body='{"choices": [null]}'), "expected text in the reply, got none"),
        (Answer(body='{"choices": [{"message": null}]}'), "expected text in the reply, got none"),
        (Answer(body='["correct"]'), "expected one choice"),
        (Answer(body='{"error": {"message": "overloaded", "code": 529}}'), "the server reports: 'overloaded'"),
        (Answer(body='{"error": "overloaded"}'), "the server reports: 'overloaded'"),
        (says(None), "expected text in the reply, got none"),
        (says(""), "expected text in the reply, got none"),
        (says(["correct"]), "expected text in the reply, got .*correct"),
        (says(None, refusal="I can't help."), "the judge refused: .*I can't help"),
        (says(None, finish_reason="length"), "used up its tokens"),
        (says(None, finish_reason="content_filter"), "content filter"),
        (says('{"verdict": true}'), 'expected {"correct": true} or {"correct": false}, got .*verdict'),
        (says("Score: 0/1"), "got 'Score: 0/1'"),
        (says("I'm sorry, but I can't assist with that."), "got .*sorry"),
        (says('{"correct": tr', finish_reason="length"), "got .*correct"),
        (error(400, "context too long", code="context_length_exceeded"), "status 400 .*context too long"),
        (error(403, "not from your country"), "status 403 .*country"),
    ],
)
def test_an_unexpected_response_is_a_failure_and_not_a_score(serve, tmp_path, answer, reason):
    seen = serve(answer)
    (verdict,) = judges.chat("gpt-4o", cache=tmp_path, retries=0)([asked()])
    assert (verdict.score, verdict.status, verdict.source) == (None, "failed", "chat")
    assert re.search(reason, verdict.reason), verdict.reason
    assert len(verdict.reason) < 400
    assert "\n" not in verdict.reason
    assert list(tmp_path.iterdir()) == []
    assert len(seen.bodies) == 1


def test_the_raw_reply_is_kept_even_if_it_is_not_a_verdict(serve):
    serve(says("Score: 0/1"))
    assert one().raw == "Score: 0/1"


@pytest.mark.parametrize(
    "answer",
    [
        error(401, f"Incorrect API key provided: {KEY}", code="invalid_api_key"),
        error(404, "The model `gpt-4o` does not exist", code="model_not_found"),
        error(429, "You exceeded your current quota", code="insufficient_quota"),
    ],
    ids=["key", "model", "quota"],
)
def test_an_error_that_every_request_would_meet_stops_the_run(serve, answer, tmp_path):
    seen = serve(answer)
    judge = judges.chat("gpt-4o", cache=tmp_path, concurrency=1, retries=0)
    with pytest.raises(UselessServerError, match=r"every question would fail so\. Correct the key") as caught:
        judge([asked(str(n)) for n in range(20)])
    assert KEY not in str(caught.value)
    assert isinstance(caught.value, RuntimeError)
    assert len(seen.bodies) <= 2


def test_failures_are_not_cached_and_verdicts_are(serve, tmp_path):
    seen = serve(says("hm"), says("correct"), says("incorrect"))
    first, second, third = (judges.chat("gpt-4o", cache=tmp_path)([asked()])[0] for _ in range(3))
    assert first.status == "failed"
    assert second == Verdict(1.0, "ok", "chat", "correct", "")
    assert third == Verdict(1.0, "ok", "cache", "correct", "")
    assert len(seen.bodies) == 2
    (file,) = tmp_path.glob("*.jsonl")
    (line,) = map(json.loads, file.read_text().splitlines())
    assert line.pop("key")
    assert line == {
        "judge": "gpt-4o",
        "prompt": "1",
        "parameters": {"temperature": 0, "max_tokens": 512},
        "question": "What is it?",
        "options": [],
        "references": ["dog"],
        "prediction": "puppy",
        "score": 1.0,
        "raw": "correct",
    }


def test_a_cache_can_be_replayed_without_a_server(serve, tmp_path, monkeypatch):
    serve(GOOD)
    judges.from_name("chat:gpt-4o", cache=tmp_path)([asked()])
    monkeypatch.delenv("OPENAI_API_KEY")
    (file,) = tmp_path.glob("*.jsonl")
    (verdict,) = judges.from_name(f"recorded:{file}")([asked()])
    assert verdict == Verdict(1.0, "ok", "recorded", '{"correct": true}', "")


def test_equal_cases_are_asked_once_and_order_is_kept(serve, tmp_path):
    seen = serve(GOOD)
    requests = [asked(str(n % 5)) for n in range(20)]
    verdicts = judges.chat("gpt-4o", cache=tmp_path)(requests)
    assert len(verdicts) == 20
    assert len(seen.bodies) == 5


def test_verdicts_belong_to_their_requests(serve):
    serve(*[Answer(body=says(word).body, wait=0.02 * n) for n, word in enumerate(["correct", "incorrect"] * 3)])
    judge = judges.chat("gpt-4o", concurrency=1)
    assert [v.score for v in judge([asked(str(n)) for n in range(6)])] == [1.0, 0.0] * 3


def test_concurrency_has_a_limit(serve):
    seen = serve(Answer(body=GOOD.body, wait=0.1))
    judges.chat("gpt-4o", concurrency=3)([asked(str(n)) for n in range(12)])
    assert seen.most == 3


def test_one_failure_does_not_spoil_the_others(serve, tmp_path):
    serve(GOOD, says(None), GOOD)
    judge = judges.chat("gpt-4o", cache=tmp_path, concurrency=1)
    assert [v.status for v in judge([asked(str(n)) for n in range(3)])] == ["ok", "failed", "ok"]


def test_a_killed_judge_has_kept_its_verdicts(serve, tmp_path):
    seen = serve(GOOD, GOOD, Answer(body=GOOD.body, wait=60))
    code = (
        "import sys; from vlm import judges;"
        "judges.chat('gpt-4o', cache=sys.argv[1], concurrency=1)"
        "([judges.JudgeRequest('gqa', '1', 'What is it?', ('dog',), str(n), 'exact') for n in range(9)])"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)])
    waited = threading.Event()
    while len(seen.bodies) < 3:
        assert process.poll() is None
        waited.wait(0.05)
    process.kill()
    process.wait()
    (file,) = tmp_path.glob("*.jsonl")
    assert len(file.read_text().splitlines()) == 2


def test_composite_saves_calls(serve, tmp_path):
    seen = serve(says("incorrect"))
    verdicts = judges.from_name("composite:gpt-4o", cache=tmp_path)([asked("dog"), asked("cat")])
    assert [(v.score, v.source) for v in verdicts] == [(1.0, "rule"), (0.0, "chat")]
    assert len(seen.bodies) == 1


def test_a_server_of_your_own_needs_no_key(serve, monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    serve(GOOD)
    assert one().score == 1.0


def test_neither_key_nor_address(monkeypatch):
    monkeypatch.delenv("OPENAI_API_KEY")
    with pytest.raises(ValueError, match="expected OPENAI_API_KEY in the environment, or OPENAI_BASE_URL"):
        judges.chat("gpt-4o")


@pytest.mark.parametrize("address", ["localhost:8000/v1", "http://", "http://host:port/v1", "ftp://host/v1", "//host"])
def test_an_address_that_is_not_a_url(monkeypatch, address):
    monkeypatch.setenv("OPENAI_BASE_URL", address)
    with pytest.raises(ValueError, match="expected OPENAI_BASE_URL such as http://localhost:8000/v1"):
        judges.chat("gpt-4o")


@pytest.mark.parametrize("settings", [{"concurrency": 0}, {"retries": -1}, {"timeout": 0}])
def test_numbers_out_of_range(settings):
    with pytest.raises(ValueError, match="expected concurrency >= 1"):
        judges.chat("gpt-4o", **settings)


@pytest.mark.parametrize(
    "answers",
    [
        [GOOD],
        [says(f"your key is {KEY}")],
        [says(f'{{"correct": true, "reason": "{KEY}"}}')],
        [error(400, f"bad request with Authorization: Bearer {KEY}")],
        [error(500, "x" * 190 + KEY)],
        [error(401, f"Incorrect API key provided: {KEY}", code="invalid_api_key")],
        [error(401, f"Incorrect API key provided: {KEY[:10]}***{KEY[-4:]}")],
        [Answer(body=f"<html>{KEY}</html>")],
        [Answer(400, f"{KEY}", {"Content-Type": "text/plain"})],
        [Answer(body=json.dumps({"error": {"message": f"key {KEY} is spent"}}))],
        [error(429, "slow down", headers={"Retry-After": "0.01"}), GOOD],
    ],
)
def test_the_key_is_nowhere(serve, tmp_path, caplog, capfd, monkeypatch, answers):
    caplog.set_level(logging.DEBUG)
    monkeypatch.setattr(logging.getLogger("openai"), "level", logging.DEBUG)
    serve(*answers)
    outcome = ""
    try:
        judge = judges.chat("gpt-4o", cache=tmp_path / "verdicts", retries=1)
        outcome = repr(judge([asked(), asked("cat")])) + repr(judge)
    except RuntimeError as caught:
        outcome = "".join(traceback.format_exception(caught)) + repr(caught.__context__)
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    written = "".join(str(path) + path.read_text() for path in files)
    shown = "".join(capfd.readouterr())
    logged = caplog.text + "".join(repr(entry.__dict__) for entry in caplog.records)
    assert "HTTP" in logged  # the client's own log was on
    for place in (outcome, written, shown, logged):
        for piece in (KEY, KEY[-8:], KEY[:10]):
            assert piece not in place


def test_a_password_in_the_address_is_nowhere(serve, monkeypatch):
    seen = serve(error(400, "no luck for user:hunter2hunter2"))
    monkeypatch.setenv("OPENAI_BASE_URL", seen.url.replace("//", "//user:hunter2hunter2@"))
    assert "hunter2" not in one().reason


def test_placeholders_are_not_secret():
    assert cleaner(Server("http://localhost/v1", "EMPTY"))("EMPTY sky") == "EMPTY sky"
    assert cleaner(Server("http://localhost/v1", "a-real-key"))("a-real-key!") == "[key]!"


def test_a_sweep_with_a_judge(serve, tmp_path):
    from vlm.experiments.merging import merged
    from vlm.experiments.spec import DataChoice, Spec
    from vlm.experiments.sweep_run import sweep

    rows = [{"id": str(n), "image": "a.png", "question": "which digit is at b2 ?", "answer": str(n)} for n in range(6)]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    Image.new("RGB", (24, 24)).save(tmp_path / "a.png")
    seen = serve(says("hm"), GOOD)
    data = DataChoice("jsonl", source=str(tmp_path / "own.jsonl"))
    spec = Spec(data=(data,), plans=("vision:5-",), judge="chat:gpt-4o", batch_size=6)

    folder = sweep(spec, tmp_path / "runs", progress=False)
    first = merged(folder)
    assert len(first) == 12
    (failure,) = [r for r in first if r["judge"]["status"] == "failed"]
    assert failure["score"] is None
    assert all(r["score"] == 1.0 and r["judge"]["raw"] == '{"correct": true}' for r in first if r is not failure)
    asked_before = len(seen.bodies)
    sweep(spec, tmp_path / "runs", retry_failed=True, progress=False)
    assert all(r["score"] == 1.0 for r in merged(folder))
    assert len(seen.bodies) <= asked_before + 1  # one question for the failure; all else is remembered
    for path in tmp_path.rglob("*"):
        assert KEY not in str(path)
        assert path.is_dir() or KEY.encode() not in path.read_bytes()


# The table of docs/how-to/chat-judge.md, row by row: the server's behaviour, its answers, how the judge is set.
BEHAVIOURS = {
    "answers well": ([GOOD], {}),
    "answers late, within the timeout": ([Answer(body=GOOD.body, wait=0.1)], {}),
    "does not answer within the timeout": ([Answer(wait=0.5)], {"timeout": 0.1}),
    "429, once, with `Retry-After`": ([error(429, "slow down", headers={"Retry-After": "0.1"}), GOOD], {}),
    "429 at every try": ([error(429, "slow down")], {}),
    "429 with a `Retry-After` beyond two minutes": ([error(429, "slow down", headers={"Retry-After": "3600"})], {}),
    "429, the account has no quota": ([error(429, "You exceeded your quota", code="insufficient_quota")], {}),
    "500, once": ([error(500, "oops"), GOOD], {}),
    "503 at every try, with an HTML page": ([Answer(503, "<html>down</html>", {"Content-Type": "text/html"})], {}),
    "400, the request is refused": ([error(400, "context too long")], {}),
    "401, the key is refused": ([error(401, f"Incorrect API key provided: {KEY}")], {}),
    "404, no such model or path": ([error(404, "The model does not exist")], {}),
    "the line breaks": ([Answer(wait=-0.01)], {}),
    "200 with an HTML page": ([Answer(body="<html>Log in</html>", headers={"Content-Type": "text/html"})], {}),
    "200 with half a JSON text": ([Answer(body='{"choices": [{"mess')], {}),
    "200 with an error in it": ([Answer(body='{"error": {"message": "overloaded"}}')], {}),
    "200 with `choices: []`": ([Answer(body='{"choices": []}')], {}),
    "200 with `content: null`": ([says(None)], {}),
    "200, stopped at the token limit": ([says(None, finish_reason="length")], {}),
    "200, withheld by a content filter": ([says(None, finish_reason="content_filter")], {}),
    "200 with a refusal": ([says(None, refusal="I cannot help with that.")], {}),
    "200 with other JSON": ([says('{"verdict": "fine"}')], {}),
    "200 with words that are no verdict": ([says("Score: 0/1")], {}),
}


def outcome(answers, settings, cache) -> str:
    """What the user sees of one question, as the documentation writes it."""
    with serving(answers) as seen, pytest.MonkeyPatch.context() as patch:
        patch.setenv("OPENAI_BASE_URL", seen.url)
        try:
            (verdict,) = judges.chat("judge", cache=cache, **{"retries": 1, **settings})([asked()])
            outcome = f"score {verdict.score:g}" if verdict.status == "ok" else f"failure: {verdict.reason}"
        except RuntimeError as caught:
            outcome = f"the run stops: {caught}"
        tries = len(seen.bodies)
    cached = "kept" if cache.exists() else "not kept"
    return f"{re.sub('127[.]0[.]0[.]1:[0-9]+', 'HOST', outcome)} | {tries} | {cached}"


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_the_documentation_says_what_the_user_sees(behaviour, tmp_path):
    rows = dict(re.findall(r"^\| (.+?) \| (.+) \|$", DOCS.read_text(), flags=re.MULTILINE))
    assert rows.get(behaviour) == outcome(*BEHAVIOURS[behaviour], tmp_path / "verdicts")


@pytest.mark.parametrize("status", [401, 402, 404])
def test_row_13_a_judge_that_answers_nobody_stops_at_once(serve, status):
    seen = serve(error(status, "no credit"))
    with pytest.raises(UselessServerError, match=f"status {status} .* start again"):
        judges.chat("gpt-4o", retries=0, concurrency=1)([asked(str(i)) for i in range(40)])
    assert len(seen.bodies) <= 2  # the pool may have begun the next one


@pytest.mark.parametrize("answer", [error(403, "forbidden"), error(400, "no such parameter"), Answer(body=HTML)])
def test_row_13_a_judge_that_never_replies_stops_soon(serve, answer):
    seen = serve(answer)
    judge = judges.chat("gpt-4o", retries=0, concurrency=1)
    with pytest.raises(UselessServerError, match="so ended each of 12 requests"):
        for i in range(40):  # a sweep asks batch by batch
            judge([asked(str(i))])
    assert len(seen.bodies) == 12


def test_row_13_a_judge_that_replied_once_may_fail_often(serve):
    serve(GOOD, error(403, "flagged"))
    verdicts = judges.chat("gpt-4o", retries=0, concurrency=1)([asked(str(i)) for i in range(40)])
    assert [v.status for v in verdicts] == ["ok"] + ["failed"] * 39


@pytest.mark.parametrize("before", ["", "a", "ab", "user="])
def test_row_13_a_password_is_hidden_in_base64_too(before):
    clean = cleaner(Server("http://user:hunter2%21@example.org/v1", KEY))
    for secret in ("user:hunter2!", "hunter2!", KEY):
        code = base64.b64encode((before + secret + "..").encode()).decode()
        said = clean(f"Authorization: Basic {code}, {secret}")
        assert secret not in said
        rest = said.split("Basic ")[1].split(",")[0]
        plain = base64.b64decode(rest.replace("[key]", "")[: len(rest.replace("[key]", "")) // 4 * 4]).decode(
            errors="replace"
        )
        assert secret not in plain
        assert "[key]" in rest


def test_row_13_an_address_with_a_query_is_refused_and_not_shown(monkeypatch):
    monkeypatch.setenv("OPENAI_BASE_URL", "https://example.org/v1?api_key=secret-0123456789")
    with pytest.raises(ValueError, match=r"without \? and #") as caught:
        judges.chat("gpt-4o")([asked("1")])
    assert "secret" not in str(caught.value)
