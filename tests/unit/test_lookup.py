"""The lookup world: one directory without contradictions, and a search that finds what is asked for."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memlab.memory import sentences
from memlab.worlds.lookup import MOST, Lookup, Search
from memlab.worlds.sentences import PEOPLE, PETS, parse, reason


def facts_of(task):
    return [sentence for document in task.documents for sentence in sentences(document)]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**70), st.integers(1, MOST), st.integers(1, 7))
def test_every_question_is_answered_by_reading_the_documents(seed, size, facts):
    task = Lookup(facts=facts).make(random.Random(seed), size)
    assert len(task.questions) == len(task.answers) == size
    gold = [reason(asked, facts_of(task)) for asked in task.questions]
    assert [found[-1].value for found in gold] == list(task.answers)
    assert [str(fact) for found in gold for fact in found] == list(task.gold)
    assert all(len(sentences(document)) == facts for document in task.documents[:-1])
    assert task == Lookup(facts=facts).make(random.Random(seed), size)


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**70), st.integers(1, MOST))
def test_the_directory_is_consistent_and_no_two_questions_share_a_name(seed, size):
    task = Lookup().make(random.Random(seed), size)
    facts = list(map(parse, facts_of(task)))
    assert len({(fact.relation, fact.subject) for fact in facts}) == len(facts) == len(PEOPLE) + len(PETS)
    owner = {fact.value: fact.subject for fact in facts if fact.relation == "pet"}
    assert sorted(owner) == sorted(PETS)
    golds = list(map(parse, task.gold))
    asked = {fact.subject if fact.relation == "pet" else owner[fact.subject] for fact in golds}
    assert len(asked) == size, "each question is about another person and their pet"


def test_one_and_two_hops_are_drawn_as_often_as_asked():
    rng = random.Random(0)
    tasks = [Lookup().make(rng, 10) for _ in range(200)]
    questions = Counter(question.split()[0] + question.split()[2] for task in tasks for question in task.questions)
    assert 0.27 < questions["wherethe"] / 2000 < 0.33
    assert all(len(task.gold) == 2 for task in (Lookup(two_hop=1).make(rng, 1) for _ in range(9)))
    assert all(len(task.gold) == 7 for task in (Lookup(two_hop=0).make(rng, 7) for _ in range(9)))


@pytest.mark.parametrize("size", [1, 2, MOST])
def test_half_of_the_tasks_begin_with_facts_of_no_use(size):
    tasks = [Lookup().make(random.Random(seed), size) for seed in range(200)]
    begun = [task for task in tasks if task.leftover]
    assert 70 < len(begun) < 130 and all(len(task.leftover) <= 4 for task in begun)
    assert all(set(task.leftover) <= set(facts_of(task)) - set(task.gold) for task in begun)
    assert not any(Lookup(leftover=0).make(random.Random(seed), size).leftover for seed in range(50))


@pytest.mark.parametrize("size", [0, -1, MOST + 1])
def test_a_size_that_cannot_be_made_is_refused_with_those_that_can(size):
    with pytest.raises(ValueError, match=f"1 to {MOST} questions, not {size}"):
        Lookup().make(random.Random(0), size)


def test_a_search_finds_every_document_about_its_word():
    task = Lookup().make(random.Random(0), 1)
    search = Search(task.documents)
    for word in PEOPLE + PETS:
        with_word = [document for document in task.documents if word in document.split()]
        assert 1 <= len(with_word) <= 2
        found = search(word)
        assert len(found) == len(" ".join(with_word)) and all(document in found for document in with_word)


def test_the_best_document_comes_first_and_no_more_than_k():
    documents = ("mira adopted rex .", "rex lives in oslo . max lives in oslo .", "tom adopted luna .")
    assert Search(documents)("oslo") == documents[1]
    assert Search(documents)("mira rex") == " ".join(documents[:2])
    assert Search(documents, k=1)("mira rex") == documents[0]
    assert Search(documents, k=3)("Tom, rex!") == " ".join((documents[2], documents[0], documents[1]))
    assert Search(documents)("") == Search(documents)(" . ") == Search(documents)("paris") == ""


@settings(max_examples=300, deadline=None)
@given(st.text(max_size=60))
def test_any_text_is_a_query(text):
    search = Search(Lookup().make(random.Random(0), 1).documents)
    assert search(text) == search(text) and len(sentences(search(text))) <= 8


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**70), st.integers(1, 12))
def test_what_is_left_may_be_what_answered_earlier_questions(seed, size):
    task = Lookup(two_hop=0.7, leftover=1.0, answered=True).make(random.Random(seed), size)
    plain = Lookup(two_hop=0.7, leftover=1.0).make(random.Random(seed), size)
    assert (task.questions, task.documents, task.gold) == (plain.questions, plain.documents, plain.gold)
    facts = list(map(parse, task.leftover))
    assert 1 <= len(facts) <= 4 and not set(task.leftover) & set(task.gold)
    assert set(task.leftover) <= set(facts_of(task))
    homes = {fact.subject for fact in facts if fact.relation == "home"}
    assert {fact.value for fact in facts if fact.relation == "pet"} <= homes, "a first hop is followed by its second"
