"""Parts (a) of `benchmarks.gpu`: the machine's ceilings, and each fused kernel against the same thing in plain PyTorch.

Every function takes the device and sizes, and returns plain numbers. On a CPU the kernels run in Triton's interpreter, for their
results, not for their speed.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

import torch
import torch.nn.functional as F
import torch.utils.checkpoint

# rows: tokens of a micro-batch; hidden, mlp, vocab: those of Qwen2.5-1.5B; heads, kv_heads, head_dim: likewise
GPU_SIZES = dict(rows=8192, hidden=1536, mlp=8960, vocab=151_936, heads=12, kv_heads=2, head_dim=128, logit_rows=4096)
CPU_SIZES = dict(rows=16, hidden=64, mlp=96, vocab=512, heads=2, kv_heads=1, head_dim=16, logit_rows=16)


def ceilings(device: str) -> dict:
    """What this machine reaches on one big bf16 matrix product and one big copy: TFLOP/s, and GB/s read plus written."""
    n, numbers = (8192, 2**30) if device == "cuda" else (512, 2**24)
    kind = torch.bfloat16 if device == "cuda" else torch.float32
    a, b = torch.randn(n, n, device=device, dtype=kind), torch.randn(n, n, device=device, dtype=kind)
    x = torch.empty(numbers, device=device, dtype=torch.bfloat16)
    y = torch.empty_like(x)
    return {
        "matrix_tflops": round(2 * n**3 / seconds(lambda: a @ b, device) / 1e12, 2),
        "copy_gb_s": round(2 * 2 * numbers / seconds(lambda: y.copy_(x), device) / 1e9, 1),
        "matrix": f"{n} x {n} x {n} {kind}",
    }


def seconds(call: Callable[[], object], device: str, repeats: int = 10) -> float:
    """Median wall seconds of `call`, after three calls that are not counted, the device synchronised around each."""
    times = []
    for _ in range(3 + repeats if device == "cuda" else 2):
        _wait(device)
        started = time.perf_counter()
        call()
        _wait(device)
        times.append(time.perf_counter() - started)
    return statistics.median(times[3:] or times[1:])


def _wait(device: str) -> None:
    if device == "cuda":
        torch.cuda.synchronize()


def peak_mb(call: Callable[[], object], device: str) -> float | None:
    """The most memory that `call` allocated on top of what was there, in MB; None on a CPU."""
    if device != "cuda":
        return None
    torch.cuda.empty_cache()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    call()
    return round((torch.cuda.max_memory_allocated() - before) / 1e6, 1)


def kernels(device: str, ceiling: dict) -> dict:
    """Each kernel, forward and backward: ms and MB of both, largest difference, and what share of the ceiling Unsloth reaches.

    A kernel that fails is recorded with the reason. floor_bytes: what must cross the memory bus at least once.
    """
    import unsloth  # noqa: F401  first: it patches what it finds

    size = GPU_SIZES if device == "cuda" else CPU_SIZES
    kind = torch.bfloat16 if device == "cuda" else torch.float32
    torch.manual_seed(0)
    out = {}
    for make in (rms_norm, rope, swiglu, cross_entropy, grpo_loss):
        try:
            out[make.__name__] = _compare(*make(size, device, kind), device, ceiling)
        except Exception as error:
            out[make.__name__] = {"failed": f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"}
    return {"sizes": size, "dtype": str(kind)} | out


def _compare(fused, plain, floor_bytes: float, flops: float, device: str, ceiling: dict) -> dict:
    ours, theirs = fused(), plain()
    difference = max((a.float() - b.float()).abs().max().item() for a, b in zip(ours, theirs, strict=True))
    largest = max(b.float().abs().max().item() for b in theirs)
    del ours, theirs
    t_fused, t_plain = seconds(fused, device), seconds(plain, device)
    return {
        "unsloth_ms": round(1e3 * t_fused, 4),
        "pytorch_ms": round(1e3 * t_plain, 4),
        "faster_by": round(t_plain / t_fused, 2),
        "unsloth_peak_mb": peak_mb(fused, device),
        "pytorch_peak_mb": peak_mb(plain, device),
        "largest_difference": difference,
        "largest_value": largest,
        "floor_bytes": floor_bytes,
        "flops": flops,
        "share_of_bandwidth": round(floor_bytes / t_fused / 1e9 / ceiling["copy_gb_s"], 3),
        "share_of_matrix_peak": round(flops / t_fused / 1e12 / ceiling["matrix_tflops"], 3) if flops else None,
    }


def _grads(outputs, wanted, upstream):
    return [*(o.detach() for o in outputs), *torch.autograd.grad(outputs, wanted, upstream)]


def rms_norm(size, device, kind):
    from transformers.models.llama.modeling_llama import LlamaRMSNorm
    from unsloth.kernels.rms_layernorm import fast_rms_layernorm

    norm = LlamaRMSNorm(size["hidden"]).to(device, kind).requires_grad_(False)  # frozen, as beside LoRA
    x = torch.randn(1, size["rows"], size["hidden"], device=device, dtype=kind, requires_grad=True)
    up = torch.randn_like(x)

    def plain(x):
        h = x.float()
        return norm.weight * (h * torch.rsqrt(h.pow(2).mean(-1, keepdim=True) + norm.variance_epsilon)).to(x.dtype)

    floor = 5 * x.numel() * x.element_size()  # forward: read x, write y; backward: read x and dy, write dx
    return (lambda: _grads([fast_rms_layernorm(norm, x)], [x], [up])), (lambda: _grads([plain(x)], [x], [up])), floor, 0


def rope(size, device, kind):
    from unsloth.kernels import fast_rope_embedding

    rows, d = size["rows"], size["head_dim"]
    q = torch.randn(1, size["heads"], rows, d, device=device, dtype=kind)
    k = torch.randn(1, size["kv_heads"], rows, d, device=device, dtype=kind)
    angle = torch.outer(torch.arange(rows, device=device), 1e4 ** -(torch.arange(0, d, 2, device=device) / d)).repeat(1, 2)
    cos, sin = angle.cos().to(kind), angle.sin().to(kind)
    up = [torch.randn_like(q), torch.randn_like(k)]

    def turn(x):
        return x * cos + torch.cat([-x[..., d // 2 :], x[..., : d // 2]], -1) * sin

    def run(rotate):
        a, b = q.clone().requires_grad_(), k.clone().requires_grad_()
        return _grads(list(rotate(a * 1, b * 1)), [a, b], up)

    floor = 4 * (q.numel() + k.numel()) * q.element_size()  # forward and backward: read and write both
    fused = lambda: run(lambda a, b: fast_rope_embedding(a, b, cos, sin))  # noqa: E731
    return fused, (lambda: run(lambda a, b: (turn(a), turn(b)))), floor, 0


def swiglu(size, device, kind):
    from unsloth.kernels import swiglu_DWf_DW_dfg_kernel, swiglu_fg_kernel

    gate = torch.randn(1, size["rows"], size["mlp"], device=device, dtype=kind, requires_grad=True)
    up = torch.randn_like(gate, requires_grad=True)
    down = torch.randn_like(gate)

    def fused():
        h = swiglu_fg_kernel(gate.detach(), up.detach())
        e, g, dh = (x.detach().clone().view(size["rows"], -1) for x in (gate, up, down))
        _, d_up, d_gate = swiglu_DWf_DW_dfg_kernel(dh, e, g)  # writes over its inputs: in training they are spent
        return [h, d_gate.view_as(gate), d_up.view_as(up)]

    floor = 8 * gate.numel() * gate.element_size()  # forward: read 2, write 1; backward: read 3, write 2
    return fused, (lambda: _grads([F.silu(gate) * up], [gate, up], [down])), floor, 0


def cross_entropy(size, device, kind):
    from unsloth.kernels import fast_cross_entropy_loss

    logits = torch.randn(1, size["logit_rows"], size["vocab"], device=device, dtype=kind)
    labels = torch.randint(0, size["vocab"], (1, size["logit_rows"]), device=device)

    def run(loss):
        x = logits.clone().requires_grad_()
        value = loss(x)
        return [value.detach(), *torch.autograd.grad(value, [x])]

    def plain(x):
        return F.cross_entropy(x.float().view(-1, size["vocab"]), labels.view(-1))

    floor = 3 * logits.numel() * logits.element_size()  # forward: read; backward: read and write
    return (lambda: run(lambda x: fast_cross_entropy_loss(x, labels))), (lambda: run(plain)), floor, 0


def grpo_loss(size, device, kind):
    """Log-probabilities of given tokens from hidden states, and their gradient: whole logits against chunks of them."""
    from unsloth_zoo.rl_replacements import chunked_hidden_states_selective_log_softmax

    hidden = torch.randn(1, size["logit_rows"], size["hidden"], device=device, dtype=kind, requires_grad=True)
    head = torch.randn(size["vocab"], size["hidden"], device=device, dtype=kind) * size["hidden"] ** -0.5
    chosen = torch.randint(0, size["vocab"], (1, size["logit_rows"]), device=device)
    up = torch.randn(1, size["logit_rows"], device=device)

    def plain():
        logp = torch.log_softmax((hidden @ head.T).float(), -1).gather(-1, chosen[..., None]).squeeze(-1)
        return _grads([logp], [hidden], [up])

    def fused():
        logp = torch.utils.checkpoint.checkpoint(
            lambda h: chunked_hidden_states_selective_log_softmax(h, head, chosen, chunks=8), hidden, use_reentrant=False
        )
        return _grads([logp.view(1, -1).float()], [hidden], [up])

    flops = 4.0 * size["logit_rows"] * size["hidden"] * size["vocab"]  # forward, and the gradient of hidden; the head is frozen
    floor = 2 * head.numel() * head.element_size() + 4 * hidden.numel() * hidden.element_size()
    return fused, plain, floor, flops
