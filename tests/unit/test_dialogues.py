"""Conversations: the answers are what holds at the end."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memlab.policies import pretrained
from memlab.worlds.dialogues import FAMILIES, MOST_VALUES, SMALL_TALK, Dialogues, parse

WORLDS = [Dialogues(family=family) for family in FAMILIES]


@settings(max_examples=200, deadline=None)
@given(st.integers(0, 2**70), st.integers(1, 60), st.sampled_from(WORLDS))
def test_a_listener_who_forgets_nothing_knows_the_answers(seed, size, world):
    task = world.make(random.Random(seed), size)
    assert [len(session) for session in task.sessions] == [world.messages] * size and len(task.messages) == size * world.messages
    held, stale = {}, set()
    for message in task.messages:
        said = parse(message)
        if said is None:
            assert message in SMALL_TALK
            continue
        values = held.setdefault(said.relation.question.format(s=said.subject), [])
        if said.form == "gone":
            values.remove(said.value)
            stale.add(said.value)
        elif said.value not in values:
            assert said.form == ("further" if values and said.relation.joins else "first"), "'also': something was known"
            if not said.relation.joins:
                stale.update(values)
                values.clear()
            values.append(said.value)
    assert [held[question] for question in task.questions] == [list(values) for values in task.answers]
    for question, values, gold, kind in zip(task.questions, task.answers, task.gold_of, task.kinds, strict=True):
        said = list(map(parse, gold))
        assert [s.value for s in said] == list(values) and all(g in task.messages for g in gold)
        assert all(s.relation.question.format(s=s.subject) == question for s in said)
        assert len(set(values)) == len(values) <= MOST_VALUES
        assert kind != "complement" or len(values) > 1
        told = {s[:3] for m in task.messages if (s := parse(m)) and s[:2] == said[0][:2]}
        assert (kind == "contradiction") == (len(told) > 1 and not said[0].relation.joins)
        gone = [m for m in task.messages if (s := parse(m)) and s.form == "gone" and s[:2] == said[0][:2]]
        assert (kind == "retraction") == bool(gone) and values
    assert stale >= {parse(sentence).value for sentence in task.stale} and not task.stale & set(task.gold)
    assert task == world.make(random.Random(seed), size)


def test_all_kinds_of_question_are_common():
    kinds = Counter(kind for seed in range(200) for kind in Dialogues().make(random.Random(seed), 4).kinds)
    assert min(kinds.values()) / kinds.total() > 0.1 and set(kinds) == {"once", "complement", "contradiction", "retraction"}


def test_the_families_share_no_sentence_and_all_words_are_in_the_tiny_models_vocabulary():
    _, tokenizer = pretrained.load("tiny")
    said = []
    for world in WORLDS:
        tasks = [world.make(random.Random(seed), 4) for seed in range(20)]
        said.append({message for task in tasks for message in task.messages} - set(SMALL_TALK))
        for task in tasks:
            assert tokenizer.unk_token_id not in tokenizer.encode(" ".join([*task.messages, *task.questions]))
    assert not said[0] & said[1]


def test_wrong_arguments_are_named():
    with pytest.raises(ValueError, match="at least one session"):
        Dialogues().make(random.Random(0), 0)
    with pytest.raises(ValueError, match="choose one of: pets, reworded"):
        Dialogues(family="cars").make(random.Random(0), 1)
