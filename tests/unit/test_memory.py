"""The overwritten memory and its event log."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from memlab.memory import TextMemory, contents, sentences

HOSTILE = st.one_of(
    st.text(max_size=400),
    st.text(alphabet="a. \n\t\r\x00\x1b[31m\u202e<script>", max_size=400),
    st.sampled_from(["", ".", "..", " . . .", "<end>", "nothing .", "\\boxed{", "\\boxed{a}{b", "word " * 300, "x" * 100_000]),
)


@settings(max_examples=10_000, deadline=None)
@given(st.lists(HOSTILE, min_size=1, max_size=3), st.integers(1, 12))
def test_no_text_breaks_the_memory_or_its_budget(texts, budget):
    memory = TextMemory(budget, empty="nothing .")
    for turn, text in enumerate(texts):
        memory.write(text)
        assert sum(len(item.split()) for item in memory.items.values()) <= budget
        assert contents(memory.events, turn) == list(memory.items.values())


def test_every_item_is_kept_written_rewritten_or_deleted():
    memory = TextMemory(40)
    memory.write("mira keeps the lantern . tom wants the coin .")
    memory.write("mira keeps the lantern . tom wants the old coin . ruth keeps the bell .")
    memory.write("ruth keeps the bell .")
    log = [(e.turn, e.op, e.item, e.text) for e in memory.events]
    assert log == [
        (0, "write", 0, "mira keeps the lantern ."),
        (0, "write", 1, "tom wants the coin ."),
        (1, "keep", 0, "mira keeps the lantern ."),
        (1, "rewrite", 1, "tom wants the old coin ."),
        (1, "write", 2, "ruth keeps the bell ."),
        (2, "keep", 2, "ruth keeps the bell ."),
        (2, "delete", 0, "mira keeps the lantern ."),
        (2, "delete", 1, "tom wants the old coin ."),
    ]
    assert memory.events[3].previous == "tom wants the coin ."


def test_the_same_sentence_twice_is_one_item():
    memory = TextMemory(40)
    memory.write("a b . c d . a b .")
    memory.write("a b . a b .")
    assert [(e.op, e.item) for e in memory.events] == [("write", 0), ("write", 1), ("keep", 0), ("delete", 1)]


def test_what_exceeds_the_budget_is_cut_at_the_end():
    memory = TextMemory(5, "empty")
    memory.write("one two three . four five six .")
    assert str(memory) == "one two three ."  # not "four": half a sentence is no memory
    memory.write("one two three four five six .")
    assert str(memory) == "one two three four five"  # unless there is nothing else
    memory.write("one two three . four")
    assert str(memory) == "one two three . four"  # nothing was cut
    memory.write("")
    assert str(memory) == "empty"


def test_the_empty_text_is_not_an_item():
    memory = TextMemory(5, "nothing .")
    memory.write("nothing .")
    assert memory.events == [] and str(memory) == "nothing ."


def test_a_budget_of_nothing_is_an_error():
    with pytest.raises(ValueError, match="at least 1"):
        TextMemory(0)


def test_sentences_of_plain_prose():
    assert sentences("He ran. Why? Because!\nNew line") == ["He ran.", "Why?", "Because!", "New line"]
