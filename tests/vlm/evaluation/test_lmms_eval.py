"""The plug-in inside lmms-eval: a local task, one process and two ranks, answers equal to the library's own."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path
from types import SimpleNamespace

import pytest

from vlm.evaluation import lmms_eval_plugin

ROOT = Path(__file__).resolve().parents[3]
PLAN = "vision:0-2+5-/text:7-8"


def test_the_entry_point_names_the_plug_in():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert settings["entry-points"]["lmms_eval.models"] == {"skipit": "vlm.evaluation.lmms_eval_plugin:manifest"}
    assert callable(lmms_eval_plugin.manifest)


def test_without_the_harness_there_is_one_clear_line():
    code = "import sys; sys.modules['lmms_eval'] = None; import vlm.evaluation.lmms_eval_model"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert out.stderr.strip().splitlines()[-1] == (
        "ImportError: vlm.evaluation.lmms_eval_model needs lmms_eval: pip install 'skipit[lmms-eval]'"
    )


@pytest.fixture(scope="module")
def harness():
    pytest.importorskip("lmms_eval", reason="the plug-in needs the extra 'lmms-eval', 2.4 GB, which `make` leaves out")
    from vlm.evaluation import lmms_eval_model

    return lmms_eval_model


@pytest.fixture(scope="module")
def questions():
    from vlm import tiny

    return tiny.questions(limit=13, seed=5, kinds=tiny.IMAGE_KINDS)


def wording(question) -> str:
    """The question without what the chat template adds."""
    return question.prompt.removeprefix("<image>").removesuffix("answer:").strip()


TASK = """\
task: tiny_questions
dataset_path: parquet
dataset_kwargs:
  data_files:
    test: {data}
test_split: test
output_type: generate_until
doc_to_visual: !function reading.images
doc_to_text: !function reading.text
doc_to_target: answer
process_results: !function reading.results
generation_kwargs:
  max_new_tokens: {limit}
  do_sample: false
metric_list:
  - metric: right
    aggregation: mean
    higher_is_better: true
"""
READING = """\
def images(doc):
    return [doc["image"].convert("RGB")]


def text(doc, lmms_eval_specific_kwargs=None):
    return doc["question"]


def results(doc, answers):
    return {"right": float(answers[0].strip() == doc["answer"])}
"""


@pytest.fixture(scope="module")
def task(harness, questions, tmp_path_factory):
    """A folder with a task of the harness on a parquet file of embedded questions."""
    import datasets

    folder = tmp_path_factory.mktemp("task")
    rows = {"image": [], "question": [], "answer": []}
    for question in questions:
        with io.BytesIO() as file:
            question.image.save(file, "PNG")
            rows["image"].append({"bytes": file.getvalue(), "path": None})
        rows["question"].append(wording(question))
        rows["answer"].append(question.answer)
    features = datasets.Features(
        {"image": datasets.Image(), "question": datasets.Value("string"), "answer": datasets.Value("string")}
    )
    datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / "questions.parquet")
    (folder / "tiny_questions.yaml").write_text(TASK.format(data=folder / "questions.parquet", limit=1))
    (folder / "reading.py").write_text(READING)
    return folder


def run(task: Path, out: Path, plan: str, *launcher: str, cache: Path | None = None) -> dict[str, object]:
    """Run the harness; its results, and the answers by document."""
    offline = {"HF_DATASETS_OFFLINE": "1", "HF_HUB_OFFLINE": "1", "HF_HOME": str(out / "hub"), "OMP_NUM_THREADS": "1"}
    arguments = ["--model", "skipit", "--model_args", f"pretrained=tiny,plan={plan}", "--tasks", "tiny_questions"]
    arguments += ["--include_path", str(task), "--batch_size", "4", "--log_samples", "--output_path", str(out)]
    arguments += ["--use_cache", str(cache)] if cache else []
    command = [sys.executable, *(launcher or ("-m", "lmms_eval")), *arguments]
    told = subprocess.run(command, capture_output=True, text=True, cwd=out, env={**os.environ, **offline}, check=False)
    assert told.returncode == 0, told.stderr[-4000:]
    (results,) = out.rglob("*_results.json")
    (samples,) = out.rglob("*_samples_tiny_questions.jsonl")
    lines = sorted(map(json.loads, samples.read_text().splitlines()), key=lambda line: line["doc_id"])
    found = json.loads(results.read_text())
    answers = [line["filtered_resps"] for line in lines]
    return {"config": found["config"], "right": found["results"]["tiny_questions"]["right,none"], "answers": answers}


def expected(questions, plan: str) -> list[str]:
    import vlm
    from vlm import tiny

    model, processor = vlm.load("tiny")
    with vlm.skipping(model, plan):
        return tiny.predict(model, processor, questions)


def test_the_harness_gets_the_librarys_own_answers(task, questions, tmp_path):
    words = expected(questions, PLAN)
    assert words != expected(questions, "none")
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    found = run(task, tmp_path / "first", PLAN, cache=tmp_path / "cache")
    assert found["answers"] == words
    right = sum(word == question.answer for word, question in zip(words, questions, strict=True)) / len(words)
    assert found["right"] == pytest.approx(right)
    # The text of the plan survives the harness's splitting at commas, and stands in its results.
    assert f"plan={PLAN}" in found["config"]["model_args"]
    # Its cache keeps the plans apart.
    assert run(task, tmp_path / "second", "none", cache=tmp_path / "cache")["answers"] == expected(questions, "none")
    assert any((tmp_path / "cache").rglob("*.db"))


def test_two_ranks_give_the_same_answers(task, questions, tmp_path):
    words = expected(questions, PLAN)
    launcher = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m", "lmms_eval")
    found = run(task, tmp_path, PLAN, *launcher)
    assert found["answers"] == words


@pytest.mark.parametrize(
    ("text", "plan"),
    [
        ("vision:0-4+24-32", "vision:0-4+24-32"),
        ("vision:0-4/text:7-8", "vision:0-4/text:7-8"),
        ("vision:24-", "vision:24-"),
        ("none", "none"),
        ("text:1-2", "text:1-2"),
    ],
)
def test_a_plan_survives_the_argument_string(harness, text, plan):
    from lmms_eval.utils import simple_parse_args_string

    digest = harness.SkipPlan.parse(plan).digest
    for written in (text, f"{text}@{digest}"):
        parsed = simple_parse_args_string(f"pretrained=some/model,plan={written},dtype=bfloat16")
        assert set(parsed) == {"pretrained", "plan", "dtype"}
        assert str(harness.read_plan(parsed["plan"])) == plan


def test_a_plan_file_goes_through_the_argument_string_and_is_refused_for_other_weights(harness, tmp_path):
    from lmms_eval.utils import simple_parse_args_string

    import vlm
    from vlm.models.weights_fingerprint import weights_fingerprint
    from vlm.plans.plan_file import PlanFile

    model, _ = vlm.load("tiny")
    file = PlanFile(vlm.SkipPlan.parse("vision:8-10"), model="tiny", weights=weights_fingerprint(model))
    path = file.save(tmp_path / "plan.json")
    parsed = simple_parse_args_string(f"pretrained=tiny,plan={path},dtype=float32")
    assert harness.SkipIt(parsed["pretrained"], parsed["plan"]).plan == file.plan
    with pytest.raises(ValueError, match="the promise holds for those weights only"):
        harness.SkipIt("tiny-scaled", parsed["plan"])


def test_a_wrong_digest_or_plan_is_refused(harness):
    with pytest.raises(ValueError, match="has the digest"):
        harness.read_plan("vision:0-4@000000000000")
    with pytest.raises(ValueError, match="expected 'none' or"):
        harness.read_plan("vision:0-4,24-32")
    with pytest.raises(ValueError, match="model has 10 decoder layers"):
        harness.SkipIt("tiny", "vision:0-4+24-32")


def request(*arguments: object) -> SimpleNamespace:
    return SimpleNamespace(args=arguments)


def asked(model, questions, **settings):
    """Requests as the harness makes them: six arguments, messages made from a document."""

    def messages(question):
        text = wording(question)
        content = [{"type": "image", "url": question.image}, {"type": "text", "text": text}]
        return [{"role": "user", "content": content}]

    model.task_dict = {"t": {"test": list(questions)}}
    settings = {"max_new_tokens": 1, **settings}
    return [request("", messages, settings, number, "t", "test") for number in range(len(questions))]


@pytest.mark.parametrize("batch", [1, 5, 64])
def test_batches_do_not_change_answers_or_their_order(harness, questions, batch, monkeypatch):
    model = harness.SkipIt("tiny", PLAN, batch_size=batch)
    rows = {1: 0, 2: 0}
    generate = model.model.generate

    def counted(**given):
        rows[given["max_new_tokens"]] += len(given["input_ids"])
        assert len(given["input_ids"]) <= batch
        return generate(**given)

    monkeypatch.setattr(model.model, "generate", counted)
    requests = asked(model, questions)
    for number in range(0, len(requests), 3):  # other settings come between, and are answered apart
        before = requests[number].args
        requests[number] = request(*before[:2], {**before[2], "max_new_tokens": 2}, *before[3:])
    assert [text.split()[0] for text in model.generate_until(requests)] == expected(questions, PLAN)
    assert rows == {1: 8, 2: 5}


def test_stop_strings_cut_but_a_blank_line_does_not(harness):
    assert harness._until("red. And so on", [". "]) == "red"
    assert harness._until("first\n\nsecond", ["\n\n"]) == "first\n\nsecond"
    assert harness._until("a b", None) == "a b"


def test_rounds_follow_the_task(harness, questions):
    model = harness.SkipIt("tiny", PLAN)
    (first,) = asked(model, questions[:1])
    heard = []

    def messages(question, *, round_idx=0, previous_output=None, previous_round_info=None):
        told = first.args[1](question)
        if round_idx == 0:
            return told
        heard.append((round_idx, previous_output, previous_round_info))
        return told, round_idx == 2, previous_output, "kept"

    (said,) = model.generate_until_multi_round([request("", messages, *first.args[2:])])
    assert said == expected(questions[:1], PLAN) * 2
    assert heard == [(1, said[:1], None), (2, said, "kept")]


def test_loglikelihood_is_the_models_own(harness, questions):
    import torch

    import vlm

    model = harness.SkipIt("tiny", PLAN)
    model.task_dict = {"t": {"test": questions}}
    word = expected(questions[:1], PLAN)[0]
    text = wording(questions[0])
    (value, greedy), (other, never) = model.loglikelihood(
        [
            request(text, said, lambda q: [q.image], 0, "t", "test")
            for said in (f" {word}", " yes" if word != "yes" else " no")
        ]
    )
    batch = model.processor(images=[questions[0].image], text=[questions[0].prompt], return_tensors="pt")
    with torch.inference_mode(), vlm.skipping(model.model, PLAN):
        logits = model.model(**batch).logits[0, -1].double().log_softmax(-1)
    assert value == pytest.approx(float(logits.max()), abs=1e-5)
    assert (greedy, never) == (True, False)
    assert other < value


def test_video_is_refused(harness):
    model = harness.SkipIt("tiny")
    with pytest.raises(NotImplementedError, match="got video or audio"):
        model._prompt([{"role": "user", "content": [{"type": "video", "url": "film.mp4"}]}])


def test_a_prompt_that_does_not_fit_is_not_an_empty_answer(harness, questions, monkeypatch):
    import torch

    model = harness.SkipIt("tiny")

    def full(**batch):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(model.model, "generate", full)
    with pytest.raises(RuntimeError, match="does not fit into memory"):
        model.generate_until(asked(model, questions[:2]))
