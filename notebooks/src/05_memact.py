# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
# ---

# %% [markdown]
# # MemAct: the agent edits its own history
#
# An agent searches for the answers to several questions. Its history is only ever appended to, until the agent itself calls a tool that writes a
# note and deletes records. Nothing forces it to, except that the history has a hard limit. You train it with reinforcement learning on
# at most three questions, and then ask it eight.
#
# Paper: *Memory as Action: Autonomous Context Curation for Long-Horizon Agentic Tasks* (arXiv 2510.12635, ACL 2026 Findings).
#
# **You will** see what fixed rules do to a history; write the edit, the cut of a trajectory into segments and its advantages; see two ways to
# train on the wrong probabilities; train a policy; and compare it with full context, a sliding window and fixed schedules.
#
# **Before this:** notebook 04, whose world this is.
#
# | preset | minutes | peak memory | machine |
# |---|---|---|---|
# | `smoke` | under 1 | 1 GB | any laptop; too short to learn |
# | `cpu` | 9, of which 6 are training | 1.5 GB | two laptop cores, no GPU, no network |

# %% tags=["parameters"]
PRESET = "cpu"  # smoke | cpu
SEED = 0
RUN_TRAINING = True  # False: use the recorded run instead of training

# %%
from memlab import lab

session = lab.start("05", PRESET, SEED)

import json
import random
from collections.abc import Iterable, Sequence

import torch

from memlab import contenders, evaluation, papers
from memlab.checks import memact as checks
from memlab.episode import Ask, Episode, Messages, Outcome, Row
from memlab.papers.mem1 import END, marked, parse_answers
from memlab.papers.memact import CAP, LIMIT_BROKEN, NOTHING_LEAVES, OLDEST_LEAVE, OWN_CHOICE, TINY, TURNS, WHEN_FULL, Call, Context, Style
from memlab.memory import History
from memlab.policies import pretrained
from memlab.policies.model import ModelPolicy
from memlab.policies.scripted import ScriptedPolicy
from memlab.rollout import play
from memlab.training import loop
from memlab.training.train import read_log, settings_of, train
from memlab.views.figures import accuracy_vs_size, show, spoken, tokens_vs_size, training_curve
from memlab.views.tables import table
from memlab.worlds.lookup import Objectives, Search

dial = session.preset
paper = papers.get("memact")
SIZES = (2, 3) if PRESET == "smoke" else (1, 2, 4, 8)

# %% [markdown]
# ## The paper, and what this notebook does with it
#
# | claim or part of the paper | here | how |
# |---|---|---|
# | one tool, `prune_context(memory, delete_ids)`, writes a note and deletes records (section 3.1) | exact | `prune NOTE drop IDS`; the call stays in the history as a record |
# | records are addressed by random ids | exact | numbers from 0 to 63 in an order that cannot be guessed |
# | after an edit the context is encoded anew and a new segment begins (DCPO, section 3.3) | exact | the cut rule of `memlab.rollout` |
# | +1 if all answers are right, -0.1 for a broken limit, else 0 | exact | no share of the answers |
# | advantage over trajectories, not segments | exact | not divided by the deviation |
# | warm start on right traces of a strong model that was told to prune | imitated | right traces of a fallible rule |
# | trained on at most 3 questions, asked 8 | exact | an agenda shows two at a time, the odd one first |
# | half of the training rollouts of the released code have no pruning tool | left out | it is not in the paper |

# %% [markdown]
# ## 1. The problem, seen failing
#
# Three questions, in the world of notebook 04: a directory, and a search that shows the two best documents for a name.

# %%
task = paper.world.make(random.Random(SEED + 1), size=3)
print(*task.questions, "->", ", ".join(task.answers))
print("gold:", *task.gold)

# %% [markdown]
# Two fixed ways to treat a history. *Full context* keeps everything, and pays for it at every later turn. A *sliding window* of the same size as
# our limit drops the oldest records, whatever they say. Both were trained here, each in its own episode.

# %%
def rows_of(name, sizes=SIZES, n=dial.eval_n):
    """Evaluate one contender: a list of records, one for each size."""
    who = contenders.contender(paper, name, SEED)
    return [{"policy": name} | r for r in evaluation.evaluate(paper, who.policy, sizes, n, SEED, who.episode)]


axes = {"size": "questions of one task", "share": "tasks with all answers right", "title": "All answers right, against the number of questions"}
results = rows_of("full-context") + rows_of("sliding-window")
show(accuracy_vs_size(results, **axes), alt="Share of tasks with all answers right against the number of questions. " + spoken(results))

# %% [markdown]
# ## 2. The loop, without learning
#
# The context is a list of records that is appended to, with the open questions where they were asked. This is the whole of it, and of the episode. The
# argument `editing` says who decides what leaves: the policy, or a rule in its place. So every baseline is the same loop. A search says what leads to it:
# `search mira adopted rex` looks for rex.

# %%
#| inline: memlab.papers.memact:Context

# %%
#| inline: memlab.papers.memact:episode

# %%
_, tokenizer = pretrained.load("tiny")
[best] = play([episode(task)], ScriptedPolicy(paper.oracle, tokenizer), [task])
for turn in best.turns:
    print(f"{len(turn.ask.prompt.split()):4} words in context |", turn.text)

# %% [markdown]
# The warm start imitates right traces of a rule that is fallible: a tenth of its notes and a tenth of its deletions are chosen at random. Without any
# warm start a policy would never call the tool: nothing forces it, and a wrong call costs.

# %%
warm = contenders.contender(paper, "warmstart", SEED).policy
[before] = play([episode(task)], warm, [task])
for turn in before.turns:
    print(f"{len(turn.ask.prompt.split()):4} words in context |", turn.text)
print("reward", before.reward)

# %% [markdown]
# ## 3. The idea, piece by piece
#
# ### 3.1 The edit
#
# **Exercise 1** (difficulty 1 of 5, importance 5 of 5, 4 minutes). What one prune call makes of the records.

# %%
def prune(records: dict[int, str], note: str, ids: list[int], new: int) -> dict[int, str]:
    """The records after the call. `new`: the id of the note."""
    ### BEGIN SOLUTION
    return {i: text for i, text in records.items() if i not in ids} | {new: note}
    ### END SOLUTION

# %% tags=["check"]
checks.prune(prune)

# %% [markdown]
# <details><summary>Hint</summary>A dictionary keeps the order in which it was filled. Do not change the one you are given.</details>
#
# ### 3.2 Segments
#
# While the context is only appended to, turns share one training row: the new part joins it, observations with mask 0. After an edit a new row
# begins, encoded from the edited context.
#
# **Exercise 2** (difficulty 2, importance 5, 6 minutes). Cut a trajectory: which turns share a row?

# %%
def segments(contexts: list[str], completions: list[str]) -> list[list[int]]:
    """For each row the indices of its turns. A context goes on with a row if it begins with the context and completion before it."""
    ### BEGIN SOLUTION
    rows, before = [], None
    for turn, (context, completion) in enumerate(zip(contexts, completions, strict=True)):
        words = context.split()
        if before is not None and words[: len(before)] == before:
            rows[-1].append(turn)
        else:
            rows.append([turn])
        before = words + completion.split()
    return rows
    ### END SOLUTION

# %% tags=["check"]
checks.cuts(segments)

# %% [markdown]
# <details><summary>Hint</summary>Keep the words of the last context and completion; compare them with the first words of the next context.</details>
#
# Now four rollouts of one task of two questions, played by the warm-started model. We look at *these four* until the end of section 3.

# %%
policy = ModelPolicy(pretrained.load(contenders.weights_of(paper, "warmstart"))[0], tokenizer, temperature=1.0)
for seed in range(200):  # the first seed with a right and a wrong rollout, a right one of three rows or more among them
    policy.reseed(seed)
    small = paper.world.make(random.Random(seed), size=2)
    four = play([episode(small) for _ in range(4)], policy, [small] * 4)
    if {1.0} < {t.reward for t in four} and max(len(t.rows) for t in four if t.reward == 1) >= 3 and max(len(t.turns) for t in four) <= 12:
        break
print(*small.questions, "->", ", ".join(small.answers))
for k, t in enumerate(four):
    print(f"\nrollout {k}, reward {t.reward:.1f}, {len(t.rows)} rows")
    for turn in t.turns:
        print("   ", turn.text)

# %%
ours = [segments([turn.ask.prompt for turn in t.turns], [" ".join([turn.text, *([] if turn.truncated else [END])]) for turn in t.turns]) for t in four]
session.checkpoint("segments", [len(x) for x in ours], equals=[len(t.rows) for t in four], hint="a row ends where the context is edited")

# %% [markdown]
# ### 3.3 Reward and advantage
#
# **Exercise 3** (difficulty 1, importance 3, 3 minutes).

# %%
def score(right: int, questions: int, broken: bool) -> float:
    """The reward of a trajectory."""
    ### BEGIN SOLUTION
    return -0.1 if broken else float(right == questions)
    ### END SOLUTION

# %% tags=["check"]
checks.reward(score)

# %% [markdown]
# **Exercise 4** (difficulty 3, importance 5, 6 minutes). The mean runs over the *trajectories* of a group. Then each segment carries the whole advantage.

# %%
def spread(rewards: torch.Tensor, segments: list[int]) -> torch.Tensor:
    """rewards: (G,) of one group; segments[k]: how many trajectory k has. Returns the advantage of every segment."""
    ### BEGIN SOLUTION
    return torch.repeat_interleave(rewards - rewards.mean(), torch.tensor(segments))
    ### END SOLUTION

# %% tags=["check"]
checks.segment_advantages(spread)

# %%
rows = [row for t in four for row in t.rows]
rewards = torch.tensor([t.reward for t in four])
of_row = spread(rewards, [len(t.rows) for t in four])
print("rewards", rewards.tolist(), "  advantages of the rows", [round(a, 3) for a in of_row.tolist()])
session.checkpoint("advantages", loop.group_advantages(rewards, 4), sums_to=0.0, hint="subtract the mean over trajectories")

# %% [markdown]
# <details><summary>Hints</summary>3: a broken limit comes first. 4: subtract the mean before you repeat, not after.</details>
#
# ### 3.4 Which tokens have loss
#
# **Exercise 5** (difficulty 2, importance 5, 5 minutes). In the segment after the edit at turn `edit` there stand records that survived it. Which parts are trained?

# %%
def trained_parts(parts: list[tuple[str, int]], edit: int) -> list[int]:
    """1 for the parts with loss. parts: ("policy" or "environment", turn in which it was written)."""
    ### BEGIN SOLUTION
    return [int(who == "policy" and turn > edit) for who, turn in parts]
    ### END SOLUTION

# %% tags=["check"]
checks.loss_mask(trained_parts)

# %% [markdown]
# <details><summary>Hint</summary>Only what was sampled in this context. The edit itself was sampled in the one before.</details>
#
# Two wrong ways, both published somewhere. *Stitched*: one row that is only appended to, as if nothing had been deleted. *Last segment*: the released code
# gives loss to all surviving calls of the last segment. Compare the probability of each trained token with the one it was sampled with.

# %%
from memlab.papers.memact import last_segment, stitched


@torch.no_grad()
def log_ratios(rows: list[Row]) -> torch.Tensor:
    """log p(now) - log p(when sampled) for every trained token whose sampling probability is known."""
    ids, attention, mask = loop.pad_rows(rows, tokenizer.pad_token_id)
    now = loop.token_logprobs(policy.model, ids, attention)
    then = torch.zeros_like(now)
    for i, row in enumerate(rows):
        then[i, len(row.prompt_ids) - 1 : len(row.ids) - 1] = torch.tensor(row.logprobs)
    return (now - then)[mask[:, 1:].bool() & (then != 0)]


ways = {
    "segments": [row for t in four for row in t.rows],
    "stitched": [row for t in four for row in stitched(t, tokenizer)],
    "last segment": [row for t in four for row in last_segment(t, tokenizer)],
}
comparison = []
for name, these in ways.items():
    r = log_ratios(these)
    trained = sum(sum(row.mask) for row in these)
    comparison.append({"rows": name, "trained tokens": trained, "sampled tokens": sum(t.generated_tokens for t in four),
                       "mean |log ratio|": f"{r.abs().mean():.4f}", "ratios outside 0.8 to 1.2": f"{((r.exp() < 0.8) | (r.exp() > 1.2)).float().mean():.0%}"})
print(table(comparison, caption="Before any update every ratio should be 1, and every sampled token trained once"))
session.checkpoint("segments give back the sampled probabilities", log_ratios(ways["segments"]), close=torch.zeros(sum(t.generated_tokens for t in four)),
                   tolerance=1e-4, hint="a row must be encoded as the policy saw it")

# %% [markdown]
# Stitching trains tokens in a context that the policy had deleted; the last segment trains some tokens twice, the second time in a context in which they were
# not sampled. Neither raises an error. The segments are exact.
#
# ## 4. Train
#
# One to three questions a task. The limit of the history makes editing worth while; the answer is all that is paid.

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
    out = contenders.RUNS / "memact" / "trained-0"
log = read_log(out / "log.jsonl")
print(f"{len(log)} steps in {sum(r['seconds'] for r in log):.0f} s")

# %% [markdown]
# ## 5. What you should see
#
# - **reward** rises, from many broken limits and wrong answers;
# - **share of groups without spread** rises late: tasks of one question are soon always right and teach nothing any more;
# - **rows per trajectory** settle where the policy prunes when it has to, and no more often.

# %%
show(
    training_curve(log, band),
    alt=f"Mean reward against training step, from {log[0]['reward']:.2f} to {log[-1]['reward']:.2f}, over the band of the recorded runs, "
    "with small panels for groups without spread, entropy and cut-off turns.",
)
print(table([{k: r[k] for k in ("step", "reward", "zero_spread_share", "rows_per_trajectory", "entropy")} for r in log[:: max(1, len(log) // 6)]],
            caption="Edits while training"))

# %% [markdown]
# ## 6. Who should decide what leaves?
#
# `prune-every-n` makes the policy write a note after every `n` searches and then deletes all records; `summarise-when-full` does so when the next search might
# not fit. Policies for them were trained too, each in its own episode.

# %%
mine = ModelPolicy(pretrained.load(out / "policy")[0], tokenizer, temperature=0)
results += [{"policy": "trained"} | r for r in evaluation.evaluate(paper, mine, SIZES, dial.eval_n, SEED)]
for name in ("summarise-when-full", "prune-every-1", "prune-every-2", "random", "oracle", "warmstart"):
    results += rows_of(name)
whole = evaluation.evaluate(paper, ScriptedPolicy(paper.oracle, tokenizer), SIZES, dial.eval_n, SEED, paper.baselines["full-context"])
results += [{"policy": "full context, by rule"} | r for r in whole]
shown = [r for r in results if r["policy"] not in ("random", "oracle", "prune-every-2", "full context, by rule")]
show(accuracy_vs_size(shown, trained=(1, 3), **axes),
     alt="Share of tasks with all answers right against the number of questions; 1 to 3, which were trained on, are shaded. " + spoken(shown))

# %% tags=["results"]
grid = []
for name in dict.fromkeys(r["policy"] for r in results):
    mine_ = {r["size"]: r for r in results if r["policy"] == name}
    cells = {f"{s}": f"{mine_[s]['accuracy']:.2f} ({mine_[s]['ci95'][0]:.2f}-{mine_[s]['ci95'][1]:.2f})" for s in SIZES}
    grid.append({"policy": name} | cells)
table(grid, caption=f"All answers right (95 % interval) by number of questions, n = {dial.eval_n} tasks each")

# %%
top = SIZES[-1]
at = {(r["policy"], r["size"]): r for r in results}
print(table([{"policy": name, "right of " + str(top): at[name, top]["right"], "tokens a task": at[name, top]["total_tokens"],
              "of full context": f"{at[name, top]['total_tokens'] / at['full context, by rule', top]['total_tokens']:.0%}",
              "ms a task": 1000 * at[name, top]["latency_s"], "prunes": at[name, top]["prunes"]}
             for name in dict.fromkeys(r["policy"] for r in results)], caption=f"At {top} questions: what it costs"))
show(
    tokens_vs_size([r for r in results if r["policy"] in ("trained", "full-context", "prune-every-1")], size="questions of one task"),
    alt="Tokens per task against questions, both axes logarithmic. " + spoken(
        [r for r in results if r["policy"] in ("trained", "full-context")], "total_tokens", ".0f"),
)

# %% [markdown]
# Tokens are compared with a full context that answers everything, by rule: the trained full-context policy goes astray where its history gets longer than
# anything it was trained on, and searches for what it has found already. A prune after every search answers about as many, with half as many prunes again.
#
# ### 6.1 When does it prune?
#
# The event log knows. Take every turn at which the policy could have pruned, by how many words of records stood in the history, and count how often it did.

# %%
def pruning_rate(who, size, n=dial.eval_n):
    """Words of records, in bins of 20 -> share of the turns that were prunes."""
    found = {}
    for t in evaluation.run(paper, who, size, n, SEED + 1)[0]:
        for turn in t.turns:
            if turn.ask.state["records"]:
                asked = f"questions : {' '.join(turn.ask.state['open'])} call :"
                words = len(turn.ask.prompt.split()) - len(asked.split())
                found.setdefault(20 * (words // 20), []).append(turn.text.startswith("prune"))
    return {b: sum(v) / len(v) for b, v in sorted(found.items()) if len(v) >= 5}


rates = {name: pruning_rate(who, SIZES[-2]) for name, who in {"warmstart": warm, "trained": mine}.items()}
bins = sorted({b for r in rates.values() for b in r})
print(table([{"words of records": f"{b} to {b + 19}"} | {name: f"{r[b]:.0%}" if b in r else "" for name, r in rates.items()} for b in bins],
            caption=f"Share of turns that prune, by how full the history is (its limit is {CAP} words)"))

# %% [markdown]
# ## 7. Before and after

# %%
from memlab.views.inspector import Inspector

# the first of 40 tasks that training made right
tasks = [paper.world.make(random.Random(SEED + k), size=6) for k in range(40)]
pairs = list(zip(*(play([episode(t) for t in tasks], policy, tasks) for policy in (warm, mine))))
before, after = next((pair for pair in pairs if pair[0].reward < pair[1].reward), pairs[0])
Inspector([before, after], names=["before training", "after training"], tokenizer=tokenizer)

# %% [markdown]
# ## 8. When it goes wrong
#
# The two wrong ways to cut rows, trained for real: same start, same seed, same number of steps. Recorded, because each takes as long as section 4.

# %%
runs = {"segments": "trained-0", "stitched": "stitched-0", "last-segment": "last-segment-0"}
logs = {name: read_log(contenders.RUNS / "memact" / run / "log.jsonl") for name, run in runs.items()}
print(table([{"step": step} | {name: its[step - 1]["reward"] for name, its in logs.items()} for step in range(1, min(map(len, logs.values())) + 1, 25)],
            caption="Recorded: reward while training"))

# %% [markdown]
# While training, all three rewards rise. Asked more than they were trained on, the wrong two are behind: the last table of section 10.
#
# **No warm start, no tool.** Before the warm start the model has never seen the word `prune` used. Its rollouts never edit, tasks of two questions and more break
# the limit, and what is never sampled is never reinforced.
#
# ## 9. The same code, a real model, real questions
#
# HotpotQA questions, four at a time, over their own paragraphs: eight of ten mislead. The same `episode` with another `Style`: tags instead of labels, and a
# record is a pair of chat messages. The oracle shows what it takes; SmolLM2-135M-Instruct, untrained, makes no call that can be read, so it gets -0.1 at once.

# %%
from memlab.papers.instruct import evaluation_world, instruct

if PRESET == "smoke":
    print("skipped at the smoke preset: loading the model alone takes longer than the preset's minute")
elif "real model" in session.skipped or "real data" in session.skipped:
    print("\n".join(f"skipped, {what}: {why}" for what, why in session.skipped.items() if what.startswith("real")))
else:
    real = instruct(paper, "hotpotqa")
    asked, (smol, words) = evaluation_world(real), pretrained.load("smollm2")
    oracle, untrained = ScriptedPolicy(real.oracle, words), ModelPolicy(smol, words, temperature=0, batch_tokens=2048)
    rows = []
    for name, policy, play_one, size, n in (("MemAct, oracle", oracle, real.episode, 4, 20), ("full context, oracle", oracle, real.baselines["full-context"], 4, 20),
                                            ("MemAct, SmolLM2 untrained", untrained, real.episode, 1, 2)):
        [r] = evaluation.evaluate(real, policy, [size], n, SEED, play_one, asked)
        rows.append({"policy": name, "questions": size, "tasks": n, "right": r["right"], "largest context (tokens)": r["peak_context_tokens"],
                     "tokens a task": r["total_tokens"]})
    print("data:", "/".join(asked.source.split("/")[-2:]))
    print(table(rows, caption="HotpotQA questions at once, over their own paragraphs, ten each"))

# %% [markdown]
# ## 10. Turn the dial
#
# With `PRESET = "gpu"` this cell trains a real instruct model: the same episode, in natural English, the same trainer, with Unsloth's kernels where they are installed (notebook 10 says what
# those do). Here it says what that would take; nothing is loaded or downloaded.
#
# From the command line it is `memlab train memact --preset gpu`, with `--model smollm2` for one that needs no hub and `--task hotpotqa` for real questions. `memlab train memact --seed 1` is
# the tiny model's training, `--resume` goes on with a run that was killed, and `memlab eval memact --policy PATH --sizes 2,4,8` asks anybody about anything.

# %%
from IPython.display import display

from memlab.training import gpu

plan = gpu.plan_run("memact", seed=SEED, dry=not dial.needs_gpu)
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
# The paper's numbers are version 3's: accuracies averaged over 2 to 8 questions, 14B, tokens against Qwen3-235B with full context.

# %%
ratios = [at["trained", top]["total_tokens"] / at[full, top]["total_tokens"] - 1 for full in ("full-context", "full context, by rule")]
milliseconds = {name: 1000 * at[name, top]["latency_s"] for name in ("trained", "full-context")}
versus = [
    {"": "trained on at most 3, accuracy", "paper": "0.591 (a judge, a mean over questions)", "this run": f"{at['trained', top]['accuracy']:.2f} all right at {top}"},
    {"": "full context", "paper": "0.531 (235B, untrained)", "this run": f"{at['full-context', top]['accuracy']:.2f} (same size, trained)"},
    {"": "tokens against full context", "paper": "-51 %", "this run": f"{ratios[0]:+.0%} (by rule: {ratios[1]:+.0%}) at {top}"},
    {"": "time against full context", "paper": "-40 % (7B against Search-R1)", "this run": f"{milliseconds['trained']:.0f} and {milliseconds['full-context']:.0f} ms a task"},
    {"": "sliding window", "paper": "0.495", "this run": f"{at['sliding-window', top]['accuracy']:.2f}"},
    {"": "fixed schedule", "paper": "0.582 (every 5 turns; 0.516 at 8)", "this run": f"{at['prune-every-1', top]['accuracy']:.2f} (every search)"},
]
table(versus, caption="Why they differ: the paper's history holds 20,000 tokens of prose; here it is 100 words, and a prune is due at every second or third search")

# %% [markdown]
# The recorded runs have 200 tasks a cell and five training seeds (`data/runs/memact/results.json`).

# %%
stored = json.loads((contenders.RUNS / "memact" / "results.json").read_text())
five = []
for size in sorted({r["size"] for r in stored}):
    at_size = [r for r in stored if r["size"] == size]
    scores = [r["accuracy"] for r in at_size if r["policy"].startswith("trained")]
    mean, lo, hi = evaluation.across_seeds(scores)
    row = {"questions": size, f"trained, mean of {len(scores)}": f"{mean:.3f} ({lo:.3f}-{hi:.3f})", "worst": min(scores)}
    others = ("warmstart", "full-context", "sliding-window", "summarise-when-full", "prune-every-1", "stitched", "last-segment")
    five.append(row | {r["policy"]: r["accuracy"] for r in at_size if r["policy"] in others})
table(five, caption="Recorded runs: all answers right; in brackets the 95 % t interval over training seeds")

# %% [markdown]
# ## Quiz
#
# 1. Why does MEM1 need no warm start for editing, and MemAct does?
# 2. A rollout pruned three times, another once. Why must the group's mean not be taken over their segments?
# 3. The prune call itself stays in the history. What would be lost if it did not?
# 4. Why are ids random, and not 1, 2, 3?
# 5. A fixed schedule is nearly as good in the paper. When would you prefer it?
#
# <details><summary>Answers</summary>
#
# 1. MEM1's state is rewritten at every turn whether the policy wants it or not. A tool that is never called is never reinforced.
# 2. It would count four times to the other's twice in the baseline: the advantage would depend on how often one pruned, not on how well.
# 3. The note. It is the only place where what was deleted lives on; a later prune can drop it in turn.
# 4. A policy could count instead of read, and would break where records were deleted.
# 5. When tasks are alike and short: it needs no learning of when. At length it prunes too early here and too late there.
#
# </details>

# %%
record = session.colophon()
