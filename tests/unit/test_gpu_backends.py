"""The GPU path with a toy model on the CPU: adapters, the trainer's own sampler, a step, and the saved policy."""

import dataclasses
import json
import random
import shutil
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from datasets import Dataset
from peft import load_peft_weights

from benchmarks import gpu as bench
from memlab import accelerator, contenders, evaluation, kernels, papers
from memlab.episode import Ask
from memlab.papers.instruct import instruct
from memlab.paths import ROOT
from memlab.policies import pretrained
from memlab.policies.backends import GreedyPolicy, TrainerPolicy, load_adapter, load_trainable
from memlab.policies.base import Prompt
from memlab.policies.model import ModelPolicy
from memlab.rollout import play
from memlab.training import gpu
from memlab.training.grpo import GRPOSettings, grpo_config, make_segment_trainer
from memlab.training.train import train
from memlab.views.board import LiveBoard
from memlab.views.inspector import Inspector
from memlab.views.tables import table
from tests import toys

CPU = accelerator.Accelerator("cpu", "cpu", "fp32", "no GPU")


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    path = tmp_path_factory.mktemp("toy")
    toys.model().save_pretrained(path)
    toys.tokenizer().save_pretrained(path)
    return str(path)


def prompts(tokenizer, *texts, limit=5):
    return [Prompt(Ask(t, limit), t, tokenizer.encode(t)) for t in texts]


def test_only_the_adapters_are_trained_and_the_start_is_the_model_itself(directory):
    loaded = load_trainable(directory, CPU, lora_rank=4)
    assert loaded.backend == "cpu" and loaded.sampler is None
    trained = [n for n, p in loaded.model.named_parameters() if p.requires_grad]
    assert trained and all("lora_" in n for n in trained) and len(trained) == 2 * 7 * 2  # A and B, 7 projections, 2 layers
    ids = torch.tensor([loaded.tokenizer.encode("a b c :")])
    assert torch.equal(loaded.model(ids).logits, toys.model()(ids).logits)


def test_four_bits_and_a_missing_adapter_are_one_sentence(directory, tmp_path):
    with pytest.raises(ValueError, match="need a GPU with bitsandbytes; leave out --four-bit"):
        load_trainable(directory, CPU, four_bit=True)
    with pytest.raises(FileNotFoundError, match="holds no adapter; begin with: --start warmstart"):
        load_trainable(directory, CPU, adapter=tmp_path)


def test_a_hub_that_cannot_be_reached_is_one_sentence(monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(FileNotFoundError, match="nobody/nothing is neither in the local cache.*--model smollm2"):
        load_trainable("hub:nobody/nothing", CPU)


def trainer_of(loaded, tmp_path, **settings):
    return make_segment_trainer()(
        model=loaded.model,
        args=grpo_config(GRPOSettings(steps=1, tasks=1, group=2, **settings), str(tmp_path), save_strategy="no"),
        train_dataset=Dataset.from_dict({"prompt": [""]}),
        processing_class=loaded.tokenizer,
        rollout=lambda inputs, trainer: [],
    )


def test_the_trainers_own_generation_is_a_policy(directory, tmp_path):
    """What Unsloth and vLLM sample with: one TRL call, limits and overflow as everywhere."""
    loaded = load_trainable(directory, CPU, lora_rank=4)
    policy = TrainerPolicy(trainer_of(loaded, tmp_path), loaded.tokenizer)
    short, long = prompts(loaded.tokenizer, "a b c :", limit=2), prompts(loaded.tokenizer, "b :", "a " * 600, limit=6)
    policy.reseed(1)
    first = policy.complete(short + long)
    assert [d.overflow for d in first] == [False, False, True] and first[2].ids == []
    assert 1 <= len(first[0].ids) <= 2 and 1 <= len(first[1].ids) <= 6
    for done in first[:2]:
        assert done.truncated == (done.ids[-1] != loaded.tokenizer.eos_token_id)
    policy.reseed(1)
    assert [d.ids for d in policy.complete(short + long)] == [d.ids for d in first]
    with pytest.raises(ValueError, match="samples at temperature 1.0"):
        TrainerPolicy(policy.trainer, loaded.tokenizer, temperature=0.5)


@pytest.mark.parametrize("sampler, steps", [(None, 2), (TrainerPolicy, 1)])
def test_adapters_are_trained_saved_and_read_back_as_a_policy(directory, tmp_path, sampler, steps):
    loaded = load_trainable(directory, CPU, lora_rank=4)
    settings = GRPOSettings(steps=steps, tasks=2, group=4, learning_rate=1e-2, warmup_steps=0)
    policy = train(toys.TOY, loaded.model, loaded.tokenizer, settings, tmp_path / "run", sampler=sampler)
    assert len((tmp_path / "run" / "log.jsonl").read_text().splitlines()) == steps
    saved, tokenizer = pretrained.load(policy)
    ids = torch.tensor([tokenizer.encode("a b c :")])
    assert torch.allclose(saved(ids).logits, loaded.model(ids).logits, atol=1e-5)
    assert not torch.allclose(saved(ids).logits, toys.model()(ids).logits, atol=1e-5), "nothing was learnt"
    again = load_trainable(directory, CPU, lora_rank=4, adapter=policy)
    assert torch.allclose(again.model(ids).logits, loaded.model(ids).logits, atol=1e-5)
    with pytest.raises(FileNotFoundError):
        load_adapter(again.model, tmp_path)


def test_a_frozen_agent_is_greedy_by_either_way(directory):
    """The model's own `generate`, as Unsloth needs it, and memlab's sampler write the same."""
    loaded = load_trainable(directory, CPU, lora_rank=4)
    asked = prompts(loaded.tokenizer, "a b c :", "b :", "c c d e f g h :", limit=6) + prompts(loaded.tokenizer, "b a :", limit=2)
    asked += prompts(loaded.tokenizer, "a " * 600)
    ours, its = loaded.frozen(), loaded._replace(backend="unsloth").frozen()
    its.batch_tokens = 30  # two batches
    assert isinstance(its, GreedyPolicy) and isinstance(ours, ModelPolicy)
    for a, b in zip(ours.complete(asked), its.complete(asked), strict=True):
        assert (a.text, a.ids, a.truncated, a.overflow) == (b.text, b.ids, b.truncated, b.overflow)


@pytest.mark.slow
@pytest.mark.parametrize("name", papers.NAMES)
def test_the_dial_of_each_notebook_trains_a_real_model(name, tmp_path, monkeypatch, capsys):
    """The cell that runs at PRESET = "gpu" only, with a toy on a CPU: trained, asked before and after, shown."""
    monkeypatch.setattr(accelerator, "_decided", CPU)
    monkeypatch.setattr(gpu, "WARM_START", gpu.WARM_START | {"tasks": 2})
    monkeypatch.setitem(papers.get(name).warmstart, "right", False)  # the toy has no words for a right answer
    monkeypatch.setattr(gpu, "LONG_TASKS", {"memory_r1": 1, "agemem": 2})
    toys.save_chat(tmp_path / "toy", max_position_embeddings=2048)
    plan = gpu.plan_run(name, str(tmp_path / "toy"), steps=1)
    paper = dataclasses.replace(plan.paper, train_sizes=(1,))
    plan = dataclasses.replace(plan, paper=paper, settings=GRPOSettings(steps=1, tasks=1, group=2), lora_rank=4)
    monkeypatch.setattr(gpu, "plan_run", lambda asked, seed, dry: plan if (asked, dry) == (name, False) else None)
    [source] = Path(ROOT / "notebooks" / "src").glob(f"{paper.notebook}_*.py")
    [cell] = [cell for cell in source.read_text(encoding="utf-8").split("# %%") if "gpu.plan_run(" in cell]
    names = {"random": random, "shutil": shutil, "play": play, "evaluation": evaluation, "table": table, "LiveBoard": LiveBoard}
    names |= {"Inspector": Inspector, "SEED": 0, "session": SimpleNamespace(directory=tmp_path)}
    exec(cell.replace(" 32, SEED", " 2, SEED"), names | {"dial": SimpleNamespace(needs_gpu=True)})
    said = capsys.readouterr().out
    assert "before and after GRPO" in said and said.count("\nbefore") == said.count("\nafter") == 2
    assert (tmp_path / "real-0" / "policy" / "adapter_config.json").exists()


def test_two_agents_are_trained_on_one_model_and_a_run_that_was_cut_short_goes_on(directory, tmp_path, monkeypatch):
    """Memory-R1 for an instruct model: warm start, the manager's adapters, then the answer agent's; and both are asked."""
    monkeypatch.setattr(accelerator, "_decided", CPU)
    monkeypatch.setattr(gpu, "LONG_TASKS", {"memory_r1": 2})
    toys.save_chat(directory, max_position_embeddings=2048)
    plan = gpu.plan_run("memory_r1", directory, steps=1)
    plan = dataclasses.replace(plan, settings=GRPOSettings(steps=1, tasks=1, group=2, learning_rate=1e-2), lora_rank=4)
    steps = []
    out = tmp_path / "run"
    assert gpu.run(plan, out, on_step=steps.append) == out / "policy" and len(steps) == 2
    weights = {name: load_peft_weights(str(out / name)) for name in ("warmstart", "policy", "reader/policy")}
    first = json.loads((out / "run.json").read_text())["start"]
    assert first == json.loads((out / "reader" / "run.json").read_text())["start"], "both begin as the same model"
    assert {frozenset(its) for its in weights.values()} == {frozenset(weights["policy"])}
    shutil.rmtree(out / "reader")
    gpu.run(plan, out, resume=True, on_step=steps.append)
    assert len(steps) == 3, "the manager was finished, and the warm start was kept"
    again = load_peft_weights(str(out / "reader/policy"))
    assert all(torch.equal(again[name], weights["reader/policy"][name]) for name in again)
    who = contenders.contender(instruct(papers.get("memory_r1"), "english"), str(out))
    assert who.episode.keywords["reader"].model is not who.policy.model


def test_our_sampler_works_in_bfloat16_with_adapters_and_a_large_vocabulary():
    from peft import LoraConfig, get_peft_model

    model = toys.model(vocab_size=49_152).to(torch.bfloat16)
    model = get_peft_model(model, LoraConfig(r=2, target_modules=["q_proj"], task_type="CAUSAL_LM"))
    policy = ModelPolicy(model, toys.tokenizer())
    assert policy.generator.device.type == model.device.type
    [a, b] = policy.complete(prompts(toys.tokenizer(), "a b :", "a b :", limit=3))
    assert len(a.ids) == len(a.logprobs) >= 1 and a.ids != b.ids and all(lp < 0 for lp in a.logprobs)


def test_the_stand_in_runs_a_kernel_like_triton():
    from types import SimpleNamespace

    def double(x, y, n, BLOCK):
        place = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
        tl.store(y + place, 2 * tl.load(x + place, mask=place < n, other=0.0), mask=place < n)

    tl = SimpleNamespace(
        program_id=lambda axis: kernels._StandIn.now[axis], arange=torch.arange, load=kernels._load, store=kernels._store
    )
    x, y = torch.randn(10), torch.zeros(12)
    kernels._StandIn(double)[(3,)](x, y, 10, BLOCK=4)
    assert torch.equal(y[:10], 2 * x) and y[10:].sum() == 0


def test_the_benchmark_says_what_is_missing_and_starts_nothing(capsys):
    assert bench.main(["--dry-run"]) == 0
    said = capsys.readouterr().out
    assert "memagent-grpo" in said and "step-unsloth-smollm2" in said and "stopped after 8 minutes" in said


def test_a_part_that_cannot_run_or_fails_says_why(tmp_path):
    part = bench.Part("step-trl-toy", 60, ("trl", "unsloth"))
    assert bench._run(part, tmp_path, 60, ["unsloth"]) == {"failed": "not installed: unsloth"}
    assert "time" in bench._run(part, tmp_path, 3, [])["failed"]
    assert bench._run(bench.Part("nonsense-part", 60), tmp_path, 60, [])["failed"].startswith("KeyError")


def test_the_benchmarks_rows_are_the_same_for_everyone_and_have_spread():
    one, two = (bench._rows(512, bench.TOY_STEP) for _ in range(2))
    assert [[r.ids for r in t.rows] for t in one] == [[r.ids for r in t.rows] for t in two]
    assert {t.reward for t in one[:2]} == {0.0, 1.0} and json.dumps([t.rows[0].mask for t in one])


def test_a_step_of_the_benchmark(tmp_path, monkeypatch):
    monkeypatch.setattr(accelerator, "_decided", CPU)
    (tmp_path / "toy").mkdir()
    trl, loop = (bench.step(b, "toy", tmp_path, bench.TOY_STEP) for b in ("trl", "loop"))
    assert trl["tokens_s"] > 0 and loop["tokens_s"] > 0 and (trl["asked"], loop["asked"]) == ("trl", "loop")


def test_a_slim_checkout_has_what_the_measurement_needs(tmp_path):
    """What travels to a GPU machine: everything but recorded policies, and back again."""
    cloned = subprocess.run(["git", "clone", "-q", ROOT, tmp_path / "clone"], capture_output=True, text=True)
    if cloned.returncode:
        pytest.skip(f"not a checkout that git can clone: {cloned.stderr.strip()}")

    def sh(*command):
        done = subprocess.run(command, cwd=tmp_path / "clone", capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return done.stdout

    sh("git", "checkout", "-q", "-B", "main")
    shutil.copy(ROOT / "benchmarks" / "gpu_session.sh", tmp_path / "clone" / "benchmarks")
    sh("git", "config", "user.name", "x")
    sh("git", "config", "user.email", "x@x.x")
    sh("git", "commit", "-q", "--allow-empty", "-am", "as it is here")
    before = sh("git", "rev-parse", "HEAD")
    sh("benchmarks/gpu_session.sh", "slim")
    kept = [tmp_path / "clone" / name for name in sh("git", "ls-files").splitlines()]
    assert sum(path.stat().st_size for path in kept) < 15e6
    for needed in ("data/tiny", "data/runs/memagent/warmstart/policy"):
        assert (tmp_path / "clone" / needed / "model.safetensors") in kept
    (tmp_path / "clone" / "left.txt").write_text("not committed")
    refused = subprocess.run(["benchmarks/gpu_session.sh", "slim"], cwd=tmp_path / "clone", capture_output=True, text=True)
    assert refused.returncode == 1 and "commit them first" in refused.stderr
    sh("benchmarks/gpu_session.sh", "whole")
    assert sh("git", "rev-parse", "HEAD") == before and sh("git", "branch", "--format=%(refname:short)").split() == ["main"]
