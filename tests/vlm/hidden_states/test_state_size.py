"""Sizes said before a run against bytes on disk."""

from __future__ import annotations

import pytest

from vlm.hidden_states.state_size import readable, states_size


def test_sizes_count_rows_layers_width_and_bytes():
    views = ("last", "vision-mean", "vision-sample(8)", "vision-all", "text-all")
    size = states_size(views, prompts=10, width=64, layers=11, vision_tokens=36, text_tokens=9.5)
    assert size.rows == {"last": 10, "vision-mean": 10, "vision-sample(8)": 80, "vision-all": 360, "text-all": 95}
    token, mean = 64 * 11 * 2 + 12, 64 * 11 * 4 + 12
    assert size.sizes == {
        "last": 10 * token,
        "vision-mean": 10 * mean,
        "vision-sample(8)": 80 * token,
        "vision-all": 360 * token,
        "text-all": 95 * token,
    }
    assert size.total == sum(size.sizes.values())


@pytest.mark.parametrize(
    ("dtype", "own", "mean", "token"),
    [(None, "float16", 4, 2), (None, "float32", 4, 4), (None, "float64", 8, 8), ("bfloat16", "float32", 2, 2)],
)
def test_means_are_float32_unless_said(dtype, own, mean, token):
    size = states_size(("last", "text-mean"), prompts=1, width=100, layers=1, dtype=dtype, own=own)
    assert size.sizes == {"last": 100 * token + 12, "text-mean": 100 * mean + 12}


def test_readable_sizes():
    assert [readable(n) for n in (0, 999, 1000, 1.234e6, 9.9e9, 5e12, 5e15)] == [
        "0 bytes",
        "999 bytes",
        "1.0 kB",
        "1.2 MB",
        "9.9 GB",
        "5.0 TB",
        "5000.0 TB",
    ]
    assert str(states_size("last", prompts=1, width=100, layers=1)) == "212 bytes"
