"""What memlab relies on in Unsloth, read from its source without importing it (it needs a GPU).

The wheels are looked for in MEMLAB_WHEELS, build/gpu/wheels and ~/.cache/memlab/wheels; get them with
`pip download --no-deps unsloth==2026.10.7 unsloth_zoo==2026.10.7 -d ~/.cache/memlab/wheels`.
MEMLAB_UNSLOTH_SITE may name a folder in which unsloth, its needs and triton are installed (`benchmarks/gpu_session.sh install`
makes one, triton added): with it Unsloth's kernels run in Triton's interpreter and are compared with PyTorch, and memlab trains
through Unsloth's own loader, decoder and GRPO trainer, without a GPU (`unsloth_on_cpu.py`).
"""

import ast
import json
import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch

from memlab.accelerator import Accelerator
from memlab.paths import ROOT
from memlab.policies import pretrained
from memlab.policies.backends import load_trainable
from tests import toys
from tests.contract import unsloth_on_cpu

PINS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["gpu"]
PLACES = [os.environ.get("MEMLAB_WHEELS", ""), ROOT / "build" / "gpu" / "wheels", Path.home() / ".cache" / "memlab" / "wheels"]


def wheel(name):
    version = next(p.split("==")[1] for p in PINS if p.startswith(f"{name}=="))
    found = [w for place in PLACES if place for w in Path(place).glob(f"{name}-{version}-*.whl")]
    if not found:
        pytest.skip(f"no wheel of {name} {version}; pip download --no-deps {name}=={version} -d ~/.cache/memlab/wheels")
    return zipfile.ZipFile(found[0])


def source(name, path):
    return wheel(name).read(f"{name}/{path}").decode()


def signature(text, function, inside=None):
    """{parameter: source of its default} of the first function of that name, in the class `inside` if given."""
    tree = ast.parse(text)
    if inside:
        tree = next(n for n in ast.walk(tree) if isinstance(n, ast.ClassDef) and n.name == inside)
    f = next(n for n in ast.walk(tree) if isinstance(n, ast.FunctionDef) and n.name == function)
    names, defaults = [a.arg for a in f.args.args], [ast.unparse(d) for d in f.args.defaults]
    return dict.fromkeys(names) | dict(zip(names[len(names) - len(defaults) :], defaults))


def test_loading_takes_what_we_pass():
    loading = signature(source("unsloth", "models/loader.py"), "from_pretrained", "FastLanguageModel")
    ours = {"model_name", "max_seq_length", "dtype", "load_in_4bit", "fast_inference", "gpu_memory_utilization", "max_lora_rank"}
    assert ours | {"use_exact_model_name", "fix_tokenizer", "random_state"} <= set(loading)
    # defaults that would change the experiment: another repository's 4-bit copy, a mended tokenizer
    assert (loading["load_in_4bit"], loading["use_exact_model_name"], loading["fix_tokenizer"]) == ("True", "False", "True")
    adapters = signature(source("unsloth", "models/llama.py"), "get_peft_model", "FastLlamaModel")
    assert {"r", "target_modules", "lora_alpha", "lora_dropout", "use_gradient_checkpointing", "random_state"} <= set(adapters)
    assert adapters["use_gradient_checkpointing"] == "'unsloth'"


def test_it_must_come_before_transformers_and_needs_an_accelerator():
    assert 'critical_modules = ["trl", "transformers", "peft"]' in source("unsloth", "_gpu_init.py")
    assert "cannot find any torch accelerator" in source("unsloth_zoo", "device_type.py")


def test_it_counts_its_users_unless_told_not_to():
    assert '"UNSLOTH_DISABLE_STATISTICS" in os.environ' in source("unsloth", "models/_utils.py")


def test_the_generation_of_one_turn_is_still_trls():
    """`TrainerPolicy` calls it; Unsloth may change how it works, not that it is there."""
    assert "def grpo_trainer__generate_single_turn(" in source("unsloth", "models/rl_replacements.py")


def test_masks_come_from_the_pad_token():
    """Why pad must differ from every token that is written."""
    assert "!= pad_token_id" in source("unsloth_zoo", "rl_replacements.py")
    assert "tool_mask" in source("unsloth_zoo", "rl_replacements.py")


@pytest.mark.parametrize("default", ["mask_truncated_completions", "epsilon_high"])
def test_defaults_that_unsloth_changes_are_set_by_us(default, tmp_path):
    from memlab.training.grpo import GRPOSettings, grpo_config

    assert default in source("unsloth", "models/rl.py")
    config = grpo_config(GRPOSettings(tasks=2, group=2), str(tmp_path))
    assert (config.mask_truncated_completions, config.epsilon_high, config.optim) == (False, 0.2, "adamw_torch")
    assert config.vllm_importance_sampling_correction is False


def test_the_kernels_that_are_measured():
    names = {
        "kernels/rms_layernorm.py": ("fast_rms_layernorm", ["layernorm", "X", "gemma"]),
        "kernels/swiglu.py": ("swiglu_fg_kernel", ["e", "g"]),
        "kernels/rope_embedding.py": ("fast_rope_embedding", ["Q", "K", "cos", "sin"]),
        "kernels/cross_entropy_loss.py": ("fast_cross_entropy_loss", ["logits", "labels"]),
    }
    for path, (name, parameters) in names.items():
        assert list(signature(source("unsloth", path), name))[: len(parameters)] == parameters
    chunked = signature(source("unsloth_zoo", "rl_replacements.py"), "chunked_hidden_states_selective_log_softmax")
    assert list(chunked)[:4] == ["hidden_states", "lm_head", "index", "chunks"]


def test_the_caps_admit_our_pins():
    from packaging.requirements import Requirement

    text = wheel("unsloth").read("unsloth-2026.10.7.dist-info/METADATA").decode()
    wanted = [Requirement(line[15:]) for line in text.splitlines() if line.startswith("Requires-Dist:") and "extra" not in line]
    base = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    pins = dict(line.split("==") for line in [*base, *PINS])
    checked = [r.name for r in wanted if r.name in pins]
    assert {"torch", "transformers", "trl", "peft", "datasets"} <= set(checked)
    assert not [str(r) for r in wanted if r.name in pins and pins[r.name] not in r.specifier]


@pytest.fixture
def site():
    """The folder that holds Unsloth, its needs and triton."""
    if not (found := os.environ.get("MEMLAB_UNSLOTH_SITE")):
        pytest.skip("MEMLAB_UNSLOTH_SITE is not set; see the top of this file")
    return found


def on_cpu(site, *arguments, timeout=280):
    """What `python ARGUMENTS` prints after RESULT, with Unsloth in its path."""
    env = os.environ | {"PYTHONPATH": f"{site}:{ROOT}", "UNSLOTH_ALLOW_CPU": "1", "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, *arguments], capture_output=True, text=True, env=env, timeout=timeout, cwd=ROOT)
    line = next((li for li in done.stdout.splitlines() if li.startswith("RESULT ")), None)
    assert line, done.stderr[-3000:]
    return json.loads(line.removeprefix("RESULT "))


@pytest.mark.slow
def test_unsloths_kernels_in_tritons_interpreter(site):
    """RMSNorm, RoPE, SwiGLU and the GRPO log-probabilities: the benchmark's own comparison, on toy sizes."""
    code = (
        "import unsloth, torch, json; torch.cuda.current_device = lambda: 0\n"
        "from benchmarks.gpu_kernels import kernels\n"
        "print('RESULT ' + json.dumps(kernels('cpu', {'copy_gb_s': 1.0, 'matrix_tflops': 1.0})))"
    )
    found = on_cpu(site, "-c", code)
    for name in ("rms_norm", "rope", "swiglu", "grpo_loss"):
        assert found[name]["largest_difference"] < 1e-5, (name, found[name])


def toy(tmp_path):
    """A chat model of two layers whose heads are as wide as Unsloth's kernels want them."""
    shape = dict(hidden_size=64, intermediate_size=128, head_dim=64, num_attention_heads=1, num_key_value_heads=1)
    toys.save_chat(tmp_path / "toy", **shape)


@pytest.mark.slow
@pytest.mark.parametrize(("precision", "fused", "near"), [("fp32", 0, 1e-4), ("bf16", 2, 0.02)])
def test_unsloth_trains_memlabs_rows(site, tmp_path, precision, fused, near):
    """The whole GPU path without a GPU: loading, adapters, decoder, the rewritten GRPO trainer, the saved policy.

    near: of the gradient's norm; measured are 8e-7 and 0.003. Unsloth fuses LoRA into its layers only where weights are bf16.
    """
    toy(tmp_path)
    plain = load_trainable(str(tmp_path / "toy"), Accelerator("cpu", "cpu", "fp32"), 4)
    torch.manual_seed(1)
    for name, p in plain.model.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(p, std=0.5)
    plain.model.save_pretrained(tmp_path / "adapter")
    greedy = plain.frozen().complete(unsloth_on_cpu.prompts(plain.tokenizer)[:3])
    loss, gradients = unsloth_on_cpu.gradient(plain.model, plain.tokenizer, tmp_path / "plain")

    found = on_cpu(site, "-m", "tests.contract.unsloth_on_cpu", str(tmp_path), precision, timeout=900)
    assert found["trainer"] == "UnslothGRPOTrainer" and found["fused"] == fused
    stock = unsloth_on_cpu.plain(tmp_path / "stock-run")
    assert np.allclose(found["plain"], stock, rtol=2e-3, atol=1e-5), "a model that Unsloth did not load"
    assert (found["longest"], found["rope"]) == (512, "default"), "a window beyond the model's would rescale its positions"
    assert found["overflow"] == [False, False, False, True]
    theirs = torch.load(tmp_path / f"gradients-{precision}.pt")
    assert set(theirs) == set(gradients) and found["loss"] == pytest.approx(loss, rel=near)
    ours, its = (torch.cat([g[name].flatten() for name in sorted(g)]) for g in (gradients, theirs))
    assert (ours - its).norm() < near * ours.norm()
    if precision == "fp32":
        assert found["greedy"][:3] == [done.ids for done in greedy]
        assert found["second_step"][0] == found["second_step"][1], "killed after it, and played again from a checkpoint"
        saved, _ = pretrained.load(found["policy"])
        with torch.no_grad():
            logits = saved(torch.tensor([[3, 4, 5, 6]])).logits
        assert torch.allclose(logits, torch.tensor(found["logits"]), atol=1e-3)


@pytest.mark.slow
def test_unsloth_trains_two_agents_one_after_the_other(site, tmp_path):
    toy(tmp_path)
    found = on_cpu(site, "-m", "tests.contract.unsloth_on_cpu", str(tmp_path), "agents", timeout=900)
    messages, questions = found["turns"]
    assert found["steps"] == 2 and found["asked"] == [False] * messages + [True] * questions
    assert {"run/warmstart", "run/policy", "run/reader/policy"} <= set(found["saved"])
