"""MemAgent: the information path is through memory alone, and the world has no shortcut."""

import math
import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memlab import evaluation, papers
from memlab.memory import sentences
from memlab.papers.memagent import CHAT, TINY, episode, parse_answer
from memlab.policies.scripted import ScriptedPolicy
from memlab.rollout import play
from memlab.training.pretrain import build_tokenizer, vocabulary
from memlab.worlds.documents import Documents
from memlab.worlds.scoring import bleu1, exact_match, token_f1
from memlab.worlds.sentences import Fact, parse, reason

PAPER = papers.get("memagent")


@pytest.fixture(scope="module")
def tokenizer():
    return build_tokenizer(vocabulary())


def accuracy(rule, tokenizer, size, n=200):
    results = evaluation.evaluate(PAPER, ScriptedPolicy(rule, tokenizer), [size], n, seed=3)
    return results[0]["accuracy"]


@pytest.mark.parametrize("size", [1, 4, 64, 256])
def test_the_oracle_answers_everything(tokenizer, size):
    assert accuracy(PAPER.oracle, tokenizer, size, n=50) == 1.0


def test_random_choices_fall_with_length(tokenizer):
    assert accuracy(PAPER.random_valid, tokenizer, 1) > 0.25
    assert accuracy(PAPER.random_valid, tokenizer, 64) < 0.1


def test_an_empty_memory_is_at_chance(tokenizer):
    episodes = PAPER.baselines["empty"]
    results = evaluation.evaluate(PAPER, ScriptedPolicy(PAPER.random_valid, tokenizer), [4], 1000, 0, episodes)
    assert results[0]["accuracy"] == 0.0  # below chance, 1 in 32: nothing is guessed


def test_the_answer_prompt_holds_the_memory_and_nothing_else_of_the_document():
    task = PAPER.world.make(random.Random(0), 3)
    run = episode(task)
    ask = next(run)
    for _ in task.sections:
        ask = run.send("mira adopted rex .")
    assert "mira adopted rex ." in ask.prompt
    assert not any(s in ask.prompt for section in task.sections for s in sentences(section))


def test_every_prompt_word_is_in_the_vocabulary_and_fits_the_budget(tokenizer):
    rng = random.Random(1)
    tasks = [PAPER.world.make(rng, 5) for _ in range(50)]
    for t in play([episode(t) for t in tasks], ScriptedPolicy(PAPER.random_valid, tokenizer), tasks):
        assert all(tokenizer.unk_token_id not in row.ids for row in t.rows)
        assert not any(turn.truncated for turn in t.turns)
        assert len(t.rows) == len(t.turns) == 6


def test_gold_positions_are_uniform():
    rng, size, n = random.Random(0), 8, 4000
    one_hop = Counter(t.gold_sections[0] for t in (Documents(two_hop=0).make(rng, size) for _ in range(n)))
    expected = n / size
    assert sum((one_hop[i] - expected) ** 2 / expected for i in range(size)) < 24.3  # chi-square, 7 degrees, p = 0.001


@settings(max_examples=300, deadline=None)
@given(st.integers(0, 2**40), st.integers(1, 40))
def test_a_document_answers_its_question_by_reading_alone(seed, size):
    task = Documents().make(random.Random(seed), size)
    facts = [s for section in task.sections for s in sentences(section)]
    assert len(task.sections) == size and all(len(sentences(s)) == 4 for s in task.sections)
    assert reason(task.question, facts) == [parse(g) for g in task.gold]
    without = [f for f in facts if f not in task.gold]
    assert reason(task.question, without) == []
    for gold, at in zip(task.gold, task.gold_sections, strict=True):
        assert gold in task.sections[at]


def test_the_first_hop_is_read_first_unless_asked_otherwise():
    rng = random.Random(0)
    pairs = [Documents(two_hop=1).make(rng, 9).gold_sections for _ in range(200)]
    assert all(a <= b for a, b in pairs)
    loose = [Documents(two_hop=1, order="any").make(rng, 9).gold_sections for _ in range(200)]
    assert any(a > b for a, b in loose)


def test_facts_are_written_and_read_back():
    for fact in (Fact("pet", "mira", "rex"), Fact("home", "rex", "oslo")):
        assert parse(str(fact)) == fact
    assert parse("mira adopted") is None
    facts = ["rex lives in oslo .", "mira adopted rex .", "tom adopted rex ."]
    assert [str(f) for f in reason("where does the pet of mira live ?", facts)] == ["mira adopted rex .", "rex lives in oslo ."]
    assert reason("where does the pet of mira live ?", facts[:1]) == reason("who did ada adopt ?", facts) == []


@settings(max_examples=2000, deadline=None)
@given(st.text(max_size=300))
def test_any_text_parses_to_an_answer(text):
    assert isinstance(parse_answer(text), str) and "\n" not in parse_answer(text)


def test_answers():
    assert parse_answer("so \\boxed{the attic} or \\boxed{barn}") == "barn"
    assert parse_answer("attic\nmore") == "attic"
    assert parse_answer("mira adopted rex . rex lives in oslo .") == parse_answer("rex lives in oslo .") == "oslo"
    assert parse_answer("rex lives in oslo . nothing .") == "rex lives in oslo . nothing ."
    assert parse_answer("") == ""


def test_scores():
    assert exact_match("The attic.", ("attic",)) == 1.0 and exact_match("the old attic", ("attic",)) == 0.0
    assert token_f1("the old attic", ("attic",)) == pytest.approx(2 / 3)
    assert token_f1("", ("attic",)) == 0.0 and token_f1("barn", ("attic",)) == 0.0


@pytest.mark.parametrize(
    "answer, golds, expected",
    [
        ("The attic", ("the attic",), 1.0),
        ("the old attic", ("attic",), 1 / 3),  # longer than the gold answer: precision alone
        ("attic", ("the old attic",), math.exp(1 - 3 / 1)),  # shorter: all of it is right, and too brief
        ("the the the", ("the attic",), 1 / 3),  # "the" counts as often as the gold answer has it
        ("attic.", ("attic",), 1 / 2),  # punctuation is a token
        ("on 7 May, 2023", ("7 May 2023",), 3 / 5),
        ("25:50", ("25 50",), 0.0),  # a number is one token
        ("Mira's well-known dog", ("mira",), 1 / 4),  # mira, 's, well-known, dog
        ("barn", ("attic", "the barn", "barn"), 1.0),  # the best gold answer counts
        ("barn", ("attic",), 0.0),
        ("", ("attic",), 0.0),
        ("attic", (), 0.0),
    ],
)
def test_bleu1_is_precision_with_a_penalty_for_brevity(answer, golds, expected):
    assert bleu1(answer, golds) == pytest.approx(expected)


def test_chat_prompts_are_messages():
    message = CHAT.update("q", "m", "s")[-1]
    assert message["role"] == "user" and "<section>s</section>" in message["content"]
    assert isinstance(TINY.update("q", "m", "s"), str)
