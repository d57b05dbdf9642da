"""Supervised fine-tuning on rows played by a rule, with TRL's SFTTrainer.

With a paper's random-valid rule it is the warm start: the model learns how a memory operation is written, and to choose at
random. With the oracle rule it is the ablation that MemAgent did not publish: imitation of perfect memory instead of
reinforcement learning.
"""

from __future__ import annotations

from pathlib import Path

import torch
from datasets import Dataset
from transformers import PrinterCallback

from memlab.accelerator import precision
from memlab.papers import Paper
from memlab.policies.scripted import Rule
from memlab.training.pretrain import format_rows


def finetune(
    paper: Paper,
    rule: Rule,
    model,
    tokenizer,
    out: str | Path,
    tasks: int = 1500,
    epochs: float = 1.0,
    batch_size: int = 64,
    learning_rate: float = 5e-4,
    seed: int = 0,
    sizes=None,
    episode=None,
    right: bool = False,
) -> list[dict]:
    """Train `model` in place on the rows of `tasks` episodes, played by `rule`.

    sizes: of the tasks (default: the paper's training sizes). episode: the paper's own loop unless a baseline's is given.
    right: keep only trajectories that were rewarded with 1.
    Loss on what the rule wrote, none on prompts and observations. Returns TRL's log (step, loss). Saves nothing but TRL's own
    working files in `out`. Raises ValueError if no trajectory is left.
    """
    import trl

    rows = format_rows(paper, rule, tokenizer, tasks, seed, sizes, episode, right)
    if not rows:
        raise ValueError(f"none of {tasks} trajectories got the full reward: nothing to imitate; play more, or smaller tasks")
    examples = {
        "input_ids": [r.ids for r in rows],
        "labels": [
            [-100] * len(r.prompt_ids) + [i if m else -100 for i, m in zip(r.completion_ids, r.mask, strict=True)] for r in rows
        ],
    }
    gpu = torch.cuda.is_available()
    config = trl.SFTConfig(
        output_dir=str(out),
        num_train_epochs=epochs,
        per_device_train_batch_size=batch_size,
        gradient_accumulation_steps=1,
        learning_rate=learning_rate,
        lr_scheduler_type="linear",
        warmup_steps=10,
        weight_decay=0.0,
        optim="adamw_torch",
        adam_beta1=0.9,
        adam_beta2=0.95,
        max_grad_norm=1.0,
        bf16=precision() == "bf16",
        fp16=precision() == "fp16",
        use_cpu=not gpu,
        gradient_checkpointing=gpu,
        packing=False,
        max_length=None,
        dataset_kwargs={"skip_prepare_dataset": True},
        remove_unused_columns=False,
        dataloader_pin_memory=gpu,
        logging_steps=10,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        seed=seed,
        data_seed=seed,
    )
    trainer = trl.SFTTrainer(model=model, args=config, train_dataset=Dataset.from_dict(examples), processing_class=tokenizer)
    trainer.remove_callback(PrinterCallback)
    trainer.train()
    return [entry for entry in trainer.state.log_history if "loss" in entry]
