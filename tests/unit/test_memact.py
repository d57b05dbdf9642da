"""MemAct: the policy edits its own history, and the rows are what was sampled in the context in which it was sampled."""

import json
from collections import Counter
from dataclasses import replace
from statistics import mean

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from memlab import cli, evaluation, papers
from memlab.memory import History
from memlab.papers import memact
from memlab.papers.mem1 import EMPTY
from memlab.papers.memact import CAP, Call, episode, parse_call
from memlab.policies import pretrained
from memlab.policies.base import Completion
from memlab.policies.model import ModelPolicy
from memlab.policies.scripted import ScriptedPolicy
from memlab.rollout import play
from memlab.training.loop import pad_rows, token_logprobs
from memlab.views.inspector import Inspector
from memlab.views.steps import Replay
from memlab.worlds.lookup import Objectives
from tests.toys import said

PAPER = papers.get("memact")
EPISODES = {"memact": PAPER.episode} | PAPER.baselines
RULES = {"oracle": memact.oracle, "random": memact.random_valid}
TASK = Objectives(
    questions=("who did mira adopt ?", "where does the pet of tom live ?", "where does luna live ?", "who did ruth adopt ?"),
    answers=("rex", "oslo", "rome", "coco"),
    documents=("mira adopted rex .", "tom adopted max .", "max lives in oslo . luna lives in rome .", "ruth adopted coco ."),
    gold_of=(
        ("mira adopted rex .",),
        ("tom adopted max .", "max lives in oslo ."),
        ("luna lives in rome .",),
        ("ruth adopted coco .",),
    ),
)
IDS = list(History(TASK.question)._free)  # the ids of its records, in the order in which they are given out


@pytest.fixture(scope="module")
def tiny():
    return pretrained.load("tiny")


@pytest.fixture(scope="module")
def tokenizer(tiny):
    return tiny[1]


def played(rule, tokenizer, size, n=20, episode=None, seed=3):
    return evaluation.run(PAPER, ScriptedPolicy(rule, tokenizer), size, n, seed, episode)[0]


# ---------------------------------------------------------------- the task can be solved, and takes editing


@pytest.mark.parametrize("size", [1, 3, 8, 16])
def test_the_oracle_is_right_at_every_size(tokenizer, size):
    for t in played(memact.oracle, tokenizer, size):
        assert t.reward == 1.0 and t.outcome.metrics["right"] == size and not t.outcome.metrics["broken"]
        assert not any(turn.truncated for turn in t.turns)


def test_who_never_edits_breaks_the_limit(tokenizer):
    def never(ask, rng):
        return memact._next_call(ask, memact._facts(ask))

    outcomes = [t.outcome for t in played(never, tokenizer, 8)]
    assert mean(o.reward for o in outcomes) < 0 and all(o.metrics["prunes"] == 0 for o in outcomes)


def test_one_bad_edit_in_ten_is_far_below(tokenizer):
    assert 0.5 < mean(t.reward == 1.0 for t in played(memact.random_valid, tokenizer, 3, 200)) < 0.85
    assert mean(t.reward == 1.0 for t in played(memact.random_valid, tokenizer, 12, 100)) < 0.4


def test_rules_in_place_of_the_choice(tokenizer):
    """Full context is right and long; a sliding window loses first hops; forced prunes come when they are due."""
    full = played(memact.oracle, tokenizer, 8, episode=EPISODES["full-context"])
    own = played(memact.oracle, tokenizer, 8)
    assert all(t.reward == 1.0 for t in full) and all(len(t.rows) == 1 for t in full)
    assert mean(t.peak_context_tokens for t in full) > 3 * mean(t.peak_context_tokens for t in own)
    window = played(memact.oracle, tokenizer, 8, episode=EPISODES["sliding-window"])
    assert mean(t.reward == 1.0 for t in window) < 0.9
    for t in played(memact.oracle, tokenizer, 4, episode=EPISODES["prune-every-1"]):
        kinds = ["prune" if turn.ask.state["must prune"] else turn.text.split()[0] for turn in t.turns]
        assert all(then == "prune" for kind, then in zip(kinds, kinds[1:], strict=False) if kind == "search")
    for t in played(memact.oracle, tokenizer, 4, episode=EPISODES["summarise-when-full"]):
        assert all(turn.ask.state["must prune"] == (turn.ask.state["nearly full"] and i > 0) for i, turn in enumerate(t.turns))


# ---------------------------------------------------------------- the context


BEGINNING = "questions : who did mira adopt ? where does the pet of tom live ? call :"


def test_a_prune_writes_a_note_and_deletes_records_and_stays_as_a_record():
    a, b, c, d = IDS[:4]
    prunes = f"prune mira adopted rex . drop {b} {a}", f"prune nothing . drop {c}"
    asks, _ = said(episode(TASK), "search mira", "search tom", *prunes)
    found = [
        f"search mira <end> record {a} : mira adopted rex . call :",
        f"search tom <end> record {b} : tom adopted max . call :",
    ]
    assert [ask.prompt for ask in asks] == [
        BEGINNING,
        f"{BEGINNING} {found[0]}",
        f"{BEGINNING} {found[0]} {found[1]}",
        f"{BEGINNING} prune mira adopted rex . drop {b} {a} <end> record {c} : done call :",
        f"{BEGINNING} prune nothing . drop {c} <end> record {d} : done call :",
    ]
    assert asks[3].state["records"] == {c: "mira adopted rex ."} and asks[4].state["records"] == {d: EMPTY}


def test_what_is_kept_is_kept_word_for_word():
    a, b = IDS[:2]
    asks, _ = said(episode(TASK), "search mira", "search tom", f"prune nothing . drop {a}")
    assert f"search tom <end> record {b} : tom adopted max . call : prune" in asks[3].prompt
    assert "search mira" not in asks[3].prompt


def test_ids_that_are_not_there_delete_nothing():
    asks, _ = said(episode(TASK), "search mira", "prune tom adopted max . drop 999 x -3 mira")
    assert list(asks[2].state["records"].values()) == ["mira adopted rex .", "tom adopted max ."]


def test_answered_questions_leave_and_the_records_stay():
    asks, _ = said(episode(TASK), "search luna", "answer mira adopted rex . , oslo")
    found = "call : search luna <end> record 17 : max lives in oslo . luna lives in rome ."
    assert asks[2].prompt == f"{found} questions : where does luna live ? who did ruth adopt ? call :"
    assert "who did mira" not in asks[2].prompt and asks[2].state["open"] == TASK.questions[2:]
    full, _ = said(EPISODES["full-context"](TASK), "search luna", "answer mira adopted rex . , oslo", "search luna")
    assert all(b.prompt.startswith(a.prompt) for a, b in zip(full, full[1:], strict=False))


# ---------------------------------------------------------------- outcome


def test_the_odd_question_comes_first():
    """So a task of three, the largest in training, has a full agenda with a history behind it."""
    three = replace(TASK, questions=TASK.questions[:3], answers=TASK.answers[:3])
    asks, outcome = said(episode(three), "search mira", "answer rex", "search tom", "answer oslo , rome")
    assert [len(ask.state["open"]) for ask in asks] == [1, 1, 2, 2] and outcome.reward == 1.0
    assert [len(ask.state["records"]) for ask in asks] == [0, 1, 1, 2]


def test_the_reward_is_for_all_right_and_limits_cost():
    assert said(episode(TASK), "answer rex , oslo", "answer rome , coco")[1].reward == 1.0
    assert said(episode(TASK), "answer rex , oslo", "answer oslo , coco")[1].reward == 0.0
    for broken in (["mira"], [""], ["answer rex , oslo", "drop 3"], ["search mira"] * 24, [f"prune {'rex ' * memact.CAP}"]):
        outcome = said(episode(TASK), *broken)[1]
        assert (outcome.reward, outcome.metrics["broken"]) == (memact.LIMIT_BROKEN, 1.0)
    many = said(EPISODES["full-context"](TASK), *["search mira"] * 24)
    assert len(many[0]) == memact.TURNS * 4 and many[1].reward == memact.LIMIT_BROKEN


def test_only_memact_may_prune():
    for name in set(EPISODES) - {"memact"}:
        assert said(EPISODES[name](TASK), "prune nothing . drop 3")[1].reward == memact.LIMIT_BROKEN


def test_calls_are_read():
    assert parse_call("search mira rex") == Call("search", "mira rex")
    assert parse_call("prune a b . drop 3 x 17") == Call("prune", "a b .", (3, 17))
    assert parse_call("prune a .") == Call("prune", "a .") and parse_call("prune drop 4") == Call("prune", "", (4,))
    assert parse_call("mira prune") == Call("", "mira prune") and parse_call("") == Call("", "")


# ---------------------------------------------------------------- history


def test_history_ids_are_fixed_by_the_seed_and_used_once_before_any_again():
    one, two, other = History("a"), History("a"), History("b")
    ids = [h.add(0, "x") for h in (one, two, other)]
    assert ids[0] == ids[1] and one._free == two._free != other._free
    given_out = {ids[0]}
    for turn in range(1, History.IDS):
        given_out.add(one.add(turn, "x"))
    assert given_out == set(range(History.IDS))
    with pytest.raises(ValueError, match="delete some records first"):
        one.add(99, "x")
    assert one.delete(100, [7, 3, 999]) == [i for i in given_out_order(one) if i in (7, 3)]
    assert one.add(101, "y") in (7, 3)


def given_out_order(history):
    return [e.item for e in history.events if e.op == "write"]


# ---------------------------------------------------------------- rows: any sequence of edits


class Told(ModelPolicy):
    """Writes the texts it is told, and reports the log-probability that the model gives each of their tokens in this context."""

    def __init__(self, model, tokenizer, texts):
        super().__init__(model, tokenizer)
        self.texts, self.wrote = iter(texts), []

    @torch.no_grad()
    def complete(self, prompts):
        done = []
        for prompt in prompts:
            limit = prompt.ask.max_tokens
            ids = [*self.encode(next(self.texts)), self.tokenizer.eos_token_id][:limit]
            self.wrote += ids
            logits = self.model(input_ids=torch.tensor([prompt.ids + ids]), use_cache=False).logits[0]
            logp = torch.log_softmax(logits[len(prompt.ids) - 1 : -1].float(), -1)
            logprobs = logp[range(len(ids)), ids].tolist()
            text = self.tokenizer.decode(ids, skip_special_tokens=True)
            done.append(Completion(text, ids, logprobs, truncated=ids[-1] != self.tokenizer.eos_token_id))
        return done


NAME = st.sampled_from("mira tom rex max luna oslo".split())
NOTE = st.lists(st.sampled_from(("mira adopted rex .", "max lives in oslo .", "rex", "<pad>")), max_size=3).map(" ".join)
DROP = st.lists(st.sampled_from([*IDS[:12], 63]), max_size=4).map(lambda ids: " ".join(map(str, ids)))
CALL = st.one_of(
    NAME.map("search {}".format),
    st.builds("prune {} drop {}".format, NOTE, DROP),
    st.builds("answer {} , {}".format, NAME, NAME),
    st.lists(NAME, min_size=40, max_size=40).map(" ".join).map("search {}".format),  # cut off at the limit
)


@settings(max_examples=60, deadline=None)
@given(st.lists(CALL, min_size=24, max_size=24), st.sampled_from(sorted(EPISODES)))
def test_rows_hold_every_sampled_token_once_and_nothing_else_has_loss(tiny, texts, name):
    model, tokenizer = tiny
    policy = Told(model, tokenizer, texts)
    [t] = play([EPISODES[name](TASK)], policy, [TASK])
    trained = [i for row in t.rows for i, m in zip(row.completion_ids, row.mask, strict=True) if m]
    assert trained == policy.wrote, "every sampled token in exactly one row, in order; no observation among them"
    assert sum(sum(row.mask) for row in t.rows) == t.generated_tokens
    if max(len(row.ids) for row in t.rows) > model.config.max_position_embeddings:
        return
    ids, attention, mask = pad_rows(t.rows, tokenizer.pad_token_id)
    with torch.no_grad():
        again = token_logprobs(model, ids, attention)[mask[:, 1:].bool()]
    then = torch.tensor([p for row in t.rows for p, m in zip(row.logprobs, row.mask, strict=True) if m])
    assert torch.allclose(again, then, atol=1e-4), "a row is encoded as the policy saw it"


@settings(max_examples=60, deadline=None)
@given(st.lists(CALL, min_size=24, max_size=24))
def test_a_row_ends_where_the_context_is_edited(tokenizer, texts):
    texts = (text.replace("<pad>", "") for text in texts)  # a special token is in the row and not in the text: an edit as well
    [t] = play([episode(TASK)], ScriptedPolicy(lambda ask, rng: next(texts), tokenizer), [TASK])
    prompts = [turn.ask.prompt.split() for turn in t.turns]
    edits = sum(after[: len(before)] != before for before, after in zip(prompts, prompts[1:], strict=False))
    assert len(t.rows) == 1 + edits


def test_the_two_ablations_of_the_cut_rule(tokenizer):
    """stitched: every sampled token once, in a context that was never seen; last_segment: surviving calls a second time."""
    a, b = IDS[:2]
    first, second = ["search mira", "search tom", f"prune tom adopted max . drop {a}"], ["search max", "answer rex , oslo"]
    texts = [*first, *second, "answer rome , coco"]
    told = iter(texts)
    [t] = play([episode(TASK)], ScriptedPolicy(lambda ask, rng: next(told), tokenizer), [TASK])
    assert len(t.rows) == 3
    written = [f"{text} <end>" for text in texts]

    def trained(row):
        return tokenizer.decode([i for i, m in zip(row.completion_ids, row.mask, strict=True) if m])

    [whole] = memact.stitched(t, tokenizer)
    assert trained(whole) == " ".join(written)
    assert tokenizer.decode(whole.ids) == (
        f"{BEGINNING} {written[0]} record {a} : mira adopted rex . call : {written[1]} record {b} : tom adopted max . call : "
        f"{written[2]} record {IDS[2]} : done call : {written[3]} record {IDS[3]} : tom adopted max . max lives in oslo . "
        f"luna lives in rome . call : {written[4]} questions : where does luna live ? who did ruth adopt ? call : {written[5]}"
    )
    *same, last = memact.last_segment(t, tokenizer)
    assert same == t.rows[:-1] and last.ids == t.rows[-1].ids and len(last.mask) == len(last.completion_ids)
    assert trained(last) == " ".join([written[1], *written[2:4], written[5]]), "the search that survived, the prune, and so on"
    assert trained(t.rows[-1]) == written[5]
    one = next(t for t in played(memact.oracle, tokenizer, 1) if len(t.rows) == 1)
    assert memact.stitched(one, tokenizer) == one.rows == memact.last_segment(one, tokenizer)


ANY = st.text(max_size=60) | st.lists(
    st.sampled_from([*"search prune answer drop mira rex luna . , : <end> <pad>".split(), "\n", *map(str, IDS[:6])]), max_size=40
).map(" ".join)


@settings(max_examples=200, deadline=None)
@given(st.lists(ANY, min_size=24, max_size=24), st.sampled_from(sorted(EPISODES)))
def test_any_text_is_played_and_shown(tokenizer, texts, name):
    texts = iter(texts)
    [t] = play([EPISODES[name](TASK)], ScriptedPolicy(lambda ask, rng: next(texts), tokenizer), [TASK])
    assert -0.1 <= t.reward <= 1.0 and 0.0 <= t.outcome.metrics["f1"] <= 1.0
    assert sum(sum(row.mask) for row in t.rows) == t.generated_tokens
    held = Counter(e.item for e in t.outcome.events if e.op == "write")
    held.subtract(e.item for e in t.outcome.events if e.op == "delete")
    assert set(held.values()) <= {0, 1}, "the log never deletes what is not there"
    Replay(t).overview()


# ---------------------------------------------------------------- one machine


@pytest.mark.parametrize("name", EPISODES)
@pytest.mark.parametrize("rule", RULES.values(), ids=RULES)
def test_every_word_is_known_to_the_tiny_model_and_fits_its_budget(tokenizer, name, rule):
    for t in played(rule, tokenizer, 5, 20, EPISODES[name]):
        assert not any(tokenizer.unk_token_id in row.ids for row in t.rows)
        assert not any(turn.truncated for turn in t.turns)
        if name != "full-context":
            assert all(len(turn.ask.prompt.split()) <= CAP + 24 for turn in t.turns)


def test_it_shows_in_the_inspector(tokenizer):
    [t] = played(memact.oracle, tokenizer, 3, 1)
    replay = Replay(t)
    assert "Memory inspector" in Inspector(t).plain() and t._repr_html_()
    assert replay.overview()["deletions"], "what was dropped shows as deleted"


def test_eval_from_the_command_line():
    arguments = ["eval", "memact", "--policy", "oracle", "--sizes", "2,8", "-n", "5", "--json"]
    done = CliRunner().invoke(cli.app, arguments)
    assert done.exit_code == 0, done.output
    record = json.loads(done.stdout)
    assert [(r["size"], r["accuracy"], r["right"]) for r in record["results"]] == [(2, 1.0, 2.0), (8, 1.0, 8.0)]


def test_what_is_left_of_earlier_work_can_be_pruned():
    """A note, or what a search found, stands in the history before the first turn; the policy did not write it."""
    a, b, c, d = IDS[:4]
    note, found = ("karl adopted coco .", "coco lives in rome ."), ("karl adopted coco .",)
    for leftover, record, item, after in (
        (note, f"call : prune {' '.join(note)} drop {a} {b} <end> record {c} : done", c, d),
        (found, f"call : search karl <end> record {a} : {found[0]}", a, b),
    ):
        texts = f"prune nothing . drop {item}", "answer rex , oslo", "answer rome , coco"
        asks, outcome = said(episode(replace(TASK, leftover=leftover)), *texts)
        assert asks[0].prompt == f"{record} {BEGINNING}"
        assert asks[1].prompt == f"{BEGINNING} prune nothing . drop {item} <end> record {after} : done call :"
        assert asks[0].state["records"] == {item: " ".join(leftover)}
        assert [(e.turn, e.op) for e in outcome.events][-2:] == [(0, "delete"), (0, "write")]


def test_the_last_segment_trains_only_what_was_sampled(tokenizer):
    task = replace(TASK, leftover=("karl adopted coco .",))
    told = iter(["search mira", "prune mira adopted rex .", "answer rex , oslo", "answer rome , coco"])
    [t] = play([episode(task)], ScriptedPolicy(lambda ask, rng: next(told), tokenizer), [task])
    last = memact.last_segment(t, tokenizer)[-1]
    written = tokenizer.decode([i for i, m in zip(last.completion_ids, last.mask, strict=True) if m])
    assert "karl" in tokenizer.decode(t.rows[-1].prompt_ids) and "karl" not in written and written.startswith("search mira <end>")
