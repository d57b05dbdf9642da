"""The papers for instruct models: tags instead of labels, English and real questions, and the same episodes."""

import json
import random
import re
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memlab import papers
from memlab.memory import History
from memlab.papers import agemem, mem1, memact, memory_r1
from memlab.papers.instruct import BEFORE, PRUNED, STAGED, evaluation_world, instruct, no_note
from memlab.papers.mem1 import Action
from memlab.papers.memact import Call
from memlab.policies import pretrained
from memlab.policies.scripted import ScriptedPolicy
from memlab.rollout import play
from memlab.training import gpu
from memlab.worlds import dialogues
from memlab.worlds.english import English, plain, render, translated
from memlab.worlds.real.conversations import Conversation, Fact, Question, Session, Talks, dialogue
from memlab.worlds.real.hotpotqa import Passing, parse
from tests.toys import drive, said

FIXTURE = (Path(__file__).parents[1] / "data" / "hotpotqa_invented.json").read_text(encoding="utf-8")
# The same few questions again and again, each time about other names.
COPIES = [json.loads(re.sub(r"\b([A-Z][a-z]+)\b", rf"\1{ending}", FIXTURE)) for ending in ("", "ba", "co", "du", "fe", "gi")]
RECORDS = parse([record | {"_id": f"{record['_id']}-{i}"} for i, copy in enumerate(COPIES) for record in copy], "invented")
BOTH = ("mem1", "memact")
BANKED = ("memory_r1", "agemem")


def talk(name, people=("Mira", "Tom", "Vera", "Hugo")):
    """An invented conversation of five sessions: each person moves to a town, then on to another, and has a pet."""
    towns = ("Rome", "Oslo", "Lima", "Riga", "Bern", "Cork", "Nice", "Kiel")
    facts, questions = [], []
    for i, who in enumerate(people):
        told = (f"{who} moved to {towns[i]}.", f"{who} adopted a dog called {who[::-1]}.", f"{who} left for {towns[i + 4]}.")
        for session, text in zip((i, i, 4), told, strict=True):
            facts.append(Fact(session, who, text, (f"D{session + 1}:{len(facts)}",)))
        questions.append(Question(f"What is the dog of {who} called?", who[::-1], "4", facts[-2].evidence))
        moves = (*facts[-3].evidence, *facts[-1].evidence)
        questions.append(Question(f"Where did {who} move to and leave for?", f"{towns[i + 4]}; for good", "1", moves))
    questions.append(Question("Who owns a boat?", "Not mentioned", "5", ()))
    sessions = tuple(Session(f"1:00 pm on {day} May, 2023", ()) for day in range(1, 6))
    return Conversation(name, sessions, tuple(sorted(facts, key=lambda fact: fact.session)), tuple(questions), "invented")


TALKS = [talk("conv-26"), talk("conv-41", ("Ada", "Karl", "Dora", "Leon"))]
REAL = {name: "hotpotqa" for name in papers.NAMES} | {"memory_r1": "locomo"}


def made(name, task):
    return instruct(papers.get(name), task, {"hotpotqa": RECORDS, "locomo": TALKS}.get(task))


def played(paper, rule, size, seed=0, episode=None):
    return drive((episode or paper.episode)(paper.world.make(random.Random(seed), size)), rule, seed)


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("task", ["english", "hotpotqa"])
def test_the_oracle_solves_both_tasks_and_chance_does_not(name, task):
    paper, episode = made(name, task), None
    if (name, task) == ("memact", "hotpotqa"):  # the invented paragraphs are short: in the real budget nothing has to be pruned
        episode = partial(memact.episode, style=replace(PRUNED, cap=160, found=80))
    most = 8 if task == "english" else len(paper.world.records)
    for size in (1, 2, min(4, most), most):
        assert all(played(paper, paper.oracle, size, seed, episode)[0].reward == 1.0 for seed in range(8)), size
    chance = [played(paper, paper.random_valid, min(4, most), seed, episode)[0].reward for seed in range(40)]
    assert 0.1 < sum(chance) / 40 < 0.99


@pytest.mark.parametrize("task", ["english", "real"])
def test_the_oracle_of_conversations_is_right_and_chance_is_not(task):
    paper = made("memory_r1", "english" if task == "english" else "locomo")
    for size in (1, 2, 4):
        assert all(played(paper, paper.oracle, size, seed)[0].reward == 1.0 for seed in range(8)), size
    chance = [played(paper, paper.random_valid, 4, seed)[0].reward for seed in range(20)]
    assert 0.1 < sum(chance) / 20 < 0.8


@pytest.mark.parametrize("task", ["english", "hotpotqa"])
def test_the_oracle_of_the_three_stages_cleans_when_it_must(task):
    paper, episode, many = made("agemem", task), None, 7
    if task == "hotpotqa":  # the invented paragraphs are short
        episode = partial(agemem.episode, style=replace(STAGED, window=150, room=90))
    done = {size: [played(paper, paper.oracle, size, seed, episode)[0].metrics for seed in range(8)] for size in (1, 3, many)}
    assert all(m["right"] == 1.0 and not m["overflow"] for metrics in done.values() for m in metrics)
    assert not any(m["filter"] + m["summary"] for m in done[1]) and all(m["filter"] + m["summary"] for m in done[many])
    assert all(m["stored_recall"] == 1.0 for m in done[3])
    chance = [played(paper, paper.random_valid, 3, seed, episode)[0].metrics["right"] for seed in range(40)]
    assert 0.02 < sum(chance) / 40 < 0.8


@pytest.mark.parametrize("name", BANKED)
def test_conversations_in_english_are_the_same_tasks(name):
    tiny, english = papers.get(name).world, made(name, "english").world
    for seed in range(20):
        assert translated(english.make(random.Random(seed), 3), plain) == tiny.make(random.Random(seed), 3)


def test_facts_are_read_in_either_language():
    for seed in range(50):
        task = dialogues.Dialogues().make(random.Random(seed), 3)
        for text in task.messages:
            assert dialogues.facts(render(text)) == dialogues.facts(text)
            in_tiny = plain(render(dialogues.plain(text)))
            assert plain(dialogues.plain(render(text))) == in_tiny


@pytest.mark.parametrize("name", BANKED)
@pytest.mark.parametrize("task", ["english", "real"])
def test_what_is_kept_depends_on_the_bank(name, task):
    """Whoever keeps no notes answers nothing; the other baselines keep some."""
    paper = made(name, "english" if task == "english" else REAL[name])
    assert not paper.learned and not paper.ablations and not paper.variants and len(paper.baselines) >= 3
    for baseline, episode in paper.baselines.items():
        outcomes = [played(paper, paper.oracle, 3, seed, episode)[0] for seed in range(6)]
        right = [o.metrics.get("right", o.reward) for o in outcomes]
        assert not any(right) if baseline == "no-memory" else any(right), baseline


def test_agents_of_real_conversations_are_trained_on_one_and_asked_about_others():
    paper = made("memory_r1", "locomo")
    assert [c.name for c in paper.world.conversations] == ["conv-26"]
    assert [c.name for c in evaluation_world(paper, TALKS).conversations] == ["conv-41"]
    whole = dialogue(TALKS[0])
    assert len(whole.questions) == 8 and all(";" not in value for values in whole.answers for value in values)
    first = dialogue(TALKS[0], 0, 1)
    assert first.questions == ("What is the dog of Mira called?",) and len(first.sessions) == 1, "the rest is not said yet"
    with pytest.raises(ValueError, match="there is no conversation"):
        Talks([])
    with pytest.raises(ValueError, match="1 to 5 sessions, not 6"):
        Talks(TALKS).make(random.Random(0), 6)


def test_a_real_moment_asks_what_its_message_and_its_notes_answer():
    paper = made("memory_r1", "locomo")
    manager, reader = paper.stages
    tokenizer = pretrained.load("tiny")[1]
    tokenizer.chat_template = "{{ messages[0]['content'] }}"
    frozen = ScriptedPolicy(paper.oracle, tokenizer)
    how = manager.prepare(lambda weights: frozen, None, Path())
    whole = dialogue(TALKS[0])
    for seed in range(30):
        moment = how["world"].make(random.Random(seed))
        seen = {moment.message, *moment.notes}
        assert moment.message in whole.messages and len(moment.notes) <= BEFORE and 1 <= len(moment.questions) <= 4
        for i, asked in enumerate(moment.questions):
            gold = whole.gold_of[whole.questions.index(asked)]
            assert seen.issuperset(gold) and (i > 0 or moment.message in gold)
    asked = reader.prepare(lambda weights: ScriptedPolicy(no_note, tokenizer), None, Path())["world"].moments
    assert len(asked) == 8 and not any(m.notes for m in asked), "this manager kept nothing"


def test_a_moment_is_one_call_and_then_the_frozen_agent():
    paper = made("memory_r1", "english")
    frozen = object()
    how = paper.stages[0].prepare(lambda weights: frozen, None, Path())
    moments = [how["world"].make(random.Random(seed), 0) for seed in range(12)]
    assert all(text[:1].isupper() for m in moments for text in (*m.notes, m.message, *m.questions))
    for m in moments:
        outcome, asks, wrote = drive(how["episode"](m), paper.oracle)
        assert outcome.reward == 1.0 or len(m.notes) > 5
        assert [ask.by is frozen for ask in asks] == [False] + [True] * len(m.questions)
        assert wrote[0].startswith("<") and "\nQuestion: " in asks[1].prompt[-1]["content"]


def test_what_matters_is_told_in_passing():
    world = Passing(RECORDS)
    for seed in range(20):
        task = world.make(random.Random(seed), 12)
        assert set(task.gold) <= set(task.told) and len(task.noise) == 12 and len(task.told) <= 8
        assert not any(g.split(": ", 1)[1] in noise for g in task.gold for noise in task.noise)
        assert task == world.make(random.Random(seed), 12)


@pytest.mark.parametrize("name", BOTH)
def test_english_is_the_same_task_rendered(name):
    tiny, english = papers.get(name).world, made(name, "english").world
    assert isinstance(english, English) and english.name == "lookup-english"
    for seed in range(20):
        task = english.make(random.Random(seed), 3)
        assert translated(task, plain) == tiny.make(random.Random(seed), 3)
        assert all(text[0].isupper() for text in (*task.questions, *task.documents, *task.answers, *task.leftover))


@pytest.mark.parametrize("name", [*BOTH, "agemem"])
def test_real_questions_are_held_out_for_evaluation(name):
    paper = made(name, "hotpotqa")
    trained = {record.id for record in paper.world.records}
    asked = {record.id for record in evaluation_world(paper, RECORDS).records}
    assert trained and asked and not trained & asked
    assert evaluation_world(made(name, "english")).name.endswith("-english")


@pytest.mark.parametrize("name", [*BOTH, *BANKED])
@pytest.mark.parametrize("task", ["english", "real"])
def test_what_is_written_fits_its_budget(name, task):
    """The oracle's longest completion in words is at most what the episode allows in tokens, tags and all."""
    paper = made(name, "english" if task == "english" else REAL[name])
    for seed in range(10):
        _, asks, wrote = played(paper, paper.oracle, 2, seed)
        assert all(len(text.split()) * 1.3 < ask.max_tokens for ask, text in zip(asks, wrote, strict=True))


def test_mem1_forgets_all_but_its_state():
    paper = made("mem1", "english")
    outcome, asks, wrote = played(paper, paper.oracle, 2, seed=3)
    assert outcome.reward == 1.0 and len(asks) >= 3
    for text, after in zip(wrote, asks[1:], strict=False):
        [system, user] = after.prompt
        assert system["role"] == "system" and "<state>" + mem1.parse_tags(text).state + "</state>" in user["content"]
        assert all(question in user["content"] for question in after.state["open"])


def test_memact_appends_until_it_prunes():
    paper = made("memact", "english")
    _, asks, wrote = played(paper, paper.oracle, 8, seed=1)
    pruned = 0
    for before, text, after in zip(asks, wrote, asks[1:], strict=False):
        call = memact.parse_tags(text)
        grown = [*before.prompt, {"role": "assistant", "content": text}]
        if call.name == "search":
            assert after.prompt[: len(grown)] == grown and len(after.prompt) == len(grown) + 1
        elif call.name == "prune":
            pruned += 1
            assert not [m for m in after.prompt[:-2] if m["content"].startswith(tuple(f"Record {i}:" for i in call.ids))]
    assert pruned


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("task", ["english", "hotpotqa"])
def test_baselines_play_the_same_tasks(name, task):
    paper = made(name, task)
    assert not paper.learned and not paper.ablations and len(paper.baselines) >= 3
    for baseline, episode in paper.baselines.items():
        outcome, asks, _ = played(paper, paper.oracle, 2, seed=2, episode=episode)
        assert outcome.reward == 1.0 or baseline in ("no-memory", "truncate", "prune-every-1", "sliding-window"), baseline
        assert all(isinstance(ask.prompt, list) for ask in asks)


def test_a_prune_that_is_due_is_one_whatever_is_written():
    task = replace(made("memact", "english").world.make(random.Random(0), 1), leftover=())
    forced = partial(memact.episode, editing=1, style=memact.CHAT)
    asks, _ = said(forced(task), "<search>Mira</search>", "Mira was found.", "<answer>Rex</answer>")
    assert asks[1].prompt[-1]["content"].startswith("Your memory is full")
    assert "Mira was found." in asks[2].prompt[-2]["content"] and len(asks[2].state["records"]) == 1


@pytest.mark.parametrize(
    ("text", "action"),
    [
        ("<state>Mira adopted Rex.</state><search>Rex</search>", Action("Mira adopted Rex.", "search", "Rex")),
        ("<state>A.\nB.</state>\n<answer>Rex; Rome</answer> and more", Action("A. B.", "answer", "Rex; Rome")),
        ("Mira adopted Rex. <search>Rex", Action("Mira adopted Rex.", "search", "Rex")),
        ("<state>A.<answer>Rex", Action("A.", "answer", "Rex")),
        ("<answer>Rex</answer><search>Rome</search>", Action("", "answer", "Rex")),
        ("I do not know.", Action("I do not know.", "", "")),
        ("", Action("", "", "")),
    ],
)
def test_mem1_tags_are_read(text, action):
    assert mem1.parse_tags(text) == action


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("<search>Rex</search>", Call("search", "Rex")),
        ('<prune drop="3 17">Mira adopted Rex.</prune>', Call("prune", "Mira adopted Rex.", (3, 17))),
        ("<prune>Mira\nadopted Rex.", Call("prune", "Mira adopted Rex.")),
        ("<prune drop=4,5></prune>", Call("prune", "", (4, 5))),
        ("So: <answer>Rex; Rome</answer><search>x</search>", Call("answer", "Rex; Rome")),
        ("I do not know.", Call("", "I do not know.")),
    ],
)
def test_memact_tags_are_read(text, call):
    assert memact.parse_tags(text) == call


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("<add>Mira adopted Rex.</add>", memory_r1.Call("add", text="Mira adopted Rex.")),
        ('<update note="2">Mira lives\nin Rome.</update>', memory_r1.Call("update", 2, "Mira lives in Rome.")),
        ('<delete note="2"/><add>A.</add>', memory_r1.Call("delete", 2)),
        ('<delete note="0"></delete>', memory_r1.Call("delete", 0)),
        ("I see. <noop/>", memory_r1.Call("noop")),
        ("<add></add>", memory_r1.Call("", text="<add></add>")),
        ("<update>A.</update>", memory_r1.Call("", text="<update>A.</update>")),
        ("Mira adopted Rex.", memory_r1.Call("", text="Mira adopted Rex.")),
    ],
)
def test_calls_of_a_manager_are_read(text, call):
    assert memory_r1.parse_tags(text) == call


@pytest.mark.parametrize(
    ("text", "read"),
    [
        ("<retrieve>Mira</retrieve>", ("retrieve", "Mira")),
        ("<noop/>", ("noop", "")),
        ("Well. <answer>Rex; Scout", ("answer", "Rex; Scout")),
        ("<filtered>x</filtered>", ("", "")),
        ("Rex", ("", "")),
    ],
)
def test_calls_of_the_three_stages_are_read(text, read):
    assert agemem.parse_tags(text) == read


def test_answers_are_values_in_any_order_and_case():
    values = memory_r1.tagged_values("<useful>Mira adopted Rex.</useful><answer>Scout; rex ;Scout</answer>")
    assert values == ["Scout", "rex"] and memory_r1.marked([values], [("Rex", "Scout")]) == (1.0, 1.0)
    assert memory_r1.tagged_values("Rex and Scout") == [] and memory_r1.marked([[]], [("Rex",)])[0] == 0.0


IDS = st.lists(st.integers(0, History.IDS - 1), max_size=5).map(tuple)
WORDS = st.lists(st.sampled_from(["Mira", "adopted", "Rex.", "17", "drop;", "lives"]), min_size=1).map(" ".join)


@given(st.sampled_from(["search", "answer"]).map(lambda n: (n, ())) | IDS.map(lambda ids: ("prune", ids)), WORDS)
def test_what_is_written_in_tags_is_read_back(call, text):
    name, ids = call
    assert memact.parse_tags(memact.write_tags(Call(name, text, ids))) == Call(name, text, ids)


@given(st.sampled_from(memory_r1.CALLS), st.integers(0, 59), WORDS)
def test_what_a_manager_writes_in_tags_is_read_back(name, place, text):
    place, text = place if name in ("update", "delete") else -1, text if name in ("add", "update") else ""
    call = memory_r1.Call(name, place, text)
    assert memory_r1.parse_tags(memory_r1.write_tags(call)) == call


@given(st.text() | st.text(alphabet="<>/searchpunwtdol \n"))
def test_any_text_can_be_read(text):
    assert isinstance(mem1.parse_tags(text), Action) and isinstance(memact.parse_tags(text), Call)
    assert isinstance(memory_r1.parse_tags(text), memory_r1.Call) and len(agemem.parse_tags(text)) == 2
    assert isinstance(memory_r1.tagged_values(text), list)


def test_settings_are_the_papers():
    dial = gpu.presets.get("gpu")
    of = lambda name: gpu.settings_of(made(name, "english"), "hub:Qwen/Qwen2.5-7B-Instruct", dial, 0, None, "untrained")  # noqa: E731
    assert (of("mem1").group, of("mem1").warmup_steps, of("mem1").scale) == (16, 50, "none")
    assert (of("memact").group, of("memact").scale, of("memact").beta) == (8, "group", 0.0)


def test_every_paper_has_a_recipe_and_two_tasks():
    for name in papers.NAMES:
        settings = gpu.settings_of(made(name, "english"), "smollm2", gpu.presets.get("gpu"), 0, None, "untrained")
        assert settings.tasks * settings.group == 128
        with pytest.raises(ValueError, match=f"{name} has no task 'french'.*choose one of: english, {REAL[name]}"):
            instruct(papers.get(name), "french")


@pytest.mark.real
@pytest.mark.parametrize("name", [*BOTH, *BANKED])
def test_rows_of_a_chat(name):
    """A context is one row until it is edited, and one that is new at every turn is a row; every written token has loss once."""
    try:
        tokenizer = pretrained.load("smollm2")[1]
    except FileNotFoundError as error:
        pytest.skip(str(error))
    paper = made(name, "english")
    tasks = [paper.world.make(random.Random(seed), size) for seed, size in enumerate((1, 2, 4, 8))]
    for t in play([paper.episode(task) for task in tasks], ScriptedPolicy(paper.oracle, tokenizer), tasks):
        assert t.outcome.metrics.get("right", 1.0) > 0
        assert sum(sum(row.mask) for row in t.rows) == sum(turn.completion_tokens for turn in t.turns)
        rows = len(t.turns)
        if name == "memact":
            calls = [memact.parse_tags(turn.text).name for turn in t.turns[:-1]]
            rows = 1 + sum(call in ("prune", "answer") for call in calls)
        elif name == "agemem":  # a row for each message that was told, and one for all that follows, until it is cleaned
            rows = len(t.task.told) + 1 + int(t.outcome.metrics["filter"])
        assert len(t.rows) == rows
