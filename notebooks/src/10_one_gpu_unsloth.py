# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # One GPU: what Unsloth's kernels fuse, and why GRPO pays for it
#
# The tiny model learned to manage its memory on a CPU. A real instruct model takes the same notebooks, the same episodes and the same
# trainer to a GPU. There, most of the time and memory goes to two things: numbers that cross the memory bus more often than they must,
# and logits over a vocabulary of 150,000 words. This notebook counts both, writes one fused kernel, and compares with what was measured.
#
# **You will** compute the floor of a training step in bytes and FLOPs; write a Triton kernel and check it against PyTorch; take GRPO's
# loss without ever holding the logits; read the plan of a GPU run before anything is downloaded; read a recorded run, or make one.
#
# **Before this:** notebook 03 (MemAgent and GRPO).
#
# | preset | minutes | peak memory | machine |
# |---|---|---|---|
# | `smoke` | under 1 | 1 GB | any laptop |
# | `cpu` | under 5 | 1 GB | two laptop cores; the kernel runs in an interpreter, for its result and not for its speed |
# | `gpu` | 10 | 8 GB of GPU memory | one NVIDIA GPU |

# %% tags=["parameters"]
PRESET = "cpu"  # smoke | cpu | gpu
SEED = 0
MEASURE = False  # True on a GPU: measure now (8 minutes) instead of showing a recorded run

# %% [markdown]
# The first call comes before every other import, and that is no matter of taste: Unsloth replaces parts of transformers and TRL, so it must
# be imported before them. `lab.start` decides. On a machine without a GPU it imports nothing of the kind.

# %%
from memlab import lab

session = lab.start("10", PRESET, SEED)
from memlab.kernels import HOW, jit, tl  # before transformers too, which may import triton

# %%
import json
import subprocess
import sys

import torch
import torch.nn.functional as F
from matplotlib.figure import Figure

from memlab import accelerator, contenders, papers
from memlab.papers.instruct import instruct
from memlab.training.estimate import DEVICES, SHAPES, estimate, work_of
from memlab.training.gpu import RECIPES, plan_run
from memlab.training.grpo import GRPOSettings
from memlab.views.figures import PALETTE, show
from memlab.views.tables import table

# %% [markdown]
# ## What is claimed, and what is done here
#
# | claim | here |
# |---|---|
# | fused kernels are exact: no approximation | tested: the RMSNorm kernel against PyTorch, to rounding |
# | Unsloth trains the same thing as TRL + PEFT | a test of the repository: its loader, decoder and GRPO trainer, in Triton's interpreter on a CPU, write the same words and the same gradient |
# | a fused operation is limited by bytes, and fusing saves bytes | counted by hand, then compared with the measurement |
# | GRPO's memory is logits; chunking takes it away | tested: bytes kept for the backward pass, on this machine |
# | a step is at least twice as fast in half the memory of TRL + PEFT | only a GPU can say: the recorded run, if there is one |
# | vLLM, 4-bit weights | in the preset, not measured here |

# %% [markdown]
# ## 1. Where the bytes go: logits
#
# GRPO needs one number per sampled token: its log-probability. To get it, a plain implementation computes a number for *every word of the
# vocabulary* at every position, in float32, and keeps them all for the backward pass. Those are the logits.
#
# **Exercise 1** (difficulty 1 of 5, importance 5 of 5, 3 minutes). Bytes of the logits and of their gradient.

# %%
def logits_bytes(rows: int, completion: int, vocab: int) -> int:
    """Bytes of float32 logits and of their gradient, for `rows` completions."""
    ### BEGIN SOLUTION
    return 2 * rows * completion * vocab * 4
    ### END SOLUTION

# %% tags=["check"]
session.checkpoint("logits of one micro-batch", logits_bytes(32, 128, 151_936), equals=4_978_638_848,
                   hint="four bytes a number, and the gradient is as large as the logits")

# %% [markdown]
# <details><summary>Hint</summary>rows x completion x vocab numbers, 4 bytes each; then the same again for the gradient.</details>
#
# Five gigabytes for 32 completions of 128 tokens. Now put the other parts of a training step beside it. `estimate` is plain arithmetic over
# the model's published sizes; read it in `memlab/training/estimate.py`.

# %%
work = work_of(instruct(papers.get("memagent"), "english"))
print(f"MemAgent in natural English: {work.turns:.1f} turns a document, prompts up to {work.prompt} tokens, completions up to {work.completion}")
settings = GRPOSettings(steps=200, tasks=8, group=16, micro_batches=4)
rows = []
for model in SHAPES:
    e = estimate(model, settings, work, backend="trl", device="A100", lora_rank=0 if model == "tiny" else 16)
    rows.append({"model": model.removeprefix("hub:"), "parameters": f"{SHAPES[model].parameters / 1e6:,.1f} M", "vocabulary": SHAPES[model].vocab,
                 "weights GB": e.weights / 1e9, "adapters GB": e.adapters / 1e9, "activations GB": e.activations / 1e9, "logits GB": e.logits / 1e9})
print(table(rows, caption="A GRPO step with full logits, four micro-batches: what is held (calculated)"))

# %% [markdown]
# For a small model with a long vocabulary the logits are the largest part: the vocabulary of Qwen2.5-0.5B is nearly that of Qwen2.5-7B. And memory
# management makes it worse than a single answer would: one document is several rows.

# %%
def held_figure(models, completions):
    """Share of a step's memory that is logits, against the completion's length (calculated)."""
    fig = Figure(figsize=(7.2, 3.8), constrained_layout=True)
    ax = fig.subplots()
    for i, model in enumerate(models):
        shares = []
        for c in completions:
            e = estimate(model, settings, type(work)(work.turns, work.prompt, c), "trl", "A100")
            shares.append(100 * e.logits / (e.weights + e.adapters + e.activations + e.logits))
        ax.plot(completions, shares, marker="os^D"[i], color=PALETTE[i], label=model.removeprefix("hub:Qwen/"))
    ax.set(xlabel="completion, tokens", ylabel="logits, % of memory", ylim=(0, 100), title="The vocabulary decides")
    ax.legend(frameon=False)
    return fig


models = ["smollm2", "hub:Qwen/Qwen2.5-0.5B-Instruct", "hub:Qwen/Qwen2.5-1.5B-Instruct", "hub:Qwen/Qwen2.5-7B-Instruct"]
show(held_figure(models, [16, 48, 128, 256, 512]),
     alt="Calculated share of a GRPO step's memory that is logits, against completion length from 16 to 512 tokens, for four models. All "
     "curves rise; Qwen2.5-0.5B is highest, since its vocabulary is large for its size, and Qwen2.5-7B is lowest.")

# %% [markdown]
# ## 2. The floor: bytes and FLOPs
#
# A GPU does arithmetic far faster than it moves numbers. An A100 multiplies 312 million million bf16 numbers a second and moves 2 million
# million bytes: about 150 operations for every byte. RMSNorm does about four per number it reads. So its time is its traffic:
#
# $$t \ge \max\!\left(\frac{\text{bytes}}{\text{bandwidth}},\ \frac{\text{FLOPs}}{\text{peak}}\right)$$
#
# Written as six PyTorch operations, RMSNorm moves the whole tensor across the bus eleven times. Fused into one kernel it reads once and writes
# once. That is all that fusing does here, and it is exact.
#
# **Exercise 2** (difficulty 2, importance 4, 5 minutes). Count the traffic of the plain version. A bf16 number has 2 bytes, a float32 number 4.
#
# | step | reads | writes |
# |---|---|---|
# | `h = x.float()` | bf16 | float32 |
# | `s = h.pow(2)` | float32 | float32 |
# | `m = s.mean(-1)` | float32 | (one number a row) |
# | `n = h * rsqrt(m)` | float32 | float32 |
# | `n = n.to(bf16)` | float32 | bf16 |
# | `y = weight * n` | bf16 | bf16 |

# %%
def rms_norm_bytes(numbers: int) -> tuple[int, int]:
    """(plain, fused): bytes that cross the bus in a forward pass over `numbers` bf16 numbers."""
    ### BEGIN SOLUTION
    plain = (2 + 4) + (4 + 4) + 4 + (4 + 4) + (4 + 2) + (2 + 2)
    return plain * numbers, (2 + 2) * numbers
    ### END SOLUTION

# %% tags=["check"]
plain, fused = rms_norm_bytes(1)
session.checkpoint("bytes a number", (plain, fused), equals=(36, 4), hint="add reads and writes of all six lines; fused: read x, write y")

# %% [markdown]
# <details><summary>Hint</summary>The mean reads four bytes a number and writes next to nothing.</details>
#
# Nine times less traffic. The other kernels are the same idea. SwiGLU computes `silu(gate) * up` in one pass. RoPE turns queries and keys in
# place instead of making rotated copies. Cross-entropy reads the logits once and writes the gradient over them. What they cannot fuse is
# a matrix product: there the FLOPs are the floor, and the library routine is already near it.

# %%
tokens, s = 8192, SHAPES["hub:Qwen/Qwen2.5-1.5B-Instruct"]
peak, bandwidth = DEVICES["A100"]
floors = {  # name: (bytes forward and backward, FLOPs); bf16, weights frozen as beside LoRA
    "RMSNorm": (5 * tokens * s.hidden * 2, 0),
    "RoPE": (4 * tokens * (s.heads + s.kv_heads) * s.head_dim * 2, 0),
    "SwiGLU": (8 * tokens * s.mlp * 2, 0),
    "cross-entropy": (3 * tokens * s.vocab * 2, 0),
    "GRPO log-probabilities": (2 * s.vocab * s.hidden * 2, 4 * tokens * s.hidden * s.vocab),
}
table([{"operation": name, "MB": b / 1e6, "GFLOP": f / 1e9, "floor ms (A100)": 1e3 * max(b / bandwidth / 1e9, f / peak / 1e12),
        "limited by": "FLOPs" if f / peak / 1e12 > b / bandwidth / 1e9 else "bytes"} for name, (b, f) in floors.items()],
      caption="The floor of each operation, forward and backward, 8,192 tokens of Qwen2.5-1.5B, from data-sheet numbers", formats={"floor ms (A100)": ".3f"})

# %% [markdown]
# ## 3. One kernel, written and run
#
# A Triton kernel is a function that handles one block. It is started once for every program of a *grid*; here, one program is one row.
# `tl.load` fetches a block of numbers, everything in between stays in registers, `tl.store` writes the result. A block's width is a
# power of two, so the places past the end of the row are masked.

# %%
@jit
def rms_norm_kernel(x, weight, y, columns, eps, BLOCK: tl.constexpr):
    """One program normalises one row: one read, one write."""
    row = tl.program_id(0)
    column = tl.arange(0, BLOCK)
    inside = column < columns
    values = tl.load(x + row * columns + column, mask=inside, other=0.0).to(tl.float32)
    scale = 1.0 / tl.sqrt(tl.sum(values * values, axis=0) / columns + eps)
    gains = tl.load(weight + column, mask=inside, other=0.0)
    tl.store(y + row * columns + column, values * scale * gains, mask=inside)


def rms_norm(x, weight, eps=1e-6):
    """x: (rows, columns), contiguous. Returns the same shape."""
    y = torch.empty_like(x)
    block = 1 << (x.shape[1] - 1).bit_length()
    rms_norm_kernel[(x.shape[0],)](x, weight, y, x.shape[1], eps, BLOCK=block)
    return y

# %%
torch.manual_seed(SEED)
device = session.device
x, weight = torch.randn(32, 576, device=device), torch.randn(576, device=device)
print("the kernel ran", HOW)
difference = (rms_norm(x, weight) - F.rms_norm(x, (576,), weight, 1e-6)).abs().max().item()
session.checkpoint("RMSNorm kernel, largest difference from PyTorch", difference, close=0.0, tolerance=1e-5,
                   hint="the mean runs over the row's own columns, not over the padded block")

# %% [markdown]
# Without a GPU the same source runs one program after the other, in Triton's interpreter or, where Triton cannot be installed, in a
# stand-in. That shows that it is right. It says nothing about speed: an interpreted kernel is thousands of times slower.
#
# **What a wrong mask does.** Leave out `mask` and `other`, and the last block reads the next row: the mean is wrong, silently. Try it.
#
# ## 4. GRPO without the logits
#
# The kernels above save time. The largest saving of memory is not a kernel but an order of work: take a chunk of tokens, multiply with the
# output matrix, keep one number a token, and throw the chunk's logits away. In the backward pass compute them again. A third more
# arithmetic in this one layer, and the logits are never all there.
#
# **Exercise 3** (difficulty 3, importance 5, 10 minutes). Log-probabilities of the chosen tokens, one chunk at a time.

# %%
from torch.utils.checkpoint import checkpoint


def whole(hidden, head, chosen):
    """Log-probability of `chosen` (N,) from hidden (N, h) and the output matrix (V, h), with all logits at once."""
    return torch.log_softmax(hidden @ head.T, -1).gather(-1, chosen[:, None]).squeeze(-1)


def chunked(hidden, head, chosen, chunks):
    """The same numbers; `checkpoint(f, a, b, use_reentrant=False)` calls f(a, b) and repeats it in the backward pass."""
    ### BEGIN SOLUTION
    parts = zip(hidden.chunk(chunks), chosen.chunk(chunks), strict=True)
    return torch.cat([checkpoint(whole, h, head, c, use_reentrant=False) for h, c in parts])
    ### END SOLUTION

# %%
n, h, v = (64, 32, 2_000) if PRESET == "smoke" else (512, 128, 20_000)
head, chosen = torch.randn(v, h, device=device) * h**-0.5, torch.randint(0, v, (n,), device=device)


def gradient_and_kept(f):
    """Gradient of the summed log-probabilities, and the bytes that autograd kept for it."""
    hidden = torch.randn(n, h, generator=torch.Generator().manual_seed(SEED)).to(device).requires_grad_()
    kept = {}
    def keep(t):
        kept[t.untyped_storage().data_ptr()] = t.untyped_storage().nbytes()
        return t
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda t: t):
        loss = f(hidden)
    loss.sum().backward()
    return hidden.grad, sum(kept.values())


# %% tags=["check"]
want, bytes_whole = gradient_and_kept(lambda x: whole(x, head, chosen))
got, bytes_chunked = gradient_and_kept(lambda x: chunked(x, head, chosen, 16))
session.checkpoint("gradient in chunks, largest difference", (got - want).abs().max().item(), close=0.0, tolerance=1e-5,
                   hint="chunk hidden and chosen alike, and keep their order")
session.checkpoint("bytes kept", bytes_chunked < bytes_whole / 2, true=True, hint="without checkpoint every chunk's logits are kept after all")
print(f"kept for the backward pass: whole {bytes_whole / 1e6:.1f} MB, in 16 chunks {bytes_chunked / 1e6:.1f} MB")

# %% [markdown]
# <details><summary>Hint</summary>`hidden.chunk(chunks)` gives the pieces; `checkpoint(whole, piece, head, ids, use_reentrant=False)`; `torch.cat`.</details>
#
# The gradient is the same, to rounding. This is what Unsloth's GRPO loss does, with the chunk size fitted to the memory that is free, and
# compiled. It is also why memlab overrides the *rollout* of TRL's trainer and never its loss: whatever computes the loss best may replace it.
#
# ## 5. The plan of a run
#
# `memlab train memagent --preset gpu --model smollm2 --dry-run` prints what a run would take, before anything is downloaded. The same for
# several GPUs (calculated, with the stated efficiencies; your GPU's own numbers come from the measurement below):

# %%
plans = []
for model in ("smollm2", "hub:Qwen/Qwen2.5-1.5B-Instruct", "hub:Qwen/Qwen3-4B"):
    for gpu in ("T4", "4090", "A100", "H100"):
        e = {b: estimate(model, settings, work, b, gpu) for b in ("unsloth", "trl")}
        plans.append({"model": model.removeprefix("hub:"), "GPU": gpu} | {
            f"{b}: {what}": value for b in e for what, value in (("GB", e[b].peak / 1e9), ("hours", e[b].hours))})
print(table(plans, caption="200 GRPO steps of MemAgent in English, 8 x 16 rollouts a step (calculated, not measured)", formats={
    f"{b}: {what}": ".1f" for b in ("unsloth", "trl") for what in ("GB", "hours")}))

# %% [markdown]
# The hyper-parameters are the paper's: groups of 16, clip 0.2, no division by the deviation, KL weight 0.001. Two things differ. LoRA needs a larger learning
# rate than the paper's 1e-6 for all weights. And after a warm start the KL is left out: Unsloth's reference is the model *without* its adapters,
# which is not where reinforcement learning began.
#
# Every paper of this workbook has a plan: its own hyper-parameters, its own prompts for instruct models, the same trainer. Memory-R1 trains two agents, one
# after the other, as two sets of adapters on one model. On this machine, or where it has no GPU on a reference:

# %%
columns = ("group", "warmup_steps", "beta", "scale", "epsilon", "temperature")
recipes = [{"paper": papers.get(name).title} | {key: its[key] for key in columns} for name, its in RECIPES.items()]
print(table(recipes, caption="The papers' hyper-parameters (beta: without a warm start)", formats={"beta": "g"}))

# %%
plans = []
for name in papers.NAMES:
    for model in ("smollm2", "hub:Qwen/Qwen2.5-1.5B-Instruct"):
        plan = plan_run(name, model, dry=True)
        who = {"paper": plan.paper.title, "model": model.removeprefix("hub:"), "agents": len(plan.paper.stages)}
        rollouts = {"tasks x group": f"{plan.settings.tasks} x {plan.settings.group}"}
        where = {"GPU": plan.estimate.device, "with": plan.estimate.backend, "GB": plan.estimate.peak / 1e9}
        plans.append(who | rollouts | where | {"s a step": plan.estimate.step_seconds, "hours": plan.estimate.hours})
print(plan.accelerator.notice)
print(table(plans, caption=f"{plan.settings.steps} GRPO steps in English (calculated, not measured)",
            formats={"GB": ".1f", "s a step": ".0f", "hours": ".1f"}))

# %% [markdown]
# The warm start is the same idea as for the tiny model, in natural English: rows of random but well-formed memory, so that the model knows the
# format and has no idea what to keep.

# %%
import random

english = instruct(papers.get("memagent"), "english")
task = english.world.make(random.Random(SEED + 2), 2)
run = english.episode(task)
ask = next(run)
print(ask.prompt[-1]["content"])
print("\na random-valid memory:", english.random_valid(ask, random.Random(SEED)))
print("the oracle's memory:  ", english.oracle(ask, random.Random(SEED)))

# %% [markdown]
# ## 6. Measured
#
# `python -m benchmarks.gpu` measures the ceilings of the machine, each kernel, one GRPO step with Unsloth, with TRL + PEFT and with the plain
# loop on the same rows, and a run of MemAgent on SmolLM2. It writes one record to `data/runs/gpu/`. A part that fails says why there.

# %%
folder = contenders.RUNS / "gpu"
if MEASURE and session.preset.needs_gpu:
    subprocess.run([sys.executable, "-m", "benchmarks.gpu"], check=True, cwd=contenders.ROOT)
records = sorted(folder.glob("*.json"), key=lambda p: p.stat().st_mtime) if folder.is_dir() else []
record = json.loads(records[-1].read_text()) if records else None
if record is None:
    print("No GPU run has been recorded in this repository yet: everything above is calculated, and nothing about speed has been measured.\n"
          "On a machine with an NVIDIA GPU, python -m benchmarks.gpu makes the record, and this section shows it.")
else:
    print(f"RECORDED, not run now: {record['device']}, commit {record['commit']}, {record['seconds']:.0f} s in all")
    print(", ".join(f"{name} {found}" for name, found in record["versions"].items() if found))
    print("missing there:", ", ".join(record["missing"]) or "nothing")

# %%
def part_rows(parts, prefix):
    """One row a part whose name starts with `prefix`: its numbers, or why there are none."""
    rows = []
    for name, result in parts.items():
        if name.startswith(prefix):
            numbers = {k: result.get(k) for k in ("step_s", "tokens_s", "peak_gb", "share_of_matrix_peak")}
            rows.append({"part": name.removeprefix(prefix)} | numbers | {"note": result.get("failed", result.get("notice", ""))[:70]})
    return rows


if record:
    kernels = [{"kernel": name} | {k: r.get(k) for k in ("unsloth_ms", "pytorch_ms", "faster_by", "share_of_bandwidth", "share_of_matrix_peak")}
               for name, r in record["parts"].get("kernels", {}).items() if isinstance(r, dict) and "unsloth_ms" in r]
    print("ceilings:", record["parts"].get("ceilings"))
    print(table(kernels, caption="Kernels, forward and backward (recorded)") if kernels else f"kernels: {record['parts'].get('kernels')}")
    print(table(part_rows(record["parts"], "step-"), caption="One GRPO step on the same rows (recorded)"))

# %%
if record and record["parts"].get("memagent-grpo", {}).get("log"):
    log = record["parts"]["memagent-grpo"]["log"]
    fig = Figure(figsize=(7.2, 3.6), constrained_layout=True)
    ax = fig.subplots()
    ax.plot([r["step"] for r in log], [r["reward"] for r in log], color=PALETTE[0])
    ax.set(xlabel="step", ylabel="mean reward", ylim=(0, 1), title="MemAgent with SmolLM2 on a GPU (recorded)")
    show(fig, alt=f"Mean reward against step, from {log[0]['reward']:.2f} to {log[-1]['reward']:.2f} in {len(log)} steps.")
    before, after = (record["parts"].get(f"memagent-{k}", {}).get("accuracy", []) for k in ("warm", "after"))
    print(table([{"sections": b["size"], "before": b["accuracy"], "after": a["accuracy"]} for b, a in zip(before, after)],
                caption="Accuracy on English documents, before and after GRPO (recorded)"))
else:
    print("no recorded reward curve yet")

# %% tags=["results"]
rows = [{"quantity": "RMSNorm traffic, plain over fused", "value": f"{plain / fused:.0f} times", "how": "counted"},
        {"quantity": "bytes kept by the loss, whole over chunked", "value": f"{bytes_whole / bytes_chunked:.0f} times", "how": "measured here"}]
for model in ("smollm2", "qwen2-0.5b", "qwen2-1.5b"):
    steps = {b: (record or {"parts": {}})["parts"].get(f"step-{b}-{model}", {}) for b in ("unsloth", "trl")}
    done = all("step_s" in r for r in steps.values())
    rows.append({"quantity": f"GRPO step, {model}: TRL + PEFT over Unsloth", "how": "recorded" if done else "not measured yet", "value":
        f"{steps['trl']['step_s'] / steps['unsloth']['step_s']:.1f} times the time, "
        f"{steps['trl']['peak_gb'] / steps['unsloth']['peak_gb']:.1f} times the memory" if done else "no record"})
table(rows, caption="What fusing saves")

# %% [markdown]
# ## 7. When it goes wrong
#
# | what you see | what happened | what to do |
# |---|---|---|
# | `Unsloth cannot find any torch accelerator` | `import unsloth` without a GPU | let `lab.start` or `accelerator.decide` import it |
# | training runs, no faster than TRL | transformers was imported first | restart the kernel, `lab.start` in the first cell |
# | loss 0, gradient 0 from the first step | with Unsloth imported, `mask_truncated_completions` is on by default | set every field: `memlab.training.grpo.grpo_config` does |
# | the policy never ends its turns | pad = eos, so the end token is masked out of training | a pad token of its own; memlab refuses another |
# | a LoRA configuration is ignored | under Unsloth `peft_config=` has no effect | `get_peft_model` first, then the trainer: `load_trainable` does |
# | out of memory in the first step | logits of a micro-batch | more micro-batches; the plan chooses them from the free memory |
#
# Every step down the chain Unsloth, TRL + PEFT, CPU is announced in one sentence. This machine's:

# %%
print(accelerator.decide("gpu").notice or "Unsloth is used")

# %% [markdown]
# ## Quiz
#
# 1. RMSNorm is fused, and nine times fewer bytes cross the bus. Why is the whole step not nine times faster?
# 2. Qwen2.5-0.5B and 7B have nearly the same vocabulary. For which do chunked logits save the larger share, and why?
# 3. Chunking recomputes logits. Why is the step still not slower?
# 4. Why must Unsloth be imported before transformers?
# 5. The adapters' reference model is the base model. When is that wrong for the KL term?
#
# <details><summary>Answers</summary>
#
# 1. Most of the time is matrix products, which were not touched. Only the time between them shrinks.
# 2. For 0.5B: the logits are the same, everything else is smaller.
# 3. The extra product is one layer of many; what is saved is traffic of gigabytes, and a larger micro-batch fits.
# 4. It replaces classes and methods. What was imported before keeps the old ones.
# 5. When reinforcement learning starts from a warm start that is in the adapters: the base model is not where it began.
# </details>
#
# **Going further.** Write the backward pass of RMSNorm: it is one more row-wise kernel. Then notebook 11, where the same trainer
# runs on a node of GPUs.

# %%
session.colophon()
