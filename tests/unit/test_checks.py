"""The checks of the exercises: the solution passes, and each usual mistake is called by its name."""

import pytest
import torch

from memlab.checks import agemem, mem1, memact, memagent, memory_r1
from memlab.memory import sentences
from memlab.papers.mem1 import EMPTY, parse_action
from memlab.worlds.dialogues import parse


def next_context(questions, completion, results):
    return f"questions : {questions} state : {parse_action(completion).state or EMPTY} results : {results} new state :"


def score(answers, gold):
    return sum(a == g for a, g in zip(answers, gold, strict=False)) / len(gold)


def visible(part):
    at = torch.tensor(part)
    return torch.tril(torch.ones(len(part), len(part))).bool() & ((at[None] == 0) | (at[None] >= at[:, None] - 1))


def additive(seen):
    return torch.zeros(seen.shape).masked_fill(~seen, float("-inf"))


def growth(records, few, many):
    peak = {r["size"]: r["peak_context_tokens"] for r in records}
    return peak[many] / peak[few]


def prune(records, note, ids, new):
    return {i: text for i, text in records.items() if i not in ids} | {new: note}


def segments(contexts, completions):
    rows, before = [], None
    for turn, (context, completion) in enumerate(zip(contexts, completions, strict=True)):
        words = context.split()
        if before is not None and words[: len(before)] == before:
            rows[-1].append(turn)
        else:
            rows.append([turn])
        before = words + completion.split()
    return rows


def spread(rewards, counts):
    return torch.repeat_interleave(rewards - rewards.mean(), torch.tensor(counts))


def trained_parts(parts, edit):
    return [int(who == "policy" and turn > edit) for who, turn in parts]


def group_advantages(rewards, group):
    grouped = rewards.view(-1, group)
    return (grouped - grouped.mean(1, keepdim=True)).flatten()


def policy_loss(logprobs, old, advantages, mask, epsilon):
    ratio, a = torch.exp(logprobs - old), advantages[:, None]
    return -(torch.minimum(ratio * a, ratio.clamp(1 - epsilon, 1 + epsilon) * a) * mask).sum() / mask.sum()


def operate(notes, shown, call):
    notes = dict(notes)
    if call.name == "add":
        notes[max(notes, default=-1) + 1] = call.text
    elif 0 <= call.place < len(shown):
        if call.name == "update":
            notes[shown[call.place]] = call.text
        elif call.name == "delete":
            del notes[shown[call.place]]
    return notes


def in_place(notes, shown, call):
    notes[99] = call.text
    return notes


def linked(rests_on, message, held):
    mine = [q for q, its in rests_on.items() if message in its]
    return mine + [q for q, its in rests_on.items() if message not in its and its <= held]


def distilled(text):
    return list(dict.fromkeys(parse(s).value for s in sentences(text) if parse(s)))


def gains(ours, theirs):
    return {name: round(100 * (ours[name] / theirs[name] - 1), 1) for name in ours}


def seen(lines, now):
    return [lines[now][1]] if lines[now][0] == 1 else [text for stage, text in lines[: now + 1] if stage > 1]


def credit(rewards, stages):
    return [[r - sum(rewards) / len(rewards)] * len(row) for r, row in zip(rewards, stages, strict=True)]


def drop(messages, criteria):
    wanted = set(criteria.split())
    return [m for m in messages if not wanted or len(wanted & set(m.split())) / len(wanted) < 0.6]


def composite(task, context, memory, answered, overflow, rounds_over):
    mean = lambda parts: sum(parts) / len(parts)  # noqa: E731
    return mean([task if answered else -1.0, mean(context), mean(memory)]) - 0.5 * overflow - 1.0 * rounds_over


def hack(calls):
    return [*calls[:2], "update 0 mira adopted rex .", *calls[3:]]


SOLVED = {
    memagent.overwrite: lambda memory, response, budget: " ".join(response.split()[:budget]),
    memagent.advantages: group_advantages,
    memagent.expand: lambda advantages, rows: torch.repeat_interleave(advantages, torch.tensor(rows)),
    memagent.loss: policy_loss,
    memagent.held: lambda events, sentence: sum(e.text == sentence and e.op != "delete" for e in events),
    mem1.context: next_context,
    mem1.reward: score,
    mem1.mask: visible,
    mem1.bias: additive,
    mem1.growth: growth,
    memact.prune: prune,
    memact.cuts: segments,
    memact.reward: lambda right, questions, broken: -0.1 if broken else float(right == questions),
    memact.segment_advantages: spread,
    memact.loss_mask: trained_parts,
    memory_r1.operation: operate,
    memory_r1.reward: lambda values, gold: float(set(values) == set(gold)),
    memory_r1.bandit: lambda rewards: rewards - rewards.mean(1, keepdim=True),
    memory_r1.linked: linked,
    memory_r1.distilled: distilled,
    memory_r1.headline: gains,
    agemem.seen: seen,
    agemem.credit: credit,
    agemem.drop: drop,
    agemem.reward: composite,
    agemem.loophole: hack,
    agemem.headline: lambda ours, theirs: 100 * (ours / theirs - 1),
}


@pytest.mark.parametrize("check", SOLVED, ids=lambda check: f"{check.__module__.rsplit('.', 1)[-1]}.{check.__name__}")
def test_the_solution_passes(check, capsys):
    check(SOLVED[check])
    assert capsys.readouterr().out.startswith("✓")


MISTAKES = [
    (memagent.overwrite, lambda m, r, budget: " ".join(f"{m} {r}".split()[:budget]), "the old memory is still there"),
    (memagent.overwrite, lambda m, r, budget: " ".join(r.split()[-budget:]), "cut off at the END"),
    (memagent.advantages, lambda r, group: r - r.mean(), "over the whole batch"),
    (memagent.advantages, lambda r, group: -group_advantages(r, group), "the sign is turned"),
    (memagent.expand, lambda a, rows: torch.tensor([0.0, 0.0, 0.75, 0.0, -0.25]), "only the last row"),
    (memagent.loss, lambda *x: -policy_loss(*x), "the sign is turned"),
    (memagent.loss, lambda n, o, a, m, e: policy_loss(n, o, a, torch.ones_like(m), e), "the mask is missing"),
    (memagent.loss, lambda n, o, a, m, e: policy_loss(n, o, a, m, 9.0), "no clipping"),
    (memagent.held, lambda events, sentence: sum(e.text == sentence for e in events), "the turn that deleted"),
    (mem1.context, lambda q, c, r: f"questions : {q} state : {c} results : {r} new state :", "the action is still there"),
    (mem1.context, lambda q, c, r: f"state : tom adopted rex . results : {r}", "the questions are gone"),
    (mem1.context, lambda q, c, r: f"questions : {q} results : {r} new state :", "the state is gone"),
    (mem1.reward, lambda a, g: float(a == g), "all or nothing"),
    (mem1.reward, lambda a, g: sum(x in g for x in a) / len(g), "order counts"),
    (mem1.reward, lambda a, g: score(a, g) if len(a) == len(g) else 0.0, "what was not answered is wrong"),
    (mem1.mask, lambda part: visible(part) | ~torch.tril(torch.ones(7, 7)).bool(), "the future is visible"),
    (mem1.mask, lambda part: torch.tril(torch.ones(7, 7)).bool(), "all of the past is visible"),
    (mem1.mask, lambda part: visible(part).T, "rows and columns are exchanged"),
    (mem1.mask, lambda part: visible(part).float(), "tensor of bool"),
    (mem1.bias, lambda seen: seen.float(), "0 and 1 are numbers"),
    (mem1.bias, lambda seen: torch.zeros(2, 2), "of its weight on the future"),
    (mem1.growth, lambda r, few, many: r[1]["total_tokens"] / r[0]["total_tokens"], "the total cost"),
    (mem1.growth, lambda r, few, many: growth(r, many, few), "turned round"),
    (memact.prune, lambda records, note, ids, new: {new: note}, "what is not named is kept"),
    (memact.prune, lambda records, note, ids, new: {new: note} | prune(records, note, ids, new), "the note last"),
    (memact.prune, lambda records, note, ids, new: {i: t for i, t in records.items() if i not in ids}, "the note is missing"),
    (memact.cuts, lambda contexts, completions: [[i] for i in range(len(contexts))], "every turn became a row"),
    (memact.cuts, lambda contexts, completions: [list(range(len(contexts)))], "one row for all"),
    (memact.reward, lambda right, questions, broken: right / questions, "MEM1's reward"),
    (memact.reward, lambda right, questions, broken: float(right == questions), "a broken limit costs"),
    (memact.segment_advantages, lambda r, n: (x := r.repeat_interleave(torch.tensor(n))) - x.mean(), "the mean is over segments"),
    (memact.segment_advantages, lambda r, n: torch.repeat_interleave(r, torch.tensor(n)), "no baseline"),
    (memact.loss_mask, lambda parts, edit: [int(who == "policy") for who, _ in parts], "released code"),
    (memact.loss_mask, lambda parts, edit: [int(turn > edit) for _, turn in parts], "observations get no loss"),
    (memory_r1.operation, in_place, "the notes that were passed in are changed"),
    (memory_r1.operation, lambda n, s, c: operate(n, range(9), c), "1 is the place in the list"),
    (memory_r1.operation, lambda n, s, c: operate(n, s, c) if c.name != "delete" else {8: n[8]}, "not all that were shown"),
    (memory_r1.operation, lambda n, s, c: operate(n, s, c) if c.name else {}, "changes nothing"),
    (memory_r1.operation, lambda n, s, c: operate(n, s, c._replace(text=f"{n[3]} {c.text}")), "paper appends|one more note"),
    (memory_r1.reward, lambda values, gold: float(values == gold), "the order does not matter"),
    (memory_r1.reward, lambda values, gold: len({*values} & {*gold}) / len(gold), "one of two is not exact"),
    (memory_r1.reward, lambda values, gold: float({*gold} <= {*values}), "one too many is wrong"),
    (memory_r1.bandit, lambda r: r - r.mean(), "the mean is over one moment"),
    (memory_r1.bandit, lambda r: r, "subtract the group's mean"),
    (memory_r1.bandit, lambda r: (r - r.mean(1, keepdim=True)) / r.std(1, keepdim=True), "no division"),
    (memory_r1.linked, lambda rests, message, held: [q for q, its in rests.items() if message in its], "only the message's own"),
    (memory_r1.linked, lambda rests, message, held: list(rests), "not told yet"),
    (memory_r1.distilled, lambda text: distilled(text)[-1:], "not only the last"),
    (memory_r1.distilled, lambda text: [parse(s).value for s in sentences(text)], "said twice"),
    (memory_r1.distilled, lambda text: list(dict.fromkeys(s.split()[-2] for s in sentences(text))), "small talk"),
    (memory_r1.headline, lambda a, b: {n: round(a[n] - b[n], 1) for n in a}, "not a difference"),
    (memory_r1.headline, lambda a, b: {n: round(100 * (a[n] - b[n]) / a[n], 1) for n in a}, "relative to the baseline"),
    (agemem.seen, lambda lines, now: [text for _, text in lines], "nothing was wiped"),
    (agemem.seen, lambda lines, now: [text for stage, text in lines if stage == lines[now][0]], "goes on in the context"),
    (agemem.seen, lambda lines, now: [text for stage, text in lines if stage > 1] if now > 1 else [lines[now][1]], "the future"),
    (agemem.seen, lambda lines, now: [t for s, t in lines[: now + 1] if s > 1 or lines[now][0] == 1], "one message at a time"),
    (agemem.credit, lambda rewards, stages: [[r] * len(row) for r, row in zip(rewards, stages, strict=True)], "not an advantage"),
    (agemem.credit, lambda r, stages: [[a * (s == 3) for a, s in zip(x, y)] for x, y in zip(credit(r, stages), stages)], "wipe"),
    (agemem.credit, lambda r, stages: [[a / len(x) for a in x] for x in credit(r, stages)], "divided among the steps"),
    (agemem.credit, lambda r, stages: [[x - 0.4] * len(row) for x, row in zip(r, stages, strict=True)], "not over steps"),
    (agemem.drop, lambda messages, criteria: [m for m in messages if m not in drop(messages, criteria)], "what to throw away"),
    (agemem.drop, lambda messages, criteria: [m for m in messages if not {*m.split()} & {*criteria.split()}], "one of the two"),
    (agemem.reward, lambda t, c, m, *rest: (t + sum(c) + sum(m)) / 3, "a mean of its own parts"),
    (agemem.reward, lambda t, c, m, ok, over, late: composite(t, c, m, True, over, late), "costs twice"),
    (agemem.reward, lambda t, c, m, ok, over, late: composite(t, c, m, ok, False, late), "an overflow"),
    (agemem.loophole, lambda calls: calls, "is no gain"),
    (agemem.loophole, lambda calls: [*calls[:2], "add mira lives in oslo .", *calls[3:]], "the notes must be the same"),
    (agemem.loophole, lambda calls: [*calls[:6], "answer rex"], "the answer must stay right"),
    (agemem.headline, lambda ours, theirs: ours - theirs, "points, not percent"),
    (agemem.headline, lambda ours, theirs: 100 * (1 - theirs / ours), "relative to the baseline"),
]


@pytest.mark.parametrize(("check", "wrong", "named"), MISTAKES, ids=[named for *_, named in MISTAKES])
def test_mistakes_are_named(check, wrong, named):
    with pytest.raises(AssertionError, match=named):
        check(wrong)
