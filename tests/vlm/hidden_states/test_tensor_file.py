"""Safetensors files against the safetensors package, and files that are damaged."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from vlm.hidden_states.state_rows import Held
from vlm.hidden_states.tensor_file import open_tensors, write_tensors

TORCH = {
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
    "float32": torch.float32,
    "float64": torch.float64,
    "int32": torch.int32,
    "int64": torch.int64,
}


def arrays():
    generator = torch.Generator().manual_seed(0)
    tensors = {name: (torch.randn(5, 3, generator=generator) * 100).to(kind) for name, kind in TORCH.items()}
    tensors["none"] = torch.empty(0, 4, dtype=torch.float32)
    tensors["ünï/1"] = torch.tensor([[1.5]], dtype=torch.bfloat16)
    return tensors


def numpy_of(tensor):
    return tensor.view(torch.int16).numpy().view(np.uint16) if tensor.dtype == torch.bfloat16 else tensor.numpy()


def kind_of(tensor):
    return str(tensor.dtype).removeprefix("torch.")


def test_the_package_reads_what_is_written(tmp_path):
    path, tensors = tmp_path / "deep" / "a.safetensors", arrays()
    written = write_tensors(path, {n: (numpy_of(t), kind_of(t)) for n, t in tensors.items()}, {"format": "x"})
    assert written == (path.stat().st_size, hashlib.sha256(path.read_bytes()).hexdigest())
    with safe_open(path, framework="pt") as file:
        assert file.metadata() == {"format": "x"}
        assert set(file.keys()) == set(tensors)
        for name, tensor in tensors.items():
            assert torch.equal(file.get_tensor(name), tensor)
            assert file.get_tensor(name).dtype == tensor.dtype


def test_what_the_package_writes_is_read(tmp_path):
    path, tensors = tmp_path / "a.safetensors", arrays()
    save_file(tensors, path)
    file = open_tensors(path)
    for name, tensor in tensors.items():
        assert file.kind(name) == kind_of(tensor)
        np.testing.assert_array_equal(file.array(name), numpy_of(tensor))
    assert isinstance(file.array("float32"), np.memmap)
    with pytest.raises(ValueError, match="read-only"):
        file.array("float32")[0] = 1


def test_bfloat16_is_widened_exactly_without_torch():
    everything = np.arange(2**16, dtype=np.uint16)
    wide = Held(everything, "bfloat16").wide()
    expected = torch.from_numpy(everything.view(np.int16).copy()).view(torch.bfloat16).to(torch.float32).numpy()
    np.testing.assert_array_equal(wide, expected)
    assert wide.dtype == np.float32


def test_a_file_that_is_cut_off_anywhere_is_refused(tmp_path):
    path, tensors = tmp_path / "a.safetensors", {"x": torch.ones(3, 2), "y": torch.ones(2, dtype=torch.int32)}
    write_tensors(path, {n: (numpy_of(t), kind_of(t)) for n, t in tensors.items()}, {})
    whole = path.read_bytes()
    for length in range(len(whole)):
        path.write_bytes(whole[:length])
        with pytest.raises(
            ValueError, match=r"^states: .*a.safetensors is not a whole safetensors file .*; restore it"
        ):
            open_tensors(path)
    for damaged in (whole + b"x", whole.replace(b"F32", b"F31"), whole.replace(b"dtype", b"dtyqe"), b"\xff" * 40):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="is not a whole safetensors file"):
            open_tensors(path)
