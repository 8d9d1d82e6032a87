"""Loading embedded models, local folders and hub ids."""

import socket
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from transformers import LlamaConfig, LlamaForCausalLM, LlavaForConditionalGeneration

import vlm
from vlm.models.loading import EMBEDDED
from vlm.tiny.architecture import new_model, new_processor


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random LLaVA model, saved with its processor as on the hub."""
    path = tmp_path_factory.mktemp("hub")
    torch.manual_seed(0)
    new_model(layers=2).to(torch.bfloat16).save_pretrained(path)
    processor = new_processor()
    processor.tokenizer.padding_side = "right"
    processor.save_pretrained(path)
    return path


@pytest.fixture
def no_network(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("the network was asked")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    monkeypatch.setattr(socket, "getaddrinfo", refuse)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", sorted(EMBEDDED))
def test_embedded_models_load_without_network_in_float32(name: str) -> None:
    model, processor = vlm.load(name)
    assert isinstance(model, LlavaForConditionalGeneration)
    assert {p.dtype for p in model.parameters()} == {torch.float32}
    assert not model.training
    assert model.config._attn_implementation == "sdpa"
    assert processor.tokenizer.padding_side == "left"


def test_a_saved_folder_loads_in_its_own_type(folder: Path) -> None:
    for given in (folder, str(folder)):
        model, processor = vlm.load(given)
        assert model.dtype == torch.bfloat16
        assert len(model.model.language_model.layers) == 2
        assert processor.tokenizer.padding_side == "left"  # whatever the checkpoint says


def test_type_device_and_attention_are_passed_on(folder: Path) -> None:
    model, _ = vlm.load(folder, dtype=torch.float64, device="cpu", attention="eager")
    assert model.dtype == torch.float64
    assert model.device == torch.device("cpu")
    assert model.model.language_model.config._attn_implementation == "eager"
    assert vlm.load("tiny", dtype=torch.float16)[0].dtype == torch.float16


def test_a_text_only_checkpoint_is_refused(tmp_path: Path) -> None:
    config = LlamaConfig(
        hidden_size=16, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2, vocab_size=20
    )
    LlamaForCausalLM(config).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"expected a vision-language model.* of type 'llama'"):
        vlm.load(tmp_path)


def test_a_model_without_image_processor_is_refused(tmp_path: Path) -> None:
    new_model(layers=1).save_pretrained(tmp_path)
    new_processor().tokenizer.save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"expected a processor for images and text .*, got none; save"):
        vlm.load(tmp_path)


def test_a_tokenizer_alone_is_not_a_processor(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = new_processor().tokenizer
    monkeypatch.setattr("transformers.AutoProcessor.from_pretrained", lambda *_, **__: tokenizer)
    with pytest.raises(ValueError, match="got only a TokenizersBackend; save the model's own"):
        vlm.load(folder)


@pytest.mark.parametrize("name", ["./nowhere", "/nowhere/at/all", "~/nowhere", "a/b/c", Path("nowhere")])
def test_a_missing_folder_is_reported(name: str | Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no folder .*nowhere|no folder 'a/b/c'"):
        vlm.load(name)


def test_unknown_attention_is_refused() -> None:
    with pytest.raises(ValueError, match=r"expected one of sdpa, eager, flash_attention_2, .* got 'flash'"):
        vlm.load("tiny", attention="flash")  # type: ignore[arg-type]


@pytest.mark.skipif(find_spec("flash_attn") is not None, reason="flash-attn is installed")
def test_flash_attention_without_its_package_says_what_to_install() -> None:
    with pytest.raises(ImportError, match="pip install flash-attn"):
        vlm.load("tiny", attention="flash_attention_2")


@pytest.mark.parametrize("package", ["torch", "transformers", "PIL"])
def test_a_missing_package_names_the_extra(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ImportError, match=f"{package}: pip install 'skipit\\[vlm\\]'"):
        vlm.load("tiny")


def test_the_callers_progress_bar_setting_survives() -> None:
    from transformers.utils import logging

    was_shown = logging.is_progress_bar_enabled()
    try:
        for shown in (True, False):
            (logging.enable_progress_bar if shown else logging.disable_progress_bar)()
            vlm.load("tiny")
            assert logging.is_progress_bar_enabled() is shown
    finally:
        (logging.enable_progress_bar if was_shown else logging.disable_progress_bar)()


def test_a_device_map_needs_accelerate_and_no_device(monkeypatch):
    with pytest.raises(ValueError, match="device, device_map: expected one of them"):
        vlm.load("tiny", device="cpu", device_map="auto")
    monkeypatch.setattr(sys.modules["vlm.engine.planned_loading"], "find_spec", lambda name: None)
    with pytest.raises(ImportError, match="device_map needs accelerate: pip install accelerate"):
        vlm.load("tiny", device_map="auto")
