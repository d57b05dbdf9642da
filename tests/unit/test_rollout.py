"""The cut rule and the sampler: what is trained on is exactly what was sampled, in the context it was sampled in."""

import random

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memlab.episode import Ask, Outcome
from memlab.policies.model import ModelPolicy
from memlab.policies.scripted import ScriptedPolicy
from memlab.rollout import play
from memlab.training.loop import pad_rows, token_logprobs
from tests import toys


def rollouts(policy, n=24, seed=0):
    rng = random.Random(seed)
    tasks = [toys.ToyWorld().make(rng, 0) for _ in range(n) for _ in range(1)]
    return play([toys.toy_episode(t) for t in tasks], policy, tasks)


def test_logprob_at_sampling_equals_logprob_in_training_for_every_row():
    model = toys.model()
    for t in rollouts(ModelPolicy(model, toys.tokenizer(), batch_tokens=300)):
        for row in t.rows:
            ids, attention, mask = pad_rows([row], 0)
            recomputed = token_logprobs(model, ids, attention)[0]
            wanted = mask[0, 1:].bool()
            sampled = torch.tensor(row.logprobs)[torch.tensor(row.mask).bool()]
            assert torch.allclose(recomputed[wanted], sampled, atol=1e-4)


def test_an_appended_context_stays_in_its_row_and_a_rewritten_one_starts_a_new_row():
    special = {toys.tokenizer().pad_token_id, toys.tokenizer().unk_token_id}  # a random model may say them; text cannot
    played = rollouts(ModelPolicy(toys.model(), toys.tokenizer()), 80)
    plain = [t for t in played if not special & {i for r in t.rows for i in r.ids}]
    assert len(plain) > 10 and any(t.task.rows > 1 and t.task.appended for t in plain)
    for t in plain:
        assert len(t.rows) == t.task.rows
        assert sum(sum(r.mask) for r in t.rows) == t.generated_tokens
        observed = sum(len(r.mask) - sum(r.mask) for r in t.rows)
        assert observed == 2 * t.task.rows * t.task.appended  # "again ." after each turn but the last


@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(["append", "rewrite", "restart"]), min_size=1, max_size=8), st.integers(0, 2**20))
def test_every_sampled_token_is_in_exactly_one_row_with_mask_1(moves, seed):
    tokenizer, said = toys.tokenizer(), []

    def episode():
        context = "a b c :"
        for move in moves:
            text = yield Ask(context, max_tokens=3)
            said.append(text)
            joined = f"{context} {text}" + (" <end>" if len(text.split()) < 3 else "")
            context = {"append": f"{joined} d .", "rewrite": "b " + joined, "restart": "c d :"}[move]
        return Outcome(0.0, "")

    rule = lambda ask, rng: " ".join(rng.choices(toys.WORDS[:6], k=rng.randint(1, 4)))  # noqa: E731
    [t] = play([episode()], ScriptedPolicy(rule, tokenizer, seed))
    trained = [[i for i, m in zip(r.completion_ids, r.mask, strict=True) if m] for r in t.rows]
    flat = [i for ids in trained for i in ids if i != tokenizer.eos_token_id]
    assert tokenizer.decode(flat).split() == " ".join(said).split()
    rewrites = sum(move != "append" for move in moves[:-1])
    assert len(t.rows) == 1 + rewrites


def test_shared_prompts_are_prefilled_once():
    model, seen = toys.model(), []
    model.register_forward_pre_hook(lambda m, a, k: seen.append(tuple(k["input_ids"].shape)), with_kwargs=True)

    def one():
        yield Ask("a b c d e f :", max_tokens=3)
        return Outcome(0.0, "")

    play([one() for _ in range(16)], ModelPolicy(model, toys.tokenizer()))
    assert seen[0] == (1, 7) and all(shape[1] == 1 for shape in seen[1:])


def test_batching_does_not_change_greedy_text():
    def texts(batch_tokens):
        policy = ModelPolicy(toys.model(), toys.tokenizer(), temperature=0, batch_tokens=batch_tokens)
        return [[turn.text for turn in t.turns] for t in rollouts(policy)]

    assert texts(40) == texts(100_000)


def test_reseeding_repeats_the_sample():
    policy = ModelPolicy(toys.model(), toys.tokenizer())
    runs = []
    for _ in range(2):
        policy.reseed(3)
        runs.append([turn.text for t in rollouts(policy) for turn in t.turns])
    assert runs[0] == runs[1]


def test_sampled_frequencies_follow_the_model():
    model, tokenizer = toys.model(), toys.tokenizer()

    def one():
        yield Ask("a b :", max_tokens=1)
        return Outcome(0.0, "")

    trajectories = play([one() for _ in range(4000)], ModelPolicy(model, tokenizer))
    counts = torch.bincount(torch.tensor([t.rows[0].completion_ids[0] for t in trajectories]), minlength=len(tokenizer))
    with torch.no_grad():
        expected = model(input_ids=torch.tensor([tokenizer.encode("a b :", add_special_tokens=False)])).logits[0, -1].softmax(-1)
    assert (counts / 4000 - expected).abs().max() < 4 * (0.25 / 4000) ** 0.5


def test_a_prompt_that_does_not_fit_the_window_overflows_without_a_row():
    def one():
        text = yield Ask(" ".join("a" * 30), max_tokens=3)
        return Outcome(0.0, text)

    [t] = play([one()], ModelPolicy(toys.model(), toys.tokenizer(), window=32))
    assert t.turns[0].overflow and t.rows == [] and t.outcome.answer == ""


def test_a_tokenizer_whose_pad_is_eos_is_refused():
    tokenizer = toys.tokenizer()
    tokenizer.pad_token = tokenizer.eos_token
    with pytest.raises(ValueError, match="padding token"):
        ModelPolicy(toys.model(), tokenizer)


def test_a_frozen_policy_answers_its_own_asks_and_leaves_no_row():
    """Its turns cost and are shown; the policy's rows are those it would have had without them, an open one stays open."""
    tokenizer, batches = toys.tokenizer(), []

    class Frozen(ScriptedPolicy):
        def complete(self, prompts):
            batches.append([p.text for p in prompts])
            return super().complete(prompts)

    frozen = Frozen(lambda ask, rng: "d d", tokenizer)

    def episode(context):
        first = yield Ask(context, max_tokens=3)
        told = yield Ask("e e :", max_tokens=3, by=frozen)
        second = yield Ask(f"{context} {first} <end> d .", max_tokens=3)
        return Outcome(1.0, f"{first} / {told} / {second}")

    played = play([episode("a :"), episode("b :")], ScriptedPolicy(lambda ask, rng: "c", tokenizer))
    assert batches == [["e e :", "e e :"]], "one batch for all episodes that ask it at this step"
    for t in played:
        assert t.outcome.answer == "c / d d / c" and [turn.text for turn in t.turns] == ["c", "d d", "c"]
        [row] = t.rows
        assert tokenizer.decode([i for i, m in zip(row.completion_ids, row.mask, strict=True) if m]) == "c <end> c <end>"
        assert t.turns[1].completion_tokens == 3
