"""MEM1 and MemAct for instruct models: tags instead of labels, English and real questions, and the same episodes."""

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
from memlab.papers import mem1, memact
from memlab.papers.instruct import PRUNED, evaluation_world, instruct
from memlab.papers.mem1 import Action
from memlab.papers.memact import Call
from memlab.policies import pretrained
from memlab.policies.scripted import ScriptedPolicy
from memlab.rollout import play
from memlab.training import gpu
from memlab.worlds.english import English, plain, translated
from memlab.worlds.real.hotpotqa import parse
from tests.toys import drive, said

FIXTURE = (Path(__file__).parents[1] / "data" / "hotpotqa_invented.json").read_text(encoding="utf-8")
# The same few questions again and again, each time about other names.
COPIES = [json.loads(re.sub(r"\b([A-Z][a-z]+)\b", rf"\1{ending}", FIXTURE)) for ending in ("", "ba", "co", "du", "fe", "gi")]
RECORDS = parse([record | {"_id": f"{record['_id']}-{i}"} for i, copy in enumerate(COPIES) for record in copy], "invented")
BOTH = ("mem1", "memact")


def made(name, task):
    return instruct(papers.get(name), task, RECORDS if task == "hotpotqa" else None)


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


@pytest.mark.parametrize("name", BOTH)
def test_english_is_the_same_task_rendered(name):
    tiny, english = papers.get(name).world, made(name, "english").world
    assert isinstance(english, English) and english.name == "lookup-english"
    for seed in range(20):
        task = english.make(random.Random(seed), 3)
        assert translated(task, plain) == tiny.make(random.Random(seed), 3)
        assert all(text[0].isupper() for text in (*task.questions, *task.documents, *task.answers, *task.leftover))


@pytest.mark.parametrize("name", BOTH)
def test_real_questions_are_held_out_for_evaluation(name):
    paper = made(name, "hotpotqa")
    trained = {record.id for record in paper.world.records}
    asked = {record.id for record in evaluation_world(paper, RECORDS).records}
    assert trained and asked and not trained & asked
    assert evaluation_world(made(name, "english")).name == "lookup-english"


@pytest.mark.parametrize("name", BOTH)
@pytest.mark.parametrize("task", ["english", "hotpotqa"])
def test_what_is_written_fits_its_budget(name, task):
    """The oracle's longest completion in words is at most what the episode allows in tokens, tags and all."""
    paper = made(name, task)
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


IDS = st.lists(st.integers(0, History.IDS - 1), max_size=5).map(tuple)
WORDS = st.lists(st.sampled_from(["Mira", "adopted", "Rex.", "17", "drop;", "lives"]), min_size=1).map(" ".join)


@given(st.sampled_from(["search", "answer"]).map(lambda n: (n, ())) | IDS.map(lambda ids: ("prune", ids)), WORDS)
def test_what_is_written_in_tags_is_read_back(call, text):
    name, ids = call
    assert memact.parse_tags(memact.write_tags(Call(name, text, ids))) == Call(name, text, ids)


@given(st.text() | st.text(alphabet="<>/searchpunwt \n"))
def test_any_text_can_be_read(text):
    assert isinstance(mem1.parse_tags(text), Action) and isinstance(memact.parse_tags(text), Call)


def test_settings_are_the_papers():
    dial = gpu.presets.get("gpu")
    of = lambda name: gpu.settings_of(made(name, "english"), "hub:Qwen/Qwen2.5-7B-Instruct", dial, 0, None, "untrained")  # noqa: E731
    assert (of("mem1").group, of("mem1").warmup_steps, of("mem1").scale) == (16, 50, "none")
    assert (of("memact").group, of("memact").scale, of("memact").beta) == (8, "group", 0.0)


def test_papers_without_prompts_say_what_to_do():
    for name in ("memory_r1", "agemem"):
        with pytest.raises(ValueError, match=f"{name} has no prompts for instruct models yet.*--preset cpu"):
            instruct(papers.get(name))


@pytest.mark.real
@pytest.mark.parametrize("name", BOTH)
def test_rows_of_a_chat(name):
    """MemAct's context is one row until it is edited, MEM1's is new at every turn; every written token has loss once."""
    try:
        tokenizer = pretrained.load("smollm2")[1]
    except FileNotFoundError as error:
        pytest.skip(str(error))
    paper = made(name, "english")
    tasks = [paper.world.make(random.Random(seed), size) for seed, size in enumerate((1, 2, 4, 8))]
    for t in play([paper.episode(task) for task in tasks], ScriptedPolicy(paper.oracle, tokenizer), tasks):
        assert t.reward == 1.0
        assert sum(sum(row.mask) for row in t.rows) == sum(turn.completion_tokens for turn in t.turns)
        calls = [memact.parse_tags(turn.text).name for turn in t.turns[:-1]]
        assert len(t.rows) == (len(t.turns) if name == "mem1" else 1 + sum(call in ("prune", "answer") for call in calls))
