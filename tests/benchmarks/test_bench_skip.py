"""The GPU benchmark of skipping, tried out on a processor at tiny shapes: sound models, true counts, a full table."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).resolve().parents[1] / "benchmarks"
FRAME = "before\n<!-- bench_skip_gpu: begin -->\nold\n<!-- bench_skip_gpu: end -->\nafter\n"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import bench_skip_gpu

    def run(*arguments):
        monkeypatch.setattr(sys, "argv", ["bench_skip_gpu.py", *map(str, arguments)])
        bench_skip_gpu.main()

    bench_skip_gpu.run = run
    return bench_skip_gpu


def test_without_a_gpu_it_says_so_and_ends(bench, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    bench.run()
    assert capsys.readouterr().out.splitlines() == ["no GPU here: nothing measured (try --tiny)"]


def test_the_table_of_a_tiny_run_holds_the_counted_cache(bench, tmp_path):
    file = tmp_path / "skip-gpu.md"
    file.write_text(FRAME)
    bench.run("--tiny", "--rounds", 1, "--tokens", 1, "--batches", 2, "--only", "LLaVA", "--markdown", file)
    text = file.read_text()
    assert text.startswith("before\n<!-- bench_skip_gpu: begin -->\n")
    assert text.endswith("<!-- bench_skip_gpu: end -->\nafter\n")
    assert "old" not in text
    rows = [line.split("|") for line in text.splitlines() if line.startswith("| `") and "`vlm." not in line]
    assert len(rows) == 11
    assert [text.count(f"| `vlm.{way}` |") for way in ("probe", "attention")] == [1, 1]
    assert all(row[-3] == row[-2] for row in rows)
    assert "32 image + 64 text tokens, batch 2" in text
    file.write_text("no markers")
    with pytest.raises(SystemExit, match="nothing written"):
        bench.run("--tiny", "--rounds", 1, "--tokens", 1, "--batches", 1, "--only", "LLaVA", "--markdown", file)


def test_models_filled_after_the_meta_device_are_sound(bench):
    for shape in bench.TINY:
        model = bench.build(shape, "cpu")
        with torch.no_grad():
            logits = model(**bench.prompt(shape, 2, model)).logits
        assert torch.isfinite(logits).all()
        assert 0.05 < float(logits.float().std()) < 1
        rotary = model.model.language_model.rotary_emb
        assert torch.equal(rotary.inv_freq, type(rotary)(rotary.config).inv_freq.to(rotary.inv_freq.dtype))


def test_the_true_shapes_have_the_right_sizes(bench):
    """7B, 13B, 7B and 8.3B parameters, tower and embeddings included; nothing is filled."""
    sizes = {}
    for shape in bench.SHAPES:
        model = bench.skeleton(shape)
        sizes[shape.name] = (round(sum(p.numel() for p in model.parameters()) / 1e9, 1), shape.vision)
    assert sizes == {
        "LLaVA 1.5 7B": (7.1, 576),
        "LLaVA 1.5 13B": (13.4, 576),
        "LLaVA-NeXT 7B": (7.1, 2880),
        "Qwen2.5-VL 7B": (8.3, 1024),
    }
