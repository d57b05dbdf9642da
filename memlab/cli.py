"""The command line. It calls the same functions as the notebooks.

memlab doctor, memlab run 03, memlab train memagent, memlab eval memagent --policy trained --sizes 4,64 -n 200 --seed 7 --json
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from typer.exceptions import TyperException

from memlab import papers

for name, value in {
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",  # of loading and saving: a tiny model takes milliseconds
    "TRANSFORMERS_VERBOSITY": "error",
    "TRL_EXPERIMENTAL_SILENCE": "1",
    "TOKENIZERS_PARALLELISM": "false",
}.items():
    os.environ.setdefault(name, value)

WHICH_PAPER = f"which paper: {', '.join(papers.NAMES)}"

app = typer.Typer(
    help="Train language models to manage their memory, and see what they keep.",
    add_completion=False,
    pretty_exceptions_enable=False,
)


class Wrong(Exception):
    """An error for the person at the terminal: one sentence and the command that fixes it."""


@app.command()
def doctor() -> None:
    """Check this machine, one line a check; paste the output into a bug report."""
    from memlab.doctor import report

    raise typer.Exit(0 if report() else 1)


@app.command()
def run(
    notebook: Annotated[str, typer.Argument(help="number of the notebook, for example 03")],
    preset: Annotated[str, typer.Option(help="the dial: smoke, cpu, gpu or node")] = "cpu",
    seed: Annotated[int, typer.Option(help="seed of tasks, training and sampling")] = 0,
    out: Annotated[Path | None, typer.Option(help="where to write the executed notebook")] = None,
) -> None:
    """Execute a notebook from top to bottom without a browser, and print its result table."""
    from memlab import notebooks, presets

    presets.get(preset)
    done = notebooks.run(notebook, preset=preset, seed=seed, out=out)
    if done.table:
        print(done.table)
    print(f"executed notebook: {done.path}  ({done.seconds:.0f} s)")


@app.command()
def train(
    paper: Annotated[str, typer.Argument(help=WHICH_PAPER)],
    preset: Annotated[str, typer.Option(help="the dial: smoke, cpu or gpu")] = "cpu",
    seed: Annotated[int, typer.Option(help="seed of tasks and sampling")] = 0,
    steps: Annotated[int | None, typer.Option(help="optimiser steps, instead of the preset's")] = None,
    out: Annotated[Path | None, typer.Option(help="directory of the run (default runs/PAPER-SEED)")] = None,
    start: Annotated[str, typer.Option(help="where to begin: warmstart, untrained, or a directory with a policy")] = "warmstart",
    resume: Annotated[bool, typer.Option("--resume", help="go on from the newest complete checkpoint of --out")] = False,
    model: Annotated[str | None, typer.Option(help="gpu: tiny, smollm2, hub:ID or a directory, instead of the preset's")] = None,
    task: Annotated[str, typer.Option(help="gpu: english (synthetic); real: hotpotqa, or for memory_r1 locomo")] = "english",
    four_bit: Annotated[bool, typer.Option("--four-bit", help="gpu: hold the weights in 4 bits")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="gpu: print what the run would take, and stop")] = False,
) -> None:
    """Train a policy with GRPO from the final answer's reward alone. A killed run goes on with --resume."""
    from memlab import presets

    title, dial = papers.get(paper).title, presets.get(preset)
    if steps is not None and steps < 1:
        raise Wrong(f"--steps is {steps}; train for at least one step: memlab train {paper} --steps 20")
    if preset == "node":
        raise Wrong(f"the node preset is not part of this command yet; train on one GPU with: memlab train {paper} --preset gpu")
    if dial.needs_gpu:
        from memlab.training import gpu  # it decides about Unsloth, before anything imports transformers

        plan = gpu.plan_run(paper, model, task, preset, seed, steps, start, four_bit, dry_run)
        print(plan)
        if dry_run:
            return
        settings, out = plan.settings, out or Path("runs") / f"{paper}-gpu-{seed}"
        begin = partial(gpu.run, plan, out)
    else:
        from memlab import contenders, lab
        from memlab.training import train as training

        lab.use_threads()
        settings, out = training.settings_of(dial, seed, steps, papers.get(paper)), out or Path("runs") / f"{paper}-{seed}"
        source = "tiny" if start == "untrained" else contenders.weights_of(papers.get(paper), start)
        begin = partial(training.train_stages, papers.get(paper), source, settings, out)
    print(f"{title}, {settings.steps} steps of {settings.tasks} x {settings.group} rollouts, seed {seed}, into {out}")
    try:
        policy = begin(resume=resume, on_step=_progress(settings.steps))
    except KeyboardInterrupt:
        print("\nmemlab: interrupted; go on with the same command and --resume", file=sys.stderr)
        raise
    finally:
        if sys.stdout.isatty():
            print()  # ends the line of the progress
    where = f" --task {task}" if dial.needs_gpu and plan.lora_rank else ""
    print(f"trained policy: {policy}\nevaluate it: memlab eval {paper} --policy {out}{where}")


@app.command("eval")
def evaluate(
    paper: Annotated[str, typer.Argument(help=WHICH_PAPER)],
    policy: Annotated[
        str,
        typer.Option(help="untrained, warmstart, trained, sft-oracle, random, oracle, a baseline of the paper, or a path"),
    ] = "trained",
    sizes: Annotated[
        str, typer.Option(help="task sizes, comma-separated: sections (memagent: 4,64), questions (mem1: 2,8), sessions, ...")
    ] = "",
    n: Annotated[int | None, typer.Option("-n", help="tasks of each size (200); locomo: questions (all)")] = None,
    seed: Annotated[int, typer.Option(help="seed of the tasks: any number; policies with the same seed get the same tasks")] = 0,
    task: Annotated[
        str,
        typer.Option(
            "--task",
            "--world",
            help="default: the paper's own; memory_r1 also: reworded, and real conversations: locomo, longmemeval; "
            "instruct models: english, and real questions: hotpotqa, for memory_r1 locomo",
        ),
    ] = "",
    model: Annotated[str, typer.Option(help="instruct models: who runs baselines and untrained")] = "smollm2",
    ranker: Annotated[str, typer.Option(help="real conversations: who finds notes, bm25 or embeddings")] = "bm25",
    reader: Annotated[str, typer.Option(help="real conversations: who answers, such as smollm2 (default: the best note)")] = "",
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object instead of a table")] = False,
) -> None:
    """Evaluate one policy: accuracy with its 95 % interval, F1, tokens and latency, for each size.

    On real conversations the policy is a way of keeping notes, and the results are by category.
    """
    import torch

    from memlab import contenders, conversations, evaluation, lab
    from memlab.papers import instruct
    from memlab.views.tables import results_table

    chosen = papers.get(paper)
    wanted = _sizes(sizes) if sizes else list(chosen.eval_sizes)
    if n is not None and n < 1:
        raise Wrong(f"-n is {n}; ask for at least one task: memlab eval {paper} -n 200")
    a_store = paper != "memory_r1" or policy in (*conversations.STORES, *contenders.RECORDED)
    if task == "longmemeval" or (task == "locomo" and a_store):
        return _on_conversations(paper, policy, task, ranker, reader, n, as_json)
    if task and task not in (known := [*chosen.worlds, *instruct.TASKS[paper], "longmemeval"]):
        raise Wrong(f"there is no world {task!r}; choose one of: {', '.join(known)}, or leave --world out")
    n, world, instructed = n or 200, chosen.worlds.get(task), task and task not in chosen.worlds
    if not instructed:
        lab.use_threads()
    else:
        if policy in contenders.RECORDED:
            raise Wrong(f"{policy} is a tiny model and reads no {task}; run: memlab eval {paper} --policy {policy}")
        chosen = instruct.instruct(chosen, task)
        world = instruct.evaluation_world(chosen)
    who = contenders.contender(chosen, policy, seed, model if instructed else "tiny")
    if instructed and torch.cuda.is_available():
        for agent in (who.policy, *getattr(who.episode, "keywords", {}).values()):
            if hasattr(agent, "model"):
                agent.model.to("cuda")
    results = evaluation.evaluate(chosen, who.policy, wanted, n, seed, who.episode, world)
    if as_json:
        record = {
            "paper": paper,
            "policy": policy,
            "world": chosen.world.name if instructed else task or chosen.world.name,
            "model": who.model,
            "seed": seed,
            "n": n,
            "commit": lab.git_revision(),
            "results": results,
        }
        print(json.dumps(record))
        return
    caption = f"{chosen.title}, {policy}, n = {n}, seed {seed}; size in {chosen.size_unit}, tokens and seconds a task"
    print(results_table(results, caption))


def _on_conversations(paper: str, policy: str, world: str, ranker: str, reader: str, n: int | None, as_json: bool) -> None:
    from memlab import conversations, lab, retrieval
    from memlab.policies import pretrained
    from memlab.policies.model import ModelPolicy
    from memlab.views.tables import table
    from memlab.worlds.real.conversations import locomo, longmemeval

    again = f"memlab eval {paper} --world {world} --policy"
    if paper != "memory_r1":
        raise Wrong(f"{paper} keeps no notes of conversations; run: memlab eval memory_r1 --world {world} --policy rag")
    if policy not in conversations.STORES:
        ways = ", ".join(conversations.STORES)
        raise Wrong(f"{policy} keeps no notes of real text: tiny models do not read it; choose one of: {ways}: {again} rag")
    if ranker not in ("bm25", "embeddings"):
        raise Wrong(f"there is no ranker {ranker!r}; choose bm25 or embeddings: {again} {policy} --ranker bm25")
    encode = retrieval.minilm() if ranker == "embeddings" else None
    read = ModelPolicy(*pretrained.load(reader), temperature=0, batch_tokens=2048) if reader else None
    results = conversations.evaluate(
        locomo() if world == "locomo" else longmemeval(),
        policy,
        retrieval.BM25 if encode is None else lambda: retrieval.Embeddings(encode),
        reader=read,
        n=n,
    )
    if as_json:
        record = {"paper": paper, "policy": policy, "world": world, "ranker": ranker, "reader": reader or None}
        print(json.dumps(record | {"commit": lab.git_revision(), "results": results}))
        return
    by = f"read by {reader}" if reader else "answered with the best note"
    print(table(results, caption=f"{world}, {policy}, {ranker}, 10 notes a question, {by}"))


def _sizes(text: str) -> list[int]:
    try:
        sizes = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        sizes = []
    if not sizes or min(sizes) < 1:
        raise Wrong(f"--sizes is {text!r}; give whole numbers from 1, separated by commas: --sizes 4,64")
    return sizes


def _progress(steps: int):
    """One line, rewritten in place; a line every 25 steps where the output is no terminal."""
    live = sys.stdout.isatty()

    def show(record: dict) -> None:
        flat = record["zero_spread_share"]
        line = f"step {record['step']}/{steps}  reward {record['reward']:.3f}  groups without spread {flat:.2f}"
        if live:
            print(f"\r{line}\033[K", end="", flush=True)
        elif record["step"] % 25 == 0 or record["step"] == steps:
            print(line, flush=True)

    return show


def main() -> None:
    """Entry point: an error that a person can mend is one sentence on stderr and exit code 1, never a stack trace.

    MEMLAB_DEBUG=1 shows the stack trace of every error.
    """
    try:
        sys.exit(app(sys.argv[1:] or ["--help"], prog_name="memlab", standalone_mode=False))
    except Exception as error:
        if os.environ.get("MEMLAB_DEBUG") or not _for_people(error):
            raise
        sys.exit(f"memlab: {_sentence(error)}")


def _for_people(error: Exception) -> bool:
    """Whether the message was written for the person at the terminal: the file system's, the command line's, and our own.

    A ValueError counts if memlab raised it; one from the depths of a library is a bug and keeps its stack trace.
    """
    if isinstance(error, ValueError):
        *_, (frame, _) = traceback.walk_tb(error.__traceback__)
        return frame.f_globals.get("__name__", "").startswith(("memlab", "__main__"))
    return isinstance(error, (OSError, TyperException)) or type(error).__module__.startswith(("memlab.", "__main__"))


def _sentence(error: Exception) -> str:
    """The message on one line; for a wrong option or argument, with the command that lists the right ones."""
    if not isinstance(error, TyperException):
        return " ".join(str(error).split())
    context = getattr(error, "ctx", None)
    return f"{error.format_message().rstrip('.')}; see: {context.command_path if context else 'memlab'} --help"


if __name__ == "__main__":
    main()
