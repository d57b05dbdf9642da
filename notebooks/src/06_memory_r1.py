# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # Memory-R1: one agent keeps notes, another reads them
#
# Conversations go on for months, and the questions come later. A *manager* hears every message and chooses one operation on a bank of notes: add, update,
# delete, or nothing. An *answer agent* is shown the notes that a search finds for a question, says which are of use, and answers. You train the manager with
# nothing but the answers' exact match as reward, then the answer agent, with 152 questions in all.
#
# Paper: *Memory-R1: Enhancing Large Language Model Agents to Manage and Utilize Memories via Reinforcement Learning* (arXiv 2508.19828, ACL 2026).
#
# **You will** see two popular rules lose facts, each in its own way; write the operations, the reward and the advantage; find what the paper's reward does
# not see; train both agents; and try them on a kind of conversation that they never heard.
#
# **Before this:** notebook 03. **After:** notebook 07, where one policy does all of it.
#
# | preset | minutes | peak memory | machine |
# |---|---|---|---|
# | `smoke` | under 1 | 1 GB | any laptop; too short to learn |
# | `cpu` | 7, of which 4 are training | 1.5 GB | two laptop cores, no GPU, no network |

# %% tags=["parameters"]
PRESET = "cpu"  # smoke | cpu
SEED = 0
RUN_TRAINING = True  # False: use the recorded run instead of training

# %%
from memlab import lab

session = lab.start("06", PRESET, SEED)

import random
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch

from memlab import contenders, evaluation, papers
from memlab.checks import memory_r1 as checks
from memlab.episode import Ask
from memlab.memory import Bank, sentences
from memlab.papers.memory_r1 import CALLS, TINY, Call, Heard, Manager, Moment, Moments, Style, about, moment
from memlab.policies import pretrained
from memlab.policies.base import Policy
from memlab.policies.model import ModelPolicy
from memlab.policies.scripted import ScriptedPolicy
from memlab.rollout import play
from memlab.training import loop
from memlab.training.train import read_log, settings_of, train
from memlab.views.figures import show, training_curve
from memlab.views.tables import table
from memlab.worlds.dialogues import Dialogues, parse

dial = session.preset
paper = papers.get("memory_r1")
SIZES = (2, 4) if PRESET == "smoke" else (4, 8, 16)

# %% [markdown]
# ## The paper, and what this notebook does with it
#
# | claim or part of the paper | here | how |
# |---|---|---|
# | four operations on the notes that were retrieved: ADD, UPDATE, DELETE, NOOP (section 3.1) | exact | `add TEXT`, `update PLACE TEXT`, `delete PLACE`, `noop` |
# | the manager is a bandit: one message, one operation, and the frozen answer agent's exact match as reward (appendix B.2) | exact, and mended | a moment also asks what the operation must not break (section 3.3) |
# | then the answer agent, which first says the useful notes; the manager is frozen (section 3.2) | exact | the facts that it says are its answer |
# | 152 training questions | exact | from conversations of eight sessions, asked after any message |
# | 60 notes are retrieved by similarity | smaller | 5, by BM25 |
# | facts are extracted from messages by a larger model | left out | a message is its own fact |
# | PPO and GRPO reach the same | GRPO | |

# %% [markdown]
# ## 1. The problem, seen failing
#
# Three people, four sessions. News about them joins what was known, takes its place, or takes it back; in between things are said twice, and small talk says nothing.

# %%
task = Dialogues().make(random.Random(SEED + 3), size=4)
for number, messages in enumerate(task.sessions):
    print(f"session {number}:", " | ".join(messages))
print()
for question, values, kind in zip(task.questions, task.answers, task.kinds):
    print(f"{question:32} {', '.join(values):28} ({kind})")

# %% [markdown]
# Three rules that are in every second product. **Append-only** stores every message and trusts the search. **Flush** leaves messages in context until it is
# 80 % full, then appends what they state to the notes (OpenClaw). **Rule CRUD** keeps one note for each subject and relation, and news replaces it: what
# prompted managers do with "also adopted". Their answers are given by the warm-started answer agent.

# %%
def rows_of(name, sizes=SIZES, n=dial.eval_n, world=None):
    """Evaluate one contender: a list of records, one for each size."""
    who = contenders.contender(paper, name, SEED)
    return [{"policy": name} | r for r in evaluation.evaluate(paper, who.policy, sizes, n, SEED, who.episode, world)]


def share(record, part, whole):
    return f"{record[part] / record[whole]:.2f}" if record[whole] else "none asked"


def grid(records, sizes=SIZES):
    """F1 with its interval for each size, and at the longest what became of facts that joined, replaced or went."""
    rows = []
    for name in dict.fromkeys(r["policy"] for r in records):
        at = {r["size"]: r for r in records if r["policy"] == name}
        last = at[sizes[-1]]
        rows.append(
            {"policy": name}
            | {f"F1 at {s}": f"{at[s]['f1']:.2f} (±{at[s]['f1'] - at[s]['f1_ci95'][0]:.2f})" for s in sizes}
            | {"joined, all kept": share(last, "complements_kept", "complements"), "replaced": share(last, "contradictions_overwritten", "contradictions"),
               "one taken back, the rest kept": share(last, "retractions_deleted", "retractions"), "notes": f"{last['notes']:.1f}"}
        )
    return rows


results = rows_of("append-only") + rows_of("flush") + rows_of("rule-crud")
table(grid(results), caption=f"By number of sessions, n = {dial.eval_n} conversations each; the last four columns at {SIZES[-1]} sessions")

# %% [markdown]
# Append-only forgets nothing and finds less and less: what is out of date stands beside what is not, and things said twice fill the five places. *When* notes
# are written, which is the flush's whole care, changes nothing about that. Rule CRUD stays tidy, and has thrown away every first pet.
#
# ## 2. The loop, with rules in both places
#
# One message is one call; one question is one answer. The bank is memlab's: notes with ids, an event log, a file if one is named, BM25. A `Style` says how the two agents are asked and
# read; `TINY` is the tiny model's.

# %%
#| inline: memlab.papers.memory_r1:apply

# %%
#| inline: memlab.papers.memory_r1:manage

# %%
#| inline: memlab.papers.memory_r1:values

# %%
#| inline: memlab.papers.memory_r1:answer

# %%
_, tokenizer = pretrained.load("tiny")
oracle = ScriptedPolicy(paper.oracle, tokenizer)
[best] = play([paper.episode(task)], oracle, [task])
for turn in best.turns[-12:]:
    print(turn.ask.prompt, "\n    ->", turn.text)
print("right:", best.reward)

# %% [markdown]
# ## 3. The idea, piece by piece
#
# ### 3.1 Operations
#
# **Exercise 1** (difficulty 2 of 5, importance 5 of 5, 6 minutes). What a call makes of the notes. `shown[place]` is the id of the note at that place of the list that the
# manager saw.

# %%
def operate(notes: dict[int, str], shown: list[int], call: Call) -> dict[int, str]:
    """The notes after the call; those that were passed in stay as they are."""
    ### BEGIN SOLUTION
    notes = dict(notes)
    if call.name == "add":
        notes[max(notes, default=-1) + 1] = call.text
    elif 0 <= call.place < len(shown):
        if call.name == "update":
            notes[shown[call.place]] = call.text
        elif call.name == "delete":
            del notes[shown[call.place]]
    return notes
    ### END SOLUTION

# %% tags=["check"]
checks.operation(operate)

# %% [markdown]
# <details><summary>Hint</summary>A place that was not shown changes nothing: check it before you look the id up.</details>
#
# ### 3.2 One message, four operations, one reward each
#
# **Exercise 2** (difficulty 1, importance 4, 3 minutes). The reward: all the values, no other, in any order.

# %%
def score(values: list[str], gold: list[str]) -> float:
    """1.0 or 0.0."""
    ### BEGIN SOLUTION
    return float(set(values) == set(gold))
    ### END SOLUTION

# %% tags=["check"]
checks.reward(score)

# %% [markdown]
# The manager's training example is a *moment*: a bank, a message, and what is asked afterwards. There is no trajectory; it is a bandit. The 152 questions are
# asked after any message of their conversations, about what held then. Here is a moment at which something joins, and the four operations that one could think
# of. The frozen answer agent is the warm-started one.

# %%
warm = contenders.contender(paper, "warmstart", SEED).policy
joins = next(m for m in (Moments().make(random.Random(seed)) for seed in range(999)) if " also " in m.message and len(m.notes) > 3)
print("bank:", *joins.notes, sep="\n    ")
print("new: ", joins.message)
calls = [f"add {joins.message}", f"update 0 {joins.message}", "delete 0", "noop"]
told = iter(calls)
four = play([moment(joins, reader=warm) for _ in calls], ScriptedPolicy(lambda ask, rng: next(told), tokenizer), [joins] * 4)
for call, t in zip(calls, four):
    print(f"\n{call}   -> reward {t.reward:.2f}")
    for turn, gold in zip(t.turns[1:], joins.answers):
        print(f"    {turn.ask.state['question']:30} {turn.text:60} expected: {', '.join(gold)}")

# %% [markdown]
# **Exercise 3** (difficulty 2, importance 5, 4 minutes). Advantages: each operation against the others *at the same moment*.

# %%
def advantages(rewards: torch.Tensor) -> torch.Tensor:
    """rewards: (moments, group). Returns the same shape."""
    ### BEGIN SOLUTION
    return rewards - rewards.mean(1, keepdim=True)
    ### END SOLUTION

# %% tags=["check"]
checks.bandit(advantages)

# %%
rewards = torch.tensor([[t.reward for t in four]])
print(table([{"call": call, "reward": t.reward, "advantage": a, "rows": len(t.rows)} for call, t, a in zip(calls, four, advantages(rewards)[0].tolist())],
            caption="One moment, four operations"))
session.checkpoint("advantages", advantages(rewards)[0], close=loop.group_advantages(rewards[0], 4), hint="subtract the mean of the row")
session.checkpoint("the manager alone has rows", [len(t.rows) for t in four], equals=[1, 1, 1, 1], hint="the frozen answer agent's turns are no training rows")

# %% [markdown]
# <details><summary>Hints</summary>2: compare sets. 3: `mean(1, keepdim=True)`.</details>
#
# ### 3.3 What the reward does not see
#
# In the paper a moment asks the questions that are linked to its message, and no other. So an operation that ruins *another* note costs nothing. Count it: where a message is
# the first word on its topic, overwrite the first note that is shown, whatever it says.

# %%
drawn = [Moments().make(random.Random(seed)) for seed in range(1000)]
news = [m for m in drawn if (said := parse(m.message)) and said.form == "first" and not about(m.questions[0], m.notes) and len(m.questions) > 1]
alone = [Moment(m.notes, m.message, m.questions[:1], m.answers[:1]) for m in news]
ruin = ScriptedPolicy(lambda ask, rng: f"{'update 0' if ask.state['notes'] else 'add'} {ask.state['message']}", tokenizer)
counts = {}
for name, these in (("the linked question", alone), ("others as well", news)):
    for who, manager_of in (("as it should be", oracle), ("overwrites the first note", ruin)):
        rewards = [t.reward for t in play([moment(m, reader=oracle) for m in these], manager_of, these)]
        counts[name, who] = rewards.count(1.0) / len(rewards)
print(table([{"asked": name} | {who: counts[name, who] for who in ("as it should be", "overwrites the first note")} for name in ("the linked question", "others as well")],
            caption=f"Share of {len(news)} moments with the full reward"))
session.checkpoint("the harm that the linked question sees", counts["the linked question", "as it should be"] - counts["the linked question", "overwrites the first note"], between=(-0.02, 0.1))

# %% [markdown]
# **Exercise 4** (difficulty 2, importance 5, 6 minutes). Choose what a moment asks: first the question that rests on the message, then those whose facts were in the bank before.

# %%
def linked(rests_on: dict[str, set[str]], message: str, held: set[str]) -> list[str]:
    """rests_on: question -> its facts. held: facts in the bank before the message."""
    ### BEGIN SOLUTION
    mine = [q for q, its in rests_on.items() if message in its]
    return mine + [q for q, its in rests_on.items() if message not in its and its <= held]
    ### END SOLUTION

# %% tags=["check"]
checks.linked(linked)

# %% [markdown]
# <details><summary>Hint</summary>`its <= held` says whether all facts of a question are held.</details>
#
# ### 3.4 Distillation
#
# **Exercise 5** (difficulty 2, importance 3, 4 minutes). The answer agent says the useful facts first; what they state is the answer. Read the values out of the sentences.

# %%
def distilled(text: str) -> list[str]:
    """`parse(sentence)` gives a fact with a `value`, or None."""
    ### BEGIN SOLUTION
    return list(dict.fromkeys(parse(sentence).value for sentence in sentences(text) if parse(sentence)))
    ### END SOLUTION

# %% tags=["check"]
checks.distilled(distilled)

# %% [markdown]
# <details><summary>Hint</summary>`sentences(text)` cuts at the full stops; `dict.fromkeys` drops what comes twice and keeps the order.</details>
#
# ## 4. Train the manager
#
# Both begin with the same warm start. It imitates a rule that finds the right note and writes every operation, and has no idea which one is wanted: it adds,
# updates, deletes or does nothing by chance. So what the manager knows at the end about *when* to do what, it knows from rewards. The answer agent is frozen as
# it begins; the manager sees one moment at a time.

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
    train(paper, model, tokenizer, settings, out, world=Moments(), episode=partial(moment, reader=warm), on_step=board)
    board.finish()
else:
    out = contenders.RUNS / "memory_r1" / "trained-0"
manager = ModelPolicy(pretrained.load(out / "policy")[0], tokenizer, temperature=0)
log = read_log(out / "log.jsonl")
print(f"{len(log)} steps in {sum(r['seconds'] for r in log):.0f} s")

# %% [markdown]
# ## 5. Train the answer agent
#
# Now the manager is frozen. It hears 152 questions' worth of conversations, and the answer agent learns to read the banks that it kept.

# %%
if RUN_TRAINING:
    world = Heard(manager)
    print("a bank at the end of a conversation:", *world.moments[0].notes, sep="\n    ")
    model, _ = pretrained.load(contenders.weights_of(paper, "warmstart"))
    board = LiveBoard(out / "reader" / "log.jsonl", steps=settings.steps)
    board.show()
    train(paper, model, tokenizer, settings, out / "reader", world=world, episode=moment, on_step=board)
    board.finish()
reader = ModelPolicy(pretrained.load(out / "reader" / "policy")[0], tokenizer, temperature=0)

# %% [markdown]
# ### What you should see
#
# - **reward** of the manager rises, and not to 1: the banks of the moments were kept by a rule that errs in a fifth of its calls, and what is lost stays lost; and the frozen answer
#   agent errs too;
# - **share of groups without spread** is high from the start, and rises: at many moments all eight operations earn the same;
# - **reward** of the answer agent starts where the banks allow it, and goes on a little.

# %%
show(
    training_curve(log, band),
    alt=f"Mean reward of the manager against training step, from {log[0]['reward']:.2f} to {log[-1]['reward']:.2f}, over the band of the recorded runs, "
    "with small panels for groups without spread, entropy and cut-off turns.",
)

# %% [markdown]
# ## 6. The contenders, the same conversations

# %%
def evaluated(name, policy, episode, world=None, sizes=SIZES):
    return [{"policy": name} | r for r in evaluation.evaluate(paper, policy, sizes, dial.eval_n, SEED, episode, world)]


both = partial(paper.episode, reader=reader)
results += evaluated("trained, both", manager, both)
results += evaluated("trained manager", manager, partial(paper.episode, reader=warm))
results += evaluated("trained answer agent", warm, both)
results += evaluated("append-only, trained answer agent", reader, paper.baselines["append-only"])
results += evaluated("rule-crud, trained answer agent", reader, paper.baselines["rule-crud"])
for name in ("no-distillation", "warmstart", "oracle", "no-memory"):
    results += rows_of(name)

# %% tags=["results"]
table(grid(results), caption=f"By number of sessions, n = {dial.eval_n} conversations each; the last four columns at {SIZES[-1]} sessions")

# %%
top = SIZES[-1]
f1 = {r["policy"]: r["f1"] for r in results if r["size"] == top}
untrained = {name: f1[name] for name in ("append-only", "flush", "rule-crud", "no-memory", "warmstart")}
best_rule = max(untrained, key=untrained.get)
gained = f"{f1['trained, both'] / untrained[best_rule] - 1:+.0%}"
print(f"at {top} sessions: trained {f1['trained, both']:.2f}, best untrained {untrained[best_rule]:.2f} ({best_rule}): {gained}")

# %% [markdown]
# *No distillation* is the recorded run of two agents that were warm-started and trained the same way, but whose answer agent says the values at once.
#
# ## 7. Before and after

# %%
from memlab.views.inspector import Inspector

talk = Dialogues().make(random.Random(SEED + 3), size=4)
[before] = play([partial(paper.episode, reader=warm)(talk)], warm, [talk])
[after] = play([both(talk)], manager, [talk])
Inspector([before, after], names=["before training", "after training"], tokenizer=tokenizer)

# %% [markdown]
# ## 8. When it goes wrong: rewards that see too little
#
# A recorded run from the same start, with the same seed, under the paper's reward: each moment asks only the question that is linked to its message.

# %%
table(grid([r for r in results if r["policy"] == "trained, both"] + rows_of("linked-only")), caption=f"By number of sessions; the last four columns at {SIZES[-1]} sessions")

# %% [markdown]
# Here the two end close to each other: the warm start already finds the right note, so the harm that section 3.3 counts is seldom tried, and seldom has to be unlearned.
#
# And with either reward the manager may note small talk, and keep it (look at the column of notes, and at the oracle's): nothing asks about it, so no reward ever told one operation from
# the other. A bandit looks one message ahead; what fills the bank over a hundred messages is not in its reward. The same holds for what is taken back: "mira sold rex ." written in the
# place of "mira adopted rex ." brings the same next answer as a deletion, and takes one of the five places that the answer agent sees for ever after. The warm start deletes most of what is
# taken back, and so that tie is broken before training begins. A re-implementation of the paper subtracts a term for the size of the bank.

# %% [markdown]
# ## 9. Conversations of another kind
#
# Neither agent has heard sentences like "now mira also adopted scout ." or "mira now lives in rome .": the words are known, the sentences are new, and the
# sessions longer.

# %%
reworded = Dialogues(family="reworded", messages=10)
other = evaluated("trained, both", manager, both, reworded)
for name in ("append-only", "rule-crud", "warmstart"):
    other += rows_of(name, world=reworded)
table(grid(other), caption=f"Zero-shot: other sentences, sessions of ten messages, n = {dial.eval_n} conversations each")

# %% [markdown]
# ## 10. Real conversations
#
# LoCoMo has ten, of about 590 turns, with 1,986 questions. A policy that knows 270 words cannot read them. What can be measured without a model is what each way of keeping notes lets
# a search find. `MEMLAB_DATA` must hold `locomo/locomo10.json`.

# %%
from memlab import conversations
from memlab.retrieval import BM25
from memlab.worlds.real.conversations import locomo

if "real data" in session.skipped:
    print(session.skipped["real data"])
elif PRESET != "smoke":
    real = []
    for store in ("rag", "append-only", "rule-crud", "flush"):
        [*_, whole] = conversations.evaluate(locomo(), store, BM25)
        real.append({"store": store} | {k: whole[k] for k in ("questions", "recall", "f1", "bleu1")})
    print(table(real, caption="LoCoMo: is all the evidence among ten notes, and how near the best note is to the answer"))

# %% [markdown]
# `memlab eval memory_r1 --world locomo --policy rag --reader smollm2 -n 40` asks a real model; with `--ranker embeddings` the search goes by meaning.
#
# ### The same code, a real model
#
# The same `episode` with another `Style`: tags instead of words, so that any instruct model can be the two agents. The conversations are LoCoMo's, `size` sessions in a row, a fact a message.
# Both agents are trained on one conversation, as in the paper (on 102 of its 152 questions: the evidence of the others is in no extracted fact); here eight others are heard. The oracle notes what will be asked for and no more. What it lacks is what a search does not find:
# that is not trained. SmolLM2-135M-Instruct, untrained, answers the message instead of making a call. (Append-only's manager is a rule: its tokens are those of the answers.)

# %%
from memlab.papers.instruct import evaluation_world, instruct

if PRESET == "smoke":
    print("skipped at the smoke preset: loading the model alone takes longer than the preset's minute")
elif "real model" in session.skipped or "real data" in session.skipped:
    print("\n".join(f"skipped, {what}: {why}" for what, why in session.skipped.items() if what.startswith("real")))
else:
    talks = instruct(paper, "locomo")
    held_out, (smol, words) = evaluation_world(talks), pretrained.load("smollm2")
    key, untrained = ScriptedPolicy(talks.oracle, words), ModelPolicy(smol, words, temperature=0, batch_tokens=2048)
    rows = []
    for name, policy, play_one, size, n in (("oracle", key, talks.episode, 4, 20), ("append-only, answers by the oracle", key, talks.baselines["append-only"], 4, 20),
                                            ("SmolLM2 untrained, both", untrained, talks.episode, 1, 1)):
        [r] = evaluation.evaluate(talks, policy, [size], n, SEED, play_one, held_out)
        rows.append({"policy": name, "sessions": size, "conversations": n, "F1": r["f1"], "notes": r["notes"], "tokens a conversation": r["total_tokens"]})
    print(table(rows, caption="LoCoMo, eight conversations that nobody was trained on: up to ten questions that the sessions answer"))

# %% [markdown]
# ## 11. Turn the dial
#
# With `PRESET = "gpu"` this cell trains a real instruct model: the same episode, in natural English, the same trainer, with Unsloth's kernels where they are installed (notebook 10 says what
# those do). Memory-R1's two agents are two sets of adapters on one model. Here it says what that would take; nothing is loaded or downloaded.
#
# From the command line it is `memlab train memory_r1 --preset gpu`, with `--model smollm2` for one that needs no hub and `--task locomo` for real conversations. `memlab train memory_r1 --seed 1` is
# the tiny model's training, `--resume` goes on with a run that was killed, and `memlab eval memory_r1 --policy PATH --sizes 4,8,16` asks anybody about anything.

# %%
from IPython.display import display

from memlab.training import gpu

plan = gpu.plan_run("memory_r1", seed=SEED, dry=not dial.needs_gpu)
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
# ## 12. The paper and this run
#
# **Exercise 6** (difficulty 1, importance 4, 4 minutes). The paper's table gives, for LLaMA-3.1-8B on LoCoMo, F1 45.02, BLEU-1 37.51 and a judge's 62.74; for Mem0 30.41, 22.22
# and 45.68. What are the relative gains? One version of its text says F1 +68.9 % and BLEU-1 +48.3 %.

# %%
def gains(ours: dict[str, float], theirs: dict[str, float]) -> dict[str, float]:
    """In percent of theirs, rounded to one decimal."""
    ### BEGIN SOLUTION
    return {name: round(100 * (ours[name] / theirs[name] - 1), 1) for name in ours}
    ### END SOLUTION

# %% tags=["check"]
checks.headline(gains)

# %% [markdown]
# <details><summary>Hint</summary>48.0 is 45.02 / 30.41 - 1, in percent.</details>

# %%
versus = [
    {"": "trained, F1", "paper": "45.0 (8B, LoCoMo)", "this run": f"{100 * f1['trained, both']:.1f} at {top} sessions"},
    {"": "neither trained", "paper": "26.7", "this run": f"{100 * f1['warmstart']:.1f}"},
    {"": "only the manager", "paper": "33.1", "this run": f"{100 * f1['trained manager']:.1f}"},
    {"": "only the answer agent", "paper": "37.5", "this run": f"{100 * f1['trained answer agent']:.1f}"},
    {"": "rules of 2025 (Mem0)", "paper": "30.4", "this run": f"{100 * f1['rule-crud']:.1f}"},
    {"": "over the best untrained baseline", "paper": "+28.5 % (MemoryOS, version 5)", "this run": gained},
]
table(versus, caption="Why they differ: here the facts are plain, and a fallible manager and reader are all that stands between them and the answer")

# %% [markdown]
# ## Quiz
#
# 1. Why is the manager's training a bandit, and what would a whole conversation as one episode change?
# 2. A manager with reward 0.95 destroys a fifth of its notes. How?
# 3. Why exact match and not a judge?
# 4. The categories in the paper's table are permuted. How can one find out, without the authors?
# 5. When would you ship append-only?
#
# <details><summary>Answers</summary>
#
# 1. One message, one operation, one reward, in a bank that is given. Over a whole conversation each rollout's bank drifts its own way, and later operations
#    of one group no longer start from the same state.
# 2. Nobody asks about them. The reward sees the questions that are asked, and no others.
# 3. The paper tried: a judge's reward made answers long; the judge's score rose, F1 fell to 33.7 and BLEU-1 to 23.4.
# 4. Weight the scores of the categories by their sizes: only one assignment of names gives the overall score that is printed.
# 5. Where facts rarely change, and the search is good: it never destroys anything. Mem0 itself went that way in 2026.
#
# </details>

# %%
record = session.colophon()
