"""The training script runs every stage and resumes exactly; its optimiser is the published one."""

import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch

import vlm
from vlm.tiny.continued_training import Recipe, attention_price, random_plan
from vlm.tiny.muon import Muon, orthogonalise
from vlm.tiny.train import STAGES, main, make_batch, rate_factor, train

TWO_STEPS = dict.fromkeys(STAGES, 2)


@pytest.fixture
def few_scenes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Steps of eight scenes: what is tested is where they come from and how they go on."""
    monkeypatch.setattr("vlm.tiny.training_batches.SCENES", 8)


def weights(folder: Path) -> dict[str, torch.Tensor]:
    model, _ = vlm.load(folder)
    return model.state_dict()


def assert_equal_weights(one: Path, other: Path) -> None:
    # Sums depend on how memory happens to be aligned: equal up to float16 rounding, far below one step's 1e-2.
    first, second = weights(one), weights(other)
    for name, value in first.items():
        assert torch.allclose(value, second[name], rtol=2e-3, atol=1e-4), name


@pytest.mark.usefixtures("few_scenes")
def test_it_runs_all_stages_and_resumes_to_the_same_weights(tmp_path: Path) -> None:
    straight = train(seed=3, out=tmp_path / "straight", steps=TWO_STEPS, every=1, limit=6)
    lines = [json.loads(line) for line in (tmp_path / "straight" / "log.jsonl").read_text().splitlines()]
    assert [(line["stage"], line["step"]) for line in lines] == [
        (stage, step) for stage in ("tower", "text", "projector-plain", "joint-plain") for step in (1, 2)
    ]

    # Interrupted: the schedule knows the final number of steps, the run ends in the middle of the joint stage.
    out = tmp_path / "broken"

    class Stop(Exception):
        pass

    def stop(*_: object) -> None:
        raise Stop

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vlm.tiny.train.export", stop)
        with pytest.raises(Stop):
            train(seed=3, out=out, steps=TWO_STEPS, every=1, limit=6)
        state = torch.load(out / "joint-plain.pt", weights_only=True)
        assert state["step"] == 2
        (out / "joint-plain.pt").unlink()
    resumed = train(seed=3, out=out, steps=TWO_STEPS, every=1, limit=6, resume=True)
    assert_equal_weights(straight, resumed)

    scaled = train(seed=3, out=out, steps=TWO_STEPS, every=1, limit=6, resume=True, variant="scaled")
    assert sum(file.stat().st_size for file in scaled.iterdir()) < 4e6
    norms = []
    for folder in (straight, scaled):
        model, processor = vlm.load(folder)
        asked = vlm.tiny.questions(limit=1)
        batch = processor(images=[asked[0].image], text=[asked[0].prompt], return_tensors="pt")
        with torch.inference_mode():
            features = model.model.get_image_features(pixel_values=batch["pixel_values"]).pooler_output
        norms.append(float(torch.cat(list(features)).norm(dim=-1).mean()))
    assert norms[1] > 20 * norms[0]
    assert norms[1] == pytest.approx(400, rel=0.2)


@pytest.mark.usefixtures("few_scenes")
def test_a_stage_continues_from_its_middle_with_the_same_batches_and_momentum(tmp_path: Path) -> None:
    steps = {"tower": 1, "text": 4, "projector": 1, "joint": 1}
    straight = train(seed=1, out=tmp_path / "a", steps=steps, every=2, limit=6)

    calls = 0

    def interrupt(batch_stage: str, rng: np.random.Generator, *, early: bool) -> dict[str, torch.Tensor]:
        nonlocal calls
        calls += batch_stage == "text"
        if calls == 4:
            raise KeyboardInterrupt
        return make_batch(batch_stage, rng, early=early)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vlm.tiny.train.make_batch", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(seed=1, out=tmp_path / "b", steps=steps, every=2, limit=6)
    assert torch.load(tmp_path / "b" / "text.pt", weights_only=True)["step"] == 2
    resumed = train(seed=1, out=tmp_path / "b", steps=steps, every=2, limit=6, resume=True)
    assert_equal_weights(straight, resumed)


@pytest.mark.parametrize("variant", ["priced", "late"])
@pytest.mark.usefixtures("few_scenes")
def test_variants_that_continue_scaled_resume_to_the_same_weights(tmp_path: Path, variant: str) -> None:
    straight = train(seed=2, out=tmp_path / "a", variant=variant, steps={"joint": 4}, every=2, limit=6)
    path = tmp_path / "b" / f"joint-{variant}.pt"
    path.parent.mkdir()

    calls = 0

    def interrupt(batch_stage: str, rng: np.random.Generator, *, early: bool = False) -> dict[str, torch.Tensor]:
        nonlocal calls
        calls += 1
        if calls == 4:
            raise KeyboardInterrupt
        return make_batch(batch_stage, rng, early=early)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("vlm.tiny.train.make_batch", interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(seed=2, out=path.parent, variant=variant, steps={"joint": 4}, every=2, limit=6)
    assert torch.load(path, weights_only=True)["step"] == 2
    resumed = train(seed=2, out=path.parent, variant=variant, steps={"joint": 4}, every=2, limit=6, resume=True)
    assert_equal_weights(straight, resumed)
    start = vlm.load("tiny-scaled")[0].state_dict()
    assert max(float((weights(straight)[name] - start[name]).abs().max()) for name in start) > 1e-4


def test_the_price_is_the_weighted_mean_of_what_text_gives_to_the_image() -> None:
    ids = torch.tensor([[1, 4, 4, 7, 8], [1, 4, 4, 7, 0], [1, 5, 6, 7, 8]])  # two images (4), one padded; one in words
    attention = torch.zeros(3, 2, 5, 5)
    attention[0, 0, 3, 1] = 0.4  # head 0 of one token of three after and before the image
    attention[0, 1, 4, 2] = 0.2
    attention[1, 1, 3, 1:3] = 0.25
    attention[1, :, 4, 1] = 1.0  # padding is not text
    attention[2, :, :, 1] = 1.0  # no image
    recipe = Recipe((10,), 0.3, ((3.0, 0.5), (0.0, 0.5)), 0.1, 0.2, planned=False)
    # Text tokens of rows 0 and 1: three and two.
    mean = (0.4 + 0.2 + 0.5) / (5 * 2)
    largest = (0.4 + 0.2 + 0.5) / 5
    expected = (3.0 * (mean + 0.1 * largest) + 0.5 * 0.0) / 2
    price = attention_price((attention, torch.zeros_like(attention)), ids, recipe)
    assert float(price) == pytest.approx(expected)
    second = attention_price((attention, torch.zeros_like(attention)), ids, recipe, 1)
    assert float(second) == 0.0  # the second round has weights of its own
    assert {random_plan(np.random.default_rng(seed)) for seed in range(60)} == {
        f"vision:0-{entry}{leave}" for entry in (2, 3) for leave in ("+7-10", "+8-10", "+9-10", "")
    }


def test_batches_depend_on_the_generator_alone() -> None:
    for stage in STAGES:
        one, two = (make_batch(stage, np.random.default_rng([0, 1])) for _ in range(2))
        assert all(torch.equal(one[name], two[name]) for name in one)
        assert one["input_ids"].shape == one["labels"].shape
    early = make_batch("text", np.random.default_rng(0), early=True)
    assert early["labels"].ne(-100).sum() > 1.2 * make_batch("text", np.random.default_rng(0))["labels"].ne(-100).sum()
    assert "pixel_values" not in make_batch("text", np.random.default_rng(0))
    assert make_batch("joint", np.random.default_rng(0))["pixel_values"].shape == (24, 3, 24, 24)


def test_unknown_variants_and_options_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(ValueError, match="variant must be one of plain, scaled, priced, late, got 'odd'"):
        train(seed=0, out=tmp_path, variant="odd")
    with pytest.raises(SystemExit):
        main(["--out", str(tmp_path), "--threads", "3"])
    assert "invalid choice" in capsys.readouterr().err


def test_the_schedule_warms_up_and_decays() -> None:
    factors = [rate_factor(step, 100) for step in range(100)]
    assert factors[0] == pytest.approx(0.2)
    assert factors[4:71] == [1.0] * 67
    assert factors[-1] == pytest.approx(1 / 30)
    assert all(a >= b for a, b in pairwise(factors[4:]))


def test_muon_is_torchs_muon_up_to_bfloat16() -> None:
    torch.manual_seed(0)
    ours = [torch.nn.Parameter(torch.randn(shape)) for shape in ((64, 64), (176, 64), (64, 176), (64, 64))]
    theirs = [torch.nn.Parameter(p.detach().clone()) for p in ours]
    start = [p.detach().clone() for p in ours]
    one, two = Muon(ours, lr=0.01, weight_decay=0.2), torch.optim.Muon(theirs, lr=0.01, weight_decay=0.2)
    for _ in range(3):
        for p, q in zip(ours, theirs, strict=True):
            p.grad = torch.randn_like(p)
            q.grad = p.grad.clone()
        one.step()
        two.step()
    for p, q, s in zip(ours, theirs, start, strict=True):
        # torch orthogonalises in bfloat16, eight bits of mantissa over five iterations
        assert (p - q).norm() < 0.03 * (q - s).norm()


def test_orthogonalising_keeps_singular_vectors_and_evens_out_the_values() -> None:
    generator = torch.Generator().manual_seed(2)
    matrices = torch.randn(3, 40, 24, generator=generator, dtype=torch.float64)
    u, _, v = torch.linalg.svd(matrices, full_matrices=False)
    turned = u.mT @ orthogonalise(matrices) @ v.mT
    values = torch.diagonal(turned, dim1=-2, dim2=-1)
    assert torch.allclose(turned, torch.diag_embed(values), atol=1e-9)
    assert values.min() > 0.5
    assert values.max() < 1.3


def test_muon_takes_matrices_only() -> None:
    with pytest.raises(ValueError, match="2-D parameters only"):
        Muon([torch.nn.Parameter(torch.zeros(3))], lr=0.1)
