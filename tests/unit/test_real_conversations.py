"""Stores of notes over real conversations: what each keeps, what is found, and how answers are scored by category."""

import json
import os

import pytest
from typer.testing import CliRunner

from memlab import cli, conversations, papers
from memlab.memory import Bank
from memlab.papers.instruct import evaluation_world, instruct
from memlab.policies import pretrained
from memlab.policies.scripted import ScriptedPolicy
from memlab.retrieval import BM25
from memlab.worlds.real.conversations import Conversation, Fact, Question, Session, Turn, dialogue

TALK = Conversation(
    name="test",
    sessions=(
        Session("1:00 pm on 1 May, 2023", (Turn("Mira", "D1:1", "I adopted a dog, Rex!"), Turn("Tom", "D1:2", "Lovely."))),
        Session("2:00 pm on 2 June, 2023", (Turn("Mira", "D2:1", "Rex is brown. I moved to Rome."),)),
    ),
    facts=(
        Fact(0, "Mira", "Mira adopted a dog called Rex.", ("D1:1",)),
        Fact(1, "Mira", "Mira adopted a brown dog called Rex.", ("D2:1",)),
        Fact(1, "Mira", "Mira moved to Rome.", ("D2:1",)),
    ),
    questions=(
        Question("Where did Mira move to?", "Rome", "4", ("D2:1",)),
        Question("What is the dog called?", "Rex", "1", ("D1:1", "D2:1")),
        Question("What is Tom's cat called?", "Not mentioned in the conversation", "5", ()),
    ),
    source="test",
)
LOCOMO = pytest.mark.skipif(not os.environ.get("MEMLAB_DATA"), reason="needs LoCoMo in MEMLAB_DATA")


def notes(store):
    kept = conversations.STORES[store](TALK, Bank())
    assert set(kept.evidence) >= set(kept.bank.notes)
    return list(kept.bank.notes.values())


def test_what_each_store_keeps(monkeypatch):
    assert notes("no-memory") == []
    assert notes("rag") == [
        "1:00 pm on 1 May, 2023: Mira: I adopted a dog, Rex!",
        "1:00 pm on 1 May, 2023: Tom: Lovely.",
        "2:00 pm on 2 June, 2023: Mira: Rex is brown. I moved to Rome.",
    ]
    facts = [
        "1:00 pm on 1 May, 2023: Mira adopted a dog called Rex.",
        "2:00 pm on 2 June, 2023: Mira adopted a brown dog called Rex.",
    ]
    moved = "2:00 pm on 2 June, 2023: Mira moved to Rome."
    assert notes("append-only") == [*facts, moved]
    assert notes("rule-crud") == [facts[1], moved], "five of six words are shared: one replaces the other"
    assert notes("flush") == notes("rag"), "the window is not full yet"
    monkeypatch.setattr(conversations, "WINDOW", 6)
    assert notes("flush") == [*facts, moved], "it was full twice"


def test_scores_are_by_category_and_recall_needs_all_evidence():
    one, four, five, whole = conversations.evaluate([TALK], "append-only", BM25, k=1)
    assert [r["category"] for r in (one, four, five, whole)] == ["1", "4", "5", "all"]
    assert [r["questions"] for r in (one, four, five, whole)] == [1, 1, 1, 3]
    assert one["recall"] == 0.0 and four["recall"] == 1.0 and five["recall"] is None and whole["recall"] == 0.5
    assert conversations.evaluate([TALK], "append-only", BM25, k=3)[0]["recall"] == 1.0
    assert all(r["f1"] == 0.0 for r in conversations.evaluate([TALK], "no-memory", BM25))
    with pytest.raises(ValueError, match="choose one of: no-memory, rag"):
        conversations.evaluate([TALK], "mem1", BM25)


def test_a_reader_sees_the_notes():
    _, tokenizer = pretrained.load("tiny")
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    seen = []

    def read(ask, rng):
        seen.append(ask.prompt[0]["content"])
        return "rome" if "Where" in ask.prompt[0]["content"].split("Question:")[1] else ""

    [one, four, *_] = conversations.evaluate([TALK], "append-only", BM25, reader=ScriptedPolicy(read, tokenizer))
    assert four["exact"] == four["f1"] == 1.0 and one["exact"] == 0.0
    assert "- 2:00 pm on 2 June, 2023: Mira moved to Rome.\n\nQuestion: Where did Mira move to?" in seen[0]
    seen.clear()
    [*_, whole] = conversations.evaluate([TALK], "rag", BM25, reader=ScriptedPolicy(read, tokenizer), n=2)
    assert whole["questions"] == len(seen) == 2


@LOCOMO
def test_all_of_locomo_from_the_command_line():
    asked = ["eval", "memory_r1", "--world", "locomo", "--json", "--policy"]
    found = {}
    for policy in conversations.STORES:
        done = CliRunner().invoke(cli.app, [*asked, policy])
        assert done.exit_code == 0, done.output
        record = json.loads(done.stdout)
        assert [r["questions"] for r in record["results"]] == [282, 321, 96, 841, 446, 1986]
        found[policy] = record["results"][-1]
    assert found["no-memory"]["f1"] == 0.0 and all(found[p]["recall"] > 0.4 for p in found if p != "no-memory")
    assert found["append-only"]["f1"] > found["rag"]["f1"], "a fact is nearer to an answer than a turn"


@LOCOMO
def test_the_agents_training_questions_are_those_that_facts_answer():
    paper = instruct(papers.get("memory_r1"), "locomo")
    [talk] = paper.world.conversations
    whole = dialogue(talk)
    assert (talk.name, len(talk.questions)) == ("conv-26", 152) and 100 < len(whole.questions) < 152
    world = paper.stages[0].prepare(lambda weights: None, None, None)["world"]
    asked = {question for _, _, own, rest in world.moments for question in (*own, *rest)}
    assert asked < set(whole.questions) and len(asked) > 80, "what rests on facts that are too far apart is left out"
    assert len(evaluation_world(paper).conversations) == 8


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["mem1", "--world", "locomo"], "mem1 keeps no notes of conversations; run: memlab eval memory_r1"),
        (["memory_r1", "--world", "locomo"], "trained keeps no notes of real text"),
        (["memory_r1", "--world", "locomo", "--policy", "rag", "--ranker", "magic"], "choose bm25 or embeddings"),
        (["memory_r1", "--world", "locomo", "--policy", "rag", "-n", "0"], "ask for at least one"),
    ],
)
def test_wrong_options_are_one_sentence(monkeypatch, arguments, said):
    done = CliRunner().invoke(cli.app, ["eval", *arguments])
    assert isinstance(done.exception, cli.Wrong) and said in str(done.exception)


def test_without_the_data_the_error_says_how_to_get_it(monkeypatch):
    monkeypatch.delenv("MEMLAB_DATA", raising=False)
    done = CliRunner().invoke(cli.app, ["eval", "memory_r1", "--world", "locomo", "--policy", "rag"])
    assert isinstance(done.exception, FileNotFoundError) and "curl" in str(done.exception)
