"""`vlm.moments` against the plain estimators on states that separate hooks collected."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

import redundancy as rd
import vlm
from vlm import FAMILIES
from vlm.hidden_states.moment_folds import fold_of
from vlm.hidden_states.moment_recorder import _by_device
from vlm.hidden_states.moment_sums import MomentSums
from vlm.models.random_batches import batch_for
from vlm.models.random_models import IMAGE, absent, random_model

BOTH = [dict(images=(1, 1, 2), after=(6, 4, 9), seed=s) for s in range(3)]


def collected(model, batches, plan=None):
    """Rows of state l = what enters layer l (L: what leaves the last), with prompt and modality of each row."""
    layers = vlm.models.families.anatomy(model).layers
    rows, prompt, modality, count = [[] for _ in range(len(layers) + 1)], [], [], 0
    for batch in batches:
        seen, handles = [], []

        def before(module, args, kwargs, seen=seen):
            seen.append((args[0] if args else kwargs["hidden_states"]).clone())

        def after(module, args, out, seen=seen):
            seen.append(out[0].clone() if isinstance(out, tuple) else out.clone())

        handles = [layer.register_forward_pre_hook(before, with_kwargs=True) for layer in layers]
        handles.append(layers[-1].register_forward_hook(after))
        with torch.no_grad(), vlm.skipping(model, plan) if plan else nullcontext():
            model(**batch)
        for handle in handles:
            handle.remove()
        for row in range(len(batch["input_ids"])):
            vision = batch["input_ids"][row] == IMAGE
            real = batch["attention_mask"][row].bool()
            for name, mask in (("vision", vision), ("text", real & ~vision)):
                for state, values in zip(rows, seen, strict=True):
                    state.append(values[row, mask].double().numpy())
                prompt += [count] * int(mask.sum())
                modality += [name] * int(mask.sum())
            count += 1
    return [np.concatenate(state) for state in rows], np.array(prompt), np.array(modality)


def recorded(model, batches, groups=None, **options):
    with torch.no_grad(), vlm.moments(model, **options) as sums:
        for i, batch in enumerate(batches):
            if groups is not None:
                sums.expect(groups[i])
            model(**batch)
    return sums


def check_against_rows(result, states, prompt, modality, fold, *, rtol=1e-9, normalise=False):
    basis = result.settings.basis()
    for name in result.settings.modalities:
        for pair in result.settings.pairs:
            for k, got in enumerate(result.sums(pair, name)):
                chosen = (modality == name) & (fold == k)
                x, y = (states[state][chosen] for state in pair)
                if normalise:
                    x, y = (v / np.linalg.norm(v, axis=1, keepdims=True) for v in (x, y))
                expected = MomentSums.of_rows(
                    x, y, prompt[chosen], basis=basis, shift_x=got.shift_x, shift_y=got.shift_y
                )
                assert (got.prompts, got.tokens) == (expected.prompts, expected.tokens)
                for part in ("x", "y", "ux", "uy", "vx", "vy", "square_x", "square_y", "square_step"):
                    a, b = getattr(got, part), getattr(expected, part)
                    np.testing.assert_allclose(a, b, rtol=rtol, atol=rtol * np.abs(b).max() + 1e-13, err_msg=part)
                for side in ("alignment_x", "alignment_y", "alignment"):
                    for part in getattr(got, side).__dataclass_fields__:
                        a, b = (getattr(getattr(sums, side), part) for sums in (got, expected))
                        scale = rtol * np.abs(b).max() + 1e-12
                        np.testing.assert_allclose(a, b, rtol=rtol, atol=scale, err_msg=f"{side}.{part}")


@pytest.mark.parametrize("family", [f.name for f in FAMILIES])
def test_sums_are_those_of_the_collected_states(family):
    if why := absent(family):
        pytest.skip(why)
    model = random_model(family)
    batches = [batch_for(model, **shape) for shape in BOTH]
    states, prompt, modality = collected(model, batches)
    result = recorded(model, batches).moments()
    assert result.prompts.tolist() == [[5, 4], [5, 4]]
    check_against_rows(result, states, prompt, modality, prompt % 2)


@pytest.mark.parametrize(
    "options",
    [
        dict(project=7),
        dict(normalise=True),
        dict(pairs="entry", modality="text"),
        dict(pairs=[(1, 4), (0, 5)], modality="vision", folds=3),
        dict(project=5, normalise=True, pairs=[(2, 3)], seed=4),
    ],
)
def test_every_setting_gives_the_sums_of_the_collected_states(options):
    model = random_model()
    batches = [batch_for(model, **shape) for shape in BOTH]
    states, prompt, modality = collected(model, batches)
    result = recorded(model, batches, **options).moments()
    fold = prompt % options.get("folds", 2)
    check_against_rows(result, states, prompt, modality, fold, normalise=options.get("normalise", False))


def test_float32_products_lose_about_seven_digits():
    model = random_model()
    batches = [batch_for(model, **shape) for shape in BOTH]
    states, prompt, modality = collected(model, batches)
    result = recorded(model, batches, precision="float32").moments()
    check_against_rows(result, states, prompt, modality, prompt % 2, rtol=3e-6)
    with pytest.raises(AssertionError):
        check_against_rows(result, states, prompt, modality, prompt % 2, rtol=1e-10)


def test_states_under_a_plan_are_those_of_the_skipping_model():
    model = random_model()
    batches = [batch_for(model, **shape) for shape in BOTH]
    states, prompt, modality = collected(model, batches, plan="vision:1-3")
    with torch.no_grad(), vlm.skipping(model, "vision:1-3"), vlm.moments(model) as sums:
        for batch in batches:
            model(**batch)
    check_against_rows(sums.moments(), states, prompt, modality, prompt % 2)
    assert sums.table().where(layer=1, modality="vision")["identity"][0] == pytest.approx(0.0, abs=1e-12)
    assert sums.settings.plan == "vision:1-3"


def test_a_plan_that_changes_within_a_recording_is_refused():
    model, batch = random_model(), None
    batch = batch_for(model)
    with torch.no_grad(), vlm.moments(model) as sums:
        with vlm.skipping(model, "vision:1-3"), pytest.raises(ValueError, match=r"inside vlm\.skipping"):
            model(**batch)
        model(**batch)
    assert sums.samples == 1


def test_images_are_never_split_between_folds():
    model = random_model()
    batches = [batch_for(model, **shape) for shape in BOTH]
    groups = [["a", "b", "a"], ["c", "b", "d"], ["e", "a", "f"]]
    sums = recorded(model, batches, groups)
    states, prompt, modality = collected(model, batches)
    fold = np.array([fold_of(label, 0, 2) for batch in groups for label in batch])[prompt]
    check_against_rows(sums.moments(), states, prompt, modality, fold)
    assert np.isnan(sums.table()["cka_debiased"]).all()


def test_labels_are_announced_before_every_call_or_never():
    model = random_model()
    batch = batch_for(model, images=(1, 1), after=(3, 6))
    with torch.no_grad(), vlm.moments(model) as sums:
        sums.expect(["a", "b"])
        model(**batch)
        with pytest.raises(ValueError, match="before every forward"):
            model(**batch)
        sums.expect(["a"])
        with pytest.raises(ValueError, match="one label per row of the batch, got 1 for 2"):
            model(**batch)
    assert sums.samples == 2
    with torch.no_grad(), vlm.moments(model) as sums:
        model(**batch)
        with pytest.raises(ValueError, match="without an image label"):
            sums.expect(["a", "b"])


def test_recording_does_not_change_the_model_and_ignores_decoding_steps():
    model = random_model()
    batch = batch_for(model)
    with torch.no_grad():
        plain = model.generate(**batch, max_new_tokens=4, do_sample=False)
        with vlm.moments(model) as sums:
            watched = model.generate(**batch, max_new_tokens=4, do_sample=False)
    assert torch.equal(plain, watched)
    assert sums.samples == 1
    assert sums.moments().tokens.sum() == batch["attention_mask"].sum()


def test_a_call_that_fails_leaves_no_trace():
    model = random_model()
    batches = [batch_for(model, **shape) for shape in BOTH]
    whole = recorded(model, batches).moments()
    with torch.no_grad(), vlm.moments(model) as sums:
        model(**batches[0])
        handle = model.model.language_model.layers[3].register_forward_pre_hook(_explode)
        with pytest.raises(RuntimeError, match="boom"):
            model(**batches[1])
        handle.remove()
        model(**batches[1])
        model(**batches[2])
    assert same(sums.moments(), whole)


def _explode(module, args):
    raise RuntimeError("boom")


def same(a, b):
    """Whether all sums are equal bit for bit."""
    for name in a.settings.modalities:
        for pair in a.settings.pairs:
            for one, two in zip(a.sums(pair, name), b.sums(pair, name), strict=True):
                for part in ("x", "y", "ux", "uy", "vx", "vy", "square_x", "square_y", "square_step"):
                    if not np.array_equal(getattr(one, part), getattr(two, part)):
                        return False
                for side in ("alignment_x", "alignment_y", "alignment"):
                    for part in getattr(one, side).__dataclass_fields__:
                        if not np.array_equal(*(getattr(getattr(s, side), part) for s in (one, two))):
                            return False
    return True


@pytest.mark.parametrize("project", [None, 6])
def test_one_two_and_seven_shards_merge_to_the_same_bits(project, tmp_path):
    model = random_model()
    batches = [batch_for(model, images=(1,), after=(4 + i % 3,), seed=i) for i in range(14)]
    groups = [[f"image {i}"] for i in range(14)]
    first = recorded(model, batches[:1], groups[:1], project=project).moments()
    tables = []
    for shards in (1, 2, 7):
        parts = []
        for s in range(shards):
            part = recorded(model, batches[s::shards], groups[s::shards], project=project, pilot=first).moments()
            parts.append(vlm.Moments.load(part.save(tmp_path / f"{shards}-{s}.safetensors")))
        results = [parts[0].merge(*parts[1:]), parts[-1].merge(*parts[:-1][::-1])]
        assert same(*results)
        tables.append((results[0], results[0].table()))
    for result, table in tables[1:]:
        assert same(result, tables[0][0])
        for name, column in table.columns.items():
            np.testing.assert_array_equal(column, tables[0][1][name])


def test_shards_with_pilots_of_their_own_merge_to_the_same_numbers():
    model = random_model()
    batches = [batch_for(model, images=(1,), after=(4 + i % 3,), seed=i) for i in range(12)]
    groups = [[f"image {i}"] for i in range(12)]
    whole = recorded(model, batches, groups).moments().table()
    parts = [recorded(model, batches[s::3], groups[s::3]).moments() for s in range(3)]
    merged = parts[0].merge(*parts[1:]).table()
    for name in ("reconstruction", "reconstruction_back", "identity", "cka", "cka_debiased", "effective_rank"):
        np.testing.assert_allclose(merged[name], whole[name], rtol=1e-8, atol=1e-10, err_msg=name)


def test_only_recordings_of_one_model_and_setting_merge():
    model, other = random_model(), random_model(seed=1)
    batch = batch_for(model)
    mine = recorded(model, [batch]).moments()
    with pytest.raises(ValueError, match="recordings of one model, got weights"):
        mine.merge(recorded(other, [batch]).moments())
    with pytest.raises(ValueError, match="recordings of one project, got None and 4"):
        mine.merge(recorded(model, [batch], project=4).moments())
    with pytest.raises(ValueError, match="all announced their images or all did not"):
        mine.merge(recorded(model, [batch], [["a"]]).moments())
    with pytest.raises(ValueError, match="pilot: expected a recording of the same model"):
        recorded(other, [batch], pilot=mine)


def test_alignment_and_reconstruction_equal_the_estimators_on_stored_states():
    model = random_model(width=16)
    batches = [batch_for(model, images=(1,), after=(4 + i % 3,), seed=i) for i in range(24)]
    states, prompt, modality = collected(model, batches)
    table = recorded(model, batches).table()
    for row in table.rows():
        chosen = modality == row["modality"]
        x, y = (states[row[name]][chosen] for name in ("layer", "later"))
        groups = prompt[chosen]
        assert row["cka"] == pytest.approx(rd.cka(x, y, debiased=False, groups=groups).value, rel=1e-9)
        assert row["cka_debiased"] == pytest.approx(rd.cka(x, y, groups=groups).value, rel=1e-9, abs=1e-10)
        weight = 1.0 / np.bincount(groups)[groups]
        assert row["identity"] == pytest.approx(float(weight @ np.square(y - x).sum(1)) / 24, rel=1e-9)
        centred = y - np.average(y, axis=0, weights=weight)
        assert row["variance"] == pytest.approx(float(weight @ np.square(centred).sum(1)) / 24, rel=1e-9)
        assert row["relative"] == pytest.approx(row["reconstruction"] / row["variance"])


@pytest.mark.parametrize("pair", [(1, 2), (0, 4)])
@pytest.mark.parametrize("direction", ["forward", "backward"])
def test_cross_fitted_errors_are_those_of_scikit_learn_on_stored_states(pair, direction):
    model = random_model(width=16)
    batches = [batch_for(model, images=(1,), after=(4 + i % 3,), seed=i) for i in range(16)]
    states, prompt, modality = collected(model, batches)
    result = recorded(model, batches, pairs=[pair]).moments()
    for name in ("vision", "text"):
        got = result.reconstruction(pair, name, direction=direction)
        chosen = modality == name
        x, y = (states[s][chosen] for s in (pair if direction == "forward" else pair[::-1]))
        groups = prompt[chosen]
        weight = 1.0 / np.bincount(groups)[groups]
        target = y - x if got.start == "identity" else y
        total = 0.0
        for fold, strength in enumerate(got.strengths):
            fit = groups % 2 != fold
            centred = x[fit] - np.average(x[fit], axis=0, weights=weight[fit])
            trace = float(weight[fit] @ np.square(centred).sum(axis=1))
            ridge = Ridge(alpha=strength * trace, solver="cholesky").fit(x[fit], target[fit], sample_weight=weight[fit])
            total += float(weight[~fit] @ np.square(target[~fit] - ridge.predict(x[~fit])).sum(axis=1))
        assert got.error == pytest.approx(total / 16, rel=1e-6)


def test_normalised_states_make_the_identity_twice_the_cosine_distance():
    model = random_model()
    batches = [batch_for(model, images=(1,), after=(5,), seed=i) for i in range(4)]
    with torch.no_grad(), vlm.moments(model, normalise=True) as sums, vlm.probe(model) as record:
        for batch in batches:
            model(**batch)
    for row in sums.table().rows():
        distance = record.table().where(layer=row["layer"], modality=row["modality"])["distance"].mean()
        assert row["identity"] == pytest.approx(2.0 * distance, rel=1e-9)


def test_prompts_without_an_image_add_to_text_alone():
    model = random_model()
    batches = [batch_for(model, images=(0, 1), after=(7, 5), seed=i) for i in range(2)]
    sums = recorded(model, batches)
    assert sums.moments().prompts.sum(axis=1).tolist() == [2, 4]
    none = recorded(model, [batch_for(model, images=(0, 0), after=(7, 5), seed=i) for i in range(2)])
    assert set(none.table()["modality"]) == {"text"}
    with pytest.raises(ValueError, match="expected prompts with vision tokens, got none"):
        none.moments().sums((0, 1), "vision")


def test_a_state_that_is_not_finite_leaves_its_prompt_out():
    model = random_model()
    batches = [batch_for(model, images=(1,), after=(5,), seed=i) for i in range(3)]
    layer = model.model.language_model.layers[2]

    def overflow(module, args, out):
        out = out.clone()
        out[0, -1, 3] = float("inf")
        return out

    with torch.no_grad(), vlm.moments(model) as sums:
        model(**batches[0])
        model(**batches[2])
        handle = layer.register_forward_hook(overflow)
        model(**batches[1])
        handle.remove()
    result = sums.moments()
    assert result.left_out.tolist() == [1, 1]
    assert result.prompts.tolist() == [[1, 1], [1, 1]]
    assert "2 left out" in repr(result)
    assert np.isfinite(sums.table()["reconstruction"]).all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_massive_activations_in_half_precision(dtype):
    """A column of -1000 in every token, one of 500 in some, one constant, one twice."""
    model = random_model(width=32).to(dtype)

    def massive(module, args, kwargs):
        states = kwargs.pop("hidden_states") if not args else args[0]
        states = states.clone()
        states[..., 0] -= 1000.0
        states[:, ::7, 1] += 500.0
        states[..., 2] = 3.0
        states[..., 3] = states[..., 4]
        return (states, *args[1:]), kwargs

    handle = model.model.language_model.layers[0].register_forward_pre_hook(massive, with_kwargs=True)
    batches = [batch_for(model, images=(1,), after=(9,), seed=i) for i in range(12)]
    for batch in batches:
        batch["pixel_values"] = batch["pixel_values"].to(dtype)
    states, prompt, modality = collected(model, batches)
    states[0] = None
    sums = recorded(model, batches, pairs=[(1, 2), (2, 5)])
    handle.remove()
    check_against_rows(sums.moments(), states, prompt, modality, prompt % 2, rtol=1e-9)
    assert np.isfinite(sums.table()["relative"]).all()


def test_sums_do_not_depend_on_the_batch():
    model = random_model()
    alone = [batch_for(model, images=(1,), after=(5,), seed=i) for i in range(4)]
    together = {
        name: torch.cat([batch[name] for batch in alone]) for name in ("input_ids", "attention_mask", "pixel_values")
    }
    one, four = recorded(model, [together]).table(), recorded(model, alone).table()
    np.testing.assert_allclose(one["reconstruction"], four["reconstruction"], rtol=1e-4)
    np.testing.assert_allclose(one["cka"], four["cka"], rtol=1e-4)


@pytest.mark.parametrize("pairs", ["adjacent", "entry", [(0, 3), (1, 5), (2, 4)]])
def test_on_several_devices_every_sum_has_one_home(pairs):
    """A model in two halves: a state's sums stay where it is, a pair's are where its later state is."""
    settings = recorded(random_model(), [], pairs=pairs).settings
    first, second = torch.device("cuda:0"), torch.device("cuda:1")
    homes = {state: first if state < 3 else second for state in settings.states}
    states, both = _by_device(settings, homes)
    assert {state: group.device for group in states for state in group.items} == homes
    assert {pair: group.device for group in both for pair in group.items} == {p: homes[p[1]] for p in settings.pairs}
    assert sum(len(group.items) for group in (*states, *both)) == len(settings.states) + len(settings.pairs)


@pytest.mark.parametrize("step", [1, 3 * 32 * 32, 2**24])
def test_how_many_layers_are_added_at_once_does_not_matter(step, monkeypatch):
    import vlm.hidden_states.moment_accumulator as accumulator

    model = random_model()
    batches = [batch_for(model, **shape) for shape in BOTH]
    expected = recorded(model, batches).moments()
    monkeypatch.setattr(accumulator, "_CPU_STEP", step)
    monkeypatch.setattr(accumulator, "_CPU_BLOCK", 100)
    got = recorded(model, batches).moments()
    for name in ("reconstruction", "cka_debiased", "gaussian_information"):
        np.testing.assert_allclose(got.table()[name], expected.table()[name], rtol=1e-9)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (dict(pairs=[(3, 3)]), "pairs of states 0 <= l < m <= 5"),
        (dict(pairs=[(0, 6)]), "pairs of states 0 <= l < m <= 5"),
        (dict(pairs=[]), "pairs of states"),
        (dict(pairs=[3]), "pairs: expected 'adjacent', 'entry' or pairs"),
        (dict(pairs="adjacnt"), "did you mean 'adjacent'"),
        (dict(folds=1), "folds: expected an integer >= 2"),
        (dict(project=32), "project: expected fewer columns than a state has \\(32\\), got 32"),
        (dict(modality="image"), "modality: expected one of vision, text, both"),
        (dict(precision="bfloat16"), "precision: expected one of float64, float32"),
        (dict(largest_gib=1e-6), "pass project=4, one modality or fewer pairs"),
    ],
)
def test_bad_settings_are_refused_before_anything_runs(options, message):
    model = random_model()
    with pytest.raises(ValueError, match=message), vlm.moments(model, **options):
        pass
    assert "_skipit_engine" not in model.__dict__


def test_an_empty_recording_says_so(tmp_path):
    model = random_model()
    with vlm.moments(model) as sums:
        pass
    with pytest.raises(ValueError, match="moments: nothing recorded yet"):
        sums.table()
    with pytest.raises(FileNotFoundError, match="no moments at"):
        vlm.Moments.load(tmp_path / "none.safetensors")
    (tmp_path / "cut.safetensors").write_bytes(b"1234567890")
    with pytest.raises(ValueError, match="cut off or not a safetensors file"):
        vlm.Moments.load(tmp_path / "cut.safetensors")
    one = recorded(model, [batch_for(model)])
    with pytest.raises(ValueError, match=r"in each of the 2 folds, got \[\[1, 0\], \[1, 0\]\]"):
        one.table()


def test_inference_mode_and_plain_calls_may_alternate():
    model = random_model()
    batch = batch_for(model)
    with vlm.moments(model) as sums:
        with torch.inference_mode():
            model(**batch)
        model(**batch)
        with torch.inference_mode():
            model(**batch)
    assert sums.samples == 3
    sums.table()
