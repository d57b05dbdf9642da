"""The English document world is the tiny one, rendered: same tasks, same rules."""

import random

from memlab import papers
from memlab.memory import sentences
from memlab.papers.instruct import instruct
from memlab.worlds.documents import Documents
from memlab.worlds.english import English, plain, render
from memlab.worlds.scoring import exact_match
from tests.toys import drive

PAPER = instruct(papers.get("memagent"), "english")


def test_rendering_is_readable_and_can_be_undone():
    assert render("mira adopted rex .") == "Mira adopted Rex."
    assert render("where does the pet of mira live ?") == "Where does the pet of Mira live?"
    assert render("tom adopted rex . rex lives in oslo .") == "Tom adopted Rex. Rex lives in Oslo."
    for seed in range(50):
        tiny, english = (w.make(random.Random(seed), 1 + seed % 4) for w in (Documents(), English()))
        assert tuple(map(plain, english.sections)) == tiny.sections
        assert plain(english.question) == tiny.question and tuple(map(plain, english.answers)) == tiny.answers
        assert all(g in sentences(english.sections[i]) for g, i in zip(english.gold, english.gold_sections))


def test_the_oracle_solves_it_and_the_random_rule_does_not():
    tasks = [PAPER.world.make(random.Random(s), 1 + s % 4) for s in range(60)]
    rules = (PAPER.oracle, PAPER.random_valid)
    oracle, chance = ([drive(PAPER.episode(t), rule, s)[0].reward for s, t in enumerate(tasks)] for rule in rules)
    assert sum(oracle) == 60 and sum(chance) < 25


def test_what_the_rules_write_is_english():
    task = English(Documents(two_hop=0.0)).make(random.Random(3), 3)
    outcome, asks, _ = drive(PAPER.episode(task), PAPER.oracle)
    assert asks[0].state["memory"] == "No previous memory" and outcome.answer == task.answers[0]
    written = PAPER.oracle(asks[-2], random.Random(0))
    assert written in ("No previous memory", task.gold[0])
    assert PAPER.oracle(asks[-1], random.Random(0)) == f"\\boxed{{{task.answers[0]}}}"


def test_answers_as_an_instruct_model_words_them():
    assert exact_match("the oslo", ("oslo",)) and exact_match("Oslo.", ("oslo",))
    assert not exact_match("Rome", ("oslo",))
