"""What the inspector shows, without a browser: steps, timeline, tokens, traffic, and the table for where no widget runs."""

import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memlab.episode import Ask, Outcome, Row, Trajectory, Turn
from memlab.memory import Event
from memlab.policies.base import Completion, Policy
from memlab.rollout import play
from memlab.views.inspector import Inspector, static_timeline
from memlab.views.steps import ITEM, ITEMS, TEXT, Replay, marked, readable, sampled_tokens, word_diff
from memlab.worlds import Task
from tests.browser.stories import GOLD, HOSTILE, HostileTokens, Words, before_and_after, hostile, large


@pytest.fixture(scope="module")
def story():
    return before_and_after()


def kinds(record):
    return [(i["op"], i["text"], i["gold"]) for i in record["items"]]


def test_a_step_says_what_became_of_every_item(story):
    _, before, after, _ = story
    replay = Replay(before)
    assert kinds(replay.step(2)) == [
        ("delete", "simon adopted old patch .", ""),
        ("rewrite", "mira adopted old rex .", "★ gold lost"),
        ("keep", "lucky lives in lima .", ""),
        ("write", "tom adopted rex .", ""),
    ]
    assert replay.step(2)["items"][1]["parts"] == [["mira adopted", "same"], ["old", "in"], ["rex .", "same"]]
    assert replay.step(2)["counts"] == {"delete": 1, "rewrite": 1, "keep": 1, "write": 1}
    # the answer's turn changes nothing: what is held is shown as kept though the log does not mention it
    assert kinds(Replay(after).step(8)) == [("keep", g, "★ gold") for g in GOLD]


def test_the_context_marks_gold_and_memory(story):
    _, before, _, _ = story
    [message] = Replay(before).step(2)["context"]
    assert "".join(text for text, _ in message["parts"]) == before.turns[2].ask.prompt
    marks = {text: kinds for text, kinds in message["parts"]}
    assert marks[GOLD[0]] == ["gold", "memory"] and marks["lucky lives in lima ."] == ["memory"]


def test_timeline(story):
    _, before, after, _ = story
    overview = Replay(before, "before", -0.5).overview()
    assert [g["spans"] for g in overview["golds"]] == [[[1, 2]], [[4, 5]]]
    assert [g["seen"] for g in overview["golds"]] == [[1], [4]]
    assert overview["lost"] == [2, 5] and overview["deletions"] == [1, 2, 3, 4, 5, 6, 7]
    muddled = next(f for f in overview["facts"] if f["text"].startswith("max"))
    assert muddled == {
        "text": "max lives in old rome .",
        "gold": False,
        "spans": [[3, 5]],
        "rewritten": [4],
        "deleted": [5],
    }
    assert (overview["reward"], overview["advantage"], overview["answer"], overview["expected"]) == (
        "0",
        "-0.5",
        "lima",
        ["oslo"],
    )
    kept = Replay(after).overview()
    assert [g["spans"] for g in kept["golds"]] == [[[1, 9]], [[4, 9]]]
    assert kept["facts"] == [] and kept["lost"] == []  # its items are the gold sentences, which have rows of their own
    assert len(overview["tokens"]) == len(overview["full"]) == 9
    assert kept["full"][-2] > 2 * max(kept["tokens"]), "what was read adds up; the memory agent's context does not"


def test_a_gold_fact_that_is_read_and_not_written_is_passed_over():
    task = Task("q", ("a",), ("s",), GOLD[:1], (0,))
    turns = [Turn(Ask(f"section : {GOLD[0]}", 4), "x .", 9, 1), Turn(Ask("section : y .", 4), "x .", 9, 1)]
    events = (Event(0, "write", 0, "x ."), Event(1, "keep", 0, "x ."))
    [gold] = Replay(Trajectory(task, turns, [], Outcome(0.0, "", {}, events))).overview()["golds"]
    assert gold["spans"] == [] and gold["seen"] == gold["passed"] == [0] and gold["deleted"] == []


STORES = {
    "overwritten text": [
        [("write", 0, "a fact ."), ("write", 1, "b fact .")],
        [("keep", 1, "b fact ."), ("delete", 0, "a fact .")],
    ],
    "pruned history": [
        [("write", 0, "call 1")],
        [("write", 1, "call 2")],
        [("delete", 0, "call 1"), ("write", 2, "call 3")],
    ],
    "note bank": [[("write", 7, "likes tea")], [], [("rewrite", 7, "likes coffee")], [("delete", 7, "likes coffee")]],
    "REPL variables": [
        [("write", 0, "x = 1"), ("write", 1, "y = [...]")],
        [("rewrite", 0, "x = 2")],
        [("fold", 1, "y")],
    ],
}


def test_what_was_in_memory_before_the_first_step_and_is_deleted_there_has_its_text():
    events = (Event(-1, "write", 0, "karl adopted coco ."), Event(0, "delete", 0, "karl adopted coco ."))
    trajectory = Trajectory(None, [Turn(Ask("c", 1), "x", 1, 1)], [], Outcome(0.0, "", {}, events))
    [fact] = Replay(trajectory).overview()["facts"]
    assert (fact["text"], fact["spans"], fact["deleted"]) == ("karl adopted coco .", [], [0])


@pytest.mark.parametrize("store", STORES)
def test_any_memory_is_replayed_from_the_event_log(store):
    log = STORES[store]
    text, events = {}, []
    for turn, changes in enumerate(log):
        for op, item, what in changes:
            events.append(Event(turn, op, item, what, text.get(item, "") if op == "rewrite" else ""))
            text[item] = what
    turns = [Turn(Ask([{"role": "user", "content": "go"}], 4), "done", 3, 1) for _ in range(len(log) + 1)]
    replay = Replay(Trajectory(None, turns, [], Outcome(1.0, "", {}, tuple(events))))
    held = {}
    for turn, changes in enumerate([*log, []]):
        assert replay.before[turn] == held
        for op, item, what in changes:
            held.pop(item, None) if op == "delete" else held.update({item: what})
        record = replay.step(turn)
        assert {i["text"] for i in record["items"] if i["op"] != "delete"} == set(held.values())
    overview = replay.overview()
    assert len(overview["facts"]) == len(text) and overview["golds"] == [] and overview["lost"] == []
    assert overview["deletions"] == [t for t, changes in enumerate(log) for op, *_ in changes if op == "delete"]


class Counting(Policy):
    """Writes one to three tokens with known log-probabilities, and never an end token."""

    def __init__(self, tokenizer, seed):
        super().__init__(tokenizer)
        self.rng = random.Random(seed)

    def complete(self, prompts):
        done = []
        for _ in prompts:
            ids = self.encode(" ".join(self.rng.choice("abc") for _ in range(self.rng.randint(1, 3))))
            done.append(
                Completion(self.tokenizer.decode(ids), ids, [-float(len(self.written) + i) for i in range(len(ids))])
            )
            self.written += ids
        return done

    written: list = []


@given(st.integers(0, 100), st.lists(st.booleans(), min_size=1, max_size=6))
def test_every_turn_gets_its_own_tokens_whatever_the_cut_rule_made_of_them(seed, appends):
    def episode():
        context = "start"
        for append in appends:
            text = yield Ask(context, 4)
            context = f"{context} {text} then" if append else f"fresh {text}"
        return Outcome(1.0, "", {}, ())

    policy = Counting(Words(), seed)
    policy.written = []
    [trajectory] = play([episode()], policy)
    turns = sampled_tokens(trajectory)
    assert [i for turn in turns for i, _ in turn] == policy.written
    assert [-p for turn in turns for _, p in turn] == list(range(len(policy.written)))
    assert [len(turn) for turn in turns] == [t.completion_tokens for t in trajectory.turns]
    assert [policy.tokenizer.decode([i for i, _ in turn]) for turn in turns] == [t.text for t in trajectory.turns]


def test_probabilities_on_demand(story):
    _, before, _, words = story
    shown = Replay(before, tokenizer=words).probabilities(0)
    assert [t for t, _ in shown] == [*before.turns[0].text.split(), "<end>"]
    assert all(0 < p <= 1 for _, p in shown)
    assert Replay(before).probabilities(0)[0][0].startswith("#"), "without a tokenizer, the token's number"
    scripted = Trajectory(None, before.turns, [Row([1], [2], [1], [])], before.outcome)
    assert Replay(scripted).probabilities(0) is None and "not a model" in Replay(scripted).overview()["shading"]


def test_a_page_asks_for_a_step_and_gets_that_step(story):
    _, before, after, words = story
    shown = Inspector([before, after], advantages=[-0.5, 0.5], names=["before", "after"], tokenizer=words)
    sent = []
    shown.send = sent.append
    shown._answer({"ask": "step", "step": 3})
    shown._answer({"ask": "tokens", "step": 3})
    assert [m["reply"] for m in sent] == ["step", "tokens"] and all(
        m["step"] == 3 and len(m["tracks"]) == 2 for m in sent
    )
    assert sent[0]["tracks"][0] == shown.replays[0].step(3)
    for nonsense in (
        {"ask": "step", "step": 99},
        {"ask": "step", "step": -1},
        {"ask": "x", "step": 1},
        {"step": "1"},
        None,
        "step",
        {},
    ):
        shown._answer(nonsense)
    assert len(sent) == 2


def test_trajectories_of_different_length_side_by_side(story):
    task, before, _, _ = story
    short = Trajectory(
        task, before.turns[:3], [], Outcome(0.0, "", {}, tuple(e for e in before.outcome.events if e.turn < 3))
    )
    shown = Inspector([before, short])
    assert shown._records(5)[1] is None and shown._records(5)[0]["step"] == 5


def test_arguments_that_do_not_match_are_refused(story):
    task, before, after, _ = story
    other = Trajectory(Task("another ?", (), ()), before.turns, [], before.outcome)
    for arguments, message in (
        (([before, after], [1.0]), "1 advantages for 2"),
        (([before, other],), "different tasks"),
        (([],), "no step"),
        ((Trajectory(task, [], [], Outcome(0.0, "", {}, ())),), "no step"),
    ):
        with pytest.raises(ValueError, match=message):
            Inspector(*arguments)
    with pytest.raises(ValueError, match="steps are 0 to 8"):
        Inspector(before, step=9)
    with pytest.raises(IndexError):
        Replay(before).step(9)


def test_a_large_trajectory_is_an_overview_and_small_steps():
    shown = Inspector(large())
    overview = len(json.dumps(shown.tracks))
    assert len(shown.tracks[0]["facts"]) == 500 and overview < 120_000
    assert max(len(json.dumps(shown._records(s))) for s in (0, 100, 255)) < 40_000
    record = shown.replays[0].step(255)
    assert len(record["items"]) == ITEMS and record["hidden"] > 0
    assert sum(record["counts"].values()) == ITEMS + record["hidden"]
    assert sum(i["op"] != "keep" for i in record["items"]) == sum(
        n for op, n in record["counts"].items() if op != "keep"
    )


def test_hostile_text_is_visible_clipped_and_plain():
    shown = Inspector(hostile(), tokenizer=HostileTokens(), names=[HOSTILE[1]])
    for record in [shown.tracks, *(shown._records(s) for s in range(len(HOSTILE))), shown.replays[0].probabilities(7)]:
        text = json.dumps(record, ensure_ascii=False, allow_nan=False)
        assert not any(c in text for c in "\x1b\u202e\u202c\u2066\u200f") and len(text) < 60_000
    html = shown._repr_mimebundle_()[0]["text/html"]
    assert "<script" not in html and "<img" not in html and "<svg" not in html and "<iframe" not in html


@given(st.text(max_size=200))
def test_readable_keeps_lines_and_nothing_else_invisible(text):
    shown = readable(text)
    assert shown.count("\n") == text.count("\n")
    assert readable("a" * (TEXT + 5)).endswith("[... 5 more characters]")


@given(st.text("ab .", max_size=60), st.lists(st.text("ab .", max_size=9), max_size=4))
def test_marked_parts_join_to_the_text(text, needles):
    assert "".join(part for part, _ in marked(text, {"gold": needles, "memory": needles[:1]})) == text


@given(st.text("abc ", max_size=40), st.text("abc ", max_size=40))
def test_word_diff_holds_both_texts(before, after):
    parts = word_diff(before, after)
    assert " ".join(t for t, k in parts if k != "in").split() == before.split()
    assert " ".join(t for t, k in parts if k != "out").split() == after.split()
    assert len(word_diff("x " * 10**6, "y")) < ITEM


def test_the_output_holds_a_table_beside_the_widget(story):
    _, before, after, _ = story
    shown = Inspector([before, after], names=["before <1>", "after"], advantages=[-0.5, 0.5])
    data, _ = shown._repr_mimebundle_()
    assert "application/vnd.jupyter.widget-view+json" in data
    for text in ("before &lt;1&gt;", "★ gold lost", "- deleted", "+0.5", "largest context", "oslo"):
        assert text in data["text/html"], text
    assert data["text/plain"].startswith("Memory inspector. before <1>: 9 steps, reward 0")


def test_static_timeline(story):
    rows = static_timeline(Replay(story[1]).overview()).rows
    assert rows[0] == ["★ mira adopted rex .", ".#x......"]
    assert rows[1] == ["★ rex lives in oslo .", "....#x..."]
    assert ["max lives in old rome .", "...#~x..."] in rows
