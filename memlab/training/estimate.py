"""What a run on a GPU will take, before anything is downloaded: bytes by part, and hours.

Arithmetic, not measurement. Shapes are the published configurations; the two efficiencies below are assumptions, written down so
that they can be replaced by what `python -m benchmarks.gpu` measures. Tokens are estimated from words (TOKENS_A_WORD).
"""

from __future__ import annotations

import json
import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from memlab.papers import Paper

GB = 1e9
LORA_MODULES = ("q", "k", "v", "o", "gate", "up", "down")
NF4_BYTES = 0.5 + 1 / 64 + 4 / (64 * 256)  # a weight in 4 bits, one 8-bit scale in 64 weights, one 32-bit in 256 scales
CONTEXT_BYTES = 1.0e9  # CUDA context, libraries and the allocator's slack
TOKENS_A_WORD, TEMPLATE_TOKENS = 1.5, 40

# dense bf16 TFLOP/s (fp16 for T4) and memory bandwidth in GB/s from the vendors' data sheets; the first name that fits counts
DEVICES = {
    "H200": (989, 4800), "H100": (989, 3350), "A100": (312, 2039), "L40S": (362, 864), "L4": (121, 300), "A10": (125, 600),
    "4090": (165, 1008), "3090": (71, 936), "T4": (65, 300), "cpu": (0.05, 20),
}  # fmt: skip
REFERENCE = "A100"  # assumed where the device is not known
REFERENCE_BYTES = 80e9
EFFICIENCY = {"unsloth": 0.30, "trl": 0.15, "cpu": 0.5}  # assumed share of the matrix peak reached in a training step
LAUNCH_S = {"unsloth": 0.4e-3, "trl": 1.0e-3, "cpu": 0.0}  # assumed seconds of kernel launches a layer and decoded token


@dataclass(frozen=True)
class Shape:
    """A decoder's sizes. bias: on q, k and v (Qwen2). qk_norm: two norms over head_dim a layer (Qwen3)."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    vocab: int
    tied: bool = True
    bias: bool = False
    qk_norm: bool = False

    @property
    def projections(self) -> dict[str, tuple[int, int]]:
        """(in, out) of the seven matrices of a layer."""
        q, kv = self.heads * self.head_dim, self.kv_heads * self.head_dim
        return {
            "q": (self.hidden, q), "k": (self.hidden, kv), "v": (self.hidden, kv), "o": (q, self.hidden),
            "gate": (self.hidden, self.mlp), "up": (self.hidden, self.mlp), "down": (self.mlp, self.hidden),
        }  # fmt: skip

    @property
    def matrices(self) -> int:
        """Parameters of all layers' matrices: what 4-bit loading shrinks and what a token is multiplied with."""
        return self.layers * sum(i * o for i, o in self.projections.values())

    @property
    def parameters(self) -> int:
        extra = 2 * self.hidden + (2 * self.head_dim if self.qk_norm else 0)
        extra += (self.heads + 2 * self.kv_heads) * self.head_dim if self.bias else 0
        return self.matrices + self.layers * extra + self.hidden + self.vocab * self.hidden * (1 if self.tied else 2)

    def lora_parameters(self, rank: int) -> int:
        return self.layers * rank * sum(i + o for i, o in self.projections.values())

    @property
    def flops_a_token(self) -> float:
        """Multiply-adds of one forward pass, times two. Attention scores are left out: contexts are short here."""
        return 2.0 * (self.matrices + self.vocab * self.hidden)

    @classmethod
    def from_config(cls, config: dict) -> Shape:
        """From a transformers config.json of a Llama, Qwen2 or Qwen3 model."""
        heads = config["num_attention_heads"]
        return cls(
            config["num_hidden_layers"],
            config["hidden_size"],
            heads,
            config.get("num_key_value_heads", heads),
            config.get("head_dim") or config["hidden_size"] // heads,
            config["intermediate_size"],
            config["vocab_size"],
            tied=config.get("tie_word_embeddings", False),
            bias=config["model_type"] == "qwen2",
            qk_norm=config["model_type"] == "qwen3",
        )


SHAPES = {
    "tiny": Shape(3, 64, 2, 2, 64, 192, 150, qk_norm=True),
    "smollm2": Shape(30, 576, 9, 3, 64, 1536, 49_152),
    "hub:Qwen/Qwen2.5-0.5B-Instruct": Shape(24, 896, 14, 2, 64, 4864, 151_936, bias=True),
    "hub:Qwen/Qwen2.5-1.5B-Instruct": Shape(28, 1536, 12, 2, 128, 8960, 151_936, bias=True),
    "hub:Qwen/Qwen2.5-3B-Instruct": Shape(36, 2048, 16, 2, 128, 11_008, 151_936, bias=True),
    "hub:Qwen/Qwen2.5-7B-Instruct": Shape(28, 3584, 28, 4, 128, 18_944, 152_064, tied=False, bias=True),
    "hub:Qwen/Qwen3-4B": Shape(36, 2560, 32, 8, 128, 9728, 151_936, qk_norm=True),
}


@dataclass(frozen=True)
class Work:
    """One trajectory: turns (each a row), and tokens of a turn's prompt and completion, at most.

    asked: turns of a frozen agent, which are sampled and are no rows.
    """

    turns: float
    prompt: int
    completion: int
    asked: float = 0.0


@dataclass(frozen=True)
class Estimate:
    """Bytes by part while training, and time. `peak` is what must be free on the GPU."""

    model: str
    backend: str
    device: str
    weights: float
    adapters: float  # LoRA weights (or all weights), their gradients and two Adam moments, float32
    activations: float
    logits: float
    kv_cache: float
    download: float
    step_seconds: float
    hours: float

    @property
    def peak(self) -> float:
        """Training and rollout alternate, so the larger of the two counts."""
        return CONTEXT_BYTES + self.weights + self.adapters + max(self.activations + self.logits, self.kv_cache)

    def __str__(self) -> str:
        parts = ("weights", "adapters", "activations", "logits", "kv_cache")
        named = ", ".join(f"{name.replace('_', ' ')} {getattr(self, name) / GB:.2f}" for name in parts)
        hours = f"{self.hours:.1f} hours" if self.hours >= 1 else f"{60 * self.hours:.0f} minutes"
        return (
            f"estimate for {self.model} with {self.backend} on {self.device}: {self.peak / GB:.1f} GB of memory ({named}), "
            f"about {hours} ({self.step_seconds:.0f} s a step), {self.download / GB:.1f} GB to download; "
            f"assumed {EFFICIENCY[self.backend]:.0%} of the matrix peak"
        )


def estimate(
    model: str,
    settings,
    work: Work,
    backend: str = "unsloth",
    device: str = REFERENCE,
    lora_rank: int = 16,
    four_bit: bool = False,
    batch_tokens: int = 24_576,
    agents: int = 1,
) -> Estimate:
    """What training `model` takes. settings: GRPOSettings. lora_rank 0: all weights are trained, in float32.
    agents: of which one is trained at a time, for all steps, and the others are frozen copies.

    Logits: rows of a micro-batch x completion x vocabulary x 4 bytes, twice (value and gradient); Unsloth: one row at a time.
    Activations: with checkpointing, each layer's input, and the inside of one layer.
    """
    shape = shape_of(model)
    rows = math.ceil(settings.tasks * settings.group * work.turns / settings.micro_batches)
    length = work.prompt + work.completion
    half = 4 if backend == "cpu" else 2  # bytes a number, and of weights that are not trained
    if lora_rank:
        body = shape.matrices * (NF4_BYTES if four_bit else half)
        weights = agents * (body + (shape.parameters - shape.matrices) * half)
        trained = shape.lora_parameters(lora_rank)
    else:
        weights, trained = 0.0, shape.parameters
    held = rows * length * half * (shape.layers * shape.hidden + 10 * shape.hidden + 4 * shape.mlp)
    logits = 2 * (1 if backend == "unsloth" else rows) * work.completion * shape.vocab * 4
    sampled = min(settings.tasks * settings.group, max(1, batch_tokens // length))
    kv_cache = sampled * length * shape.layers * 2 * shape.kv_heads * shape.head_dim * half

    tflops, bandwidth = DEVICES[device_key(device)]
    trajectories = settings.tasks * settings.group
    passes = 4 if lora_rank else 5  # forward, recomputation, and the backward pass of one (LoRA) or both (all) gradients
    tokens = trajectories * length * (work.turns * (1 + passes) + work.asked)  # 1, asked: the rollout's prefill
    compute = tokens * shape.flops_a_token / (EFFICIENCY[backend] * tflops * 1e12)
    batches = math.ceil(trajectories / sampled)
    decode = (work.turns + work.asked) * work.completion * batches
    decode *= shape.layers * LAUNCH_S[backend] + (shape.parameters * half + kv_cache) / (bandwidth * 1e9)
    seconds = compute + decode
    return Estimate(
        model, backend, device, weights, 16 * trained, held, logits, kv_cache,
        download=2.0 * shape.parameters if model.startswith("hub:") else 0.0,
        step_seconds=seconds, hours=agents * seconds * settings.steps / 3600,
    )  # fmt: skip


def shape_of(model: str) -> Shape:
    """By name, or from the config.json of a directory. Raises ValueError for a model whose shape is not known."""
    file = Path(model) / "config.json"
    if file.exists():
        return Shape.from_config(json.loads(file.read_text(encoding="utf-8")))
    if model not in SHAPES:
        raise ValueError(f"the size of {model!r} is not known; choose one of: {', '.join(SHAPES)}, or a directory")
    return SHAPES[model]


def device_key(name: str) -> str:
    """The row of DEVICES that a device's full name belongs to; REFERENCE if none."""
    return next((key for key in DEVICES if key in name), REFERENCE)


def work_of(paper: Paper, sizes: Sequence[int] | None = None, n: int = 32) -> Work:
    """Measured on `n` episodes of the paper played by its random-valid rule; needs no model and no tokenizer."""
    rng, words, limit = random.Random(0), 0, 0
    turns = {True: 0, False: 0}  # of the agent that is trained first, and of one that is frozen
    how = paper.stages[0].prepare(lambda weights: "frozen", "", Path())
    world, episode = how.get("world", paper.world), how.get("episode", paper.episode)
    for _ in range(n):
        run = episode(world.make(rng, rng.choice(sizes or paper.train_sizes)))
        ask = next(run)
        try:
            while True:
                text = ask.prompt if isinstance(ask.prompt, str) else " ".join(m["content"] for m in ask.prompt)
                turns[ask.by is None] += 1
                words, limit = max(words, len(text.split())), max(limit, ask.max_tokens)
                ask = run.send(paper.random_valid(ask, rng))
        except StopIteration:
            continue
    return Work(turns[True] / n, int(TOKENS_A_WORD * words) + TEMPLATE_TOKENS, limit, turns[False] / n)
