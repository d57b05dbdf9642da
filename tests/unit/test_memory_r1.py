"""Memory-R1: the manager's operations, the answer agent's reading, and the examples that each is trained on."""

import random
import shutil
from dataclasses import replace
from pathlib import Path
from statistics import mean

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from memlab import contenders, evaluation, papers
from memlab.episode import Ask
from memlab.memory import Bank
from memlab.papers import memory_r1
from memlab.papers.memory_r1 import Call, Heard, Moments, apply, episode, moment, parse_call, values
from memlab.policies import pretrained
from memlab.policies.scripted import ScriptedPolicy
from memlab.rollout import play
from memlab.training.grpo import GRPOSettings
from memlab.training.train import train_stages
from memlab.worlds.dialogues import Dialogue, Dialogues, parse
from tests.toys import said

PAPER = papers.get("memory_r1")
TASK = Dialogue(
    sessions=(
        ("mira adopted rex .", "good morning .", "mira lives in oslo ."),
        ("mira also adopted scout .", "mira lives in rome ."),
    ),
    questions=("who did mira adopt ?", "where does mira live ?"),
    answers=(("rex", "scout"), ("rome",)),
    gold_of=(("mira adopted rex .", "mira also adopted scout ."), ("mira lives in rome .",)),
    kinds=("complement", "contradiction"),
    stale=frozenset({"mira lives in oslo ."}),
)


@pytest.fixture(scope="module")
def tokenizer():
    return pretrained.load("tiny")[1]


def outcomes(tokenizer, rule, size, episode=episode, n=40, world=None):
    trajectories, _ = evaluation.run(PAPER, ScriptedPolicy(rule, tokenizer), size, n, 1, episode, world)
    return [t.outcome for t in trajectories]


def share(outcomes, part, whole):
    return sum(o.metrics[part] for o in outcomes) / sum(o.metrics[whole] for o in outcomes)


# ---------------------------------------------------------------- calls


@pytest.mark.parametrize(
    ("text", "call"),
    [
        ("add mira adopted rex .", Call("add", text="mira adopted rex .")),
        ("update 3 mira adopted rex .", Call("update", 3, "mira adopted rex .")),
        ("delete 2", Call("delete", 2)),
        ("delete 2 3", Call("delete", 2, "3")),
        ("noop", Call("noop")),
        ("add", Call("", text="add")),
        ("update 3", Call("", text="update 3")),
        ("update mira adopted rex .", Call("", text="update mira adopted rex .")),
        ("delete -1", Call("", text="delete -1")),
        ("update ² x", Call("", text="update ² x")),
        ("", Call("", text="")),
        ("mira add", Call("", text="mira add")),
    ],
)
def test_a_call_is_read_from_its_first_words(text, call):
    assert parse_call(text) == call


@settings(max_examples=2000, deadline=None)
@given(st.text(max_size=60) | st.sampled_from(["update 99999999999999999999 x", "delete 7", "add \x00", "update 0 <script>"]))
def test_no_text_breaks_the_bank(text):
    bank = Bank()
    bank.add("a", "b")
    apply(bank, [1, 0], parse_call(text))
    assert len(bank) in (1, 2, 3)


def test_a_place_is_that_of_the_list_that_was_shown_and_nothing_is_noted_twice():
    bank = Bank()
    bank.add("a", "b", "c")
    apply(bank, [2, 0], Call("add", text="b"))
    assert len(bank) == 3
    apply(bank, [2, 0], Call("update", 0, "d"))
    apply(bank, [2, 0], Call("delete", 1))
    apply(bank, [2, 0], Call("delete", 2))
    assert bank.notes == {1: "b", 2: "d"}


# ---------------------------------------------------------------- episode


def test_what_the_two_agents_see():
    first, further, here, there = (*TASK.gold_of[0], "mira lives in oslo .", *TASK.gold_of[1])
    calls = f"add {first}", "noop", f"add {here}", f"add {further}", f"update 0 {there}"
    asks, outcome = said(episode(TASK), *calls, "mira adopted rex . mira also adopted scout .", "mira lives in rome .")
    assert [ask.prompt for ask in asks] == [
        f"notes : nothing . new : {first} call :",
        "notes : nothing . new : good morning . call :",
        f"notes : {first} 0 new : {here} call :",
        f"notes : {first} 0 {here} 1 new : {further} call :",
        f"notes : {here} 0 {first} 1 {further} 2 new : {there} call :",
        f"question : who did mira adopt ? memory : {first} {further} {there} answer :",
        f"question : where does mira live ? memory : {first} {further} {there} answer :",
    ]
    assert outcome.reward == 1.0 and outcome.answer == "rex , scout ; rome"
    assert outcome.metrics == {
        "f1": 1.0,
        "complements": 1,
        "complements_kept": 1,
        "contradictions": 1,
        "contradictions_overwritten": 1,
        "retractions": 0,
        "retractions_deleted": 0,
        "notes": 3,
    }
    assert [(e.turn, e.op) for e in outcome.events] == [(0, "write"), (2, "write"), (3, "write"), (4, "rewrite")]


@pytest.mark.parametrize(
    ("calls", "kept", "overwritten"),
    [
        (["add mira adopted rex . mira also adopted scout .", "noop", "noop", "noop", "add mira lives in rome ."], 1, 1),
        (["add mira adopted rex .", "noop", "noop", "update 0 mira also adopted scout .", "noop"], 0, 0),
        (["noop", "noop", "add mira lives in oslo .", "noop", "add mira lives in rome ."], 0, 0),
        (["noop", "noop", "add mira lives in oslo .", "delete 0", "add mira lives in rome ."], 0, 1),
    ],
)
def test_kept_and_overwritten_are_read_from_the_bank(calls, kept, overwritten):
    metrics = said(episode(TASK), *calls, "", "")[1].metrics
    assert (metrics["complements_kept"], metrics["contradictions_overwritten"]) == (kept, overwritten)


def test_answers_are_sets_of_values():
    assert values("mira adopted rex . mira also adopted scout . mira adopted rex .") == ["rex", "scout"]
    assert values("rome") == ["rome"] and values("") == []
    for told, right in (("mira also adopted scout . mira adopted rex .", 1.0), ("mira adopted rex .", 0.5), ("", 0.5)):
        assert said(episode(TASK), *["noop"] * 5, told, "mira lives in rome .")[1].reward == (1.0 if right == 1.0 else 0.5)
    direct = said(episode(TASK, distil=False), *["noop"] * 5, "scout , rex", "rome")[1]
    assert direct.reward == direct.metrics["f1"] == 1.0


def test_rules_order_as_they_should(tokenizer):
    """The oracle is right for ever; replacing by topic loses complements; appending drowns what is new; chance is bad."""
    for world in (Dialogues(), Dialogues(family="reworded")):
        best = outcomes(tokenizer, PAPER.oracle, 16, world=world)
        assert all(o.reward == o.metrics["f1"] == 1.0 for o in best)
        assert share(best, "complements_kept", "complements") == 1.0
        assert share(best, "contradictions_overwritten", "contradictions") == 1.0
        assert share(best, "retractions_deleted", "retractions") == 1.0
        crud = outcomes(tokenizer, PAPER.oracle, 16, PAPER.baselines["rule-crud"], world=world)
        assert share(crud, "complements_kept", "complements") == 0.0
        assert share(crud, "contradictions_overwritten", "contradictions") == 1.0
        append = outcomes(tokenizer, PAPER.oracle, 16, PAPER.baselines["append-only"], world=world)
        assert share(append, "contradictions_overwritten", "contradictions") == 0.0
        assert mean(o.metrics["notes"] for o in append) > 60
        chance = outcomes(tokenizer, PAPER.random_valid, 16, world=world)
        nothing = outcomes(tokenizer, PAPER.oracle, 16, PAPER.baselines["no-memory"], world=world)
        f1 = [mean(o.metrics["f1"] for o in each) for each in (best, crud, append, nothing)]
        assert f1[0] > 1.28 * f1[1] and f1[1] > f1[2] > f1[3] == 0.0
        assert f1[1] > mean(o.metrics["f1"] for o in chance)


def test_the_flush_rule_notes_what_leaves_its_context(monkeypatch):
    told = TASK.messages

    def noted(window, messages=told):
        monkeypatch.setattr(memory_r1, "WINDOW", window)
        task = replace(TASK, sessions=(messages,))
        return [(e.turn, e.text) for e in said(memory_r1.flushed(task), "", "")[1].events]

    assert noted(1000) == [(4, message) for message in told], "all of it still in context"
    assert noted(14) == [(2, told[0]), (2, told[2]), (4, told[3]), (4, told[4])], "12 words without the small talk, then the rest"
    assert noted(12, (*told[:2], told[0]) * 2) == [(2, told[0])], "what is noted is not noted again"


def test_a_frozen_reader_answers_and_only_the_manager_has_rows(tokenizer):
    reader = ScriptedPolicy(PAPER.oracle, tokenizer)
    task = Dialogues().make(random.Random(0), 2)
    [t] = play([episode(task, reader=reader)], ScriptedPolicy(PAPER.oracle, tokenizer), [task])
    assert t.reward == 1.0 and len(t.rows) == len(task.messages) and len(t.turns) == len(task.messages) + len(task.questions)


# ---------------------------------------------------------------- training examples


def test_there_are_exactly_152_training_questions_for_both_agents(tokenizer):
    tasks = memory_r1.training_dialogues(152, 8)
    pairs = [pair for task in tasks for pair in zip(task.questions, task.answers, strict=True)]
    assert len(pairs) == 152
    heard = Heard(ScriptedPolicy(PAPER.oracle, tokenizer)).moments
    assert [(m.questions, m.answers) for m in heard] == [((question,), (answer,)) for question, answer in pairs]
    told = {message for task in tasks for message in task.messages}
    for world, most in ((Moments(), 4), (Moments(others=0), 1)):
        for it in map(world.make, map(random.Random, range(2000))):
            assert it.message in told and set(it.questions) <= {question for question, _ in pairs}
            assert 1 <= len(it.questions) == len(set(it.questions)) == len(it.answers) <= most and all(it.answers)
            own = [said.relation.question.format(s=said.subject)] if (said := parse(it.message)) else []
            if most == 1 or set(own) & set(it.questions):
                assert it.questions[0] == own[0] and (said.value in it.answers[0]) == (said.form != "gone")


def test_a_moment_rewards_the_operation_that_its_questions_need(tokenizer):
    reader = ScriptedPolicy(PAPER.oracle, tokenizer)

    def rewards(rule, tasks):
        return [t.reward for t in play([moment(task, reader) for task in tasks], ScriptedPolicy(rule, tokenizer), tasks)]

    def ruin(ask, rng):
        return f"update {rng.randrange(max(1, len(ask.state['notes'])))} {ask.state['message']}"

    tasks = [Moments().make(random.Random(seed)) for seed in range(600)]
    best, chance, spoilt, nothing = (
        mean(rewards(rule, tasks)) for rule in (PAPER.oracle, PAPER.random_valid, ruin, lambda ask, rng: "noop")
    )
    assert best > chance + 0.05 and min(best, chance) > max(spoilt, nothing) + 0.03
    wrong = {"further": lambda ask, rng: memory_r1.crud(ask), "gone": lambda ask, rng: memory_r1.append_only(ask)}
    for form, rule in wrong.items():
        some = [task for task in tasks if (said := parse(task.message)) and said.form == form and said.relation.joins]
        assert len(some) > 20 and mean(rewards(PAPER.oracle, some)) > mean(rewards(rule, some)) + 0.1, form
    linked = [Moments(others=0).make(random.Random(seed)) for seed in range(600)]
    harm = []
    for world in (linked, tasks):
        new = [task for task in world if (said := parse(task.message)) and said.form == "first" and said.relation.joins]
        best, spoilt = (mean(reward == 1.0 for reward in rewards(rule, new)) for rule in (PAPER.oracle, ruin))
        harm.append(best - spoilt)
    assert harm[1] > harm[0] + 0.1, "only the other questions notice that another note was overwritten"


def test_the_random_rule_finds_the_place_and_does_anything_there():
    rng, notes = random.Random(0), ["tom adopted max .", "mira lives in oslo .", "mira adopted rex . mira also adopted coco ."]

    def calls(message, notes=notes):
        state = {"message": message, "notes": notes}
        return {memory_r1.random_valid(Ask("", 1, state), rng) for _ in range(200)}

    assert calls(new := "now mira lives in rome .") == {f"add {new}", f"update 1 {new}", "delete 1", "noop"}
    assert calls(new := "mira sold coco .") == {f"add {new}", "delete 2", "noop"}
    assert calls("good morning .") == {"add good morning .", "noop"} and calls(new, []) == {f"add {new}", "noop"}


def test_the_random_rule_says_the_beginning_of_an_answer():
    rng, notes = random.Random(0), ["mira adopted rex .", "mira also adopted scout . tom adopted max ."]
    state = {"question": "who did mira adopt ?", "notes": notes, "distil": True}
    said = {memory_r1.random_valid(Ask("", 1, state), rng) for _ in range(200)}
    assert said == {"mira adopted rex .", "mira adopted rex . mira also adopted scout ."}
    assert memory_r1.random_valid(Ask("", 1, state | {"notes": []}), rng) == "nothing ."


# ---------------------------------------------------------------- training


def test_the_manager_is_trained_and_then_the_answer_agent_and_a_run_is_both(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    settings = GRPOSettings(steps=2, tasks=2, group=4, learning_rate=1e-3, save_steps=1)
    steps = []
    start = pretrained.TINY
    policy = train_stages(PAPER, start, settings, "run", on_step=steps.append)
    assert policy == Path("run/policy") and len(steps) == 4
    who = contenders.contender(PAPER, "run")
    frozen = who.episode.keywords["reader"]
    trained, reader, before = (pretrained.load(p)[0].state_dict() for p in ("run/policy", "run/reader/policy", start))
    assert all(torch.equal(frozen.model.state_dict()[k], reader[k]) for k in reader)
    for weights in (trained, reader):
        assert set(weights) == set(before)
    [t] = play([who.episode(TASK)], who.policy, [TASK])
    assert [turn.ask.by is frozen for turn in t.turns] == [False] * 5 + [True] * 2
    with pytest.raises(FileExistsError, match="already holds a run"):
        train_stages(PAPER, start, settings, "run")
    shutil.rmtree("run/reader")
    train_stages(PAPER, start, settings, "run", resume=True, on_step=steps.append)
    assert len(steps) == 6 and Path("run/reader/policy").is_dir(), "the first stage was finished, the second began"


def test_the_answer_agent_learns_over_banks_that_the_manager_kept(tokenizer):
    world = Heard(ScriptedPolicy(PAPER.oracle, tokenizer), count=12, sessions=2)
    assert len(world.moments) == 12 and all(not m.message and len(m.questions) == 1 for m in world.moments)
    best = play([moment(m) for m in world.moments], ScriptedPolicy(PAPER.oracle, tokenizer), world.moments)
    assert all(t.reward == 1.0 and len(t.turns) == 1 for t in best)
    empty = Heard(ScriptedPolicy(lambda ask, rng: "noop", tokenizer), count=3, sessions=1)
    assert all(m.notes == () for m in empty.moments)


def test_the_variants_differ_in_one_thing_each(tokenizer, tmp_path):
    def told(stage):
        how = stage.prepare(lambda path: None, pretrained.TINY, tmp_path)
        return how["world"].others, how["episode"].keywords["distil"]

    [direct, says] = PAPER.variants["no-distillation"]
    assert told(PAPER.stages[0]) == (3, True) and told(direct) == (3, False)
    assert told(PAPER.variants["linked-only"][0]) == (0, True)
    assert [stage.folder for stage in PAPER.variants["linked-only"]] == [stage.folder for stage in PAPER.stages] == ["", "reader"]
    answers = says.prepare(lambda path: ScriptedPolicy(PAPER.oracle, tokenizer), pretrained.TINY, tmp_path)["episode"]
    assert says.folder == "reader" and not answers.keywords["distil"]
    assert PAPER.baselines["no-distillation"].keywords == {"distil": False}
