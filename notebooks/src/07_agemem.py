# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # AgeMem: one policy for the notes and for its own context
#
# A fact is told in passing, long before anyone asks. Then the conversation ends, and its context with it. Later other people talk about other things until the
# context is nearly full; then comes the question. One policy does all of it, with six tools: three for a bank of notes, two for its own context, one to look up.
# What was noted in the first stage is rewarded in the third, across the wipe. You train it with GRPO, and then look at what the paper's reward also pays for.
#
# Paper: *Agentic Memory: Learning Unified Long-Term and Short-Term Memory Management for Large Language Model Agents* (arXiv 2601.01885, ACL 2026).
#
# **You will** see an agent without a memory after the wipe; write what it sees, the credit, the filter and the reward; find a way to be paid for nothing; train; and
# compare which tools are called before and after, under the paper's reward and under the answer alone.
#
# **Before this:** notebook 06. **After:** notebook 08.
#
# | preset | minutes | peak memory | machine |
# |---|---|---|---|
# | `smoke` | under 1 | 1 GB | any laptop; too short to learn |
# | `cpu` | 6, of which 5 are training | 2 GB | two laptop cores, no GPU, no network |

# %% tags=["parameters"]
PRESET = "cpu"  # smoke | cpu
SEED = 0
RUN_TRAINING = True  # False: use the recorded run instead of training

# %%
from memlab import lab

session = lab.start("07", PRESET, SEED)

import random
from collections.abc import Sequence

import torch

from memlab import contenders, evaluation, papers
from memlab.checks import agemem as checks
from memlab.episode import Ask, Episode, Messages
from memlab.memory import Bank
from memlab.papers.agemem import CLEANED, FOUND, ROUNDS, STORED, THRESHOLD, TINY, TOOLS, Reward, Style, Used, composite, manage, marked, scored
from memlab.policies import pretrained
from memlab.policies.model import ModelPolicy
from memlab.policies.scripted import ScriptedPolicy
from memlab.rollout import play
from memlab.training import loop
from memlab.training.train import read_log, settings_of, train
from memlab.views.figures import show, training_curve
from memlab.views.tables import table
from memlab.worlds.dialogues import Staged, facts
from memlab.worlds.scoring import normalise

dial = session.preset
paper = papers.get("agemem")
SIZES = (2, 3) if PRESET == "smoke" else (3, 5, 7)

# %% [markdown]
# ## The paper, and what this notebook does with it
#
# | claim or part of the paper | here | how |
# |---|---|---|
# | three stages, and the context is wiped after the first (section 3.3) | exact | told, noise, question |
# | six tools: ADD, UPDATE, DELETE, RETRIEVE, SUMMARY, FILTER (section 3.2) | exact | one call a message |
# | FILTER drops messages that are at least 0.6 like its criteria | exact, simpler | share of the criteria's words, not cosine |
# | step-wise GRPO: the last reward is every step's, in all stages (section 3.4) | exact | every step is a training row, or a part of one |
# | the reward's three parts, and two penalties (section 3.5) | exact, without a judge | facts are counted |
# | answer only as the ablation | exact | section 8 |
# | trained on HotpotQA | for real models, section 9 | the tiny policy is trained on the conversations of notebook 06 |
# | ALFWorld, SciWorld, PDDL, BabyAI | left out | |

# %% [markdown]
# ## 1. The problem, seen failing
#
# Eight messages about one person; then messages about others; then a question about the first.

# %%
task = paper.world.make(random.Random(SEED + 4), size=3)
for stage, messages in (("told", task.told), ("in between", task.noise), ("asked", (task.question,))):
    print(f"{stage}:", *messages, sep="\n    ")
print("expected:", ", ".join(task.answers))

# %% [markdown]
# Three agents with a part missing. *No memory* has no tools for notes, and the wipe leaves it nothing. *No cleaning* cannot drop what does not matter, and more than three messages in
# between are more than its window. *RAG* takes notes, and finds them put beside its question: no look-up, no cleaning, but also no limit on its window. RAG was trained in its own
# episode; the other two are the trained policy with tools taken away.

# %%
def rows_of(name, who=None, sizes=SIZES, n=dial.eval_n):
    """Evaluate one contender: a list of records, one for each size."""
    who = who or contenders.contender(paper, name, SEED)
    records = evaluation.evaluate(paper, who.policy, sizes, n, SEED, who.episode)
    return [{"policy": name, "prompt_tokens": r["total_tokens"] - r["generated_tokens"]} | r for r in records]


def grid(records, sizes=SIZES):
    """Right answers with their interval and prompt tokens for each size; what is in the store at the end, over all sizes."""
    rows = []
    for name in dict.fromkeys(r["policy"] for r in records):
        at = {r["size"]: r for r in records if r["policy"] == name}
        means = {"overflows": "overflow", "stored: precision": "stored_precision", "stored: recall": "stored_recall"}
        rows.append(
            {"policy": name}
            | {f"right at {s}": f"{at[s]['right']:.2f} (±{at[s]['right'] - at[s]['right_ci95'][0]:.2f})" for s in sizes}
            | {f"prompt tokens at {sizes[-1]}": f"{at[sizes[-1]]['prompt_tokens']:.0f}"}
            | {label: f"{sum(at[s][key] for s in sizes) / len(sizes):.2f}" for label, key in means.items()}
        )
    return rows


results = rows_of("no-memory") + rows_of("no-cleaning") + rows_of("rag")
table(grid(results), caption=f"By messages in between, n = {dial.eval_n} tasks each")

# %% [markdown]
# ## 2. The loop, without learning
#
# A `Style` says how the three stages are worded, and how much room there is; `TINY` is the tiny model's.

# %%
#| inline: memlab.papers.agemem:Conversation

# %%
#| inline: memlab.papers.agemem:episode

# %%
_, tokenizer = pretrained.load("tiny")
oracle = ScriptedPolicy(paper.oracle, tokenizer)
longer = paper.world.make(random.Random(SEED + 4), size=5)
[best] = play([episode(longer)], oracle, [longer])
for turn in best.turns:
    print(turn.ask.state["stage"], "|", turn.ask.prompt, "\n      ->", turn.text)
print("right:", best.outcome.metrics["right"], "  reward:", round(best.reward, 3))

# %% [markdown]
# ## 3. The idea, piece by piece
#
# ### 3.1 What the policy sees
#
# **Exercise 1** (difficulty 2 of 5, importance 5 of 5, 5 minutes). Which lines are in context, of all that were said so far? In stage 1 only the newest (the notes stand beside it).

# %%
def visible(lines: list[tuple[int, str]], now: int) -> list[str]:
    """lines: (stage, text), in order. Those in context at index `now`."""
    ### BEGIN SOLUTION
    stage, newest = lines[now]
    return [newest] if stage == 1 else [text for at, text in lines[: now + 1] if at > 1]
    ### END SOLUTION

# %% tags=["check"]
checks.seen(visible)

# %% [markdown]
# <details><summary>Hint</summary>The wipe comes once: stages 2 and 3 share a context.</details>
#
# ### 3.2 Credit across the wipe
#
# Four rollouts of one task, played by the warm-started policy at temperature 1. We look at *these four* until the end of section 3.

# %%
warm = ModelPolicy(pretrained.load(contenders.weights_of(paper, "warmstart"))[0], tokenizer, temperature=1.0)
for seed in range(100):  # the first seed with a right and a wrong rollout
    warm.reseed(seed)
    four = play([episode(task) for _ in range(4)], warm, [task] * 4)
    if {t.outcome.metrics["right"] for t in four} == {0.0, 1.0}:
        break
for k, t in enumerate(four):
    print(f"\nrollout {k}: right {t.outcome.metrics['right']:.0f}, reward {t.reward:.3f}, {len(t.turns)} steps in {len(t.rows)} rows")
    for turn in t.turns:
        print("   ", turn.ask.state["stage"], "|", turn.text)

# %% [markdown]
# **Exercise 2** (difficulty 2, importance 5, 5 minutes). The advantage of every step: the trajectory's reward against the group's mean, on all steps of all stages.

# %%
def spread(rewards: Sequence[float], stages: Sequence[Sequence[int]]) -> list[list[float]]:
    """rewards: (G,). stages[k]: the stage of each step of trajectory k. Returns one advantage for each step."""
    ### BEGIN SOLUTION
    baseline = sum(rewards) / len(rewards)
    return [[reward - baseline] * len(steps) for reward, steps in zip(rewards, stages, strict=True)]
    ### END SOLUTION

# %% tags=["check"]
checks.credit(spread)

# %%
rewards = torch.tensor([t.reward for t in four])
ours = spread(rewards.tolist(), [[turn.ask.state["stage"] for turn in t.turns] for t in four])
print(table([{"rollout": k, "reward": t.reward, "steps": len(t.turns), "rows": len(t.rows), "advantage of each step": a[0]} for k, (t, a) in enumerate(zip(four, ours))],
            caption="Every step of a rollout carries its whole advantage"))
session.checkpoint("advantages", torch.tensor([a[0] for a in ours]), close=loop.group_advantages(rewards, 4), hint="subtract the mean over trajectories")

# %% [markdown]
# <details><summary>Hint</summary>The mean runs over the rewards of the group, each once.</details>
#
# ### 3.3 Filter
#
# **Exercise 3** (difficulty 1, importance 3, 4 minutes). `criteria` says what to throw away.

# %%
def filtered(messages: list[str], criteria: str) -> list[str]:
    """The messages that stay: those with less than 0.6 of the words of `criteria`."""
    ### BEGIN SOLUTION
    wanted = set(criteria.split())
    return [m for m in messages if not wanted or len(wanted & set(m.split())) / len(wanted) < THRESHOLD]
    ### END SOLUTION

# %% tags=["check"]
checks.drop(filtered)

# %% [markdown]
# <details><summary>Hint</summary>No criteria: nothing goes. Compare words, not letters.</details>
#
# ### 3.4 The reward
#
# Three rewards of equal weight, the last two means of three parts each: the *task* (1 if right, -1 without an answer); the *context* (how far its largest is below the window, whether a
# cleaning tool was called in time, whether the question is still in it); the *memory* (share of the notes that are of use, whether any note was updated or deleted, share of what was
# found that is of use). Then -1 if the rounds ran out without an answer, and -0.5 for an overflow.
#
# **Exercise 4** (difficulty 2, importance 4, 6 minutes).

# %%
def score(task: float, context: Sequence[float], memory: Sequence[float], answered: bool, overflow: bool, rounds_over: bool) -> float:
    """context, memory: three parts each."""
    ### BEGIN SOLUTION
    means = [task if answered else -1.0, sum(context) / 3, sum(memory) / 3]
    return sum(means) / 3 - 1.0 * rounds_over - 0.5 * overflow
    ### END SOLUTION

# %% tags=["check"]
checks.reward(score)

# %%
#| inline: memlab.papers.agemem:composite

# %% [markdown]
# **Exercise 5** (difficulty 3, importance 5, 6 minutes). Two parts of it ask whether a tool *was called*, not whether it was of any use. Change one of these calls so that the reward rises, and neither
# the answer nor the notes are different in the end.

# %%
def hack(calls: list[str]) -> list[str]:
    """calls: one for each of four messages, two messages in between, and two for the question. Returns others."""
    ### BEGIN SOLUTION
    calls = list(calls)
    calls[2] = "update 0 mira adopted rex ."  # says what it said before
    return calls
    ### END SOLUTION

# %% tags=["check"]
checks.loophole(hack)

# %% [markdown]
# <details><summary>Hint</summary>Note 0 can be updated to what it says already; and a filter with criteria that fit nothing is a filter as well.</details>
#
# ## 4. Train
#
# All three stages in one episode, the paper's reward.

# %%
import shutil

from memlab.views.board import LiveBoard

band = contenders.recorded_band(paper)
settings = settings_of(dial, SEED, paper=paper)
out = session.directory / f"trained-{SEED}"
if RUN_TRAINING:
    shutil.rmtree(out, ignore_errors=True)
    model, _ = pretrained.load(contenders.weights_of(paper, "warmstart"))
    board = LiveBoard(out / "log.jsonl", band, steps=settings.steps)
    board.show()
    train(paper, model, tokenizer, settings, out, on_step=board)
    board.finish()
else:
    out = contenders.RUNS / "agemem" / "trained-0"
trained = ModelPolicy(pretrained.load(out / "policy")[0], tokenizer, temperature=0)
log = read_log(out / "log.jsonl")
print(f"{len(log)} steps in {sum(r['seconds'] for r in log):.0f} s")

# %% [markdown]
# ### What you should see
#
# - **reward** rises fast at first: answering at all, and calling the tools that pay; then slowly, as notes get better. It does not reach 1: nobody can know in stage 1 which notes will be of use;
# - **share of groups without spread** stays low: the reward has many small parts, and two rollouts are seldom alike.

# %%
show(
    training_curve(log, band),
    alt=f"Mean reward against training step, from {log[0]['reward']:.2f} to {log[-1]['reward']:.2f}, over the band of the recorded runs, "
    "with small panels for groups without spread, entropy and cut-off turns.",
)

# %% [markdown]
# ## 5. The contenders, the same tasks

# %%
results += rows_of("trained", contenders.Contender("trained", trained, paper.episode, str(out)))
for name in ("warmstart", "answer-only", "oracle"):
    results += rows_of(name)

# %% tags=["results"]
table(grid(results), caption=f"By messages in between, n = {dial.eval_n} tasks each")

# %% [markdown]
# With few messages in between, RAG is as right as the trained policy, and reads more; how much more grows with what was said. The store is the oracle's in both: half of what is worth noting is
# never asked for, and nobody can know which half.
#
# ## 6. Which tools are called
#
# The fingerprint: calls of each tool in one episode, before and after.

# %%
def fingerprint(names, size):
    return [{"policy": r["policy"]} | {tool: f"{r[tool]:.2f}" for tool in TOOLS} for name in names for r in results if r["policy"] == name and r["size"] == size]


for size in (SIZES[0], SIZES[-1]):
    print(table(fingerprint(["warmstart", "trained", "answer-only", "oracle"], size), caption=f"Calls in one episode, {size} messages in between"))
    print()

# %% [markdown]
# The start notes what it has not heard of, and leaves it as it is; its context overflows before a longer episode comes to the question. After training, what changes is updated, what is taken
# back is deleted, and there is one look-up a question, no more. Look at FILTER: the answer alone makes it a rare call, made when the context is nearly full, as the oracle's is; the paper's
# reward makes it the call at every message in between.

# %% [markdown]
# ## 7. Before and after

# %%
from memlab.views.inspector import Inspector

greedy = contenders.contender(paper, "warmstart", SEED).policy
[before] = play([episode(task)], greedy, [task])
[after] = play([episode(task)], trained, [task])
Inspector([before, after], names=["before training", "after training"], tokenizer=tokenizer)

# %% [markdown]
# ## 8. When it goes wrong: paid for nothing
#
# The reward asks whether any note was updated or deleted, and whether the context was cleaned. Count the updates that changed no fact and the cleanings that came when there was room, under the paper's
# reward and under the answer alone (a recorded run from the same start, with the same seed).

# %%
def for_nothing(policy, size=SIZES[0], n=dial.eval_n):
    """Of the updates, those after which the store states the same facts; and the episodes that were cleaned though all fitted."""
    played, _ = evaluation.run(paper, policy, size, n, SEED)
    updates = [event for t in played for event in t.outcome.events if event.op == "rewrite"]
    idle = [e for e in updates if {f[:3] for f in facts(e.text)} == {f[:3] for f in facts(e.previous)}]
    cleaned = [t for t in played if t.outcome.metrics["filter"] + t.outcome.metrics["summary"]]
    return {"updates an episode": len(updates) / n, "share of them idle": len(idle) / max(1, len(updates)), "episodes with cleaning": len(cleaned) / n,
            "right": sum(t.outcome.metrics["right"] for t in played) / n, "the paper's reward": sum(t.reward for t in played) / n}


answer_only = contenders.contender(paper, "answer-only", SEED).policy
rows = [{"policy": name} | for_nothing(policy) for name, policy in (("before training", greedy), ("the paper's reward", trained), ("the answer alone", answer_only), ("oracle", oracle))]
table(rows, caption=f"{SIZES[0]} messages in between, where nothing has to be cleaned; an idle update changes no fact")

# %% [markdown]
# The oracle is always right, and is paid *less* than the policy that you trained: of what it calls, everything has a use. Cleaning when all fits is paid twice, as a cleaning and as a smaller
# context; under the answer alone nobody does it. Idle updates come with both rewards: what is said twice is written over itself. The answer alone does not forbid that, and the paper's reward
# calls it maintenance. Here neither costs an answer. Where something said in between matters, cleaning at every message would.
#
# ## 9. The same code, a real model, real questions
#
# HotpotQA, as in the paper: sentences that the answer rests on are told in passing, among others; then come paragraphs that only look relevant; then the question. The same `episode` with another
# `Style`: tags instead of words. The oracle shows what it takes. SmolLM2-135M-Instruct, untrained, tells the message again instead of making a call.

# %%
from memlab.papers.instruct import evaluation_world, instruct

if PRESET == "smoke":
    print("skipped at the smoke preset: loading the model alone takes longer than the preset's minute")
elif "real model" in session.skipped or "real data" in session.skipped:
    print("\n".join(f"skipped, {what}: {why}" for what, why in session.skipped.items() if what.startswith("real")))
else:
    real = instruct(paper, "hotpotqa")
    asked, (smol, words) = evaluation_world(real), pretrained.load("smollm2")
    key, untrained = ScriptedPolicy(real.oracle, words), ModelPolicy(smol, words, temperature=0, batch_tokens=2048)
    rows = []
    for name, policy, play_one, size, n in (("AgeMem, oracle", key, real.episode, 5, 20), ("no cleaning, oracle", key, real.baselines["no-cleaning"], 5, 20),
                                            ("RAG, oracle", key, real.baselines["rag"], 5, 20), ("AgeMem, SmolLM2 untrained", untrained, real.episode, 1, 1)):
        [r] = evaluation.evaluate(real, policy, [size], n, SEED, play_one, asked)
        rows.append({"policy": name, "in between": size, "tasks": n, "right": r["right"], "overflows": r["overflow"], "largest context (tokens)": r["peak_context_tokens"],
                     "tokens a task": r["total_tokens"]})
    print("data:", "/".join(asked.source.split("/")[-2:]))
    print(table(rows, caption="HotpotQA, told in passing"))

# %% [markdown]
# ## 10. Turn the dial
#
# With `PRESET = "gpu"` this cell trains a real instruct model: the same episode, in natural English, the same trainer, with Unsloth's kernels where they are installed (notebook 10 says what
# those do). Here it says what that would take; nothing is loaded or downloaded.
#
# From the command line it is `memlab train agemem --preset gpu`, with `--model smollm2` for one that needs no hub and `--task hotpotqa` for real questions. `memlab train agemem --seed 1` is
# the tiny model's training, `--resume` goes on with a run that was killed, and `memlab eval agemem --policy PATH --sizes 3,5,7` asks anybody about anything.

# %%
from IPython.display import display

from memlab.training import gpu

plan = gpu.plan_run("agemem", seed=SEED, dry=not dial.needs_gpu)
print(plan)
if dial.needs_gpu:
    real_out, trained_on = session.directory / f"real-{SEED}", max(plan.paper.train_sizes)
    shutil.rmtree(real_out, ignore_errors=True)
    board = LiveBoard(real_out / "log.jsonl", steps=plan.settings.steps)
    board.show()
    gpu.run(plan, real_out, on_step=board)
    board.finish()
    rows, pair, asked = [], [], plan.paper.world.make(random.Random(SEED), trained_on)
    for who in gpu.before_and_after(plan, real_out):
        pair += play([who.episode(asked)], who.policy, [asked])
        for r in evaluation.evaluate(plan.paper, who.policy, [trained_on, 2 * trained_on], 32, SEED, who.episode):
            rows.append({"policy": who.name, plan.paper.size_unit: r["size"], "F1": r["f1"], "tokens a task": r["total_tokens"],
                         "largest context (tokens)": r["peak_context_tokens"]})
    print(table(rows, caption=f"{plan.model}, {plan.paper.world.name}, 32 tasks a cell, before and after GRPO"))
    display(Inspector(pair, names=["before training", "after training"], tokenizer=who.policy.tokenizer))

# %% [markdown]
# ## 11. The paper and this run
#
# **Exercise 6** (difficulty 1, importance 4, 3 minutes). The headline is "+49.59 %". The paper's table has, as the mean of five benchmarks for Qwen2.5-7B, 41.96 for AgeMem, 28.05 without memory and 37.14 for Mem0. Of
# what is it a percentage?

# %%
def gain(ours: float, theirs: float) -> float:
    """In percent of theirs."""
    ### BEGIN SOLUTION
    return 100 * (ours / theirs - 1)
    ### END SOLUTION

# %% tags=["check"]
checks.headline(gain)

# %% [markdown]
# <details><summary>Hint</summary>Over no memory at all. An agent that is wiped and keeps no notes is easily beaten.</details>

# %%
at = {(r["policy"], r["size"]): r for r in results}
mean_of = lambda name, key: sum(at[name, s][key] for s in SIZES) / len(SIZES)  # noqa: E731
saved = 1 - mean_of("trained", "prompt_tokens") / mean_of("rag", "prompt_tokens")
versus = [
    {"": "right, trained", "paper": "42.0 (7B, five benchmarks)", "this run": f"{100 * mean_of('trained', 'right'):.1f}"},
    {"": "right, no memory", "paper": "28.1", "this run": f"{100 * mean_of('no-memory', 'right'):.1f}"},
    {"": "right, before RL", "paper": "33.4", "this run": f"{100 * mean_of('warmstart', 'right'):.1f}"},
    {"": "right, RAG instead of the tools for the context", "paper": "-", "this run": f"{100 * mean_of('rag', 'right'):.1f}"},
    {"": "prompt tokens against RAG", "paper": "-3.1 %", "this run": f"{-100 * saved:+.1f} %"},
    {"": "FILTER calls, before and after", "paper": "0.02, 0.31", "this run": f"{mean_of('warmstart', 'filter'):.2f}, {mean_of('trained', 'filter'):.2f}"},
    {"": "UPDATE calls, before and after", "paper": "0, 0.13", "this run": f"{mean_of('warmstart', 'update'):.2f}, {mean_of('trained', 'update'):.2f}"},
    {"": "RETRIEVE calls, before and after", "paper": "2.31, 1.95", "this run": f"{at['warmstart', SIZES[0]]['retrieve']:.2f}, {at['trained', SIZES[0]]['retrieve']:.2f} ({SIZES[0]} messages)"},
]
table(versus, caption="Why they differ: plain facts, and a start that already knows how every tool is written")

# %% [markdown]
# ## Quiz
#
# 1. What would be learned if the context were not wiped after stage 1?
# 2. The advantage of "add" in stage 1 is the whole trajectory's. Why does that not drown it in noise?
# 3. Which two parts of the reward pay for a call, whatever it does? How would you mend them?
# 4. The answer alone taught the same store as the paper's reward. Why? And what can it not price?
# 5. Nobody can know in stage 1 what will be asked. What is the best precision of the store that you would expect?
#
# <details><summary>Answers</summary>
#
# 1. Nothing about notes: the facts would still be in sight.
# 2. Four to eight rollouts of the same task differ in many calls; over many groups only the calls that matter keep the sign of their advantage. It is noisy, and that is why groups and steps are many.
# 3. Maintenance and prevention. Pay for an update that makes the store true again, for a cleaning when the context is nearly full.
# 4. A note that is missing or out of date makes some answer wrong, and so does one too many when it takes a place among those that are found. It cannot price what costs no answer: an idle update.
# 5. The share of one question's facts among all that is worth noting: about a half here.
#
# </details>

# %%
record = session.colophon()
