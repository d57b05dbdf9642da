"""SegmentGRPOTrainer = plain loop = one row at a time, on one process and on two."""

import json
import os
import subprocess
import sys

import pytest
import torch
from datasets import Dataset

from memlab.policies.model import ModelPolicy
from memlab.rollout import play
from memlab.training.grpo import GRPOSettings, by_length, grpo_config, make_segment_trainer
from memlab.training.loop import backward, clipped_loss, group_advantages, pad_rows, token_logprobs
from memlab.training.train import Rollout
from tests import toys

GROUP, TASKS = 4, 6


def fixed_trajectories(model):
    rollout = Rollout(toys.TOY, toys.tokenizer(), GRPOSettings(seed=1))
    tasks = [rollout.task(i) for i in range(TASKS) for _ in range(GROUP)]
    return play([toys.toy_episode(t) for t in tasks], ModelPolicy(model, toys.tokenizer(), seed=5), tasks)


def flat_grad(model):
    return torch.cat([p.grad.flatten() for p in model.parameters()])


def reference_gradient(model, trajectories):
    """One row at a time, straight from the formula: sum over all rows of -A log p, over the number of sampled tokens."""
    model.zero_grad()
    tokens = sum(sum(r.mask) for t in trajectories for r in t.rows)
    for k in range(0, len(trajectories), GROUP):
        group = trajectories[k : k + GROUP]
        mean = sum(t.reward for t in group) / GROUP
        for t in group:
            for row in t.rows:
                ids, attention, mask = pad_rows([row], 0)
                logp = token_logprobs(model, ids, attention)
                (-(t.reward - mean) * (logp * mask[:, 1:]).sum() / tokens).backward()
    return flat_grad(model)


def trainer_gradient(model, trajectories, tmp_path, micro_batches=1):
    """The gradient that SegmentGRPOTrainer hands to the optimizer in its first step."""
    grads = []
    settings = GRPOSettings(steps=1, tasks=TASKS, group=GROUP, learning_rate=0.0, micro_batches=micro_batches, max_grad_norm=1e9)
    trainer = make_segment_trainer()(
        model=model,
        args=grpo_config(settings, str(tmp_path), save_strategy="no"),
        train_dataset=Dataset.from_dict({"prompt": [""] * TASKS, "index": range(TASKS)}),
        processing_class=toys.tokenizer(),
        rollout=lambda inputs, trainer: trajectories,
    )
    trainer.create_optimizer_and_scheduler(1)
    trainer.optimizer.register_step_pre_hook(lambda *a: grads.append(flat_grad(trainer.model)))
    trainer.train()
    return grads[0]


def test_rows_of_like_length_share_a_micro_batch():
    lengths = [(5, 2), (1, 1), (3, 4), (2, 1), (4, 4), (1, 3)]  # prompt (padded left), completion (padded right)
    wide = {"prompt_ids": 5, "prompt_mask": 5, "completion_ids": 4, "completion_mask": 4, "ref_per_token_logps": 4}
    rows = {k: torch.zeros(6, width, dtype=torch.long) for k, width in wide.items()} | {"advantages": torch.arange(6.0)}
    for i, (p, c) in enumerate(lengths):
        rows["prompt_mask"][i, 5 - p :], rows["completion_mask"][i, :c] = 1, 1
        rows["prompt_ids"][i, 5 - p :], rows["completion_ids"][i, :c] = i + 10, i + 20
        rows["ref_per_token_logps"][i, :c] = i + 30
    batches = by_length([{k: v[i : i + 3] for k, v in rows.items()} | {"total": torch.tensor(7)} for i in (0, 3)])
    assert [b["advantages"].tolist() for b in batches] == [[1, 3, 5], [0, 2, 4]]
    assert [(b["prompt_ids"].shape, b["ref_per_token_logps"].shape) for b in batches] == [((3, 2), (3, 3)), ((3, 5), (3, 4))]
    for b in batches:
        for k, i in enumerate(map(int, b["advantages"])):
            for name, first in (("prompt", 10), ("completion", 20)):
                real = b[f"{name}_ids"][k][b[f"{name}_mask"][k].bool()].tolist()
                assert real == [i + first] * lengths[i][name == "completion"]
        assert int(b["total"]) == 7


def test_rows_per_trajectory_cover_one_to_four():
    rows = {len(t.rows) for t in fixed_trajectories(toys.model())}
    assert {1, 2, 3, 4} <= rows


@pytest.mark.parametrize("micro_batches", [1, 2])
def test_trainer_and_plain_loop_have_the_gradient_of_the_formula(tmp_path, micro_batches):
    model = toys.model()
    trajectories = fixed_trajectories(model)
    expected = reference_gradient(model, trajectories)
    assert expected.abs().max() > 1e-3
    model.zero_grad()
    backward(model, trajectories, GROUP, pad_id=0, batch=7)
    assert (flat_grad(model) - expected).abs().max() < 1e-5
    model.zero_grad()
    assert (trainer_gradient(model, trajectories, tmp_path, micro_batches) - expected).abs().max() < 1e-5


def test_advantages_are_over_trajectories_and_row_counts_do_not_move_the_others(tmp_path):
    model = toys.model()
    trajectories = fixed_trajectories(model)
    rewards = torch.tensor([t.reward for t in trajectories])
    advantages = group_advantages(rewards, GROUP)
    assert torch.allclose(advantages.view(-1, GROUP).sum(1), torch.zeros(TASKS), atol=1e-6)
    assert torch.equal(group_advantages(torch.tensor([1.0, 0.0]), 2), torch.tensor([0.5, -0.5]))
    # three rows for the winner of a group: a mean over rows would be 0.75
    longest = max(trajectories, key=lambda t: len(t.rows))
    longest.rows = longest.rows * 3
    expected = reference_gradient(model, trajectories)
    model.zero_grad()
    assert (trainer_gradient(model, trajectories, tmp_path) - expected).abs().max() < 1e-5


def test_std_scaling_divides_by_the_group():
    rewards = torch.tensor([1.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0])
    scaled = group_advantages(rewards, 4, "group").view(2, 4)
    assert torch.allclose(scaled.std(1), torch.ones(2), atol=1e-2)
    with pytest.raises(ValueError, match="none"):
        group_advantages(rewards, 4, "batch")


def test_clipping_stops_the_gradient_outside_the_trust_region():
    old = torch.zeros(1, 2)
    new = torch.tensor([[0.5, 0.05]], requires_grad=True)  # ratios 1.65 and 1.05, epsilon 0.2
    clipped_loss(new, old, torch.tensor([1.0]), torch.ones(1, 2), 0.2).backward()
    assert new.grad[0, 0] == 0 and new.grad[0, 1] < 0


def test_other_loss_types_are_refused(tmp_path):
    config = grpo_config(GRPOSettings(tasks=2, group=2), str(tmp_path), loss_type="grpo")
    with pytest.raises(ValueError, match="dapo"):
        make_segment_trainer()(
            model=toys.model(),
            args=config,
            train_dataset=Dataset.from_dict({"prompt": [""]}),
            processing_class=toys.tokenizer(),
            rollout=lambda inputs, trainer: [],
        )


def two_process_gradients():
    """Run by torchrun: each rank brings its share of the same trajectories; rank 0 prints both differences."""
    import tempfile

    import torch.distributed as dist

    model = toys.model()
    everything = fixed_trajectories(model)
    expected = reference_gradient(model, everything)
    rank, half = int(os.environ["RANK"]), len(everything) // 2
    mine = everything[rank * half : (rank + 1) * half]
    model.zero_grad(set_to_none=True)
    grads = []
    settings = GRPOSettings(steps=1, tasks=TASKS, group=GROUP, learning_rate=0.0, max_grad_norm=1e9)
    with tempfile.TemporaryDirectory() as out:
        trainer = make_segment_trainer()(
            model=model,
            args=grpo_config(settings, out, processes=2, save_strategy="no"),
            train_dataset=Dataset.from_dict({"prompt": [""] * TASKS, "index": range(TASKS)}),
            processing_class=toys.tokenizer(),
            rollout=lambda inputs, trainer: mine,
        )
        trainer.create_optimizer_and_scheduler(1)
        trainer.optimizer.register_step_pre_hook(lambda *a: grads.append(flat_grad(model)))
        trainer.train()
    plain = toys.model()
    backward(plain, mine, GROUP, pad_id=0)
    rows = [None, None]
    dist.all_gather_object(rows, sum(len(t.rows) for t in mine))
    if rank == 0:
        record = {
            "rows": rows,
            "trainer": (grads[0] - expected).abs().max().item(),
            "plain": (flat_grad(plain) - expected).abs().max().item(),
        }
        print("RESULT " + json.dumps(record), flush=True)


def test_two_processes_with_unequal_row_counts_give_the_same_gradient():
    command = [sys.executable, "-m", "torch.distributed.run", "--nproc_per_node", "2", "--master_port", "29541", "-m"]
    env = os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": "", "HF_HUB_OFFLINE": "1"}
    done = subprocess.run([*command, "tests.unit.test_trainer"], capture_output=True, text=True, env=env, timeout=300)
    line = next((li for li in done.stdout.splitlines() if li.startswith("RESULT ")), None)
    assert line, done.stderr[-2000:]
    record = json.loads(line.removeprefix("RESULT "))
    assert record["rows"][0] != record["rows"][1]
    assert record["trainer"] < 1e-5 and record["plain"] < 1e-5


if __name__ == "__main__":
    two_process_gradients()
