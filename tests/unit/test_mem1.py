"""MEM1: the state is needed and enough, the context is bounded, and every baseline is the same task with another past."""

import json
import random
from dataclasses import replace
from functools import partial
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from memlab import cli, contenders, evaluation, papers
from memlab.papers import mem1
from memlab.papers.mem1 import EMPTY, Action, episode, parse_action, parse_answers
from memlab.policies import pretrained
from memlab.policies.scripted import ScriptedPolicy
from memlab.rollout import play
from memlab.training import pretrain
from memlab.views.inspector import Inspector
from memlab.views.steps import Replay
from memlab.worlds.lookup import Lookup, Objectives
from tests.toys import said

PAPER = papers.get("mem1")
EPISODES = {"mem1": PAPER.episode} | PAPER.baselines
RULES = {"oracle": mem1.oracle, "random": mem1.random_valid}
TASK = Objectives(
    questions=("who did mira adopt ?", "where does the pet of tom live ?", "where does luna live ?"),
    answers=("rex", "oslo", "rome"),
    documents=("mira adopted rex .", "tom adopted max .", "max lives in oslo . luna lives in rome ."),
    gold_of=(("mira adopted rex .",), ("tom adopted max .", "max lives in oslo ."), ("luna lives in rome .",)),
)


@pytest.fixture(scope="module")
def tokenizer():
    return pretrained.load("tiny")[1]


def played(rule, tokenizer, size, n=20, episode=None, seed=3):
    return evaluation.run(PAPER, ScriptedPolicy(rule, tokenizer), size, n, seed, episode)[0]


# ---------------------------------------------------------------- the task can be solved, and takes memory


@pytest.mark.parametrize("size", [1, 2, 8, 16])
@pytest.mark.parametrize("shown", [1, 2, None])
def test_the_oracle_is_right_at_every_size_without_a_wasted_turn(tokenizer, size, shown):
    for t in played(mem1.oracle, tokenizer, size, episode=partial(episode, shown=shown)):
        assert t.reward == 1.0 and t.outcome.metrics == {"f1": 1.0, "right": size}
        answers = sum("answer" in turn.text.split() for turn in t.turns)
        assert answers == -(-size // (shown or size)), "one answer for every agenda"
        assert len(t.turns) <= len(t.task.gold) + answers, "and at most one search for every gold fact"
        assert not any(turn.truncated for turn in t.turns)


def test_states_that_are_half_random_cost_answers_and_turns(tokenizer):
    half, best = (played(rule, tokenizer, 16, 100) for rule in (mem1.random_valid, mem1.oracle))
    assert evaluation.summary(half)["accuracy"] < 0.5 < evaluation.summary(best)["accuracy"]
    assert mean(len(t.turns) for t in half) > 1.2 * mean(len(t.turns) for t in best)


def test_without_a_state_even_the_oracle_fails(tokenizer):
    for size, most in ((2, 0.5), (16, 0.1)):
        trajectories = played(mem1.oracle, tokenizer, size, episode=PAPER.baselines["no-memory"])
        assert mean(t.reward for t in trajectories) <= most


# ---------------------------------------------------------------- the context


def test_the_context_stays_where_it_is_and_full_context_grows(tokenizer):
    def peaks(size, episode):
        return [t.peak_context_tokens for t in played(mem1.oracle, tokenizer, size, 50, episode)]

    few, many, full = peaks(2, PAPER.episode), peaks(16, PAPER.episode), PAPER.baselines["full-context"]
    assert max(many) <= 1.15 * max(few)
    assert mean(many) <= 1.4 * mean(few), "more turns, so more tasks meet the largest context"
    assert mean(peaks(16, full)) >= 5 * mean(peaks(2, full))
    assert mean(peaks(16, partial(episode, shown=None))) >= 3 * mean(many), "the whole list, and a state for all of it"


@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_a_turn_is_a_row_and_full_context_is_one(tokenizer, rule):
    for name in EPISODES:
        for t in played(rule, tokenizer, 3, episode=EPISODES[name]):
            assert len(t.rows) == (1 if name == "full-context" else len(t.turns))
            assert sum(sum(row.mask) for row in t.rows) == t.generated_tokens
    assert mem1.END == pretrain.END, "or nothing would be appended to"


BEGINNING = "questions : who did mira adopt ? where does the pet of tom live ? state :"


def test_what_was_not_written_down_is_gone():
    asks, _ = said(episode(TASK), f"{EMPTY} search mira", "luna lives in rome . search tom", f"{EMPTY} search max")
    assert [ask.prompt for ask in asks] == [
        f"{BEGINNING} nothing . results : nothing . new state :",
        f"{BEGINNING} nothing . results : mira adopted rex . new state :",
        f"{BEGINNING} luna lives in rome . results : tom adopted max . new state :",
        f"{BEGINNING} nothing . results : tom adopted max . max lives in oslo . luna lives in rome . new state :",
    ]
    assert all(ask.state["task"] is TASK and ask.state["open"] == TASK.questions[:2] for ask in asks)


def test_each_baseline_shows_its_own_past():
    first, second = f"{EMPTY} search mira", "luna lives in rome . search tom"
    prompts = {name: said(run(TASK), first, second)[0][-1].prompt for name, run in EPISODES.items()}
    end = "results : tom adopted max . new state :"
    assert prompts["mem1"] == f"{BEGINNING} luna lives in rome . {end}"
    assert prompts["no-memory"] == f"{BEGINNING} nothing . {end}"
    assert prompts["truncate"] == f"{BEGINNING} mira adopted rex . {end}"
    assert prompts["full-context"] == (
        f"{BEGINNING} nothing . results : nothing . new state : {first} <end> "
        f"results : mira adopted rex . new state : {second} <end> {end}"
    )


def test_truncation_keeps_the_newest_sentences_within_its_budget():
    newest = partial(episode, context=partial(mem1.Newest, budget=6))
    asks, _ = said(newest(TASK), "search mira", "search tom", "search luna")
    assert asks[2].state["memory"] == "mira adopted rex ."
    assert asks[3].state["memory"] == "tom adopted max ."  # with "mira adopted rex ." it would be 8 words


def test_a_task_may_begin_with_a_state_left_over():
    left = replace(TASK, leftover=("vera adopted coco .", "coco lives in lima ."))
    asks, outcome = said(episode(left), "coco lives in lima . search mira", "answer rex , oslo", "answer rome")
    assert asks[0].state["memory"] == "vera adopted coco . coco lives in lima ."
    assert asks[1].state["memory"] == "coco lives in lima ." and asks[2].state["memory"] == EMPTY
    assert [(e.turn, e.op) for e in outcome.events[:4]] == [(-1, "write"), (-1, "write"), (0, "keep"), (0, "delete")]
    for name in ("full-context", "truncate"):
        assert "vera adopted coco" in said(PAPER.baselines[name](left))[0][0].prompt
    assert "vera" not in said(PAPER.baselines["no-memory"](left))[0][0].prompt


def test_an_agenda_follows_when_one_is_answered():
    asks, outcome = said(episode(TASK), f"{EMPTY} search luna", "luna lives in rome . answer mira adopted rex . , oslo")
    assert asks[-1].state["open"] == TASK.questions[2:]
    assert (asks[-1].state["memory"], asks[-1].state["results"]) == ("luna lives in rome .", EMPTY)
    full = said(PAPER.baselines["full-context"](TASK), "answer a , b")[0][-1].prompt
    assert full.endswith("<end> questions : where does luna live ? results : nothing . new state :")
    assert outcome is None
    assert said(episode(TASK, shown=None))[0][0].state["open"] == TASK.questions


# ---------------------------------------------------------------- outcome


def test_the_reward_is_the_share_of_right_answers():
    _, outcome = said(episode(TASK), "answer mira adopted rex . , tom adopted max .", "answer luna lives in rome .")
    assert (outcome.reward, outcome.answer) == (pytest.approx(2 / 3), "rex , max , rome")
    assert outcome.metrics == {"f1": pytest.approx(2 / 3), "right": 2}
    assert [e.op for e in outcome.events] == []
    _, outcome = said(episode(TASK, shown=None), "mira adopted rex . answer rex , oslo , rome")
    assert outcome.reward == 1.0 and [(e.turn, e.op) for e in outcome.events] == [(0, "write")]


def test_what_is_open_at_the_turn_limit_is_wrong():
    wasted = ["nothing ."] * 11
    asks, outcome = said(episode(TASK), "answer rex", *wasted)
    assert len(asks) == mem1.TURNS * 3 == 12
    assert (outcome.reward, outcome.answer) == (pytest.approx(1 / 3), "rex ,  , ")


def test_text_without_an_action_wastes_the_turn_but_writes_the_state():
    asks, _ = said(episode(TASK), "search mira", "tom adopted max .")
    assert (asks[2].state["memory"], asks[2].state["results"]) == ("tom adopted max .", EMPTY)


def test_a_search_is_for_one_word():
    asks, _ = said(episode(TASK), "search mira luna", "search", "search paris")
    assert [ask.state["results"] for ask in asks[1:]] == ["mira adopted rex .", EMPTY, EMPTY]


def test_the_format_penalty_is_for_turns_without_an_action():
    good, bad = ["answer rex , oslo", "answer rome"], ["rex", "answer rex , oslo", "answer rome"]
    reward = lambda texts, penalty: said(episode(TASK, format_penalty=penalty), *texts)[1].reward  # noqa: E731
    assert [reward(good, 1.0), reward(bad, 0.0), reward(bad, 0.25), reward(bad, 1.0)] == [1.0, 1.0, 0.75, 0.0]
    assert reward([""] * 12, 1.0) == reward([""] * 12, 9.0) == -1.0


def test_completions_are_read_as_state_action_and_argument():
    assert parse_action("mira adopted rex . search tom") == Action("mira adopted rex .", "search", "tom")
    assert parse_action("answer rex , oslo") == Action("", "answer", "rex , oslo")
    assert parse_action("nothing . answer search tom") == Action("nothing .", "answer", "search tom")
    assert parse_action("mira adopted rex .") == Action("mira adopted rex .", "", "") and parse_action("") == Action(
        "", "", ""
    )
    assert parse_answers("tom adopted max . max lives in oslo . , rex , more", 2) == ["oslo", "rex"]
    assert parse_answers("rex", 2) == ["rex", ""] and parse_answers("", 1) == [""]


# ---------------------------------------------------------------- any text


WORDS = [*"search answer mira rex luna adopted lives in oslo . , : <end> <pad>".split(), "\n"]
WRITING = st.lists(
    st.text(max_size=60) | st.lists(st.sampled_from(WORDS), max_size=60).map(" ".join), min_size=12, max_size=12
)


@settings(max_examples=300, deadline=None)
@given(WRITING, st.sampled_from(sorted(EPISODES)), st.sampled_from([1, 2, None]))
def test_any_text_is_accepted_within_turns_and_budget(texts, name, shown):
    run = EPISODES[name](TASK, shown=shown, format_penalty=1.0)
    asks, outcome = said(run, *texts)
    assert outcome is not None and len(asks) <= 12 and -1.0 <= outcome.reward <= 1.0
    assert 0.0 <= outcome.metrics["f1"] <= 1.0
    for ask in asks:
        if name != "full-context":
            budget = {"mem1": 30 if shown is None else 20, "truncate": 20, "no-memory": 2}[name]
            assert len(ask.state["memory"].split()) <= budget
        for rule in RULES.values():
            assert parse_action(rule(ask, random.Random(0))).name


@settings(max_examples=100, deadline=None)
@given(WRITING, st.sampled_from(sorted(EPISODES)))
def test_any_text_is_played_and_shown(tokenizer, texts, name):
    texts = iter(texts)
    [t] = play([EPISODES[name](TASK)], ScriptedPolicy(lambda ask, rng: next(texts), tokenizer, name="texts"), [TASK])
    assert sum(sum(row.mask) for row in t.rows) == t.generated_tokens
    Replay(t).overview()


# ---------------------------------------------------------------- one machine


@pytest.mark.parametrize("name", EPISODES)
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_every_word_is_known_to_the_tiny_model_and_fits_its_budget(tokenizer, name, rule):
    for t in played(rule, tokenizer, 5, 30, EPISODES[name]):
        assert not any(tokenizer.unk_token_id in row.ids for row in t.rows)
        assert not any(turn.truncated for turn in t.turns)
        if name == "mem1":
            assert all(len(turn.ask.state["memory"].split()) <= 20 for turn in t.turns)


def test_the_tiny_model_was_made_without_this_paper(tokenizer):
    assert pretrain.TAUGHT == ("memagent",)
    known = sorted(tokenizer.get_vocab(), key=tokenizer.get_vocab().get)
    assert known == [pretrain.PAD, pretrain.END, pretrain.UNKNOWN, *pretrain.vocabulary()]


@pytest.mark.parametrize("name", EPISODES)
def test_every_baseline_is_evaluated_by_the_same_code(tokenizer, name):
    policy = ScriptedPolicy(mem1.random_valid, tokenizer)
    results = evaluation.evaluate(PAPER, policy, [1, 3], 5, 7, EPISODES[name])
    assert [r["size"] for r in results] == [1, 3] and all(0 <= r["accuracy"] <= r["f1"] <= 1 for r in results)


def test_tasks_are_drawn_from_the_seed_alone():
    tasks = evaluation.draw_tasks(PAPER, 4, 5, 0)
    assert tasks == evaluation.draw_tasks(PAPER, 4, 5, 0) and tasks != evaluation.draw_tasks(PAPER, 4, 5, 1)
    assert PAPER.train_sizes == (2,) and isinstance(PAPER.world, Lookup)


def test_it_shows_in_the_inspector(tokenizer):
    [t] = played(mem1.oracle, tokenizer, 2, 1)
    assert "Memory inspector" in Inspector(t).plain() and t._repr_html_()


def test_eval_from_the_command_line():
    arguments = ["eval", "mem1", "--policy", "oracle", "--sizes", "2,4", "-n", "5", "--json"]
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert (record["paper"], record["world"], record["model"]) == ("mem1", "lookup", None)
    assert [(r["size"], r["accuracy"]) for r in record["results"]] == [(2, 1.0), (4, 1.0)]
    assert "memagent, mem1" in CliRunner().invoke(cli.app, ["eval", "--help"]).output


def test_baselines_that_must_be_learned_run_recorded_weights(monkeypatch, tmp_path):
    monkeypatch.setattr(contenders, "RUNS", tmp_path)
    for name, recorded in {**PAPER.learned, "format-penalty": "format-penalty-0"}.items():
        with pytest.raises(FileNotFoundError, match=f"record mem1 --only {recorded}"):
            contenders.contender(PAPER, name)
        (tmp_path / "mem1" / recorded).mkdir(parents=True, exist_ok=True)
        (tmp_path / "mem1" / recorded / "policy").symlink_to(pretrained.TINY)
        who = contenders.contender(PAPER, name)
        assert who.model.endswith(f"mem1/{recorded}/policy")
        assert who.episode is PAPER.baselines.get(name, PAPER.episode), "an ablation is asked in the paper's own episode"
        (tmp_path / "mem1" / recorded / "policy").unlink()
