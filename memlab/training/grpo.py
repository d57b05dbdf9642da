"""`SegmentGRPOTrainer`: TRL's GRPOTrainer taught that one trajectory can be several training rows.

One method does the work. It plays the episodes, computes one advantage per TRAJECTORY, flattens trajectories to rows, lets TRL
tensorise and score the rows, and puts the trajectory's advantage on each of them. A second one saves time: it puts rows of like
length into one micro-batch. Everything else (loss, checkpoints, KL, vLLM, several processes, Unsloth's kernels) is TRL's.
"""

from __future__ import annotations

import copy
import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from accelerate.utils import gather

from memlab.accelerator import precision
from memlab.episode import Row, Trajectory
from memlab.training.loop import group_advantages


@dataclass(frozen=True)
class GRPOSettings:
    """Every number of a GRPO run. Batch of a step: `tasks` x `group` trajectories over all processes.

    scale: "none" (MemAgent) or "group" (divide the advantage by the group's standard deviation).
    beta: weight of the KL to the initial policy; 0 leaves the reference model out.
    micro_batches: forward batches per step; raise it to bound memory.
    """

    steps: int = 300
    tasks: int = 16
    group: int = 8
    learning_rate: float = 1e-3
    warmup_steps: int = 10
    schedule: str = "constant_with_warmup"
    epsilon: float = 0.2
    beta: float = 0.0
    scale: str = "none"
    temperature: float = 1.0
    max_grad_norm: float = 1.0
    micro_batches: int = 1
    save_steps: int = 50
    seed: int = 0


def grpo_config(settings: GRPOSettings, output_dir: str, processes: int = 1, **overrides):
    """The GRPOConfig of a run. Every field that matters is set here: Unsloth changes defaults under the same class name."""
    import trl

    per_step = settings.tasks * settings.group
    if per_step % (processes * settings.micro_batches):
        raise ValueError(
            f"tasks x group = {per_step} trajectories do not divide over {processes} processes x {settings.micro_batches} "
            "micro-batches; change tasks, group or micro_batches"
        )
    gpu = torch.cuda.is_available()
    fields = dict(
        output_dir=output_dir,
        max_steps=settings.steps,
        per_device_train_batch_size=per_step // (processes * settings.micro_batches),
        gradient_accumulation_steps=settings.micro_batches,
        steps_per_generation=settings.micro_batches,
        num_iterations=1,
        num_generations=settings.group,
        max_completion_length=1,  # generation happens in our rollout; TRL uses it only for loss types we do not use
        learning_rate=settings.learning_rate,
        lr_scheduler_type=settings.schedule,
        warmup_steps=settings.warmup_steps,
        optim="adamw_torch",
        adam_beta1=0.9,
        adam_beta2=0.95,
        adam_epsilon=1e-8,
        weight_decay=0.0,
        max_grad_norm=settings.max_grad_norm,
        loss_type="dapo",  # sum over the active tokens of the whole batch: dummies and row counts cannot distort it
        scale_rewards=settings.scale,
        beta=settings.beta,
        epsilon=settings.epsilon,
        epsilon_high=settings.epsilon,
        delta=None,
        importance_sampling_level="token",
        mask_truncated_completions=False,
        use_bias_correction_kl=False,
        top_entropy_quantile=1.0,
        temperature=settings.temperature,
        top_p=1.0,
        top_k=0,
        min_p=None,
        repetition_penalty=1.0,
        use_vllm=False,  # Unsloth turns it on itself where the model was loaded with fast_inference
        vllm_importance_sampling_correction=False,  # it needs the sampler's log-probabilities
        shuffle_dataset=False,
        bf16=precision() == "bf16",
        fp16=precision() == "fp16",
        use_cpu=not gpu,
        gradient_checkpointing=gpu,
        dataloader_num_workers=0,
        dataloader_pin_memory=gpu,
        logging_steps=1,
        save_strategy="steps",
        save_steps=settings.save_steps,
        save_total_limit=2,
        report_to="none",
        disable_tqdm=True,
        seed=settings.seed % 2**32,  # numpy takes no other; tasks and samples are drawn from the seed itself
        data_seed=settings.seed % 2**32,
        remove_unused_columns=False,
        log_completions=False,
        ddp_find_unused_parameters=False,
    )
    return trl.GRPOConfig(**(fields | overrides))


def make_segment_trainer():
    """Subclass whatever `trl.GRPOTrainer` is NOW: decide about `import unsloth` before calling, because it replaces the class."""
    import trl

    class SegmentGRPOTrainer(trl.GRPOTrainer):
        """GRPOTrainer for trajectories of one or more rows.

        rollout: called with (inputs, trainer) on every process; inputs are this process's dataset entries, each repeated
            once per group member. Returns one Trajectory per entry, in order.
        """

        def __init__(self, model, args, rollout: Callable[[list[dict], object], Sequence[Trajectory]], **kwargs):
            self._rollout, self._rows = rollout, None
            # TRL would read the reference from the path that the model once had. The KL is to the weights that it has now.
            beta, copied = args.beta, args.beta != 0 and not hasattr(model, "peft_config")
            args.beta = 0.0 if copied else beta
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # rollout_func is announced as experimental; the contract tests watch it
                kwargs |= dict(reward_funcs=_reward_of_row, rollout_func=lambda prompts, trainer: trainer._rows)
                super().__init__(model=model, args=args, **kwargs)
            self.beta = self.args.beta = beta
            if copied:
                reference = copy.deepcopy(model).eval().requires_grad_(False)
                self.ref_model = self.accelerator.prepare_model(reference, evaluation_mode=True)
            if self.loss_type != "dapo":
                raise ValueError(f"loss_type {self.loss_type!r} weighs rows, not tokens: dummy rows would dilute it; use 'dapo'")

        def _generate_and_score_completions(self, inputs):
            device, training = self.accelerator.device, self.model.training
            group = self.num_generations if training else self.num_generations_eval
            trajectories = self._rollout(inputs, self)
            rewards = gather(torch.tensor([t.reward for t in trajectories], device=device, dtype=torch.float32))
            mine = slice(self.accelerator.process_index * len(inputs), (self.accelerator.process_index + 1) * len(inputs))
            advantages = group_advantages(rewards, group, self.scale_rewards)[mine]  # before any expansion into rows
            sampled = torch.tensor([sum(sum(r.mask) for t in trajectories for r in t.rows)], device=device)
            # A row whose advantage is 0 teaches nothing: it counts in the token mean and is not computed. With KL it would
            # only be pulled back to the reference, which costs as much as learning and which the other rows are too.
            rows = [(row, i) for i, t in enumerate(trajectories) for row in t.rows if advantages[i] != 0]
            rows += self._dummies(len(rows), group, trajectories)
            owner = torch.tensor([i for _, i in rows], device=device)
            self._rows = dict(
                prompt_ids=[row.prompt_ids for row, _ in rows],
                completion_ids=[row.completion_ids for row, _ in rows],
                logprobs=None,
                env_mask=[row.mask for row, _ in rows],
                row_reward=[trajectories[i].reward for _, i in rows],
            )
            out = super()._generate_and_score_completions([dict(inputs[i]) for _, i in rows])
            out["advantages"] = advantages[owner].to(out["advantages"].dtype)
            out["num_items_in_batch"] = gather(sampled).sum()
            self._log_trajectory_rewards(rewards.view(-1, group), "train" if training else "eval")
            return out

        def _prepare_inputs(self, generation_batch):
            before = self._buffered_inputs
            inputs = super()._prepare_inputs(generation_batch)
            if self._buffered_inputs is before:  # the next micro-batch of the same rollouts, or an evaluation
                return inputs
            self._buffered_inputs = by_length(self._buffered_inputs)
            return self._buffered_inputs[self._step % self.args.steps_per_generation]

        def _dummies(self, count: int, group: int, trajectories) -> list[tuple[Row, int]]:
            """Zero-mask rows, so that every process has the same number and TRL can split it evenly (it drops the rest)."""
            multiple = math.lcm(group, self.args.steps_per_generation)
            most = int(gather(torch.tensor([count], device=self.accelerator.device)).max())
            target = max(multiple, math.ceil(most / multiple) * multiple)
            row = next((r for t in trajectories for r in t.rows), None)
            if row is None:
                raise ValueError("no rollout wrote a token: every prompt exceeds the policy's window; make the tasks smaller")
            return [(Row(row.prompt_ids[-1:], row.completion_ids[-1:], [0], []), 0)] * (target - count)

        def _log_trajectory_rewards(self, grouped: torch.Tensor, mode: str) -> None:
            """Replace the reward metrics, which TRL computed over rows, by those over trajectories."""
            log = self._metrics[mode]
            spread = grouped.std(1) if grouped.size(1) > 1 else torch.zeros(len(grouped))
            log["reward"][-1], log["reward_std"][-1] = grouped.mean().item(), spread.mean().item()
            log["frac_reward_zero_std"][-1] = (spread < 1e-8).float().mean().item()

    return SegmentGRPOTrainer


def by_length(batches: Sequence[dict]) -> list[dict]:
    """The rows of all micro-batches, sorted by length and dealt out again: as many to each, less padding in all.

    TRL pads every prompt and completion to the longest of the step. The loss is a sum over tokens, so which row is in which
    micro-batch changes nothing but the time, and the mean over micro-batches that TRL logs as entropy and KL.
    """
    rows = {k: torch.cat([b[k] for b in batches]) if v.dim() else v for k, v in batches[0].items() if v is not None}
    order = (rows["prompt_mask"].sum(1) + rows["completion_mask"].sum(1)).argsort(stable=True)
    width, sorted_batches = rows["completion_mask"].size(1), []
    for part in order.chunk(len(batches)):
        batch = {k: v[part] if v.dim() else v for k, v in rows.items()}
        prompt, completion = (int(batch[k].sum(1).max()) for k in ("prompt_mask", "completion_mask"))
        for key, value in batch.items():
            if key.startswith("prompt_"):  # padded on the left
                batch[key] = value[:, value.size(1) - prompt :]
            elif value.dim() == 2 and value.size(1) == width:  # padded on the right
                batch[key] = value[:, :completion]
        sorted_batches.append(batch)
    return sorted_batches


def _reward_of_row(completions, row_reward, **_):
    return row_reward
