"""AgeMem: three stages, six tools, and a reward whose loopholes are known."""

import random
from collections import Counter
from dataclasses import replace
from functools import partial
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memlab import evaluation, papers
from memlab.episode import Ask
from memlab.papers import agemem
from memlab.papers.agemem import TINY, Conversation, answer_only, episode
from memlab.policies import pretrained
from memlab.policies.scripted import ScriptedPolicy
from memlab.worlds.dialogues import Staged, Stages, facts, parse, plain
from tests.toys import said

PAPER = papers.get("agemem")
TASK = Staged(
    told=("mira adopted rex .", "good morning .", "mira lives in oslo .", "mira also adopted scout ."),
    noise=("karl adopted coco . karl lives in rome .", "ada adopted milo . ada lives in lima ."),
    question="who did mira adopt ?",
    answers=("rex", "scout"),
    gold=("mira adopted rex .", "mira also adopted scout ."),
)
NOTED = [f"add {TASK.told[0]}", "noop", "noop", f"add {TASK.told[3]}"]
ANSWER = ["retrieve mira", "answer mira adopted rex . mira also adopted scout ."]
ASKED = "question : who did mira adopt ? call :"


@pytest.fixture(scope="module")
def tokenizer():
    return pretrained.load("tiny")[1]


def played(tokenizer, rule, size, episode=episode, n=100):
    return evaluation.run(PAPER, ScriptedPolicy(rule, tokenizer), size, n, 3, episode)[0]


# ---------------------------------------------------------------- the world


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**70), st.integers(1, 30))
def test_what_comes_between_is_about_others(seed, size):
    task = Stages().make(random.Random(seed), size)
    assert len(task.told) == Stages.messages and len(task.noise) == size
    told, noise = facts(" ".join(task.told)), facts(" ".join(task.noise))
    assert len(noise) == 2 * size and not {f.subject for f in told} & {f.subject for f in noise}
    assert [parse(g).value for g in task.gold] == list(task.answers) and set(task.gold) <= set(map(plain, task.told))
    assert task == Stages().make(random.Random(seed), size)


def test_nothing_in_between_is_an_error():
    with pytest.raises(ValueError, match="at least one message"):
        Stages().make(random.Random(0), 0)


# ---------------------------------------------------------------- the stages


def test_the_context_is_wiped_after_the_first_stage_and_grows_until_the_answer():
    asks, outcome = said(episode(TASK), *NOTED, "noop", "noop", *ANSWER)
    middle = f"user : {TASK.noise[0]} call :"
    both = f"{middle} noop <end> user : {TASK.noise[1]} call :"
    assert [ask.prompt for ask in asks[3:]] == [
        "notes : mira adopted rex . 0 new : mira also adopted scout . call :",
        middle,
        both,
        f"{both} noop <end> question : who did mira adopt ? call :",
        f"{both} noop <end> question : who did mira adopt ? call : retrieve mira <end> "
        "notes : mira adopted rex . mira also adopted scout . call :",
    ]
    assert outcome.answer == "rex , scout" and outcome.metrics["right"] == outcome.metrics["stored_recall"] == 1.0
    assert {tool: outcome.metrics[tool] for tool in agemem.TOOLS} == {
        "add": 2,
        "update": 0,
        "delete": 0,
        "retrieve": 1,
        "summary": 0,
        "filter": 0,
    }


def test_filter_drops_the_messages_that_are_alike_and_summary_all_of_them():
    asks, _ = said(episode(TASK), *NOTED, "noop", "filter karl adopted coco", "noop")
    assert asks[6].prompt == f"user : {TASK.noise[1]} call : filter karl adopted coco <end> {ASKED}"
    asks, _ = said(episode(TASK), *NOTED, "noop", "filter adopted lives", "noop")
    assert asks[6].prompt == ASKED
    asks, _ = said(episode(TASK), *NOTED, "noop", "summary nothing new .", "noop")
    assert asks[6].prompt == f"summary : nothing new . {ASKED}"


@settings(max_examples=1000, deadline=None)
@given(st.lists(st.text(max_size=20) | st.sampled_from([*agemem.TOOLS, "filter adopted", "answer"]), max_size=4))
def test_no_text_breaks_the_conversation(texts):
    run = episode(TASK)
    _, outcome = said(run, *NOTED, *texts, *["noop"] * 9)
    assert outcome is not None and -2 < outcome.reward < 1


def test_a_context_that_is_too_long_ends_it_and_so_do_the_rounds():
    _, outcome = said(episode(TASK, style=replace(TINY, window=20)), *NOTED, "noop", "noop")
    assert outcome.metrics["overflow"] == 1.0 and outcome.metrics["right"] == 0.0
    asks, outcome = said(episode(TASK), *NOTED, *["noop"] * 5)
    assert len(asks) == 4 + 2 + agemem.ROUNDS and outcome.metrics["overflow"] == 0.0 and outcome.answer == ""


def test_rules_order_as_they_should(tokenizer):
    best = played(tokenizer, PAPER.oracle, 15)
    assert all(t.outcome.metrics["right"] == 1.0 for t in best) and mean(t.outcome.metrics["filter"] for t in best) >= 2
    rag = played(tokenizer, PAPER.oracle, 7, PAPER.baselines["rag"])
    own = played(tokenizer, PAPER.oracle, 7)
    assert mean(t.outcome.metrics["right"] for t in rag) == mean(t.outcome.metrics["right"] for t in own) == 1.0
    assert mean(t.total_tokens for t in own) < 0.97 * mean(t.total_tokens for t in rag)
    assert mean(t.outcome.metrics["right"] for t in played(tokenizer, PAPER.oracle, 7, PAPER.baselines["no-memory"])) == 0.0
    assert mean(t.outcome.metrics["overflow"] for t in played(tokenizer, PAPER.oracle, 7, PAPER.baselines["no-cleaning"])) == 1.0
    assert 0.1 < mean(t.outcome.metrics["right"] for t in played(tokenizer, PAPER.random_valid, 7)) < 0.5


def test_the_random_rule_notes_what_is_new_and_seldom_touches_what_it_has():
    def calls(message, *notes):
        state, rng = {"stage": 1, "message": message, "notes": notes}, random.Random(0)
        return Counter(PAPER.random_valid(Ask("", 1, state), rng) for _ in range(1000))

    assert calls(new := "mira adopted rex .", "mira lives in oslo .")[f"add {new}"] > 900
    joined = calls(new := "mira also adopted scout .", "mira adopted rex .")
    assert set(joined) == {f"add {new}", f"update 0 {new}", "delete 0", "noop"}
    assert joined["noop"] > joined[f"add {new}"] > 3 * joined[f"update 0 {new}"]
    assert calls("mira sold rex .", "mira adopted rex .").most_common(1)[0][0] == "noop"


def test_calls_within_a_conversation_share_a_row_until_it_is_cleaned(tokenizer):
    [t] = played(tokenizer, PAPER.oracle, 3, n=1)
    assert len(t.rows) == Stages.messages + 1, "one for each message that was told, and one for the conversation"
    assert sum(sum(row.mask) for row in t.rows) == t.generated_tokens
    for t in played(tokenizer, PAPER.oracle, 7, n=10):
        assert len(t.rows) == Stages.messages + 1 + t.outcome.metrics["filter"]


# ---------------------------------------------------------------- the reward


def test_the_reward_is_the_mean_of_its_parts_and_penalties():
    _, outcome = said(episode(TASK), *NOTED, "noop", "noop", *ANSWER)
    middle = f"user : {TASK.noise[0]} call : noop <end> user : {TASK.noise[1]} call : noop <end>"
    largest = len(f"{middle} {ASKED} retrieve mira <end> notes : {' '.join(TASK.gold)} call :".split())
    context, memory = (1 - largest / TINY.window + 0 + 1) / 3, (1 + 0 + 1) / 3
    assert outcome.reward == pytest.approx((1 + context + memory) / 3)
    _, late = said(episode(TASK), *NOTED, *["noop"] * 5)
    assert late.reward < -1, "no answer: -1 as the task's part, and -1 for the rounds"
    _, full = said(episode(TASK, style=replace(TINY, window=20)), *NOTED, "noop", "noop")
    assert -1 < full.reward < late.reward + 1
    only = partial(episode, reward=answer_only)
    for calls, reward in ((ANSWER, 1.0), (["answer oslo"], 0.0), (["noop"] * 3, 0.0)):
        assert said(only(TASK), *NOTED, "noop", "noop", *calls)[1].reward == reward


def test_the_two_loopholes_pay():
    """A note rewritten to what it says already, and a message dropped for no reason, raise the published reward."""
    honest = said(episode(TASK), *NOTED, "noop", "noop", *ANSWER)[1]
    useless = [NOTED[0], "noop", f"update 0 {TASK.told[0]}", NOTED[3]]
    updated = said(episode(TASK), *useless, "noop", "noop", *ANSWER)[1]
    reduced = said(episode(TASK), *NOTED, "filter zebra", "noop", *ANSWER)[1]
    assert updated.reward == pytest.approx(honest.reward + 1 / 9) and updated.metrics["right"] == 1.0
    assert reduced.reward == pytest.approx(honest.reward + 1 / 9, abs=0.02)


def test_a_conversation_without_messages_is_empty():
    talk = Conversation()
    assert (str(talk), talk.words) == ("", 0)
    talk.filter("x")
    talk.summarise("nothing .")
    assert str(talk) == "summary : nothing ."
