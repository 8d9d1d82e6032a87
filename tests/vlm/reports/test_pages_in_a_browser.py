"""Pages and the viewer in a real browser, from disk, with hostile answers, by keyboard alone."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from tests.support.browser import BROWSER, browser
from tests.support.large_viewer import write_viewer
from vlm.experiments.item_identity import Items
from vlm.experiments.run_directory import StoredRun, begin
from vlm.experiments.spec import DataChoice, Spec
from vlm.plans.plan import SkipPlan
from vlm.record_log import line
from vlm.reports import write
from vlm.reports.question_viewer import write_questions

HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \u2028 ]]> ' \" \\"
PLANS = (SkipPlan(), SkipPlan.late_entry(4), SkipPlan.early_exit(20))
ITEMS = 130

needs_browser = pytest.mark.skipif(BROWSER is None, reason="no Chromium: apt install chromium")


def write_run(folder: Path) -> Path:
    """130 questions about 65 pictures; late entry loses every third, early exit says every fifth otherwise."""
    from vlm.datasets import read

    for number in range(ITEMS // 2):
        Image.new("RGB", (32, 24), (3 * number, 80, 160)).save(folder / f"{number}.png")
    rows = [
        {"id": f"q{i:03}", "image": f"{i // 2}.png", "question": f"What is {i}? {HOSTILE}", "answer": "red"}
        for i in range(ITEMS)
    ]
    source = folder / "mine.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = Spec(data=(DataChoice("jsonl", source=str(source)),), plans=tuple(map(str, PLANS)))
    run = StoredRun(spec, folder / spec.digest)
    begin(run.folder, spec.content(), {"protocol": "skip-it 2", "scorers": "exact 2"})
    (run.folder / "records").mkdir()
    listed, lines = Items(run.folder, spec.data[0]), []
    for number, item in enumerate(read("jsonl", source=source)):
        listed.see(item)
        for place, plan in enumerate(PLANS):
            lost, other = place == 1 and number % 3 == 0, place == 2 and number % 5 == 0
            names = {"dataset": "jsonl", "item": item.id, "item_digest": item.digest, "image_id": item.image_id}
            names |= {"plan": str(plan), "plan_digest": plan.digest, "spec": run.digest, "group": "Your own"}
            names |= {"versions": run.made_with, "protocol": "skip-it 2", "model": "tiny", "seed": 0}
            said = "blue" if lost else f"red, {HOSTILE}" if other else "red"
            answer = {"prediction": said, "parsed": said, "score": float(not lost), "failure": None, "judge": None}
            answer |= {"letter_probabilities": None, "tokens": None, "operations": None, "thought": "none"}
            lines.append(line({**names, **answer, "run": {"seconds_prefill": 0.1, "seconds_decode": 0.1, "batch": 1}}))
    listed.finish()
    (run.folder / "records" / "1-of-1.jsonl").write_text("".join(lines))
    return run.folder


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    run = write_run(tmp_path_factory.mktemp("run"))
    write(run, run / "report", questions=True)
    return run / "report"


def test_questions_are_divided_into_files_and_no_text_is_markup(report):
    questions = report / "questions"
    assert len(list(questions.glob("questions-*.js"))) == 3
    assert len(list(questions.glob("pictures/*/*.png"))) == ITEMS // 2
    for path in questions.iterdir():
        if path.suffix in (".js", ".html") and path.name != "viewer.js":
            text = path.read_text()
            assert "<script>alert" not in text
            assert "<img" not in text
            assert path.suffix == ".html" or (text.isascii() and "<" not in text)
    index = json.loads((questions / "index.js").read_text().removeprefix("const INDEX = ").removesuffix(";\n"))
    assert (index["plans"], index["count"], index["starts"]) == (
        ["none", "vision:0-4", "vision:20-"],
        ITEMS,
        [0, 50, 100],
    )
    assert index["changes"][1] == "".join("s" if i % 3 else "l" for i in range(ITEMS))
    assert index["changes"][2] == "".join("s" if i % 5 else "t" for i in range(ITEMS))
    assert index["scores"][1] == "".join("r" if i % 3 else "w" for i in range(ITEMS))
    assert 'href="questions/index.html"' in (report / "index.html").read_text()


def test_answers_to_other_questions_are_not_shown_beside_new_ones(tmp_path):
    """A question that was changed since, and data that are gone: the answers alone, and why."""
    run = write_run(tmp_path)
    source = tmp_path / "mine.jsonl"
    source.write_text(source.read_text().replace("What is 7?", "What was 7?"))
    questions = _shown(write_questions(run, tmp_path / "a"))
    assert questions[6]["question"].startswith("What is 6?")
    assert questions[7]["question"] is None
    assert questions[7]["pictures"] == []
    assert "have changed since" in questions[7]["note"]
    Image.new("RGB", (32, 24), "white").save(tmp_path / "2.png")
    assert "have changed since" in _shown(write_questions(run, tmp_path / "b"))[5]["note"]
    source.unlink()
    gone = _shown(write_questions(run, tmp_path / "c"))
    assert all(question["question"] is None and "could not be read again" in question["note"] for question in gone)
    assert [answer[1] for answer in gone[3]["answers"]] == ["red", "blue", "red"]


def _shown(page: Path) -> list[dict]:
    text = (page.parent / "questions-000000.js").read_text()
    return json.loads(text.removeprefix("shown(0, ").removesuffix(");\n"))


@pytest.fixture(scope="module")
def page():
    with browser() as opened:
        yield opened


@needs_browser
def test_the_report_opens_from_disk_at_both_widths(report, page):
    for width in (1300, 420):
        page.open(report / "index.html", width=width)
        assert page.messages == []
        assert page.value("document.documentElement.scrollWidth") == width  # no sideways scrolling of the page
        assert {url.split(":")[0] for url in page.requests} <= {"file", "data"}
        # Accuracy is in sight without scrolling, and what is not is announced by an edge.
        cells = "[...document.querySelectorAll('thead')].map(h => [...h.querySelectorAll('th')]"
        right = page.value(cells + ".find(c => c.textContent === 'accuracy')?.getBoundingClientRect().right)[0]")
        assert 0 < right <= width
        stuck = "getComputedStyle(document.querySelector('tbody th[scope=row]')).position"
        assert page.value(stuck) == "sticky"
    light = page.value("getComputedStyle(document.body).backgroundColor")
    page.open(report / "index.html", width=420, dark=True)
    assert page.value("getComputedStyle(document.body).backgroundColor") != light


@needs_browser
def test_the_report_by_keyboard_alone(report, page):
    """Tab reaches the link to the content, the line to copy, the contents, and every table, which the arrows scroll."""
    page.open(report / "index.html", width=420)
    seen = []
    for _ in range(40):
        page.press("Tab")
        seen.append(page.value("document.activeElement.className || document.activeElement.tagName"))
        if page.value("document.activeElement === document.body"):
            break
    assert seen[0] == "skip"
    assert {"PRE", "BUTTON", "A", "scroll"} <= set(seen)
    assert seen.count("scroll") == page.value("document.querySelectorAll('.scroll').length")
    page.value("document.querySelector('.scroll').focus()")
    page.press("ArrowRight")
    page.wait("document.querySelector('.scroll').scrollLeft > 0")
    page.value("document.querySelector('nav a').focus()")
    page.press("Enter")
    page.wait("location.hash === '#section-1'")


@needs_browser
def test_the_viewer_filters_pages_and_escapes(report, page):
    page.open(report / "questions" / "index.html", width=420)
    page.wait("document.querySelectorAll('article').length === 10")
    assert page.value("document.documentElement.scrollWidth") == 420
    status = "document.getElementById('status').textContent"
    assert page.value(status) == "Questions 1 to 10 of 130; 130 in all."
    assert HOSTILE in page.value("document.querySelector('article .said').textContent")
    assert page.value("document.querySelectorAll('#questions script, #questions [onerror]').length") == 0
    page.wait("[...document.images].slice(0, 2).every(i => i.complete && i.naturalWidth > 100)")
    # By keyboard alone: to the choice of what is shown, letters choose, Tab goes on to "Next", Enter presses it.
    for _ in range(20):
        page.press("Tab")
        if page.value("document.activeElement.id") == "show":
            break
    for letter in "score l":
        page.press(letter)
    page.wait(f"{status} === 'Questions 1 to 10 of 44; 130 in all.'")
    assert page.value("[...document.querySelectorAll('h3')].map(h => h.textContent)[1]") == "jsonl / q003"
    assert page.value("document.querySelector('article td.lost').textContent") == "lost"
    page.press("Tab")
    page.press("Tab")
    assert page.value("document.activeElement.id") == "next"
    for _ in range(4):
        page.press("Enter")
    page.wait(f"{status} === 'Questions 41 to 44 of 44; 130 in all.'")
    page.press("p")
    page.wait(f"{status} === 'Questions 31 to 40 of 44; 130 in all.'")
    assert page.value("files.size") <= 4
    # The place in the page's address brings a reader back to the same questions.
    address = page.value("location.hash")
    assert "show=lost" in address
    assert "at=30" in address
    choose = (
        "const show = document.getElementById('show'); show.value = 'words'; show.dispatchEvent(new Event('change'))"
    )
    page.value(f"(() => {{ {choose} }})()")
    page.wait(f"{status} === 'Questions 1 to 10 of 26; 130 in all.'")
    assert page.messages == []
    assert {url.split(":")[0] for url in page.requests} <= {"file", "data"}


@needs_browser
def test_the_viewer_follows_its_address_and_shows_references(report, page):
    """An address that is typed or followed; what it names and is not there counts as not said."""
    page.open(report / "questions" / "index.html", width=420)
    status = "document.getElementById('status').textContent"
    for address, said in {
        "set=&plan=1&show=lost&at=30": "Questions 31 to 40 of 44; 130 in all.",
        "set=&plan=1&show=lost&at=33": "Questions 31 to 40 of 44; 130 in all.",
        "set=9&plan=x&show=bogus&at=-7": "Questions 1 to 10 of 130; 130 in all.",
        "plan=1&show=lost&at=4000": "Questions 1 to 10 of 44; 130 in all.",
        "show=words&at=2.5": "Questions 1 to 10 of 26; 130 in all.",
        "set=<script>&at=NaN": "Questions 1 to 10 of 130; 130 in all.",
        "show=gained": "No question fits; 130 in all.",
        "at=120": "Questions 121 to 130 of 130; 130 in all.",
    }.items():
        page.value(f"location.hash = {address!r}")
        page.wait(f"{status} === {said!r}")
    assert page.messages == []
    texts = page.value("[...document.querySelectorAll('article p.said')].map(p => p.textContent)")
    assert texts.count("Reference: red") == 10


@needs_browser
def test_a_script_that_slips_in_would_not_run(report, page, tmp_path):
    """Were a text not escaped, the page's own policy would still refuse to run it."""
    text = (report / "index.html").read_text()
    broken = tmp_path / "index.html"
    broken.write_text(
        text.replace("<main", "<script>document.title = 'run'</script><img src=x onerror=\"alert(1)\"><main")
    )
    page.open(broken)
    page.value("new Promise(done => setTimeout(done, 100))")
    assert page.value("document.title") != "run"
    assert any("Content Security Policy" in message for message in page.messages)
    assert not any(message.startswith("dialogue") for message in page.messages)


@needs_browser
def test_the_viewer_of_many_questions_holds_a_page_of_them(page, tmp_path):
    """The page has as many elements for 100,000 questions as for 100, and the last ones are a choice and a key away."""
    sizes = []
    for count in (100, 100_000):
        page.open(write_viewer(tmp_path / str(count), count), width=420)
        page.wait("document.querySelectorAll('article').length === 10")
        sizes.append(page.value("document.querySelectorAll('*').length"))
        assert page.value("files.size") <= 4
    assert sizes[0] == sizes[1]
    page.open(tmp_path / "100000" / "index.html")
    page.value("location.hash = '#set=&plan=&show=all&at=99990'; location.reload()")
    # While the page loads anew, it may have no status yet.
    told = "Questions 99991 to 100000 of 100000; 100000 in all."
    page.wait(f"document.getElementById('status')?.textContent === '{told}'")
    assert page.value("[...document.querySelectorAll('h3')].at(-1).textContent") == "gqa / q99999"


def test_a_viewer_too_large_for_a_browser_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr("vlm.reports.question_viewer.LARGEST", 3 * ITEMS - 1)
    with pytest.raises(ValueError, match=r"expected at most 389 answers to look through, got 390, .* --limit"):
        write_questions(write_run(tmp_path), tmp_path / "a")
