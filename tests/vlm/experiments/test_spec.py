"""The spec: read strictly, named by its content, independent of how it was written."""

from __future__ import annotations

import json
import math
import ntpath
import unicodedata
from pathlib import Path, PureWindowsPath

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from vlm.experiments.run_directory import items_path
from vlm.experiments.spec import DataChoice, Spec, read_spec
from vlm.judges.verdict_cache import cache_file

TOML = """
model = "tiny"
batch_size = 4
plans = ["vision:6-", "vision:0-2+8-"]
late_entry = [0, 4]
early_exit = [8]
limit = 30
data = ["tiny", { name = "jsonl", source = "mine.jsonl", label = "mine", limit = 7 }]
"""


def written(tmp_path, text):
    path = tmp_path / "spec.toml"
    path.write_text(text)
    return path


def test_a_file_and_flags_give_the_same_spec(tmp_path):
    spec = read_spec(written(tmp_path, TOML))
    assert spec.plans == ("none", "vision:0-2+8-", "vision:0-4", "vision:6-", "vision:8-")
    assert spec.data == (DataChoice("tiny", limit=30), DataChoice("jsonl", source="mine.jsonl", label="mine", limit=7))
    same = read_spec(
        model="tiny",
        batch_size=4,
        plans=["vision:8-", "vision:0-4", "vision:0-2+8-", "vision:6-", "vision:6-"],
        data=[{"name": "tiny", "limit": 30}, {"name": "jsonl", "source": "mine.jsonl", "label": "mine", "limit": 7}],
    )
    assert same == spec
    assert same.digest == spec.digest
    assert read_spec(written(tmp_path, TOML), batch_size=5).batch_size == 5


def test_content_round_trips_through_json(tmp_path):
    spec = read_spec(written(tmp_path, TOML))
    assert Spec.from_content(json.loads(json.dumps(spec.content()))) == spec
    with pytest.raises(ValueError, match="expected format 1, got 0"):
        Spec.from_content({**spec.content(), "format": 0})


def test_a_digest_is_stable_and_every_field_changes_it():
    spec = Spec()
    assert spec.digest == "d53333192ad8"
    changes = dict(
        model="tiny-scaled",
        data=(DataChoice("tiny", seed=1),),
        plans=("vision:6-",),
        protocol="lmms-eval",
        judge="recorded:verdicts.jsonl",
        revision="abc",
        dtype="float64",
        attention="eager",
        thresholds=(0.05,),
        batch_size=9,
        seed=1,
        confidence=0.9,
    )
    assert set(changes) | {"format"} == set(spec.content())
    digests = {Spec(**{name: value}).digest for name, value in changes.items()}
    assert len(digests | {spec.digest}) == len(changes) + 1


def test_experiments_on_other_plans_share_a_measurement():
    spec = Spec(plans=("vision:6-",), judge="chat:some-model", confidence=0.9)
    assert spec.measurement == Spec().measurement
    assert spec.digest != Spec().digest
    assert spec.measurement != Spec(batch_size=3).measurement


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("bach_size = 3", "unknown key 'bach_size'; did you mean 'batch_size'?"),
        ("data = [{ name = 'gqa', lmit = 3 }]", "data: unknown key 'lmit'; did you mean 'limit'?"),
        ("batch_size = 0", "batch_size: expected a whole number >= 1, got 0"),
        ("batch_size = 2.5", "expected batch_size as int, got 2.5"),
        ("seed = true", "expected seed as int, got True"),
        ("model = 3", "expected model as str, got 3"),
        ("confidence = 95", "expected a number in (0, 1), got 95"),
        ("plans = 'none'", "plans: expected a list of texts"),
        ("plans = ['vision:4']", "plan: expected 'none' or "),
        ("late_entry = [-1]", "late_entry: expected a list of layers >= 0"),
        ("early_exit = 4", "early_exit: expected a list of layers >= 0"),
        ("data = []", "at least one data set"),
        ("data = 'tiny'", "data: expected a list"),
        ("data = [{ source = 'x' }]", "a table with the key 'name'"),
        ("data = ['tiny', 'tiny']", "tiny more than once; give each a `label`"),
        ("data = [{ name = 'tiny', limit = 0 }]", "expected a limit >= 1, got 0 for 'tiny'"),
        ("data = [{ name = 'gqa', limit = 9, seed = 1, streaming = true }]", "expected seed 0, got 1 for 'gqa'"),
        ("data = [{ name = 'tiny', label = '../up' }]", "a label that can name a file"),
        ("data = [{ name = 'tiny', label = 'a:b' }]", "a label that can name a file on every system"),
        ("data = [{ name = 'tiny', label = 'ends.' }]", "without a dot or space at either end, got 'ends.'"),
        ("thresholds = []", "thresholds: expected cosine distances >= 0"),
        ("model = ", "spec: expected TOML in"),
    ],
)
def test_mistakes_are_named(tmp_path, text, words):
    with pytest.raises(ValueError, match=": ") as error:
        read_spec(written(tmp_path, text))
    assert words in str(error.value)


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no file at .*nowhere.toml"):
        read_spec(tmp_path / "nowhere.toml")


def test_a_spec_shows_itself_in_one_line():
    spec = read_spec(data=["tiny", {"name": "jsonl", "source": "mine.jsonl", "label": "mine"}], late_entry=[4])
    assert repr(spec) == f"Spec({spec.digest}: tiny on tiny, mine, 2 plans, skip-it, judge rule)"
    assert repr(spec.data[1]) == "DataChoice(jsonl, source='mine.jsonl', label='mine')"
    assert spec.to_dict()["plans"] == ["none", "vision:0-4"]
    assert "<table>" in spec._repr_html_()


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (dict(thresholds=(math.nan,)), "thresholds: expected"),
        (dict(thresholds=(math.inf,)), "thresholds: expected"),
        (dict(thresholds=(0.05, 0.05)), "thresholds: expected"),
        (dict(seed=10**23), "seed: expected a whole number from 0 to"),
        (dict(seed=-1), "seed: expected a whole number from 0 to"),
        (dict(confidence=math.nan), "confidence: expected"),
    ],
)
def test_row_14_numbers_without_a_meaning_are_refused(values, words):
    with pytest.raises(ValueError, match=words):
        Spec(**values)


@pytest.mark.parametrize(
    "label", ["a\0b", "x" * 300, "\u00e9" * 100, "con", "LPT1.x", "a ", " a", "a.", "a/b", "a\x7f"]
)
def test_row_14_a_label_that_cannot_name_a_file_everywhere_is_refused(label):
    with pytest.raises(ValueError, match="data: expected a label that can name a file on every system") as caught:
        DataChoice("tiny", label=label)
    assert len(str(caught.value)) < 300


def test_labels_that_one_file_system_takes_for_one_are_refused():
    with pytest.raises(ValueError, match="more than once"):
        Spec(data=(DataChoice("tiny", label="Mine"), DataChoice("tiny", label="mine")))
    assert DataChoice("tiny", label="e\u0301") == DataChoice("tiny", label="\u00e9")


@pytest.mark.parametrize("text", ["seed = 1e23", f"seed = {10**23}", "thresholds = [nan]", 'model = "caf\u00e9"'])
def test_row_14_a_file_with_such_values_is_one_line(tmp_path, text):
    path = tmp_path / "spec.toml"
    path.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=r"spec: expected|seed: expected|thresholds: expected") as caught:
        read_spec(path)
    assert "\n" not in str(caught.value)


def valid_on_windows(name: str) -> bool:
    """Whether a file of this name can be made on Windows, and is found again under it."""
    path = PureWindowsPath("runs") / name
    reserved = getattr(ntpath, "isreserved", None) or (lambda given: PureWindowsPath(given).is_reserved())
    plain = path.name == name and path.parent == PureWindowsPath("runs") and not set(name) & set('<>:"/\\|?*')
    return plain and not reserved(name) and min(name) >= " " and name == name.rstrip(". ")


ODD = (
    "CON",
    "nul.txt",
    "aux ",
    "COM1",
    "lpt\u00b9.x",
    "conin$",
    "con .x",
    "a:b",
    "a\\b",
    "..",
    "a.",
    "e\u0301",
    "x" * 119,
)


@given(st.one_of(st.sampled_from(ODD), st.text(st.characters(codec="utf-8"), max_size=130)))
def test_row_14_files_named_by_labels_can_be_made_on_every_system(label):
    assume(label)
    try:
        kept = DataChoice("tiny", label=label).label
    except ValueError:
        return
    names = [items_path(Path("run"), kept).name, *(f"{kept}{end}" for end in (".json.lock", f".json.{'0' * 32}.part"))]
    assert all(map(valid_on_windows, names)), kept
    assert max(len(name.encode()) for name in names) <= 255
    assert unicodedata.normalize("NFC", kept) == kept


@given(st.one_of(st.sampled_from(ODD), st.text(st.characters(codec="utf-8"), max_size=200)))
def test_row_14_files_named_by_judges_can_be_made_on_every_system(model):
    name = cache_file("verdicts", model, "1", {}).name
    assert valid_on_windows(name)
    assert len(f"{name}.lock".encode()) <= 255
    assert name.casefold() != cache_file("verdicts", model + "x", "1", {}).name.casefold()
