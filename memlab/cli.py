"""The command line. It calls the same functions as the notebooks.

memlab doctor, memlab run 03, memlab train memagent, memlab eval memagent --policy trained --sizes 4,64 -n 200 --seed 7 --json
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
os.environ.setdefault("TRL_EXPERIMENTAL_SILENCE", "1")
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

app = typer.Typer(
    help="Train language models to manage their memory, and see what they keep.", no_args_is_help=True, add_completion=False
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
    paper: Annotated[str, typer.Argument(help="which paper: memagent")],
    preset: Annotated[str, typer.Option(help="the dial: smoke or cpu")] = "cpu",
    seed: Annotated[int, typer.Option(help="seed of tasks and sampling")] = 0,
    steps: Annotated[int | None, typer.Option(help="optimiser steps, instead of the preset's")] = None,
    out: Annotated[Path | None, typer.Option(help="directory of the run (default runs/PAPER-SEED)")] = None,
    start: Annotated[str, typer.Option(help="where to begin: warmstart, untrained, or a directory with a policy")] = "warmstart",
    resume: Annotated[bool, typer.Option("--resume", help="go on from the newest complete checkpoint of --out")] = False,
) -> None:
    """Train a policy with GRPO from the final answer's reward alone. A killed run goes on with --resume."""
    from memlab import contenders, papers, presets
    from memlab.policies import pretrained
    from memlab.training import train as training

    chosen, dial = papers.get(paper), presets.get(preset)
    if dial.needs_gpu:
        raise Wrong(f"the {preset} preset is not part of this command yet; train on this machine with: memlab train {paper} --preset cpu")
    source = "tiny" if start == "untrained" else contenders.weights_of(chosen, start)
    settings = training.settings_of(dial, seed, steps)
    out = out or Path("runs") / f"{paper}-{seed}"
    model, tokenizer = pretrained.load(source)
    print(f"{chosen.title}, {settings.steps} steps of {settings.tasks} x {settings.group} rollouts, seed {seed}, into {out}")
    policy = training.train(chosen, model, tokenizer, settings, out, resume=resume, on_step=_progress(settings.steps))
    print(f"\ntrained policy: {policy}\nevaluate it: memlab eval {paper} --policy {out}")


@app.command("eval")
def evaluate(
    paper: Annotated[str, typer.Argument(help="which paper: memagent")],
    policy: Annotated[
        str,
        typer.Option(help="untrained, warmstart, trained, sft-oracle, random, oracle, full-context, truncate, rag, empty, or a path"),
    ] = "trained",
    sizes: Annotated[str, typer.Option(help="sizes of the tasks, comma-separated; for memagent: sections of the document")] = "4,64",
    n: Annotated[int, typer.Option("-n", help="tasks of each size")] = 200,
    seed: Annotated[int, typer.Option(help="seed of the tasks: any number; policies with the same seed get the same tasks")] = 0,
    as_json: Annotated[bool, typer.Option("--json", help="print one JSON object instead of a table")] = False,
) -> None:
    """Evaluate one policy: accuracy with its 95 % interval, F1, tokens and latency, for each size."""
    from memlab import contenders, evaluation, lab, papers
    from memlab.views.tables import table

    chosen = papers.get(paper)
    wanted = _sizes(sizes)
    if n < 1:
        raise Wrong(f"-n is {n}; ask for at least one task: memlab eval {paper} -n 200")
    who = contenders.contender(chosen, policy, seed)
    results = evaluation.evaluate(chosen, who.policy, wanted, n, seed, who.episode)
    if as_json:
        record = {
            "paper": paper,
            "policy": policy,
            "world": chosen.world.name,
            "model": who.model,
            "seed": seed,
            "n": n,
            "commit": lab.git_revision(),
            "results": results,
        }
        print(json.dumps(record))
        return
    caption = f"{chosen.title}, {policy}, n = {n}, seed {seed}; size in {chosen.size_unit}, tokens and seconds a task"
    print(table([r | {"ci95": "{:.3f} to {:.3f}".format(*r["ci95"])} for r in results], caption, {"accuracy": ".3f", "f1": ".3f"}))


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
        line = f"step {record['step']}/{steps}  reward {record['reward']:.3f}  groups without spread {record['zero_spread_share']:.2f}"
        if live:
            print(f"\r{line}\033[K", end="", flush=True)
        elif record["step"] % 25 == 0 or record["step"] == steps:
            print(line, flush=True)

    return show


def main() -> None:
    """Entry point: an error that a person can mend is one sentence on stderr and exit code 1, never a stack trace."""
    try:
        app(standalone_mode=False)
    except typer.Exit as end:
        sys.exit(end.exit_code)
    except typer.Abort:
        sys.exit("interrupted")
    except Exception as error:
        if os.environ.get("MEMLAB_DEBUG") or not _for_people(error):
            raise
        sys.exit(f"memlab: {getattr(error, 'format_message', lambda: error)()}")


def _for_people(error: Exception) -> bool:
    """Whether the message was written for the person at the terminal: ours, click's, and the file system's."""
    import click

    kinds = (Wrong, ValueError, OSError, click.ClickException)
    return isinstance(error, kinds) or type(error).__module__.startswith("memlab.")


if __name__ == "__main__":
    main()
