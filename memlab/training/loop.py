"""GRPO over trajectories of several rows, in plain PyTorch: the version to read, and the oracle that `grpo` is tested against.

    A_k  = R_k - mean of R over the group of k           one entry per TRAJECTORY, never per row
    loss = - 1/Z sum_k sum_rows sum_t m_t min(rho_t A_k, clip(rho_t, 1 - eps, 1 + eps) A_k)
    Z    = number of sampled tokens (m_t = 1) in the whole batch, over all processes

which is MemAgent's objective (arXiv 2507.02259, section 3, "Multi-Conv DAPO") without its KL term.
What was left out, next to `SegmentGRPOTrainer`: checkpoints, mixed precision, KL to a reference, several updates per batch.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.distributed as dist
import torch.nn.functional as F

from memlab.episode import Row, Trajectory


def group_advantages(rewards: torch.Tensor, group: int, scale: str = "none") -> torch.Tensor:
    """Reward minus the mean of its group. rewards: (N,), N a multiple of `group`, group members adjacent. Returns (N,).

    scale "group" also divides by the group's standard deviation + 1e-4 (GRPO's original form; MemAgent leaves it out).
    """
    # float32 values in float64, so that the mean of equal ones is exact: Adam makes full steps out of a residue of 1e-8
    grouped = rewards.float().double().view(-1, group)
    advantages = grouped - grouped.mean(1, keepdim=True)
    if scale == "group":
        advantages = advantages / (grouped.std(1, keepdim=True) + 1e-4)
    elif scale != "none":
        raise ValueError(f"scale is {scale!r}; it must be 'none' or 'group'")
    return advantages.flatten().to(rewards.dtype)


def pad_rows(rows: Sequence[Row], pad_id: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Rows as tensors (B, T), padded on the right: ids, attention, and mask (1 where the policy sampled the token)."""
    width = max(len(r.ids) for r in rows)
    ids = torch.tensor([r.ids + [pad_id] * (width - len(r.ids)) for r in rows])
    attention = torch.tensor([[1] * len(r.ids) + [0] * (width - len(r.ids)) for r in rows])
    mask = torch.tensor([[0] * len(r.prompt_ids) + r.mask + [0] * (width - len(r.ids)) for r in rows])
    return ids, attention, mask


def token_logprobs(model, ids: torch.Tensor, attention: torch.Tensor) -> torch.Tensor:
    """log p(ids[:, t] | ids[:, :t]) for t >= 1, shape (B, T - 1), with gradient."""
    logits = model(input_ids=ids, attention_mask=attention, use_cache=False).logits[:, :-1].float()
    return -F.cross_entropy(logits.flatten(0, 1), ids[:, 1:].flatten(), reduction="none").view(len(ids), -1)


def clipped_loss(logprobs, old_logprobs, advantages, mask, epsilon: float) -> torch.Tensor:
    """The clipped surrogate, summed over the tokens with mask 1. logprobs, old_logprobs, mask: (B, T); advantages: (B,)."""
    ratio = torch.exp(logprobs - old_logprobs)
    gain = torch.minimum(ratio * advantages[:, None], ratio.clamp(1 - epsilon, 1 + epsilon) * advantages[:, None])
    return -(gain * mask).sum()


def backward(model, trajectories: Sequence[Trajectory], group: int, pad_id: int, epsilon=0.2, scale="none", batch=128):
    """Accumulate the gradient of the loss above in `model`. On several processes each brings its own trajectories.

    Groups may lie across processes; row counts may differ. Returns the loss (float, over all processes).
    """
    device = next(model.parameters()).device
    parallel = dist.is_available() and dist.is_initialized()
    rewards = torch.tensor([t.reward for t in trajectories], device=device)
    everyone, rank = rewards, 0
    if parallel:
        parts = [torch.empty_like(rewards) for _ in range(dist.get_world_size())]
        dist.all_gather(parts, rewards)
        everyone, rank = torch.cat(parts), dist.get_rank()
    advantages = group_advantages(everyone, group, scale)[rank * len(rewards) :][: len(rewards)]
    tokens = torch.tensor(float(sum(sum(r.mask) for t in trajectories for r in t.rows)), device=device)
    if parallel:
        dist.all_reduce(tokens)
    # a row whose advantage is 0 adds 0 to the gradient: it counts in Z and is not computed
    work = [(r, a) for t, a in zip(trajectories, advantages.tolist(), strict=True) for r in t.rows if a != 0.0]
    work.sort(key=lambda pair: len(pair[0].ids))
    total = torch.zeros((), device=device)
    for start in range(0, len(work), batch):
        rows, advs = zip(*work[start : start + batch], strict=True)
        ids, attention, mask = (x.to(device) for x in pad_rows(rows, pad_id))
        logp = token_logprobs(model, ids, attention)
        loss = clipped_loss(logp, logp.detach(), torch.tensor(advs, device=device), mask[:, 1:], epsilon) / tokens
        loss.backward()
        total += loss.detach()
    if parallel:
        for p in model.parameters():
            p.grad = torch.zeros_like(p) if p.grad is None else p.grad
            dist.all_reduce(p.grad)
        dist.all_reduce(total)
    return total.item()
