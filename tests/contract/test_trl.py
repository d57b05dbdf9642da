"""TRL, as `memlab.training.grpo` and `memlab.training.warmstart` use it. Each test says what breaks in memlab if it fails."""

import dataclasses
import inspect

import pytest
import torch
import trl
from datasets import Dataset
from transformers import TrainerCallback
from trl.trainer.utils import RepeatSampler, shuffle_sequence_dict, split_tensor_dict

from memlab.training.grpo import GRPOSettings, grpo_config
from memlab.training.train import _Record
from tests import toys

pytestmark = pytest.mark.filterwarnings("ignore:You are using 'rollout_func'")

PAD = toys.tokenizer().pad_token_id
ROWS = {  # what a rollout_func returns: four rows of different lengths, one of them without any sampled token
    "prompt_ids": [[4, 5, 6], [7], [8, 9], [4]],
    "completion_ids": [[10, 11], [12, 13, 14, 1], [15, 1], [5]],
    "logprobs": None,
    "env_mask": [[1, 1], [1, 0, 0, 1], [1, 1], [0]],
    "row_reward": [1.0, 0.0, 0.5, 0.5],
}
SAMPLED = 6


def trainer(
    tmp_path,
    rollout=lambda prompts, trainer: dict(ROWS),
    reward=lambda completions, row_reward, **_: row_reward,
    **settings,
):
    given = GRPOSettings(**(dict(steps=1, tasks=2, group=2) | settings))
    count = given.steps * given.tasks
    return trl.GRPOTrainer(
        model=toys.model(),
        args=grpo_config(given, str(tmp_path), save_strategy="no"),
        train_dataset=Dataset.from_dict({"prompt": [""] * count, "index": range(count)}),
        processing_class=toys.tokenizer(),
        reward_funcs=reward,
        rollout_func=rollout,
    )


def scored(made):
    made.model.train()
    return made._generate_and_score_completions([{"prompt": "", "index": i // 2} for i in range(4)])


# ---------------------------------------------------------------- from rows to tensors


def test_the_method_that_does_the_work_still_has_its_signature():
    """SegmentGRPOTrainer overrides it: under another name or signature, TRL would silently train on its own generations."""
    assert list(inspect.signature(trl.GRPOTrainer._generate_and_score_completions).parameters) == ["self", "inputs"]
    source = inspect.getsource(trl.GRPOTrainer._prepare_inputs)
    assert "self._generate_and_score_completions(generation_batch)" in source


def test_micro_batches_lie_where_they_are_dealt_out_again(tmp_path):
    """SegmentGRPOTrainer re-sorts `_buffered_inputs`: under another name it would go on, with all the padding."""
    assert list(inspect.signature(trl.GRPOTrainer._prepare_inputs).parameters) == ["self", "generation_batch"]
    source = inspect.getsource(trl.GRPOTrainer._prepare_inputs)
    assert "self._buffered_inputs[self._step % self.args.steps_per_generation]" in source
    assert trainer(tmp_path)._buffered_inputs is None


def test_rows_come_back_as_these_tensors(tmp_path):
    """SegmentGRPOTrainer replaces `advantages` and `num_items_in_batch`: under other names its numbers would have no effect."""
    out = scored(trainer(tmp_path))
    assert set(out) == {
        "prompt_ids",
        "prompt_mask",
        "completion_ids",
        "completion_mask",
        "advantages",
        "num_items_in_batch",
        "tool_mask",
    }
    assert out["advantages"].shape == (4,), "one advantage a row"
    assert out["num_items_in_batch"].ndim == 0 and out["num_items_in_batch"] == SAMPLED, (
        "sampled tokens, not all tokens"
    )


def test_prompts_are_padded_on_the_left_and_completions_on_the_right(tmp_path):
    """The loss would fall on other tokens than the policy sampled."""
    out = scored(trainer(tmp_path))
    assert out["prompt_ids"].tolist() == [[4, 5, 6], [PAD, PAD, 7], [PAD, 8, 9], [PAD, PAD, 4]]
    assert out["completion_ids"].tolist() == [
        [10, 11, PAD, PAD],
        [12, 13, 14, 1],
        [15, 1, PAD, PAD],
        [5, PAD, PAD, PAD],
    ]
    assert out["prompt_mask"].tolist() == [[1, 1, 1], [0, 0, 1], [0, 1, 1], [0, 0, 1]]
    loss_mask = out["completion_mask"] * out["tool_mask"]
    assert loss_mask.tolist() == [[1, 1, 0, 0], [1, 0, 0, 1], [1, 1, 0, 0], [0, 0, 0, 0]]


def test_rollout_func_must_return_three_keys_and_logprobs_may_be_none(tmp_path):
    """SegmentGRPOTrainer hands its rows over through rollout_func; ROWS above shows that logprobs=None passes."""
    for key in ("prompt_ids", "completion_ids", "logprobs"):
        short = {k: v for k, v in ROWS.items() if k != key}
        with pytest.raises(ValueError, match=key):
            scored(trainer(tmp_path, rollout=lambda prompts, trainer, short=short: short))


def test_rollout_func_gets_the_trainer_and_other_keys_reach_the_reward_row_by_row(tmp_path):
    """The rollout reads `trainer._rows`, and `row_reward` must arrive at the reward function in the order of the rows."""
    seen = {}

    def rollout(prompts, trainer):
        seen["prompts"], seen["trainer"] = prompts, trainer
        return dict(ROWS)

    def reward(completions, row_reward, **kwargs):
        seen["row_reward"], seen["rest"] = row_reward, kwargs
        return row_reward

    made = trainer(tmp_path, rollout, reward)
    scored(made)
    assert seen["trainer"] is made and seen["prompts"] == [""] * 4
    assert seen["row_reward"] == ROWS["row_reward"] and "env_mask" not in seen["rest"]


def test_reward_metrics_are_appended_once_for_each_generation(tmp_path):
    """SegmentGRPOTrainer replaces the last entry of these lists, which TRL computed over rows, by those over trajectories."""
    made = trainer(tmp_path)
    scored(made)
    for name in ("reward", "reward_std", "frac_reward_zero_std"):
        assert len(made._metrics["train"][name]) == 1


# ---------------------------------------------------------------- from tensors to the loss


def test_dapo_divides_the_summed_token_loss_by_num_items_in_batch(tmp_path):
    """MemAgent's token mean: with any other normaliser, dummy rows and skipped rows would change the gradient."""
    made = trainer(tmp_path)
    inputs = scored(made)
    inputs["advantages"] = torch.tensor([1.0, -0.5, 0.25, 100.0])  # the last row has no sampled token
    made.current_gradient_accumulation_steps = 1
    expected = -(1.0 * 2 - 0.5 * 2 + 0.25 * 2) / SAMPLED  # at the sampling weights every ratio is 1
    assert made._compute_loss(made.model, inputs).item() == pytest.approx(expected, abs=1e-6)
    inputs["num_items_in_batch"] = torch.tensor(2 * SAMPLED)
    assert made._compute_loss(made.model, inputs).item() == pytest.approx(expected / 2, abs=1e-6)


def test_micro_batches_add_up_to_the_whole_batch(tmp_path):
    """`micro_batches` bounds memory: if TRL averaged over them instead, it would also change the step."""
    losses = {}
    for micro_batches in (1, 2):
        made = trainer(tmp_path, micro_batches=micro_batches)
        inputs = scored(made)
        inputs["advantages"] = torch.tensor([1.0, -0.5, 0.25, 0.0])
        made.current_gradient_accumulation_steps = micro_batches
        parts = split_tensor_dict(inputs, micro_batches)
        losses[micro_batches] = sum(made._compute_loss(made.model, part).item() for part in parts)
    assert losses[2] == pytest.approx(losses[1], abs=1e-6)


def test_a_reference_model_and_beta_may_be_set_after_construction(tmp_path):
    """SegmentGRPOTrainer does so, because TRL reads its own reference from the path in the model's config."""
    made = trainer(tmp_path)
    made.beta, made.ref_model = 0.5, toys.model(seed=1).eval()
    inputs = scored(made)
    made.current_gradient_accumulation_steps = 1
    assert inputs["ref_per_token_logps"].shape == inputs["completion_ids"].shape
    inputs["advantages"] = torch.zeros(4)
    loss = made._compute_loss(made.model, inputs).item()
    mask = inputs["tool_mask"] * inputs["completion_mask"]
    assert loss > 0 and made._metrics["train"]["kl"][-1] * 0.5 * mask.sum() / SAMPLED == pytest.approx(loss, rel=1e-4)


# ---------------------------------------------------------------- batches and their order


def test_splitting_drops_the_rows_that_do_not_divide():
    """Why dummy rows fill every batch up to a multiple of steps_per_generation: without them training rows would vanish."""
    parts = split_tensor_dict({"x": torch.arange(5), "total": torch.tensor(7), "none": None}, 2)
    assert [p["x"].tolist() for p in parts] == [[0, 1], [2, 3]]
    assert [p["total"].item() for p in parts] == [7, 7] and parts[0]["none"] is None


def test_shuffling_moves_all_tensors_of_a_row_together():
    """A row would be trained with the advantage of another."""
    out = shuffle_sequence_dict({"x": torch.arange(20), "y": torch.arange(20) * 2, "total": torch.tensor(7)})
    assert sorted(out["x"].tolist()) == list(range(20)) and torch.equal(out["y"], out["x"] * 2) and out["total"] == 7


def test_without_shuffling_the_tasks_of_a_step_are_the_next_ones_each_repeated_in_place(tmp_path):
    """Task i is drawn from (seed, i), and group members must be adjacent: a resumed run would otherwise see other tasks."""
    sampler = trainer(tmp_path, steps=3, tasks=2, group=3, micro_batches=2)._get_train_sampler()
    assert isinstance(sampler, RepeatSampler)
    once = [[0, 0, 0, 1, 1, 1], [2, 2, 2, 3, 3, 3], [4, 4, 4, 5, 5, 5]]
    assert list(sampler) == [i for batch in once for _ in range(2) for i in batch]


# ---------------------------------------------------------------- configuration

UNSET = {  # fields that would change the loss or the data, and that grpo_config leaves at these defaults
    "model_init_kwargs": None,
    "disable_dropout": False,
    "cast_lm_head_to_fp32": False,
    "pad_to_multiple_of": None,
    "sync_ref_model": False,
    "reward_weights": None,
    "multi_objective_aggregation": "sum_then_normalize",
    "off_policy_mask_threshold": None,
    "entropy_coef": 0.0,
    "label_smoothing_factor": 0.0,
    "use_liger_kernel": False,
    "max_steps": -1,
    "ignore_data_skip": False,
    "auto_find_batch_size": False,
}


def test_every_field_that_grpo_config_sets_exists_and_keeps_its_value(tmp_path):
    """A renamed field fails here by name; one that TRL overrides would train with other numbers than run.json records."""
    settings = GRPOSettings(
        steps=7, tasks=3, group=4, learning_rate=2e-3, beta=0.25, scale="group", micro_batches=2, seed=-1
    )
    config = grpo_config(settings, str(tmp_path))
    assert (config.max_steps, config.num_generations, config.steps_per_generation) == (7, 4, 2)
    assert config.generation_batch_size == 12 and config.per_device_train_batch_size == 6
    assert (config.loss_type, config.scale_rewards, config.importance_sampling_level) == ("dapo", "group", "token")
    assert (config.beta, config.learning_rate, config.epsilon, config.epsilon_high) == (0.25, 2e-3, 0.2, 0.2)
    assert (config.temperature, config.top_p, config.top_k, config.shuffle_dataset) == (1.0, 1.0, 0, False)
    assert config.lr_scheduler_type == "constant_with_warmup" and config.warmup_steps == 10
    assert (config.seed, config.data_seed) == (2**32 - 1, 2**32 - 1)
    assert config.report_to in ([], "none", ["none"])


@pytest.mark.parametrize("name", UNSET)
def test_a_default_that_training_relies_on_has_not_moved(name):
    """Set the field in grpo_config to the value here; otherwise runs before and after the upgrade are not comparable."""
    defaults = {f.name: f.default for f in dataclasses.fields(trl.GRPOConfig)}
    assert name in defaults and defaults[name] == UNSET[name]


# ---------------------------------------------------------------- logs and checkpoints


def test_logs_come_before_checkpoints_and_checkpoints_are_whole_when_on_save_is_called(tmp_path):
    """_Record writes the log line, then the manifest of the checkpoint: in another order a resumed log would have gaps."""
    events, logged = [], set()

    class Watch(TrainerCallback):
        def on_log(self, args, state, control, logs=None, **kwargs):
            if "reward" in logs:
                events.append(("log", state.global_step))
                logged.update(logs)

        def on_save(self, args, state, control, **kwargs):
            events.append(("save", state.global_step))
            files = {p.name for p in (tmp_path / f"checkpoint-{state.global_step}").iterdir()}
            assert {"model.safetensors", "optimizer.pt", "scheduler.pt", "rng_state.pth", "trainer_state.json"} <= files

    made = trainer(tmp_path, steps=3)
    made.args.save_strategy, made.args.save_steps = "steps", 2
    made.state.save_steps = 2
    made.add_callback(Watch())
    made.train()
    assert events == [("log", 1), ("log", 2), ("save", 2), ("log", 3), ("save", 3)], "the last step is saved, too"
    assert set(_Record.FIELDS) - {"kl"} <= logged


def test_resuming_at_the_last_step_loads_the_weights_and_trains_nothing(tmp_path):
    """`train` finishes a run that was killed between its last checkpoint and its policy in this way."""
    first = trainer(tmp_path, steps=2, learning_rate=0.1, warmup_steps=0)
    first.args.save_strategy, first.args.save_steps = "steps", 2
    first.train()
    again = trainer(tmp_path, steps=2, rollout=lambda prompts, trainer: pytest.fail("trained again"))
    again.train(resume_from_checkpoint=str(tmp_path / "checkpoint-2"))
    assert again.state.global_step == 2
    assert all(torch.equal(a, b) for a, b in zip(first.model.parameters(), again.model.parameters(), strict=True))
    assert not torch.equal(first.model.lm_head.weight, toys.model().lm_head.weight)


# ---------------------------------------------------------------- SFT


def test_sft_takes_prepared_labels_as_they_are_and_pads_them_with_no_loss(tmp_path):
    """`finetune` marks prompts and observations with -100. Ignored labels would teach the model to write its prompts."""
    config = trl.SFTConfig(
        output_dir=str(tmp_path),
        per_device_train_batch_size=2,
        max_length=None,
        packing=False,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        report_to="none",
        use_cpu=True,
    )
    examples = {"input_ids": [[4, 5, 6, 1], [7, 1]], "labels": [[-100, -100, 6, 1], [-100, 1]]}
    made = trl.SFTTrainer(
        model=toys.model(), args=config, train_dataset=Dataset.from_dict(examples), processing_class=toys.tokenizer()
    )
    batch = next(iter(made.get_train_dataloader()))
    rows = {
        tuple(ids): (labels, seen)
        for ids, labels, seen in zip(*(batch[k].tolist() for k in ("input_ids", "labels", "attention_mask")))
    }
    assert rows == {
        (4, 5, 6, 1): ([-100, -100, 6, 1], [1, 1, 1, 1]),
        (7, 1, PAD, PAD): ([-100, 1, -100, -100], [1, 1, 0, 0]),
    }
