"""The arithmetic of a run, against numbers worked out by hand and against transformers' own parameter counts."""

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

from memlab import accelerator, papers
from memlab.papers.instruct import instruct
from memlab.training import gpu
from memlab.training.estimate import CONTEXT_BYTES, SHAPES, Shape, Work, device_key, estimate, shape_of, work_of
from memlab.training.grpo import GRPOSettings

SETTINGS = GRPOSettings(steps=10, tasks=2, group=4, micro_batches=2)
WORK = Work(turns=3, prompt=100, completion=20)


@pytest.mark.parametrize("name", [n for n in SHAPES if n.startswith("hub:")])
def test_parameters_are_those_of_transformers(name):
    s = SHAPES[name]
    config, model = (Qwen3Config, Qwen3ForCausalLM) if s.qk_norm else (Qwen2Config, Qwen2ForCausalLM)
    made = config(
        vocab_size=s.vocab,
        hidden_size=s.hidden,
        intermediate_size=s.mlp,
        num_hidden_layers=s.layers,
        num_attention_heads=s.heads,
        num_key_value_heads=s.kv_heads,
        head_dim=s.head_dim,
        tie_word_embeddings=s.tied,
    )
    with torch.device("meta"):
        assert s.parameters == sum(p.numel() for p in model(made).parameters())
    assert Shape.from_config(made.to_dict()) == s


def test_smollm2_by_hand():
    s = SHAPES["smollm2"]
    layer = 576 * 576 + 2 * 576 * 192 + 576 * 576 + 3 * 576 * 1536 + 2 * 576
    assert s.parameters == 49152 * 576 + 30 * layer + 576 == 134_515_008
    assert s.lora_parameters(16) == 30 * 16 * (576 + 576 + 2 * (576 + 192) + 576 + 576 + 3 * (576 + 1536))


def test_every_part_by_hand():
    e = estimate("smollm2", SETTINGS, WORK, "trl", "A100", lora_rank=16)
    rows = 2 * 4 * 3 / 2
    assert e.weights == 2 * 134_515_008
    assert e.adapters == 16 * SHAPES["smollm2"].lora_parameters(16)
    assert e.logits == 2 * rows * 20 * 49_152 * 4
    assert e.activations == rows * 120 * 2 * (30 * 576 + 10 * 576 + 4 * 1536)
    assert e.kv_cache == 8 * 120 * 30 * 2 * 3 * 64 * 2
    assert e.peak == CONTEXT_BYTES + e.weights + e.adapters + max(e.activations + e.logits, e.kv_cache)
    assert e.download == 0 and e.hours == pytest.approx(10 * e.step_seconds / 3600)


def test_what_changes_what():
    full, chunked = (estimate("smollm2", SETTINGS, WORK, b, "A100") for b in ("trl", "unsloth"))
    assert chunked.logits == full.logits / 12 and chunked.weights == full.weights
    model = "hub:Qwen/Qwen2.5-7B-Instruct"
    half, four = (estimate(model, SETTINGS, WORK, "unsloth", "A100", four_bit=q) for q in (False, True))
    assert 0.3 < four.weights / half.weights < 0.4  # embeddings and head stay in 16 bits
    assert half.download == 2 * SHAPES[model].parameters
    everything = estimate("tiny", SETTINGS, WORK, "cpu", "cpu", lora_rank=0)
    assert everything.adapters == 16 * SHAPES["tiny"].parameters and everything.weights == 0


def test_devices_and_shapes_by_name(tmp_path):
    assert device_key("NVIDIA H100 80GB HBM3") == "H100" and device_key("something else") == "A100"
    with pytest.raises(ValueError, match="choose one of: tiny, smollm2"):
        shape_of("gpt5")


def test_work_is_measured_on_episodes():
    work = work_of(instruct(papers.get("memagent"), "english"))
    assert 2 <= work.turns <= 5 and 80 < work.prompt < 300 and work.completion == 48


def test_a_plan_for_the_cpu_says_so_and_a_large_model_is_refused(monkeypatch):
    monkeypatch.setattr(accelerator, "_decided", accelerator.Accelerator("cpu", "cpu", "fp32", "there is no NVIDIA GPU here"))
    plan = gpu.plan_run("memagent", "tiny", steps=5)
    assert plan.lora_rank == 0 and plan.settings.steps == 5 and plan.estimate.backend == "cpu"
    with pytest.raises(accelerator.NoAccelerator, match="no NVIDIA GPU here .*1.5B.* would take"):
        gpu.plan_run("memagent")
    dry = gpu.plan_run("memagent", dry=True)
    assert "no NVIDIA GPU here" in dry.accelerator.notice and (dry.estimate.device, dry.estimate.backend) == ("A100", "unsloth")
    assert dry.estimate.peak < 80e9
    with pytest.raises(ValueError, match="no task 'french'"):
        gpu.plan_run("memagent", "smollm2", task="french")


def test_settings_are_the_papers_and_a_warm_start_leaves_out_the_kl():
    paper = instruct(papers.get("memagent"), "english")
    dial = gpu.presets.get("gpu")
    cold = gpu.settings_of(paper, "hub:Qwen/Qwen2.5-7B-Instruct", dial, 0, None, "untrained")
    assert (cold.group, cold.beta, cold.epsilon, cold.scale, cold.learning_rate) == (16, 0.001, 0.2, "none", 2e-5)
    warm = gpu.settings_of(paper, "smollm2", dial, 0, None, "warmstart")
    assert warm.beta == 0.0 and warm.learning_rate == gpu.SMALL_LEARNING_RATE
    assert warm.tasks * warm.group == dial.tasks_per_step * dial.group_size


def test_micro_batches_grow_until_it_fits():
    guess = lambda s: estimate("hub:Qwen/Qwen2.5-1.5B-Instruct", s, Work(4, 300, 400), "trl", "A100")  # noqa: E731
    fitted = gpu._fit(GRPOSettings(tasks=8, group=16), guess, 8e9)
    assert fitted.micro_batches > 8 and 128 % fitted.micro_batches == 0
